"""Which axes decide each objective of a study."""

from __future__ import annotations

from simmoe.plots.figure import Figure, Table, axes_of, bars
from simmoe.plots.trials import Data, axis_label, label

SAID = "Share of each axis in what decides an objective (PED-ANOVA: how the best tenth of the trials spreads over it, beside all)."


def importances(data: Data) -> Figure:
    """A bar for each axis and objective."""
    found = {metric: shares for metric, shares in data["importances"].items() if shares}
    every = dict.fromkeys(axis for shares in found.values() for axis in shares)
    axes = sorted(every, key=lambda axis: -sum(shares.get(axis, 0) for shares in found.values()))
    names = [axis_label(axis) for axis in axes]
    traces = []
    for i, (metric, shares) in enumerate(found.items()):
        values = [round(shares.get(axis, 0.0), 4) for axis in axes]
        texts = [f"{label(metric)}: {name} {value:.0%}" for name, value in zip(names, values)]
        traces.append(bars(i, label(metric), names, values, texts))
    rows = tuple((axis_label(axis), *(f"{shares.get(axis, 0):.1%}" for shares in found.values())) for axis in axes)
    upright = {"title": "", "type": "category", "autorange": "reversed"}
    layout = {"": axes_of({"title": "importance", "tickformat": ".0%", "rangemode": "tozero"}, upright)}
    table, height = Table(("axis", *map(label, found)), rows), 130 + 22 * len(axes) * (len(found) + 1)
    return Figure("What decides each objective", SAID, "estimated", tuple(traces), layout, (table,), height=height)
