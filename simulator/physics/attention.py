"""Attention: which positions a token attends to, and what that reads and computes.

Bytes and FLOPs of one layer and pass; the sum enters the same launch as the projections' weights, as in FlashAttention-style kernels
that never write the scores (Dao et al., NeurIPS 2022). Windows: Longformer (Beltagy et al. 2020), Mistral 7B (2023); chunks: Llama 4
(2025); positions that an indexer picks: DeepSeek-V3.2 (2025).

Positions count from 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from simmoe.simulator.arrays import Ints


def first_attended(position: Ints, kept: int, chunked: bool) -> Ints:
    """The first position that a token at `position` may attend to: of the last `kept`, of its chunk of `kept`, or (0) of all."""
    if not kept:
        return np.zeros_like(position)
    return position - position % kept if chunked else np.maximum(position - kept + 1, 0)


def attended(position: Ints, kept: int, read: int, chunked: bool) -> Ints:
    """How many positions a token at `position` attends to, its own too; `read` (0 = all) of them at most."""
    within = position - first_attended(position, kept, chunked) + 1
    return np.minimum(within, read) if read else within


def reached(first: Ints, last: Ints, pairs: Ints, kept: int, chunked: bool) -> Ints:
    """How many positions a sequence reads in a pass with its tokens at `first` to `last`, which attend to `pairs` positions in all.

    Tokens that attend to the same position read it once. So these are the positions from the first that the first token may attend
    to, but no more than `pairs`: an indexer picks few of them for each token.
    """
    between: Ints = last - first_attended(first, kept, chunked) + 1
    return np.minimum(between, pairs)


def attention_bytes(weight_bytes: int, caches: Iterable[tuple[int, int]], state_bytes: int = 0) -> int:
    """caches: positions that are read, summed over the sequences of the pass, and bytes of each. state_bytes: of all its sequences; a
    recurrent layer reads its state and writes it back."""
    return weight_bytes + sum(positions * count for positions, count in caches) + 2 * state_bytes


def attention_flops(tokens: int, flops_per_token: int, caches: Iterable[tuple[int, int]]) -> int:
    """caches: (token, position) pairs of the pass, and FLOPs of each."""
    return tokens * flops_per_token + sum(pairs * flops for pairs, flops in caches)
