"""Plays a trace's requests through one policy: who is a hit, what is loaded in which order, who is evicted. Reads no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.simulator import machine, policy
from simmoe.simulator.errors import UserError
from simmoe.simulator.machine import Slots, Stream, Verdicts
from simmoe.simulator.requests import Ints, Requests, next_event
from simmoe.simulator.types import Trace

HOOKS = ("init", "miss", "insert", "use", "victim", "remove")
BOUNDS = ("nothing", "everything")  # bounds instead of a policy: nothing resident, everything resident
SCOPES = ("global", "layer")
NEVER = -1  # event of an object that no buffer holds


@dataclass(frozen=True, eq=False)
class Guesses:
    """What a prefetcher wants, decided at the end of each event: [events + 1] pointers into objects, in order of preference."""

    ptr: Ints
    obj: Ints
    buffered: bool = False  # into buffers beside the cache, where a guess waits for the next event of its layer


@dataclass(frozen=True)
class Decisions:
    """Issue records of a whole run, by request, guess and event."""

    hit: npt.NDArray[np.bool_]  # [requests] the slot was reserved at the event's start
    wait: Ints  # [requests] a load is issued when the first `wait` experts of its event, in computed order, have ended
    issued: npt.NDArray[np.bool_]  # [guesses] prefetched
    loads: Ints  # [loads] requests that are loaded, in order
    cpu: Ints  # requests that the CPU computes; those that are no hit are loaded or here
    evicted: Ints  # [evictions] object, in order of eviction
    evicted_for: Ints  # [evictions] request that takes the room; -1 - guess for a prefetch
    used: Ints  # [events] resident bytes at the end of the event
    unused_bytes: int  # rest of the budget that no whole slot of a layer's quota uses


@lru_cache(maxsize=4)
def no_guesses(requests: Requests) -> Guesses:
    return Guesses(np.zeros(requests.n_events + 1, np.int64), np.zeros(0, np.int64))


def quotas(expert_bytes: Ints, n_experts: int, budget_bytes: int, scope: str) -> list[int]:
    """Bytes of each scope group. Raises UserError with the least budget that works when one group cannot hold one expert."""
    layer_bytes = [n_experts * int(b) for b in expert_bytes]
    if scope == "global":
        least, rooms = int(expert_bytes.max()), [budget_bytes]
    else:
        total = sum(layer_bytes)
        rooms = [budget_bytes * mine // total // int(b) * int(b) for mine, b in zip(layer_bytes, expert_bytes)]
        least = -(-total // n_experts)
    if min(rooms) < (1 if scope == "layer" else least):
        raise UserError(
            f"the budget of {budget_bytes:,} B of experts is below the least that works with scope {scope}: {least:,} B "
            f"({'one expert' if scope == 'global' else 'one expert per MoE layer'}); raise --budget"
        )
    return rooms


def first_events(trace: Trace, requests: Requests) -> Ints:
    """Events at which a sequence that was not seen before enters: where --cold-per-sequence empties the slots."""
    _, first = np.unique(trace.sequence, return_index=True)
    passes = np.unique(np.searchsorted(trace.pass_ptr, first, side="right") - 1)
    return np.searchsorted(requests.event_pass, passes)


def decide(
    requests: Requests,
    expert_bytes: Ints,
    eviction: ModuleType,
    budget_bytes: int,
    *,
    scope: str = "global",
    guesses: Guesses | None = None,
    cold_at: Ints | None = None,
    on_cpu: npt.NDArray[np.bool_] | None = None,
    seed: int = 0,
    player: Player | None = None,
) -> Decisions:
    """Decisions of the policy module `eviction` under `budget_bytes` of routed experts; starts, and restarts, with empty slots.

    on_cpu [requests]: if this expert is missing, the CPU computes it (default: never).
    """
    guesses, player = guesses or no_guesses(requests), player or Player()
    n_experts = requests.n_objects // len(expert_bytes)
    rooms = quotas(expert_bytes, n_experts, budget_bytes, scope)
    sizes = np.repeat(expert_bytes, n_experts)
    starts = np.array([0, *([] if cold_at is None else cold_at[cold_at > 0].tolist()), requests.n_events])
    parts = _parts(requests, guesses, len(rooms))
    played = [
        _play(part, eviction, sizes[part.low : part.low + part.n_objects], room, starts, on_cpu, seed, player)
        for part, room in zip(parts, rooms)
    ]
    unused = 0 if scope == "global" else max(budget_bytes - sum(rooms), 0)
    if parts[0].whole:
        v = played[0]
        hit, issued = v.hit.view(np.bool_), v.issued.view(np.bool_)
        return Decisions(hit, v.wait, issued, v.loads, _cpu(hit, on_cpu), v.evicted, v.evicted_for, v.used, unused)
    return _renumbered(requests, guesses, parts, played, starts, on_cpu, unused)


def _cpu(hit: npt.NDArray[np.bool_], on_cpu: npt.NDArray[np.bool_] | None) -> Ints:
    return np.zeros(0, np.int64) if on_cpu is None else np.flatnonzero(~hit & on_cpu)


def bound(requests: Requests, expert_bytes: Ints, which: str, on_cpu: npt.NDArray[np.bool_] | None = None) -> Decisions:
    """The bounds: "nothing" (slots are cleared at each event's start) or "everything" (the cache starts full)."""
    n_experts = requests.n_objects // len(expert_bytes)
    hit = np.full(len(requests.obj), which == "everything")
    cpu = _cpu(hit, on_cpu)
    size = expert_bytes[requests.obj // n_experts]
    size[cpu] = 0
    used = np.diff(np.concatenate(([0], np.cumsum(size)))[requests.ptr])
    if which == "everything":
        used = np.full(requests.n_events, int(expert_bytes.sum()) * n_experts, np.int64)
    none = np.zeros(0, np.int64)
    loads = np.setdiff1d(np.flatnonzero(~hit), cpu, assume_unique=True)
    return Decisions(hit, np.zeros(len(hit), np.int32), none == 1, loads, cpu, none, none, used, 0)


@dataclass(frozen=True, eq=False)
class _Part:
    """One scope group: the events that concern it and its objects, renumbered from 0, with where its items stand in the run."""

    events: Ints  # [steps] event of each step
    low: int  # first object of the group
    n_objects: int
    whole: bool  # all of the run, with nothing renumbered
    ptr: Ints
    obj: npt.NDArray[np.uint32]
    request: Ints  # [requests of the part] index into the run's requests
    use_ptr: Ints
    use_obj: Ints
    guess_ptr: Ints
    guess_obj: Ints
    guess: Ints  # [guesses of the part] index into the run's guesses
    guess_for: Ints  # [guesses of the part] event for which a buffer holds it; empty without buffers

    @cached_property
    def future(self) -> tuple[Ints, Ints]:
        """Next event of each request, first event of each object."""
        return next_event(self.ptr, self.obj, self.n_objects)


@lru_cache(maxsize=4)
def _parts(requests: Requests, guesses: Guesses, groups: int) -> list[_Part]:
    """The scope groups, of equally many objects; the same for every policy and budget."""
    n = requests.n_objects // groups
    return [_select(requests, guesses, group * n, (group + 1) * n) for group in range(groups)]


def _select(requests: Requests, guesses: Guesses, low: int, high: int) -> _Part:
    def mine(ptr: Ints, obj: Ints) -> tuple[Ints, Ints]:
        """(index, event) of the items of this group."""
        index = np.flatnonzero((obj >= low) & (obj < high))
        return index, np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))[index]

    request, request_event = mine(requests.ptr, requests.obj)
    use, use_event = mine(requests.use_ptr, requests.use_obj)
    guess, guess_event = mine(guesses.ptr, guesses.obj)
    events = np.unique(np.concatenate((request_event, guess_event)))

    def pointers(event: Ints) -> npt.NDArray[np.uint32]:
        return small(np.searchsorted(event, np.append(events, requests.n_events)))

    whole = high - low == requests.n_objects and len(events) == requests.n_events
    ptr, obj = pointers(request_event), small(requests.obj[request] - low)
    use_ptr, use_obj = pointers(use_event), small(requests.use_obj[use] - low)
    if len(use_obj) == len(obj):  # every occurrence is a request: read one memory instead of two
        use_ptr, use_obj = ptr, obj
    guess_ptr, guess_obj = pointers(guess_event), small(guesses.obj[guess] - low)
    held = _held_for(requests, guess_event, guesses.obj[guess], events) if guesses.buffered else np.zeros(0, np.int64)
    return _Part(
        events, low, high - low, whole, ptr, obj, request, use_ptr, use_obj, guess_ptr, guess_obj, guess, held
    )  # fmt: skip


