"""Oracle-style router: tokens go to the experts of their running semantic group (Oracle-MoE, ICML 2025, PMLR 267).

From the paper: group embeddings are means over member tokens (section 2.2, Def. 3), a linear projection found after a
warm-up makes the oracle space, k-means in it places one centroid per expert (section 3), and
e_t = argmin_k ||z_S(t) - c_k|| with a one-hot gate (Eq. 1); for top-k, the k nearest centroids.
Ours, because a model of a few million parameters has no semantic attention to threshold: the group of a token is an
exponential moving average over the past, causal by construction; the projection is `oracle_space.contrast` instead of
an SVD; experts are left only when others are nearer by a margin (hysteresis).
`input`: "embedding" averages layer-normed token embeddings, frozen at the branch, so that all layers read one signal;
"hidden" averages the layer-normed input of the layer itself. The state of a sequence is r + 1 + k numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simmoe.workloads.oracle_moe.backbone import GPT, Routing, Seen
from simmoe.workloads.oracle_moe.oracle_space import Array, Space, cluster, contrast, moving_average, normed
from simmoe.workloads.oracle_moe.routers import router_inputs

SETTINGS: dict[str, Any] = {
    "input": "embedding",  # or "hidden"
    "alpha": 0.9,  # decay of the moving average
    "rank": 8,  # r, dimensions of the oracle space
    "block": 16,  # consecutive tokens that stand for one group when the space is fitted
    "ridge": 0.01,  # x mean diagonal of the within-block scatter
    "hysteresis": 0.5,  # x mean squared distance to the own centroid
    "trim": 0.01,  # share of the fitted points, those farthest from their mean, that place no centroid
    "restarts": 8,
    "iterations": 30,
    "least_entropy": 0.9,  # of the load over experts, relative to even, for a k-means restart to be eligible
}
Ids = npt.NDArray[np.int64]


class State(NamedTuple):
    """What decoding remembers of a sequence: sum and weight of the moving average, and the experts in use."""

    total: Array  # float64 (B, r)
    weight: float
    experts: Ids | None  # (B, k), None before the first token


class Router(Space):
    @torch.no_grad()
    def forward(self, seen: Seen, state: State | None) -> Routing:
        e = self.projected(seen)  # (B, T, r)
        state = state or State(np.zeros((len(e), e.shape[-1])), 0.0, None)
        z, total, weight = moving_average(e, self.settings["alpha"], state.total, state.weight)
        d2 = self.distances(z)  # (B, T, E)
        experts = with_hysteresis(d2, self.top_k, state.experts, self.settings["hysteresis"])  # (B, T, k)
        chosen = torch.from_numpy(experts)
        p = torch.from_numpy(-d2).softmax(-1).gather(-1, chosen).float()
        even = torch.full_like(p, 1 / self.top_k)  # one-hot for top-1
        return Routing(chosen, even, p, torch.zeros(()), State(total, weight, experts[:, -1]), space=z)


def with_hysteresis(d2: Array, k: int, held: Ids | None, margin: float) -> Ids:
    """The k nearest of E centroids (Eq. 1), nearest first; (B, T, E) to (B, T, k).

    A centroid in use counts as nearer by `margin`. For k = 1: the expert is kept until another one is nearer by more.
    """
    rows = np.arange(len(d2))[:, None]
    out = np.empty((*d2.shape[:2], k), np.int64)
    for t in range(d2.shape[1]):
        bias = d2[:, t].copy()
        if held is not None:
            bias[rows, held] -= margin
        held = out[:, t] = np.argsort(bias, -1, kind="stable")[:, :k]
    return out


def fit(routers: Sequence[Router], model: GPT, windows: Tensor, seed: int) -> list[Array]:
    """The one-time cluster analysis after the warm-up (section 3): one space, one k-means per layer.

    Returns the points (n, r) of each layer on which its centroids were placed.
    """
    placed, settings = [], routers[0].settings
    if settings["input"] == "embedding":
        embedding = normed(model.embedding.weight.detach())[windows.numpy()]  # (n, T, d)
        inputs = [embedding] * len(routers)
    else:
        inputs = [normed(x) for x in router_inputs(model, windows)]
    for layer, (router, h) in enumerate(zip(routers, inputs)):
        if layer == 0 or settings["input"] == "hidden":
            space = contrast(h, settings["rank"], settings["block"], settings["ridge"])  # (d, r)
            z = moving_average(h @ space, settings["alpha"], np.zeros((len(h), settings["rank"])), 0.0)[0]
            points = z.reshape(-1, settings["rank"])[::3]  # neighbours say nearly the same
        centroids, within = cluster(points, len(router.centroids), settings, np.random.default_rng([seed, layer]))
        table = normed(model.embedding.weight.detach()) @ space if settings["input"] == "embedding" else space
        router.place(table, centroids, within)
        placed.append(points)
    return placed
