"""Top-p routing: as many experts as it takes to be sure ("Harder tasks need more experts", Huang et al. 2024).

arXiv 2403.07652: with p = softmax(W x) sorted, a token uses the smallest number t of experts whose probabilities add up
to the threshold. The dynamic loss, the entropy of p, keeps the router from spreading p to use more experts; Switch's
loss with f_i the share of tokens that use expert i keeps the load even. The threshold is that of the authors' code
(github.com/ZhenweiAn/Dynamic_MoE); the weights of the two losses are the paper's by a summary.

Ours: at most `most` experts, which is the number of slots; weights p / stop_gradient(sum of the used p), so that they
sum to 1 instead of to less. A trace records p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe

SETTINGS: dict[str, Any] = {"threshold": 0.4, "most": 4, "balance_loss": 0.01, "dynamic_loss": 1e-4}


class Router(nn.Module):
    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings = settings
        self.gate = nn.Linear(recipe.d_model, recipe.n_experts, bias=False)
        nn.init.normal_(self.gate.weight, std=0.02)

    def forward(self, seen: Seen, state: None) -> Routing:
        logits = self.gate(seen.x)  # (B, T, E)
        p = logits.softmax(-1)
        top, experts = p.topk(min(self.settings["most"], p.shape[-1]))  # (B, T, most)
        used = smallest_set(top.detach(), self.settings["threshold"])  # bool (B, T, most)
        experts, top = experts.where(used, -1), top.where(used, 0.0)
        entropy = -(p * logits.log_softmax(-1)).sum(-1).mean()
        loss = self.settings["balance_loss"] * balance_loss(p, experts) + self.settings["dynamic_loss"] * entropy
        return Routing(experts, top / top.detach().sum(-1, keepdim=True), top.detach(), loss)


def smallest_set(top: Tensor, threshold: float) -> Tensor:
    """bool (…, most): the slots needed to reach the threshold; top descending. The first is always needed."""
    return top.cumsum(-1) - top < threshold


def balance_loss(p: Tensor, experts: Tensor) -> Tensor:
    """E·sum_i f_i·Q_i, f_i the share of tokens that use expert i; p (B, T, E), experts int64 (B, T, most) or -1."""
    n_experts, tokens = p.shape[-1], experts[..., 0].numel()
    share = torch.bincount(experts[experts >= 0], minlength=n_experts) / tokens
    return n_experts * (share * p.mean((0, 1))).sum()


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
