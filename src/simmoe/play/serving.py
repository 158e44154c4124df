"""A clock-driven run: passes are made, decided and timed one after the other."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from simmoe import policies
from simmoe.play import asked, devices
from simmoe.play.arrivals import arrival_ps
from simmoe.play.identity import needs_of_prefetch
from simmoe.play.low import pool_of
from simmoe.play.plan import Plan, asked_of_prefetch, check_prefetch, missing_of, placed, scope_of, told_of_eviction
from simmoe.play.popularity import source
from simmoe.play.replay import decide_named
from simmoe.play.workload import Workload
from simmoe.policies import arguments
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide import policy_file
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.low_pool import WithLow, with_low
from simmoe.simulator.decide.missing import LOAD
from simmoe.simulator.decide.names import SERVE
from simmoe.simulator.decide.pass_by_pass import Bound, Cache, Decider, Missing, Stepwise
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.policy_file import is_bundled
from simmoe.simulator.decide.prices import priced_for
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower.durations import Loading, loading
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.run import Clocks, Spans
from simmoe.simulator.nouns.serving import ServingLog
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.deciding import Deciding, EachDevice, OneDevice
from simmoe.simulator.time.engines import Engine
from simmoe.simulator.time.loop import Loop
from simmoe.simulator.time.serving import Serving
from simmoe.simulator.time.trial import tried

Played = tuple[Workload, Decisions, Guesses, Clocks, ServingLog]


def played(workload: Workload, plan: Plan, engine: Engine, spans: Spans | None) -> Played:
    """The workload in the passes that were made of it, what was decided, and when. Raises UserError."""
    workload = devices.to_serve(workload.begun, plan)
    _refuse(workload, plan)
    costs: Any = workload.costs
    layout = costs.layout if plan.device_budgets and workload.alike == 1 else None
    trace, schedule, room = workload.trace, workload.clock_driven, workload.room
    assert schedule is not None and room is not None
    arrivals = arrival_ps(plan.arrivals, len(np.unique(trace.sequence)), plan.seed, plan.rate)
    serving = partial(Serving, trace, arrivals, schedule, room)
    known = serving()
    missing, timeline = _missing(workload, plan, known), policies.load("timeline", plan.timeline)
    with_cpu = workload.hw.cpu is not None and (missing.unit_of is not None or missing.rule is not None)

    def deciding(player: Player) -> Deciding:
        if layout is not None:
            return _each_device(workload, layout, plan, player, known)
        decider = _decider(workload, plan, missing, player, known)
        return OneDevice(decider, costs, with_cpu=with_cpu, write_back=plan.write_back)

    def made(player: Player, occupied: bool) -> Loop:
        return Loop(
            costs, serving(), deciding(player), Wants(workload, plan, missing), timeline, player.arrays, with_cpu=with_cpu,
            buffered=plan.prefetch_into == "buffers", cancel=plan.cancel, occupied=occupied,
        )  # fmt: skip

    if not is_bundled(timeline):
        tried(timeline, *_as_recorded(workload, plan, layout, engine))
    loop, clocks = engine.serve(made, plan.prefetch is not None, spans)
    text, requests = loop.played()
    (requests, guesses, decisions), loads = loop.decided(requests)
    whole = workload.played(text, requests)
    if layout is not None:
        whole = devices.laid_out(whole, layout)
    if not is_bundled(timeline):
        tried(timeline, whole.costs, requests, decisions, guesses, loads())
    return whole, decisions, guesses, clocks, loop.serving.log()


def _as_recorded(
    workload: Workload, plan: Plan, layout: Layout | None, engine: Engine
) -> tuple[Costs, Requests, Decisions, Guesses, Loading]:
    """Decisions of the recorded passes: something to try a user's timeline on before it is played."""
    requests, none = workload.requests, workload.requests.no_guesses
    if layout is not None:
        laid, none, made, loads = devices.decided(workload, layout, plan, none, engine)
        return laid.costs, laid.requests, made, none, loads
    made = decide_named(
        workload.trace, requests, workload.model.expert_bytes, plan.eviction, plan.budget_bytes - plan.pool_bytes,
        scope_of(workload, plan), False, plan.seed, told=told_of_eviction(workload, plan), **missing_of(workload, plan)._asdict(),
    )  # fmt: skip
    if workload.model.low:
        made = with_low(requests, made, none, pool_of(workload, plan))
    loads = loading(workload.costs, requests, made, none, write_back=plan.write_back)
    return workload.costs, requests, made, none, loads


def _refuse(workload: Workload, plan: Plan) -> None:
    """Raises UserError for what a run cannot honour whose passes are made while it lasts."""
    check_prefetch(plan)
    clock = f"--schedule {workload.schedule}"
    if plan.page_cache_bytes:
        raise UserError(f"{clock} with --page-cache is not modelled: leave one of them out")
    if plan.warm_up is not None:
        raise UserError(
            f"--warm-up {plan.warm_up} cuts off passes that are known beforehand, and {clock} forms them while time runs: leave one of "
            "them out"
        )
    if plan.cold_per_sequence:
        raise UserError(
            f"--cold-per-sequence empties the slots when a sequence starts, and under {clock} others run then: leave one of them out"
        )
    if plan.prefetch is not None:
        _refuse_other_passes(plan.prefetch, clock)
    if plan.eviction in BOUNDS and plan.prefetch is not None:
        raise UserError(f"the bound {plan.eviction} prefetches nothing; leave --prefetch out, or name a policy")


