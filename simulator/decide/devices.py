"""Several devices: each decides about the experts that it has, and their verdicts become those of one run.

In the run an event of several devices is as many events, one for each device, in the order of the devices: event * devices + device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Flags, Ints, distinct
from simmoe.simulator.decide.gather import Requests, Uses
from simmoe.simulator.decide.start import IN_PART
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.layout import Layout

T = TypeVar("T", bound=np.generic)


def asked_of(requests: Requests, mine: Flags) -> Requests:
    """The requests for the objects of `mine` [objects]; events and objects keep their numbers."""
    kept = mine[requests.obj]

    @cache  # asked for by more than one
    def occurrences() -> Uses:
        used = np.flatnonzero(mine[requests.use_obj])
        number = None if requests.request_of_use is None else np.cumsum(kept) - 1
        request = None if number is None else number[requests.use_request[used]]
        return Uses(requests.use_obj[used], request, requests.use_slot[used])

    return Requests(
        n_events=requests.n_events, n_objects=requests.n_objects, ptr=_cut(requests.ptr, kept), obj=requests.obj[kept],
        tokens=requests.tokens[kept], use_ptr=_cut(requests.ptr, requests.tokens * kept), occurrences=occurrences,
        event_pass=requests.event_pass, event_layer=requests.event_layer, trace=requests.trace,
    )  # fmt: skip


def guessed_of(guesses: Guesses, mine: Flags) -> Guesses:
    """The guesses that name objects of `mine` [objects]."""
    kept = mine[guesses.obj]
    return Guesses(_cut(guesses.ptr, kept), guesses.obj[kept], guesses.buffered)


def _cut(ptr: Ints, kept: Flags | Ints) -> Ints:
    """Pointers into what is kept, of each item so many."""
    return np.concatenate(([0], np.cumsum(kept, dtype=np.int64)))[ptr]


def together(asked: Sequence[Requests], guessed: Sequence[Guesses]) -> tuple[Requests, Guesses]:
    """Requests and guesses of all devices, an event of each behind the other."""
    n, devices = asked[0].n_events, len(asked)
    obj = _woven([one.ptr for one in asked], [one.obj for one in asked])
    tokens = _woven([one.ptr for one in asked], [one.tokens for one in asked])
    uses = [one.use_ptr for one in asked]

    def occurrences() -> Uses:
        place = _places([one.ptr for one in asked])
        request = [place[d][one.use_request] for d, one in enumerate(asked)]
        of_each = [one.use_obj for one in asked], request, [one.use_slot for one in asked]
        return Uses(*(_woven(uses, one) for one in of_each))

    event_pass, event_layer = np.repeat(asked[0].event_pass, devices), np.repeat(asked[0].event_layer, devices)
    requests = Requests(
        n_events=n * devices, n_objects=asked[0].n_objects, ptr=_pointers([one.ptr for one in asked]), obj=obj, tokens=tokens,
        use_ptr=_pointers(uses), occurrences=occurrences, event_pass=event_pass, event_layer=event_layer,
    )  # fmt: skip
    ptrs = [one.ptr for one in guessed]
    return requests, Guesses(_pointers(ptrs), _woven(ptrs, [one.obj for one in guessed]), guessed[0].buffered)


def judged(
    layout: Layout,
    asked: Sequence[Requests],
    guessed: Sequence[Guesses],
    decided: Sequence[Decisions],
    brought_by: Sequence[Ints] | None = None,
) -> Decisions:
    """The verdicts of all devices, in the numbers of `together`. brought_by: for each device, the number that each guess has to which its
    `fresh_by` points (default: that of `together`)."""
    request, guess = _places([one.ptr for one in asked]), _places([one.ptr for one in guessed])
    ptrs, guesses = [one.ptr for one in asked], [one.ptr for one in guessed]
    devices = len(decided)

    def renamed(number: Sequence[Ints], values: Sequence[Ints]) -> Ints:
        return np.concatenate([number[d][one] for d, one in enumerate(values)])

    def cause(d: int, of: Ints) -> Ints:
        for_guess = of < 0
        out = np.zeros(len(of), np.int64)
        out[~for_guess], out[for_guess] = request[d][of[~for_guess]], -1 - guess[d][-1 - of[for_guess]]
        return out

    causes = [cause(d, one.evicted_for) for d, one in enumerate(decided)]
    when = np.concatenate([_events(asked[d], guessed[d], one) * devices + d for d, one in enumerate(decided)])
    order = np.argsort(when, kind="stable")
    fresh = renamed(request, [one.fresh for one in decided])
    first = np.argsort(fresh, kind="stable")
    used = sum(one.used for one in decided)
    starts = {one.start for device, one in enumerate(decided) if layout.of(device).any()}
    return Decisions(
        hit=_woven(ptrs, [one.hit for one in decided]),
        wait=_woven(ptrs, [one.wait for one in decided]),
        issued=_woven(guesses, [one.issued for one in decided]),
        loads=np.sort(renamed(request, [one.loads for one in decided])),
        cpu=np.sort(renamed(request, [one.cpu for one in decided])),
        evicted=np.concatenate([one.evicted for one in decided])[order],
        evicted_for=np.concatenate(causes)[order],
        used=np.repeat(np.asarray(used), devices),
        fresh=fresh[first],
        fresh_by=renamed(brought_by or guess, [one.fresh_by for one in decided])[first],
        unused_bytes=sum(one.unused_bytes for one in decided),
        rooms=tuple(room for one in decided for room in one.rooms),
        begins=tuple(begin for one in decided for begin in one.begins),
        emptied=decided[0].emptied * devices,
        group=layout.unit.reshape(-1),
        start=starts.pop() if len(starts) == 1 else IN_PART,
        met=np.logical_or.reduce(met) if (met := [one.met for one in decided if one.met is not None]) else None,
    )


def numbered(guessed: Sequence[Guesses]) -> list[Ints]:
    """For each device: the number of each of its guesses among those of `together`."""
    return _places([one.ptr for one in guessed])


def woven_loads(asked: Sequence[Requests], decided: Sequence[Decisions], values: Sequence[Ints]) -> Ints:
    """A value of each load of each device, in the order of `Decisions.loads` of the whole run."""
    request = _places([one.ptr for one in asked])
    where = np.concatenate([request[d][one.loads] for d, one in enumerate(decided)])
    return np.concatenate(list(values))[np.argsort(where, kind="stable")]


def woven_guesses(guessed: Sequence[Guesses], values: Sequence[Ints]) -> Ints:
    """A value of each guess of each device, in the order of the whole run."""
    return _woven([one.ptr for one in guessed], list(values))


def rows_sent(requests: Requests, slots_per_row: int, devices: int = 1, owner: Ints | None = None) -> Ints:
    """int [events]: rows of the pass with at least one expert of the event; slots_per_row: of Trace.expert_ids. owner: [rows] the one of
    the devices that has the row, and is not sent it."""
    return np.bincount(_sent_rows(requests, slots_per_row, devices, owner)[0], minlength=requests.n_events)


def rows_of_ports(requests: Requests, slots_per_row: int, devices: int, owner: Ints) -> Ints:
    """int [events]: the most rows that a port moves which the message to the device of the event uses: all that this one is sent, or all
    that one of its senders sends to the others. As many come back."""
    event, row = _sent_rows(requests, slots_per_row, devices, owner)
    sender = event // devices * devices + owner[row]
    into, out = (np.bincount(port, minlength=requests.n_events) for port in (event, sender))
    np.maximum.at(into, event, out[sender])
    return into


def _sent_rows(requests: Requests, slots_per_row: int, devices: int, owner: Ints | None) -> tuple[Ints, Ints]:
    """Event and row of each row that is sent, once to each device."""
    event = np.repeat(np.arange(requests.n_events), np.diff(requests.use_ptr))
    row = requests.use_slot.astype(np.int64) // slots_per_row
    if owner is not None:
        away = owner[row] != event % devices
        event, row = event[away], row[away]
    rows = int(row.max(initial=0)) + 1
    return np.divmod(distinct(event * rows + row)[0], rows)


def _events(requests: Requests, guesses: Guesses, decisions: Decisions) -> Ints:
    """Event of each eviction of one device."""
    cause = decisions.evicted_for
    demand = np.searchsorted(requests.ptr, cause, side="right") - 1
    return np.where(cause >= 0, demand, np.searchsorted(guesses.ptr, -1 - cause, side="right") - 1)


def _pointers(ptrs: Sequence[Ints]) -> Ints:
    lengths = np.stack([np.diff(ptr) for ptr in ptrs], axis=1).reshape(-1)
    return np.concatenate(([0], np.cumsum(lengths)))


def _places(ptrs: Sequence[Ints]) -> list[Ints]:
    """For each device: where each of its items stands among those of all."""
    begins, devices = _pointers(ptrs), len(ptrs)
    found = list[Ints]()
    for d, ptr in enumerate(ptrs):
        lengths = np.diff(ptr)
        found.append(np.repeat(begins[:-1][d::devices] - ptr[:-1], lengths) + np.arange(int(ptr[-1])))
    return found


def _woven(ptrs: Sequence[Ints], values: Sequence[npt.NDArray[T]]) -> npt.NDArray[T]:
    """The items of all devices, event by event, in each event device by device."""
    out: npt.NDArray[T] = np.empty(sum(len(one) for one in values), values[0].dtype)
    for place, one in zip(_places(ptrs), values):
        out[place] = one
    return out
