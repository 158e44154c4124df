"""Slow, plain cache oracles: what an event-atomic expert cache must do, written to be checked by eye.

Shares only the nouns of `simmoe.simulator.nouns.hardware` with the project. Nothing here reads a clock. `replay` plays a whole
trace; `ExpertCache` takes one event at a time, so that a timed model can ask it for its decisions.
An object is an (MoE layer column, expert) pair, numbered column * E + expert.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from simmoe.simulator.nouns.trace import PREFILL, Trace

NEVER = 1 << 62  # next event of an object that is not requested again
MASK64 = (1 << 64) - 1


# --- eviction policies: who goes, among residents that may go --------------------------------------------------------


class LRU:
    """Residents from the oldest to the newest stamp. The other policies differ from it in one or two methods."""

    def __init__(self) -> None:
        self.order: OrderedDict[int, None] = OrderedDict()

    def insert(self, obj: int) -> None:
        assert obj not in self.order
        self.order[obj] = None

    def stamp(self, occurrences: Sequence[int]) -> None:
        """The end of an event: every occurrence still resident, token-major, so the last occurrence counts."""
        for obj in occurrences:
            self.order.move_to_end(obj)

    def remove(self, obj: int) -> None:
        del self.order[obj]

    def eligible(self, pinned: Collection[int]) -> Iterator[int]:
        return (obj for obj in self.order if obj not in pinned)

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        return next(self.eligible(pinned))


class FIFO(LRU):
    """A hit never moves: the stamp stays the one of the insertion."""

    def stamp(self, occurrences: Sequence[int]) -> None:
        pass


class LFU(LRU):
    """Fewest events at whose end it was resident, in the whole run; among equals the oldest stamp."""

    def __init__(self) -> None:
        super().__init__()
        self.events: Counter[int] = Counter()

    def stamp(self, occurrences: Sequence[int]) -> None:
        super().stamp(occurrences)
        self.events.update(set(occurrences))

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        return min(self.eligible(pinned), key=self.events.__getitem__)  # min keeps the first, the oldest stamp


class ResidentLFU(LRU):
    """Fewest events since insertion; among equals the oldest stamp."""

    def __init__(self) -> None:
        super().__init__()
        self.events: dict[int, int] = {}

    def insert(self, obj: int) -> None:
        super().insert(obj)
        self.events[obj] = 0  # a demand load reaches 1 when its event is stamped, a prefetch stays at 0

    def stamp(self, occurrences: Sequence[int]) -> None:
        super().stamp(occurrences)
        for obj in set(occurrences):
            self.events[obj] += 1

    def remove(self, obj: int) -> None:
        super().remove(obj)
        del self.events[obj]

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        return min(self.eligible(pinned), key=self.events.__getitem__)  # min keeps the first, the oldest stamp


class Belady(LRU):
    """Farthest next event of the played trace; among equals the oldest stamp."""

    def __init__(self, future: Mapping[int, Sequence[int]]) -> None:
        super().__init__()
        self.future = future

    def next_event(self, obj: int, event: int) -> int:
        events = self.future.get(obj, ())
        at = bisect_right(events, event)
        return events[at] if at < len(events) else NEVER

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        return max(self.eligible(pinned), key=lambda obj: self.next_event(obj, event))  # max keeps the first, too


class Random(LRU):
    """The eviction's number picks among the eligible residents in ascending object number."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def victim(self, pinned: Collection[int], event: int, n_evicted: int) -> int:
        eligible = sorted(self.eligible(pinned))
        return eligible[splitmix64(self.seed, n_evicted) % len(eligible)]


def splitmix64(seed: int, n: int) -> int:
    """The n-th output (from 0) of the SplitMix64 stream of `seed` (Steele, Lea and Flood, OOPSLA 2014)."""
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) & MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


# --- the cache, one event at a time ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """One load and the residents that leave for it, in the order they were chosen."""

    obj: int
    victims: tuple[int, ...]
    own_victims: tuple[int, ...] = ()  # the subset of victims that this very event requests
    fits: bool = True  # False: promoted in vain, the rest of the room belongs to the event


