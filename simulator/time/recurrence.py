"""Times by the recurrence over operations: one text, interpreted (engine `plain`) or compiled (engine `fast`)."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.binding import bound
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.absent import check_absent
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.stretches import Stretch, stretches
from simmoe.simulator.errors import LATEST_PS, too_long
from simmoe.simulator.grown import Grown
from simmoe.simulator.lower import layer
from simmoe.simulator.lower.absent import absent
from simmoe.simulator.lower.durations import Loading, Loads
from simmoe.simulator.lower.pass_by_pass import Arrays, Lowered
from simmoe.simulator.lower.records import Work
from simmoe.simulator.lower.tables import (
    longest_pass_ps,
    notes_of,
    resources,
    tables_of,
    transfers_slow,
    with_cpu,
    work_of,
)
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time import rates, serve
from simmoe.simulator.time.loop import Loop
from simmoe.simulator.time.rates import BUSY, FIELDS, HEAD, TAIL, Clock
from simmoe.simulator.time.trial import may_not_compile

LOGS = Clock._fields[-7:]  # [passes] each
QUEUED = ("issued_ps", "started_ps", "link_ps", "up_ps", "busy_ps")  # [guesses] each, where prefetches are withdrawn


class CompiledPlayer(Player):
    """Runs `residency.play` with the policies compiled into it."""

    def arrays(self, group: Any) -> Any:
        return super().arrays(group) if compiled.interpreted() else group

    def bind(
        self, eviction: ModuleType, absent: frozenset[str] = frozenset(), rule: ModuleType | None = None
    ) -> Callable[..., None]:
        play: Callable[..., None] = compiled.kernels(eviction, absent, rule).play
        return play

    def stacks(self) -> Any:
        return compiled.stacks()


def why_not(costs: Costs, requests: Requests, *, spans: bool = False) -> str | None:
    """What keeps the compiled engine from this scenario, in one sentence; None when nothing does."""
    compiled.numba_version()
    if spans:
        return "it does not record every launch and transfer, which a timeline file needs"
    large = [table for table in tables_of(costs, requests)[1] if table.dtype == object]
    if large:
        most = max(int(table.max()) for table in large)
        return f"a launch may read {most / 1e18:.1f} GB, more than its 64-bit clock counts (9.2 GB)"
    return None


def simulate(
    costs: Costs,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    loads: Loading | Loads,
    timeline: ModuleType,
    player: Player,
) -> Clocks:
    """Times of every pass. The player says whether the text runs compiled. Raises UserError when the clock would overflow."""
    asked, clocks = Asked(costs, requests, decisions, guesses, loads), None
    if isinstance(player, CompiledPlayer):
        lacks = asked.absent
        with may_not_compile(timeline):
            clocks = _played(asked, compiled.clock(timeline, lacks), player.arrays, lacks, may_wrap=True)
    if clocks is None:  # Python's numbers do not wrap
        clocks = _played(asked, bound(layer, timeline, rates, serve), Player().arrays, frozenset(), may_wrap=False)
    if clocks is None:
        raise too_long()
    return clocks


class Asked(NamedTuple):
    """A run that is to be timed."""

    costs: Costs
    requests: Requests
    decisions: Decisions
    guesses: Guesses
    loads: Loading | Loads

    @property
    def with_cpu(self) -> bool:
        """The CPU computes experts."""
        return len(self.decisions.cpu) > 0

    @property
    def absent(self) -> frozenset[str]:
        """What the clock is not given."""
        prefetching, gone = len(self.guesses.obj) > 0, len(self.decisions.dropped) + len(self.decisions.stands) > 0
        return _absent(self.costs, prefetching, self.guesses.cancel, self.with_cpu, gone)

    def work(self, stretch: Stretch) -> Work:
        loads = self.loads.within(stretch)
        return work_of(self.costs, stretch.requests, stretch.decisions, stretch.guesses, loads, self.with_cpu)


def _absent(costs: Costs, prefetching: bool, cancelling: bool, with_cpu: bool, with_gone: bool) -> frozenset[str]:
    hops, low = costs.hw.link.upstream is not None, bool(costs.model.low)
    return absent(
        contended=costs.contended, hops=hops, prefetching=prefetching, cancelling=cancelling, with_cpu=with_cpu,
        with_gone=with_gone or low, with_low=low,
    )  # fmt: skip


def serve_loop(loop: Loop, player: Player, prefetching: bool) -> Clocks:
    """Times of every pass of a clock-driven run. Raises UserError when the clock would overflow, and OverflowError where compiled text
    might: then Python's numbers play it."""
    by_machine = isinstance(player, CompiledPlayer)
    lacks = _absent(loop.costs, prefetching, loop.cancel, loop.lowered.with_cpu, True)
    text = compiled.clock(loop.timeline, lacks) if by_machine else bound(layer, loop.timeline, rates, serve)
    clock, now = Grown(_begun(loop.costs.devices), player.arrays), 0
    while (start := loop.begin(now)) is not None:
        lowered = loop.lowered
        _make_room(clock, lowered)
        behind = start + lowered.longest_ps + 2 * max(0, *(int(free) - start for free in clock.now.free))
        if by_machine and behind > LATEST_PS:
            raise OverflowError("the clock might wrap around")
        f, t, w, s = lowered.fixed._replace(latest=LATEST_PS), lowered.tables.now, lowered.work.now, lowered.notes
        check_absent(lacks, f=f, w=w, e=clock.now)
        with may_not_compile(loop.timeline):
            now = text.run_passes(loop.passes, loop.passes + 1, start, f, t, w, s, clock.now)
        if now > LATEST_PS:
            raise too_long()
        loop.end()
    logs = (clock.since(name) for name in LOGS)
    return Clocks(*logs, int(clock.now.at[BUSY]), np.array(clock.since("fate"), np.int8))  # type: ignore[call-arg, arg-type]


