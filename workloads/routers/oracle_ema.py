"""Oracle-style router: tokens go to the expert of their running semantic group (Oracle-MoE, ICML 2025, PMLR 267).

From the paper: group embeddings are means over member tokens (section 2.2, Def. 3), a linear projection found after a
warm-up makes the oracle space, k-means in it places one centroid per expert (section 3), and
e_t = argmin_k ||z_S(t) - c_k|| with a one-hot gate (Eq. 1).
Ours, because a model of a few million parameters has no semantic attention to threshold: the group of a token is an
exponential moving average over the past of layer-normed token embeddings, frozen at the branch (causal by
construction); the projection is the leading generalised eigenvectors of the scatter between and within short blocks
of text instead of an SVD; an expert is left only when another centroid is nearer by a margin (hysteresis).
The state of a sequence is r + 2 numbers. Sums run in a fixed order, so streaming and parallel routing agree bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simmoe.workloads.backbone import GPT, Routing

Array = npt.NDArray[np.float64]
SETTINGS: dict[str, Any] = {
    "alpha": 0.9,  # decay of the moving average
    "rank": 8,  # r, dimensions of the oracle space
    "block": 16,  # consecutive tokens that stand for one group when the space is fitted
    "ridge": 0.01,  # x mean diagonal of the within-block scatter
    "hysteresis": 0.25,  # x mean squared distance to the own centroid
    "trim": 0.01,  # share of the fitted points, those farthest from their mean, that place no centroid
    "restarts": 8,
    "iterations": 30,
    "least_entropy": 0.9,  # of the load over experts, relative to even, for a k-means restart to be eligible
}


class State(NamedTuple):
    """What decoding remembers of a sequence: sum and weight of the moving average, and the expert in use."""

    total: Array  # float64 (B, r)
    weight: float
    expert: npt.NDArray[np.int64]  # (B,), -1 before the first token


class Router(nn.Module):
    table: Tensor
    centroids: Tensor
    within: Tensor

    def __init__(self, d_model: int, n_experts: int, vocabulary: int):
        super().__init__()
        self.register_buffer("table", torch.zeros(vocabulary, SETTINGS["rank"], dtype=torch.float64))
        self.register_buffer("centroids", torch.zeros(n_experts, SETTINGS["rank"], dtype=torch.float64))
        self.register_buffer("within", torch.ones((), dtype=torch.float64))  # mean squared distance to own centroid

    def forward(self, x: Tensor, tokens: Tensor) -> Routing:
        return self.stream(None, x, tokens)[1]

    def stream(self, state: State | None, x: Tensor, tokens: Tensor) -> tuple[State, Routing]:
        """Route any number of tokens that follow `state`; x is not looked at."""
        batch = tokens.shape[0]
        if state is None:
            state = State(np.zeros((batch, SETTINGS["rank"])), 0.0, np.full(batch, -1))
        z, total, weight = moving_average(self.table.numpy()[tokens.numpy()], state.total, state.weight)
        d2 = squared_distances(z, self.centroids.numpy())  # (B, T, E)
        expert = with_hysteresis(d2, state.expert, SETTINGS["hysteresis"] * float(self.within))  # (B, T)
        chosen = torch.from_numpy(expert).unsqueeze(-1)  # (B, T, 1)
        p = torch.from_numpy(-d2 / float(self.within)).softmax(-1).gather(-1, chosen).float()
        return State(total, weight, expert[:, -1]), Routing(chosen, torch.ones_like(p), p, torch.zeros(()))


def moving_average(e: Array, total: Array, weight: float) -> tuple[Array, Array, float]:
    """Running group mean z_t = sum_s alpha^(t-s) e_s / sum_s alpha^(t-s); e and z (B, T, r)."""
    z = np.empty_like(e)
    for t in range(e.shape[1]):
        total = SETTINGS["alpha"] * total + e[:, t]
        weight = SETTINGS["alpha"] * weight + 1.0
        z[:, t] = total / weight
    return z, total, weight


def squared_distances(z: Array, centroids: Array) -> Array:
    """(…, r) and (E, r) to (…, E), added up one dimension at a time: the same bits in any batch shape."""
    d2 = np.zeros((*z.shape[:-1], len(centroids)))
    for j in range(z.shape[-1]):
        d2 += (z[..., j, None] - centroids[:, j]) ** 2
    return d2


def with_hysteresis(d2: Array, expert: npt.NDArray[np.int64], margin: float) -> npt.NDArray[np.int64]:
    """Keep a sequence's expert until the nearest centroid is nearer by more than `margin`; (B, T, E) to (B, T)."""
    rows = np.arange(len(d2))
    nearest = d2.argmin(-1)  # (B, T), Eq. 1
    least = d2.min(-1)
    out = np.empty(nearest.shape, np.int64)
    for t in range(d2.shape[1]):
        leave = (expert < 0) | (d2[rows, t, expert] - least[:, t] > margin)
        expert = out[:, t] = np.where(leave, nearest[:, t], expert)
    return out


