"""How much a run's speed follows each figure of the machine, each constant of the engine and each knob: elasticities, d ln tok/s / d ln x.

If every rate were 1 % higher and every time 1 % shorter, all would be 1 % faster. So (Euler's theorem on homogeneous functions) the
elasticities of all rates less those of all times are 1. Every result says that sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

from simmoe.play.advice import to_decode
from simmoe.play.calling import called, takes
from simmoe.play.lanes import Lanes
from simmoe.play.plan import memory_of
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.play.traced import traced
from simmoe.play.what_if import Change, changed
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.units import nbytes
from simmoe.sweeps import commands
from simmoe.sweeps.elasticity import Elasticity, Sensitivity
from simmoe.sweeps.figures_varied import COARSE, Varied, of_machine, of_runtime, with_value
from simmoe.sweeps.upgrades import Upgrade, Upgraded, upgrade_of

HUNDREDTH = 100  # a knob is varied by a hundredth of it, or by one
KIND, SOURCE = "chosen", "an option of the run"  # of a knob


@takes()
def sensitivity(
    hw: str | Path | Hardware | Scenario | None = None, trace: str | Path | Trace | None = None, *,
    upgrades: Sequence[str] = (), **options: Any,
) -> Sensitivity:  # fmt: skip
    """Elasticities of tok/s: to every figure of the machine and constant of the runtime, by a step of a thousandth, and to budget, context,
    batch and depth, by a hundredth or by one. The options are those of `simmoe.run`. upgrades: changes with a price,
    such as "link.bandwidth=7GB/s:150USD", which are played too.

    Raises UserError for a scenario that cannot be played, and for one that decodes nothing.
    """
    scenario, wanted = called(hw, trace, options), list(map(upgrade_of, upgrades))
    around = _Around(_opened(scenario))
    bought = [around.upgraded(one, scenario) for one in wanted]
    figures = sorted(around.figures(), key=lambda one: -abs(one.mean))
    knobs = sorted(around.knobs(), key=lambda one: -abs(one.mean))
    return Sensitivity(
        around.run, commands.command(scenario, around.run.plan), tuple(figures), tuple(knobs), _by_worth(bought)
    )


def _by_worth(bought: list[Upgraded]) -> tuple[Upgraded, ...]:
    """Beside each other where they are paid in one currency."""
    return tuple(sorted(bought, key=lambda one: (one.upgrade.price.currency, -one.gain_per_hundred)))


def _opened(scenario: Scenario) -> Scenario:
    """With its trace opened, so that all runs read it once."""
    return scenario if scenario.trace is None else replace(scenario, trace=traced(scenario.trace, scenario.model))


class _Around:
    """A run, and the runs of a step beside it."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.lanes = scenario, Lanes()
        self.workload = scenario.workload()
        runtime = self.workload.runtime
        self.varied = [*of_machine(self.workload.hw), *(of_runtime(runtime) if runtime else ())]
        self.run = self._play(scenario, self.workload)
        if not self.run.tok_s:
            raise UserError(
                f"sensitivity is about the speed of decoding, and no decode pass is played; {to_decode(self.workload)}"
            )

    def _play(self, scenario: Scenario, workload: Workload) -> Run:
        plan = scenario.plan(workload)
        return play(workload, plan, workload.engine(scenario.engine, runs=2 * len(self.varied)), lanes=self.lanes)

    def figures(self) -> Iterator[Elasticity]:
        for one in self.varied:

            def played(value: float, one: Varied = one) -> Run:
                return self._play(self.scenario, with_value(self.workload, one, value))

            sides = self._sides(played, one.value, one.lower, one.higher)
            yield Elasticity(one.path, one.text, one.kind, one.source, one.power, *sides)

    def knobs(self) -> Iterator[Elasticity]:
        for name, value, step in self._turned():

            def played(value: float, name: str = name) -> Run:
                options: dict[str, Any] = {name: int(value)} | ({"memory": None} if name == "budget" else {})
                changed = replace(self.scenario, **options)
                return self._play(changed, changed.workload())

            sides = self._sides(played, value, value - step, value + step)
            yield Elasticity(name, nbytes(value) if name == "budget" else f"{value:,}", KIND, SOURCE, 0, *sides)

    def upgraded(self, upgrade: Upgrade, scenario: Scenario) -> Upgraded:
        """scenario: of names. Raises UserError for what the machine cannot have."""
        change = Change("", {"set": upgrade.settings})
        other = changed(self.scenario, change)
        run = self._play(other, other.workload())
        return Upgraded(
            upgrade, commands.command(changed(scenario, change), run.plan), run.tok_s or 0.0, self.run.tok_s or 0.0
        )

    def _sides(
        self, played: Callable[[float], Run], value: float, *ends: float
    ) -> tuple[float | None, float | None, str]:
        """The slope below and above, and why one of them is not known."""
        found, why, here = list[float | None](), "", self.run.tok_s or 0.0
        for end in ends:
            try:
                found.append(log((played(end).tok_s or 0.0) / here) / log(end / value) + 0.0)  # -0.0 is 0
            except UserError as error:
                found.append(None)
                why = str(error)
        return found[0], found[1], why

    def _turned(self) -> Iterator[tuple[str, int, int]]:
        """Name, value and step of each knob that can be turned by a little."""
        plan, workload = self.run.plan, self.run.workload.begun
        if plan.eviction not in BOUNDS and not plan.device_budgets:
            smallest, every = int(workload.model.expert_bytes.min()), memory_of(workload, plan).left_bytes
            if plan.budget_bytes < every:
                yield "budget", plan.budget_bytes, max(plan.budget_bytes // smallest // HUNDREDTH, 1) * smallest
        counts = {"context": workload.context, "batch": self.scenario.batch, "depth": self.scenario.depth}
        for name, value in counts.items():
            if isinstance(value, int) and value >= COARSE:  # a distribution is no number
                yield name, value, max(value // HUNDREDTH, 1)
