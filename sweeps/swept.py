"""The finished trials of a sweep: fronts, equal ones, bounds beside them, as a table and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from simmoe.play.result import versions
from simmoe.play.tabular import Record, Tabular
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps.cautions import of_sweep
from simmoe.sweeps.front import broken, feasible, front
from simmoe.sweeps.importances import importances
from simmoe.sweeps.sampling import key
from simmoe.sweeps.scenarios import Scenarios
from simmoe.sweeps.space import Point, Space
from simmoe.sweeps.study import FINISHED


class Bound(NamedTuple):
    """What a word that knows the text beforehand gives in the scenario of a trial. `facts` is what a trial has in `user_attrs`."""

    beside: int  # number of the trial
    facts: dict[str, Any]


@dataclass(frozen=True, repr=False)
class Sweep(Tabular):
    """The finished trials of a study. Each keeps its scenario, its numbers and its command in `user_attrs`."""

    scenarios: Scenarios
    sampler: str
    seed: int
    study: optuna.Study  # in memory
    sampled_by: tuple[str, ...]  # sampler and seed of the trials, one after another: a study may go on with others

    @property
    def brief(self) -> tuple[str, ...]:  # type: ignore[override]  # what was searched is known here alone
        axes = [axis for axis in self.space.axes if axis != "trace" or not self.space.trained]
        return (
            "number",
            *axes,
            *("experts", "top_k", "router") * bool(self.space.trained),
            *self.space.objectives,
            "on_front",
        )

    def title(self) -> str:
        return f"Simulated: {len(self.trials):,} trials of {self.space.name}, {len(self.front)} on the front; the front stands first"

    def records(self) -> list[Record]:
        """A row for each trial, those of the common front first: axes, metrics, whether a front has it, the command."""
        best = {trial.number for trial in self.front}
        of_hw = {trial.number for hw in self.space.axes["hw"] for trial in self.front_on(hw)}
        told = [{**trial.user_attrs["point"], **trial.user_attrs} for trial in self.trials]
        names = [
            name for name in dict.fromkeys(name for one in told for name in one) if name not in ("point", "constraints")
        ]
        rows = [
            {"number": trial.number, "kind": "simulated", **{name: one.get(name) for name in names},
             "on_front": trial.number in best, "on_front_of_its_hw": trial.number in of_hw}
            for trial, one in zip(self.trials, told)
        ]  # fmt: skip
        return sorted(rows, key=lambda row: not row["on_front"])

    @property
    def space(self) -> Space:
        """What was searched: the space without its bounds."""
        return self.scenarios.space

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=FINISHED)

    @property
    def front(self) -> list[FrozenTrial]:
        """The Pareto front over all trials; of trials with the same values the first."""
        return front(self.trials, list(self.space.objectives.values()))

    def front_on(self, hw: str) -> list[FrozenTrial]:
        """The front among the trials on one machine: a fast machine hides all others in the common one."""
        mine = (trial for trial in self.trials if trial.user_attrs["point"]["hw"] == hw)
        return front(mine, list(self.space.objectives.values()))

    def equals(self) -> dict[tuple[float, ...], list[FrozenTrial]]:
        """Objective values -> the trials that have them and keep all constraints, each scenario once."""
        found: dict[tuple[float, ...], dict[str, FrozenTrial]] = {}
        for trial in self.trials:
            if feasible(trial):
                found.setdefault(tuple(trial.values), {}).setdefault(key(trial.user_attrs["point"]), trial)
        return {values: list(trials.values()) for values, trials in found.items()}

    def bounds(self, trials: Sequence[FrozenTrial]) -> list[Bound]:
        """What each bound of the space gives in the scenarios of `trials`, where it can run there: played now, told to no study."""
        asked: dict[str, tuple[int, Point]] = {}
        for trial in trials:
            for axis, word in self.scenarios.bounds:
                point = {**trial.user_attrs["point"], axis: word}
                asked.setdefault(key(point), (trial.number, point))
        played = ((number, self.scenarios.outcome(point)) for number, point in asked.values())
        return [Bound(number, outcome.facts) for number, outcome in played if outcome.values is not None]

    def to_json(self) -> dict[str, Any]:
        """Plain data without wall-clock time: the same space, seed and number of trials give the same bytes."""
        equals, best, notes = self.equals(), self.front, of_sweep(self.scenarios)
        on = {hw: self.front_on(hw) for hw in self.space.axes["hw"]}
        every = {trial.number: trial for one in (best, *on.values()) for trial in one}
        return {
            "schema": RESULT_SCHEMA, "kind": "simulated", "versions": {**versions(), "optuna": optuna.__version__},
            "space": {"name": self.space.name, "digest": self.scenarios.digest, "scenarios": self.space.size, "tokens": self.space.tokens},
            "objectives": dict(self.space.objectives), "sampler": self.sampler, "seed": self.seed,
            "sampled_by": list(self.sampled_by), **({"notes": notes} if notes else {}),
            "trials": [
                {"number": t.number, "state": "played" if t.state == TrialState.COMPLETE else "cannot run", **t.user_attrs}
                for t in self.trials
            ],
            **({"constraints": broken(self.trials)} if self.space.constraints else {}),
            "importances": importances(self.trials, self.space),
            "front": [t.number for t in best],
            "front_by_hw": {hw: [t.number for t in trials] for hw, trials in on.items()},
            "equal": {
                str(number): [other.number for other in equals[tuple(trial.values)] if other.number != number]
                for number, trial in sorted(every.items())
            },
            "bounds": [{"beside": bound.beside, **bound.facts} for bound in self.bounds(list(every.values()))],
        }  # fmt: skip
