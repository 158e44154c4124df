"""`simmoe.ladder`: the same workload at rising expert budgets, between the bounds of nothing and everything resident."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.play import devices
from simmoe.play.calling import called, takes
from simmoe.play.plan import Plan
from simmoe.play.result import Run, versions
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS, quotas
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import Engine

RUNGS = tuple(Fraction(n, 8) for n in range(1, 9))  # of the bytes of all routed experts
TOKENS = 2048  # played by default where the whole trace would take long
SHORT = 1_000_000  # accesses of a trace that the compiled engine plays at every rung in about a second


@dataclass(frozen=True)
class Rung:
    """One budget. `run` is None where it does not fit on the device or is below one expert."""

    label: str
    budget_bytes: int
    run: Run | None
    why_not: str = ""

    def __repr__(self) -> str:
        return f"<Rung {self.label}: {self.why_not or repr(self.run)}>"


@dataclass(frozen=True)
class Ladder:
    """Runs at rising budgets; `nothing` and `everything` are the bounds."""

    workload: Workload
    rungs: tuple[Rung, ...]
    nothing: Run
    everything: Run

    def __repr__(self) -> str:
        return f"<Ladder {self.workload!r}: {len(self.runs)} of {len(self.rungs)} budgets>"

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
            "schema": 1,
            "kind": "simulated",
            "versions": versions(),
            **self.workload.facts(),
            "rungs": rows,
            "bounds": bounds,
        }


@takes("budget", "memory")
def ladder(hw: str | Path | Hardware | Scenario, trace: str | Path | Trace | None = None, **options: Any) -> Ladder:
    """Simulate 12.5 … 100 % of the expert bytes and what the device really holds.

    tokens=None plays all. The options are those of `simmoe.run`, but for budget and memory: a ladder plays every budget.
    """
    scenario = called(hw, trace, options)
    if scenario.budget is not None or scenario.memory is not None:
        raise UserError("a ladder plays every budget: leave budget and memory out, or play one budget with simmoe.run")
    if scenario.eviction in BOUNDS:
        raise UserError(
            f"a ladder plays a policy, and eviction {scenario.eviction!r} is a bound: play it with simmoe.run"
        )
    workload = scenario.workload()
    return climb(workload, scenario.plan(workload), scenario.engine)


def usual_tokens(trace: Trace) -> int | None:
    """What the command plays unless told: all (None) where the compiled engine makes it short, else the first 2,048."""
    return None if trace.expert_ids.size <= SHORT and not compiled.missing() else TOKENS


def enough_tokens(trace: Trace) -> int | None:
    """How many of the trace's tokens tell what a change gives: all (None) where that is short, else the first 2,048, and as many as
    hold 64 decode passes."""
    if usual_tokens(trace) is None or trace.n_tokens <= TOKENS:
        return None
    decode = np.flatnonzero(trace.phase == DECODE)[:64]
    tokens = max(TOKENS, int(trace.pass_ptr[decode[-1] + 1]) if len(decode) else TOKENS)
    return tokens if tokens < trace.n_tokens else None


def climb(workload: Workload, plan: Plan, wish: str = "auto") -> Ladder:
    """The ladder of `workload`; the budget of `plan` is ignored."""
    devices.refuse(plan, workload.hw, "a ladder of budgets (name one with --budget)")
    memory, every = workload.memory, workload.model.all_expert_bytes
    memory.require(int(workload.model.expert_bytes.max()))
    holds = memory.holds_bytes
    rungs = [(f"{float(100 * share):g} %", int(share * every)) for share in RUNGS]
    if holds == every:
        rungs[-1] = ("100 % = device holds", every)
    else:
        rungs.append((f"{100 * holds / every:.1f} % = device holds", holds))
    engine = workload.engine(wish, runs=len(rungs) + 2)
    rows = [_rung(workload, plan, label, budget, engine) for label, budget in sorted(rungs, key=lambda rung: rung[1])]
    nothing, everything = (
        play(
            workload,
            replace(plan, eviction=which, prefetch=None, budget_bytes=0 if which == "nothing" else every),
            engine,
        )
        for which in ("nothing", "everything")
    )
    return Ladder(workload, tuple(rows), nothing, everything)


def _rung(workload: Workload, plan: Plan, label: str, budget: int, engine: Engine) -> Rung:
    short = workload.memory.short_by(budget)
    if short:
        return Rung(label, budget, None, f"does not fit: short by {short / 1e9:.2f} GB")
    try:
        quotas(workload.model.expert_bytes, workload.trace.n_experts, budget, plan.scope)
    except UserError:
        return Rung(label, budget, None, f"below one expert{' per layer' if plan.scope == 'layer' else ''}")
    try:
        return Rung(label, budget, play(workload, replace(plan, budget_bytes=budget), engine))
    except DoesNotFit:  # it did, but for what is beside the budget
        return Rung(label, budget, None, "does not fit beside the prefetch buffers")
