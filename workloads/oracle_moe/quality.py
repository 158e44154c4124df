"""How good a routing is: switches, evenness of load, and whether experts follow topics. NumPy only.

Inconsistency is the measure of Oracle-MoE (ICML 2025, PMLR 267, Table 4): changed activations per 100 consecutive
tokens. A low value alone proves nothing, since a router that averages over everything never switches; the normalised
mutual information with the domain of the text, above all on stitched text, tells whether it still sees the topic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[Any]  # int [sequences, T, layers, k], -1 = slot unused
Used = npt.NDArray[np.bool_]  # [sequences, T, layers, experts]
Array = npt.NDArray[np.float64]


def used(ids: Ids, n_experts: int) -> Used:
    """Which experts each token uses in each layer."""
    out = np.zeros((*ids.shape[:-1], n_experts + 1), bool)
    np.put_along_axis(out, ids.astype(np.int64), True, -1)  # -1 is the last column
    return out[..., :n_experts]


def inconsistency_per_100(experts: Used) -> Array:
    """Per layer: members of a token's expert set that were not in the set of the token before, per 100 members."""
    new = (experts[:, 1:] & ~experts[:, :-1]).sum((0, 1, 3))
    result: Array = 100 * new / np.maximum(1, experts[:, 1:].sum((0, 1, 3)))
    return result


def load_share(experts: Used) -> Array:
    """float64 [layers, experts]: share of the used slots that each expert gets."""
    counts = experts.sum((0, 1)).astype(np.float64)
    shares: Array = counts / np.maximum(1, counts.sum(1, keepdims=True))
    return shares


def load_entropy(share: Array) -> Array:
    """Per layer: entropy of the load over experts, 1 = even."""
    return np.array([_entropy(row) for row in share]) / float(np.log(share.shape[1]))


def importance(ids: Ids, gate: npt.NDArray[Any], n_experts: int) -> Array:
    """float64 [layers, experts]: sum of the recorded gate weights of the slots that each expert gets."""
    layers = ids.shape[2]
    flat = np.where(ids >= 0, ids + n_experts * np.arange(layers)[:, None], n_experts * layers).ravel()
    total: Array = np.bincount(flat, gate.ravel().astype(np.float64), n_experts * layers + 1).astype(np.float64)
    return total[:-1].reshape(layers, n_experts)


def variation(amount: Array) -> Array:
    """Per layer: coefficient of variation over experts, standard deviation / mean (Shazeer et al. 2017, eq. 7)."""
    result: Array = amount.std(1) / amount.mean(1)
    return result


def nmi(experts: Used, labels: npt.NDArray[Any]) -> Array:
    """Per layer: 2 I(expert; label) / (H(expert) + H(label)), each used slot a sample; labels int [sequences, T]."""
    joint = np.stack([experts[labels == label].sum(0) for label in np.unique(labels)], -1)  # (layers, E, labels)
    return np.array([_nmi(counts / counts.sum()) for counts in joint])


def summary(
    pure: Ids, mixed: Ids, gate: npt.NDArray[Any], n_experts: int, pure_labels: Ids, mixed_labels: Ids
) -> dict[str, Any]:
    """The routing half of a trace's `meta.quality`: lists with one number per MoE layer. `gate` is that of `pure`."""
    a, b = used(pure, n_experts), used(mixed, n_experts)
    share = load_share(a)
    rows = {
        "inconsistency_per_100": inconsistency_per_100(a),
        "inconsistency_per_100_mixed": inconsistency_per_100(b),
        "load_entropy": load_entropy(share),
        "max_load": share.max(1),
        "min_load": share.min(1),
        "load_cv": variation(share),
        "importance_cv": variation(importance(pure, gate, n_experts)),
        "experts_used": (share > 0).sum(1),
        "experts_per_token": a.sum(-1).mean((0, 1)),
        "nmi_domain": nmi(a, pure_labels),
        "nmi_domain_mixed": nmi(b, mixed_labels),
    }
    return {name: [round(float(x), 4) for x in row] for name, row in rows.items()}


def _nmi(joint: Array) -> float:
    h_a, h_b = _entropy(joint.sum(1)), _entropy(joint.sum(0))
    return 2 * (h_a + h_b - _entropy(joint.ravel())) / (h_a + h_b) if h_a + h_b > 0 else 0.0


def _entropy(p: Array) -> float:
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())
