"""What a run's miss rule does to the output: nothing, or what the offload runtime has measured of it (docs/offload.md)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from simmoe import policies
from simmoe.play.low import measured_bits
from simmoe.play.result import Run
from simmoe.policies import arguments
from simmoe.simulator.decide.missing import changes_output
from simmoe.simulator.naming import named
from simmoe.workloads.offload import measured


class Quality(NamedTuple):
    """Perplexity of held-out text beside that of the whole model. Both are 1 and 0 where the output is the model's to the bit."""

    ratio: float = 1.0
    error: float = 0.0  # standard error of it

    @property
    def said(self) -> str:
        return "same" if self == Quality() else f"{(self.ratio - 1) * 100:+.2f} %"


def quality_of(run: Run) -> Quality | None:
    """None where the rule changes the output and nobody has measured that rule on that model at that budget."""
    plan = run.plan
    rule = policies.load("miss", plan.miss)
    if not changes_output(rule):
        return Quality()
    name, told = Path(named(plan.miss).name).stem, arguments.given("miss", plan.miss, rule)
    slots = (plan.budget_bytes - plan.pool_bytes) // int(run.workload.model.expert_bytes.max())
    alone = (
        plan.scope == "global"
        and plan.prefetch is None
        and plan.placement is None
        and policies.find("miss", plan.miss).parent == (policies.FOLDER / "miss")
    )
    row = (
        measured.quality(run.workload.trace.meta, name, told, plan.eviction, slots, measured_bits(run.workload.model))
        if alone
        else None
    )
    return None if row is None else Quality(row["ratio"], row["ratio_error"])
