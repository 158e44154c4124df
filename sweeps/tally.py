"""How far a sweep is: what its progress line says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from simmoe.sweeps.front import feasible
from simmoe.sweeps.space import Direction


class Progress(NamedTuple):
    """Of a sweep, after a trial."""

    finished: int  # trials of the study
    wanted: int
    cannot: int  # of the finished ones: those that cannot run
    front: int  # points that nothing beats, so far


Report = Callable[[Progress], None]


class Tally:
    """Counts trials as they finish; a late one costs what an early one does."""

    def __init__(self, directions: Iterable[Direction], wanted: int) -> None:
        self._signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])
        self._front = np.empty((0, len(self._signs)))  # losses, each point once
        self.finished, self._wanted, self._cannot = 0, wanted, 0

    def add(self, trial: FrozenTrial) -> None:
        self.finished += 1
        if trial.state == TrialState.PRUNED:
            self._cannot += 1
        elif feasible(trial):
            loss = np.array(trial.values) * self._signs
            if not (self._front <= loss).all(axis=1).any():
                self._front = np.vstack([self._front[~(loss <= self._front).all(axis=1)], loss])

    @property
    def progress(self) -> Progress:
        return Progress(self.finished, self._wanted, self._cannot, len(self._front))
