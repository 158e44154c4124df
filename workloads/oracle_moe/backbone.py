"""A small GPT whose feed-forward layers can be Mixtures of Experts: pre-LN, learned positions, tied head.

After nanoGPT. It knows no router: a router is any module with `forward(seen, state) -> Routing` (see routers/). A dense
layer is a mixture of one expert, so a trained dense model becomes an MoE by repeating its weights ("upcycling").
One forward pass serves training, prefill and decode: tokens may follow a `past`, the KV cache and the routers' states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.text import VOCABULARY


class Seen(NamedTuple):
    """What a router may look at: T tokens that follow S - T earlier ones."""

    x: Tensor  # float (B, T, d), the layer-normed input of the MoE layer
    tokens: Tensor  # int64 (B, T)
    attention: Callable[[], Tensor]  # () -> float (B, H, T, S), this layer's attention weights
    carried: Tensor | None  # what the router of the previous MoE layer handed on


class Routing(NamedTuple):
    """What a router says about B·T tokens."""

    experts: Tensor  # int64 (B, T, k), -1 = slot unused
    weights: Tensor  # float (B, T, k), multiplies the expert's output and carries its gradient; 0 where unused
    gate: Tensor  # float (B, T, k), the probability to record in a trace
    loss: Tensor  # scalar, added to the language-model loss
    state: Any = None  # what this router needs to go on with the next tokens of the sequences
    carried: Tensor | None = None  # handed to the router of the next MoE layer
    space: Any = None  # float (B, T, r), where the tokens lie in the router's own space, if it has one


class Past(NamedTuple):
    """What one layer remembers of the tokens before."""

    keys: Tensor  # float (B, H, S, d/H)
    values: Tensor  # float (B, H, S, d/H)
    router: Any  # Routing.state


class Output(NamedTuple):
    logits: Tensor  # (B, T, V)
    routings: list[Routing]  # one per MoE layer
    past: list[Past]  # one per layer, for the tokens that follow


class Experts(nn.Module):
    """E two-layer GELU networks; E = 1 is an ordinary feed-forward layer."""

    def __init__(self, n_experts: int, d_model: int, d_ff: int, out_std: float, scale: int = 1):
        super().__init__()
        self.scale = scale  # x the second product: `scale` slices of a layer, weighted 1/scale, add up to the layer
        self.w1 = nn.Parameter(torch.randn(1, d_model, d_ff).mul(0.02).repeat(n_experts, 1, 1))  # (E, d, f)
        self.b1 = nn.Parameter(torch.zeros(n_experts, d_ff))
        self.w2 = nn.Parameter(torch.randn(1, d_ff, d_model).mul(out_std).repeat(n_experts, 1, 1))  # (E, f, d)
        self.b2 = nn.Parameter(torch.zeros(n_experts, d_model))

    def forward(self, x: Tensor, routing: Routing | None) -> Tensor:
        if routing is None:
            return F.gelu(x @ self.w1[0] + self.b1[0]) @ self.w2[0] + self.b2[0]  # (B, T, d)
        run = self.sorted_by_expert if self.training else self.every_expert
        k, d = routing.experts.shape[-1], x.shape[-1]
        experts = routing.experts.reshape(-1, k).clamp(min=0)  # (N, k), an unused slot has weight 0
        y = run(x.reshape(-1, d), experts).view(*routing.experts.shape, d)  # (B, T, k, d)
        return (y * routing.weights.unsqueeze(-1)).sum(2)  # (B, T, d)

    def sorted_by_expert(self, x: Tensor, experts: Tensor) -> Tensor:
        """Each expert on its own tokens: fast, but a row's last bits depend on how many rows share its expert."""
        flat = experts.flatten()  # (N·k,)
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=len(self.w1)).tolist()
        parts = zip(torch.split(x[order // experts.shape[1]], counts), self.w1.unbind(0), self.b1.unbind(0))
        h = F.gelu(torch.cat([torch.addmm(b, rows, w) for rows, w, b in parts]))  # (N·k, f)
        parts = zip(torch.split(h, counts), self.w2.unbind(0), self.b2.unbind(0))
        y = [torch.addmm(b, rows, w, alpha=self.scale) for rows, w, b in parts]
        return torch.cat(y)[order.argsort()]  # (N·k, d)

    def every_expert(self, x: Tensor, experts: Tensor) -> Tensor:
        """All experts on all rows, then pick: shapes do not depend on the routing, so a prefix stays bit-identical."""
        h = F.gelu(x @ self.w1 + self.b1.unsqueeze(1))  # (E, N, f)
        y = h @ (self.w2 * self.scale) + self.b2.unsqueeze(1)  # (E, N, d)
        return y[experts, torch.arange(len(x)).unsqueeze(1)]  # (N, k, d)


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
        if router is None:
            self.ffn = Experts(1, d, recipe.d_ff, out_std)
        else:
            self.ffn = Experts(recipe.n_experts, d, recipe.d_ff // recipe.slices, out_std, recipe.slices)
        self.shared = Experts(1, d, recipe.d_ff, out_std) if router and recipe.shared_expert else None
        self.router = router

    def forward(
        self, x: Tensor, tokens: Tensor, past: Past | None, carried: Tensor | None
    ) -> tuple[Tensor, Routing | None, Past]:
        q, k, v = self.project(self.norm1(x), past)
        x = x + self.attend(q, k, v)  # (B, T, d)
        h = self.norm2(x)  # (B, T, d), what the router sees
        if self.router is None:
            return x + self.ffn(h, None), None, Past(k, v, None)
        seen = Seen(h, tokens, lambda: attention_weights(q, k), carried)
        routing: Routing = self.router(seen, past.router if past else None)
        y = self.ffn(h, routing)
        if self.shared is not None:
            y = (y + self.shared(h, None)) / 2
        return x + y, routing, Past(k, v, routing.state)

    def project(self, x: Tensor, past: Past | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the new tokens, (B, H, T, d/H); keys and values of all tokens so far, (B, H, S, d/H)."""
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return (q, k, v) if past is None else (q, torch.cat([past.keys, k], 2), torch.cat([past.values, v], 2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        t, s = q.shape[2], k.shape[2]
        mask = None if s == t else causal_mask(t, s)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)  # (B, H, T, d/H)
        out: Tensor = self.out(y.transpose(1, 2).reshape(q.shape[0], t, -1))  # (B, T, d)
        return out


def causal_mask(t: int, s: int) -> Tensor:
    """bool (T, S): the last T of S tokens see themselves and everything before."""
    return torch.ones(t, s, dtype=torch.bool).tril(s - t)


@torch.no_grad()
def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k / sqrt(d/H)), (B, H, T, S): for routers to look at, without gradient."""
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~causal_mask(q.shape[2], k.shape[2]), -math.inf).softmax(-1)


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

    def forward(self, tokens: Tensor, past: Sequence[Past] | None = None) -> Output:
        """`tokens` int64 (B, T) follow those of `past`, if given; together they fit into the context."""
        start = past[0].keys.shape[2] if past else 0
        x = self.embedding(tokens) + self.position.weight[start : start + tokens.shape[1]]  # (B, T, d)
        routings, new_past, carried = [], [], None
        for i, block in enumerate(self.blocks):
            x, routing, layer_past = block(x, tokens, past[i] if past else None, carried)
            new_past.append(layer_past)
            if routing is not None:
                routings.append(routing)
                carried = routing.carried
        return Output(self.norm(x) @ self.embedding.weight.T, routings, new_past)  # (B, T, V)


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats; logits (B, T, V), targets (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())
