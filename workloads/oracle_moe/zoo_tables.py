"""The tables of docs/oracle_moe.md and docs/zoo.md, made from the committed training records: nothing in them is typed by hand.

    python -m simmoe.workloads.oracle_moe.zoo_tables docs/oracle_moe.md docs/zoo.md

puts each behind its marker. A test compares the pages with the records.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from math import log
from pathlib import Path
from typing import Any

from simmoe.simulator.files import atomic
from simmoe.workloads.format import trace
from simmoe.workloads.oracle_moe import zoo
from simmoe.workloads.oracle_moe.recipe import PRESETS

Record = dict[str, Any]
Bar = tuple[str, Callable[[Any], str], Callable[[Any], bool]]  # what, a seed's figure as text, whether it is reached


def records(folder: Path = trace.BUNDLED) -> dict[str, Record]:
    """The training record of every zoo model that has been trained, in the order of the zoo."""
    paths = {name: folder / f"{name}.training.json" for name in zoo.entries()}
    return {name: json.loads(path.read_text("utf-8")) for name, path in paths.items() if path.exists()}


def tables(found: dict[str, Record]) -> dict[str, str]:
    """Every Markdown table by name."""
    return {
        "bars-4x8": bars(found, "4x8"),
        "bars-9x24": bars(found, "9x24"),
        "predictability": predictability(found),
        "routers": _measures([n for n in found if _of_the_routers(n) and found[n]["seed"] == 0], found),
        "long": _measures([n for n in found if n.endswith("4x8-long")], found),
        "fine-grained": _measures([n for n in found if n.endswith("12x64")], found),
        "experts": experts(found),
        "models": models(found),
    }


# --- the bars -------------------------------------------------------------------------------------------------------


def bars(found: dict[str, Record], geometry: str) -> str:
    """Reached or missed, per seed, for the geometry's dense, switch and oracle models."""
    seeds = [
        {r: found[n]["quality"] for r, n in zip(("dense", "switch", "oracle"), names)}
        for names in _trios(geometry)
        if all(n in found for n in names)
    ]
    n_experts = PRESETS[geometry].n_experts
    rows = [
        [what, *(f"{text(s)}{'' if reached(s) else ' **missed**'}" for s in seeds)]
        for what, text, reached in _bars(n_experts)
    ]
    return _markdown(["bar", *(f"seed {i}" for i in range(len(seeds)))], rows)


def _trios(geometry: str) -> list[tuple[str, str, str]]:
    if geometry == "9x24":
        return [("dense-9x24", "switch", "oracle"), ("dense-9x24-seed1", "switch-9x24-seed1", "oracle-9x24-seed1")]
    return [tuple(f"{r}-{geometry}{s}" for r in ("dense", "switch", "oracle")) for s in ("", "-seed1")]  # type: ignore[misc]


def _bars(n_experts: int) -> list[Bar]:
    """What is to be reached with `n_experts`. A seed is {dense, switch, oracle: quality}."""
    inconsistency, mixed = "inconsistency_per_100", "inconsistency_per_100_mixed"
    scale = log(8) / log(n_experts)

    def ratio(a: str, b: str) -> Callable[[Any], float]:
        return lambda s: float(s[a]["proxy_ppl"] / s[b]["proxy_ppl"])

    def least(router: str, key: str) -> Callable[[Any], float]:
        return lambda s: float(min(s[router][key]))

    def most(router: str, key: str) -> Callable[[Any], float]:
        return lambda s: float(max(s[router][key]))

    def quotient(key: str) -> Callable[[Any], float]:
        return lambda s: float(min(s["switch"][key]) / max(s["oracle"][key]))

    rows: list[tuple[str, Callable[[Any], float], float, int]] = [
        ("proxy perplexity, oracle / switch ≤ 1.03", ratio("oracle", "switch"), 1.03, -1),
        ("proxy perplexity, switch / dense ≤ 1.03", ratio("switch", "dense"), 1.03, -1),
        ("inconsistency per 100 of oracle, worst layer ≤ 12", most("oracle", inconsistency), 12, -1),
        ("… switch (best layer) / oracle (worst layer) ≥ 5", quotient(inconsistency), 5, 1),
        ("on abrupt topics, oracle, worst layer ≤ 15", most("oracle", mixed), 15, -1),
        ("… switch / oracle ≥ 4", quotient(mixed), 4, 1),
        ("load entropy of oracle, worst layer ≥ .85", least("oracle", "load_entropy"), 0.85, 1),
        ("load entropy of switch, worst layer ≥ .95", least("switch", "load_entropy"), 0.95, 1),
        (f"max load of both ≤ 3.6/E = {3.6 / n_experts:.3f}",
         lambda s: max(*s["oracle"]["max_load"], *s["switch"]["max_load"]), 3.6 / n_experts, -1),
        (f"experts used by both, of {n_experts}",
         lambda s: min(*s["oracle"]["experts_used"], *s["switch"]["experts_used"]), n_experts, 1),
        (f"NMI of oracle with the domain, pure text ≥ {0.25 * scale:.3f}", least("oracle", "nmi_domain"), 0.25 * scale, 1),
        (f"… on abrupt topics ≥ {0.10 * scale:.3f}", least("oracle", "nmi_domain_mixed"), 0.10 * scale, 1),
        ("rank correlation of distance and other expert in oracle space, worst layer ≥ .9",
         lambda s: min(c["spearman"] or -1 for c in s["oracle"]["distance"]["oracle_space"]), 0.9, 1),
    ]  # fmt: skip
    return [_bar(*row) for row in rows]


