"""Shared pieces of the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simmoe.simulator.nouns.trace import Trace


def make_trace(
    passes: list[list[list[list[int]]]], n_experts: int, *, phase: list[int] | None = None, **meta: Any
) -> Trace:
    """passes[pass][token][layer] = experts; short rows are filled with -1. One sequence, all decode unless told."""
    rows = [token for one in passes for token in one]
    k = max(len(experts) for token in rows for experts in token)
    ids = np.array([[experts + [-1] * (k - len(experts)) for experts in token] for token in rows], np.int16)
    tokens, layers, _ = ids.shape
    return Trace(
        expert_ids=ids, layer_index=np.arange(layers, dtype=np.int16),
        pass_ptr=np.cumsum([0] + [len(one) for one in passes]).astype(np.int64),
        phase=np.array(phase or [1] * len(passes), np.int8), sequence=np.zeros(tokens, np.int32),
        position=np.arange(tokens, dtype=np.int32),
        meta={"schema_version": 1, "n_experts": n_experts, "top_k": k, "model": "test", **meta},
    )  # fmt: skip


def one_layer(rows: list[Any], n_experts: int) -> Trace:
    """A one-layer trace: a row is one token's experts, or a list of tokens that form one pass."""
    passes = [[[token] for token in row] if isinstance(row[0], list) else [[row]] for row in rows]
    return make_trace(passes, n_experts)


@pytest.fixture
def tmp_trace(tmp_path):
    """Writes a trace to a file and returns its path."""
    from simmoe.workloads.format.trace import save

    def write(trace: Trace, name: str = "trace.npz"):
        save(trace, tmp_path / name)
        return tmp_path / name

    return write
