"""The oracle space of Oracle-MoE (ICML 2025, PMLR 267, section 3): group embeddings, projected; a centroid per expert.

The paper finds the space by an SVD of group embeddings and places centroids by k-means; both stand here, beside the
projection that a model of a few million parameters needs instead of the SVD (`contrast`). NumPy, float64: sums run in a
fixed order, so that routing a token alone or in a batch gives the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simmoe.workloads.oracle_moe.backbone import Seen
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.text import VOCABULARY

Array = npt.NDArray[np.float64]


class Space(nn.Module):
    """What a fit leaves to a router: the projection of what it averages, and one centroid per expert."""

    table: Tensor
    centroids: Tensor
    within: Tensor

    def __init__(self, recipe: Recipe, settings: dict[str, Any]):
        super().__init__()
        self.settings, self.top_k = settings, recipe.top_k
        rows = VOCABULARY if settings["input"] == "embedding" else recipe.d_model
        self.register_buffer("table", torch.zeros(rows, settings["rank"], dtype=torch.float64))
        self.register_buffer("centroids", torch.zeros(recipe.n_experts, settings["rank"], dtype=torch.float64))
        self.register_buffer("within", torch.ones((), dtype=torch.float64))  # mean squared distance to own centroid

    def place(self, table: Array, centroids: Array, within: float) -> None:
        """Take over what was fitted."""
        self.table.copy_(torch.from_numpy(table))
        self.centroids.copy_(torch.from_numpy(centroids))
        self.within.fill_(within)

    def projected(self, seen: Seen) -> Array:
        """(B, T, r): the tokens' embeddings, or the layer's input, in the space."""
        table = self.table.numpy()
        e: Array = table[seen.tokens.numpy()] if self.settings["input"] == "embedding" else normed(seen.x) @ table
        return e

    def distances(self, z: Array) -> Array:
        """(B, T, r) to (B, T, E): squared distances to the centroids, in units of the mean one to the own centroid."""
        return squared_distances(z, self.centroids.numpy()) / float(self.within)


def normed(x: Tensor) -> Array:
    """Layer-normed without gain or bias, float64."""
    return F.layer_norm(x.double(), x.shape[-1:]).numpy()


def moving_average(e: Array, alpha: float, total: Array, weight: float) -> tuple[Array, Array, float]:
    """Running group mean z_t = sum_s alpha^(t-s) e_s / sum_s alpha^(t-s); e and z (B, T, r)."""
    z = np.empty_like(e)
    for t in range(e.shape[1]):
        total = alpha * total + e[:, t]
        weight = alpha * weight + 1.0
        z[:, t] = total / weight
    return z, total, weight


def squared_distances(z: Array, centroids: Array) -> Array:
    """(…, r) and (E, r) to (…, E), added up one dimension at a time: the same bits in any batch shape."""
    d2 = np.zeros((*z.shape[:-1], len(centroids)))
    for j in range(z.shape[-1]):
        d2 += (z[..., j, None] - centroids[:, j]) ** 2
    return d2


def contrast(h: Array, rank: int, block: int, ridge: float) -> Array:
    """Projection (d, r) that keeps what a block of text shares and drops what tells its tokens apart; h (n, T, d).

    The leading generalised eigenvectors of the scatter between against within blocks of `block` consecutive tokens.
    """
    d = h.shape[-1]
    blocks = h[:, : h.shape[1] // block * block].reshape(-1, block, d)
    means = blocks.mean(1)
    inner = (blocks - means[:, None]).reshape(-1, d)
    within = inner.T @ inner / len(inner)
    between = np.cov(means.T, bias=True)
    root = np.linalg.cholesky(within + ridge * np.diag(within).mean() * np.eye(d))
    whitened = np.linalg.solve(root, np.linalg.solve(root, between).T)
    _, vectors = np.linalg.eigh((whitened + whitened.T) / 2)  # ascending eigenvalues
    return np.linalg.solve(root.T, vectors[:, ::-1][:, :rank])


def principal(z: Array, rank: int, centred: bool) -> Array:
    """Projection (d, r) on the leading right singular vectors of group embeddings z (n, d): the paper's SVD."""
    return np.linalg.svd(z - z.mean(0) if centred else z, full_matrices=False)[2][:rank].T


def without_outliers(points: Array, share: float) -> Array:
    """All but the farthest: runs of one odd token, such as a ruled line, would otherwise own an expert of their own."""
    d2 = ((points - points.mean(0)) ** 2).sum(-1)
    inner: Array = points[d2 <= np.quantile(d2, 1 - share)]
    return inner


def cluster(points: Array, k: int, settings: dict[str, Any], rng: np.random.Generator) -> tuple[Array, float]:
    """Centroids (k, r) and mean within-cluster d² of the best restart: least inertia among those evenly loaded."""
    points = without_outliers(points, settings["trim"])
    runs = [k_means(points, k, settings["iterations"], rng) for _ in range(settings["restarts"])]
    even = [run for run in runs if run[2] >= settings["least_entropy"]]
    centroids, within, _ = min(even, key=lambda run: run[1]) if even else max(runs, key=lambda run: run[2])
    return centroids, within


def k_means(points: Array, k: int, iterations: int, rng: np.random.Generator) -> tuple[Array, float, float]:
    """Lloyd's algorithm from k-means++ seeds; returns centroids, mean d² and load entropy relative to even."""
    centroids = points[rng.integers(len(points), size=1)]
    d2 = squared_distances(points, centroids)[:, 0]
    while len(centroids) < k:
        centroids = np.vstack([centroids, points[rng.choice(len(points), p=d2 / d2.sum())]])
        d2 = np.minimum(d2, squared_distances(points, centroids[-1:])[:, 0])
    for _ in range(iterations):
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
