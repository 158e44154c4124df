"""Oracle-MoE's own router: tokens go to the expert of their attention group (ICML 2025, PMLR 267, sections 2.2 and 3).

Token i joins the group of the latest earlier token j with a_ij > epsilon, if a_ik > epsilon for every member k of that
group, and opens a group of its own otherwise (the greedy cliques of section 2.2; its streaming rule with the KV cache).
The embedding of a group is the mean of its members so far (Def. 3; the paper's training takes the mean over the whole
group, which looks ahead). An SVD of group embeddings gives the oracle space, k-means in it one centroid per expert, and
the token goes to the nearest (Eq. 1) with a one-hot gate; for top-k, to the k nearest.

Where the paper is silent: a_ij is the post-softmax weight in the same layer, averaged over its heads; epsilon is
relative to the uniform weight 1/i, or no group could grow with the context; embeddings are layer-normed and not centred
before the SVD; k-means runs on the running means of tokens, so that a group counts by its size. docs/oracle_moe.md
shows what other choices give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simmoe.workloads.oracle_moe.backbone import GPT, Routing, Seen
from simmoe.workloads.oracle_moe.oracle_space import Array, Space, cluster, normed, principal
from simmoe.workloads.oracle_moe.routers import watch

SETTINGS: dict[str, Any] = {
    "input": "hidden",  # what is averaged: the layer's own input, or "embedding"
    "epsilon": 0.02,  # x 1/i, the uniform attention weight of token i
    "heads": "mean",  # of the attention weights, or "max"
    "rank": 8,  # r, dimensions of the oracle space
    "centred": False,  # whether the mean is taken off before the SVD
    "trim": 0.01,  # share of the fitted points, those farthest from their mean, that place no centroid
    "restarts": 8,
    "iterations": 30,
    "least_entropy": 0.9,  # of the load over experts, relative to even, for a k-means restart to be eligible
}
Ids = npt.NDArray[np.int64]


class State(NamedTuple):
    """The groups of the tokens so far. A group is numbered by the position of the token that opened it."""

    group: Ids  # int64 (B, S)
    total: Array  # float64 (B, S, r), sum over the members of group s
    size: Array  # float64 (B, S), number of members of group s


class Router(Space):
    @torch.no_grad()
    def forward(self, seen: Seen, state: State | None) -> Routing:
        e = self.projected(seen)  # (B, T, r)
        z, state = group_means(over_heads(seen, self.settings), e, self.settings["epsilon"], state)
        d2 = self.distances(z)  # (B, T, E)
        chosen = torch.from_numpy(np.argsort(d2, -1, kind="stable")[..., : self.top_k].copy())  # (B, T, k), Eq. 1
        p = torch.from_numpy(-d2).softmax(-1).gather(-1, chosen).float()
        return Routing(chosen, torch.full_like(p, 1 / self.top_k), p, torch.zeros(()), state, space=z)


def over_heads(seen: Seen, settings: dict[str, Any]) -> npt.NDArray[np.float32]:
    """One attention weight per pair of tokens, (B, T, S)."""
    weights = seen.attention()  # (B, H, T, S)
    return (weights.amax(1) if settings["heads"] == "max" else weights.mean(1)).numpy()


def group_means(a: npt.NDArray[np.float32], e: Array, epsilon: float, state: State | None) -> tuple[Array, State]:
    """Mean embedding of each token's group when the token has joined it; a (B, T, S), e and result (B, T, r)."""
    batch, t, s = a.shape
    old = s - t
    rows = np.arange(batch)
    group, total, size = np.zeros((batch, s), np.int64), np.zeros((batch, s, e.shape[-1])), np.zeros((batch, s))
    if state is not None:
        group[:, :old], total[:, :old], size[:, :old] = state
    z = np.empty_like(e)
    for i in range(old, s):
        chosen = join(a[:, i - old, :i] > epsilon / (i + 1), group[:, :i]) if i else rows * 0
        group[:, i] = chosen
        total[rows, chosen] += e[:, i - old]
        size[rows, chosen] += 1
        z[:, i - old] = total[rows, chosen] / size[rows, chosen, None]
    return z, State(group, total, size)


def join(near: npt.NDArray[np.bool_], group: Ids) -> Ids:
    """The group (B,) that the token at position i joins or opens; near and group (B, i)."""
    i = near.shape[1]
    latest = i - 1 - near[:, ::-1].argmax(1)  # the last j < i with a_ij > epsilon, if there is one
    candidate = group[np.arange(len(group)), latest]
    stranger = (group == candidate[:, None]) & ~near  # members that token i does not attend to enough
    chosen: Ids = np.where(near.any(1) & ~stranger.any(1), candidate, i)
    return chosen


def fit(routers: Sequence[Router], model: GPT, windows: Tensor, seed: int) -> None:
    """The one-time cluster analysis after the warm-up (section 3), per layer."""
    settings = routers[0].settings
    embedding = normed(model.embedding.weight.detach())  # (V, d)

    def look(seen: Seen) -> Tensor:
        e = embedding[seen.tokens.numpy()] if settings["input"] == "embedding" else normed(seen.x)
        return torch.from_numpy(group_means(over_heads(seen, settings), e, settings["epsilon"], None)[0])

    for layer, (router, means) in enumerate(zip(routers, watch(model, windows, look))):
        z = means.flatten(0, 1)[::3].numpy()  # neighbours say nearly the same
        space = principal(z, settings["rank"], settings["centred"])  # (d, r)
        rng = np.random.default_rng([seed, layer])
        centroids, within = cluster(z @ space, len(router.centroids), settings, rng)
        router.place(embedding @ space if settings["input"] == "embedding" else space, centroids, within)
