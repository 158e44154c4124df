"""`simmoe.run`: one scenario, a workload on a machine under a residency plan, played with time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simmoe import policies
from simmoe.play import devices
from simmoe.play.calling import called, takes
from simmoe.play.passes import warm_up_passes
from simmoe.play.plan import Plan, guesses_of, memory_of, missing_of, placed, scope_of, told_of_eviction
from simmoe.play.quotas import check_scope
from simmoe.play.replay import decide_named
from simmoe.play.requests import served
from simmoe.play.result import Run
from simmoe.play.scenario import Scenario
from simmoe.play.serving import played
from simmoe.play.workload import Workload
from simmoe.play.would_fit import told
from simmoe.simulator.decide.counts import count_by_phase, link_bytes_by_pass, moved
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.decide.tiers import Near, second_tier
from simmoe.simulator.decide.warm_up import behind
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower.durations import Loading, Loads, carried_passes
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.run import Clocks, Spans
from simmoe.simulator.nouns.serving import ServingLog
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import Engine
from simmoe.simulator.time.laws import check, check_causes, check_requests, check_rows


@takes()
def run(
    hw: str | Path | Hardware | Scenario | None = None, trace: str | Path | Trace | None = None, **options: Any
) -> Run:
    """Simulate one scenario, or the Scenario that is given in place of all options.

    budget and memory: neither means what the device holds. Sizes are whole bytes or texts such as "2 GB". overlap and other switches
    are True or False, batch and other counts are whole numbers, tokens=None plays all, and set is a list of "PATH=VALUE".
    hw, trace and model may be loaded objects (Hardware, Trace, ModelShape). Every engine gives the same result to the bit.
    Raises UserError with one line for any input that cannot be simulated.
    """
    scenario = called(hw, trace, options)
    with told(scenario):
        workload = scenario.workload()
        return play(workload, scenario.plan(workload), wish=scenario.engine)


def require(workload: Workload, plan: Plan) -> None:
    """Raises DoesNotFit where a memory does not hold what the plan puts there."""
    if not plan.device_budgets and plan.eviction not in BOUNDS:
        memory_of(workload, plan).require(plan.budget_bytes, plan.page_cache_bytes, plan.started == COLD)


def play(
    workload: Workload, plan: Plan, engine: Engine | None = None, spans: Spans | None = None, wish: str = "auto"
) -> Run:
    """Decide, then time; without `engine` by the one that is wished for, or that pays."""
    check_scope(plan.scope)
    require(workload, plan)  # before an engine is chosen: that expands the trace, to gigabytes of a long one
    engine = engine or workload.engine(wish, spans=spans is not None)
    if plan.device_budgets:
        return _on_several(workload, plan, engine, spans)
    if workload.clock_driven is not None:
        return _finished(*played(workload, plan, engine, spans), plan, engine)
    if plan.arrivals is not None:
        raise UserError(
            f"--arrivals {plan.arrivals} is for a clock-driven schedule, and the passes of --schedule {workload.schedule} are known "
            "beforehand: name one, such as --schedule continuous, or leave it out"
        )
    return _timed(*_decided(workload, plan, engine), plan, engine, spans)


def _decided(workload: Workload, plan: Plan, engine: Engine) -> tuple[Workload, Guesses, Decisions, Loads]:
    """What is timed: the passes behind the warm-up, which decisions of the whole trace it has warmed."""
    requests, sizes, trace = workload.requests, workload.model.expert_bytes, workload.trace
    guesses, passes, missing = (
        guesses_of(workload, plan),
        warm_up_passes(trace, plan.warm_up),
        missing_of(workload, plan),
    )
    decisions = decide_named(
        trace, requests, sizes, plan.eviction, plan.budget_bytes, scope_of(workload, plan, engine.player), plan.cold_per_sequence,
        plan.seed, engine.player, guesses, start=plan.start, told=told_of_eviction(workload, plan), **missing._asdict(),
    )  # fmt: skip
    near = None
    if plan.page_cache_bytes:
        lru = policies.load("eviction", "lru")
        near = second_tier(
            requests, decisions, guesses, sizes, plan.page_cache_bytes, lru, engine.player, start=plan.started, unit_of=missing.unit_of
        )  # fmt: skip
    if passes:
        every, n_loads = len(guesses.obj), len(decisions.loads)
        decisions, guesses = behind(requests, decisions, guesses, np.repeat(sizes, trace.n_experts), passes)
        near = near and Near(near.demand[n_loads - len(decisions.loads) :], near.guess[every - len(guesses.obj) :])
        workload = workload.behind(passes)
    return workload, guesses, decisions, Loads(workload.costs, near, plan.write_back, len(decisions.cpu) > 0)


def _on_several(workload: Workload, plan: Plan, engine: Engine, spans: Spans | None) -> Run:
    layout = devices.layout_of(workload, plan.placement, plan.seed)
    return _timed(*devices.decided(workload, layout, plan, guesses_of(workload, plan), engine), plan, engine, spans)


def _timed(
    workload: Workload, guesses: Guesses, decisions: Decisions, loads: Loading | Loads, plan: Plan, engine: Engine, spans: Spans | None
) -> Run:  # fmt: skip
    """Time attached to what was decided."""
    timeline = policies.load("timeline", plan.timeline)
    clocks = engine.simulate(workload.costs, workload.requests, decisions, guesses, loads, timeline, spans)
    return _finished(workload, decisions, guesses, clocks, None, plan, engine)


def _finished(
    workload: Workload, decisions: Decisions, guesses: Guesses, clocks: Clocks, log: ServingLog | None, plan: Plan, engine: Engine
) -> Run:  # fmt: skip
    """Counts, and the laws of every run."""
    trace, requests, costs = workload.trace, workload.requests, workload.costs
    sizes, bound = workload.model.expert_bytes, plan.eviction in BOUNDS
    carried, crossed = carried_passes(costs, costs.sizes), moved(decisions, clocks.fate)
    unit_of = None if plan.placement is None or plan.device_budgets else placed(workload, plan)
    both, prefill, decode = count_by_phase(trace, requests, crossed, guesses, sizes, plan.write_back, unit_of, carried)
    check(costs, decisions, clocks, both, None if bound else plan.budget_bytes, log)
    check_causes(costs, clocks)
    pass_ps = clocks.end_ps - clocks.start_ps
    link_bytes = link_bytes_by_pass(trace, requests, crossed, guesses, sizes, carried)
    if log is not None:
        each = served(trace, clocks, log)
        check_requests(log, each.finish_ps, clocks)
        check_rows(log, each.start_ps, trace, workload.begun.trace)
    made = Run(workload, plan, engine.name, both, prefill, decode, clocks, pass_ps, link_bytes, decisions, guesses, log)
    if not bound and not plan.device_budgets:
        memory_of(workload, plan).require_buffers(plan.budget_bytes, made.buffer_bytes)
    return made
