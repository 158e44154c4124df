"""Attention-aware routing: tokens that attend to each other go to the same experts (Nguyen et al. 2025).

"Improving routing in sparse mixture of experts with graph of tokens" (arXiv 2505.00792), section 3: the attention
matrix of the block that the MoE layer belongs to guides the routing.

Here the gate of token i is r_i = sum_j A_ij softmax(W x_j), with A the causal attention weights averaged over the
heads; the token goes to the k largest. Decoding remembers softmax(W x_j) of the earlier tokens. A carries no gradient,
so the gate learns what an expert is for, not whom to attend to; weights are r / stop_gradient(sum of the chosen r), and
Switch's loss on r keeps the load even. A trace records r.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.routers.switch import balance_loss

SETTINGS: dict[str, Any] = {"balance_loss": 0.01}


class Router(nn.Module):
    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k = settings, recipe.top_k
        self.gate = nn.Linear(recipe.d_model, recipe.n_experts, bias=False)
        nn.init.normal_(self.gate.weight, std=0.02)

    def forward(self, seen: Seen, state: Tensor | None) -> Routing:
        p = self.gate(seen.x).softmax(-1)  # (B, T, E)
        p = p if state is None else torch.cat([state, p], 1)  # (B, S, E)
        r = seen.attention().mean(1) @ p  # (B, T, E)
        top, experts = r.topk(self.top_k)  # (B, T, k)
        loss = self.settings["balance_loss"] * balance_loss(r, experts)
        return Routing(experts, top / top.detach().sum(-1, keepdim=True), top.detach(), loss, state=p)


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
