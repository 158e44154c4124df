"""Which axes decide each objective, told by the trials of a study alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from simmoe.plots.trials import as_number, config, spread, varied
from simmoe.sweeps.quiet import quiet

FEWEST, MOST = 20, 4000  # trials: the best tenth of fewer is one or none; of more an even part tells the same


def importances(trials: Sequence[Mapping[str, Any]], objectives: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Objective -> axis -> its share; empty where too few trials were played, or where nothing was varied."""
    axes = varied(trials)
    known = spread([one for one in trials if all(one.get(metric) is not None for metric in objectives)], MOST)
    if len(known) < FEWEST or not axes:
        return {}
    numbers = {axis: as_number({config(one).get(axis, "") for one in known}) for axis in axes}
    ranges: dict[str, BaseDistribution] = {axis: _distribution(axis, numbers[axis], known) for axis in axes}
    signs = {metric: 1 if direction == "minimize" else -1 for metric, direction in objectives.items()}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that all values are equal; that low ones are taken to be good
        study = optuna.create_study(directions=["minimize"] * len(signs))
        for one in known:
            params = {axis: _value(one, axis, numbers[axis]) for axis in axes}
            values = [sign * one[metric] for metric, sign in signs.items()]
            study.add_trial(create_trial(values=values, params=params, distributions=ranges))
        return {metric: _shares(study, i) for i, metric in enumerate(signs)}


def _shares(study: optuna.Study, objective: int) -> dict[str, float]:
    return get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(), target=lambda trial: float(trial.values[objective])
    )


def _distribution(
    axis: str, numbers: Mapping[str, float] | None, trials: Sequence[Mapping[str, Any]]
) -> BaseDistribution:
    if numbers is None or len(numbers) < 2:
        return CategoricalDistribution(list(dict.fromkeys(config(one).get(axis, "") for one in trials)))
    return FloatDistribution(min(numbers.values()), max(numbers.values()))


def _value(trial: Mapping[str, Any], axis: str, numbers: Mapping[str, float] | None) -> Any:
    word = config(trial).get(axis, "")
    return word if numbers is None else numbers[word]
