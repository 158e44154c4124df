"""Which scenario a sweep plays next: a function of the finished trials and of the trial's number alone.

So a sweep that was stopped goes on as if it had not been. And the samplers are told what the space is, and count generations as they
go: a trial late in a sweep costs what an early one does.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from simmoe.sweeps.space import Point, Space
from simmoe.sweeps.words import Steps

SAMPLERS = ("nsga2", "tpe", "random", "grid")
GENERATION = 50  # trials, of nsga2: Optuna's default


class Draws:
    """The parameters of each trial of a sweep, and what they mean."""

    def __init__(self, space: Space, sampler: str, seed: int) -> None:
        self.space, self.seed = space, seed
        self.distributions = {name: _distribution(space.axes[axis]) for axis, name in parameters(space).items()}
        varied = {name: one for name, one in sorted(self.distributions.items()) if not one.single()}
        self._searched = varied if sampler == "nsga2" or len(space.objectives) == 1 else {}
        self._sampler = sampler
        self._generations = Generations()

    def told(self, trial: FrozenTrial) -> None:
        """A trial has finished."""
        self._generations.add(trial)

    def sampler(self, number: int) -> BaseSampler:
        """The sampler of trial `number`. A grid needs none: `grid` says what is next."""
        seed = int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        if self._sampler == "nsga2":
            return Nsga2(seed, self._searched, self._generations)
        return Tpe(seed, self._searched) if self._sampler == "tpe" else RandomSampler(seed=seed)

    def point(self, parameters: dict[str, Any]) -> Point:
        """The scenario that a trial's parameters mean."""
        found = {}
        for axis, values in self.space.axes.items():
            value = parameters[_parameter(axis, values)]
            found[axis] = (
                values[round((value - float(values.low)) / float(values.step))] if isinstance(values, Steps) else value
            )
        return found

    def grid(self, known: Collection[str]) -> Iterator[dict[str, Any]]:
        """Parameters of the scenarios whose `key` is not known, shuffled, so that a part of the grid is spread over it."""
        for number in shuffled(self.space.size, self.seed):
            indices = self.space.indices(number)
            if key({axis: self.space.axes[axis][i] for axis, i in indices.items()}) not in known:
                yield {
                    _parameter(axis, self.space.axes[axis]): _value(self.space.axes[axis], i)
                    for axis, i in indices.items()
                }


class Generations:
    """Trials that have values, in the order in which they finished: each 50 of them are one generation."""

    def __init__(self) -> None:
        self.trials: list[FrozenTrial] = []
        self.parents: list[list[FrozenTrial]] = [[]]  # of each generation; the first has none

    def add(self, trial: FrozenTrial) -> None:
        if trial.state == TrialState.COMPLETE:
            self.trials.append(trial)


class Nsga2(NSGAIISampler):
    """NSGA-II that finds generations and parents in the finished trials.

    Optuna keeps the parents of a generation in the study, in another order than that in which it selected them, so that a trial
    there depends on when the process was started.
    """

    def __init__(self, seed: int, searched: dict[str, BaseDistribution], generations: Generations) -> None:
        super().__init__(seed=seed, population_size=GENERATION)
        self._searched, self._generations = searched, generations

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._searched

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return len(self._generations.trials) // GENERATION

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return self._generations.trials[generation * GENERATION : (generation + 1) * GENERATION]

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        parents = self._generations.parents
        while len(parents) <= generation:
            # by number, as Optuna reads them back: it alone draws the first child of each generation from another order
            parents.append(sorted(self.select_parent(study, len(parents)), key=lambda trial: trial.number))
        return parents[generation]


class Tpe(TPESampler):
    """TPE that is told what the space is: over all axes together for one objective, over each alone for several."""

    def __init__(self, seed: int, searched: dict[str, BaseDistribution]) -> None:
        super().__init__(seed=seed, multivariate=bool(searched))
        self._searched = searched

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._searched


def key(point: Point) -> str:
    """What names a scenario, whatever the order of its axes."""
    return repr(sorted(point.items()))


def shuffled(size: int, seed: int) -> Iterator[int]:
    """The numbers 0 … size - 1 in an order that does not depend on how many of them are taken."""
    draw, moved = random.Random(seed), dict[int, int]()
    for i in range(size):
        j = draw.randrange(i, size)
        found = moved.get(j, j)
        moved[j] = moved.pop(i, i)
        yield found


def parameters(space: Space) -> dict[str, str]:
    """Axis -> the name of its parameter."""
    return {axis: _parameter(axis, values) for axis, values in space.axes.items()}


def _parameter(axis: str, values: Sequence[str]) -> str:
    """What Optuna calls it: an axis of numbers says their unit, as a figure does by its name."""
    return axis + {"%": "_percent", "B": "_bytes"}.get(values.unit, "") if isinstance(values, Steps) else axis


def _distribution(values: Sequence[str]) -> BaseDistribution:
    if isinstance(values, Steps):
        high = values.low + (len(values) - 1) * values.step
        return FloatDistribution(float(values.low), float(high), step=float(values.step))
    return CategoricalDistribution(list(values))


def _value(values: Sequence[str], i: int) -> float | str:
    return float(values.low + i * values.step) if isinstance(values, Steps) else values[i]
