"""The measures of one or more traces as one self-contained HTML page: plots, then the table. Needs plotly for its script."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import Missing
from simmoe.simulator.files import atomic
from simmoe.simulator.plain import plain
from simmoe.workloads.locality.report import Measures, Named, notes, rows

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito
Plot = tuple[str, list[dict[str, Any]], dict[str, Any]]  # title, traces of plotly, axes


def escaped(text: str) -> str:
    """Text of others in the page: no mark-up of its own, no character that turns the direction of text."""
    return html.escape(plain(text))


def script() -> str:
    """The text of plotly.js, to stand in the page."""
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise Missing("--html needs plotly, which is not installed; run: pip install 'simmoe[sweep]'") from None
    return str(get_plotlyjs())


def write(path: Path, named: Named, plotly_js: str) -> None:
    """The page, in one step."""
    plots = [srp(named), sch(named), switches(named), load(named), *distance(named), *maps(named)]
    basis = _basis([m["trace"]["proxy"] for _, m in named])
    drawn(
        [(title.format(basis=basis), data, axes) for title, data, axes in plots],
        path,
        plotly_js,
        lambda boxes: PAGE.format(
            css=CSS, legend=_legend(named), plots=boxes, table=_table(named), notes=_notes(named)
        ),
    )


def drawn(plots: list[Plot], path: Path, plotly_js: str, page: Callable[[str], str]) -> None:
    """Writes a page with its plots. page: the text from its head on, with the boxes that the plots are drawn into."""
    figures = [{"data": data, "layout": layout(title, axes)} for title, data, axes in plots]
    content = json.dumps(figures, sort_keys=True).replace("</", "<\\/")
    boxes = "".join(f'<div class="plot" id="plot{i}"></div>' for i in range(len(figures)))
    with atomic(path) as stream:
        stream.write(page(boxes))
        stream.write(
            f"<script>{plotly_js}</script>\n<script>const figures = {content};\n{DRAW}</script>\n</body></html>\n"
        )


def _basis(proxies: list[bool]) -> str:
    """What a title says of where its numbers come from."""
    return "measured on proxy models" if all(proxies) else "measured; proxies as marked" if any(proxies) else "measured"


def srp(named: Named) -> Plot:
    data = []
    for i, (name, m) in enumerate(named):
        tokens = m["srp"]["tokens"]
        data.append(line_of(i, name, tokens, m["srp"]["served"]))
        data.append(line_of(i, f"{name}: k/E", [tokens[0], tokens[-1]], [m["srp_least"]] * 2, dash="dot"))
    x = {"title": "segment length m (tokens)", "type": "log", "tickvals": named[0][1]["srp"]["tokens"]}
    return (
        "SRP ({basis})<br>slots served by a segment's k most used experts; dotted: least possible, k/E",
        data,
        axes_of(x, SERVED),
    )


def sch(named: Named) -> Plot:
    data = [line_of(i, name, m["sch"]["rho"], m["sch"]["served"]) for i, (name, m) in enumerate(named)]
    title = (
        f"SCH ({{basis}})<br>slots served by the ⌊ρk⌋ most used experts of each {named[0][1]['sch']['tokens']} tokens"
    )
    return title, data, axes_of({"title": "experts kept ρ (multiples of k)", "rangemode": "tozero"}, SERVED)


def switches(named: Named) -> Plot:
    data = []
    for i, (name, m) in enumerate(named):
        layers, mixed = m["trace"]["layer_index"], m["inconsistency_per_100_mixed"]
        data.append(line_of(i, name, layers, m["inconsistency_per_100"]))
        if mixed:
            data.append(line_of(i, f"{name}: abrupt topics", layers, mixed, dash="dash"))
    y = {"title": "changed experts per 100 tokens", "range": [0, 102]}
    return (
        "Inconsistency by layer ({basis})<br>dashed: abrupt topics, as stated in meta.quality",
        data,
        axes_of({"title": "model layer"}, y),
    )


def load(named: Named) -> Plot:
    data = []
    for i, (name, m) in enumerate(named):
        e = len(m["load_sorted"])
        shares = [round(100 * (rank + 0.5) / e, 3) for rank in range(e)]
        data.append({**line_of(i, name, shares, m["load_sorted"]), "mode": "lines"})
    x = {"title": "experts, busiest first (% of the layer's experts)", "range": [0, 100]}
    y = {"title": "load / fair share", "rangemode": "tozero"}
    return "Load by expert, sorted ({basis})<br>mean over the MoE layers; 1 = even", data, axes_of(x, y)


def distance(named: Named) -> list[Plot]:
    """One for each kind of states, a line for each trace: the mean over its curves of what each bin holds."""
    kinds = sorted({kind for _, m in named for kind in m["distance"]})
    x = {"title": "bin of distance (equal widths, 1 = nearest)", "dtick": 1}
    y = {"title": "P(different expert)", "range": [0, 1.02]}
    plots = []
    for kind in kinds:
        curves = [(i, name, m["distance"][kind]) for i, (name, m) in enumerate(named) if m["distance"].get(kind)]
        means = [(i, name, _bin_means(each)) for i, name, each in curves]
        data = [line_of(i, name, list(range(1, len(found) + 1)), found) for i, name, found in means]
        shown = escaped(kind.replace("_", " ")).replace("{", "{{").replace("}", "}}")
        plots.append(
            (f"Different expert by distance ({{basis}})<br>{shown}; mean over the layers", data, axes_of(x, y))
        )
    return plots


def _bin_means(curves: list[dict[str, Any]]) -> list[float | None]:
    bins = zip(*(curve["different"] for curve in curves))
    known = [[value for value in values if value is not None] for values in bins]
    return [round(sum(values) / len(values), 6) if values else None for values in known]


def maps(named: Named) -> list[Plot]:
    """One for each trace, all on one scale: from 0 to the greatest value off the diagonals."""
    pairs = [value for _, m in named for i, row in enumerate(m["nmi_layers"]["nmi"]) for value in row[i + 1 :]]
    top = max((value for value in pairs if value is not None), default=0) or 1
    return [_map(name, m, top) for name, m in named]


def _map(name: str, m: Measures, top: float) -> Plot:
    columns, nmi = m["nmi_layers"]["columns"], m["nmi_layers"]["nmi"]
    layers = [str(m["trace"]["layer_index"][column]) for column in columns]
    off = [[None if i == j else value for j, value in enumerate(row)] for i, row in enumerate(nmi)]
    data = {
        "type": "heatmap", "x": layers, "y": layers, "z": off, "zmin": 0, "zmax": top, "colorscale": "Viridis", "xgap": 1, "ygap": 1,
        "colorbar": {"title": {"text": "NMI"}, "thickness": 12}, "hovertemplate": "layers %{x}, %{y}: %{z:.3f}<extra></extra>",
    }  # fmt: skip
    axis = {"title": "model layer", "type": "category", "showgrid": False}
    axes = axes_of(axis, {**axis, "scaleanchor": "x", "constrain": "domain"})
    axes["xaxis"]["constrain"] = "domain"
    origin = "proxy" if m["trace"]["proxy"] else "measured"
    shown = escaped(name).replace("{", "{{").replace("}", "}}")
    return (
        f"Mutual information of layers: {shown} ({origin})<br>normalised; one scale for all maps; no diagonal",
        [data],
        axes,
    )


SERVED = {"title": "share of used slots served", "range": [0, 1.02]}


def line_of(number: int, name: str, x: list[Any], y: list[Any], dash: str = "solid") -> dict[str, Any]:
    colour = COLOURS[number % len(COLOURS)]
    mode = "lines" if dash == "dot" else "lines+markers"
    line = {"color": colour, "dash": dash, "width": 2 if dash == "solid" else 1.3}
    return {
        "type": "scatter",
        "name": escaped(name),
        "x": x,
        "y": y,
        "mode": mode,
        "line": line,
        "marker": {"size": 5},
    }


def axes_of(x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return {key: {**axis, "title": {"text": axis["title"]}} for key, axis in (("xaxis", x), ("yaxis", y))}


def layout(title: str, axes: dict[str, Any]) -> dict[str, Any]:
    look = {"gridcolor": "#e6e6e6", "zeroline": False, "linecolor": "#888", "ticks": "outside", "automargin": True}
    return {
        "title": {"text": title, "x": 0.02, "xanchor": "left", "font": {"size": 15}},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "margin": {"l": 60, "r": 20, "t": 64, "b": 52},
        "height": 380,
        "showlegend": False,
        "hovermode": "closest",
        "plot_bgcolor": "#fff",
        **{name: {**look, **axis} for name, axis in axes.items()},
    }


def _legend(named: Named) -> str:
    return "".join(
        f'<span><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{escaped(name)}: {_origin(m)}</span>'
        for i, (name, m) in enumerate(named)
    )


def _origin(m: Measures) -> str:
    facts = m["trace"]
    what = "proxy, a small trained model of" if facts["proxy"] else "recorded,"
    return escaped(f"{what} {facts['model'] or 'unnamed model'}")


def _table(named: Named) -> str:
    head = "".join(f"<th>{escaped(name)}</th>" for name, _ in named)
    body = "".join(
        f"<tr><th{' class=sub' if label.startswith(' ') else ''}>{escaped(label.strip())}</th>"
        + "".join(f"<td>{escaped(cell)}</td>" for cell in cells)
        + "</tr>\n"
        for label, cells in rows(named)
    )
    return f"<table><tr><th></th>{head}</tr>\n{body}</table>"


def _notes(named: Named) -> str:
    return "".join(f"<p>{escaped(line)}</p>" for line in notes(named))


CSS = """body{font:14px/1.45 system-ui,sans-serif;color:#222;margin:24px auto;max-width:1240px;padding:0 16px}
h1{font-size:22px;margin:0 0 4px}p{margin:4px 0;color:#555}.legend span{margin-right:22px;white-space:nowrap}
.legend i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;vertical-align:-1px}
.legend{margin:12px 0}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:12px}
.plot{border:1px solid #e3e3e3;border-radius:6px;overflow:hidden;min-height:380px}
table{border-collapse:collapse;margin:20px 0 8px}th,td{padding:3px 14px 3px 0;text-align:right;white-space:nowrap}
tr>th:first-child{text-align:left;font-weight:500}th.sub{padding-left:18px;color:#555;font-weight:400}
tr{border-bottom:1px solid #eee}.scroll{overflow-x:auto}"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Routing locality</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{css}</style></head><body>
<h1>Routing locality</h1>
<p>Measured on the routing traces named here. A proxy trace comes from a small model trained for its routing, not from the full one.</p>
<div class="legend">{legend}</div>
<div class="plots">{plots}</div>
<div class="scroll">{table}</div>
<p>A range is least–greatest over the MoE layers.</p>
{notes}
"""

DRAW = """figures.forEach((f, i) =>
  Plotly.newPlot("plot" + i, f.data, f.layout, {responsive: true, displaylogo: false, displayModeBar: false}));"""
