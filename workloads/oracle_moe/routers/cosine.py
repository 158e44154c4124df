"""Cosine router ("On the representation collapse of sparse mixture of experts", X-MoE, Chi et al. 2022).

arXiv 2204.09179, section 3: routing scores are computed on a low-dimensional sphere: the token is projected to half as
many dimensions as there are experts, projection and expert embeddings are L2-normalised, s_i = cos(P x, e_i), and the
gate is softmax(s / tau) with a learnt temperature tau; so neither the length of a token's vector nor that of an
expert's embedding counts. Switch's loss keeps the load even, there on softmax(s / tau_0) with a fixed tau_0 = 0.3.

Ours: tau starts from that 0.3 and the loss uses tau as well; tau is kept positive by learning its logarithm; weights
are p / stop_gradient(sum of the chosen p), see switch.py. A trace records p.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.routers.switch import balance_loss

SETTINGS: dict[str, Any] = {
    "dimensions": 0.5,  # of the sphere, x n_experts
    "temperature": 0.3,  # tau at the branch
    "balance_loss": 0.01,
}


class Router(nn.Module):
    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k = settings, recipe.top_k
        dimensions = math.ceil(settings["dimensions"] * recipe.n_experts)
        self.project = nn.Linear(recipe.d_model, dimensions, bias=False)
        self.embedding = nn.Parameter(torch.randn(recipe.n_experts, dimensions))  # (E, r), e_i
        self.log_temperature = nn.Parameter(torch.tensor(math.log(settings["temperature"])))

    def forward(self, seen: Seen, state: None) -> Routing:
        s = F.normalize(self.project(seen.x), dim=-1) @ F.normalize(self.embedding, dim=-1).T  # (B, T, E), cosines
        p = (s / self.log_temperature.exp()).softmax(-1)
        top, experts = p.topk(self.top_k)  # (B, T, k)
        loss = self.settings["balance_loss"] * balance_loss(p, experts)
        return Routing(experts, top / top.detach().sum(-1, keepdim=True), top.detach(), loss)


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
