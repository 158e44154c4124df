"""A small GPT whose feed-forward layers can be Mixtures of Experts: pre-LN, learned positions, tied head.

After nanoGPT. It knows no router: a router is any module with `forward(x, tokens) -> Routing` (see routers/). A dense
layer is a mixture of one expert, so a trained dense model becomes an MoE by repeating its weights ("upcycling").
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simmoe.workloads.recipe import Recipe
from simmoe.workloads.text import VOCABULARY


class Routing(NamedTuple):
    """What a router says about B·T tokens."""

    experts: Tensor  # int64 (B, T, k)
    weights: Tensor  # float (B, T, k), multiplies the expert's output and carries its gradient
    gate: Tensor  # float (B, T, k), the probability to record in a trace
    loss: Tensor  # scalar, added to the language-model loss


class Output(NamedTuple):
    logits: Tensor  # (B, T, V)
    routings: list[Routing]  # one per MoE layer


class Experts(nn.Module):
    """E two-layer GELU networks; E = 1 is an ordinary feed-forward layer."""

    def __init__(self, n_experts: int, d_model: int, d_ff: int, out_std: float):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(1, d_model, d_ff).mul(0.02).repeat(n_experts, 1, 1))  # (E, d, f)
        self.b1 = nn.Parameter(torch.zeros(n_experts, d_ff))
        self.w2 = nn.Parameter(torch.randn(1, d_ff, d_model).mul(out_std).repeat(n_experts, 1, 1))  # (E, f, d)
        self.b2 = nn.Parameter(torch.zeros(n_experts, d_model))

    def forward(self, x: Tensor, routing: Routing | None) -> Tensor:
        if routing is None:
            return F.gelu(x @ self.w1[0] + self.b1[0]) @ self.w2[0] + self.b2[0]  # (B, T, d)
        k, d = routing.experts.shape[-1], x.shape[-1]
        rows = x.reshape(-1, 1, d).expand(-1, k, d).reshape(-1, d)  # (N·k, d)
        run = self.sorted_by_expert if self.training else self.every_expert
        y = run(rows, routing.experts.reshape(-1)).view(*routing.experts.shape, d)  # (B, T, k, d)
        return (y * routing.weights.unsqueeze(-1)).sum(2)  # (B, T, d)

    def sorted_by_expert(self, rows: Tensor, expert: Tensor) -> Tensor:
        """Each expert on its own tokens: fast, but a row's last bits depend on how many rows share its expert."""
        order = expert.argsort(stable=True)
        counts = torch.bincount(expert, minlength=len(self.w1)).tolist()
        parts = zip(torch.split(rows[order], counts), self.w1.unbind(0), self.b1.unbind(0))
        h = F.gelu(torch.cat([torch.addmm(b, x, w) for x, w, b in parts]))  # (N·k, f)
        parts = zip(torch.split(h, counts), self.w2.unbind(0), self.b2.unbind(0))
        return torch.cat([torch.addmm(b, x, w) for x, w, b in parts])[order.argsort()]  # (N·k, d)

    def every_expert(self, rows: Tensor, expert: Tensor) -> Tensor:
        """All experts on all rows, then pick: shapes do not depend on the routing, so a prefix stays bit-identical."""
        h = F.gelu(rows @ self.w1 + self.b1.unsqueeze(1))  # (E, N·k, f)
        y = h @ self.w2 + self.b2.unsqueeze(1)  # (E, N·k, d)
        return y[expert, torch.arange(len(rows))]  # (N·k, d)


class Block(nn.Module):
    """Causal self-attention, then a feed-forward layer that is dense (no router) or a mixture."""

    def __init__(self, recipe: Recipe, router: nn.Module | None):
        super().__init__()
        d, out_std = recipe.d_model, 0.02 / math.sqrt(2 * recipe.n_layers)
        self.heads = recipe.n_heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        nn.init.normal_(self.qkv.weight, std=0.02)
        nn.init.normal_(self.out.weight, std=out_std)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)
        self.ffn = Experts(recipe.n_experts if router else 1, d, recipe.d_ff, out_std)
        self.router = router

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Routing | None]:
        x = x + self.attention(self.norm1(x))  # (B, T, d)
        h = self.norm2(x)  # (B, T, d), what the router sees
        routing = self.router(h, tokens) if self.router is not None else None
        return x + self.ffn(h, routing), routing

    def attention(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # each (B, H, T, d/H)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, d/H)
        out: Tensor = self.out(y.transpose(1, 2).reshape(b, t, d))  # (B, T, d)
        return out


class GPT(nn.Module):
    """The whole model. `routers` maps a layer to its router; without any, every layer is dense."""

    def __init__(self, recipe: Recipe, routers: dict[int, nn.Module] | None = None):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, recipe.d_model)
        self.position = nn.Embedding(recipe.length, recipe.d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(recipe, (routers or {}).get(i)) for i in range(recipe.n_layers))
        self.norm = nn.LayerNorm(recipe.d_model)

    def forward(self, tokens: Tensor) -> Output:
        x = self.embedding(tokens) + self.position.weight[: tokens.shape[1]]  # (B, T, d)
        routings = []
        for block in self.blocks:
            x, routing = block(x, tokens)
            if routing is not None:
                routings.append(routing)
        return Output(self.norm(x) @ self.embedding.weight.T, routings)  # (B, T, V)


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats; logits (B, T, V), targets (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
