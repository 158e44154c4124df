"""What a run with drawn routing leaves open: the same run with routing of the least and of the most locality."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from simmoe.play.plan import placed
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.simulator.decide.start import WARM
from simmoe.simulator.nouns.trace import DECODE
from simmoe.workloads import synthetic

EXTREMES = (synthetic.UNIFORM, "like:llama-moe-v2")  # no locality, and that of the most local class that is bundled


@dataclass(frozen=True)
class Guess:
    """Ranges over routing classes; None where nothing of the kind is played."""

    routing: str  # class of the run
    others: tuple[str, ...]  # the classes that it was played with beside its own
    exact: bool  # decode takes the same time with any routing
    tok_s: tuple[float, float] | None
    ttft_first_s: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def guess(scenario: Scenario, run: Run) -> Guess | None:
    """The scenario of `run` with other routing; None where the routing was recorded."""
    routing = run.workload.text.routing
    if routing is None:
        return None
    others = tuple(name for name in EXTREMES if name != routing)
    runs = [run]
    for name in others:
        workload = replace(scenario, routing=name).workload()
        runs.append(play(workload, scenario.plan(workload)))
    return Guess(
        routing,
        others,
        indifferent(run),
        _ends([one.tok_s for one in runs]),
        _ends([one.ttft_s["first"] for one in runs]),
    )


def _ends(values: list[float | None]) -> tuple[float, float] | None:
    found = [value for value in values if value is not None]
    return (min(found), max(found)) if found else None


def indifferent(run: Run) -> bool:
    """Whether decode takes the same time with any routing: one row a pass, all that the device has resident from the start, and each
    layer's experts on one unit, so that every pass reads top-k experts of each layer where they lie. That this text loaded nothing is
    not enough: another one might have."""
    workload, trace = run.workload, run.workload.trace
    if run.plan.device_budgets or run.decisions.start != WARM or run.counts.misses + run.counts.prefetches:
        return False
    if (np.diff(trace.pass_ptr)[trace.phase == DECODE] > 1).any():
        return False
    if run.plan.placement is None:
        return True
    units = placed(workload, run.plan).reshape(trace.n_layers, -1)
    return bool((units == units[:, :1]).all())
