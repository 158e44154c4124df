"""The runtime's own eviction policies, in dicts: written from the rules of docs/semantics.md, not from simmoe.policies.

A policy knows the residents from the oldest to the newest stamp. All choose among residents that are not pinned.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace

Events = Sequence[Sequence[int]]  # the distinct objects that each event of a run requests
MASK = 2**64 - 1


class Lru:
    """The oldest stamp leaves."""

    def __init__(self, future: Events, seed: int) -> None:
        self.residents: OrderedDict[int, None] = OrderedDict()
        self.seed = seed
        self.evictions = 0

    def insert(self, obj: int) -> None:
        self.residents[obj] = None

    def stamp(self, occurrences: Iterable[int]) -> None:
        """End of an event: its occurrences that are still resident, token-major."""
        for obj in occurrences:
            self.residents.move_to_end(obj)

    def remove(self, obj: int) -> None:
        del self.residents[obj]
        self.evictions += 1

    def eligible(self, pinned: Collection[int]) -> Iterator[int]:
        return (obj for obj in self.residents if obj not in pinned)

    def victim(self, pinned: Collection[int], event: int) -> int | None:
        return next(self.eligible(pinned), None)


class Fifo(Lru):
    """The oldest load leaves: a hit never moves."""

    def stamp(self, occurrences: Iterable[int]) -> None:
        pass


class Lfu(Lru):
    """The fewest events of the run leaves: what is resident at an event's end counts, and its count outlives its eviction."""

    def __init__(self, future: Events, seed: int) -> None:
        super().__init__(future, seed)
        self.events: dict[int, int] = {}

    def stamp(self, occurrences: Iterable[int]) -> None:
        resident = list(occurrences)
        super().stamp(resident)
        for obj in dict.fromkeys(resident):
            self.events[obj] = self.events.get(obj, 0) + 1

    def victim(self, pinned: Collection[int], event: int) -> int | None:
        return min(self.eligible(pinned), key=lambda obj: self.events.get(obj, 0), default=None)


class ResidentLfu(Lfu):
    """The fewest events since its load leaves: an eviction forgets the count."""

    def remove(self, obj: int) -> None:
        super().remove(obj)
        self.events.pop(obj, None)


class Belady(Lru):
    """The farthest next event leaves; a bound, since it must be told the future."""

    def __init__(self, future: Events, seed: int) -> None:
        super().__init__(future, seed)
        self.never = len(future)
        self.when: dict[int, list[int]] = {}
        for event, request in enumerate(future):
            for obj in request:
                self.when.setdefault(obj, []).append(event)

    def next_event(self, obj: int, event: int) -> int:
        events = self.when.get(obj, [])
        at = bisect_right(events, event)
        return events[at] if at < len(events) else self.never

    def victim(self, pinned: Collection[int], event: int) -> int | None:
        return max(self.eligible(pinned), key=lambda obj: self.next_event(obj, event), default=None)


class Static(Lru):
    """A fixed order decides: what the whole run uses in the fewest events leaves, then the lowest number."""

    def __init__(self, future: Events, seed: int) -> None:
        super().__init__(future, seed)
        self.popularity: dict[int, int] = {}
        for request in future:
            for obj in request:
                self.popularity[obj] = self.popularity.get(obj, 0) + 1

    def victim(self, pinned: Collection[int], event: int) -> int | None:
        return min(self.eligible(pinned), key=lambda obj: (self.popularity.get(obj, 0), obj), default=None)


class Random(Lru):
    """SplitMix64 number n, the n-th eviction's, picks among the residents in the order of their numbers."""

    def victim(self, pinned: Collection[int], event: int) -> int | None:
        choice = sorted(self.eligible(pinned))
        z = (self.seed + (self.evictions + 1) * 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return choice[(z ^ (z >> 31)) % len(choice)] if choice else None


POLICIES = {
    "lru": Lru, "fifo": Fifo, "lfu": Lfu, "lfu_resident": ResidentLfu, "belady": Belady, "static": Static, "random": Random
}  # fmt: skip
FORESIGHT = ("belady", "static")  # these must be told the events of the run


def policy(name: str, future: Events | None, seed: int) -> Lru:
    """The policy of that name. Raises UserError for another one, or when it needs a future that was not given."""
    if name not in POLICIES:
        raise UserError(f"the offload runtime has no policy {name!r}; choose one of {', '.join(POLICIES)}")
    if name in FORESIGHT and future is None:
        raise UserError(
            f"{name} must know the run: give `future=events_of(trace)` of an earlier run over the same text"
        )
    return POLICIES[name](future or [], seed)


def events_of(trace: Trace) -> list[list[int]]:
    """The distinct objects of every event of a trace, in order of first occurrence."""
    events = []
    for first, last in zip(trace.pass_ptr[:-1].tolist(), trace.pass_ptr[1:].tolist()):
        for layer in range(trace.n_layers):
            used = trace.expert_ids[first:last, layer].reshape(-1).tolist()
            events.append(list(dict.fromkeys(layer * trace.n_experts + e for e in used if e >= 0)))
    return events
