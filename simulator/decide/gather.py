"""What a trace asks of the cache: an event is one (forward pass, MoE layer) and requests the distinct experts of all its tokens.

Requests stand in order of first occurrence (token-major, slot order within a token); an object is numbered layer * E + expert.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.trace import Trace


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests and occurrences of every event, flat arrays with one pointer per event."""

    n_events: int
    n_objects: int
    ptr: Ints  # [events + 1] into obj
    obj: Ints  # [requests] object
    tokens: Ints  # [requests] token slots of the pass that chose this object
    use_ptr: Ints  # [events + 1] into use_obj
    use_obj: Ints  # [occurrences] object, token-major
    use_request: Ints  # [occurrences] index into obj
    use_slot: Ints  # [occurrences] flat index into Trace.expert_ids
    event_pass: Ints  # [events] pass of each event
    event_layer: Ints  # [events] column of each event

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
    def no_guesses(self) -> Guesses:
        """What a run without a prefetcher wants."""
        return Guesses(np.zeros(self.n_events + 1, np.int64), np.zeros(0, np.int64))

    def __getstate__(self) -> dict[str, Any]:
        """What is kept is made again: it holds weak references, which cannot be copied to another process."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @cached_property
    def parts(self) -> WeakKeyDictionary[Guesses, dict[int, Any]]:
        """Kept by simulator/decide/groups.py: scope groups by number of groups, as long as the guesses live."""
        return WeakKeyDictionary()


def requests_of(trace: Trace, contract: str = "event") -> Requests:
    """The requests of `trace`. `contract="sequential"` makes every occurrence an event of its own, as cache simulators do."""
    slot, event = _occurrences(trace)
    layers = trace.n_layers
    layer = (slot // trace.top_k) % layers
    obj = layer * trace.n_experts + trace.expert_ids.reshape(-1)[slot].astype(np.int64)
    event_pass, event_layer = np.divmod(np.arange(trace.n_passes * layers), layers)
    if contract == "sequential":
        event_pass, event_layer, event = event_pass[event], layer, np.arange(len(slot))
    n_events, n_objects = len(event_pass), layers * trace.n_experts
    several = np.repeat(np.diff(trace.pass_ptr) > 1, np.diff(trace.pass_ptr))[slot // (layers * trace.top_k)]
    first, request, count = _distinct(event, obj, n_objects, several & (contract == "event"))
    return Requests(
        n_events=n_events,
        n_objects=n_objects,
        ptr=_pointers(event[first], n_events),
        obj=obj[first],
        tokens=count,
        use_ptr=_pointers(event, n_events),
        use_obj=obj,
        use_request=request,
        use_slot=slot,
        event_pass=event_pass,
        event_layer=event_layer,
    )


def _occurrences(trace: Trace) -> tuple[Ints, Ints]:
    """(flat slot, event) of every used slot, ordered by event and token-major within it."""
    tokens, layers, k = trace.expert_ids.shape
    pass_of_token = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    event = np.repeat((pass_of_token[:, None] * layers + np.arange(layers)).reshape(-1), k)
    slot = np.flatnonzero(trace.expert_ids.reshape(-1) >= 0)
    event = event[slot]
    if trace.n_passes < tokens:  # some pass has several tokens: bring the occurrences of an event together
        order = np.argsort(event, kind="stable")
        slot, event = slot[order], event[order]
    return slot, event


def _distinct(event: Ints, obj: Ints, n_objects: int, several: npt.NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """First occurrence of each (event, object) in order, the request of each occurrence, occurrences per request.

    `several` marks occurrences of passes with several tokens; in the others every occurrence is a request of its own.
    """
    origin = np.arange(len(obj))  # the first occurrence that each occurrence repeats
    where = np.flatnonzero(several)
    _, first, inverse = np.unique(event[where] * n_objects + obj[where], return_index=True, return_inverse=True)
    origin[where] = where[first[inverse.reshape(-1)]]
    is_first = origin == np.arange(len(obj))
    number = np.cumsum(is_first) - 1
    request = number[origin]
    return np.flatnonzero(is_first), request, np.bincount(request, minlength=int(is_first.sum()))


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