def fit(routers: Sequence[Router], model: GPT, windows: Tensor, seed: int) -> None:
    """The one-time cluster analysis after the warm-up (section 3): one space, one k-means per layer."""
    embedding = model.embedding.weight.detach().double()
    frozen = F.layer_norm(embedding, embedding.shape[-1:]).numpy()  # (V, d)
    table = frozen @ oracle_space(frozen[windows.numpy()])  # (V, r)
    z, _, _ = moving_average(table[windows.numpy()], np.zeros((len(windows), table.shape[1])), 0.0)
    points = without_outliers(z.reshape(-1, z.shape[-1])[::3])  # neighbours say nearly the same
    for layer, router in enumerate(routers):
        centroids, within = cluster(points, len(router.centroids), np.random.default_rng([seed, layer]))
        router.table.copy_(torch.from_numpy(table))
        router.centroids.copy_(torch.from_numpy(centroids))
        router.within.fill_(within)


def oracle_space(h: Array) -> Array:
    """Projection (d, r) that keeps what a block of text shares and drops what tells its tokens apart; h (n, T, d)."""
    d, size = h.shape[-1], SETTINGS["block"]
    blocks = h[:, : h.shape[1] // size * size].reshape(-1, size, d)
    means = blocks.mean(1)
    inner = (blocks - means[:, None]).reshape(-1, d)
    within = inner.T @ inner / len(inner)
    between = np.cov(means.T, bias=True)
    root = np.linalg.cholesky(within + SETTINGS["ridge"] * np.diag(within).mean() * np.eye(d))
    whitened = np.linalg.solve(root, np.linalg.solve(root, between).T)
    _, vectors = np.linalg.eigh((whitened + whitened.T) / 2)  # ascending eigenvalues
    return np.linalg.solve(root.T, vectors[:, ::-1][:, : SETTINGS["rank"]])


def without_outliers(points: Array) -> Array:
    """All but the farthest: runs of one odd token, such as a ruled line, would otherwise own an expert of their own."""
    d2 = ((points - points.mean(0)) ** 2).sum(-1)
    inner: Array = points[d2 <= np.quantile(d2, 1 - SETTINGS["trim"])]
    return inner


def cluster(points: Array, k: int, rng: np.random.Generator) -> tuple[Array, float]:
    """Centroids and mean within-cluster d² of the best restart: least inertia among those with an even enough load."""
    runs = [k_means(points, k, rng) for _ in range(SETTINGS["restarts"])]
    even = [run for run in runs if run[2] >= SETTINGS["least_entropy"]]
    centroids, within, _ = min(even, key=lambda run: run[1]) if even else max(runs, key=lambda run: run[2])
    return centroids, within


def k_means(points: Array, k: int, rng: np.random.Generator) -> tuple[Array, float, float]:
    """Lloyd's algorithm from k-means++ seeds; returns centroids, mean d² and load entropy relative to even."""
    centroids = points[rng.integers(len(points), size=1)]
    d2 = squared_distances(points, centroids)[:, 0]
    while len(centroids) < k:
        centroids = np.vstack([centroids, points[rng.choice(len(points), p=d2 / d2.sum())]])
        d2 = np.minimum(d2, squared_distances(points, centroids[-1:])[:, 0])
    for _ in range(SETTINGS["iterations"]):
        owner = nearest(points, centroids)
        load = np.bincount(owner, minlength=k)
        sums = np.stack([np.bincount(owner, column, k) for column in points.T], 1)
        centroids = np.where(load[:, None] > 0, sums / np.maximum(load, 1)[:, None], centroids)
    owner = nearest(points, centroids)
    share = np.bincount(owner, minlength=k) / len(points)
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum() / np.log(k)
    return centroids, float(((points - centroids[owner]) ** 2).sum(-1).mean()), float(entropy)


def nearest(points: Array, centroids: Array) -> npt.NDArray[np.int64]:
    """Index of the nearest centroid, by the product form (faster than exact differences; only for fitting)."""
    owner: npt.NDArray[np.int64] = ((centroids**2).sum(-1) - 2 * points @ centroids.T).argmin(-1)
    return owner