def _refuse_other_passes(prefetch: str, clock: str) -> None:
    """A prefetcher is asked of each pass alone: which one runs behind it, nobody knows then."""
    needs = needs_of_prefetch(prefetch)
    if "passes" in needs or ("passes unless text" in needs and not source(prefetch)):
        instead = f" or tell it a text, {prefetch}:TRACE" * ("passes" not in needs)
        raise UserError(
            f"--prefetch {prefetch} reads other passes than the one that it is asked of, and {clock} forms them while time runs: choose "
            f"another{instead}"
        )


def _decider(workload: Workload, plan: Plan, missing: Missing, player: Player, known: Serving) -> Decider:
    events = known.most_passes * workload.trace.n_layers
    main = _main(workload, plan, missing, player, events)
    if not workload.model.low:
        return main
    pool = pool_of(workload, plan)
    if pool is None:
        return WithLow(main, None)
    none, told = Missing(None, None), pool.told
    room = pool.low_bytes, workload.trace.n_experts, pool.eviction, pool.room_bytes, "global", pool.seed, events
    return WithLow(main, Stepwise(Cache(*room, False, False, none, COLD, told), player))


def _main(workload: Workload, plan: Plan, missing: Missing, player: Player, events: int) -> Decider:
    """Of the experts' slots."""
    if plan.eviction in BOUNDS:
        return Bound(workload.model.expert_bytes, workload.trace.n_experts, plan.eviction, missing, player)
    return _cache(workload, plan, missing, player, events, plan.budget_bytes - plan.pool_bytes)


def _cache(
    workload: Workload, plan: Plan, missing: Missing, player: Player, events: int, budget_bytes: int
) -> Stepwise:
    """The plan's policy, with so much room."""
    wants = plan.prefetch is not None
    return Stepwise(
        Cache(
            workload.model.expert_bytes, workload.trace.n_experts, policies.load("eviction", plan.eviction), budget_bytes,
            scope_of(workload, plan), plan.seed, events, wants, wants and plan.prefetch_into == "buffers", missing, plan.started,
            told_of_eviction(workload, plan),
        ),
        player,
    )  # fmt: skip


def _each_device(workload: Workload, layout: Layout, plan: Plan, player: Player, known: Serving) -> EachDevice:
    """A cache of its own for each device, of the experts that it has."""
    costs: Any = workload.costs
    events = known.most_passes * workload.trace.n_layers
    caches = [
        _cache(workload, plan, Missing(unit_of, None), player, events, budget_bytes)
        for unit_of, budget_bytes in zip(devices.others_of(layout), plan.device_budgets)
    ]
    return EachDevice(layout, caches, costs.each, write_back=plan.write_back)


def _missing(workload: Workload, plan: Plan, known: Serving) -> Missing:
    """Who serves what is missing, if it is not loaded. Raises UserError where the machine states no CPU though the plan needs one."""
    if plan.device_budgets:
        return Missing(None, None)
    module, trace = policies.load("miss", plan.miss), workload.trace
    told = arguments.as_whole(arguments.given("miss", plan.miss, module))
    rule = None
    if not policy_file.does_nothing(module, SERVE):
        rule = priced_for(module, workload.costs, trace.n_experts, known.most_rows * trace.top_k, told)
    return Missing(None if plan.placement is None else placed(workload, plan), rule)


class Wants:
    """Asks the prefetcher of a plan about one pass after the other."""

    def __init__(self, workload: Workload, plan: Plan, missing: Missing) -> None:
        self.unit_of, self.buffered, self.cancel = missing.unit_of, plan.prefetch_into == "buffers", plan.cancel
        self.prefetch = None if plan.prefetch is None else asked_of_prefetch(workload, plan)

    def __call__(self, trace: Trace, requests: Requests) -> Guesses:
        """What is wanted early, but for experts that stay on another unit."""
        if self.prefetch is None:
            return requests.no_guesses
        twice = np.tile(np.arange(trace.n_tokens), 2)  # a look ahead meets a pass behind this one, though not which
        both = trace.taken(twice, np.array([0, trace.n_tokens, 2 * trace.n_tokens]), np.tile(trace.phase, 2))
        module, ask = self.prefetch
        event, obj = asked.guesses(module, 2 * requests.n_events, requests.n_objects, both, ask)
        kept = event < requests.n_events
        if self.unit_of is not None:
            kept &= self.unit_of[obj] == LOAD
        event, obj = event[kept], obj[kept]
        ptr = np.concatenate(([0], np.cumsum(np.bincount(event, minlength=requests.n_events))))
        return Guesses(ptr, obj, self.buffered, self.cancel)
