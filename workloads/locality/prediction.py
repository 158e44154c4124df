"""How well a linear rule foretells experts: from states of a shallow layer, or from experts that are already known.

Oracle-MoE (ICML 2025, PMLR 267), section 5.4 and the rebuttal: accuracy of a linear classifier on shallow states, from
layer 0, half and three quarters of the layers, averaged over the layers that follow. Always on sequences not learned
from: every third sequence is for testing; with fewer than three, the last third of the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.workloads.locality.routing import Bools, Floats, Ids, Routing, members, pair_counts

STEPS = 300  # of the logistic regression: accelerated gradient steps, no stopping rule, no chance
PENALTY = 1e-3  # of the logistic regression, times half the squared weights, beside the mean loss
TARGETS = 8  # layers that the experts of one source are tried on, evenly spaced
RIDGE = 1.0  # added to the diagonal of the features' scatter, in tokens


def depths(n_layers: int) -> dict[str, int]:
    """Column of layer 0, of the layer at half and of that at three quarters of the MoE layers."""
    return {"layer_0": 0, "half": n_layers // 2, "three_quarters": 3 * n_layers // 4}


def test_rows(groups: npt.ArrayLike) -> Bools:
    """bool [n]: every third group; with fewer than three groups the last third of the rows. groups int [n]."""
    names, number = np.unique(groups, return_inverse=True)
    if len(names) >= 3:
        return np.asarray(number % 3 == 2)
    return np.arange(len(number)) >= len(number) * 2 // 3


def linear_accuracy(states: npt.NDArray[Any], targets: npt.NDArray[Any], groups: npt.ArrayLike) -> float:
    """Share of test rows whose target a multinomial logistic regression names; NaN without rows to learn or to test.

    states float [n, d], targets int [n] (-1: row left out), groups int [n], the sequence of a row. Features are scaled by
    mean and deviation of the training rows; 300 steps of Nesterov's method from zero on the mean cross-entropy + 1e-3/2
    times the squared weights (the intercept included).
    """
    known = np.asarray(targets) >= 0
    test, learn = test_rows(groups) & known, ~test_rows(groups) & known
    if not test.any() or not learn.any():
        return float("nan")
    mean, deviation = states[learn].mean(0, dtype=np.float64), states[learn].std(0, dtype=np.float64)
    x = (states - mean) / np.where(deviation > 0, deviation, 1)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    weights = _logistic(x[learn], members(targets[learn, None], int(targets.max()) + 1))
    return float(((x[test] @ weights).argmax(1) == targets[test]).mean())


def _logistic(x: Floats, y: npt.NDArray[Any]) -> Floats:
    """float64 [d, classes]: weights of the regression; x [n, d], y 0 or 1 [n, classes]."""
    weights = ahead = np.zeros((x.shape[1], y.shape[1]))
    bound = np.linalg.eigvalsh(x.T @ x / len(x))[-1] / 2 + PENALTY  # of the curvature
    for step in range(STEPS):
        scores = x @ ahead
        scores = np.exp(scores - scores.max(1, keepdims=True))
        gradient = x.T @ (scores / scores.sum(1, keepdims=True) - y) / len(x) + PENALTY * ahead
        before, weights = weights, ahead - gradient / bound
        ahead = weights + step / (step + 3) * (weights - before)
    return weights


def from_states(states: npt.NDArray[Any], experts: npt.NDArray[Any], groups: npt.ArrayLike) -> dict[str, float | None]:
    """`linear_accuracy` from the states at layer 0, half and three quarters, mean over the deeper MoE layers.

    states float [n, layers, d]: what enters each MoE layer; experts int [n, layers], the first expert of each token;
    groups int [n]. None where no layer is deeper. This is the form of one entry of `meta.quality.predictability`.
    """
    found: dict[str, float | None] = {}
    for name, source in depths(experts.shape[1]).items():
        mean = _mean(
            linear_accuracy(states[:, source], experts[:, i], groups) for i in range(source + 1, experts.shape[1])
        )
        found[name] = None if np.isnan(mean) else mean
    return found


def from_experts(routing: Routing) -> dict[str, float]:
    """Share of the test tokens' used slots that a ridge regression names, by what it is told.

    layer_0, half, three_quarters: all experts of that layer for the same token, mean over the deeper layers.
    previous_token: the experts of the token before in the same layer, mean over all layers. popularity: nothing; the
    layer's most used experts. Means are over 8 layers, evenly spaced, where there are more. A token with n used slots
    gets n guesses, so k = 1 is plain accuracy.
    """
    test, layers = test_rows(routing.sequence), _spaced(0, routing.n_layers)
    found = {}
    for name, source in depths(routing.n_layers).items():
        rule = _Ridge(routing.ids[:, source], test, routing.n_experts)
        found[name] = _mean(rule.hits(routing.ids[:, i]) for i in _spaced(source + 1, routing.n_layers))
    pairs = routing.next_pairs()
    before, now, later = routing.ids[pairs], routing.ids[pairs + 1], test[pairs + 1]
    found["previous_token"] = _mean(_Ridge(before[:, i], later, routing.n_experts).hits(now[:, i]) for i in layers)
    nothing = _Ridge(np.full((len(test), 1), -1, np.int16), test, routing.n_experts)
    found["popularity"] = _mean(nothing.hits(routing.ids[:, i]) for i in layers)
    return found


def _spaced(first: int, end: int) -> list[int]:
    """first … end - 1, or TARGETS of them."""
    n = min(TARGETS, end - first)
    return [int(i) for i in np.linspace(first, end - 1, n).round()]


def _mean(values: Iterator[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


class _Ridge:
    """Least squares from the 0/1 membership of a source, prepared once for many targets.

    Without BLAS: for many products this small, its threads wait for each other longer than they work.
    """

    def __init__(self, source: Ids, test: Bools, n_experts: int) -> None:
        self.learn, self.ask, self.test, self.n_experts = source[~test], source[test], test, n_experts
        self.mean = members(self.learn, n_experts).sum(0) / max(len(self.learn), 1)
        scatter = self._scatter(self.learn, self.mean)
        self.inverse = _inverse(scatter + RIDGE * np.eye(n_experts))

    def _scatter(self, target: Ids, mean: Floats) -> Floats:
        counts = pair_counts(self.learn, target, self.n_experts, self.n_experts)
        return np.asarray(counts - len(target) * np.outer(self.mean, mean), np.float64)

    def hits(self, target: Ids) -> float:
        """Slots of the test tokens named / used; NaN without rows."""
        taught, asked = target[~self.test], target[self.test]
        used = int((asked >= 0).sum())
        if not len(taught) or not used:
            return float("nan")
        mean = members(taught, self.n_experts).sum(0) / len(taught)
        weights = np.einsum("ij,jk->ik", self.inverse, self._scatter(taught, mean))
        weights = np.append(weights, np.zeros((1, self.n_experts)), axis=0)  # its last row serves the unused slots (-1)
        scores = np.tile(mean - np.einsum("i,ij->j", self.mean, weights[:-1]), (len(asked), 1))
        for slot in range(self.ask.shape[1]):
            scores += weights[self.ask[:, slot]]
        return _named(scores.round(9), asked) / used  # rounding keeps ties ties: the last bits differ by machine


def _inverse(matrix: Floats) -> Floats:
    """Inverse of a positive definite matrix, by Gauss-Jordan elimination in place."""
    a = matrix.copy()
    for i in range(len(a)):
        column, row, pivot = a[:, i].copy(), a[i] / a[i, i], a[i, i]
        a -= column[:, None] * row
        a[i], a[:, i] = row, -column / pivot
        a[i, i] = 1 / pivot
    return a


def _named(scores: Floats, asked: Ids) -> int:
    """Used slots among the best-scored experts, as many for each token as it uses."""
    k = asked.shape[1]
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), 1, kind="stable"), 1)
    best = np.where(np.arange(k) < (asked >= 0).sum(1, keepdims=True), best, -2)
    return sum(int((asked == best[:, slot, None]).sum()) for slot in range(k))
