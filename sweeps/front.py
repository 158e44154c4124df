"""Which trials nothing beats: the Pareto front, each combination of objective values once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from optuna.trial import FrozenTrial, TrialState

from simmoe.sweeps.space import Direction


def front(trials: Iterable[FrozenTrial], directions: Sequence[Direction]) -> list[FrozenTrial]:
    """Trials that keep all constraints, with values that no other such is better than in one objective and as good as in all, by number.

    These are Optuna's `study.best_trials`, but for trials with equal values, of which it has the first.
    """
    played = [trial for trial in trials if feasible(trial)]
    if not played:
        return []
    signs = [1.0 if direction == "minimize" else -1.0 for direction in directions]
    losses, first = np.unique(np.array([trial.values for trial in played]) * signs, axis=0, return_index=True)
    return [played[i] for i in sorted(first[_unbeaten(losses)])]


def feasible(trial: FrozenTrial) -> bool:
    """Whether a trial was played and keeps all constraints."""
    return trial.state == TrialState.COMPLETE and all(excess <= 0 for excess in trial.constraints.values())


def broken(trials: Iterable[FrozenTrial]) -> dict[str, int]:
    """Constraint -> how many of the trials that were played break it."""
    found = dict[str, int]()
    for trial in trials:
        for rule, excess in trial.constraints.items():
            found[rule] = found.get(rule, 0) + (excess > 0)
    return found


def _unbeaten(losses: npt.NDArray[np.float64]) -> list[int]:
    """Which of the distinct rows, sorted from the first column on, no other row is at most as large as in every column."""
    found, left = [], np.arange(len(losses))
    while len(left):
        found.append(int(left[0]))  # no later row is smaller in the first column in which they differ
        left = left[(losses[left] < losses[left[0]]).any(axis=1)]
    return found
