"""Curves over every size of the memory for experts (`simmoe curve --json`) as figures and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simmoe.plots.figure import BOUND, Figure, Table, Trace, axes_of, bound_line, line, number
from simmoe.plots.page import Page
from simmoe.plots.provenance import facts_of

Data = Mapping[str, Any]
X = {"title": "experts resident (% of all experts)", "range": [0, 101]}
SAID = "Each line is a policy, dashed and grey where it reads the future; memory for experts from none to all."
LEAST = f"The dotted {BOUND} is what no policy beats that starts cold and loads what is missing, whatever it foresees (docs/curves.md)."


def page(data: Data) -> Page:
    figures = [hit_rates(data)]
    if data["decode_tokens"]:
        figures += [loaded(data), speeds(data)] if "hardware" in data else [loaded(data)]
    named = data.get("model") or {}
    title = "Expert cache curves" + (f": {named['name']}" if named.get("name") else "")
    sizes = () if data["sized"] else ("Sizes count experts: the trace names no bundled model.",)
    some = [one["eviction"] for one in data["curves"] if not one["every"]]
    between = (f"{' and '.join(some)}: exact at the sizes with a mark; nothing is said between them.",) if some else ()
    return Page(
        title,
        (f"Scope {data['scope']}, cold start, all loads on demand.",),
        tuple(figures),
        facts_of(data),
        (*sizes, *between, *data["notes"]),
    )


def hit_rates(data: Data) -> Figure:
    """Hit rate of each policy against the memory for experts."""
    lines = [_line(i, one, data, _hit_rate(one)) for i, one in enumerate(data["curves"])]
    axes = axes_of(X, {"title": "hit rate", "range": [0, 1.02]})
    said = f"Share of the requests for experts in decode that find the expert resident. {SAID}"
    return Figure("Hit rate in decode", said, "exact", tuple(lines), {"": axes}, (_table(lines),))


def loaded(data: Data) -> Figure:
    """Bytes of experts that are loaded for a decoded token, and the least that any policy loads."""
    unit, tokens = (1e6 if data["sized"] else 1), data["decode_tokens"]
    lines = [
        _line(i, one, data, [count / tokens / unit for count in one["decode_bytes"]])
        for i, one in enumerate(data["curves"])
    ]
    least = _bound(data, [row["least_decode_bytes"] / tokens / unit for row in data["rows"]])
    y = {"title": "loaded for a decoded token " + ("(MB)" if data["sized"] else "(experts)"), "rangemode": "tozero"}
    return Figure(
        "Loaded experts", f"{SAID} {LEAST}", "exact", (*lines, least), {"": axes_of(X, y)}, (_table([*lines, least]),)
    )


def speeds(data: Data) -> Figure:
    """Simulated tokens a second at the sizes of the table."""
    shares = [100 * row["budget_bytes"] / data["every_bytes"] for row in data["rows"]]
    played = [[row["tok_s"].get(one["eviction"]) for row in data["rows"]] for one in data["curves"]]
    lines = [_drawn(i, one, shares, y, marks=True) for i, (one, y) in enumerate(zip(data["curves"], played))]
    most = _bound(data, [row["most_tok_s"] for row in data["rows"]])
    axes = axes_of(X, {"title": "tokens a second", "rangemode": "tozero"})
    return Figure(
        "Speed",
        f"Decoded tokens a second. {SAID} {LEAST}",
        "simulated",
        (*lines, most),
        {"": axes},
        (_table([*lines, most]),),
    )


def _hit_rate(one: Data) -> list[float]:
    """Of decode; of all passes where nothing is decoded."""
    of = "decode_" if any(one["decode_hits"]) or any(one["decode_misses"]) else ""
    return [round(hits / max(hits + misses, 1), 6) for hits, misses in zip(one[f"{of}hits"], one[f"{of}misses"])]


def _line(place: int, one: Data, data: Data, y: list[float]) -> Trace:
    """A line where every size has a point, points and lines where some have."""
    x = [round(100 * size / data["every_bytes"], 4) for size in one["budget_bytes"]]
    return _drawn(place, one, x, [round(value, 6) for value in y], marks=not one["every"])


def _drawn(place: int, one: Data, x: list[float], y: list[Any], marks: bool) -> Trace:
    """A policy in its colour; what reads the future in grey dashes."""
    if one["bound"]:
        return bound_line(x, y, one["eviction"], dash="dash")
    return line(place, one["eviction"], x, y, marks=marks)


def _bound(data: Data, y: list[float]) -> Trace:
    """In steps, each as high as at the larger of its two sizes: straight lines would cross curves that hold the bound."""
    x = [100 * row["budget_bytes"] / data["every_bytes"] for row in data["rows"]]
    return bound_line(x, y, shape="vh")


def _table(lines: list[Trace]) -> Table:
    """The points of all lines by size; of a curve with a point at every size some, evenly spread."""
    sizes = sorted({x for one in lines for x in one["x"][:: max(len(one["x"]) // 40, 1)]})
    at = [dict(zip(one["x"], one["y"])) for one in lines]
    rows = tuple((f"{size:.4g} %", *(number(one.get(size)) for one in at)) for size in sizes)
    return Table(("experts resident", *(one["legendgroup"] for one in lines)), rows)
