"""Optuna's samplers as a sweep asks them: they are told what the space is, and find what they need in the finished trials alone.

So trial 70 is the same in a process that played the 69 before it and in one that read them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

GENERATION = 50  # trials: Optuna's default


def seeded(base: int, number: int) -> int:
    """The seed of one number of a sequence."""
    return int(np.random.SeedSequence((base, number)).generate_state(1)[0])


class Generations:
    """Trials that have values, in the order in which they finished: each 50 of them are one generation."""

    def __init__(self) -> None:
        self.trials: list[FrozenTrial] = []
        self.parents: list[list[FrozenTrial]] = [[]]  # of each generation; the first has none

    def add(self, trial: FrozenTrial) -> None:
        if trial.state == TrialState.COMPLETE:
            self.trials.append(trial)


class _ByGeneration:
    """NSGA-II or -III that finds generations and parents in the finished trials.

    Optuna keeps the parents of a generation in the study, in another order than that in which it selected them, so that a trial
    there depends on when the process was started.
    """

    def __init__(self, seed: int, base: int, searched: dict[str, BaseDistribution], generations: Generations) -> None:
        """base: the seed of the sweep."""
        super().__init__(seed=seed, population_size=GENERATION)  # type: ignore[call-arg]
        self._base, self._searched, self._generations = base, searched, generations

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._searched

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        return len(self._generations.trials) // GENERATION

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return self._generations.trials[generation * GENERATION : (generation + 1) * GENERATION]

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        parents = self._generations.parents
        while len(parents) <= generation:
            # NSGA-III draws lots: from numbers of the generation's own, whichever trial asks first
            chooser: Any = type(self)(seeded(self._base, len(parents)), self._base, self._searched, self._generations)
            # by number, as Optuna reads them back: it alone draws the first child of each generation from another order
            parents.append(sorted(chooser.select_parent(study, len(parents)), key=lambda trial: trial.number))
        return parents[generation]


class Nsga2(_ByGeneration, NSGAIISampler):
    """For several objectives."""


class Nsga3(_ByGeneration, NSGAIIISampler):
    """For many objectives: it keeps a front that is spread over directions, not over distances."""


class Gp(GPSampler):
    """A Gaussian process that is told what the space is. It is fitted anew for each trial: what Optuna keeps of the last fit would be
    lost in a stop."""

    def __init__(self, seed: int, searched: dict[str, BaseDistribution]) -> None:
        super().__init__(seed=seed, deterministic_objective=True, warn_independent_sampling=False)
        self._searched = searched

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._searched

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the matrices are small: on a busy machine more threads take eight times as long
        try:
            return super().sample_relative(study, trial, search_space)
        finally:
            torch.set_num_threads(threads)


class Tpe(TPESampler):
    """TPE that is told what the space is: over all axes together for one objective, over each alone for several."""

    def __init__(self, seed: int, searched: dict[str, BaseDistribution]) -> None:
        super().__init__(seed=seed, multivariate=bool(searched))
        self._searched = searched

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._searched
