"""Online k-means router: an expert stands for the running mean of the hidden states it was given (Ahrac et al. 2026).

After the parameter-free router of "Routers learn the geometry of their experts" (arXiv 2605.12476): each expert keeps a
running average of the hidden states routed to it, and a token goes to the expert of largest cosine similarity; no
gradient reaches the router. Nothing in k-means keeps clusters of equal size, so a bias per expert is raised by a fixed
step while the expert gets less than the mean load and lowered while it gets more; so does the paper's, by a summary.

Ours, not compared with the paper: the average is c_i += (1 - decay)·(batch mean of expert i - c_i), once per training
step; the choice, not the average, sees the bias (loss_free.py); hidden states are layer-normed; centroids start from
k-means at the branch; all weights are 1/k. A trace records softmax(similarity / temperature).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import GPT, Routing, Seen
from simmoe.workloads.oracle_moe.oracle_space import cluster, normed
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.routers import router_inputs
from simmoe.workloads.oracle_moe.routers.loss_free import load_shortfall

SETTINGS: dict[str, Any] = {
    "decay": 0.99,
    "update": 0.001,  # change of the bias per step, in units of cosine similarity
    "temperature": 0.1,  # of the recorded probabilities; the choice does not depend on it
    "trim": 0.01,  # share of the fitted points, those farthest from their mean, that place no centroid
    "restarts": 4,
    "iterations": 20,
    "least_entropy": 0.9,  # of the load over experts, relative to even, for a k-means restart to be eligible
}


class Router(nn.Module):
    centroids: Tensor
    bias: Tensor

    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k = settings, recipe.top_k
        self.register_buffer("centroids", torch.randn(recipe.n_experts, recipe.d_model, dtype=torch.float64))
        self.register_buffer("bias", torch.zeros(recipe.n_experts, dtype=torch.float64))

    @torch.no_grad()
    def forward(self, seen: Seen, state: None) -> Routing:
        h = torch.from_numpy(normed(seen.x))  # (B, T, d), of length sqrt(d)
        direction = self.centroids / self.centroids.norm(dim=-1, keepdim=True)  # (E, d)
        similarity = h @ direction.T / h.shape[-1] ** 0.5  # (B, T, E), cosines
        chosen = (similarity + self.bias).topk(self.top_k).indices  # (B, T, k)
        p, order = (similarity / self.settings["temperature"]).softmax(-1).gather(-1, chosen).sort(descending=True)
        experts = chosen.gather(-1, order)
        if self.training:
            self.update(h.flatten(0, 1), experts.flatten(0, 1))
        return Routing(experts, torch.full(p.shape, 1 / self.top_k), p.float(), torch.zeros(()))

    def update(self, h: Tensor, experts: Tensor) -> None:
        """One step of k-means on the tokens of a batch; h (N, d), experts (N, k). An unused expert stays where it is."""
        member = torch.zeros(len(h), len(self.bias), dtype=h.dtype).scatter(-1, experts, 1.0)  # (N, E)
        load = member.sum(0).unsqueeze(-1)  # (E, 1)
        step = (member.T @ h / load.clamp(min=1) - self.centroids) * (load > 0)
        self.centroids += (1 - self.settings["decay"]) * step
        self.bias += self.settings["update"] * load_shortfall(experts, len(self.bias)).sign()


def fit(routers: Sequence[Router], model: GPT, windows: Tensor, seed: int) -> None:
    """First centroids: k-means on what the routers see of the windows; looking is no step of training."""
    for layer, (router, x) in enumerate(zip(routers, router_inputs(model, windows))):
        points = normed(x).reshape(-1, x.shape[-1])[::3]  # neighbours say nearly the same
        rng = np.random.default_rng([seed, layer])
        router.centroids.copy_(torch.from_numpy(cluster(points, len(router.bias), router.settings, rng)[0]))
        router.bias.zero_()
