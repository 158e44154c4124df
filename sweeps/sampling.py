"""Which scenario a sweep plays next: a function of the finished trials and of the trial's number alone.

So a sweep that was stopped goes on as if it had not been. And the samplers are told what the space is, and count generations as they
go: a trial late in a sweep costs what an early one does, but with `tpe` and `gp`, which read all trials for each one.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from simmoe.simulator.errors import Missing
from simmoe.sweeps.samplers import Generations, Gp, Nsga2, Nsga3, Tpe, seeded
from simmoe.sweeps.space import Point, Space
from simmoe.sweeps.words import Steps

SAMPLERS = ("nsga2", "nsga3", "tpe", "gp", "random", "qmc", "grid")
NEEDS = {
    "qmc": (("scipy",), "simmoe[sweep]"),
    "gp": (("scipy", "torch"), "simmoe[sweep,moe]"),
}  # packages, what installs them


def check_installed(sampler: str) -> None:
    """Raises Missing with the line that installs what a sampler needs."""
    packages, extra = NEEDS.get(sampler, ((), ""))
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise Missing(
            f"the sampler {sampler} needs {' and '.join(missing)}, which is not installed; run: pip install '{extra}'"
        )


class Draws:
    """The parameters of each trial of a sweep, and what they mean."""

    def __init__(self, space: Space, sampler: str, seed: int) -> None:
        self.space, self.seed = space, seed
        self.distributions = {name: _distribution(space.axes[axis]) for axis, name in parameters(space).items()}
        varied = {name: one for name, one in sorted(self.distributions.items()) if not one.single()}
        self._searched = varied if sampler != "tpe" or len(space.objectives) == 1 else {}
        self._sampler = sampler
        self._generations = Generations()

    def told(self, trial: FrozenTrial) -> None:
        """A trial has finished."""
        self._generations.add(trial)

    def sampler(self, number: int) -> BaseSampler:
        """The sampler of trial `number`. Where all is planned it has nothing to say: `planned` says what is next."""
        seed = seeded(self.seed, number)
        if by_generation := {"nsga2": Nsga2, "nsga3": Nsga3}.get(self._sampler):
            return by_generation(seed, self.seed, self._searched, self._generations)
        if self._sampler == "gp":
            return Gp(seed, self._searched)
        return Tpe(seed, self._searched) if self._sampler == "tpe" else RandomSampler(seed=seed)

    def planned(self, done: int, known: Collection[str]) -> Iterator[dict[str, Any]] | None:
        """The parameters of the trials behind `done` finished ones, where they follow from the numbers alone. known: `key`s of scenarios
        that a grid leaves out."""
        if self._sampler == "grid":
            return self.grid(known)
        return self.spread(done) if self._sampler == "qmc" else None

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

    def spread(self, done: int) -> Iterator[dict[str, Any]]:
        """Parameters at the points of a scrambled Sobol sequence, which has a dimension for each axis that varies.

        Optuna's own sampler would leave axes of names to chance.
        """
        from scipy.stats import qmc

        axes = self.space.axes
        varied = [axis for axis, values in axes.items() if len(values) > 1]
        points = qmc.Sobol(max(len(varied), 1), rng=seeded(self.seed, 0))
        if done:  # it cannot go on by none
            points.fast_forward(done)
        while True:
            at = dict(zip(varied, points.random(1)[0].tolist()))
            yield {
                _parameter(axis, values): _value(values, int(at.get(axis, 0.0) * len(values)))
                for axis, values in axes.items()
            }


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
