"""Times by the recurrence over operations: one text, interpreted (engine `plain`) or compiled (engine `fast`)."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from simmoe.simulator.binding import bound
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import LATEST_PS, too_long
from simmoe.simulator.grown import Grown
from simmoe.simulator.lower import layer
from simmoe.simulator.lower.durations import Loading
from simmoe.simulator.lower.pass_by_pass import Lowered
from simmoe.simulator.lower.records import Fixed, Notes, Tables, Work
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
from simmoe.simulator.time.rates import BUSY, FIELDS, Clock
from simmoe.simulator.time.trial import may_not_compile


class CompiledPlayer(Player):
    """Runs `residency.play` with the policies compiled into it."""

    def arrays(self, group: Any) -> Any:
        return super().arrays(group) if compiled.interpreted() else group

    def bind(
        self, eviction: ModuleType, prefetching: bool = True, rule: ModuleType | None = None
    ) -> Callable[..., None]:
        play: Callable[..., None] = compiled.kernels(eviction, prefetching, rule).play
        return play


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
    loads: Loading,
    timeline: ModuleType,
    player: Player,
) -> Clocks:
    """Times of every pass. The player says whether the text runs compiled. Raises UserError when the clock would overflow."""
    fixed, tables = tables_of(costs, requests)
    work, passes = work_of(costs, requests, decisions, guesses, loads), len(costs.sizes)
    fixed = with_cpu(fixed, costs) if len(work.cpu_ps) else fixed
    compiled_to = LATEST_PS - longest_pass_ps(costs, requests, work)  # a pass that starts later might wrap around
    clock = None
    if isinstance(player, CompiledPlayer) and compiled_to >= 0:
        cpu, hops = len(work.cpu_ps) > 0, costs.hw.link.upstream is not None
        text, fixed = compiled.clock(timeline, len(guesses.obj) > 0, cpu, hops), fixed._replace(latest=compiled_to)
        with may_not_compile(timeline):
            clock = _played(
                text,
                player.arrays,
                fixed,
                tables,
                work,
                notes_of(requests.widest, costs.devices),
                _clock(costs, work, passes),
            )
    if clock is None:  # Python's numbers do not wrap
        text, fixed = bound(layer, timeline, rates, serve), fixed._replace(latest=LATEST_PS)
        clock = _played(
            text,
            Player().arrays,
            fixed,
            tables,
            work,
            notes_of(requests.widest, costs.devices),
            _clock(costs, work, passes),
        )
    if clock is None or clock.end_ps[-1] > LATEST_PS:
        raise too_long()
    return Clocks(*(np.asarray(log, np.int64) for log in clock[-7:]), int(clock.at[BUSY]))  # type: ignore[call-arg, arg-type]


def serve_loop(loop: Loop, player: Player, prefetching: bool) -> Clocks:
    """Times of every pass of a clock-driven run. Raises UserError when the clock would overflow, and OverflowError where compiled text
    might: then Python's numbers play it."""
    by_machine = isinstance(player, CompiledPlayer)
    cpu, hops = loop.lowered.with_cpu, loop.costs.hw.link.upstream is not None
    sources = (layer, loop.timeline, rates, serve)
    text = compiled.clock(loop.timeline, prefetching, cpu, hops) if by_machine else bound(*sources)
    clock, now = Grown(_begun(), player.arrays), 0
    while (start := loop.begin(now)) is not None:
        lowered = loop.lowered
        _make_room(clock, lowered)
        behind = start + lowered.longest_ps + 2 * max(0, *(int(free) - start for free in clock.now.free))
        if by_machine and behind > LATEST_PS:
            raise OverflowError("the clock might wrap around")
        f, t, w, s = lowered.fixed._replace(latest=LATEST_PS), lowered.tables.now, lowered.work.now, lowered.notes
        with may_not_compile(loop.timeline):
            now = text.run_passes(loop.passes, loop.passes + 1, start, f, t, w, s, clock.now)
        if now > LATEST_PS:
            raise too_long()
        loop.end()
    logs = (clock.since(name) for name in Clock._fields[-7:])
    return Clocks(*logs, int(clock.now.at[BUSY]))  # type: ignore[call-arg, arg-type]


def _begun() -> Clock:
    """Before the first pass."""
    n = resources(1)
    return Clock(*(np.zeros(one, np.int64) for one in (FIELDS, n, n, *[0] * 10)))


def _make_room(clock: Grown[Clock], lowered: Lowered) -> None:
    """For the next pass, its guesses and its transfers."""
    guesses = clock.length["arrival"]
    more = {"arrival": lowered.work.length["issued"] - guesses} | dict.fromkeys(Clock._fields[-7:], 1)
    if transfers_slow(lowered.costs, lowered.with_cpu):
        issued = np.count_nonzero(lowered.work.since("issued"))
        more |= dict.fromkeys(("begin", "end"), lowered.work.length["loads"] + int(issued) - clock.length["begin"])
    clock.extend(**{name: np.zeros(n, np.int64) for name, n in more.items()})


def _played(
    text: Any, arrays: Callable[[Any], Any], fixed: Fixed, tables: Tables, work: Work, notes: Notes, clock: Clock
) -> Clock | None:
    """The clock behind the last pass; None when it could not play them all."""
    clock = arrays(clock)
    end = text.run_passes(0, len(clock.end_ps), 0, fixed, arrays(tables), arrays(work), arrays(notes), clock)
    return clock if end == clock.end_ps[-1] else None


def _clock(costs: Costs, work: Work, passes: int) -> Clock:
    transfers = (
        len(work.loads) + int(np.count_nonzero(work.issued)) if transfers_slow(costs, len(work.cpu_ps) > 0) else 0
    )
    n = resources(costs.devices)
    lengths = (FIELDS, n, n, len(work.issued), transfers, transfers, *[passes] * 7)
    return Clock(*(np.zeros(n, np.int64) for n in lengths))
