"""Which axes decide each objective: PED-ANOVA (Watanabe et al., IJCAI 2023) over the trials of a study.

It compares how the best tenth of the trials spreads over the values of an axis with how all trials do. It needs numpy alone; Optuna's
two other evaluators (fANOVA, mean decrease of impurity) need scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from simmoe.sweeps import zoo
from simmoe.sweeps.quiet import quiet
from simmoe.sweeps.sampling import parameters
from simmoe.sweeps.space import Space

FEWEST = 20  # trials with values: the best tenth of fewer is one or none


def importances(trials: Sequence[FrozenTrial], space: Space) -> dict[str, dict[str, float]]:
    """Objective -> axis -> its share of the importance, largest first; empty where too few trials have values.

    What decides an objective is asked of its number, before any rounding, whether or not constraints are kept.
    """
    played = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    found = dict[str, dict[str, float]]()
    if len(played) < FEWEST:
        return found
    axes, signs = _Axes(space), {name: 1 if aim == "minimize" else -1 for name, aim in space.objectives.items()}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lower is better, and that all are equal where all values are
        study = optuna.create_study(directions=["minimize"] * len(signs))
        study.add_trials(
            [axes.told(trial, [s * trial.user_attrs[name] for name, s in signs.items()]) for trial in played]
        )
        for number, metric in enumerate(signs):
            found[metric] = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(), target=partial(_value, number)
            )
    return found


def _value(number: int, trial: FrozenTrial) -> float:
    return float(trial.values[number])


class _Axes:
    """The axes that vary, as a reader of a space knows them: experts, top-k and router apart, though they are one axis for samplers."""

    def __init__(self, space: Space) -> None:
        self.trained = space.trained
        named = {name: axis for axis, name in parameters(space).items()}
        self.named = {name: axis for name, axis in named.items() if len(space.axes[axis]) > 1}
        of_zoo = {key: list(dict.fromkeys(getattr(one, key) for one in space.trained.values())) for key in zoo.KEYS}
        self.zoo = {key: CategoricalDistribution(values) for key, values in of_zoo.items() if len(values) > 1}

    def told(self, trial: FrozenTrial, values: list[float]) -> FrozenTrial:
        mine = {name: axis for name, axis in self.named.items() if not (self.trained and axis == "trace")}
        params = {axis: trial.params[name] for name, axis in mine.items()}
        spread: dict[str, BaseDistribution] = {axis: trial.distributions[name] for name, axis in mine.items()}
        params |= {key: trial.user_attrs[key] for key in self.zoo}
        return create_trial(values=values, params=params, distributions={**spread, **self.zoo})
