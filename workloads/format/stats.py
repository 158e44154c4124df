"""Statistics of a trace that decide what a cache is worth: how skewed the use of experts is, and how soon they come back."""

from __future__ import annotations

from typing import Any

import numpy as np

from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.format import describe

DISTANCES = (1, 2, 4, 8, 16, 32, 64)  # rows of one sequence between two that are compared
HOTTEST = 0.1  # of the experts of a layer
PAIRS = 4096  # rows that are compared at each distance at most


def stats(trace: Trace) -> dict[str, Any]:
    """By name, ready for JSON; None where the trace has no rows that tell."""
    rows = np.diff(trace.pass_ptr)
    lengths = np.unique(trace.sequence, return_counts=True)[1]
    load = np.sort(describe.load(trace), axis=1)[:, ::-1]
    hot = max(1, round(HOTTEST * trace.n_experts))
    return {
        "model": trace.meta.get("model"), "synthetic": trace.meta.get("synthetic"),
        "moe_layers": trace.n_layers, "experts per layer": trace.n_experts, "top_k": trace.top_k,
        "tokens": trace.n_tokens, "passes": trace.n_passes, "sequences": len(lengths),
        "shortest, median, longest sequence": [int(lengths.min()), float(np.median(lengths)), int(lengths.max())],
        "share of prefill tokens": float(rows[trace.phase == PREFILL].sum() / rows.sum()),
        "rows per prefill pass": _mean(rows[trace.phase == PREFILL]), "rows per decode pass": _mean(rows[trace.phase == DECODE]),
        "experts per layer of a prefill pass": _distinct(trace, PREFILL), "experts per layer of a decode pass": _distinct(trace, DECODE),
        "experts used": describe.used_share(trace), "load entropy": describe.load_entropy(trace),
        f"share of the hottest {hot} experts": float((load[:, :hot].sum(1) / load.sum(1)).mean()),
        "share of an expert by chance": trace.top_k / trace.n_experts, "share by popularity alone": _by_popularity(load, trace),
        **{f"reuse after {distance} rows": _reuse(trace, distance) for distance in DISTANCES},
    }  # fmt: skip


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _by_popularity(load: np.ndarray[Any, Any], trace: Trace) -> float:
    """P(an expert of one row is one of another), if rows were drawn by how often experts are used."""
    used = (load / load.sum(1, keepdims=True) * trace.top_k).clip(max=1.0)
    return float(((used**2).sum(1) / used.sum(1)).mean())


def _distinct(trace: Trace, phase: int) -> float | None:
    """How many experts a pass needs in a layer, mean over layers and passes of the phase."""
    counts = [
        len(np.unique(column[column >= 0]))
        for begin, end in zip(trace.pass_ptr[:-1][trace.phase == phase], trace.pass_ptr[1:][trace.phase == phase])
        for column in trace.expert_ids[begin:end].swapaxes(0, 1)
    ]
    return float(np.mean(counts)) if counts else None


def _reuse(trace: Trace, distance: int) -> float | None:
    """P(an expert of a row is used by the row `distance` later in its sequence, in the same layer)."""
    order = np.argsort(trace.sequence, kind="stable")
    same = (
        np.flatnonzero(trace.sequence[order][distance:] == trace.sequence[order][:-distance])
        if distance < len(order)
        else np.zeros(0, int)
    )
    if not len(same):
        return None
    same = same[:: -(-len(same) // PAIRS)]
    now, then = trace.expert_ids[order[same]], trace.expert_ids[order[same + distance]]
    used = now >= 0
    return float(((now[..., :, None] == then[..., None, :]).any(-1) & used).sum() / max(used.sum(), 1))
