"""`simmoe.sweep`: an Optuna study over a space: which scenario is played next, and which ones nothing beats (the Pareto front)."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from simmoe.play.result import versions
from simmoe.simulator.errors import UserError
from simmoe.simulator.plain import plain
from simmoe.sweeps.journal import open_study
from simmoe.sweeps.scenarios import Outcome, Scenarios
from simmoe.sweeps.space import Point, Space, Steps, load

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "grid": lambda seed: RandomSampler(seed=seed),  # every point is enqueued, so this one is never asked
}
TRIALS = 100  # unless told; a grid plays all
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # pruned = it cannot run
Report = Callable[[int, int, int], None]  # finished, wanted, of these cannot run


@dataclass(frozen=True)
class Sweep:
    """The finished trials of a study. Each keeps its scenario, its numbers and its command in `user_attrs`."""

    scenarios: Scenarios
    sampler: str
    seed: int
    study: optuna.Study  # in memory

    def __repr__(self) -> str:
        return plain(f"<Sweep of {self.space.name}: {len(self.trials):,} trials, {len(self.front)} on the front>")

    @property
    def space(self) -> Space:
        return self.scenarios.space

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    @property
    def front(self) -> list[FrozenTrial]:
        """Optuna's Pareto front over all trials."""
        return self.study.best_trials

    def front_on(self, hw: str) -> list[FrozenTrial]:
        """The front among the trials on one machine: a fast machine hides all others in the common one."""
        mine = [trial for trial in self.trials if trial.user_attrs["point"]["hw"] == hw]
        part = _study(self.space)
        part.add_trials(mine)
        return [mine[trial.number] for trial in part.best_trials]

    def to_json(self) -> dict[str, Any]:
        """Plain data without wall-clock time: the same space, seed and number of trials give the same bytes."""
        return {
            "schema": 1, "kind": "simulated", "versions": {**versions(), "optuna": optuna.__version__},
            "space": {"name": self.space.name, "digest": self.scenarios.digest, "scenarios": self.space.size, "tokens": self.space.tokens},
            "objectives": dict(self.space.objectives), "sampler": self.sampler, "seed": self.seed,
            "trials": [
                {"number": t.number, "state": "played" if t.state == TrialState.COMPLETE else "cannot run", **t.user_attrs}
                for t in self.trials
            ],
            "front": [t.number for t in self.front],
            "front_by_hw": {hw: [t.number for t in self.front_on(hw)] for hw in self.space.axes["hw"]},
        }  # fmt: skip


def sweep(
    space: str | Path | Mapping[str, Any],
    study: str | Path | None = None,
    trials: int | None = None,
    *,
    sampler: str = "nsga2",
    seed: int = 0,
    report: Report | None = None,
) -> Sweep:
    """Play scenarios of `space` until the study holds `trials` finished ones.

    space: a bundled name, the path of a YAML file, or the content of one as a mapping (docs/sweeps.md).
    study: a journal file that keeps every finished trial; a sweep that was killed goes on from it. None: in memory only.
    trials: how many in all, those in the journal included; default 100, or the whole space for the grid.
    sampler: "nsga2", "tpe", "random" or "grid". seed: the same one gives the same trials. report: called after each trial with
    (finished, wanted, of these cannot run).
    A scenario that cannot run is a finished trial with its reason in `user_attrs["why_not"]`. Raises UserError with one line.
    """
    if sampler not in SAMPLERS:
        raise UserError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    if trials is not None and trials < 1:
        raise UserError(f"--trials {trials} plays nothing; give 1 or more")
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed} is out of range; give 0 to {2**32 - 1}")
    chosen = load(space)
    wanted = trials or (chosen.size if sampler == "grid" else TRIALS)
    scenarios = Scenarios(chosen, wanted)
    with _quiet():
        working = _study(chosen)
        kept = study and open_study(
            Path(study), chosen.name, list(chosen.objectives.values()), list(chosen.objectives), scenarios.digest
        )
        if kept:
            working.add_trials(kept.get_trials(deepcopy=False, states=FINISHED))
        for finished in _trials(working, scenarios, sampler, seed, wanted, report):
            if kept:
                kept.add_trial(finished)
    return Sweep(scenarios, sampler, seed, working)


def _study(space: Space) -> optuna.Study:
    with _quiet():
        return optuna.create_study(directions=list(space.objectives.values()))


def _trials(
    study: optuna.Study, scenarios: Scenarios, sampler: str, seed: int, wanted: int, report: Report | None
) -> Iterator[FrozenTrial]:
    """Finish trials until the study holds `wanted`.

    The sampler of each trial is seeded by its number, so that a sweep that was stopped goes on as if it had not been.
    """
    known = {_key(trial.user_attrs["point"]): trial for trial in study.trials}
    cannot = sum(trial.state == TrialState.PRUNED for trial in study.trials)
    ahead = _grid(scenarios.space, seed, wanted, known) if sampler == "grid" else None
    for number in range(len(study.trials), wanted):
        if ahead is not None and not _enqueue_next(study, ahead):
            return
        study.sampler = SAMPLERS[sampler](int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))
        finished = _finish(study, scenarios, known)
        known[_key(finished.user_attrs["point"])] = finished
        cannot += finished.state == TrialState.PRUNED
        yield finished
        if report:
            report(number + 1, wanted, cannot)


def _finish(study: optuna.Study, scenarios: Scenarios, known: Mapping[str, FrozenTrial]) -> FrozenTrial:
    trial = study.ask()
    point = {axis: _suggest(trial, axis, values) for axis, values in scenarios.space.axes.items()}
    before = known.get(_key(point))  # a sampler may ask for the same scenario again
    outcome = Outcome(before.values, before.user_attrs) if before else scenarios.outcome(point)
    for name, fact in outcome.facts.items():
        trial.set_user_attr(name, fact)
    return study.tell(trial, outcome.values, TrialState.COMPLETE if outcome.values else TrialState.PRUNED)


def _suggest(trial: Trial, axis: str, values: Sequence[str]) -> str:
    if isinstance(values, Steps):
        low, high, step = (float(x) for x in (values.low, values.low + (len(values) - 1) * values.step, values.step))
        return values[round((trial.suggest_float(_parameter(axis, values), low, high, step=step) - low) / step)]
    return trial.suggest_categorical(axis, list(values))


def _parameter(axis: str, values: Sequence[str]) -> str:
    if isinstance(values, Steps):
        return f"{axis}_percent" if values.unit == "%" else f"{axis}_bytes"
    return axis


def _grid(space: Space, seed: int, wanted: int, known: Mapping[str, FrozenTrial]) -> Iterator[dict[str, Any]]:
    """Parameters of the points that are not known yet, shuffled, so that a part of the grid is spread over it."""
    for number in random.Random(seed).sample(range(space.size), min(space.size, wanted)):
        indices = space.indices(number)
        if _key({axis: space.axes[axis][i] for axis, i in indices.items()}) not in known:
            yield {_parameter(axis, space.axes[axis]): _value(space.axes[axis], i) for axis, i in indices.items()}


def _value(values: Sequence[str], i: int) -> float | str:
    return float(values.low + i * values.step) if isinstance(values, Steps) else values[i]


def _enqueue_next(study: optuna.Study, ahead: Iterator[dict[str, Any]]) -> bool:
    parameters = next(ahead, None)
    if parameters is not None:
        study.enqueue_trial(parameters)
    return parameters is not None


def _key(point: Point) -> str:
    return repr(sorted(point.items()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's log lines and its notes on experimental features are not for the user of a sweep."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(level)
