"""`simmoe.run`: one scenario, a workload on a machine under a residency plan, played with time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simmoe import policies
from simmoe.play import devices, pipeline
from simmoe.play.calling import called, takes
from simmoe.play.decided import Decided
from simmoe.play.lanes import Lanes
from simmoe.play.low import versioned
from simmoe.play.passes import warm_up_passes
from simmoe.play.plan import Plan, guesses_of, memory_of, placed
from simmoe.play.quotas import check_scope
from simmoe.play.requests import served
from simmoe.play.result import Run
from simmoe.play.scenario import Scenario
from simmoe.play.serving import played
from simmoe.play.slo import refuse
from simmoe.play.workload import Workload
from simmoe.play.would_fit import told
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.counts import count_by_phase, link_bytes_by_pass, moved
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.decide.stretches import LONGEST
from simmoe.simulator.lower.durations import Loading, Loads, carried_passes, layers_of
from simmoe.simulator.nouns.decisions import Decisions
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.run import Clocks, Counts, Spans
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
        emptied = plan.started == COLD or plan.pool_bytes > 0  # a pool takes room of the slots
        memory_of(workload, plan).require(plan.budget_bytes, plan.page_cache_bytes, emptied)


def play(
    workload: Workload, plan: Plan, engine: Engine | None = None, spans: Spans | None = None, wish: str = "auto",
    lanes: Lanes | None = None,
) -> Run:  # fmt: skip
    """Decide, then time; without `engine` by the one that is wished for, or that pays. lanes: what runs beside this one have decided."""
    check_scope(plan.scope)
    workload = versioned(workload, plan)
    require(workload, plan)  # before an engine is chosen: that expands the trace, to gigabytes of a long one
    workload, lanes = devices.as_one(workload, plan), lanes or Lanes()
    lanes.join(workload)
    engine = engine or workload.engine(wish, spans=spans is not None)
    if workload.clock_driven is not None:
        workload, decisions, guesses, clocks, log = played(workload, plan, engine, spans)
        return _finished(workload, Decided(guesses, decisions), clocks, log, plan, engine)
    refuse(plan, workload.schedule)
    if plan.device_budgets and workload.alike == 1:
        return _on_several(workload, plan, engine, spans)
    decided, passes = lanes.decided(workload, plan, engine), warm_up_passes(workload.trace, plan.warm_up)
    if passes:
        workload = workload.behind(passes)
        lanes.join(workload)
    asked = workload.requests, decided.decisions, workload.trace.n_experts
    short = len(workload.requests.obj) <= LONGEST  # of a long run they would take memory for the whole of it
    layer = decided.once("layers of loads", lambda: layers_of(*asked)) if short else None
    loads = Loads(workload.costs, decided.near, plan.write_back, len(decided.decisions.cpu) > 0, layer)
    return _timed(workload, decided, loads, plan, engine, spans)


def _on_several(workload: Workload, plan: Plan, engine: Engine, spans: Spans | None) -> Run:
    layout = devices.layout_of(workload, plan.placement, plan.seed, plan.timeline)
    laid, guesses, decisions, loads = devices.decided(workload, layout, plan, guesses_of(workload, plan), engine)
    return _timed(laid, Decided(guesses, decisions), loads, plan, engine, spans)


def _timed(
    workload: Workload, decided: Decided, loads: Loading | Loads, plan: Plan, engine: Engine, spans: Spans | None
) -> Run:
    """Time attached to what was decided."""
    timeline = policies.load("timeline", plan.timeline)
    asked = workload.costs, workload.requests, decided.decisions, decided.guesses
    if spans is not None:
        pipeline.refuse_spans(workload, plan)
    clocks = pipeline.overlapped(workload, plan, engine.simulate(*asked, loads, timeline, spans))
    return _finished(workload, decided, clocks, None, plan, engine)


def _finished(
    workload: Workload, decided: Decided, clocks: Clocks, log: ServingLog | None, plan: Plan, engine: Engine
) -> Run:
    """Counts, and the laws of every run."""
    trace, costs, bound = workload.trace, workload.costs, plan.eviction in BOUNDS
    (both, prefill, decode), link_bytes = _counted(workload, decided, moved(decided.decisions, clocks.fate), plan)
    check(costs, decided.decisions, clocks, both, None if bound else plan.budget_bytes, log)
    check_causes(costs, clocks)
    pass_ps = clocks.end_ps - clocks.start_ps
    if log is not None:
        each = served(trace, clocks, log)
        check_requests(log, each.finish_ps, clocks)
        assert workload.room is not None
        check_rows(log, each.start_ps, trace, workload.begun.trace, workload.room.kv_blocks)
    made = Run(workload, plan, engine.name, both, prefill, decode, clocks, pass_ps, link_bytes, decided, log)
    if not bound and not plan.device_budgets:
        memory_of(workload, plan).require_buffers(plan.budget_bytes, made.buffer_bytes, made.forgotten_bytes)
    return made


def _counted(
    workload: Workload, decided: Decided, crossed: Decisions, plan: Plan
) -> tuple[tuple[Counts, Counts, Counts], Ints]:
    """Counts of all passes, of prefill, of decode; bytes on the link by pass. The machine has a say in what is carried over it, and in
    what crossed it of what was decided, where prefetches were withdrawn."""
    carried = carried_passes(workload.costs, workload.costs.sizes)
    asked = workload.trace, workload.requests, crossed, decided.guesses, workload.model.version_bytes

    def count() -> tuple[tuple[Counts, Counts, Counts], Ints]:
        unit_of = None if plan.placement is None or plan.device_budgets else placed(workload, plan)
        return count_by_phase(*asked, plan.write_back, unit_of, carried), link_bytes_by_pass(*asked, carried)

    return decided.once(("counts", carried.tobytes()), count) if crossed is decided.decisions else count()
