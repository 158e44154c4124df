"""Curves for people: tables for a terminal, and one self-contained page with plots. Needs plotly for the script of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simmoe.play.curve_result import Curve, CurveResult
from simmoe.play.result import Run
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.show.tables import heading, number
from simmoe.simulator.arrays import Ints
from simmoe.simulator.units import nbytes
from simmoe.workloads.locality.page import COLOURS, CSS, Plot, axes_of, drawn, escaped, line_of

BOUND = "bound"
LEGEND = {
    "hit rate": "share of the requests for experts in decode that find the expert resident",
    "loaded/token": "bytes of experts loaded for a decoded token",
    "tok/s": "decoded tokens a second",
    BOUND: "what no policy beats that starts cold and loads what is missing, whatever it foresees (docs/curves.md)",
}


def show_curves(found: CurveResult, files: list[str], out: Screen) -> None:
    for line in said(found, files):
        out.print(line)
    if found.workload is not None and found.runs is not None and found.everything is not None:
        run = next((run for each in found.runs.values() for run in each if run is not None), found.everything)
        heading(found.workload, run.plan, run.engine, files, out)
    for title, rows in tables(found):
        columns = (Column("experts resident", text=True), *(Column(name) for name in rows[0]))
        out.print("", lead=title)
        out.table(Grid(columns, tuple(rows[1:]), stacked=True))
    for line in notes(found):
        out.print(line)
    out.print("; ".join(f"{name}: {text}" for name, text in LEGEND.items() if name != "tok/s" or found.runs) + ".")


def said(found: CurveResult, files: list[str]) -> Iterator[str]:
    """What was measured, without a machine."""
    if found.workload is None:
        trace = found.trace
        what = " ".join(str(word) for word in (trace.meta.get("model"), trace.meta.get("router")) if word)
        yield (
            f"Exact for the trace{f' of {what}' if what else ''}: {trace.n_tokens:,} tokens, {trace.n_layers} MoE layers, "
            f"top-{trace.top_k} of {trace.n_experts} experts; scope {found.scope}, cold start, all loads on demand"
        )
        if files:
            yield f"inputs: {', '.join(files)}"


def tables(found: CurveResult) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Title, heading and rows of each table."""
    names, curves, decoded = tuple(found.curves), list(found.curves.values()), found.emitted

    def rows(cells: Callable[[int, int], list[str]], heads: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [heads, *((label(found, budget), *cells(n, budget)) for n, budget in enumerate(found.budgets))]

    def loaded(of: str, least: Ints, tokens: int) -> Callable[[int, int], list[str]]:
        return lambda n, budget: [
            size(found, int(count) / tokens)
            for count in (*(getattr(one, of)[one.at(budget)] for one in curves), least[n])
        ]

    yield "Hit rate", rows(lambda n, budget: [f"{one.decode_hit_rate[one.at(budget)]:.2%}" for one in curves], names)
    if decoded:
        yield "Loaded/token", rows(loaded("decode_bytes", found.least_decode_bytes, decoded), (*names, BOUND))
    yield "Loaded in all, prompts included", rows(loaded("bytes", found.least_bytes, 1), (*names, BOUND))
    if (runs := found.runs) is not None and decoded:
        yield (
            "Tok/s",
            rows(
                lambda n, budget: [*(_speed(runs[name][n]) for name in names), number(found.most_tok_s[n])],
                (*names, BOUND),
            ),
        )


def _speed(run: Run | None) -> str:
    return "–" if run is None else number(run.tok_s)


def label(found: CurveResult, budget: int) -> str:
    return f"{budget / found.every_bytes:.1%} ({size(found, budget)})"


def size(found: CurveResult, count: float) -> str:
    """Bytes, or experts where no model says their bytes."""
    return nbytes(count) if found.sized else f"{count:,.0f}" if count == int(count) else f"{count:,.2f}"


def notes(found: CurveResult) -> Iterator[str]:
    every = [name for name, curve in found.curves.items() if curve.every]
    some = [name for name, curve in found.curves.items() if not curve.every]
    if not found.sized:
        yield "Sizes count experts: the trace names no bundled model; --model says their bytes."
    if every:
        points = {len(found.curves[name].hits) for name in every}
        yield f"{' and '.join(every)}: exact at every size, {max(points):,} of them, which the page of --html and --json have."
    if some:
        points = {len(found.curves[name].hits) for name in some}
        yield f"{' and '.join(some)}: exact at the sizes that are played, {max(points):,} at most; nothing is said between them."
    yield from found.notes


# --- the page --------------------------------------------------------------------------------------------------------


def write(path: Path, found: CurveResult, plotly_js: str) -> None:
    """The page, in one step."""
    drawn(
        list(plots(found)),
        path,
        plotly_js,
        lambda boxes: PAGE.format(css=CSS, legend=_legend(found), plots=boxes, body=_body(found)),
    )


def plots(found: CurveResult) -> Iterator[Plot]:
    x = {"title": "experts resident (% of all experts)", "range": [0, 101]}
    shares = [100 * budget / found.every_bytes for budget in found.budgets]
    yield (
        "Hit rate in decode (exact for the trace)", [_curve(i, c, found, c.decode_hit_rate.round(6).tolist()) for i, c in _numbered(found)],
        axes_of(x, {"title": "hit rate", "range": [0, 1.02]}),
    )  # fmt: skip
    unit = 1e6 if found.sized else 1
    title = "loaded for a decoded token " + ("(MB)" if found.sized else "(experts)")
    if decoded := found.emitted:
        data = [_curve(i, c, found, (c.decode_bytes / decoded / unit).round(6).tolist()) for i, c in _numbered(found)]
        bound = _bound(shares, (found.least_decode_bytes / decoded / unit).round(6).tolist())
        yield (
            "Loaded experts (exact)<br>dotted: no policy loads less",
            [*data, bound],
            axes_of(x, {"title": title, "rangemode": "tozero"}),
        )
    if found.runs is not None and decoded:
        data = [
            line_of(i, name, shares, [None if run is None else run.tok_s for run in found.runs[name]])
            for i, name in enumerate(found.curves)
        ]
        yield (
            "Speed (simulated)<br>dotted: no policy is faster", [*data, _bound(shares, list(found.most_tok_s))],
            axes_of(x, {"title": "tokens a second", "rangemode": "tozero"}),
        )  # fmt: skip


def _numbered(found: CurveResult) -> Iterator[tuple[int, Curve]]:
    return enumerate(found.curves.values())


def _curve(place: int, curve: Curve, found: CurveResult, y: list[Any]) -> dict[str, Any]:
    """Lines where every size has a point, points and lines where some have."""
    x = (100 * curve.budget_bytes / found.every_bytes).round(4).tolist()
    return {**line_of(place, curve.eviction, x, y), **({"mode": "lines"} if curve.every else {})}


def _bound(x: list[Any], y: list[Any]) -> dict[str, Any]:
    """In steps, each as high as at the larger of its two sizes: straight lines would cross curves that hold the bound."""
    made = line_of(len(COLOURS) - 1, BOUND, x, y, dash="dot")
    return {**made, "line": {**made["line"], "shape": "vh"}}


def _legend(found: CurveResult) -> str:
    return "".join(
        f'<span><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{escaped(c.eviction)}</span>'
        for i, c in _numbered(found)
    )


def _body(found: CurveResult) -> str:
    text = "".join(f"<p>{escaped(line)}</p>" for line in (*said(found, []), *notes(found)))
    for title, rows in tables(found):
        head = "".join(f"<th>{escaped(name)}</th>" for name in rows[0])
        body = "".join(
            f"<tr><th>{escaped(row[0])}</th>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row[1:]) + "</tr>\n"
            for row in rows[1:]
        )
        text += f'<div class="scroll"><table><tr><th>{escaped(title)}</th>{head}</tr>\n{body}</table></div>'
    return text + f"<p>{escaped(f'{BOUND}: {LEGEND[BOUND]}')}</p>"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Expert cache curves</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{css}</style></head><body>
<h1>Expert cache curves</h1>
<div class="legend">{legend}</div>
<div class="plots">{plots}</div>
{body}
"""