@dataclass(frozen=True)
class Decision:
    """What one event decided."""

    request: tuple[int, ...]  # distinct objects in order of first occurrence
    hits: tuple[int, ...]  # in request order
    loads: tuple[Load, ...]  # in issue order
    prefetches: tuple[Load, ...]  # in issue order, behind the loads
    promoted: tuple[Load, ...] = ()  # from buffers into the cache, before anything else
    on_cpu: tuple[int, ...] = ()  # neither hit nor loaded: computed where they live
    dropped: tuple[int, ...] = ()  # computed by nobody
    stands: tuple[tuple[int, int], ...] = ()  # (missing object, the resident one that computes in its place)

    @property
    def beside(self) -> tuple[int, ...]:
        """What stands in and is not requested, in the order in which it is first named."""
        return tuple(dict.fromkeys(by for _, by in self.stands if by not in self.request))

    @property
    def evictions(self) -> tuple[int, ...]:
        return tuple(victim for load in self.promoted + self.loads + self.prefetches for victim in load.victims)


class Group:
    """The slots of one scope group: everything (global) or one layer."""

    def __init__(self, capacity_bytes: int, policy: LRU) -> None:
        self.capacity_bytes = self.free_bytes = capacity_bytes
        self.policy = policy
        self.resident: dict[int, int] = {}  # object -> bytes
        self.n_evicted = 0  # since the slots were last emptied; every eviction counts, whoever chose the victim

    def insert(self, obj: int, size: int) -> None:
        self.resident[obj] = size
        self.free_bytes -= size
        assert self.free_bytes >= 0, "over budget"
        self.policy.insert(obj)

    def evict(self, obj: int) -> None:
        self.policy.remove(obj)
        self.free_bytes += self.resident.pop(obj)
        self.n_evicted += 1

    def evictable_bytes(self, pinned: Collection[int]) -> int:
        return sum(size for obj, size in self.resident.items() if obj not in pinned)


