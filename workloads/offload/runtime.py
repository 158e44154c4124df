"""The expert layers of a model behind a byte budget: decide, submit the loads, compute what is there, then what arrives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simmoe.simulator.errors import UserError
from simmoe.workloads.offload.copier import Copier, Throttle, Ticket
from simmoe.workloads.offload.eviction import Events, policy
from simmoe.workloads.offload.layout import Bytes, Floats, Ids, Layout, Weights, aligned, ffn
from simmoe.workloads.offload.missing import Asker, Rule
from simmoe.workloads.offload.record import Log
from simmoe.workloads.offload.rounding import rounded
from simmoe.workloads.offload.slots import Decision, Placed, Slots
from simmoe.workloads.offload.store import FileStore, MemoryStore

SPARE = 8  # rows behind the slots, into which reference operations copy in turn, so that none is still in a cache


@dataclass(frozen=True)
class Options:
    """How a run treats its experts."""

    budget_bytes: int | None = None  # None = everything resident before the run
    policy: str = "lru"
    overlap: bool = True  # False: each load waits for the launch before it
    bytes_per_s: int | None = None  # of the link, None = as fast as it copies
    latency_ns: int = 0
    folder: Path | None = None  # experts in files there instead of a host buffer
    future: Events | None = None  # what belady and static must know
    guesses: Events | None = None  # what to prefetch at the end of each event, in order of preference
    seed: int = 0
    cores: tuple[int, int] | None = None  # to compute and to copy on
    sample: bool = False  # measure reference operations after every decode pass
    rule: Rule | None = None  # what happens to a missing expert; None = it is loaded

    def slots(self, objects: int, nbytes: int) -> int:
        """Whole slots within the budget, never more than there are experts."""
        if self.budget_bytes is None:
            return objects
        if self.budget_bytes < nbytes:
            raise UserError(f"the budget of {self.budget_bytes:,} B holds no expert of {nbytes:,} B; raise it")
        return min(self.budget_bytes // nbytes, objects)


class Turn:
    """The loads of one event: what has been issued, and what an expert must end first for."""

    def __init__(self, decision: Decision, overlap: bool) -> None:
        self.hits, self.loads, self.overlap = [*decision.hits, *decision.stand_ins], decision.loads, overlap
        self.computed = [placed.obj for placed in (*self.hits, *decision.loads)]
        self.prefetches = decision.prefetches
        self.issued = 0
        self.ended: set[int] = set()

    def ready(self) -> list[Placed]:
        """What may be issued now, in order; the prefetches directly behind the last load."""
        first = self.issued
        while self.issued < len(self.loads) and self.ended.issuperset(self.computed[: self._before()]):
            self.issued += 1
        found = self.loads[first : self.issued]
        if self.issued == len(self.loads):
            found, self.prefetches = found + self.prefetches, []
        return found

    def _before(self) -> int:
        """How many experts of the computed order must have ended before the next load."""
        return self.loads[self.issued].wait if self.overlap else len(self.hits) + self.issued


class Runtime:
    """Slots, copy thread and log of one run. Use it in a `with` statement: leaving it ends the copy thread."""

    def __init__(self, layout: Layout, image: Bytes, log: Log, scale: int, options: Options) -> None:
        self.layout, self.options, self.log, self.scale = layout, options, log, scale
        count = options.slots(len(image), layout.nbytes)
        asker = Asker(options.rule, len(image), log.n_experts) if options.rule else None
        self.slots = Slots(count, policy(options.policy, options.future, options.seed), layout.nbytes, asker)
        self.image, self.low = image, dict[int, Weights]()  # copies of low precision that have been made
        self.dropped: list[int] = []  # places of the latest event that nobody computed
        self.memory = aligned(count + (SPARE if options.sample else 0), layout.nbytes)
        self.views = [layout.views(row) for row in self.memory]
        self.tickets: dict[int, Ticket] = {}  # of the latest load of each object
        folder = options.folder
        self.store = MemoryStore(image) if folder is None else FileStore(folder, image, log.n_experts)
        throttle = Throttle(options.bytes_per_s, options.latency_ns) if options.bytes_per_s else None
        if options.budget_bytes is None:
            for placed in self.slots.preload(range(len(image))):
                self.store.read(placed.obj, self.memory[placed.slot])
        self.copier = Copier(self.store, self.memory, throttle, options.cores[1] if options.cores else None)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_: object) -> None:
        self.copier.close()
        self.store.close()

    def layer(self, column: int, x: Tensor, ids: Ids, gate: Floats | None = None) -> Tensor:
        """Outputs of the routed experts of one MoE layer: x (N, d) and ids (N, k), -1 = slot unused, to (N, k, d).

        gate: (N, k), what the router gave each; a miss rule may ask.
        """
        began = time.perf_counter_ns()
        places = self._places(column, ids)
        occurrences = (column * self.log.n_experts + ids[ids >= 0]).tolist()
        if self.slots.asker is not None:
            self.slots.asker.note(column, ids, gate)
        decision = self.slots.decide(occurrences, self._guesses())
        turn = Turn(decision, self.options.overlap)
        self.log.event(column, ids, gate, decision, len(self.slots.slot_of))
        self.dropped = [place for obj in decision.dropped for place in places.pop(obj)]
        for obj, other in decision.instead.items():
            places[other] = places.get(other, []) + places.pop(obj)
        y = x.new_zeros(ids.size, x.shape[1])
        self.log.decide_ns.append(time.perf_counter_ns() - began)
        if self.options.overlap or not decision.loads:
            self._issue(turn)
        for obj in (*decision.on_cpu, *decision.low):
            self._apply(self._where_it_lies(obj, obj in decision.low), x, places[obj], ids.shape[1], y)
        self._compute(turn, x, places, ids.shape[1], y)
        return y.view(*ids.shape, -1)

    def _compute(self, turn: Turn, x: Tensor, places: dict[int, list[int]], k: int, y: Tensor) -> None:
        """The hits that are there as one group, then late hits and this event's loads as they arrive."""
        late = [p for p in turn.hits if p.obj in self.tickets and not self.tickets[p.obj].arrived]
        for obj, slot, _ in turn.hits:
            if not any(obj == p.obj for p in late):
                self.expert(slot, x, places[obj], k, y)
                turn.ended.add(obj)
        late.sort(key=lambda p: self.tickets[p.obj].number)
        for obj, slot, _ in (*late, *turn.loads):
            self._issue(turn)
            self.copier.wait(self.tickets[obj])
            self.expert(slot, x, places[obj], k, y)
            turn.ended.add(obj)
        self._issue(turn)

    def expert(self, slot: int, x: Tensor, places: Sequence[int], k: int, y: Tensor) -> None:
        """The expert in `slot` on the rows of x that chose it; places are token * k + slot of the token, rows of y."""
        self._apply(self.views[slot], x, places, k, y)

    def _apply(self, weights: Weights, x: Tensor, places: Sequence[int], k: int, y: Tensor) -> None:
        if len(x) == 1:
            row = ffn(x, weights, self.scale)[0]
            for place in places:  # several where it stands in for another
                y[place] = row
        else:
            at = torch.tensor(places)
            y[at] = ffn(x[at // k], weights, self.scale)

    def _where_it_lies(self, obj: int, low: bool) -> Weights:
        """An expert that is computed without a slot: in the slow tier, or its copy of low precision."""
        weights = self.layout.views(self.image[obj])
        if not low:
            return weights
        if obj not in self.low:
            assert self.options.rule is not None
            self.low[obj] = rounded(weights, self.options.rule.low_bits)
        return self.low[obj]

    def _issue(self, turn: Turn) -> None:
        for obj, slot, _ in turn.ready():
            began = time.perf_counter_ns()
            self.tickets[obj] = self.copier.submit(obj, slot)
            self.log.submit_ns.append(time.perf_counter_ns() - began)

    def _guesses(self) -> Sequence[int]:
        return self.options.guesses[self.slots.event] if self.options.guesses is not None else ()

    def _places(self, column: int, ids: Ids) -> dict[int, list[int]]:
        """Where each object of the event is used, objects in order of first occurrence."""
        places: dict[int, list[int]] = {}
        for place in np.flatnonzero(ids >= 0).tolist():
            places.setdefault(column * self.log.n_experts + int(ids.flat[place]), []).append(place)
        return places
