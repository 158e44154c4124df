"""A run behind a warm-up: what was decided of the passes that are timed, numbered from the first of them on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.counts import event_of_cause
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import next_of_its_layer
from simmoe.simulator.decide.stretches import Stretch, stretches
from simmoe.simulator.decide.versions import load_objects, low_loads
from simmoe.simulator.nouns.decisions import Buffered, Decisions, Guesses


def behind(
    requests: Requests, decisions: Decisions, guesses: Guesses, sizes: Ints, passes: int
) -> tuple[Decisions, Guesses]:
    """Decisions and guesses of all passes but the first so many. What is resident or buffered then has arrived. sizes: int64 [objects]"""
    event = int(np.searchsorted(requests.event_pass, passes))
    request, guess = int(requests.ptr[event]), int(guesses.ptr[event])
    here = decisions.evicted_for >= request
    here |= (decisions.evicted_for < 0) & (decisions.evicted_for <= -1 - guess)
    cause = decisions.evicted_for[here]
    own = (decisions.fresh >= request) & (decisions.fresh_by.astype(np.int64) >= guess)
    begins, met = _resident(requests, decisions, guesses, sizes, event)
    buffered = _buffered(requests, decisions, guesses, event) if guesses.buffered else None
    later = Guesses(guesses.ptr[event:] - guess, guesses.obj[guess:], guesses.buffered, guesses.cancel)
    return replace(
        decisions, hit=decisions.hit[request:], wait=decisions.wait[request:], issued=decisions.issued[guess:],
        loads=_from(decisions.loads, request), cpu=_from(decisions.cpu, request), evicted=decisions.evicted[here],
        evicted_for=np.where(cause >= 0, cause - request, cause + guess), used=decisions.used[event:],
        fresh=decisions.fresh[own].astype(np.int64) - request, fresh_by=decisions.fresh_by[own].astype(np.int64) - guess,
        begins=begins, emptied=_from(decisions.emptied, event), met=met, buffered=buffered,
        dropped=_from(decisions.dropped, request), stands=_from(decisions.stands, request),
        stands_by=decisions.stands_by[decisions.stands >= request], low=_from(decisions.low, request),
    ), later  # fmt: skip


def _from(numbers: Ints, first: int) -> Ints:
    """Those from `first` on, counted from there."""
    kept = numbers[numbers >= first]
    return kept - kept.dtype.type(first)


def _resident(
    requests: Requests, decisions: Decisions, guesses: Guesses, sizes: Ints, event: int
) -> tuple[tuple[int, ...], Flags]:
    """Bytes of each scope group when the event starts, and the objects that were resident since slots were last emptied."""
    earlier = decisions.emptied[decisions.emptied < event]
    since = int(earlier[-1]) if len(earlier) else 0
    met = np.zeros(requests.n_objects, bool) if decisions.met is None or len(earlier) else decisions.met.copy()
    n, groups = requests.n_objects, len(decisions.rooms)
    group = np.arange(n) * groups // n if decisions.group is None else decisions.group
    change = np.zeros(groups, np.int64)
    for begin, _, asked, decided, wanted, _ in stretches(requests, decisions, guesses):
        low, high = since - begin, event - begin
        entered = np.concatenate(
            [obj[(at >= low) & (at < high)] for obj, at in admissions(asked, decided, wanted)]
        ).astype(np.int64)
        met[entered] = True
        entered = np.concatenate((entered, _low_copies(asked, decided, low, high)))
        gone = event_of_cause(asked, wanted, decided.evicted_for)
        left = decided.evicted[(gone >= low) & (gone < high)]
        np.add.at(change, group[entered], sizes[entered])
        np.subtract.at(change, group[left], sizes[left])
    begins = (0,) * groups if len(earlier) else decisions.begins
    return tuple(begin + more for begin, more in zip(begins, change.tolist())), met


def admissions(requests: Requests, decisions: Decisions, guesses: Guesses) -> tuple[tuple[Ints, Ints], ...]:
    """(object, event) of what took a slot, in the order of events: by demand loads; by prefetches, or out of buffers; not by low copies."""
    at, loads, issued = requests.event_of_request, decisions.loads, np.flatnonzero(decisions.issued)
    if len(decisions.low):
        loads = loads[low_loads(decisions) == 0]
    if guesses.buffered:
        earlier = [] if decisions.buffered is None else [decisions.buffered.promoted]
        promoted = np.sort(np.concatenate((*earlier, decisions.fresh))).astype(np.int64)
        early = requests.obj[promoted], at[promoted]
    else:
        early = guesses.obj[issued], np.searchsorted(guesses.ptr, issued, side="right") - 1
    return (requests.obj[loads], at[loads]), early


def _low_copies(requests: Requests, decisions: Decisions, begin: int, end: int) -> Ints:
    """int64: low copies that took room in their pool in the events begin … end-1."""
    event = requests.event_of_request[decisions.loads]
    mine = (event >= begin) & (event < end) & (low_loads(decisions) == 1) & decisions.pooled
    found: Ints = load_objects(requests, decisions)[mine].astype(np.int64)
    return found


def _buffered(requests: Requests, decisions: Decisions, guesses: Guesses, event: int) -> Buffered:
    """What buffers hold when the event starts."""
    issued = np.flatnonzero(decisions.issued)
    issued = issued[issued < guesses.ptr[event]]
    obj = guesses.obj[issued]
    until = next_of_its_layer(requests, np.searchsorted(guesses.ptr, issued, side="right") - 1, obj)
    kept = until >= event
    promoted = (decisions.fresh >= requests.ptr[event]) & (decisions.fresh_by < guesses.ptr[event])
    return Buffered(
        obj[kept], until[kept] - event, decisions.fresh[promoted].astype(np.int64) - int(requests.ptr[event])
    )


def cold_misses(requests: Requests, decisions: Decisions, guesses: Guesses, mine: Flags) -> int:
    """Requests that met an empty slot: for an expert of the device that was never resident since slots were last emptied.
    mine [objects]: those of a device."""
    met = np.zeros(requests.n_objects, bool) if decisions.met is None else decisions.met
    count, always = 0, len(decisions.emptied) == requests.n_events
    for one in stretches(requests, decisions, guesses):
        missing = np.flatnonzero(~one.decisions.hit & mine[one.requests.obj])
        more, met = (len(missing), met) if always else _cold(one, missing, met)
        count += more
    return count


def _cold(stretch: Stretch, missing: Ints, met: Flags) -> tuple[int, Flags]:
    """How many of the requests `missing` met an empty slot; met [objects]: was resident before the stretch, and before its end, since slots
    were emptied."""
    requests, decisions, count = stretch.requests, stretch.decisions, 0
    obj, at = requests.obj[missing], requests.event_of_request[missing]
    entered = admissions(requests, decisions, stretch.guesses)
    for number, (begin, end) in enumerate(pairwise([0, *decisions.emptied.tolist(), requests.n_events])):
        first = np.where(met & (number == 0), -1, end)  # event at which each object was resident first
        for which, when in entered:
            some = slice(*np.searchsorted(when, (begin, end)))
            again = np.full(requests.n_objects, end)
            again[which[some][::-1]] = when[some][::-1]
            first = np.minimum(first, again)
        some = slice(*np.searchsorted(at, (begin, end)))
        count += int((first[obj[some]] >= at[some]).sum())
    return count, first < end
