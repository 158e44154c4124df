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

NEEDS: tuple[str, ...] = ()  # what the rule reads of the machine: load, cpu, argument, gate, resident
# Answers. From 1 on they are numbers of other units: units count the devices first, in the order of Hardware.devices, then the others.
LOAD = 0  # the device that the placement gave the expert to loads it
DROP = 1 << 15  # nobody computes it
SUBSTITUTE = 1 << 16  # + object: that one, which is resident and of the same layer, computes in its place
VERSION = 1 << 48  # + number of another version of it that serves in its place, loaded where it is not there
LOW = 1  # that number of a low copy: the expert in a second, smaller format


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
    argument: Any  # NEEDS argument: [arguments] what stands behind the rule's name, in the order of its ARGUMENTS; a share in millionths
    gate: Any  # NEEDS gate: [objects] mean gate weight of the tokens that chose it in the latest event that requested it, this one
    #            included, in 1/65536 of all that those tokens gave
    n_here: Any  # [1] NEEDS resident: how many residents of the layer may stand in for a missing expert
    here: Any  # NEEDS resident: those objects, rising
    busy: Any  # NEEDS resident: of each, 1 = the event requests it, so that its weights are read anyway
    experts: Any  # [1] of a layer
    stood: (
        Any  # [2] of this event: residents that it does not request and that stand in, requests for which one stands in
    )
    extra: Any  # the former, in the order in which they were named
    low: Any  # [1]; empty where no low copy may serve, since the rule does not know the name VERSION


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
    argument: Ints  # [arguments]
    gate: Ints  # [requests] mean gate weight of the tokens that chose it, in 1/65536; empty where the rule does not need it
    experts: int  # of a layer

    @property
    def changes_output(self) -> bool:
        return changes_output(self.module)

    def needs(self, what: str) -> bool:
        return what in getattr(self.module, "NEEDS", ())


def serve(n: int, resident: Any, event: int, m: Missing) -> None:
    """Write into m.unit[0] … m.unit[n-1] which unit serves each of the `n` missing experts; what is not written is loaded."""


def changes_output(rule: ModuleType) -> bool:
    """Whether the rule may have a missing expert left out, replaced or read in another version: the machine takes these answers only from
    a file that knows their names, so that every result can say so."""
    return not {"DROP", "SUBSTITUTE", "VERSION"}.isdisjoint(vars(rule))


def loads_low(rule: ModuleType) -> bool:
    """Whether the rule may have a low copy serve in place of a missing expert."""
    return "VERSION" in vars(rule)


@cache
def no_question() -> Missing:
    """Where there is no rule; one for all runs, since nobody can write into empty arrays."""
    return Missing(*(np.zeros(0, np.int64) for _ in Missing._fields))


def question(rule: Rule | None, low: int, n_objects: int) -> Missing:
    """For the scope group of `n_objects` objects from `low` on."""
    if rule is None:
        return no_question()
    mine = slice(low, low + n_objects)
    read_at, flop_at = (rule.shape[mine] * table.shape[1] for table in (rule.read_ps, rule.flop_ps))
    row, here = rule.widest + 1, (rule.experts + 1) * rule.needs("resident")

    def room(n: int) -> Ints:
        return np.zeros(n, np.int64)

    return Missing(
        room(row), room(row), room(row), room(row), room(1), room(2), rule.load_ps[mine].copy(), rule.cpu, rule.launch_ps,
        rule.read_ps.ravel(), rule.flop_ps.ravel(), read_at, flop_at, room(2), rule.argument, room(n_objects * rule.needs("gate")),
        room(1), room(here), room(here), np.array([rule.experts]), room(2), room(row),
        room(1 * loads_low(rule.module)),
    )  # fmt: skip
