"""A twin for another model: its statistics without the single experts, stretched over other numbers of layers and experts, and top-k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simmoe.workloads.synthetic.twin import QUANTILES, Floats, Ints, Twin, depth_ends


def summary(twin: Twin) -> Twin:
    """The same without the single experts: quantiles of popularity, and pairs by rank of popularity (0 = the least used)."""
    rank = twin.popularity.argsort(1).argsort(1)
    return replace(
        twin,
        popularity=np.quantile(twin.popularity, QUANTILES, axis=1).T,
        targets=np.take_along_axis(rank, twin.targets, 1),
        partners=np.take_along_axis(np.roll(rank, 1, axis=0), twin.partners, 1),
        experts_known=False,
    )


def scaled(twin: Twin, layer_index: Ints, n_experts: int, top_k: int) -> Twin:
    """A summary for other layers (by relative depth in the model), experts and top-k; which expert is which is still not said."""
    source = np.round(np.linspace(0, twin.n_layers - 1, len(layer_index))).astype(int)
    ends = depth_ends(n_experts, top_k)
    lag = (
        (np.concatenate(([0], ends[:-1])) + ends) / 2 / top_k
    )  # tokens since the experts at a depth were used, if none came back
    depth = np.minimum(lag * twin.top_k, twin.n_experts - 1).astype(int)
    targets = _distinct(_moved(twin.targets[source], twin.n_experts, n_experts), n_experts)
    return Twin(
        twin.name, twin.source, n_experts, top_k, layer_index, _stretched(twin.popularity[source], n_experts), ends,
        twin.stickiness_by_depth[source][:, depth], twin.topic_tokens, twin.topic_spread[source],
        targets, _moved(twin.partners[source], twin.n_experts, n_experts)[:, : targets.shape[1]],
        twin.lift[source][:, : targets.shape[1]], False,
    )  # fmt: skip


def _moved(ranks: Ints, n_experts: int, others: int) -> Ints:
    """The same ranks among another number of experts."""
    return np.asarray((ranks + 0.5) * others / n_experts, np.int64)


def _distinct(ranks: Ints, n_experts: int) -> Ints:
    """Half as many as there are experts at most; one that is taken moves to the next that is free."""
    kept = ranks[:, : n_experts // 2].copy()
    for row in kept:
        free = np.ones(n_experts, bool)
        for column, rank in enumerate(row):
            row[column] = (rank + np.argmax(np.roll(free, -rank))) % n_experts
            free[row[column]] = False
    return kept


def _stretched(rows: Floats, columns: int) -> Floats:
    """[layers, columns] rising values whose quantiles the rows are; a single column is the median of each."""
    wanted = np.linspace(0, 1, columns) if columns > 1 else np.array([0.5])
    return np.array([np.interp(wanted, QUANTILES, row) for row in rows])


def mean(twins: Sequence[Twin], name: str) -> Twin:
    """The mean of twins that are scaled to one geometry; without affinity, which has no mean over models."""

    def of(part: str) -> Floats:
        return np.asarray(np.mean([getattr(twin, part) for twin in twins], axis=0))

    none = np.zeros((twins[0].n_layers, 0), np.int64)
    return replace(
        twins[0], name=name, source=f"mean of {', '.join(twin.name for twin in twins)}", popularity=of("popularity"),
        stickiness=of("stickiness"), topic_spread=of("topic_spread"), targets=none, partners=none, lift=none.astype(np.float64),
        topic_tokens=float(np.exp(np.mean([np.log(twin.topic_tokens) for twin in twins]))),
    )  # fmt: skip


def cast(twin: Twin, seed: int) -> Twin:
    """Says by chance which expert has which rank."""
    ranks = np.tile(np.arange(twin.n_experts), (twin.n_layers, 1))
    expert = np.random.default_rng(seed).permuted(ranks, axis=1)  # [layers, ranks]
    popularity = np.empty(expert.shape)
    np.put_along_axis(popularity, expert, twin.popularity, 1)
    return replace(
        twin,
        popularity=popularity,
        experts_known=True,
        targets=np.take_along_axis(expert, twin.targets, 1),
        partners=np.take_along_axis(np.roll(expert, 1, axis=0), twin.partners, 1),
    )
