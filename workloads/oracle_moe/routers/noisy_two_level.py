"""Hierarchical noisy top-k gating ("Outrageously large neural networks", Shazeer et al. 2017, appendix B).

arXiv 1701.06538: a primary gate chooses a group of experts, the secondary gate of that group the experts in it: eq. 12,
G_H(x)_ij = G_primary(x)_i · G_i(x)_j. Importance is the sum of G_H over the batch (eq. 13); load is
Load_primary(X)_i · Load_i(X_i)_j / |X_i| with X_i the tokens of group i (eq. 14). Both gates are as in noisy_top_k.py.

The paper takes two groups per token and two experts of each (appendix C); here it is one group, and the recipe's top-k
within it. For k = 1 both gates would be a constant 1, so each is p / stop_gradient(sum of the chosen p). A trace
records the product of the two probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.simulator.errors import UserError
from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.routers.noisy_top_k import Logits, NoisyLogits, chance_to_stay, cv_squared

SETTINGS: dict[str, Any] = {"groups": 2, "importance_loss": 0.1, "load_loss": 0.1}


class Router(nn.Module):
    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k, self.groups = settings, recipe.top_k, settings["groups"]
        if recipe.n_experts % self.groups:
            raise UserError(f"groups is {self.groups}: it must divide the {recipe.n_experts} experts of a layer")
        self.primary = NoisyLogits(recipe.d_model, self.groups)
        self.secondary = NoisyLogits(recipe.d_model, recipe.n_experts)

    def forward(self, seen: Seen, state: None) -> Routing:
        b, t, _ = seen.x.shape
        primary: Logits = self.primary(seen.x)  # (B, T, G)
        secondary = Logits(*(h.view(b, t, self.groups, -1) for h in self.secondary(seen.x)))  # (B, T, G, E/G)
        p, q = primary.noisy.softmax(-1), secondary.noisy.softmax(-1)
        outer, group = p.max(-1, keepdim=True)  # (B, T, 1)
        inner, member = q.gather(2, group[..., None].expand(-1, -1, -1, q.shape[-1]))[:, :, 0].topk(self.top_k)
        experts = group * q.shape[-1] + member  # (B, T, k)
        weights = outer / outer.detach() * inner / inner.detach().sum(-1, keepdim=True)  # eq. 12
        importance = torch.zeros_like(q).flatten(2).scatter(-1, experts, weights).sum((0, 1))  # (E,), eq. 13
        load = two_level_load(chance_to_stay(primary, 1), chance_to_stay(secondary, self.top_k), group)
        loss = self.settings["importance_loss"] * cv_squared(importance)
        loss = loss + self.settings["load_loss"] * cv_squared(load)
        return Routing(experts, weights, (outer * inner).detach(), loss)


def two_level_load(primary: Tensor, secondary: Tensor, group: Tensor) -> Tensor:
    """Load_H of eq. 14, (E,); the chances to stay (B, T, G) and (B, T, G, E/G), and each token's group (B, T, 1)."""
    member = torch.zeros_like(primary).scatter(-1, group, 1.0)  # (B, T, G), 1 where x is in X_i
    within = (secondary * member.unsqueeze(-1)).sum((0, 1))  # (G, E/G), Load_i(X_i)_j
    size = member.sum((0, 1)).clamp(min=1)  # (G,), |X_i|
    return ((primary.sum((0, 1)) / size).unsqueeze(-1) * within).flatten()


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gates are trained with the model."""
