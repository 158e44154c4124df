"""Curves for people: tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from simmoe.play.curve_result import CurveResult
from simmoe.play.result import Run
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.show.tables import heading, number
from simmoe.simulator.arrays import Ints
from simmoe.simulator.units import nbytes

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
