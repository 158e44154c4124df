"""Switch router: token-level top-k of a softmax gate with a load-balancing loss (Fedus, Zoph and Shazeer, 2021).

"Switch Transformers" (arXiv 2101.03961), section 2.1: p = softmax(W x) (eq. 1), the token goes to argmax p;
section 2.2: the loss a·E·sum_i f_i·P_i (eqs. 4-6, a = 0.01) keeps the load even.

Here, for k > 1, the token goes to the k largest and f_i counts all of them; experts have no capacity, so no token is
dropped; and the weights of the k experts are p / stop_gradient(sum of the chosen p), so they sum to 1 instead of to
less. Experts that start as copies of a trained dense layer would otherwise shrink by p at the branch; the gate still
gets the same direction of gradient. A trace records p itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe

SETTINGS: dict[str, Any] = {"balance_loss": 0.01, "gate": "straight-through"}


class Router(nn.Module):
    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k = settings, recipe.top_k
        self.gate = nn.Linear(recipe.d_model, recipe.n_experts, bias=False)
        nn.init.normal_(self.gate.weight, std=0.02)

    def forward(self, seen: Seen, state: None) -> Routing:
        p = self.gate(seen.x).softmax(-1)  # (B, T, E)
        top, experts = p.topk(self.top_k)  # (B, T, k)
        weights = top / top.detach().sum(-1, keepdim=True)
        return Routing(experts, weights, top.detach(), self.settings["balance_loss"] * balance_loss(p, experts))


def balance_loss(p: Tensor, experts: Tensor) -> Tensor:
    """E·sum_i f_i·P_i: 1 when even; p (B, T, E), experts int64 (B, T, k)."""
    n_experts = p.shape[-1]
    share = torch.bincount(experts.flatten(), minlength=n_experts) / experts.numel()  # f_i, eq. 5
    return n_experts * (share * p.mean((0, 1))).sum()  # eq. 4, P_i of eq. 6


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