def _bar(what: str, value: Callable[[Any], float], bound: float, sign: int) -> Bar:
    """sign 1: at least the bound; -1: at most."""
    return what, lambda seed: f"{value(seed):.3g}", lambda seed: sign * (value(seed) - bound) >= -1e-9


# --- comparisons ----------------------------------------------------------------------------------------------------

FORETOLD = ("switch", "oracle-ema", "oracle-groups", "oracle-balanced")
DEPTHS = {"layer_0": "layer 0", "half": "half", "three_quarters": "¾"}
MEASURES = {
    "proxy_ppl": "proxy perplexity",
    "proxy_ppl_mixed": "… abrupt topics",
    "inconsistency_per_100": "inconsistency per 100",
    "inconsistency_per_100_mixed": "… abrupt topics",
    "load_entropy": "load entropy",
    "load_cv": "load CV",
    "importance_cv": "importance CV",
    "max_load": "max / mean load",
    "min_load": "min / mean load",
    "experts_per_token": "experts per token",
    "nmi_domain": "NMI with domain",
    "nmi_domain_mixed": "… abrupt topics",
}


def _of_the_routers(name: str) -> bool:
    """Eight experts in four layers; noisy top-k also with its own least k, 2."""
    return name.endswith("4x8") or (name.startswith("noisy") and name.endswith("4x8-k2"))


def _measures(names: Sequence[str], found: dict[str, Record]) -> str:
    """One row per model; a list of layers is shown as least–greatest."""
    rows = [[f"`{name}`", *(_cell(found[name], key) for key in MEASURES)] for name in names]
    return _markdown(["model", *MEASURES.values()], rows)


def _cell(record: Record, key: str) -> str:
    value = record["quality"].get(key)
    if value is None:
        return "–"
    if not isinstance(value, list):
        return f"{value:.1f}"
    if key in ("max_load", "min_load"):
        value = [x * record["n_experts"] for x in value]
    low, high = f"{min(value):.3g}", f"{max(value):.3g}"
    return low if low == high else f"{low}–{high}"


def experts(found: dict[str, Record]) -> str:
    """Proxy perplexity against expert count, top-k by top-k, on the geometry with four MoE layers."""
    pairs = sorted({(e, k) for e, k in zoo.GRID}, key=lambda pair: (pair[1], pair[0]))
    rows = []
    for e, k in pairs:
        name = f"4x{e}" + (f"-k{k}" if k > 1 else "")
        cells = [_ppl(found, f"{router}-{name}") for router in ("switch", "oracle")]
        if any(cell != "–" for cell in cells):
            rows.append([str(e), str(k), *cells, _difference(found, name)])
    return _markdown(["experts", "top-k", "switch, proxy ppl", "oracle, proxy ppl", "oracle − switch"], rows)


def _ppl(found: dict[str, Record], name: str) -> str:
    values = [found[n]["quality"]["proxy_ppl"] for n in (name, f"{name}-seed1") if n in found]
    return " / ".join(f"{value:.1f}" for value in values) or "–"


def _difference(found: dict[str, Record], name: str) -> str:
    pairs = [(f"oracle-{name}{s}", f"switch-{name}{s}") for s in ("", "-seed1")]
    both = [[found[n]["quality"]["proxy_ppl"] for n in pair] for pair in pairs if all(n in found for n in pair)]
    return " / ".join(f"{a - b:+.1f}" for a, b in both) or "–"


def models(found: dict[str, Record]) -> str:
    """What was trained, for how long, and how well it predicts the held-out text."""
    rows = [
        [f"`{name}`", r["recipe"]["router"], str(r["n_experts"]), str(r["top_k"]), str(r["seed"]),
         f"{r['recipe']['tokens'] / 1e6:.2f} M", f"{r['quality']['proxy_ppl']:.1f}",
         f"{r['warm_up_seconds'] / 60:.0f} + {r['branch_seconds'] / 60:.0f}", f"`{r['recipe_digest'][:12]}`"]
        for name, r in found.items()
    ]  # fmt: skip
    head = ["model", "router", "experts", "top-k", "seed", "tokens", "proxy ppl", "minutes: warm-up + branch", "recipe"]
    return _markdown(head, rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def predictability(found: dict[str, Record]) -> str:
    """Accuracy from token states and from pooled states, by how deep they are taken."""
    rows = []
    for name, record in found.items():
        figures = record["quality"].get("predictability")
        if figures and record["seed"] == 0 and record["recipe"]["router"] in FORETOLD:
            cells = [figures[kind][depth] for kind in ("token", "pooled") for depth in DEPTHS]
            rows.append([f"`{name}`", *("–" if cell is None else f"{100 * cell:.0f} %" for cell in cells)])
    return _markdown(
        ["model", *(f"{kind}, {depth}" for kind in ("token", "pooled") for depth in DEPTHS.values())], rows
    )


def filled(page: str, found: dict[str, str]) -> str:
    """The page with each table in place of what stands between its marker and the next empty line."""
    for title, table in found.items():
        marker = re.compile(rf"(<!-- {re.escape(title)} -->\n)(\|.*\n)*")
        page = marker.sub(lambda match, table=table: f"{match[1]}{table}\n", page)  # type: ignore[misc]
    return page


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        text = filled(path.read_text("utf-8"), tables(records()))
        with atomic(path) as stream:
            stream.write(text)
