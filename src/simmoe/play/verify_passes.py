"""What the verify passes of a trace hold: guesses that were kept, and the experts that the rows of a sequence ask for together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import DECODE, Trace


@dataclass(frozen=True)
class VerifyPasses:
    """Of each sequence in each decode pass: a chunk, which is one verify pass of it."""

    chunks: int
    drafted: int
    accepted: int  # guesses that were kept
    kept_at: tuple[float, ...]  # share of the chunks with guesses that keep the first, the second, …
    tokens: int  # rows that were kept
    experts: float  # distinct experts of a layer that a chunk asks for, mean
    experts_of_a_row: float
    n_experts: int

    @property
    def acceptance(self) -> float | None:
        return self.accepted / self.drafted if self.drafted else None

    @property
    def sparsity(self) -> float:
        """Experts of a layer that no row of a chunk asks for, as a share: the chunk-level sparsity of BlockFFN."""
        return 1 - self.experts / self.n_experts

    def to_json(self) -> dict[str, Any]:
        return {
            "passes": self.chunks, "drafted": self.drafted, "accepted": self.accepted, "acceptance": self.acceptance,
            "acceptance_by_position": list(self.kept_at), "tokens_per_pass": self.tokens / self.chunks,
            "experts_per_layer": self.experts, "experts_per_layer_of_a_row": self.experts_of_a_row, "chunk_sparsity": self.sparsity,
        }  # fmt: skip


def verify_passes(trace: Trace) -> VerifyPasses | None:
    """None where the trace does not say which rows were kept, or decodes nothing. A chunk behind one of its sequence that kept no row is
    that one again, without its wrong guesses: an engine had to restore the state from before them."""
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    rows = np.flatnonzero(trace.phase[number] == DECODE)
    if trace.emitted is None or not len(rows):
        return None
    pairs, chunk = np.unique(np.stack((number[rows], trace.sequence[rows])), axis=1, return_inverse=True)
    chunk, chunks = chunk.reshape(-1), pairs.shape[1]
    size, kept = np.bincount(chunk, minlength=chunks), np.bincount(chunk[trace.kept[rows]], minlength=chunks)
    order = np.argsort(pairs[1], kind="stable")  # by sequence, pass after pass
    again, right = np.zeros(chunks, bool), np.maximum(kept - 1, 0)
    again[order[1:]] = (pairs[1][order[1:]] == pairs[1][order[:-1]]) & (kept[order[:-1]] == 0)
    right[order[:-1]] += np.where(again[order[1:]], right[order[1:]], 0)
    first, guessed = ~again, ~again & (size > 1)
    at = [float((right[guessed] >= place).mean()) for place in range(1, int(size.max()))]
    mine = first[chunk]
    ids, verified = trace.expert_ids[rows[mine]], int(first.sum())
    used = int((ids >= 0).sum())
    return VerifyPasses(
        verified, int((size[first] - 1).sum()), int(right[first].sum()), tuple(at), int(kept.sum()),
        _union(ids, chunk[mine], trace.n_experts) / verified, used / (len(ids) * trace.n_layers), trace.n_experts,
    )  # fmt: skip


def _union(ids: np.ndarray[Any, Any], chunk: Ints, n_experts: int) -> float:
    """Distinct experts of all chunks, mean over layers. ids [rows, layers, k]; −1 = unused."""
    total = 0
    for layer in range(ids.shape[1]):
        keys = chunk[:, None] * n_experts + ids[:, layer].astype(np.int64)
        total += len(np.unique(keys[ids[:, layer] >= 0]))
    return total / int(ids.shape[1])
