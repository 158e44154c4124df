"""The measures of one or more traces as rows of text: for the terminal, and for the table of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Measures = dict[str, Any]  # of workloads.locality.locality
Named = list[tuple[str, Measures]]
NONE = "–"
DEPTHS = ("layer_0", "half", "three_quarters")


def measured(named: Named) -> str:
    """On what."""
    return f" on the routing of {', '.join(name for name, _ in named)}"


def heading(named: Named, own: list[str]) -> list[str]:
    """How the table is read, and which traces are files of the user's."""
    inputs = f"from {', '.join(own)}" if own else "bundled"
    inputs += "; the others bundled" if 0 < len(own) < len(named) else ""
    return [
        "least–greatest over the MoE layers; other lists as named in the row; every row: docs/locality.md",
        f"inputs: {inputs}",
    ]


def rows(named: Named) -> list[tuple[str, list[str]]]:
    """Label and one cell for each trace."""
    kinds = sorted({kind for _, measures in named for kind in measures["distance"]})
    apart = {f"distance and change, rank correlation: {kind.replace('_', ' ')}": _spearman(kind) for kind in kinds}
    return [(label, [cell(measures) for _, measures in named]) for label, cell in {**ROWS, **apart}.items()]


def notes(named: Named) -> list[str]:
    """One line for each reason why a row has no number, with the traces it holds for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, measures in named:
        for what, why in measures["missing"].items():
            reasons.setdefault((what, why), []).append(name)
    return [f"no {MISSING[what]}{_whose(names, named)}: {why}" for (what, why), names in reasons.items()]


def _whose(names: list[str], named: Named) -> str:
    return "" if len(names) == len(named) else f" for {', '.join(names)}"


MISSING = {
    "distance": "inconsistency by embedding distance",
    "importance_cv": "importance",
    "inconsistency_per_100_mixed": "changes on abrupt topics",
    "nmi_domain": "NMI with the domain",
    "states": "predictability from model states",
    "token": "share explained by token id",
}


def _number(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _each(values: list[float | None]) -> str:
    return " ".join(map(_number, values))


def _range(values: list[float | None] | None) -> str:
    known = [value for value in values or [] if value is not None]
    if not known:
        return NONE
    least, greatest = _number(min(known)), _number(max(known))
    return least if least == greatest else f"{least}–{greatest}"


def _layers(name: str) -> Callable[[Measures], str]:
    return lambda measures: _range(measures[name])


def _states(kind: str) -> Callable[[Measures], str]:
    """Accuracies that the trace's meta states."""

    def cell(measures: Measures) -> str:
        found = (measures["predictability"]["states"] or {}).get(kind)
        return NONE if found is None else _each([found.get(depth) for depth in DEPTHS])

    return cell


def _experts(*names: str) -> Callable[[Measures], str]:
    return lambda measures: _each([measures["predictability"]["experts"][name] for name in names])


def _explained(name: str) -> Callable[[Measures], str]:
    return lambda measures: _range(measures["explained"].get(name))


def _spearman(kind: str) -> Callable[[Measures], str]:
    return lambda measures: _range([curve["spearman"] for curve in measures["distance"].get(kind, [])])


def _between(measures: Measures) -> str:
    nmi = measures["nmi_layers"]["nmi"]
    return _range([value for i, row in enumerate(nmi) for value in row[i + 1 :]])


def _domain(measures: Measures) -> str:
    stated = " (stated)" if measures["nmi_domain_from"] == "meta.quality" else ""
    return _range(measures["nmi_domain"]) + stated


def _size(measures: Measures) -> str:
    facts = measures["trace"]
    return f"{facts['tokens']:,} × {len(facts['layer_index'])} × {facts['top_k']} of {facts['n_experts']}"


ROWS: dict[str, Callable[[Measures], str]] = {
    "routing of": lambda m: "small trained model (proxy)" if m["trace"]["proxy"] else "recorded model",
    "tokens × MoE layers × k of experts": _size,
    "changed experts per 100 tokens": _layers("inconsistency_per_100"),
    "  by quarter of the layers": lambda m: _each(m["inconsistency_by_quarter"]),
    "  on abrupt topics (stated)": _layers("inconsistency_per_100_mixed"),
    "reuse at the next token": _layers("reuse"),
    "  by chance": _layers("reuse_by_chance"),
    "  by popularity alone": _layers("reuse_by_popularity"),
    "SRP over 4, 16, 64, 256 tokens": lambda m: _each(m["srp"]["served"]),
    "  least possible, k/E": lambda m: _number(m["srp_least"]),
    "experts of 1, 2, 4, 8, 16 tokens together": lambda m: _each(m["union"]["experts"]),
    "  share of all that none of them uses": lambda m: _each(m["union"]["sparsity"]),
    "SCH over 16 tokens with 1, 2, 3, 4 k": lambda m: _each(m["sch"]["served"][:4]),
    "NMI with the next layer": _layers("affinity_nmi"),
    "  best guess of an expert there": _layers("affinity_top"),
    "NMI between any two layers": _between,
    "NMI with the domain": _domain,
    "  on mixed text (stated)": _layers("nmi_domain_mixed"),
    "expert told by layer 0, half, 3/4": _experts(*DEPTHS),
    "  by the previous token": _experts("previous_token"),
    "  by popularity": _experts("popularity"),
    "  by token state at 0, half, 3/4 (stated)": _states("token"),
    "  by pooled state at 0, half, 3/4 (stated)": _states("pooled"),
    "variance explained by token id": _explained("token"),
    "  by the 16 tokens before": _explained("context"),
    "  by both": _explained("both"),
    "load: variation (CV)": _layers("load_cv"),
    "  busiest / mean": _layers("load_max_over_mean"),
    "  entropy (1 = even)": _layers("load_entropy"),
    "importance: variation (CV)": _layers("importance_cv"),
}
