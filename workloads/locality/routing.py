"""A trace as the locality measures read it: tokens in the order of their sequences, and who follows whom.

A *stretch* is a run of tokens of one sequence whose positions follow each other; where a trace leaves positions out, a
new stretch starts. Pairs and segments never cross from one stretch to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.simulator.nouns.trace import Trace

Ids = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Routing:
    """Tokens stand sequence by sequence, in row order within each."""

    ids: Ids  # int16 [tokens, layers, k], -1 = slot unused
    gate: npt.NDArray[np.float16] | None  # [tokens, layers, k]
    n_experts: int
    sequence: Ints  # int64 [tokens], from 0 in rising order
    stretch: Ints  # int64 [tokens], from 0 in rising order
    row: Ints  # int64 [tokens], row of the trace

    @property
    def n_layers(self) -> int:
        return int(self.ids.shape[1])

    @property
    def top_k(self) -> int:
        return int(self.ids.shape[2])

    def next_pairs(self) -> Ints:
        """int64 [pairs]: tokens t whose successor t + 1 is of the same stretch."""
        return np.flatnonzero(np.diff(self.stretch) == 0)


def of(trace: Trace) -> Routing:
    """The routing of a trace."""
    row = np.argsort(trace.sequence, kind="stable")
    _, sequence = np.unique(trace.sequence[row], return_inverse=True)
    starts = (np.diff(sequence) != 0) | (np.diff(trace.position[row].astype(np.int64)) > 1)
    stretch = np.concatenate([[0], np.cumsum(starts)])
    gate = None if trace.gate_weights is None else trace.gate_weights[row]
    return Routing(trace.expert_ids[row], gate, trace.n_experts, sequence.astype(np.int64), stretch, row)


def also_in(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Bools:
    """bool [..., k]: the slot of `a` is used and its expert is also in a slot of `b`; both int [..., k]."""
    found = np.zeros(a.shape, np.bool_)
    for slot in range(b.shape[-1]):
        found |= a == b[..., slot : slot + 1]
    return found & (a >= 0)


def members(ids: npt.NDArray[Any], n_experts: int) -> npt.NDArray[np.float32]:
    """float32 [tokens, experts]: 1 where a token uses the expert; ids int [tokens, k] of one layer."""
    one_hot = np.zeros((len(ids), n_experts + 1), np.float32)  # unused slots (-1) fall into the last column
    np.put_along_axis(one_hot, ids.astype(np.int64), 1, 1)
    return one_hot[:, :n_experts]


def pair_counts(a: npt.NDArray[Any], b: npt.NDArray[Any], n_a: int, n_b: int) -> Ints:
    """int64 [n_a, n_b]: tokens that use the row's expert in `a` and the column's in `b`; both int [tokens, k], -1 = unused."""
    keys = (a[:, :, None].astype(np.int64) + 1) * (n_b + 1) + (b[:, None, :] + 1)
    counts = np.bincount(keys.ravel(), minlength=(n_a + 1) * (n_b + 1))
    return np.asarray(counts.reshape(n_a + 1, n_b + 1)[1:, 1:], np.int64)
