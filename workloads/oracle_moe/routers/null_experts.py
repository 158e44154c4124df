"""Null experts: a token may spend some of its slots on doing nothing (AdaMoE, Zeng et al. 2024, arXiv 2406.13233).

The gate has n_null outputs more than there are experts, and each token chooses its k largest of all, k larger than
without; a null expert costs nothing and adds nothing, so tokens use different numbers of experts. The probabilities of
the chosen true experts are normalised to sum to 1. The balancing loss is Switch's over all E + n_null outputs, with the
load of a null replaced by the mean load of the nulls, since it does not matter which null a token takes. A token whose
slots are all null passes the layer by.

Here the normaliser carries no gradient, as in switch.py, so that one true expert among the chosen leaves the gate a
gradient; the paper's annealing schedule is left out. Slots that chose a null are -1 and stand last; a trace records p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe

NULL_EXPERTS = True  # a token may use no expert at all
SETTINGS: dict[str, Any] = {
    "n_null": 8,
    "extra": 1,  # slots more than the recipe's top-k: with as many nulls as experts, 2 slots use 1 expert on average
    "balance_loss": 0.01,
}


class Router(nn.Module):
    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.n_experts, self.slots = settings, recipe.n_experts, recipe.top_k + settings["extra"]
        self.gate = nn.Linear(recipe.d_model, recipe.n_experts + settings["n_null"], bias=False)
        nn.init.normal_(self.gate.weight, std=0.02)

    def forward(self, seen: Seen, state: None) -> Routing:
        p = self.gate(seen.x).softmax(-1)  # (B, T, E + n_null)
        top, chosen = p.topk(self.slots)  # (B, T, slots)
        loss = self.settings["balance_loss"] * balance_loss(p, chosen, self.n_experts)
        true = chosen < self.n_experts
        top, order = top.where(true, 0.0).sort(stable=True, dim=-1, descending=True)  # nulls last
        experts = chosen.where(true, -1).gather(-1, order)
        total = top.detach().sum(-1, keepdim=True)  # (B, T, 1), 0 where all are null
        return Routing(experts, top / total.where(total > 0, 1.0), top.detach(), loss)


def balance_loss(p: Tensor, chosen: Tensor, n_experts: int) -> Tensor:
    """(E + n_null)·sum_i f_i·P_i with the mean f of the nulls for each null; 1 when even."""
    share = torch.bincount(chosen.flatten(), minlength=p.shape[-1]) / chosen.numel()
    share[n_experts:] = share[n_experts:].mean()
    return p.shape[-1] * (share * p.mean((0, 1))).sum()


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
