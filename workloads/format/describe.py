"""What a routing trace holds: shape, phases, reuse and load, in a few numbers (`simmoe trace info`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace


def describe(trace: Trace) -> dict[str, Any]:
    """Facts of one trace by name, ready for JSON."""
    meta, tokens = trace.meta, np.diff(trace.pass_ptr)
    sequences = len(np.unique(trace.sequence))
    decode = np.repeat(trace.phase, tokens) == DECODE
    emits = {} if trace.emitted is None else {"emitted of decode tokens": int(trace.kept[decode].sum())}
    return {
        "model": meta.get("model"), "router": meta.get("router"), "digest": meta.get("digest"), "seed": meta.get("seed"),
        "tokens": trace.n_tokens, "moe_layers": trace.n_layers, "experts per layer": trace.n_experts, "top_k": trace.top_k,
        "model layers": trace.layer_index.tolist(), "sequences": sequences, "passes": trace.n_passes,
        "prefill tokens": int(tokens[trace.phase == PREFILL].sum()), "decode tokens": int(decode.sum()), **emits,
        "longest pass": int(tokens.max()), "largest position": int(trace.position.max()),
        "gate weights": trace.gate_weights is not None, "predictions": trace.predicted_ids is not None,
        "reuse at next token": reuse(trace), "random reuse": trace.top_k / trace.n_experts,
        "experts used": used_share(trace), "load entropy": load_entropy(trace), "quality": meta.get("quality"),
    }  # fmt: skip


def reuse(trace: Trace) -> float | None:
    """P(an expert of a token is used again by the next token of its sequence in the same layer), mean over layers."""
    follows = (np.diff(trace.sequence) == 0) & (np.diff(trace.position) == 1)
    now, then = trace.expert_ids[:-1][follows], trace.expert_ids[1:][follows]
    if not len(now):
        return None
    used = now >= 0
    again = (now[..., :, None] == then[..., None, :]).any(-1) & used
    return float(again.sum() / used.sum())


def load(trace: Trace) -> np.ndarray[Any, Any]:
    """[moe_layers, experts]: how often each expert is used."""
    columns = np.broadcast_to(np.arange(trace.n_layers)[None, :, None], trace.expert_ids.shape)
    keys = (columns * trace.n_experts + trace.expert_ids)[trace.expert_ids >= 0]
    return np.bincount(keys, minlength=trace.n_layers * trace.n_experts).reshape(trace.n_layers, -1)


def used_share(trace: Trace) -> float:
    """Share of all (layer, expert) pairs that occur."""
    return float((load(trace) > 0).mean())


def load_entropy(trace: Trace) -> float:
    """Entropy of the expert load over log(experts), mean over layers; 1 = even."""
    if trace.n_experts == 1:
        return 1.0
    share = load(trace) / load(trace).sum(1, keepdims=True)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(1) / np.log(trace.n_experts)
    return float(entropy.mean())