def _held_for(requests: Requests, event: Ints, obj: Ints, events: Ints) -> Ints:
    """Step, among `events`, of the next event of each guess's layer; another number below NEVER where that requests nothing."""
    target = next_of_its_layer(requests, event, obj)
    step = np.minimum(np.searchsorted(events, target), len(events) - 1)
    return np.where(events[step] == target, step, NEVER - 1 - target)


def next_of_its_layer(requests: Requests, event: Ints, obj: Ints) -> Ints:
    """The first event after each `event` that belongs to the layer of each `obj`; it may lie behind the last one."""
    layers = int(requests.event_layer.max()) + 1
    ahead = (obj // (requests.n_objects // layers) - requests.event_layer[event]) % layers
    return event + np.where(ahead == 0, layers, ahead)


def small(index: Ints) -> npt.NDArray[np.uint32]:
    """Half the memory to stream through, and no negative index for compiled code to check."""
    return index.astype(np.uint32)


def _renumbered(
    requests: Requests, guesses: Guesses, parts: list[_Part], played: list[Verdicts], starts: Ints,
    on_cpu: npt.NDArray[np.bool_] | None, unused: int,
) -> Decisions:  # fmt: skip
    """The verdicts of the parts of a run, in the numbering of the run."""
    hit, wait = np.zeros(len(requests.obj), np.bool_), np.zeros(len(requests.obj), np.int32)
    issued = np.zeros(len(guesses.obj), np.bool_)
    step = np.zeros(requests.n_events + 1, np.int64)  # change of the resident bytes at each event
    evictions: list[tuple[Ints, Ints, Ints]] = []  # (event, object, cause) of each part
    for part, v in zip(parts, played):
        hit[part.request], wait[part.request], issued[part.guess] = v.hit, v.wait, v.issued
        for end, begin, stop in _spans(part, starts):
            step[part.events[begin:stop]] += np.diff(v.used[begin:stop], prepend=0)
            step[end] -= v.used[stop - 1]
        cause, demand = v.evicted_for.astype(np.int64), v.evicted_for >= 0
        event = np.searchsorted(part.ptr, cause, side="right")
        event[~demand] = np.searchsorted(part.guess_ptr, -1 - cause[~demand], side="right")
        cause[demand], cause[~demand] = part.request[cause[demand]], -1 - part.guess[-1 - cause[~demand]]
        evictions.append((part.events[event - 1], v.evicted.astype(np.int64) + part.low, cause))
    event, who, cause = (np.concatenate(column) for column in zip(*evictions))
    order = np.argsort(event, kind="stable")
    used = np.cumsum(step[:-1])
    cpu = _cpu(hit, on_cpu)
    loads = np.setdiff1d(np.flatnonzero(~hit), cpu, assume_unique=True)
    return Decisions(hit, wait, issued, loads, cpu, who[order], cause[order], used, unused)


def _spans(part: _Part, starts: Ints) -> list[tuple[int, int, int]]:
    """(event of the run at which the slots are emptied, first, one past the last event of the part) between such emptyings."""
    cut = np.searchsorted(part.events, starts).tolist()
    return [(end, begin, stop) for end, begin, stop in zip(starts[1:].tolist(), cut, cut[1:]) if begin < stop]


class Player:
    """Runs `machine.play`, interpreted: on lists, where the same text is 1.5 times faster than on arrays."""

    def arrays(self, group: Any) -> Any:
        """A tuple of flat arrays, named or not, as the player wants it."""
        lists = [array.tolist() for array in group]
        return type(group)(*lists) if hasattr(group, "_fields") else tuple(lists)

    def bind(self, eviction: ModuleType, prefetching: bool = True) -> Callable[..., None]:
        """`machine.play` with the hooks of `eviction` in place of those of simulator/policy.py."""
        scope = {**vars(machine), **{name: getattr(eviction, name) for name in HOOKS if hasattr(eviction, name)}}
        for function in (
            machine.play,
            machine.demand,
            machine.fetched,
            machine.computed,
            machine.prefetch,
            machine.promote,
            machine.buffer,
            machine.admit,
            machine.evict,
        ):
            scope[function.__name__] = FunctionType(function.__code__, scope, function.__name__)
        play: Callable[..., None] = scope["play"]
        return play


def _play(
    part: _Part, eviction: ModuleType, size: Ints, room: int, starts: Ints, on_cpu: npt.NDArray[np.bool_] | None,
    seed: int, player: Player,
) -> Verdicts:  # fmt: skip
    """Play one group; the slots and the policy's state start empty at each of the events `starts`, but for the last."""
    n, buffered, count = len(size), len(size) * (len(part.guess_for) > 0), np.zeros(3, np.int64)
    extras, following = _extras(part, eviction, size, seed)
    flags = np.zeros(0, np.int8) if on_cpu is None else on_cpu[part.request].astype(np.int8)
    pointers = (part.use_ptr, part.use_obj, part.guess_ptr, part.guess_obj, part.guess_for)
    q = player.arrays(Stream(part.ptr, part.obj, following, *pointers, flags))
    room_for = _verdicts(part)
    v, x = player.arrays(room_for), player.arrays(extras)
    init, play = getattr(eviction, "init", policy.init), player.bind(eviction, len(part.guess_obj) > 0)
    for _, begin, stop in _spans(part, starts):
        count[machine.USED] = 0
        c = player.arrays(Slots(np.zeros(n, np.int8), np.zeros(n, np.int8), np.full(buffered, NEVER), count))
        play(begin, stop, q, v, c, room, player.arrays(init(n, room, x)), x)
        count = np.array(c.count)
    made = Verdicts(*(np.asarray(mine, array.dtype) for mine, array in zip(v, room_for)))
    evictions, loads = count[machine.EVICTIONS], count[machine.LOADS]
    return made._replace(
        loads=made.loads[:loads], evicted=made.evicted[:evictions], evicted_for=made.evicted_for[:evictions]
    )


def _verdicts(part: _Part) -> Verdicts:
    """Room for the verdicts of a part; there are at most as many evictions as loads. Memory that is not written costs nothing."""
    requests, guesses = len(part.obj), len(part.guess_obj)
    return Verdicts(
        np.empty(requests, np.int8), np.empty(requests + 1, np.uint32), np.zeros(requests, np.int32),
        np.zeros(guesses, np.int8), np.empty(requests + guesses, np.int32), np.empty(requests + guesses, np.int32),
        np.empty(len(part.events), np.int64),
    )  # fmt: skip


def _extras(part: _Part, eviction: ModuleType, size: Ints, seed: int) -> tuple[policy.Extras, Ints]:
    """What the policy NEEDS, and the next event of each request (empty when nobody asks)."""
    needs, loads = getattr(eviction, "NEEDS", ()), len(part.obj) + len(part.guess_obj)
    following: Ints = np.zeros(0, np.int64)
    first: Ints = following
    if "next_use" in needs:
        following, first = part.future
    high, low = splitmix64(seed, loads) if "random" in needs else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    return policy.Extras(size, np.array([len(part.events)]), first, high, low), following


def splitmix64(seed: int, n: int) -> tuple[Ints, Ints]:
    """Outputs 0 … n-1 of SplitMix64 (Steele, Lea, Flood 2014), as upper and lower 32 bits."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed % 2**64) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(32)).astype(np.int64), (z & np.uint64(0xFFFFFFFF)).astype(np.int64)
