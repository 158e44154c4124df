"""Loss-free balancing: a bias per expert, for the choice alone (Wang et al. 2024).

"Auxiliary-loss-free load balancing strategy for mixture-of-experts" (arXiv 2408.15664), section 3, eq. 3: with
scores s = sigmoid(W x), the token goes to the k experts with the largest s_i + b_i, and is weighted by s_i without the
bias. Algorithm 1: after every training batch, b_i += u·sign(mean load - load_i). There is no balancing loss. As in
DeepSeek-V3 (arXiv 2412.19437, section 2.1.2, eqs. 12-16) the weights of the chosen experts sum to 1.

Here that sum is stop_gradient(sum of the chosen s), so that the gate has a gradient for k = 1 too. A trace records s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe

SETTINGS: dict[str, Any] = {"update": 0.001}  # u of Algorithm 1


class Router(nn.Module):
    bias: Tensor

    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k = settings, recipe.top_k
        self.gate = nn.Linear(recipe.d_model, recipe.n_experts, bias=False)
        nn.init.normal_(self.gate.weight, std=0.02)
        self.register_buffer("bias", torch.zeros(recipe.n_experts))

    def forward(self, seen: Seen, state: None) -> Routing:
        s = self.gate(seen.x).sigmoid()  # (B, T, E)
        chosen = (s.detach() + self.bias).topk(self.top_k).indices  # (B, T, k)
        top, order = s.gather(-1, chosen).sort(-1, descending=True)
        experts = chosen.gather(-1, order)
        if self.training:
            self.bias += self.settings["update"] * load_shortfall(experts, len(self.bias)).sign()
        return Routing(experts, top / top.detach().sum(-1, keepdim=True), top.detach(), torch.zeros(()))


def load_shortfall(experts: Tensor, n_experts: int) -> Tensor:
    """Mean load minus load, (E,), in tokens: positive for an expert that gets too few."""
    load = torch.bincount(experts.flatten(), minlength=n_experts).float()
    return load.mean() - load


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
