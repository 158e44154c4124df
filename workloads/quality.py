"""How good a routing is: switches, evenness of load, and whether experts follow topics. NumPy only.

Inconsistency is the measure of Oracle-MoE (ICML 2025, PMLR 267, Table 4): changed activations per 100 consecutive
tokens. A low value alone proves nothing, since a router that averages over everything never switches; the normalised
mutual information with the domain of the text, above all on stitched text, tells whether it still sees the topic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[Any]  # int [sequences, T, layers], the first expert of each token


def inconsistency_per_100(ids: Ids) -> list[float]:
    """Per layer: pairs of neighbouring tokens of a sequence whose expert differs, per 100 pairs."""
    return [float(x) for x in 100 * (ids[:, 1:] != ids[:, :-1]).mean((0, 1))]


def load_share(ids: Ids, n_experts: int) -> npt.NDArray[np.float64]:
    """float64 [layers, experts]: share of the tokens that each expert gets."""
    counts = [np.bincount(ids[..., layer].ravel(), minlength=n_experts) for layer in range(ids.shape[-1])]
    return np.array(counts, np.float64) / ids[..., 0].size


def load_entropy(ids: Ids, n_experts: int) -> list[float]:
    """Per layer: entropy of the load over experts, 1 = even."""
    return [_entropy(share) / float(np.log(n_experts)) for share in load_share(ids, n_experts)]


def nmi(ids: Ids, labels: npt.NDArray[Any]) -> list[float]:
    """Per layer: 2 I(expert; label) / (H(expert) + H(label)); labels int [sequences, T]."""
    return [_nmi(ids[..., layer].ravel(), labels.ravel()) for layer in range(ids.shape[-1])]


def summary(pure: Ids, mixed: Ids, n_experts: int, pure_labels: Ids, mixed_labels: Ids) -> dict[str, Any]:
    """The routing half of a trace's `meta.quality`: lists with one number per MoE layer."""
    share = load_share(pure, n_experts)
    rows = {
        "inconsistency_per_100": inconsistency_per_100(pure),
        "inconsistency_per_100_mixed": inconsistency_per_100(mixed),
        "load_entropy": load_entropy(pure, n_experts),
        "max_load": share.max(1),
        "experts_used": (share > 0).sum(1),
        "nmi_domain": nmi(pure, pure_labels),
        "nmi_domain_mixed": nmi(mixed, mixed_labels),
    }
    return {name: [round(float(x), 4) for x in row] for name, row in rows.items()}


def _nmi(a: Ids, b: Ids) -> float:
    joint = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(joint, (a, b), 1.0)
    joint /= joint.sum()
    h_a, h_b = _entropy(joint.sum(1)), _entropy(joint.sum(0))
    return 2 * (h_a + h_b - _entropy(joint.ravel())) / (h_a + h_b) if h_a + h_b > 0 else 0.0


def _entropy(p: npt.NDArray[np.float64]) -> float:
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())
