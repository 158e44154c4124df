"""HTML of a figure, of its controls and of its tables. Text of others is escaped here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simmoe.plots.figure import GREY, ORIGINS, Figure, Table, escaped

SHAPES = {  # of marks, as an SVG of 12 x 12 draws them
    "circle": "M6 2a4 4 0 1 0 .01 0z",
    "square": "M2 2h8v8h-8z",
    "diamond": "M6 1l5 5-5 5-5-5z",
    "triangle-up": "M6 1l5 9h-10z",
    "triangle-down": "M6 11l5-9h-10z",
    "cross": "M4 1h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
    "x": "M3 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z",
    "star": "M6 0l1.7 4H12L8.6 6.8 10 11.5 6 8.7 2 11.5 3.4 6.8 0 4h4.3z",
}


def figure_html(number: int, figure: Figure) -> Iterator[str]:
    word, _ = ORIGINS[figure.origin]
    wide = ' class="wide"' if figure.least_width else ""
    label = escaped(f"{figure.title}. {figure.said}")
    yield f'<figure id="figure{number}"{wide}><figcaption><h2>{escaped(figure.title)}</h2>'
    yield f'<span class="origin {figure.origin}">{word}</span><p>{escaped(figure.said)}</p></figcaption>\n'
    yield f'<div class="controls">{_choice(figure)}{_series(figure)}</div>\n'
    scroll = f'class="scroll" tabindex="0" role="region" aria-label="{label}"' if figure.least_width else ""
    yield f'<div {scroll}><div class="plot" role="img" aria-label="{label}"></div></div>\n'
    yield '<p class="picked" aria-live="polite"></p>\n'
    for table in figure.tables:
        yield f"<details><summary>Table{f': {escaped(table.title)}' if table.title else ''}</summary>{table_html(table)}</details>\n"
    yield "</figure>\n"


def _choice(figure: Figure) -> str:
    if len(figure.choices) < 2:
        options = "".join(f"<option>{escaped(one)}</option>" for one in figure.choices)
        return f"<select hidden>{options}</select>" if options else ""
    options = "".join(f'<option value="{escaped(one)}">{escaped(one)}</option>' for one in figure.choices)
    return f"<label>{escaped(figure.choice)} <select>{options}</select></label>"


def _series(figure: Figure) -> str:
    """The legend: each series can be taken out."""
    series: dict[str, Mapping[str, Any]] = {}
    for trace in figure.data:
        if "legendgroup" in trace:
            series.setdefault(trace["legendgroup"], trace)
    if len(series) < 2:
        return ""
    boxes = "".join(
        f'<label><input type="checkbox" checked value="{escaped(name)}">{_swatch(trace)}{escaped(name)}</label>'
        for name, trace in series.items()
    )
    return f"<fieldset><legend>Show</legend>{boxes}</fieldset>"


def _swatch(trace: Mapping[str, Any]) -> str:
    marker, stroke = trace.get("marker", {}), trace.get("line", {})
    fill = marker.get("color", stroke.get("color", GREY))
    shape = (
        "M0 1h12v10h-12z"
        if trace["type"] == "bar"
        else SHAPES[str(marker.get("symbol", "circle")).removesuffix("-open")]
    )
    if "markers" not in trace.get("mode", "markers"):
        dash = "" if stroke.get("dash", "solid") == "solid" else ' stroke-dasharray="3 2"'
        drawn = f'<path d="M0 6h20" stroke="{stroke.get("color", GREY)}" stroke-width="2.5"{dash}/>'
        return f'<svg width="20" height="12" aria-hidden="true">{drawn}</svg>'
    hollow = str(marker.get("symbol", "")).endswith("-open") or marker.get("pattern")
    look = f'fill="none" stroke="{fill}" stroke-width="2"' if hollow else f'fill="{fill}"'
    return f'<svg width="12" height="12" aria-hidden="true"><path d="{shape}" {look}/></svg>'


def table_html(table: Table) -> str:
    """A table that scrolls by itself."""
    code = [' class="code"' if i in table.codes else "" for i in range(len(table.columns))]
    head = "".join(f'<th scope="col"{mark}>{escaped(name)}</th>' for name, mark in zip(table.columns, code))
    rows = "".join(
        f"<tr{f' data-row={chr(34)}{table.rows_of[n]}{chr(34)}' if table.rows_of else ''}>{_cells(row, code)}</tr>\n"
        for n, row in enumerate(table.rows)
    )
    caption = f"<caption>{escaped(table.title)}</caption>" if table.title else ""
    label = escaped(table.title or "numbers")
    return (
        f'<div class="scroll tall" tabindex="0" role="region" aria-label="{label}"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cells(row: tuple[str, ...], code: list[str]) -> str:
    first, *others = row
    sub = ' class="sub"' if first.startswith(" ") else ""
    cells = (
        f"<td{mark}>{f'<code>{escaped(cell)}</code>' if mark else escaped(cell)}</td>"
        for cell, mark in zip(others, code[1:])
    )
    return f'<th scope="row"{sub}>{escaped(first.strip())}</th>' + "".join(cells)
