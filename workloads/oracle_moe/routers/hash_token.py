"""Hash layer: the expert is a fixed function of the token id (Roller et al. 2021).

"Hash layers for large sparse models" (arXiv 2106.04426), balanced assignment: a table from token ids to experts is
built before the experts are trained, by giving the most frequent token that is left to the emptiest expert. Nothing is
learnt.

Here counts come from the windows at the branch, plus one, so that ids which do not occur there are spread out as well;
ties are drawn at random, per layer. For k > 1 a token goes to the k emptiest experts, where the paper's MultiHash
layers put a layer together from segments; all weights are 1/k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Routing, Seen
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.text import VOCABULARY

SETTINGS: dict[str, Any] = {}
Ids = npt.NDArray[np.int64]


class Router(nn.Module):
    table: Tensor

    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.n_experts = recipe.n_experts
        ids = torch.arange(VOCABULARY).unsqueeze(1) + torch.arange(recipe.top_k)
        self.register_buffer("table", ids % recipe.n_experts)  # int64 (V, k), until it is fitted

    def forward(self, seen: Seen, state: None) -> Routing:
        experts = self.table[seen.tokens]  # (B, T, k)
        even = torch.full(experts.shape, 1 / experts.shape[-1])
        return Routing(experts, even, even, torch.zeros(()))


def balanced(counts: Ids, n_experts: int, k: int, rng: np.random.Generator) -> Ids:
    """int64 (V, k): the most frequent token first, each to the k experts with the least load so far."""
    table = np.empty((len(counts), k), np.int64)
    load = np.zeros(n_experts, np.int64)
    shuffled = rng.permutation(len(counts))
    for token in shuffled[np.argsort(-counts[shuffled], kind="stable")]:
        any_order = rng.permutation(n_experts)
        table[token] = any_order[np.argsort(load[any_order], kind="stable")[:k]]
        load[table[token]] += counts[token]
    return table


def fit(routers: Sequence[Router], model: nn.Module, windows: Tensor, seed: int) -> None:
    """The tables, from the token counts of the windows."""
    counts = np.bincount(windows.flatten().numpy(), minlength=VOCABULARY) + 1
    for layer, router in enumerate(routers):
        rng = np.random.default_rng([seed, layer])
        router.table.copy_(torch.from_numpy(balanced(counts, router.n_experts, router.table.shape[1], rng)))
