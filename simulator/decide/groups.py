"""Scope groups: the events and objects of each, renumbered, and their verdicts in the numbering of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints, small
from simmoe.simulator.decide.gather import Requests, found, next_event
from simmoe.simulator.decide.residency import DROPPED, SERVED_LOW, Verdicts
from simmoe.simulator.decide.start import Limits
from simmoe.simulator.nouns.decisions import Decisions, Guesses


@dataclass(frozen=True, eq=False)
class Part:
    """One scope group: the events that concern it and its objects, renumbered from 0, with where its items stand in the run."""

    events: npt.NDArray[np.uint32]  # [steps] event of each step
    low: int  # first object of the group
    n_objects: int
    whole: bool  # all of the run, with nothing renumbered
    ptr: Ints
    obj: npt.NDArray[np.uint32]
    index: Ints | None  # [requests of the part] index into the run's requests; None = all of them
    uses: Callable[[], tuple[Ints, Ints]]  # pointers of the steps, and objects: many, and seldom asked for behind a run
    guess_ptr: Ints
    guess_obj: Ints
    guess: Ints  # [guesses of the part] index into the run's guesses
    guess_for: Ints  # [guesses of the part] event of the run for which a buffer holds it; empty without buffers

    @cached_property
    def _occurrences(self) -> tuple[Ints, Ints]:
        return self.uses()

    use_ptr = property(lambda self: self._occurrences[0])
    use_obj = property(lambda self: self._occurrences[1])

    @cached_property
    def request(self) -> Ints:
        """[requests of the part]: index into the run's requests."""
        return small(np.arange(len(self.obj))) if self.index is None else self.index

    @cached_property
    def future(self) -> tuple[Ints, Ints]:
        """Next event of each request, first event of each object."""
        return next_event(self.ptr, self.obj, self.n_objects)


def parts_of(requests: Requests, guesses: Guesses, groups: int) -> list[Part]:
    """The scope groups, of equally many objects; the same for every policy and budget, so `requests` keep them."""
    made: dict[int, list[Part]] = requests.parts.setdefault(guesses, {})
    if groups not in made:
        n = requests.n_objects // groups
        made[groups] = [_select(requests, guesses, group * n, (group + 1) * n) for group in range(groups)]
    return made[groups]


def _select(requests: Requests, guesses: Guesses, low: int, high: int) -> Part:
    def mine(ptr: Ints, obj: Ints) -> tuple[Ints, Ints]:
        """(index, event) of the items of this group."""
        index = np.flatnonzero((obj >= low) & (obj < high))
        return index, np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))[index]

    if high - low == requests.n_objects and (np.diff(requests.ptr) + np.diff(guesses.ptr) > 0).all():
        return _all_of(requests, guesses)
    request, request_event = mine(requests.ptr, requests.obj)
    guess, guess_event = mine(guesses.ptr, guesses.obj)
    events = np.unique(np.concatenate((request_event, guess_event)))

    ends = np.append(events, requests.n_events)

    def pointers(event: Ints) -> npt.NDArray[np.uint32]:
        return small(np.searchsorted(event, ends))

    ptr, obj = pointers(request_event), small(requests.obj[request] - low)
    all_ptr, occurrences = requests.use_ptr, requests.occurrences  # what is kept must not keep the requests

    def uses() -> tuple[Ints, Ints]:
        all_obj = found(occurrences).obj
        use, use_event = mine(all_ptr, all_obj)
        if len(use) == len(obj):  # every occurrence is a request: read one memory instead of two
            return ptr, obj
        return pointers(use_event), small(all_obj[use] - low)

    guess_ptr, guess_obj = pointers(guess_event), small(guesses.obj[guess] - low)
    none = np.zeros(0, np.int64)
    held = next_of_its_layer(requests, guess_event, guesses.obj[guess]) if guesses.buffered else none
    return Part(
        small(events), low, high - low, False, ptr, obj, small(request), uses, guess_ptr, guess_obj, guess, held
    )  # fmt: skip


def _all_of(requests: Requests, guesses: Guesses) -> Part:
    """All of the run as one group: what is the same is shared."""
    ptr, obj = small(requests.ptr), small(requests.obj)
    all_ptr, occurrences = requests.use_ptr, requests.occurrences  # what is kept must not keep the requests

    def uses() -> tuple[Ints, Ints]:
        alone = int(all_ptr[-1]) == len(obj)  # every occurrence is a request: read one memory instead of two
        return (ptr, obj) if alone else (small(all_ptr), small(found(occurrences).obj))

    event = np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr))
    held = next_of_its_layer(requests, event, guesses.obj) if guesses.buffered else np.zeros(0, np.int64)
    return Part(
        small(np.arange(requests.n_events)), 0, requests.n_objects, True, ptr, obj, None, uses, small(guesses.ptr),
        small(guesses.obj), np.arange(len(guesses.obj)), held,
    )  # fmt: skip


