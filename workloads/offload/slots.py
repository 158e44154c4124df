"""The fast tier's book-keeping: which expert has which slot, decided once at the start of each event (docs/semantics.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from simmoe.workloads.offload.eviction import Lru
from simmoe.workloads.offload.missing import Answers, Asker, Event


class Placed(NamedTuple):
    """An expert and its slot. A load may start when the first `wait` experts of its event, in computed order, are done."""

    obj: int
    slot: int
    wait: int = 0


class Decision(NamedTuple):
    """What one event does."""

    hits: list[Placed]  # in order of first occurrence
    stand_ins: list[Placed]  # residents that it does not request and that compute in the place of missing ones
    loads: list[Placed]  # in order of issue
    prefetches: list[Placed]  # behind the loads
    instead: dict[int, int]  # missing -> the resident that computes in its place, requested or not
    dropped: list[int]
    on_cpu: list[int]
    low: list[int]  # a copy of low precision is loaded, computed and forgotten


class Slots:
    """`count` slots of `nbytes` each under one policy, and under a miss rule if there is one."""

    def __init__(self, count: int, policy: Lru, nbytes: int = 0, asker: Asker | None = None) -> None:
        self.count, self.policy, self.nbytes, self.asker = count, policy, nbytes, asker
        self.slot_of: dict[int, int] = {}
        self.free = list(range(count - 1, -1, -1))
        self.brought: set[int] = set()  # by a prefetch, and not requested since
        self.event = 0
        self.evictions = 0

    def preload(self, objects: Iterable[int]) -> list[Placed]:
        """Give slots to `objects` before the run."""
        return [self._take(obj) for obj in objects]

    def decide(self, occurrences: Sequence[int], guesses: Sequence[int] = ()) -> Decision:
        """The next event: its occurrences token-major, and what to prefetch once it has its own experts."""
        request = dict.fromkeys(occurrences)
        hits = [Placed(obj, self.slot_of[obj]) for obj in request if obj in self.slot_of]
        self.brought.difference_update(request)
        said = self._answers([obj for obj in request if obj not in self.slot_of], occurrences)
        stand_ins = [Placed(o, self.slot_of[o]) for o in dict.fromkeys(said.instead.values()) if o not in request]
        pinned = request | dict.fromkeys(obj for obj, _, _ in stand_ins)
        computed = [obj for obj, _, _ in (*hits, *stand_ins)]
        loads: list[Placed] = []
        wait = 0
        for obj in said.loads:
            wait = self._make_room(pinned, computed, wait)
            loads.append(self._take(obj)._replace(wait=wait))
            computed.append(obj)
        self.policy.stamp(obj for obj in (*occurrences, *said.instead.values()) if obj in self.slot_of)
        prefetches = self._prefetch(pinned, guesses)
        self.event += 1
        return Decision(hits, stand_ins, loads, prefetches, said.instead, said.dropped, said.on_cpu, said.low)

    def _answers(self, missing: list[int], occurrences: Sequence[int]) -> Answers:
        """What becomes of the missing experts; without a rule all are loaded."""
        if self.asker is None or not missing:
            return Answers(loads=missing)
        usable, free_bytes = self.slot_of.keys() - self.brought, len(self.free) * self.nbytes
        return self.asker.answers(missing, Event(self.event, Counter(occurrences), self.slot_of, usable, free_bytes))

    def _make_room(self, request: dict[int, None], computed: list[int], wait: int) -> int:
        """Empty a slot if none is: the policy's victim, else the expert of this event that is computed first."""
        if self.free:
            return wait
        victim = self.policy.victim(request, self.event)
        self._evict(computed[wait] if victim is None else victim)
        return wait + (victim is None)

    def _prefetch(self, request: dict[int, None], guesses: Sequence[int]) -> list[Placed]:
        pinned = {obj for obj in request if obj in self.slot_of}
        placed = []
        for obj in guesses:
            if obj in self.slot_of or len(pinned) == self.count:
                continue
            if not self.free:
                victim = self.policy.victim(pinned, self.event)
                assert victim is not None, "not every slot is pinned"
                self._evict(victim)
            placed.append(self._take(obj))
            self.brought.add(obj)
            pinned.add(obj)
        return placed

    def _take(self, obj: int) -> Placed:
        slot = self.slot_of[obj] = self.free.pop()
        self.policy.insert(obj)
        return Placed(obj, slot)

    def _evict(self, obj: int) -> None:
        self.policy.remove(obj)
        self.brought.discard(obj)
        self.free.append(self.slot_of.pop(obj))
        self.evictions += 1
