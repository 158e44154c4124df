"""Recurrent router: what one layer's router knew reaches the next (RMoE, Qiu et al. 2024).

"Layerwise recurrent router for mixture-of-experts" (arXiv 2408.06793), section 3.2, eqs. 4-6: the input of MoE layer i
is projected to a small width, a GRU cell runs over the layers (not over the tokens), h_i = GRU(P_i x_i, h_(i-1)), and
the gate is softmax(W_i h_i); as in the authors' code, the first layer starts from h = 0 and Switch's loss keeps the
load even.

The paper shares one GRU cell among the layers; here each router is a module of its own and has its own cell, and P_i
has a bias. Weights are p / stop_gradient(sum of the chosen p), see switch.py; a trace records p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.routers.switch import balance_loss

SETTINGS: dict[str, Any] = {"width": 32, "balance_loss": 0.01}


class Router(nn.Module):
    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k = settings, recipe.top_k
        self.project = nn.Linear(recipe.d_model, settings["width"])
        self.cell = nn.GRUCell(settings["width"], settings["width"])
        self.gate = nn.Linear(settings["width"], recipe.n_experts, bias=False)

    def forward(self, seen: Seen, state: None) -> Routing:
        x = self.project(seen.x)  # (B, T, w)
        before = torch.zeros_like(x) if seen.carried is None else seen.carried
        h = self.cell(x.flatten(0, 1), before.flatten(0, 1)).view_as(x)  # (B, T, w)
        p = self.gate(h).softmax(-1)  # (B, T, E)
        top, experts = p.topk(self.top_k)  # (B, T, k)
        loss = self.settings["balance_loss"] * balance_loss(p, experts)
        return Routing(experts, top / top.detach().sum(-1, keepdim=True), top.detach(), loss, carried=h)


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