def next_of_its_layer(requests: Requests, event: Ints, obj: Ints) -> Ints:
    """The first event after each `event` that belongs to the layer of each `obj`; it may lie behind the last one."""
    layers = int(requests.event_layer.max()) + 1
    ahead = (obj // (requests.n_objects // layers) - requests.event_layer[event]) % layers
    return event + np.where(ahead == 0, layers, ahead)


def renumbered(
    requests: Requests, guesses: Guesses, parts: list[Part], played: list[Verdicts], starts: Ints,
    split: bool, unused: int, limits: Limits,
) -> Decisions:  # fmt: skip
    """The verdicts of the parts of a run, in the numbering of the run. split: not all that are missing are loaded."""
    hit, wait = np.zeros(len(requests.obj), np.bool_), np.zeros(len(requests.obj), np.int32)
    issued = np.zeros(len(guesses.obj), np.bool_)
    step = np.zeros(requests.n_events + 1, np.int64)  # change of the resident bytes at each event
    evictions: list[tuple[Ints, Ints, Ints]] = []  # (event, object, cause) of each part
    for part, v, began in zip(parts, played, limits.begins):
        hit[part.request], issued[part.guess] = v.hit, v.issued
        waits = np.flatnonzero(v.wait)  # memory that stays zero costs nothing
        wait[part.request[waits]] = v.wait[waits]
        for end, begin, stop in spans(part, starts):
            step[part.events[begin:stop]] += np.diff(v.used[begin:stop], prepend=began)
            step[end] -= v.used[stop - 1]
        cause, demand = v.evicted_for.astype(np.int64), v.evicted_for >= 0
        event = np.searchsorted(part.ptr, cause, side="right")
        event[~demand] = np.searchsorted(part.guess_ptr, -1 - cause[~demand], side="right")
        cause[demand], cause[~demand] = part.request[cause[demand]], -1 - part.guess[-1 - cause[~demand]]
        evictions.append((part.events[event - 1], v.evicted.astype(np.int64) + part.low, cause))
    event, who, cause = (np.concatenate(column) for column in zip(*evictions))
    order = np.argsort(event, kind="stable")
    fresh = np.concatenate([part.request[v.fresh] for part, v in zip(parts, played)])
    fresh_by = np.concatenate([part.guess[v.fresh_by] for part, v in zip(parts, played)])
    used = np.cumsum(step[:-1]) + sum(limits.begins)
    said = answered(parts, played)
    loads = np.sort(np.concatenate([part.request[v.loads] for part, v in zip(parts, played)]))
    first = np.argsort(fresh, kind="stable")
    return Decisions(
        hit,
        wait,
        issued,
        loads,
        elsewhere(hit, loads, split, said.dropped, said.stands, said.low),
        who[order],
        cause[order],
        used,
        fresh[first],
        fresh_by[first],
        unused,
        *limits,
        dropped=said.dropped,
        stands=said.stands,
        stands_by=said.stands_by,
        low=said.low,
    )


class Answered(NamedTuple):
    """Requests by what a miss rule answered: fields of Decisions."""

    dropped: Ints
    stands: Ints
    stands_by: Ints
    low: Ints


def answered(parts: list[Part], played: list[Verdicts]) -> Answered:
    """What a miss rule answered beside who serves a missing expert, in the numbering of the run."""

    def of(answer: int) -> Ints:
        mine = [part.request[np.flatnonzero(v.answer == answer)] for part, v in zip(parts, played)]
        return np.sort(np.concatenate(mine).astype(np.int64))

    if not any(len(v.answer) for v in played):
        none = np.zeros(0, np.int64)
        return Answered(none, none, none, none)
    found = [(part, np.flatnonzero(v.answer > 0), v.answer) for part, v in zip(parts, played)]
    stands = np.concatenate([part.request[stand] for part, stand, _ in found]).astype(np.int64)
    by = np.concatenate([answer[stand].astype(np.int64) - 1 + part.low for part, stand, answer in found])
    order = np.argsort(stands, kind="stable")
    return Answered(of(DROPPED), stands[order], by[order], of(SERVED_LOW))


def spans(part: Part, starts: Ints) -> list[tuple[int, int, int]]:
    """(event of the run at which the slots are emptied, first, one past the last event of the part) between such emptyings."""
    if len(starts) == 2:  # slots are never emptied
        cut = [0, len(part.events)]
    else:
        cut = np.searchsorted(part.events, small(starts)).tolist()  # of another type it would copy the events
    return [(end, begin, stop) for end, begin, stop in zip(starts[1:].tolist(), cut, cut[1:]) if begin < stop]


def elsewhere(hit: npt.NDArray[np.bool_], loads: Ints, split: bool, *answered: Ints) -> Ints:
    """Requests that are neither hit nor loaded nor among those `answered` otherwise. split: not all that are missing are loaded."""
    if not split:
        return np.zeros(0, np.int64)
    return np.setdiff1d(np.flatnonzero(~hit), np.concatenate((loads, *answered)), assume_unique=True)
