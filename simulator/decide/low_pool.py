"""Low copies that a miss rule has serve in place of missing experts (docs/changed_output.md): what of them is loaded, and when.

They stay in a pool of their own beside the experts' slots, or are forgotten with their event. The rule never asks what the pool holds, so
the pool is played behind the slots, by the same residency, and what both decided is put together here.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Flags, Ints, small
from simmoe.simulator.decide.counts import event_of_cause
from simmoe.simulator.decide.decisions import NOTHING_TOLD, decide
from simmoe.simulator.decide.gather import Requests, Uses
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.pass_by_pass import Decider
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions, Guesses


class Pool(NamedTuple):
    """What keeps low copies: one room for those of all layers, which starts empty, under the eviction policy of the slots."""

    low_bytes: Ints  # [layers] of a copy
    room_bytes: int
    eviction: ModuleType
    seed: int = 0
    told: Told = NOTHING_TOLD


def check_room(room_bytes: int, low_bytes: Ints) -> None:
    """Raises UserError for a pool that does not hold one copy."""
    if room_bytes < int(low_bytes.max()):
        raise UserError(
            f"the pool of {room_bytes:,} B for low copies is below one copy, {int(low_bytes.max()):,} B; raise --low-budget, or leave it "
            "out: then copies are forgotten with their event"
        )


def with_low(
    requests: Requests, made: Decisions, guesses: Guesses, pool: Pool | None, cold_at: Ints | None = None, player: Player | None = None
) -> Decisions:  # fmt: skip
    """The decisions of a run with those of its low copies. pool: None = they are forgotten with their event. cold_at: as in `decide`."""
    if pool is None:
        return joined(requests, made, guesses, None)
    check_room(pool.room_bytes, pool.low_bytes)
    asked, how = only(requests, made.low), {"seed": pool.seed, "told": pool.told}
    kept = decide(asked, pool.low_bytes, pool.eviction, pool.room_bytes, cold_at=cold_at, player=player, **how)  # type: ignore[arg-type]
    return joined(requests, made, guesses, kept)


def only(requests: Requests, mine: Ints) -> Requests:
    """Some of the requests; events and objects keep their numbers."""
    kept = np.zeros(len(requests.obj), bool)
    kept[mine] = True
    used = kept[requests.use_request]
    return Requests(
        n_events=requests.n_events, n_objects=requests.n_objects, ptr=_cut(requests.ptr, kept), obj=requests.obj[kept],
        tokens=requests.tokens[kept], use_ptr=_cut(requests.use_ptr, used),
        occurrences=Uses(
            requests.use_obj[used], (np.cumsum(kept) - 1)[requests.use_request[used]], requests.use_slot[used]
        ),
        event_pass=requests.event_pass, event_layer=requests.event_layer, trace=requests.trace,
    )  # fmt: skip


def _cut(ptr: Ints, kept: Flags) -> Ints:
    """Pointers into what is kept."""
    return np.concatenate(([0], np.cumsum(kept)))[ptr]


def joined(requests: Requests, made: Decisions, guesses: Guesses, kept: Decisions | None) -> Decisions:
    """What the slots and the pool decided, together. kept: decisions of the pool about the requests `made.low`; None = there is no pool,
    and each copy is loaded."""
    groups, n, loaded = len(made.rooms), requests.n_objects, made.low if kept is None else made.low[kept.loads]
    mine = np.arange(n) * groups // n if made.group is None else made.group
    loads = np.sort(np.concatenate((made.loads.astype(np.int64), loaded)))
    both = replace(
        made, loads=small(loads), begins=(*made.begins, 0),
        rooms=(*made.rooms, 0 if kept is None else kept.rooms[0]), group=np.concatenate((mine, np.full(n, groups))),
        pooled=kept is not None,
    )  # fmt: skip
    both = replace(both, wait=_Order(requests, made, both).waits(made, kept, loaded))
    if kept is None:
        return both
    evicted = np.concatenate((made.evicted.astype(np.int64), kept.evicted.astype(np.int64) + n))
    cause = np.concatenate((made.evicted_for.astype(np.int64), made.low[kept.evicted_for]))
    order = np.argsort(cause if (cause >= 0).all() else event_of_cause(requests, guesses, cause), kind="stable")
    return replace(both, evicted=evicted[order], evicted_for=cause[order], used=made.used + kept.used)


class WithLow:
    """Decides pass by pass, as simulator/decide/pass_by_pass.py does, with the low copies of each pass. pool: what keeps them, if anything
    does."""

    def __init__(self, main: Decider, pool: Decider | None) -> None:
        self.main, self.pool = main, pool
        self.rooms: tuple[int, ...] = (*main.rooms, 0 if pool is None else pool.rooms[0])
        self.begins: tuple[int, ...] = (*main.begins, 0)

    def decide(self, requests: Requests, guesses: Guesses) -> Decisions:
        return self._joined(requests, guesses, self.main.decide(requests, guesses), False)

    def whole(self, requests: Requests, guesses: Guesses) -> Decisions:
        return self._joined(requests, guesses, self.main.whole(requests, guesses), True)

    def _joined(self, requests: Requests, guesses: Guesses, made: Decisions, whole: bool) -> Decisions:
        if self.pool is None:
            return joined(requests, made, guesses, None)
        asked = only(requests, made.low)
        played = self.pool.whole if whole else self.pool.decide
        return joined(requests, made, guesses, played(asked, asked.no_guesses))

    def fails_compiled(self, error: Exception) -> Exception:
        return self.main.fails_compiled(error)


class _Order:
    """Computed order of each event: what was resident in the slots, what was in the pool, then all loads as they are issued."""

    def __init__(self, requests: Requests, made: Decisions, both: Decisions) -> None:
        self.requests, self.event, events = requests, requests.event_of_request, requests.n_events
        held = np.setdiff1d(both.low, both.loads, assume_unique=True)
        self.slots = np.bincount(self.event[made.hit], minlength=events) + np.bincount(
            _beside(requests, made), minlength=events
        )
        self.pool = np.bincount(self.event[held], minlength=events)
        self.place = np.zeros(len(requests.obj), np.int64)  # of each load among those of its event, from 1
        loads = both.loads.astype(np.int64)
        self.place[loads] = np.arange(len(loads)) - np.searchsorted(loads, requests.ptr[self.event[loads]]) + 1

    def waits(self, made: Decisions, kept: Decisions | None, loaded: Ints) -> Ints:
        """int32 [requests]: Decisions.wait. loaded: requests whose low copy is loaded."""
        found = np.zeros(len(self.requests.obj), np.int32)
        nothing = np.zeros_like(self.slots)
        self._put(found, made.loads.astype(np.int64), made.wait[made.loads], nothing, self.slots)
        if kept is not None:
            self._put(found, loaded, kept.wait[kept.loads], self.slots, self.pool)
        return found

    def _put(self, found: Ints, loads: Ints, wait: Ints, before: Ints, resident: Ints) -> None:
        """Of loads that wait until the first `wait` of their own memory have ended: so many that were resident there, which stand behind
        `before` others, then these loads."""
        which = np.flatnonzero(wait)
        mine, rank = loads[which], wait[which].astype(np.int64)
        event = self.event[mine]
        number = (
            rank - resident[event] - 1
        )  # of the load that is waited for, among these loads of the event; below 0: of a resident
        other = loads[np.searchsorted(loads, self.requests.ptr[event]) + np.maximum(number, 0)]
        behind = self.slots[event] + self.pool[event] + self.place[other]
        found[mine] = np.where(number < 0, before[event] + rank, behind)


def _beside(requests: Requests, made: Decisions) -> Ints:
    """The event of each expert that stands in and that its event does not request."""
    if not len(made.stands):
        return made.stands
    event, n = requests.event_of_request, requests.n_objects
    wanted = np.unique(event[made.stands] * n + made.stands_by)
    return wanted[~np.isin(wanted, event * n + requests.obj)] // n
