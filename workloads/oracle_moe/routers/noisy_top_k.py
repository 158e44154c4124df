"""Noisy top-k gating with the importance and the load loss (Shazeer et al. 2017).

"Outrageously large neural networks" (arXiv 1701.06538), section 2.1, eqs. 3-5: H = W_g x + N(0, 1)·softplus(W_noise x),
and G = softmax over the k largest of H. Section 4, eqs. 6-7: importance_i = sum of G_i over the batch. Appendix A,
eqs. 8-11: load_i = sum of P(x, i), the chance that expert i stays among the k largest if its own noise is drawn again.
Each loss is a weight (0.1, appendix C) times the squared coefficient of variation; both matrices start at zero, so that
all experts are equally likely at first (appendix A).

Here, as in the authors' tensor2tensor (utils/expert_utils.py), there is noise in training only. The CV and max/mean of
the paper's Table 6 are of Importance and Load as above and averages over training batches, hence with noise; those of a
trace are of the choice without noise, and far larger as long as the noise exceeds the differences of the clean logits.

Where the paper's k is at least 2, ours may be 1 and G a constant 1. So the gate is p / stop_gradient(sum of the chosen
p) with p = softmax(H) over all experts: the value of G, with a gradient for every k. A trace records p itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe

SETTINGS: dict[str, Any] = {"importance_loss": 0.1, "load_loss": 0.1}


class Router(nn.Module):
    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k = settings, recipe.top_k
        self.logits = NoisyLogits(recipe.d_model, recipe.n_experts)

    def forward(self, seen: Seen, state: None) -> Routing:
        h: Logits = self.logits(seen.x)
        p = h.noisy.softmax(-1)  # (B, T, E)
        top, experts = p.topk(self.top_k)  # (B, T, k)
        weights = top / top.detach().sum(-1, keepdim=True)
        gate = torch.zeros_like(p).scatter(-1, experts, weights)  # G of eq. 3
        importance = gate.sum((0, 1))  # (E,), eq. 6
        load = chance_to_stay(h, self.top_k).sum((0, 1))  # (E,), eq. 10
        loss = self.settings["importance_loss"] * cv_squared(importance)  # eq. 7
        loss = loss + self.settings["load_loss"] * cv_squared(load)  # eq. 11
        return Routing(experts, weights, top.detach(), loss)


class Logits(NamedTuple):
    clean: Tensor  # (…, E), W_g x
    noisy: Tensor  # (…, E), H(x) of eq. 4
    scale: Tensor  # (…, E), standard deviation of the noise


class NoisyLogits(nn.Module):
    """Eq. 4. A checkpoint carries what the noise of the next step depends on."""

    seed: Tensor
    step: Tensor

    def __init__(self, d_model: int, n_experts: int):
        super().__init__()
        self.gate = nn.Linear(d_model, n_experts, bias=False)
        self.noise = nn.Linear(d_model, n_experts, bias=False)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.noise.weight)
        self.register_buffer("seed", torch.randint(1 << 40, ()))  # each layer has noise of its own
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Logits:
        clean, scale = self.gate(x), F.softplus(self.noise(x))
        if not self.training:
            return Logits(clean, clean, scale)
        generator = torch.Generator().manual_seed(int(self.seed + self.step))
        self.step += 1
        return Logits(clean, clean + torch.randn(clean.shape, generator=generator) * scale, scale)


def chance_to_stay(h: Logits, k: int) -> Tensor:
    """P(x, i) of eqs. 8 and 9, (…, E): the normal CDF at the distance to the k-th largest of the others."""
    largest = h.noisy.topk(k + 1).values  # (…, k + 1)
    kth, next_one = largest[..., k - 1 : k], largest[..., k:]
    kth_excluding = torch.where(h.noisy > next_one, next_one, kth)
    chance: Tensor = torch.special.ndtr((h.clean - kth_excluding) / h.scale)
    return chance


def cv_squared(x: Tensor) -> Tensor:
    """Squared coefficient of variation, 0 when even."""
    return x.var(correction=0) / x.mean() ** 2


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """Nothing to fit: the gate is trained with the model."""
