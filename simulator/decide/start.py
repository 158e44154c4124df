"""How a run starts: which experts are resident before its first event (docs/semantics.md, "Start")."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import nbytes

STARTS = ("auto", "warm", "cold")
WARM, COLD, IN_PART = "warm", "cold", "warm in part"  # how a run has started


class Limits(NamedTuple):
    """Of the scope groups of a run: the fields of Decisions from `rooms` on."""

    rooms: tuple[int, ...]
    begins: tuple[int, ...]
    emptied: Ints
    group: Ints | None = None
    start: str = COLD
    met: Flags | None = None


def started(size: Ints, mine: Flags, rooms: list[int], budget_bytes: int, start: str) -> tuple[Limits, list[Ints]]:
    """What scope groups of equally many objects hold before the first event: as limits, and as objects numbered within each group.

    size, mine [objects]: bytes, and what may be resident here. Raises UserError where `start` is warm and a group is too small.
    """
    if start == COLD and mine.any():
        none: Ints = np.zeros(0, np.int64)
        begins, met = (0,) * len(rooms), np.zeros(len(size), bool)
        return Limits(tuple(rooms), begins, none, None, COLD, met), [none] * len(rooms)
    n = len(size) // len(rooms)
    parts = [slice(low, low + n) for low in range(0, len(size), n)]
    needs = [int(size[part][mine[part]].sum()) for part in parts]
    if start == WARM:
        _require_warm(needs, rooms, budget_bytes)
    present = [resident_before(size[part], mine[part], room, start) for part, room in zip(parts, rooms)]
    begins = tuple(int(size[part][here].sum()) for part, here in zip(parts, present))
    met = np.zeros(len(size), bool)
    for part, here in zip(parts, present):
        met[here + part.start] = True
    return Limits(tuple(rooms), begins, np.zeros(0, np.int64), None, _how(needs, begins), met), present


def resident_before(size: Ints, mine: Flags, room_bytes: int, start: str) -> Ints:
    """The objects that a memory of that room holds before the first event: all that are its own where they fit as a whole, else none."""
    fits = start != COLD and int(size[mine].sum()) <= room_bytes
    return np.flatnonzero(mine & fits)


def _how(needs: list[int], begins: tuple[int, ...]) -> str:
    """How groups have started whose own experts take so many bytes, and that held so many. A group without experts says nothing."""
    full = [begin == need for need, begin in zip(needs, begins) if need]
    return WARM if all(full) else IN_PART if any(full) else COLD


def _require_warm(needs: list[int], rooms: list[int], budget_bytes: int) -> None:
    if any(need > room for need, room in zip(needs, rooms)):
        every = sum(needs)
        raise UserError(
            f"--start warm: {nbytes(every)} of experts are left to the device, and the budget of {nbytes(budget_bytes)} is short by "
            f"{nbytes(every - budget_bytes)}; --budget {every}B would fit, or leave --start out"
        )
