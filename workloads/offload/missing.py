"""What a miss rule is asked while the runtime plays: a file of policies/miss, as the simulator reads it (docs/extending/miss.md).

The rule is the one thing that the runtime shares with the simulator. What it is told, and what becomes of its answer, is code of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.missing import DROP, LOAD, LOW, SUBSTITUTE, VERSION
from simmoe.simulator.errors import UserError
from simmoe.workloads.offload.layout import Floats, Ids

CPU = 1  # the number of the CPU among the units of a machine with one device
PARTS = 65536  # of what a token gave its experts


@dataclass(frozen=True)
class Rule:
    """A miss rule, what stands behind its name, and how coarse the copies of low precision are that it may have loaded."""

    module: ModuleType
    argument: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    low_bits: int = 4

    def __post_init__(self) -> None:
        if "load" in getattr(self.module, "NEEDS", ()):
            raise UserError(
                f"the miss rule {self.module.__name__.rpartition('.')[2]} weighs times of a machine, and the offload runtime is told "
                "none; take one that reads counts and gates only, such as fetch, cpu, drop or substitute"
            )


class Question(NamedTuple):
    """The fields of the simulator's Missing that need no machine."""

    unit: Any
    obj: Any
    tokens: Any
    scratch: Any
    free_bytes: Any
    placed: Any
    cpu: Any
    argument: Any
    gate: Any
    n_here: Any
    here: Any
    busy: Any


@dataclass(frozen=True)
class Answers:
    """What becomes of the missing experts of an event, each list in request order."""

    loads: list[int] = field(default_factory=list)
    on_cpu: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    low: list[int] = field(default_factory=list)  # a copy of low precision is loaded and computed; it takes no slot
    instead: dict[int, int] = field(default_factory=dict)  # missing -> the resident that computes in its place


@dataclass(frozen=True)
class Event:
    """What the rule may know of an event."""

    number: int
    tokens: Counter[int]  # token slots of each object that it requests
    resident: Collection[int]
    usable: Collection[int]  # residents that may stand in: not what a prefetch brought that nothing has requested
    free_bytes: int


class Asker:
    """Asks the rule, and remembers what tokens gave the experts."""

    def __init__(self, rule: Rule, n_objects: int, n_experts: int) -> None:
        self.rule, self.n_experts = rule, n_experts
        self.gate = np.zeros(n_objects, np.int64)
        self.resident = np.zeros(n_objects, np.int8)

    def note(self, column: int, ids: Ids, gate: Floats | None) -> None:
        """An event of MoE layer `column`: ids (N, k), what the router gave each (N, k)."""
        for expert, share in shares(ids, gate).items():
            self.gate[column * self.n_experts + expert] = share

    def answers(self, missing: Sequence[int], event: Event) -> Answers:
        """Raises UserError for an answer that the runtime cannot carry out."""
        n, found = len(missing), Answers()
        begin = missing[0] // self.n_experts * self.n_experts
        here = [o for o in range(begin, begin + self.n_experts) if o in event.usable]
        self.resident[:] = 0
        self.resident[list(event.resident)] = 1
        m = Question(
            np.zeros(n + 1, np.int64), np.array([*missing, 0]), np.array([*(event.tokens[o] for o in missing), 0]),
            np.zeros(n + 1, np.int64), np.array([event.free_bytes]), np.zeros(2, np.int64), np.array([CPU]), self.rule.argument,
            self.gate, np.array([len(here)]), np.array([*here, 0]), np.array([*(o in event.tokens for o in here), 0], np.int64),
        )  # fmt: skip
        self.rule.module.serve(n, self.resident, event.number, m)
        for obj, unit in zip(missing, m.unit.tolist()):
            self._take(obj, unit, here, found)
        return found

    def _take(self, obj: int, unit: int, here: Collection[int], found: Answers) -> None:
        if unit == LOAD:
            found.loads.append(obj)
        elif unit == CPU:
            found.on_cpu.append(obj)
        elif unit == DROP:
            found.dropped.append(obj)
        elif unit == VERSION + LOW:
            found.low.append(obj)
        elif unit - SUBSTITUTE in here:
            found.instead[obj] = unit - SUBSTITUTE
        else:
            raise UserError(
                f"the miss rule answered {unit} for expert {obj}; the offload runtime knows LOAD, m.cpu[0], DROP, VERSION + LOW and "
                "SUBSTITUTE + a resident of the layer"
            )


def shares(ids: Ids, gate: Floats | None) -> dict[int, int]:
    """Expert -> mean share of the gate weights that the tokens which chose it gave it, in 1/65536; even where nothing is given."""
    used = ids >= 0
    given = np.where(used, 0.0 if gate is None else np.maximum(gate.astype(np.float64), 0), 0.0)
    given = np.where(given.sum(1, keepdims=True) > 0, given, used.astype(np.float64))
    part = given / np.maximum(given.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    return {int(e): int(np.rint(part[ids == e].mean() * PARTS)) for e in np.unique(ids[used])}
