"""The measures of one or more traces (`simmoe.locality`) as figures and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simmoe.plots.figure import Figure, Table, Trace, axes_of, bound_line, line, number
from simmoe.plots.page import Page
from simmoe.workloads.locality.report import Measures, Named, notes, rows

SERVED = {"title": "share of used slots served", "range": [0, 1.02]}


def page(named: Named) -> Page:
    figures = (srp(named), sch(named), switches(named), load(named), *distance(named), *maps(named))
    lead = "Measured on the routing traces named here. A proxy trace comes from a small model that was trained for its routing."
    names = tuple(name for name, _ in named)
    table = Table(("", *names), tuple((label, *cells) for label, cells in rows(named)))
    facts = tuple((name, f"{_origin(m)}; digest {m['trace'].get('digest', '–')}") for name, m in named)
    said = "A range is least–greatest over the MoE layers."
    return Page("Routing locality", (lead,), figures, facts, (said, *notes(named)), tables=(table,))


def _basis(named: Named) -> str:
    """What a title says of where its numbers come from."""
    proxies = [m["trace"]["proxy"] for _, m in named]
    return "measured on proxy models" if all(proxies) else "measured; proxies as marked" if any(proxies) else "measured"


def _origin(m: Measures) -> str:
    facts = m["trace"]
    what = "proxy, a small trained model of" if facts["proxy"] else "recorded,"
    return f"{what} {facts['model'] or 'unnamed model'}"


def _lines(named: Named, title: str, said: str, axes: dict[str, Any], data: Sequence[Trace]) -> Figure:
    """A figure of lines, its points as a table."""
    return Figure(f"{title} ({_basis(named)})", said, "measured", tuple(data), {"": axes}, (_points(axes, data),))


def _points(axes: dict[str, Any], data: Sequence[Trace]) -> Table:
    xs = list(dict.fromkeys(x for one in data for x in one["x"]))
    at = [dict(zip(one["x"], one["y"])) for one in data]
    rows = tuple((number(x), *(number(one.get(x)) for one in at)) for x in xs)
    return Table((axes["xaxis"]["title"]["text"], *(one["legendgroup"] for one in data)), rows)


def srp(named: Named) -> Figure:
    data = list[Trace]()
    for i, (name, m) in enumerate(named):
        tokens = m["srp"]["tokens"]
        data.append(line(i, name, tokens, m["srp"]["served"]))
        data.append(bound_line([tokens[0], tokens[-1]], [m["srp_least"]] * 2, f"{name}: k/E"))
    x = {"title": "segment length m (tokens)", "type": "log", "tickvals": named[0][1]["srp"]["tokens"]}
    said = "Slots served by a segment's k most used experts. Dotted: least possible, k/E."
    return _lines(named, "SRP", said, axes_of(x, SERVED), data)


def sch(named: Named) -> Figure:
    data = [line(i, name, m["sch"]["rho"], m["sch"]["served"]) for i, (name, m) in enumerate(named)]
    said = f"Slots served by the ⌊ρk⌋ most used experts of each {named[0][1]['sch']['tokens']} tokens."
    return _lines(
        named, "SCH", said, axes_of({"title": "experts kept ρ (multiples of k)", "rangemode": "tozero"}, SERVED), data
    )


def switches(named: Named) -> Figure:
    data = list[Trace]()
    for i, (name, m) in enumerate(named):
        layers, mixed = m["trace"]["layer_index"], m["inconsistency_per_100_mixed"]
        data.append(line(i, name, layers, m["inconsistency_per_100"]))
        if mixed:
            data.append(line(i, f"{name}: abrupt topics", layers, mixed, dash="dash"))
    axes = axes_of({"title": "model layer"}, {"title": "changed experts per 100 tokens", "range": [0, 102]})
    said = "How often a token's experts are not those of the token before. Dashed: abrupt topics, as stated in meta.quality."
    return _lines(named, "Inconsistency by layer", said, axes, data)


def load(named: Named) -> Figure:
    data = list[Trace]()
    for i, (name, m) in enumerate(named):
        e = len(m["load_sorted"])
        shares = [round(100 * (rank + 0.5) / e, 3) for rank in range(e)]
        data.append(line(i, name, shares, m["load_sorted"], marks=False))
    x = {"title": "experts, busiest first (% of the layer's experts)", "range": [0, 100]}
    said = "Mean over the MoE layers; 1 is the load of an expert where all have the same."
    return _lines(
        named, "Load by expert, sorted", said, axes_of(x, {"title": "load / fair share", "rangemode": "tozero"}), data
    )


def distance(named: Named) -> list[Figure]:
    """One for each kind of states, a line for each trace: the mean over its curves of what each bin holds."""
    kinds = sorted({kind for _, m in named for kind in m["distance"]})
    x = {"title": "bin of distance (equal widths, 1 = nearest)", "dtick": 1}
    axes, figures = axes_of(x, {"title": "P(different expert)", "range": [0, 1.02]}), list[Figure]()
    for kind in kinds:
        curves = [(i, name, m["distance"][kind]) for i, (name, m) in enumerate(named) if m["distance"].get(kind)]
        means = [(i, name, _bin_means(each)) for i, name, each in curves]
        data = [line(i, name, list(range(1, len(found) + 1)), found) for i, name, found in means]
        said = f"Distance of {kind.replace('_', ' ')}; mean over the layers."
        figures.append(_lines(named, f"Different expert by distance, {kind.replace('_', ' ')}", said, axes, data))
    return figures


def _bin_means(curves: list[dict[str, Any]]) -> list[float | None]:
    bins = zip(*(curve["different"] for curve in curves))
    known = [[value for value in values if value is not None] for values in bins]
    return [round(sum(values) / len(values), 6) if values else None for values in known]


def maps(named: Named) -> list[Figure]:
    """One for each trace, all on one scale: from 0 to the greatest value off the diagonals."""
    pairs = [value for _, m in named for i, row in enumerate(m["nmi_layers"]["nmi"]) for value in row[i + 1 :]]
    top = max((value for value in pairs if value is not None), default=0) or 1
    return [_map(name, m, top) for name, m in named]


def _map(name: str, m: Measures, top: float) -> Figure:
    columns, nmi = m["nmi_layers"]["columns"], m["nmi_layers"]["nmi"]
    layers = [str(m["trace"]["layer_index"][column]) for column in columns]
    off = [[None if i == j else value for j, value in enumerate(row)] for i, row in enumerate(nmi)]
    data = {
        "type": "heatmap", "x": layers, "y": layers, "z": off, "zmin": 0, "zmax": top, "colorscale": "Viridis", "xgap": 1, "ygap": 1,
        "colorbar": {"title": {"text": "NMI"}, "thickness": 12}, "hovertemplate": "layers %{x}, %{y}: %{z:.3f}<extra></extra>",
    }  # fmt: skip
    axis = {"title": "model layer", "type": "category", "showgrid": False, "constrain": "domain"}
    table = Table(("layer", *layers), tuple((layer, *map(number, row)) for layer, row in zip(layers, off)))
    origin = "proxy" if m["trace"]["proxy"] else "measured"
    said = "How much the experts of one layer say of those of another: normalised, one scale for all maps, no diagonal."
    axes = axes_of(axis, {**axis, "scaleanchor": "x"})
    return Figure(f"Mutual information of layers: {name} ({origin})", said, "measured", (data,), {"": axes}, (table,))