def _begun(devices: int) -> Clock:
    """Before the first pass."""
    n = resources(devices)
    return Clock(*(np.zeros(one, np.int64) for one in (FIELDS, n, n, *[0] * 16)))


def _make_room(clock: Grown[Clock], lowered: Lowered) -> None:
    """For the next pass, its guesses and its transfers."""
    guesses = clock.length["arrival"]
    more = dict.fromkeys(("arrival", "fate"), lowered.work.length["issued"] - guesses) | dict.fromkeys(LOGS, 1)
    more |= dict.fromkeys(QUEUED, lowered.work.length["guess_for"] - clock.length["issued_ps"])
    if transfers_slow(lowered.costs, lowered.with_cpu):
        issued = np.count_nonzero(lowered.work.since("issued"))
        more |= dict.fromkeys(("begin", "end"), lowered.work.length["loads"] + int(issued) - clock.length["begin"])
    clock.extend(**{name: np.zeros(n, np.int64) for name, n in more.items()})


def _played(asked: Asked, text: Any, arrays: Arrays, lacks: frozenset[str], *, may_wrap: bool) -> Clocks | None:
    """Times of every pass, stretch by stretch; None when not all can be played. lacks: arrays that the text was made without; may_wrap:
    numbers above 64 bits wrap around."""
    costs, requests, passes = asked.costs, asked.requests, len(asked.costs.sizes)
    fixed, tables = tables_of(costs, requests)
    fixed, tables, places = with_cpu(fixed, costs) if asked.with_cpu else fixed, arrays(tables), fixed.places
    logs, now, clock = [np.zeros(passes, np.int64) for _ in LOGS], 0, None
    for stretch in stretches(requests, asked.decisions, asked.guesses, places):
        work, mine = asked.work(stretch), slice(stretch.begin // places, stretch.end // places)
        clock = arrays(_clock(costs, work, [log[mine] for log in logs], clock, now))
        latest = _latest_ps(asked, work, clock, now) if may_wrap else LATEST_PS
        if latest < now:
            return None
        check_absent(lacks, f=fixed, w=work, e=clock)
        sizes = tables.size[mine.start * fixed.shares : mine.stop * fixed.shares]
        own = tables._replace(size=sizes), arrays(work), arrays(notes_of(requests.widest, costs.devices))
        now = text.run_passes(0, len(clock.end_ps), now, fixed._replace(latest=latest), *own, clock)
        if now != clock.end_ps[-1] or now > LATEST_PS:
            return None
        if isinstance(clock.end_ps, list):
            for log, written in zip(logs, clock[-len(LOGS) :]):
                log[mine] = written
    return Clocks(*logs, int(clock.at[BUSY]), np.array(clock.fate, np.int8))  # type: ignore[call-arg, arg-type, union-attr]


def _latest_ps(asked: Asked, work: Work, clock: Clock, now: int) -> int:
    """A pass that starts later might end behind what 64 bits count; before `now` resources may have been asked for more than they have
    served."""
    behind = max(0, *(int(free) - now for free in clock.free))
    return LATEST_PS - longest_pass_ps(asked.costs, asked.requests, work) - 2 * behind


def _clock(costs: Costs, work: Work, logs: list[Ints], before: Clock | None, now: int) -> Clock:
    """For the next passes, which `logs` are of, with what goes on at `now`, when those have ended that `before` has played."""
    transfers = (
        len(work.loads) + int(np.count_nonzero(work.issued)) if transfers_slow(costs, len(work.cpu_ps) > 0) else 0
    )
    n = resources(costs.devices)
    at, free, ready = (np.zeros(one, np.int64) for one in (FIELDS, n, n))
    begin, end = np.zeros(transfers, np.int64), np.zeros(transfers, np.int64)
    if before is not None:
        at, free, ready, begins, ends = (
            np.array(one, np.int64) for one in (before.at, before.free, before.ready, before.begin, before.end)
        )
        known = slice(at[HEAD] + np.searchsorted(ends[at[HEAD] : at[TAIL]], now, side="right"), at[TAIL])
        begin, end = np.concatenate((begins[known], begin)), np.concatenate((ends[known], end))
        at[HEAD], at[TAIL] = 0, len(begins[known])
    arrival, fate = np.zeros(len(work.issued), np.int64), np.zeros(len(work.issued), np.int64)
    queued = [np.zeros(len(work.guess_for), np.int64) for _ in QUEUED]
    return Clock(*(at, free, ready, arrival, fate, *queued, begin, end, *logs))
