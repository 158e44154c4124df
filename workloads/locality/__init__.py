"""Routing locality of a trace: how much its next experts follow from the last ones (docs/locality.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.format import trace as traces
from simmoe.workloads.locality import (
    balance,
    distance,
    explained,
    information,
    prediction,
    reuse,
    segments,
    sources,
    switching,
)
from simmoe.workloads.locality.routing import Routing, of

SEGMENTS = (4, 16, 64, 256)  # tokens: those of arXiv 2505.16056
SCH_SEGMENT = 16
CHUNKS = (1, 2, 4, 8, 16)  # rows of a verify pass; 8: BlockFFN's
RHOS = (1, 2, 3, 4, 6, 8, 12, 16)  # kept experts / k, as far as there are experts


def locality(
    trace: str | Path | Trace, *, tokens: npt.ArrayLike | None = None, embeddings: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """Every measure of docs/locality.md by name, ready for JSON; a list has one number per MoE layer unless said there.

    trace: a path, a bundled name or a loaded Trace. tokens int [tokens] and embeddings float [tokens, d], by row of the
    trace: by default the arrays of those names in its file. None = not known (why: under "missing") or not defined.
    """
    loaded = traces.given(trace)
    stated, known = sources.stated(loaded), sources.known(loaded, trace, tokens, embeddings)
    routing = of(loaded)
    measures: dict[str, Any] = {
        "trace": _facts(loaded, stated["proxy"]),
        **_switches(routing, stated),
        **_segments(routing),
        **_reuse(routing),
        **_balance(routing),
        **_layers(routing),
        **_domains(routing, known, stated),
        "predictability": {"experts": prediction.from_experts(routing), "states": stated["predictability"]},
        "explained": explained.shares(routing, None if known.tokens is None else known.tokens[routing.row]),
        "distance": _distance(routing, known) | stated["distance"],
        "missing": _missing(loaded, known, stated),
    }
    plain: dict[str, Any] = _plain(measures)
    return plain


def _facts(trace: Trace, proxy: bool) -> dict[str, Any]:
    meta = trace.meta
    return {
        "model": meta.get("model"), "router": meta.get("router"), "digest": meta.get("digest"), "proxy": proxy,
        "tokens": trace.n_tokens, "sequences": len(np.unique(trace.sequence)), "layer_index": trace.layer_index.tolist(),
        "n_experts": trace.n_experts, "top_k": trace.top_k,
    }  # fmt: skip


def _switches(routing: Routing, stated: dict[str, Any]) -> dict[str, Any]:
    per_layer = switching.inconsistency_per_100(routing)
    return {
        "inconsistency_per_100": per_layer,
        "inconsistency_by_quarter": switching.by_quarter(per_layer),
        "inconsistency_per_100_mixed": stated["inconsistency_per_100_mixed"],
    }


def _segments(routing: Routing) -> dict[str, Any]:
    counts = {m: segments.served(routing, m) for m in SEGMENTS}
    rhos = [rho for rho in RHOS if rho * routing.top_k <= routing.n_experts]
    union = [_mean(segments.union(routing, m)) for m in CHUNKS]
    cached = [_mean(segments.sch(counts[SCH_SEGMENT], rho)) for rho in rhos]
    return {
        "srp": {"tokens": list(SEGMENTS), "served": [_mean(segments.srp(counts[m])) for m in SEGMENTS]},
        "sch": {"tokens": SCH_SEGMENT, "rho": rhos, "served": cached},
        "union": {"tokens": list(CHUNKS), "experts": union, "sparsity": [1 - n / routing.n_experts for n in union]},
        "srp_least": routing.top_k / routing.n_experts,
    }


def _reuse(routing: Routing) -> dict[str, Any]:
    return {
        "reuse": reuse.at_next_token(routing),
        "reuse_by_chance": reuse.by_chance(routing),
        "reuse_by_popularity": reuse.by_popularity(routing),
    }


def _balance(routing: Routing) -> dict[str, Any]:
    load, importance = balance.load(routing), balance.importance(routing)
    return {
        "load_cv": balance.variation(load),
        "importance_cv": None if importance is None else balance.variation(importance),
        "load_max_over_mean": balance.max_over_mean(load),
        "load_entropy": balance.entropy(load),
        "load_sorted": balance.sorted_load(load),
    }


def _layers(routing: Routing) -> dict[str, Any]:
    nmi, top = information.affinity(routing)
    columns, values = information.layer_map(routing)
    return {"affinity_nmi": nmi, "affinity_top": top, "nmi_layers": {"columns": columns, "nmi": values}}


def _domains(routing: Routing, known: sources.Known, stated: dict[str, Any]) -> dict[str, Any]:
    """Measured on the trace where the domains of its tokens are known, else as its meta states."""
    measured = None if known.domain is None else information.with_labels(routing, known.domain[routing.row])
    return {
        "nmi_domain": stated["nmi_domain"] if measured is None else measured,
        "nmi_domain_from": "trace" if measured is not None else "meta.quality" if stated["nmi_domain"] else None,
        "nmi_domain_mixed": stated["nmi_domain_mixed"],
    }


def _distance(routing: Routing, known: sources.Known) -> dict[str, Any]:
    """Lists of one curve each, over all layers; those stated in meta.quality have one for each layer."""
    if known.embeddings is None:
        return {}
    states = known.embeddings[routing.row]
    curves = {
        "embedding, neighbours": distance.neighbours(states, routing.ids, routing.stretch),
        "embedding, random pairs": distance.random_pairs(states, routing.ids, routing.stretch),
    }
    return {name: [curve] for name, curve in curves.items() if curve}


def _missing(trace: Trace, known: sources.Known, stated: dict[str, Any]) -> dict[str, str]:
    """Measure -> why it is not there."""
    why = dict(known.why)
    if stated["distance"]:
        why.pop("distance", None)
    if trace.gate_weights is None:
        why["importance_cv"] = "the trace holds no gate weights"
    if stated["predictability"] is None:
        why["states"] = "a trace holds no states, and meta.quality.predictability is not stated"
    if known.domain is None and not stated["nmi_domain"]:
        why["nmi_domain"] = "the domains of the text are not known"
    if not stated["inconsistency_per_100_mixed"]:
        why["inconsistency_per_100_mixed"] = "not stated in meta.quality"
    return dict(sorted(why.items()))


def _mean(per_layer: npt.NDArray[np.float64]) -> float:
    """Mean over the layers where it is defined."""
    defined = per_layer[~np.isnan(per_layer)]
    return float(defined.mean()) if len(defined) else float("nan")


def _plain(value: Any) -> Any:
    """Types of JSON: floats to six decimals, so that the last bits of a machine's arithmetic do not show; NaN is None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, float):
        return None if np.isnan(value) else round(float(value), 6)
    return value
