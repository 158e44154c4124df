"""The rules of trace format v1 (docs/trace_format.md): the first one that a trace breaks is named in one line."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace

Array = np.ndarray[Any, Any]
MOST_EXPERTS = 2**15  # ids are int16
TEXTS = ("model", "router", "digest")  # of meta, where they are there
show = reprlib.repr


def check_rules(trace: Trace, where: str) -> None:
    """Raises UserError for the first broken rule; `where` names the trace in the line."""
    for rule in (_shapes, _meta, _experts, _weights, _passes, _emitted, _positions, _predictions):
        broken = rule(trace)
        if broken:
            raise UserError(f"{where}: {broken}")


def _first(bad: Any) -> tuple[int, ...] | None:
    """Index of the first true element."""
    where = np.argwhere(bad)
    return tuple(int(i) for i in where[0]) if len(where) else None


def _shapes(trace: Trace) -> str | None:
    ids = trace.expert_ids
    if ids.ndim != 3 or min(ids.shape) == 0:
        return f"expert_ids has shape {ids.shape}; it must be [tokens, moe_layers, top_k], none 0"
    if trace.phase.ndim != 1 or not len(trace.phase):
        return f"phase has shape {trace.phase.shape}; it must be [passes], one at least"
    tokens, layers, _ = ids.shape
    want = {"layer_index": layers, "pass_ptr": trace.n_passes + 1, "sequence": tokens, "position": tokens}
    for name, length in want.items():
        got = getattr(trace, name).shape
        if got != (length,):
            return f"{name} has shape {got}; with expert_ids {ids.shape} and {trace.n_passes} passes it must be ({length},)"
    index = trace.layer_index.astype(np.int64)
    if (index < 0).any() or (np.diff(index) <= 0).any():
        return f"layer_index {index.tolist()} must rise from 0 or more"
    return None


def _meta(trace: Trace) -> str | None:
    meta, k = trace.meta, trace.expert_ids.shape[2]
    n_experts, version, top_k = meta.get("n_experts"), meta.get("schema_version", 1), meta.get("top_k", k)
    if type(n_experts) is not int or not 1 <= n_experts <= MOST_EXPERTS:  # bool is an int to isinstance
        return f"meta.n_experts is {show(n_experts)}; it must be a whole number of experts per layer, from 1 to {MOST_EXPERTS}"
    if type(version) is not int or version != 1:
        return f"meta.schema_version is {show(version)}; this release reads version 1"
    if type(top_k) is not int or top_k != k:
        return f"meta.top_k is {show(top_k)} but expert_ids has {k} slots per token"
    for key in TEXTS:
        if (text := meta.get(key)) is not None and not isinstance(text, str):
            return f"meta.{key} is {show(text)}; it must be a text"
    return None


def _experts(trace: Trace) -> str | None:
    ids, n = trace.expert_ids, trace.n_experts
    if at := _first((ids < -1) | (ids >= n)):
        place = "token {}, layer {}, slot {}".format(*at)
        return f"expert id {ids[at]} at {place} is out of range; ids go from 0 to {n - 1}, or -1"
    ordered = np.sort(ids, axis=2)
    if at := _first((ordered[:, :, 1:] == ordered[:, :, :-1]) & (ordered[:, :, 1:] >= 0)):
        return f"token {at[0]} names expert {ordered[at]} twice in layer {at[1]}; the slots of a token must differ"
    if not trace.meta.get("null_experts") and (at := _first((ids < 0).all(axis=2))):
        rule = "routing that was not recorded is an error (null experts need meta.null_experts = true)"
        return f"token {at[0]} has no expert in layer {at[1]}; {rule}"
    return None


def _weights(trace: Trace) -> str | None:
    weights = trace.gate_weights
    if weights is None:
        return None
    if weights.shape != trace.expert_ids.shape:
        return f"gate_weights has shape {weights.shape}; it must be {trace.expert_ids.shape}"
    if at := _first(~np.isfinite(weights)):
        return "gate weight at token {}, layer {}, slot {} is {}; weights must be finite".format(*at, weights[at])
    return None


def _passes(trace: Trace) -> str | None:
    ptr, tokens = trace.pass_ptr, trace.n_tokens
    if int(ptr[0]) != 0 or int(ptr[-1]) != tokens or (np.diff(ptr) <= 0).any():
        rule = f"pass_ptr must rise from 0 to {tokens} (the tokens) without an empty pass"
        return f"{rule}; it goes from {ptr[0]} to {ptr[-1]}"
    if not np.isin(trace.phase, (PREFILL, DECODE)).all():
        return f"phase holds {sorted(set(trace.phase.tolist()))}; 0 is prefill and 1 is decode"
    return None


def _emitted(trace: Trace) -> str | None:
    emitted = trace.emitted
    if emitted is None:
        return None
    if emitted.shape != (trace.n_tokens,):
        return f"emitted has shape {emitted.shape}; it must be ({trace.n_tokens},), one value for each token"
    if at := _first((emitted != 0) & (emitted != 1)):
        return f"emitted of token {at[0]} is {emitted[at]}; 1 = its token was kept, 0 = it was rejected"
    if at := _first((emitted == 0) & (np.repeat(trace.phase, np.diff(trace.pass_ptr)) == PREFILL)):
        return f"emitted of token {at[0]} is 0, but its pass is prefill; only rows of decode passes can be rejected: write 1"
    return None


def _positions(trace: Trace) -> str | None:
    """The least position of a row is that of the row before it in its sequence or, after rejected rows, that of the first of them."""
    if (trace.position < 0).any():
        return f"position {trace.position.min()} is negative; positions count from 0"
    order = np.argsort(trace.sequence, kind="stable")
    position, kept, new = trace.position[order], trace.kept[order], np.diff(trace.sequence[order]) != 0
    opens = np.concatenate(([True], new | kept[:-1])) | kept  # no other row was rejected just before this one
    least = position[np.maximum.accumulate(np.where(opens, np.arange(len(order)), 0))][:-1]
    if at := _first((position[1:] < least) & ~new):
        t = int(order[at[0] + 1])
        rule = "" if trace.emitted is None else f" below {least[at]}, the least here: only rejected rows are taken back"
        return f"position {trace.position[t]} of token {t} falls within sequence {trace.sequence[t]}{rule}"
    return None


def _predictions(trace: Trace) -> str | None:
    lead, guess = trace.predict_lead, trace.predicted_ids
    if lead is None or guess is None:
        return None if lead is guess else "predict_lead and predicted_ids come together; one is missing"
    tokens, layers, _ = trace.expert_ids.shape
    if lead.ndim != 1 or guess.ndim != 4 or guess.shape[:3] != (len(lead), tokens, layers):
        return f"predicted_ids has shape {guess.shape}; it must be [{lead.size}, {tokens}, {layers}, p]"
    if (lead < 0).any():
        return f"predict_lead {lead.tolist()} must not be negative"
    if ((guess < -1) | (guess >= trace.n_experts)).any():
        return f"predicted_ids go from -1 to {trace.n_experts - 1}; found {guess.min()} … {guess.max()}"
    for i, value in enumerate(lead.tolist()):
        if (guess[i, :, :value] != -1).any():
            return f"predicted_ids with lead {value} must be -1 in layers below {value}"
    return None
