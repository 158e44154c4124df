"""Oracle-style router whose experts are used evenly, for many small ones: oracle_ema with an offset on every distance.

k-means makes each centroid the nearest one of about as many tokens, but says nothing of who is among the k nearest: of 64
experts at top-6 some served a twentieth of their share. The paper has no balancing loss (section 3), and none is needed:
once the centroids stand, each gets an offset b_e on its squared distance, found on the fitted text by repeating
b_e += step · (share_e · E - 1), the update of loss-free balancing (Wang et al. 2024, arXiv 2408.15664), and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simmoe.workloads.oracle_moe.backbone import GPT
from simmoe.workloads.oracle_moe.oracle_space import Array
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.routers import oracle_ema

SETTINGS: dict[str, Any] = {
    **oracle_ema.SETTINGS,
    "rounds": 200,
    "step": 0.2,  # x mean squared distance to the own centroid
}


class Router(oracle_ema.Router):
    offsets: Tensor

    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__(recipe, settings)
        self.register_buffer("offsets", torch.zeros(recipe.n_experts, dtype=torch.float64))

    def distances(self, z: Array) -> Array:
        """(B, T, r) to (B, T, E)."""
        d2: Array = super().distances(z) + self.offsets.numpy()
        return d2


def fit(routers: Sequence[Router], model: GPT, windows: Tensor, seed: int) -> None:
    """The clusters of oracle_ema, then the offsets of each layer."""
    for router, points in zip(routers, oracle_ema.fit(routers, model, windows, seed)):
        balanced = offsets(router.distances(points), router.top_k, router.settings)
        router.offsets.copy_(torch.from_numpy(balanced))


def offsets(d2: Array, k: int, settings: dict[str, Any]) -> Array:
    """b (E,) by which each of E centroids is among the k nearest of as many points as any other; d2 (n, E)."""
    b = np.zeros(d2.shape[1])
    for _ in range(settings["rounds"]):
        chosen = np.argpartition(d2 + b, k - 1, axis=-1)[:, :k]
        share = np.bincount(chosen.ravel(), minlength=len(b)) / chosen.size
        b += settings["step"] * (share * len(b) - 1)
    return b
