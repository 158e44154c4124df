"""`simmoe.ladder`: the same workload at rising expert budgets, between the bounds of nothing and everything resident."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.play import devices
from simmoe.play.calling import called, takes
from simmoe.play.low import pool_of, versioned
from simmoe.play.plan import Plan, memory_of, scope_of
from simmoe.play.result import Run, versions
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.play.tabular import Record, Tabular
from simmoe.play.workload import Workload
from simmoe.play.would_fit import told
from simmoe.simulator.decide.decisions import BOUNDS, quotas
from simmoe.simulator.decide.start import COLD, WARM
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import Engine
from simmoe.simulator.version import RESULT_SCHEMA

RUNGS = tuple(Fraction(n, 8) for n in range(1, 9))  # of the bytes of all routed experts
TOKENS = 2048  # played by default where the whole trace would take long
WARM_UP = 64  # decode passes at least, of a warm-up that nobody asked for
SHORT = 1_000_000  # accesses of a trace that the compiled engine plays at every rung in about a second


@dataclass(frozen=True)
class Rung:
    """One budget. `run` is None where it does not fit on the device or is below one expert."""

    label: str
    budget_bytes: int
    run: Run | None
    why_not: str = ""

    def __repr__(self) -> str:
        speed = self.run and self.run.tok_s
        return f"<Rung {self.label}: {self.why_not or (f'{speed:.4g} tok/s' if speed else 'nothing decoded')}>"


def _record(rung: Rung, like: Run) -> Record:
    """Columns as those of `like`, empty where the rung was not played."""
    blank = dict.fromkeys(like.records()[0])
    played = blank if rung.run is None else rung.run.records()[0]
    return {"rung": rung.label, "why_not": rung.why_not or None, **played, "budget_bytes": rung.budget_bytes}


@dataclass(frozen=True, repr=False)
class Ladder(Tabular):
    """Runs at rising budgets; `nothing` and `everything` are the bounds."""

    brief = (
        "rung",
        "budget_bytes",
        "tok_s",
        "ttft_first_s",
        "tpot_p50_ms",
        "tpot_p99_ms",
        "hit_rate",
        "bytes_per_token",
        "waiting",
        "why_not",
    )

    workload: Workload
    rungs: tuple[Rung, ...]
    nothing: Run
    everything: Run
    start: str  # of every rung

    def title(self) -> str:
        return f"Simulated: {self.workload.named}, at {len(self.runs)} of {len(self.rungs)} budgets"

    def records(self) -> list[Record]:
        """A row for each rung, between those of the bounds. `why_not`: why a rung could not be played."""
        bounds = [Rung(run.plan.eviction, run.plan.budget_bytes, run) for run in (self.nothing, self.everything)]
        return [_record(rung, self.nothing) for rung in (bounds[0], *self.rungs, bounds[1])]

    @property
    def runs(self) -> list[Run]:
        return [rung.run for rung in self.rungs if rung.run is not None]

    def to_json(self) -> dict[str, Any]:
        rows = [
            {"label": r.label, "budget_bytes": r.budget_bytes, "why_not": r.why_not, "run": r.run and r.run.to_json()}
            for r in self.rungs
        ]
        bounds = {"nothing": self.nothing.to_json(), "everything": self.everything.to_json()}
        return {
            "schema": RESULT_SCHEMA,
            "kind": "simulated",
            "versions": versions(),
            **self.workload.facts(),
            "start": self.start,
            "rungs": rows,
            "bounds": bounds,
        }


@takes("budget", "memory")
def ladder(
    hw: str | Path | Hardware | Scenario | None = None, trace: str | Path | Trace | None = None, **options: Any
) -> Ladder:
    """Simulate 12.5 … 100 % of the expert bytes and what the device really holds.

    The rungs start alike: behind the same warm-up (unless told the first tenth of the passes) that begins with empty slots, or, with
    start="cold", with empty slots. tokens=None plays all.
    The options are those of `simmoe.run`, but for budget and memory: a ladder plays every budget.
    """
    scenario = called(hw, trace, options)
    if scenario.budget is not None or scenario.memory is not None:
        raise UserError("a ladder plays every budget: leave budget and memory out, or play one budget with simmoe.run")
    if scenario.eviction in BOUNDS:
        raise UserError(
            f"a ladder plays a policy, and eviction {scenario.eviction!r} is a bound: play it with simmoe.run"
        )
    with told(scenario):
        workload = scenario.workload()
        return climb(workload, scenario.plan(workload), scenario.engine)


def usual_tokens(trace: Trace) -> int | None:
    """What the command plays unless told: all (None) where the compiled engine makes it short, else the first 2,048."""
    return None if trace.expert_ids.size <= SHORT and not compiled.missing() else TOKENS


def enough_tokens(trace: Trace, warm_up: int = 0) -> int | None:
    """How many of the trace's tokens tell what a change gives: all (None) where that is short, else the warm-up and 2,048 more, and as
    many as hold 64 decode passes."""
    if usual_tokens(trace) is None or trace.n_tokens <= TOKENS + warm_up:
        return None
    decode = np.flatnonzero((trace.phase == DECODE) & (trace.pass_ptr[:-1] >= warm_up))[:WARM_UP]
    tokens = max(TOKENS + warm_up, int(trace.pass_ptr[decode[-1] + 1]) if len(decode) else 0)
    return tokens if tokens < trace.n_tokens else None


def usual_warm_up(trace: Trace) -> int | None:
    """Tokens of the first tenth of the passes, with at least 64 decode passes where there are four times as many; None of few passes."""
    passes, decode = trace.n_passes // 10, np.flatnonzero(trace.phase == DECODE)
    if len(decode) >= 4 * WARM_UP:
        passes = max(passes, int(decode[WARM_UP - 1]) + 1)
    return int(trace.pass_ptr[passes]) or None


def alike(workload: Workload, plan: Plan) -> Plan:
    """The plan with which every rung starts. Raises UserError."""
    if plan.start == WARM:
        raise UserError(
            "--start warm: the rungs of a ladder start alike, and the small ones cannot start full; play one budget with --budget, or "
            "leave --start out"
        )
    warm_up = plan.warm_up
    if warm_up is None and plan.start != COLD and workload.clock_driven is None:
        warm_up = usual_warm_up(workload.trace)
    return replace(plan, start=COLD, warm_up=warm_up)


def climb(workload: Workload, plan: Plan, wish: str = "auto") -> Ladder:
    """The ladder of `workload`; the budget of `plan` is ignored."""
    runtime = workload.runtime
    if runtime is not None and not runtime.streams:
        raise UserError(
            f"{runtime.name} loads no experts while it runs, so a ladder of budgets says nothing of it: `simmoe run` plays what the device "
            "holds"
        )
    devices.refuse(plan, workload.hw, "a ladder of budgets (name one with --budget)")
    plan = alike(workload, plan)
    memory = memory_of(workload, plan)
    every, holds = memory.left_bytes, memory.holds_bytes
    memory.require(memory.least_bytes)
    shares = RUNGS if every else RUNGS[-1:]  # a device without experts has one budget, 0
    rungs = [(f"{float(100 * share):g} %", int(share * every)) for share in shares]
    if holds == every:
        rungs[-1] = ("100 % = device holds", every)
    else:
        rungs.append((f"{100 * holds / every:.1f} % = device holds", holds))
    engine = workload.engine(wish, runs=len(rungs) + 2)
    rows = [_rung(workload, plan, label, budget, engine) for label, budget in sorted(rungs, key=lambda rung: rung[1])]
    nothing, everything = (
        play(
            workload,
            replace(
                plan,
                eviction=which,
                prefetch=None,
                cancel=False,
                scope="global",
                start=start,
                budget_bytes=budget,
            ),
            engine,
        )
        for which, start, budget in (("nothing", COLD, 0), ("everything", "auto", every))
    )
    return Ladder(workload, tuple(rows), nothing, everything, nothing.start)


def _rung(workload: Workload, plan: Plan, label: str, budget: int, engine: Engine) -> Rung:
    memory = memory_of(workload, plan)
    short = memory.short_by(budget)
    if short:
        return Rung(label, budget, None, f"does not fit: short by {short / 1e9:.2f} GB")
    try:
        slots = budget - replace(plan, budget_bytes=budget).pool_bytes
        quotas(workload.model.expert_bytes, memory.left_each, slots, scope_of(workload, plan, engine.player))
        pool_of(versioned(workload, plan), replace(plan, budget_bytes=budget))
    except UserError:
        return Rung(label, budget, None, f"below one expert{' per layer' if plan.scope != 'global' else ''}")
    try:
        return Rung(label, budget, play(workload, replace(plan, budget_bytes=budget), engine))
    except DoesNotFit:  # it did, but for what is beside the budget
        return Rung(label, budget, None, "does not fit beside the prefetch buffers")
