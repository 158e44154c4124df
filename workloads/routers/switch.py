"""Switch router: token-level top-1 of a softmax gate with a load-balancing loss (Fedus, Zoph and Shazeer, 2021).

"Switch Transformers", section 2.1: p = softmax(W x), the token goes to argmax p (eq. 1), and the loss
a·E·sum_i f_i·P_i (eqs. 4-6) keeps the load even. One change: the expert's output is scaled by p / stop_gradient(p) = 1
instead of p. Experts that start as copies of a trained dense layer would otherwise shrink by p at the branch; the gate
still gets the same direction of gradient. A trace records p itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.workloads.backbone import Routing

SETTINGS: dict[str, Any] = {"balance_loss": 0.01, "gate": "straight-through"}


class Router(nn.Module):
    def __init__(self, d_model: int, n_experts: int, vocabulary: int):
        super().__init__()
        self.gate = nn.Linear(d_model, n_experts, bias=False)
        nn.init.normal_(self.gate.weight, std=0.02)

    def forward(self, x: Tensor, tokens: Tensor) -> Routing:
        p = self.gate(x).softmax(-1)  # (B, T, E)
        top, expert = p.max(-1, keepdim=True)  # (B, T, 1)
        n_experts = p.shape[-1]
        share = torch.bincount(expert.flatten(), minlength=n_experts) / expert.numel()  # f_i, eq. 5
        balance = n_experts * (share * p.mean((0, 1))).sum()  # eq. 4, P_i of eq. 6
        return Routing(expert, top / top.detach(), top.detach(), SETTINGS["balance_loss"] * balance)

    def stream(self, state: None, x: Tensor, tokens: Tensor) -> tuple[None, Routing]:
        return None, self(x, tokens)


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
