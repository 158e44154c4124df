"""Do tokens that lie farther apart use different experts? P(different) over the distance of their states.

Oracle-MoE (ICML 2025), rebuttal, review 1 A4: switch probability of neighbours by embedding distance, in 8 bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.workloads.locality.routing import Bools, Floats, Ids, Ints, also_in

BINS = 8
PAIRS = 20_000
APART = 64  # tokens
LEAST_SHARE = 0.03  # of the pairs, for a bin to count in the rank correlation


def neighbours(states: npt.NDArray[Any], ids: Ids, stretch: Ints) -> dict[str, Any] | None:
    """The curve over all neighbouring tokens of a stretch. states float [tokens, d], ids int16 [tokens, layers, k]."""
    before = np.flatnonzero(np.diff(stretch) == 0)
    return curve(states, ids, before, before + 1)


def random_pairs(states: npt.NDArray[Any], ids: Ids, stretch: Ints, seed: int = 0) -> dict[str, Any] | None:
    """The curve over random pairs of a stretch, 1 to 64 tokens apart (20,000 draws, those that leave it dropped)."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(ids), PAIRS)
    second = first + rng.integers(1, APART + 1, PAIRS)
    inside = second < len(ids)
    inside[inside] = stretch[first[inside]] == stretch[second[inside]]
    return curve(states, ids, first[inside], second[inside])


def curve(states: npt.NDArray[Any], ids: Ids, first: Ints, second: Ints) -> dict[str, Any] | None:
    """P(different expert) in 8 bins of equal width, from the least to the greatest Euclidean distance; None without pairs.

    edges [9] in the unit of the states; share_of_pairs [8]; different [8] = Σ|e_second \\ e_first| / Σ|e_second| over
    pairs and layers, None for an empty bin; spearman: rank correlation of bin and `different` over the bins with at least
    3 % of the pairs, None when there are fewer than two or all are equal.
    """
    if not len(first):
        return None
    distance = np.linalg.norm(states[second].astype(np.float64) - states[first], axis=1)
    edges = np.linspace(distance.min(), distance.max(), BINS + 1)
    where = np.clip(np.searchsorted(edges, distance, side="right") - 1, 0, BINS - 1)
    used = (ids[second] >= 0).sum((1, 2))
    changed = used - also_in(ids[second], ids[first]).sum((1, 2))
    share = np.bincount(where, minlength=BINS) / len(first)
    slots = np.bincount(where, used, minlength=BINS)
    different = np.divide(
        np.bincount(where, changed, minlength=BINS), slots, out=np.full(BINS, np.nan), where=slots > 0
    )
    counted = (share >= LEAST_SHARE) & (slots > 0)
    return {
        "edges": edges.tolist(),
        "share_of_pairs": share.tolist(),
        "different": [None if np.isnan(x) else float(x) for x in different],
        "spearman": _spearman(different, counted),
    }


def _spearman(values: Floats, counted: Bools) -> float | None:
    """Rank correlation of the values with their order."""
    y = _ranks(values[counted])
    if len(y) < 2 or y.std() == 0:
        return None
    return float(np.corrcoef(np.arange(len(y)), y)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 0; equal values share the mean of theirs."""
    below = (values[:, None] > values[None, :]).sum(1)
    return np.asarray(below + ((values[:, None] == values[None, :]).sum(1) - 1) / 2, np.float64)
