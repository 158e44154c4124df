"""Which experts are resident and which are asked for, by layer over time, as figures (simmoe.play.held says them)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simmoe.plots.figure import Figure, Table, axes_of, number

Data = Mapping[str, Any]
MOST_CELLS = 250_000  # of the maps of single experts: of more, some layers are left out
MOST_ROWS, FEW_ROWS = 400, 50  # of a table of single experts: beside their popularity, beside one layer
TIME = "tokens played"
RAMP = ((0, "rgba(47,127,193,0.05)"), (1, "rgba(47,127,193,1)"))  # from the page's own colour, in light and in dark


def figures(data: Data) -> list[Figure]:
    """All of them."""
    return [residency(data), hit_rates(data), popularity(data), experts_resident(data), experts_asked(data)]


def residency(data: Data) -> Figure:
    """Share of each layer's experts that are resident, over time."""
    share = np.array(data["resident"]).mean(2).T
    said = "Share of a layer's experts that are resident at the end of each stretch of passes."
    return _by_layer(data, "Experts resident, by layer over time", said, share, "resident")


def hit_rates(data: Data) -> Figure:
    """Hit rate of each layer over time, prompts included."""
    requests = np.array(data["requests"])
    share = np.divide(data["hits"], requests, out=np.full(requests.shape, np.nan), where=requests > 0).T
    said = (
        "Share of a layer's requests that find their expert resident, prompts included. Experts of the CPU are no hits."
    )
    return _by_layer(data, "Hit rate, by layer over time", said, share, "hit rate")


def _by_layer(data: Data, title: str, said: str, share: Any, what: str) -> Figure:
    layers = [str(layer) for layer in data["layers"]]
    trace = _map(
        data["tokens"], layers, share, what, f"layer %{{y}}, until token %{{x}}: %{{z:.1%}}<extra>{what}</extra>"
    )
    axes = axes_of({"title": TIME, "showgrid": False}, {"title": "model layer", "type": "category", "showgrid": False})
    with np.errstate(all="ignore"):
        rows = tuple(
            (layer, *(number(float(f(one))) for f in (np.nanmin, np.nanmean, np.nanmax)), number(float(one[-1])))
            for layer, one in zip(layers, share)
        )
    table = Table(("layer", "least", "mean", "most", "at the end"), rows)
    return Figure(title, said, "exact", (trace,), {"": axes}, (table,), height=max(260, 110 + 16 * len(layers)))


def popularity(data: Data) -> Figure:
    """How often each expert is asked for, by layer, the most popular first."""
    asked = np.array(data["asked"]).sum(0)
    share = -np.sort(-asked, axis=1) / np.maximum(asked.sum(1, keepdims=True), 1)
    layers = [str(layer) for layer in data["layers"]]
    ranks = list(range(1, asked.shape[1] + 1))
    trace = _map(
        ranks, layers, share, "share", "layer %{y}, rank %{x}: %{z:.2%} of the token slots<extra></extra>", zmin=0
    )
    axes = axes_of(
        {"title": "experts of a layer, most popular first", "showgrid": False},
        {"title": "model layer", "type": "category", "showgrid": False},
    )
    said = f"Share of a layer's token slots that each expert serves; {1 / asked.shape[1]:.2%} where all are alike."
    return Figure(
        "Popularity of experts, by layer",
        said,
        "exact",
        (trace,),
        {"": axes},
        (_experts(data, asked),),
        height=max(260, 110 + 16 * len(layers)),
    )


def _experts(data: Data, asked: Any, most: int = MOST_ROWS) -> Table:
    """The experts that serve most, and how long each is resident."""
    resident = np.array(data["resident"]).mean(0)
    order = np.argsort(-asked, axis=None, kind="stable")[:most]
    rows = tuple(
        (
            str(data["layers"][layer]),
            str(expert),
            f"{asked[layer, expert]:,}",
            f"{asked[layer, expert] / max(asked[layer].sum(), 1):.2%}",
            f"{resident[layer, expert]:.0%}",
        )
        for layer, expert in (np.unravel_index(at, asked.shape) for at in order)
    )
    title = "" if asked.size <= most else f"the {most} experts that serve most, of {asked.size:,}"
    return Table(
        ("layer", "expert", "token slots", "share of its layer", "resident at the end of so many stretches"),
        rows,
        title,
    )


def experts_resident(data: Data) -> Figure:
    """Which experts of a layer are resident, over time; the layer is chosen."""
    said = "Each row is an expert of the layer, the most popular on top; filled where it is resident at the end of a stretch of passes."
    return _by_expert(
        data,
        "Experts resident, one by one",
        said,
        np.array(data["resident"]),
        "expert %{y}, until token %{x}<extra></extra>",
    )


def experts_asked(data: Data) -> Figure:
    """Which experts of a layer are asked for, over time; the layer is chosen."""
    asked = np.array(data["asked"])
    share = asked / np.maximum(asked.sum(2, keepdims=True), 1)
    said = "Each row is an expert of the layer, the most popular on top: its share of the layer's token slots in each stretch of passes."
    return _by_expert(
        data,
        "Popularity over time, expert by expert",
        said,
        share,
        "expert %{y}, until token %{x}: %{z:.1%}<extra></extra>",
    )


def _by_expert(data: Data, title: str, said: str, values: Any, hover: str) -> Figure:
    bins, layers, experts = values.shape
    most = max(MOST_CELLS // (bins * experts), 1)
    shown = (
        sorted({round(i * (layers - 1) / max(most - 1, 1)) for i in range(min(most, layers))})
        if most < layers
        else range(layers)
    )
    total, traces = np.array(data["asked"]).sum(0), []
    for layer in shown:
        order = np.argsort(total[layer], kind="stable")  # plotly draws the first row at the bottom
        names, top = [f"{expert}" for expert in order], float(values[:, layer].max()) or 1.0
        made = _map(data["tokens"], names, values[:, layer, order].T, "", hover, zmin=0, zmax=top)
        traces.append({**made, "meta": {"choice": f"layer {data['layers'][layer]}"}})
    if len(shown) < layers:
        said += f" {len(shown)} of {layers} layers are in the page."
    axes = axes_of({"title": TIME, "showgrid": False}, {"title": "expert", "type": "category", "showgrid": False})
    height = min(max(260, 110 + 9 * experts), 900)
    return Figure(title, said, "exact", tuple(traces), {"": axes}, (_experts(data, total, FEW_ROWS),), "layer", height)


def _map(x: list[Any], y: list[str], z: Any, name: str, hover: str, **ends: Any) -> dict[str, Any]:
    rounded = [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in z]
    bar = {"title": {"text": name}, "thickness": 12, "tickformat": ".0%"}
    return {
        "type": "heatmap", "x": x, "y": y, "z": rounded, "colorscale": RAMP, "colorbar": bar, "hovertemplate": hover, **ends,
    }  # fmt: skip