class ExpertCache:
    """All slots of one run. `future[obj]` lists the events that request obj, ascending (Belady only)."""

    def __init__(
        self,
        expert_bytes: Sequence[int],  # [moe_layers], bytes of one expert of each column
        n_experts: int,
        budget_bytes: int,
        eviction: str,
        scope: str = "global",
        seed: int = 0,
        future: Mapping[int, Sequence[int]] | None = None,
        buffered: bool = False,  # a prefetch waits beside the cache for the next event of its layer
        left_to_cpu: Collection[int] = (),  # objects that are no part of the budget
    ) -> None:
        self.buffered = buffered
        self.expert_bytes, self.n_experts = [int(size) for size in expert_bytes], int(n_experts)
        self.eviction, self.scope, self.seed, self.future = eviction, scope, seed, future or {}
        mine = [
            sum(column * n_experts + i not in left_to_cpu for i in range(n_experts))
            for column in range(len(expert_bytes))
        ]
        self.capacities = group_capacities(self.expert_bytes, mine, int(budget_bytes), scope)
        self.clear()

    def clear(self) -> None:
        """Empty slots and a fresh policy: the start of a run, or of a sequence with cold_per_sequence."""
        self.groups = [Group(capacity, self._policy()) for capacity in self.capacities]
        self.buffers: list[int] = []
        self.unrequested: set[int] = set()  # what prefetches brought and no event has requested

    def _policy(self) -> LRU:
        if self.eviction == "belady":
            return Belady(self.future)
        if self.eviction == "random":
            return Random(self.seed)
        return {"lru": LRU, "fifo": FIFO, "lfu": LFU, "lfu_resident": ResidentLFU}[self.eviction]()

    def size(self, obj: int) -> int:
        return self.expert_bytes[obj // self.n_experts]

    def group_of(self, obj: int) -> Group:
        return self.groups[obj // self.n_experts if self.scope == "layer" else 0]

    def play(
        self,
        event: int,
        occurrences: Sequence[int],
        candidates: Iterable[int] = (),
        left_to_cpu: Collection[int] = (),
        rule: Callable[[list[int], list[int]], Collection[int]] | None = None,
        answer: Callable[[list[int], list[int]], Mapping[int, int | None]] | None = None,
    ) -> Decision:
        """One event: its occurrences are objects of one layer, token-major, repeats included. `left_to_cpu`: if missing.

        rule(missing, left): which of the other `missing` objects the CPU computes, beside those `left` to it in this event.
        answer(missing, here): which of them are dropped (None) or replaced by which of the residents `here`.
        """
        request = tuple(dict.fromkeys(occurrences))
        promoted = tuple(self._promote(request, event))
        hits = tuple(obj for obj in request if obj in self.group_of(obj).resident)
        computed = list(hits)  # the longest ago first
        left = [obj for obj in request if obj not in hits and obj in left_to_cpu]
        missing = [obj for obj in request if obj not in hits and obj not in left]
        sent = rule(missing, left) if rule and missing else ()
        on_cpu = tuple(obj for obj in request if obj in left or obj in sent)
        self.unrequested -= set(request)
        said = answer(missing, self._here(missing[0])) if answer and missing else {}
        stands = tuple((obj, by) for obj, by in said.items() if by is not None)
        dropped = tuple(obj for obj, by in said.items() if by is None)
        found = Decision(request, hits, (), (), promoted, on_cpu, dropped, stands)
        computed += found.beside
        pinned = (*request, *found.beside)
        loads = []
        for obj in request:
            if obj not in hits and obj not in on_cpu and obj not in said:
                loads.append(self._demand(obj, pinned, computed, event))
                computed.append(obj)
        self._stamp([*occurrences, *(by for _, by in stands)])
        prefetch = self._buffer(candidates) if self.buffered else self._prefetch(candidates, pinned, event)
        return replace(found, loads=tuple(loads), prefetches=tuple(prefetch))

    def _here(self, missing: int) -> list[int]:
        """Residents of the layer of a missing object that need no clock to say that they have arrived, ascending."""
        layer, resident = missing // self.n_experts, self.group_of(missing).resident
        return sorted(obj for obj in resident if obj // self.n_experts == layer and obj not in self.unrequested)

    def _promote(self, request: Collection[int], event: int) -> Iterator[Load]:
        """Buffers of this event's layer are emptied; what is requested enters the cache while others can leave."""
        column = event % len(self.expert_bytes)
        waiting = {obj for obj in self.buffers if obj // self.n_experts == column}
        self.buffers = [obj for obj in self.buffers if obj not in waiting]
        for obj in request:
            group, victims = self.group_of(obj), []
            if obj not in waiting or obj in group.resident:
                continue
            while group.free_bytes < self.size(obj) and any(one not in request for one in group.resident):
                victims.append(group.policy.victim(request, event, group.n_evicted))
                group.evict(victims[-1])
            fits = group.free_bytes >= self.size(obj)
            if fits:
                group.insert(obj, self.size(obj))
            yield Load(obj, tuple(victims), fits=fits)

    def _buffer(self, candidates: Iterable[int]) -> Iterator[Load]:
        for obj in candidates:
            if obj not in self.group_of(obj).resident and obj not in self.buffers:
                self.buffers.append(obj)
                yield Load(obj, ())

    def _demand(self, obj: int, request: Collection[int], computed: list[int], event: int) -> Load:
        group, victims, own = self.group_of(obj), [], []
        while group.free_bytes < self.size(obj):
            if any(resident not in request for resident in group.resident):
                victim = group.policy.victim(request, event, group.n_evicted)
            else:
                victim = computed.pop(0)
                own.append(victim)
            group.evict(victim)
            victims.append(victim)
        group.insert(obj, self.size(obj))
        return Load(obj, tuple(victims), tuple(own))

    def _stamp(self, occurrences: Sequence[int]) -> None:
        still = [obj for obj in occurrences if obj in self.group_of(obj).resident]
        if still:
            self.group_of(still[0]).policy.stamp(still)

    def _prefetch(self, candidates: Iterable[int], request: Collection[int], event: int) -> Iterator[Load]:
        pinned = set(request)
        for obj in candidates:
            group = self.group_of(obj)
            if obj in group.resident:
                continue
            if group.free_bytes + group.evictable_bytes(pinned) < self.size(obj):
                continue  # dropped whole: nothing is evicted for a load that cannot happen
            victims = []
            while group.free_bytes < self.size(obj):
                victims.append(group.policy.victim(pinned, event, group.n_evicted))
                group.evict(victims[-1])
            group.insert(obj, self.size(obj))
            pinned.add(obj)
            self.unrequested.add(obj)
            yield Load(obj, tuple(victims))


def group_capacities(expert_bytes: Sequence[int], mine: Sequence[int], budget_bytes: int, scope: str) -> list[int]:
    """Bytes of each scope group; mine: experts of each column that the device has. Refuses a group that has some and holds none."""
    largest = max((size for size, n in zip(expert_bytes, mine) if n), default=0)
    if scope == "global":
        if budget_bytes < largest:
            raise ValueError(f"budget {budget_bytes} is below the largest expert, {largest}")
        return [budget_bytes if largest else 0]
    total = sum(size * n for size, n in zip(expert_bytes, mine))
    quotas = [budget_bytes * size * n // total // size * size if n else 0 for size, n in zip(expert_bytes, mine)]
    if any(n and not quota for n, quota in zip(mine, quotas)):
        raise ValueError(f"budget {budget_bytes} leaves a layer without a slot")
    return quotas


# --- whole traces ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlayedEvent:
    """One event of the played trace: `at` are the places of its occurrences in expert_ids."""

    pass_index: int
    column: int
    at: list[tuple[int, int, int]]  # (token, column, slot), token-major
    occurrences: list[int]  # object numbers, aligned with `at`


@dataclass
class Tally:
    hits: int = 0
    misses: int = 0
    evictions: int = 0
    bytes: int = 0  # demand loads and prefetches

    @property
    def accesses(self) -> int:
        return self.hits + self.misses

    def row(self) -> tuple[int, int, int, int]:
        return self.accesses, self.hits, self.misses, self.evictions


@dataclass
class OracleReplay:
    hit: npt.NDArray[np.bool_]  # [tokens, moe_layers, k], the occurrence's expert was resident at the event's start
    total: Tally = field(default_factory=Tally)
    prefill: Tally = field(default_factory=Tally)
    decode: Tally = field(default_factory=Tally)
    loads: list[list[int]] = field(default_factory=list)  # per event, demand loads in issue order
    prefetches: list[list[int]] = field(default_factory=list)  # per event, issued behind the demand loads
    evictions: list[list[int]] = field(default_factory=list)  # per event, in order of choice


def played_events(trace: Trace, contract: str = "event") -> list[PlayedEvent]:
    """Events in played order: pass, layer, then (contract sequential) each access an event of its own."""
    ids, ptr = trace.expert_ids.tolist(), trace.pass_ptr.tolist()
    played = []
    for i, (start, stop) in enumerate(pairwise(ptr)):
        for column in range(trace.n_layers):
            at = [(t, column, s) for t in range(start, stop) for s, e in enumerate(ids[t][column]) if e >= 0]
            objects = [column * trace.n_experts + ids[t][column][s] for t, _, s in at]
            if contract == "sequential":
                played += [PlayedEvent(i, column, [a], [obj]) for a, obj in zip(at, objects)]
            else:
                played.append(PlayedEvent(i, column, at, objects))
    return played


def next_events(played: Sequence[PlayedEvent]) -> dict[int, list[int]]:
    """For each object the indices of the events that request it, ascending."""
    future: dict[int, list[int]] = {}
    for index, event in enumerate(played):
        for obj in set(event.occurrences):
            future.setdefault(obj, []).append(index)
    return future


def cold_starts(trace: Trace) -> set[int]:
    """Passes in which a sequence appears that no earlier pass has seen."""
    seen: set[int] = set()
    cold = set()
    for i, (start, stop) in enumerate(pairwise(trace.pass_ptr.tolist())):
        here = set(trace.sequence[start:stop].tolist())
        if here - seen:
            cold.add(i)
        seen |= here
    return cold


def replay(
    trace: Trace,
    expert_bytes: Sequence[int] | npt.NDArray[np.int64],  # [moe_layers]
    budget_bytes: int,
    eviction: str = "lru",  # lru | fifo | lfu | lfu_resident | belady | random, or a bound: nothing | everything (budget ignored)
    scope: str = "global",
    contract: str = "event",
    *,
    cold_per_sequence: bool = False,
    prefetch: Sequence[Sequence[int]] | None = None,  # candidates of each event, event = pass * moe_layers + column
    seed: int = 0,
    buffered: bool = False,
) -> OracleReplay:
    if prefetch is not None and contract != "event":
        raise ValueError("prefetch candidates belong to events: contract must be 'event'")
    sizes = [int(size) for size in expert_bytes]
    played = played_events(trace, contract)
    run = OracleReplay(np.zeros(trace.expert_ids.shape, np.bool_))
    cold = cold_starts(trace) if cold_per_sequence else set()
    if eviction in ("nothing", "everything"):
        decisions: Iterable[Decision] = (_bound(event, eviction) for event in played)
    else:
        future = next_events(played)
        cache = ExpertCache(sizes, trace.n_experts, budget_bytes, eviction, scope, seed, future, buffered)
        decisions = _decisions(cache, played, cold, prefetch)
    for event, decision in zip(played, decisions):
        _record(run, trace, sizes, event, decision)
    return run


def _decisions(
    cache: ExpertCache, played: Sequence[PlayedEvent], cold: set[int], prefetch: Sequence[Sequence[int]] | None
) -> Iterator[Decision]:
    previous = -1
    for index, event in enumerate(played):
        if cold.intersection(range(previous + 1, event.pass_index + 1)):  # a pass of null experts alone plays no access
            cache.clear()
        previous = event.pass_index
        yield cache.play(index, event.occurrences, prefetch[index] if prefetch is not None else ())


def _bound(event: PlayedEvent, bound: str) -> Decision:
    request = tuple(dict.fromkeys(event.occurrences))
    if bound == "everything":
        return Decision(request, request, (), ())
    return Decision(request, (), tuple(Load(obj, ()) for obj in request), ())


def _record(run: OracleReplay, trace: Trace, sizes: list[int], event: PlayedEvent, decision: Decision) -> None:
    for place, obj in zip(event.at, event.occurrences):
        if obj in decision.hits:
            run.hit[place] = True
    run.loads.append([load.obj for load in decision.loads])
    run.prefetches.append([load.obj for load in decision.prefetches])
    run.evictions.append(list(decision.evictions))
    for tally in (run.total, run.prefill if trace.phase[event.pass_index] == PREFILL else run.decode):
        tally.hits += len(decision.hits)
        tally.misses += len(decision.loads)
        tally.evictions += len(decision.evictions)
        tally.bytes += sum(sizes[load.obj // trace.n_experts] for load in decision.loads + decision.prefetches)


# --- someone else's simulator ----------------------------------------------------------------------------------------


def flat_libcachesim(ids: Sequence[int], sizes: int | Sequence[int], capacity_objects: int, policy: str) -> int:
    """Misses of libCacheSim on one-object events. Unit sizes only: that is where its rules and ours coincide."""
    if np.any(np.asarray(sizes) != 1):
        raise ValueError("flat_libcachesim compares unit sizes only")
    lcs = pytest.importorskip("libcachesim", reason="libcachesim is not installed (it ships for Linux only)")
    cache = getattr(lcs, {"lru": "LRU", "fifo": "FIFO", "lfu_resident": "LFU", "belady": "Belady"}[policy])(
        capacity_objects
    )
    misses = 0
    for obj, upcoming in zip(ids, _next_access(ids)):
        request = lcs.Request(obj_size=1, obj_id=int(obj), op=lcs.ReqOp.OP_GET, next_access_vtime=upcoming)
        misses += not cache.get(request)
    return misses


def _next_access(ids: Sequence[int]) -> list[int]:
    """For each access the index (from 1, as libCacheSim counts) of the next access of the same object."""
    upcoming = [0] * len(ids)
    latest: dict[int, int] = {}
    for i in range(len(ids) - 1, -1, -1):
        upcoming[i] = latest.get(ids[i], (1 << 63) - 1)
        latest[ids[i]] = i + 1
    return upcoming
