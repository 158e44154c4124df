"""The law of occupancy: what is resident is recounted from the slots themselves and compared with everything that was counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide import residency as machine
from simmoe.simulator.decide.groups import Part
from simmoe.simulator.decide.residency import Slots, Verdicts

AT_ONCE = 2**20  # objects whose sizes are added up: all of a long run would take ten times their memory


class BrokenLaw(AssertionError):
    """A run broke a law that every run obeys; a defect of simmoe, not of its input."""


def check_occupancy(
    part: Part, span: tuple[int, int], v: Verdicts, c: Slots, before: Ints, size_bytes: Ints, room_bytes: int,
    began_bytes: int = 0,
) -> None:  # fmt: skip
    """Check one scope group after the events `span`, which started with so many resident bytes; `before` is Slots.count at that time.

    Raises BrokenLaw unless the sizes of what is resident add up to the running counter and to loads + prefetches - evictions, and
    stay within the group's budget.
    """
    one_size = int(size_bytes[0]) if (size_bytes == size_bytes[0]).all() else None
    resident = np.asarray(c.resident, np.int8).view(np.bool_)  # of bool it is ten times faster
    held = int(np.count_nonzero(resident)) * one_size if one_size else int(size_bytes[resident].sum())
    took, gave = _moved(part, span, v, c, before, size_bytes, one_size)
    took += began_bytes
    if not held == c.count[machine.USED] == took - gave or held > room_bytes:
        raise BrokenLaw(
            f"simmoe broke its own law: {held:,} B are resident after event {span[1] - 1} of a scope group; the counter says "
            f"{c.count[machine.USED]:,} B, start + loads + prefetches - evictions {took - gave:,} B, the budget {room_bytes:,} B; "
            "please report this run"
        )


def _moved(
    part: Part, span: tuple[int, int], v: Verdicts, c: Slots, before: Ints, size_bytes: Ints, one_size: int | None
) -> tuple[int, int]:
    """Bytes that took a slot in the span, by a load, by a prefetch or out of a buffer, and bytes that gave one up. one_size: of every
    object."""

    def total(index: Any, obj: Ints | None = None) -> int:
        """Bytes of the objects `index`, or obj[index]; they need not be looked at where all are of one size."""
        if one_size is not None:
            return len(index) * one_size
        found = 0
        for at in range(0, len(index), AT_ONCE):
            which = np.asarray(index[at : at + AT_ONCE], np.int64)
            found += int(size_bytes[which if obj is None else obj[which]].sum())
        return found

    took = total(v.loads[before[machine.LOADS] : c.count[machine.LOADS]], part.obj)
    if len(part.guess_for):
        took += int(c.count[machine.PROMOTED] - before[machine.PROMOTED])
    elif len(part.guess_obj):
        first, last = part.guess_ptr[span[0]], part.guess_ptr[span[1]]
        issued = np.flatnonzero(
            np.asarray(v.issued[first:last], np.int8).view(np.bool_)
        )  # of bool it is ten times faster
        took += total(issued, part.guess_obj[first:last])
    return took, total(v.evicted[before[machine.EVICTIONS] : c.count[machine.EVICTIONS]])
