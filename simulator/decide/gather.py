"""What a trace asks of the cache: an event is one (forward pass, MoE layer) and requests the distinct experts of all its tokens.

Requests stand in order of first occurrence (token-major, slot order within a token); an object is numbered layer * E + expert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints, blocks, small
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.trace import Trace

MASS = 65536  # parts of a token's gate weights, which add up to about one
SLOTS = 2**21  # of a trace that are gathered at once: it takes ten times the memory of their requests


class Uses(NamedTuple):
    """The occurrences of every event."""

    obj: Ints  # [occurrences] object, token-major
    request: Ints | None  # [occurrences] index into Requests.obj; None = each is a request of its own
    slot: Ints | None  # [occurrences] flat index into Trace.expert_ids; None = all of them, in order


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests and occurrences of every event, flat arrays with one pointer per event.

    They are as small as they can be, and shared where they are equal: a long trace has 10**8 requests. Of wide passes there may be fifty
    times as many occurrences, so who does not keep them gives a function that gathers them again.
    """

    n_events: int
    n_objects: int
    ptr: Ints  # [events + 1] into obj
    obj: Ints  # [requests] object
    tokens: Ints  # [requests] token slots of the pass that chose this object
    use_ptr: Ints  # [events + 1] into use_obj
    occurrences: Uses | Callable[[], Uses]
    event_pass: Ints  # [events] pass of each event
    event_layer: Ints  # [events] column of each event
    trace: Trace | None = None  # that they were gathered from; None where no policy asks for more than stands here

    @cached_property
    def uses(self) -> Uses:
        return found(self.occurrences)

    use_obj = property(lambda self: self.uses.obj)
    request_of_use = property(lambda self: self.uses.request)
    slot_of_use = property(lambda self: self.uses.slot)

    @property
    def n_uses(self) -> int:
        """Occurrences in all."""
        return int(self.use_ptr[-1])

    @property
    def use_request(self) -> Ints:
        """[occurrences] index into obj."""
        return np.arange(len(self.use_obj)) if self.request_of_use is None else self.request_of_use

    @property
    def use_slot(self) -> Ints:
        """[occurrences] flat index into Trace.expert_ids."""
        return np.arange(len(self.use_obj)) if self.slot_of_use is None else self.slot_of_use

    @cached_property
    def widest(self) -> int:
        """Most experts that one event requests."""
        return int(np.diff(self.ptr).max(initial=0))

    @cached_property
    def most_slots(self) -> int:
        """Most token slots that one event routes."""
        return int(np.diff(self.use_ptr).max(initial=0))

    @cached_property
    def event_of_request(self) -> Ints:
        return np.repeat(np.arange(self.n_events), np.diff(self.ptr))

    @cached_property
    def mass(self) -> Ints:
        """[requests] gate mass in 1/65536. A trace without gate weights gives each token slot 1/k."""
        assert self.trace is not None
        gates = self.trace.gate_weights
        if gates is None:
            return np.asarray(self.tokens, np.int64) * MASS // self.trace.top_k
        weights = np.maximum(gates.reshape(-1)[self.use_slot].astype(np.float64), 0)
        return np.rint(np.bincount(self.use_request, weights, len(self.obj)) * MASS).astype(np.int64)

    @cached_property
    def gate(self) -> Ints:
        """[requests] mean gate weight of the tokens that chose it, in 1/65536 of all that those tokens gave. A trace without gate weights
        has each token give all its experts the same, and so has a token whose weights are all 0."""
        assert self.trace is not None
        row = self.use_slot // self.trace.top_k
        gates = self.trace.gate_weights
        weights = np.zeros(len(row)) if gates is None else gates.reshape(-1)[self.use_slot].astype(np.float64)
        weights = np.maximum(weights, 0)
        total, slots = np.bincount(row, weights), np.bincount(row)
        share = np.where(total[row] > 0, weights / np.where(total > 0, total, 1)[row], 1 / np.maximum(slots, 1)[row])
        mean = np.bincount(self.use_request, share, len(self.obj)) / np.maximum(self.tokens, 1)
        return np.rint(mean * MASS).astype(np.int64)

    @cached_property
    def entered(self) -> Ints:
        """[events] sequences that have entered so far, with its pass."""
        assert self.trace is not None
        _, first = np.unique(self.trace.sequence, return_index=True)
        passes = np.searchsorted(self.trace.pass_ptr, first, side="right") - 1
        entered: Ints = np.cumsum(np.bincount(passes, minlength=self.trace.n_passes))[self.event_pass]
        return entered

    @cached_property
    def no_guesses(self) -> Guesses:
        """What a run without a prefetcher wants."""
        return Guesses(np.zeros(self.n_events + 1, np.int64), np.zeros(0, np.int64))

    def __getstate__(self) -> dict[str, Any]:
        """What is kept is made again: it holds weak references, which cannot be copied to another process."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"occurrences": self.uses}

    @cached_property
    def parts(self) -> WeakKeyDictionary[Guesses, dict[int, Any]]:
        """Kept by simulator/decide/groups.py: scope groups by number of groups, as long as the guesses live."""
        return WeakKeyDictionary()


def found(occurrences: Uses | Callable[[], Uses]) -> Uses:
    """The occurrences, gathered where they are not kept."""
    return occurrences if isinstance(occurrences, Uses) else occurrences()


def requests_of(trace: Trace, contract: str = "event") -> Requests:
    """The requests of `trace`. `contract="sequential"` makes every occurrence an event of its own, as cache simulators do."""
    if trace.n_passes == 1 and trace.n_tokens > 1 and contract == "event":
        return _of_pass(trace)
    per_row = trace.n_layers * trace.top_k
    passes = list(blocks(trace.pass_ptr, SLOTS // per_row))
    slots = [int(trace.pass_ptr[begin]) * per_row for begin, _ in passes]
    return replace(_joined([_gathered(trace, begin, end, contract) for begin, end in passes], slots), trace=trace)


def _gathered(trace: Trace, begin: int, end: int, contract: str) -> Requests:
    """The requests of the passes begin … end-1; all but passes and objects is numbered from there."""
    rows, layers, k = trace.pass_ptr[begin : end + 1], trace.n_layers, trace.top_k
    ids, counts = trace.expert_ids[rows[0] : rows[-1]].reshape(-1), np.diff(rows)
    slot, event = _occurrences(ids, counts, layers, k)
    layer, n_objects = (slot // k) % layers, layers * trace.n_experts
    obj = layer * trace.n_experts + ids[slot]
    event_pass, event_layer = np.divmod(np.arange(len(counts) * layers), layers)
    if contract == "sequential":
        event_pass, event_layer, event = event_pass[event], layer, np.arange(len(slot))
    several = np.repeat(counts > 1, counts)[slot // (layers * k)] & (contract == "event")
    ptr, use_obj, request = _pointers(event, len(event_pass)), small(obj), None
    use_ptr, first, tokens = ptr, use_obj, _ones(len(obj))
    if several.any():
        where, request, count = _distinct(event, obj, n_objects, several)
        ptr, first, tokens, request = (
            _pointers(event[where], len(event_pass)),
            use_obj[where],
            small(count),
            small(request),
        )
    every = len(slot) == len(ids) and (counts == 1).all()
    return Requests(
        n_events=len(event_pass), n_objects=n_objects, ptr=ptr, obj=first, tokens=tokens, use_ptr=use_ptr,
        occurrences=Uses(use_obj, request, None if every else small(slot)),
        event_pass=small(event_pass + begin), event_layer=small(event_layer),
    )  # fmt: skip


def _of_pass(trace: Trace) -> Requests:
    """The requests of one pass of several rows: its events are its layers, so an object is of one event, and nothing need be sorted but
    the objects."""
    ids, n_objects = trace.expert_ids, trace.n_layers * trace.n_experts
    layers = np.arange(trace.n_layers, dtype=np.int32)
    slot = np.arange(ids.size, dtype=np.uint32).reshape(ids.shape).transpose(1, 0, 2).reshape(-1)
    obj = np.add(ids.transpose(1, 0, 2), (layers * trace.n_experts)[:, None, None], dtype=np.int32)
    used = np.full(trace.n_layers, ids.shape[0] * ids.shape[2])
    if int(ids.min()) < 0:
        there = (ids >= 0).transpose(1, 0, 2)
        used, obj, slot = there.sum((1, 2)), obj[there], slot[there.reshape(-1)]
    obj = small(obj.reshape(-1))
    slots, place = np.bincount(obj, minlength=n_objects), np.zeros(n_objects, np.int64)
    place[obj[::-1]] = np.arange(len(obj))[::-1]  # the last one that is written stays: the first occurrence
    asked = np.flatnonzero(slots)
    asked = asked[np.argsort(place[asked])]
    place[asked] = np.arange(len(asked))
    return Requests(
        n_events=trace.n_layers, n_objects=n_objects, obj=small(asked), tokens=small(slots[asked]),
        ptr=np.cumsum([0, *np.bincount(asked // trace.n_experts, minlength=trace.n_layers)]), use_ptr=np.cumsum([0, *used]),
        occurrences=Uses(obj, small(place[obj]), slot), event_pass=small(np.zeros_like(layers)), event_layer=small(layers), trace=trace,
    )  # fmt: skip


def _ones(n: int) -> Ints:
    """One number that is read n times."""
    return np.broadcast_to(np.uint32(1), n)


def _joined(parts: list[Requests], slots: list[int]) -> Requests:
    """The requests of all parts, which follow each other; slots: the first of each."""
    if len(parts) == 1:
        return parts[0]
    ptr, use_ptr = _ends([one.ptr for one in parts]), None
    obj = np.concatenate([one.obj for one in parts])
    tokens, use_obj, request, slot = _ones(len(obj)), obj, None, None
    if any(one.request_of_use is not None for one in parts):
        begins = np.cumsum([0, *(len(one.obj) for one in parts)]).tolist()
        request = np.concatenate([small(one.use_request + begin) for one, begin in zip(parts, begins)])
        use_ptr, use_obj = _ends([one.use_ptr for one in parts]), np.concatenate([one.use_obj for one in parts])
        tokens = np.concatenate([one.tokens for one in parts])
    if any(one.slot_of_use is not None for one in parts):
        slot = np.concatenate([small(one.use_slot + begin) for one, begin in zip(parts, slots)])
    return Requests(
        n_events=len(ptr) - 1, n_objects=parts[0].n_objects, ptr=ptr, obj=obj, tokens=tokens,
        use_ptr=ptr if use_ptr is None else use_ptr, occurrences=Uses(use_obj, request, slot),
        event_pass=np.concatenate([one.event_pass for one in parts]), event_layer=np.concatenate([one.event_layer for one in parts]),
    )  # fmt: skip


def played(passes: Sequence[Requests], trace: Trace) -> Requests:
    """The requests of a trace whose passes were gathered one by one; its occurrences are gathered again where somebody asks."""
    n, layers = len(passes), trace.n_layers
    number, layer = np.divmod(np.arange(n * layers), layers)
    return Requests(
        n_events=n * layers, n_objects=passes[0].n_objects, ptr=_ends([one.ptr for one in passes]),
        obj=np.concatenate([one.obj for one in passes]), tokens=np.concatenate([one.tokens for one in passes]),
        use_ptr=_ends([one.use_ptr for one in passes]), occurrences=lambda: requests_of(trace).uses,
        event_pass=small(number), event_layer=small(layer), trace=trace,
    )  # fmt: skip


def _ends(ptrs: Sequence[Ints]) -> Ints:
    """Pointers of parts that follow each other."""
    return np.cumsum(np.concatenate([[0], *map(np.diff, ptrs)]))


def _occurrences(ids: Ints, counts: Ints, layers: int, k: int) -> tuple[Ints, Ints]:
    """(flat slot, event) of every used slot, ordered by event and token-major within it. counts: tokens of each pass."""
    pass_of_token = np.repeat(np.arange(len(counts)), counts)
    event = np.repeat((pass_of_token[:, None] * layers + np.arange(layers)).reshape(-1), k)
    slot = np.flatnonzero(ids >= 0)
    event = event[slot]
    if len(counts) < len(pass_of_token):  # some pass has several tokens: bring the occurrences of an event together
        order = np.argsort(event, kind="stable")
        slot, event = slot[order], event[order]
    return slot, event


def _distinct(event: Ints, obj: Ints, n_objects: int, several: npt.NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """First occurrence of each (event, object) in order, the request of each occurrence, occurrences per request.

    `several` marks occurrences of passes with several tokens; in the others every occurrence is a request of its own.
    """
    origin = np.arange(len(obj))  # the first occurrence that each occurrence repeats
    where = np.flatnonzero(several)
    origin[where] = where[_first(event[where] * n_objects + obj[where])]
    is_first = origin == np.arange(len(obj))
    number = np.cumsum(is_first) - 1
    request = number[origin]
    return np.flatnonzero(is_first), request, np.bincount(request, minlength=int(is_first.sum()))


def _first(key: Ints) -> Ints:
    """For each place of `key` the first place of the same number."""
    if int(key.max(initial=0)) < 4 * len(key):  # then a table of all numbers is faster than sorting
        place = np.zeros(int(key.max(initial=0)) + 1, np.int64)
        place[key[::-1]] = np.arange(len(key))[::-1]  # the last one that is written stays
        found: Ints = place[key]
        return found
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)]


def _pointers(event: Ints, n_events: int) -> Ints:
    ptr = np.zeros(n_events + 1, np.int64)
    np.cumsum(np.bincount(event, minlength=n_events), out=ptr[1:])
    return ptr


def next_event(ptr: Ints, obj: Ints, n_objects: int) -> tuple[Ints, Ints]:
    """For each request the next event with the same object, and the first event of each object; n_events = never."""
    n_events = len(ptr) - 1
    event = np.repeat(np.arange(n_events), np.diff(ptr))
    order = np.argsort(obj, kind="stable")
    following = np.full(len(obj), n_events, np.int64)
    same = np.diff(obj[order]) == 0
    following[order[:-1][same]] = event[order[1:][same]]
    first = np.full(n_objects, n_events, np.int64)
    first[obj[order[::-1]]] = event[order[::-1]]
    return following, first
