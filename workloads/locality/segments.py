"""What a small fixed set of experts could serve over a stretch of text: SRP and SCH.

After Liang et al., "Not All Models Suit Expert Offloading" (arXiv 2505.16056, section 3), in a simpler form: disjoint
segments, and for each the best set of a fixed size. docs/locality.md says how that differs from the paper's own code.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.workloads.locality.routing import Floats, Ints, Routing


class Served(NamedTuple):
    """Over all segments of one length."""

    by_best: Ints  # int64 [layers, experts + 1]: slots that the n most used experts of each segment serve
    used: Ints  # int64 [layers]: slots used in the segments
    k: int  # slots of a token


def segments(routing: Routing, m: int, whole: int | None = None) -> Ints:
    """int64 [segments, m]: disjoint runs of m tokens within a stretch, from its start; a rest below m is dropped.

    `whole` (a multiple of m) keeps only the tokens that also form whole segments of that length: two lengths can then
    be compared on the same tokens.
    """
    whole = whole or m
    if m < 1 or whole % m:
        raise UserError(f"segments of {m} tokens in whole ones of {whole}: give m from 1, and a multiple of it")
    starts = np.flatnonzero(np.diff(routing.stretch, prepend=-1))
    lengths = np.diff(np.append(starts, len(routing.stretch))) // whole * whole
    first = [start + np.arange(0, n, m) for start, n in zip(starts, lengths)]
    return np.concatenate(first)[:, None] + np.arange(m)


def served(routing: Routing, m: int, whole: int | None = None) -> Served:
    """Slots served by the n most used experts of each segment, for every n."""
    cut, e = segments(routing, m, whole), routing.n_experts
    by_best = np.zeros((routing.n_layers, e + 1), np.int64)
    number = np.arange(len(cut))[:, None] * (e + 1)
    for layer in range(routing.n_layers):
        keys = (
            number + routing.ids[cut, layer].reshape(len(cut), m * routing.top_k) + 1
        )  # column 0 takes the unused slots
        counts = np.bincount(keys.ravel(), minlength=len(cut) * (e + 1)).reshape(len(cut), e + 1)[:, 1:]
        ranked = np.sort(counts.astype(np.int32), axis=1)[:, ::-1]
        by_best[layer, 1:] = np.cumsum(ranked.sum(0, dtype=np.int64))
    return Served(by_best, by_best[:, -1].copy(), routing.top_k)


def union(routing: Routing, m: int) -> Floats:
    """float64 [layers]: distinct experts of a segment, mean; NaN without segments."""
    cut, e = segments(routing, m), routing.n_experts
    number, found = np.arange(len(cut))[:, None] * (e + 1), np.full(routing.n_layers, np.nan)
    for layer in range(routing.n_layers if len(cut) else 0):
        asked = np.zeros(len(cut) * (e + 1), bool)  # column 0 takes the unused slots
        asked[number + routing.ids[cut, layer].reshape(len(cut), m * routing.top_k) + 1] = True
        found[layer] = asked.reshape(len(cut), e + 1)[:, 1:].sum() / len(cut)
    return found


def srp(counts: Served) -> Floats:
    """float64 [layers]: slots served by the k most used experts of each segment / slots used; NaN without segments.

    When every slot is used, the mean over segments of (slots served)/(m·k). On the same tokens srp(4m) <= srp(m).
    """
    return sch(counts, 1.0)


def sch(counts: Served, rho: float) -> Floats:
    """float64 [layers]: the same with ⌊rho · k⌋ experts. sch(·, 1) = srp."""
    n = min(int(rho * counts.k + 1e-9), counts.by_best.shape[1] - 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(counts.by_best[:, n] / counts.used, np.float64)
