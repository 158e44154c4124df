"""What the expert of one layer tells of another layer's, and of the domain of the text.

Sets are read as "one used slot of each layer, drawn at random": every pair of used slots of a token counts once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.workloads.locality.routing import Floats, Ints, Routing, pair_counts

MAP_PAIRS = 6 * 10**7  # pairs of slots that the map of all pairs of layers may count


def nmi(joint: npt.NDArray[Any]) -> float:
    """2 I(a; b) / (H(a) + H(b)) of counts [a, b]; 0 when neither varies, NaN when there are none."""
    total = joint.sum()
    if total == 0:
        return float("nan")
    p = joint / total
    h_a, h_b = _entropy(p.sum(1)), _entropy(p.sum(0))
    return max(0.0, 2 * (h_a + h_b - _entropy(p.ravel())) / (h_a + h_b)) if h_a + h_b > 0 else 0.0


def _entropy(p: Floats) -> float:
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def joint_counts(routing: Routing, a: int, b: int) -> Ints:
    """int64 [experts, experts]: tokens that use the row's expert in layer a and the column's in layer b."""
    return pair_counts(routing.ids[:, a], routing.ids[:, b], routing.n_experts, routing.n_experts)


def affinity(routing: Routing) -> tuple[Floats, Floats]:
    """Two float64 [layers - 1]: NMI of layer l with l + 1, and how often the best guess of one expert from one is right.

    The guess is argmax_b P(b used in layer l + 1 | a used in layer l), the mean over used slots a of that probability;
    counted on the tokens that it is learned from, so an upper bound.
    """
    both = [joint_counts(routing, layer, layer + 1) for layer in range(routing.n_layers - 1)]
    use = _with_next(routing)
    top = [float(j.max(1).sum() / u) if u else float("nan") for j, u in zip(both, use)]
    return np.array([nmi(j) for j in both]), np.array(top)


def _with_next(routing: Routing) -> Ints:
    """int64 [layers - 1]: used slots of each layer, of tokens that use the next layer too."""
    used = routing.ids >= 0
    return np.asarray((used[:, :-1] & used[:, 1:].any(2, keepdims=True)).sum((0, 2)), np.int64)


def layer_map(routing: Routing) -> tuple[Ints, Floats]:
    """Columns int64 [n] and their NMI float64 [n, n]. All layers, or as many, evenly spaced, as MAP_PAIRS allows."""
    at_most = int((2 * MAP_PAIRS / (len(routing.ids) * routing.top_k**2)) ** 0.5)
    n = min(routing.n_layers, max(2, at_most))
    columns = np.linspace(0, routing.n_layers - 1, n).round().astype(np.int64)
    values = np.zeros((n, n))
    for i in range(n):
        for j in range(i, n):
            values[i, j] = values[j, i] = nmi(joint_counts(routing, int(columns[i]), int(columns[j])))
    return columns, values


def with_labels(routing: Routing, labels: Ints) -> Floats:
    """float64 [layers]: NMI of expert and label (such as the domain of the text); labels int64 [tokens], from 0."""
    n, e = int(labels.max()) + 1, routing.n_experts
    return np.array([nmi(pair_counts(routing.ids[:, i], labels[:, None], e, n)) for i in range(routing.n_layers)])
