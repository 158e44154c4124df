"""What a miss rule is: one function that says which unit serves each missing expert; a file in policies/miss defines it.

The machine calls it once per event with missing experts, after the hits are known and before rooms are made. It reads the event, what is
resident and whole picoseconds of idle hardware, never a clock: decisions may depend on the hardware, never on the executor.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints

NEEDS: tuple[str, ...] = ()  # what the rule reads of the machine: load, cpu
# Answers. From 1 on they are numbers of other units: units count the devices first, in the order of Hardware.devices, then the others.
LOAD = 0  # the device that the placement gave the expert to loads it
SUBSTITUTE = 1 << 16  # + object: a resident one in its place; no machine knows this yet
VERSION = 1 << 48  # + version of the expert that is loaded; no machine knows this yet


class Missing(NamedTuple):
    """What a rule is asked in an event and what it may know; a field that its NEEDS does not name is empty. Filled by the machine.

    There is room for one expert more than any event requests. Empty where there is no rule: every missing expert is loaded.
    """

    unit: Any  # the answer: the unit that serves each missing expert, LOAD before the rule is called
    obj: Any  # object of each missing expert that the placement left to the device, in request order
    tokens: Any  # token slots of each
    scratch: Any  # one number per missing expert for the rule's own use
    free_bytes: Any  # [1] room that nothing resident takes
    placed: Any  # [2] missing experts that the placement left to another unit in this event, their token slots
    load_ps: Any  # [objects] NEEDS load: time of its load on an idle link, from where it lies now
    cpu: Any  # [1] NEEDS cpu: number of the CPU
    launch_ps: Any  # [1] NEEDS cpu: of a piece on the CPU
    read_ps: Any  # NEEDS cpu: reading 0, 1, 2 … experts, for each shape of layer
    flop_ps: Any  # NEEDS cpu: computing 0, 1, 2 … token slots, for each shape of layer
    read_at: Any  # NEEDS cpu: [objects] where the shape of its layer begins in read_ps
    flop_at: Any  # NEEDS cpu: [objects] and in flop_ps
    at: Any  # [2] both, for the layer of this event


class Rule(NamedTuple):
    """A miss rule and what it needs to know of the machine (simulator/decide/prices.py)."""

    module: ModuleType
    widest: int  # most experts that one event requests
    tokens: Ints  # [requests] token slots that chose it
    load_ps: Ints  # [objects]
    cpu: Ints  # [1]
    launch_ps: Ints  # [1]
    read_ps: Ints  # [shapes, widest + 1]
    flop_ps: Ints  # [shapes, most token slots of an event + 1]
    shape: Ints  # [objects] number of the shape of its layer


def serve(n: int, resident: Any, event: int, m: Missing) -> None:
    """Write into m.unit[0] … m.unit[n-1] which unit serves each of the `n` missing experts; what is not written is loaded."""


@cache
def no_question() -> Missing:
    """Where there is no rule; one for all runs, since nobody can write into empty arrays."""
    return Missing(*(np.zeros(0, np.int64) for _ in Missing._fields))


def question(rule: Rule | None, low: int, n_objects: int) -> Missing:
    """For the scope group of `n_objects` objects from `low` on."""
    if rule is None:
        return no_question()
    mine, none = slice(low, low + n_objects), np.zeros(rule.widest + 1, np.int64)
    read_at, flop_at = (rule.shape[mine] * table.shape[1] for table in (rule.read_ps, rule.flop_ps))
    return Missing(
        none, none.copy(), none.copy(), none.copy(), np.zeros(1, np.int64), np.zeros(2, np.int64), rule.load_ps[mine].copy(),
        rule.cpu, rule.launch_ps, rule.read_ps.ravel(), rule.flop_ps.ravel(), read_at, flop_at, np.zeros(2, np.int64),
    )  # fmt: skip
