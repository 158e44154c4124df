"""A clock-driven run: passes are made, decided and timed one after the other."""

from __future__ import annotations

import numpy as np

from simmoe import policies
from simmoe.play import asked
from simmoe.play.arrivals import arrival_ps
from simmoe.play.plan import Plan, cheaper, check_prefetch, placed
from simmoe.play.workload import Workload
from simmoe.simulator.arrays import Flags
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.stepwise import Bound, Cache, Decider, Stepwise
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Clocks, Spans
from simmoe.simulator.nouns.serving import ServingLog
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import Engine
from simmoe.simulator.time.loop import Loop
from simmoe.simulator.time.serving import Serving

Played = tuple[Workload, Decisions, Guesses, Clocks, ServingLog]


def played(workload: Workload, plan: Plan, engine: Engine, spans: Spans | None) -> Played:
    """The workload in the passes that were made of it, what was decided, and when. Raises UserError."""
    workload = workload.begun
    _refuse(workload, plan)
    trace, schedule, most = workload.trace, workload.clock_driven, workload.max_batch
    assert schedule is not None and most is not None
    arrivals = arrival_ps(plan.arrivals, len(np.unique(trace.sequence)), plan.seed)
    asks, timeline = Asks(workload, plan), policies.load("timeline", plan.timeline)

    def made(player: Player, occupied: bool) -> Loop:
        return Loop(
            workload.costs, Serving(trace, arrivals, schedule, most), _decider(workload, plan, player), asks, timeline,
            player.arrays, with_cpu=asks.with_cpu, buffered=plan.prefetch_into == "buffers", write_back=plan.write_back, occupied=occupied,
        )  # fmt: skip

    loop, clocks = engine.serve(made, plan.prefetch is not None, spans)
    whole = workload.played(loop.played())
    return whole, *loop.decided(whole.requests), clocks, loop.serving.log()


def _refuse(workload: Workload, plan: Plan) -> None:
    """Raises UserError for what a run cannot honour whose passes are made while it lasts."""
    check_prefetch(plan)
    clock = f"--schedule {workload.schedule}"
    if plan.page_cache_bytes:
        raise UserError(f"{clock} with --page-cache is not modelled: leave one of them out")
    if plan.cold_per_sequence:
        raise UserError(
            f"--cold-per-sequence empties the slots when a sequence starts, and under {clock} others run then: leave one of them out"
        )
    if plan.eviction in BOUNDS and plan.prefetch is not None:
        raise UserError(f"the bound {plan.eviction} prefetches nothing; leave --prefetch out, or name a policy")


def _decider(workload: Workload, plan: Plan, player: Player) -> Decider:
    trace, sizes = workload.trace, workload.model.expert_bytes
    if plan.eviction in BOUNDS:
        return Bound(sizes, trace.n_experts, plan.eviction)
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    steps = np.unique(np.stack((number, trace.sequence)), axis=1).shape[1]  # a pass runs one of them at least
    return Stepwise(
        Cache(
            sizes, trace.n_experts, policies.load("eviction", plan.eviction), plan.budget_bytes, plan.scope, plan.seed,
            steps * trace.n_layers, plan.prefetch is not None, plan.prefetch is not None and plan.prefetch_into == "buffers",
        ),
        player,
    )  # fmt: skip


class Asks:
    """Asks the policies of a plan about one pass after the other."""

    def __init__(self, workload: Workload, plan: Plan) -> None:
        self.plan, self.costs = plan, workload.costs
        requests = workload.requests
        self.placed = None if plan.placement is None else placed(workload.trace, requests, plan).ravel()
        self.prefetch = None if plan.prefetch is None else policies.load("prefetch", plan.prefetch)
        self.with_cpu = plan.miss != "fetch" or plan.placement is not None

    def __call__(self, trace: Trace, requests: Requests) -> tuple[Guesses, Flags | None]:
        """What is wanted early, and what the CPU computes when it is missing (None: nothing)."""
        return self._guesses(trace, requests), self._on_cpu(requests)

    def _guesses(self, trace: Trace, requests: Requests) -> Guesses:
        if self.prefetch is None:
            return requests.no_guesses
        twice = np.tile(np.arange(trace.n_tokens), 2)  # a look ahead meets a pass behind this one, though not which
        both = trace.taken(twice, np.array([0, trace.n_tokens, 2 * trace.n_tokens]), np.tile(trace.phase, 2))
        event, obj = asked.guesses(self.prefetch, 2 * requests.n_events, requests.n_objects, both)
        kept = event < requests.n_events
        if self.placed is not None:
            kept &= ~self.placed[obj]
        event, obj = event[kept], obj[kept]
        ptr = np.concatenate(([0], np.cumsum(np.bincount(event, minlength=requests.n_events))))
        return Guesses(ptr, obj, self.plan.prefetch_into == "buffers")

    def _on_cpu(self, requests: Requests) -> Flags | None:
        if not self.with_cpu:
            return None
        flags = cheaper(self.plan.miss, requests, self.costs)
        if self.placed is not None:
            flags |= self.placed[requests.obj]
        return flags
