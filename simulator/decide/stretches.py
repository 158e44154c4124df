"""A long run in stretches of passes, one after the other: what is computed of a stretch takes memory only while it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints, blocks
from simmoe.simulator.decide.gather import Requests, Uses
from simmoe.simulator.nouns.decisions import Decisions, Guesses

LONGEST = 2**22  # requests of a stretch


class Stretch(NamedTuple):
    """The events begin … end-1 of a run, numbered from the first of them on; passes and objects keep their numbers.

    Of its decisions, what holds before the first event (begins, met, buffered) is that of the run.
    """

    begin: int
    end: int
    requests: Requests
    decisions: Decisions
    guesses: Guesses
    loads: slice  # of the loads of the run


def stretches(requests: Requests, decisions: Decisions, guesses: Guesses, places: int = 1) -> Iterator[Stretch]:
    """The run in stretches of whole passes, `places` events each. A short run is one stretch, and so is one with guesses: what they bring
    may be met in any later pass."""
    if len(guesses.obj) or len(requests.obj) <= LONGEST:
        yield whole(requests, decisions, guesses)
    else:
        for begin, end in blocks(requests.ptr[::places], LONGEST):
            yield _between(requests, decisions, guesses, begin * places, end * places)


def whole(requests: Requests, decisions: Decisions, guesses: Guesses) -> Stretch:
    """The run as one stretch."""
    return Stretch(0, requests.n_events, requests, decisions, guesses, slice(0, len(decisions.loads)))


def _between(requests: Requests, decisions: Decisions, guesses: Guesses, begin: int, end: int) -> Stretch:
    first, last = int(requests.ptr[begin]), int(requests.ptr[end])
    loads = within(decisions.loads, first, last)
    evicted, emptied = within(decisions.evicted_for, first, last), within(decisions.emptied, begin, end)
    stands = within(decisions.stands, first, last)
    mine = replace(
        decisions, hit=decisions.hit[first:last], wait=decisions.wait[first:last], loads=_from(decisions.loads[loads], first),
        cpu=_from(decisions.cpu[within(decisions.cpu, first, last)], first), evicted=decisions.evicted[evicted],
        evicted_for=_from(decisions.evicted_for[evicted], first), used=decisions.used[begin:end],
        emptied=_from(decisions.emptied[emptied], begin), dropped=_from(decisions.dropped[within(decisions.dropped, first, last)], first),
        stands=_from(decisions.stands[stands], first), stands_by=decisions.stands_by[stands],
        low=_from(decisions.low[within(decisions.low, first, last)], first),
    )  # fmt: skip
    none = Guesses(guesses.ptr[begin : end + 1], guesses.obj, guesses.buffered, guesses.cancel)
    return Stretch(begin, end, _asked(requests, begin, end), mine, none, loads)


def _asked(requests: Requests, begin: int, end: int) -> Requests:
    first, last = requests.ptr[begin], requests.ptr[end]
    ptr, obj = requests.ptr[begin : end + 1] - first, requests.obj[first:last]
    used = slice(requests.use_ptr[begin], requests.use_ptr[end])

    def uses() -> Uses:
        whole = requests.uses
        again, slot = whole.request, whole.slot
        return Uses(
            obj if whole.obj is requests.obj else whole.obj[used],
            None if again is None else _from(again[used], int(first)),
            None if slot is None else slot[used],
        )

    same = requests.use_ptr is requests.ptr
    return Requests(
        n_events=end - begin, n_objects=requests.n_objects, ptr=ptr, obj=obj, tokens=requests.tokens[first:last],
        use_ptr=ptr if same else requests.use_ptr[begin : end + 1] - requests.use_ptr[begin], occurrences=uses,
        event_pass=requests.event_pass[begin:end], event_layer=requests.event_layer[begin:end],
    )  # fmt: skip


def within(rising: Ints, first: int, last: int) -> slice:
    """Where the numbers first … last-1 stand. The bounds have the type of the numbers: other ones would copy them all."""
    return slice(*np.searchsorted(rising, np.array([first, last], rising.dtype)).tolist())


def _from(numbers: Ints, first: int) -> Ints:
    """Counted from `first` on."""
    return numbers - numbers.dtype.type(first)
