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
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower import layer
from simmoe.simulator.lower.durations import Loading
from simmoe.simulator.lower.records import Work
from simmoe.simulator.lower.tables import longest_pass_ps, notes_of, tables_of, work_of
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time import rates, serve
from simmoe.simulator.time.rates import BUSY, EVER, Clock

RESOURCES = 3
TOO_LONG = (
    "the run lasts longer than its clock counts, 2**63 ps (106 days of simulated time): play fewer tokens (--tokens), or look for a "
    "bandwidth or a size in the inputs that is off by orders of magnitude"
)


class CompiledPlayer(Player):
    """Runs `residency.play` with the policy compiled into it."""

    def arrays(self, group: Any) -> Any:
        return super().arrays(group) if compiled.interpreted() else group

    def bind(self, eviction: ModuleType, prefetching: bool = True) -> Callable[..., None]:
        play: Callable[..., None] = compiled.kernels(eviction, prefetching).play
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
    if costs.contended and len(work.cpu_ps):
        fixed = fixed._replace(rate_beside_cpu=costs.beside_cpu[0], slow_beside_cpu=costs.beside_cpu[1])
    fixed = fixed._replace(latest=EVER - longest_pass_ps(fixed, tables, work))
    clock = player.arrays(_clock(costs, work, passes))
    text = _text(timeline, len(guesses.obj) > 0, player)
    end = text.run_passes(
        0, passes, 0, fixed, player.arrays(tables), player.arrays(work), player.arrays(notes_of(requests)), clock
    )
    if end != clock.end_ps[-1]:
        raise UserError(TOO_LONG)
    by_pass = (np.asarray(log).tolist() for log in clock[-6:])
    return Clocks(*by_pass, link_busy_ps=int(clock.at[BUSY]))  # type: ignore[misc]


def _text(timeline: ModuleType, prefetching: bool, player: Player) -> Any:
    if isinstance(player, CompiledPlayer):
        return compiled.clock(timeline, prefetching)
    return bound(layer, timeline, rates, serve)


def _clock(costs: Costs, work: Work, passes: int) -> Clock:
    transfers = len(work.loads) + int(np.count_nonzero(work.issued)) if costs.contended else 0
    lengths = (9, RESOURCES, RESOURCES, len(work.issued), transfers, transfers, *[passes] * 6)
    return Clock(*(np.zeros(n, np.int64) for n in lengths))
