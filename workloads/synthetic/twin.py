"""A twin: statistics of a model's routing, from which routing like it is drawn (docs/synthetic_routing.md).

The experts of a layer stand in a stack, the one used last on top, as in an LRU cache (the LRU stack model of Spirn, 1976). A token draws
top_k distinct experts. The weight of an expert is exp(popularity + stickiness of its depth + topic + affinity): how often the expert is
used, how soon experts come back, what the present topic adds for some hundred tokens, and what the experts of the layer before add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
QUANTILES = np.array([0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1])  # of the experts of a layer, that a class keeps


@dataclass(frozen=True, eq=False)
class Twin:
    """All weights are natural logarithms. A class knows no single experts: popularity is QUANTILES, pairs are ranks."""

    name: str  # of the model
    source: str  # what it was fitted on
    n_experts: int
    top_k: int
    layer_index: Ints  # [layers] model layer of each MoE layer
    popularity: Floats  # [layers, n_experts]
    ends: Ints  # [depths] last stack depth of each group of depths, plus one; the last is n_experts
    stickiness: Floats  # [layers, depths]
    topic_tokens: float  # mean length of a topic in tokens
    topic_spread: Floats  # [layers] standard deviation of what a topic adds
    targets: Ints  # [layers, pairs] expert whose weight rises ...
    partners: Ints  # [layers, pairs] ... where the token used this expert in the layer before
    lift: Floats  # [layers, pairs] by how much
    experts_known: bool = True  # popularity and pairs are about the single experts of one model

    @property
    def n_layers(self) -> int:
        return len(self.layer_index)

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        arrays = (self.layer_index, self.popularity, self.ends, self.stickiness, self.topic_spread)
        return sum(array.size for array in (*arrays, self.targets, self.partners, self.lift)) + 3

    @property
    def stickiness_by_depth(self) -> Floats:
        """[layers, n_experts]"""
        return np.repeat(self.stickiness, np.diff(self.ends, prepend=0), axis=1)


def depth_ends(n_experts: int, top_k: int) -> Ints:
    """Groups of stack depths: fine where the last few tokens' experts stand, then a tenth of the experts each."""
    fine = [max(top_k // 2, 1), top_k, top_k + max(top_k // 2, 1), 2 * top_k, 3 * top_k]
    tenths = [round(n_experts * tenth / 10) for tenth in range(1, 11)]
    return np.array(sorted({end for end in (*fine, *tenths) if 1 <= end <= n_experts}), np.int64)


def uniform(n_layers: int, n_experts: int, top_k: int) -> Twin:
    """All experts alike, whatever was used before."""
    none, layers = np.zeros((n_layers, 0), np.int64), np.arange(n_layers)
    return Twin(
        "uniform", "no trace: all experts alike", n_experts, top_k, layers, np.zeros((n_layers, n_experts)),
        np.array([n_experts]), np.zeros((n_layers, 1)), 256.0, np.zeros(n_layers), none, none, np.zeros((n_layers, 0)),
    )  # fmt: skip
