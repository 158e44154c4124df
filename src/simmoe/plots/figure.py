"""What a figure is: what plotly draws, what it shows in words, where its numbers come from, and the same numbers as a table."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simmoe.simulator.errors import Missing, UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.plain import plain

# Each has a contrast of 3 or more with the page, in light and in dark. Where there are more series than colours, marks differ too.
COLOURS = ("#2f7fc1", "#d2601a", "#2c9a62", "#a066cf", "#cf4f86", "#1d96a6", "#a0801c", "#7d8590")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
GREY = "#7d8590"  # of bounds, and of what is behind the rest
ORIGINS = {  # where numbers come from; the page marks each in its own way
    "simulated": ("Simulated", "the simulator gives these times and rates"),
    "exact": ("Exact", "counted in the trace: no model of time is in these numbers"),
    "measured": ("Measured", "measured on the traces that are named; no simulation is in these numbers"),
    "estimated": ("Estimated", "derived from the trials that were played, not simulated"),
}
BOUND = "bound"
Trace = dict[str, Any]  # of plotly


@dataclass(frozen=True)
class Table:
    """Text cells. rows_of: the trial of each row, for filters. codes: columns that hold commands."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    rows_of: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Figure:
    """Data of plotly, and all that a page shows beside it. `plotly()` gives a figure for a notebook, of one of its `choices`.

    A trace may say in its `meta` which trial each point is of (`rows`) and with which choice it is shown (`choice`); those of one series
    have one `legendgroup`.
    """

    title: str
    said: str  # what is shown, in a sentence or two: also what a screen reader says in place of the drawing
    origin: str  # a key of ORIGINS
    data: tuple[Trace, ...]
    axes: Mapping[str, Any]  # layout of plotly by choice; "" where nothing is chosen
    tables: tuple[Table, ...]
    choice: str = ""  # what is chosen with a control, such as "setting"
    height: int = 380
    least_width: int = 0  # below it the drawing scrolls
    more: Mapping[str, Any] = field(default_factory=dict)  # of plotly's layout

    @property
    def choices(self) -> tuple[str, ...]:
        """What may be chosen, in the order of the traces."""
        return tuple(dict.fromkeys(choice_of(one) for one in self.data if choice_of(one)))

    def __repr__(self) -> str:
        """For who meets it in a notebook: its data would fill pages."""
        if len(self.choices) < 2:
            return f"<Figure {self.title!r}: .plotly() draws it>"
        return f"<Figure {self.title!r}: .plotly({self.choice}) draws it; {self.choice}: {', '.join(map(repr, self.choices))}>"

    def layout(self, choice: str = "") -> dict[str, Any]:
        """Plotly's layout for a choice."""
        chosen = choice or next(iter(self.choices), "")
        return {**LAYOUT, "height": self.height, **self.more, **_looks(self.axes.get(chosen, self.axes.get("", {})))}

    def plotly(self, choice: str = "") -> Any:
        """The figure as plotly's, with a legend. Needs plotly."""
        try:
            from plotly import graph_objects  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError:
            raise Missing("a plot needs plotly, which is not installed; run: pip install 'simmoe[sweep]'") from None
        chosen = choice or next(iter(self.choices), "")
        if choice and choice not in self.choices:
            known = among(choice, self.choices) if self.choices else "there is nothing to choose"
            raise UserError(f"{self.title} has no {self.choice or 'choice'} {choice!r}; {known}")
        data = [dict(one) for one in self.data if choice_of(one) in ("", chosen)]
        last = {one["legendgroup"]: number for number, one in enumerate(data) if "legendgroup" in one}
        data = [{**one, "showlegend": number in last.values()} for number, one in enumerate(data)]  # each series once
        layout = {
            **self.layout(chosen),
            "title": {"text": escaped(self.title)},
            "showlegend": len(last) > 1,
            **NOTEBOOK,
        }
        return graph_objects.Figure({"data": data, "layout": layout})


LAYOUT: dict[str, Any] = {
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "margin": {"l": 62, "r": 16, "t": 14, "b": 50},
    "showlegend": False,
    "hovermode": "closest",
    "hoverlabel": {"bgcolor": "#1b1f24", "bordercolor": "#8b949e", "font": {"color": "#ffffff", "size": 12}, "align": "left"},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
}  # fmt: skip
NOTEBOOK: dict[str, Any] = {  # plotly's ink is dark, and a notebook may be so too; names are long: the legend stands below
    "paper_bgcolor": "white", "plot_bgcolor": "white", "margin": {**LAYOUT["margin"], "t": 60}, "height": None,
    "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
}  # fmt: skip


def _looks(axes: Mapping[str, Any]) -> dict[str, Any]:
    look = {"gridcolor": "#d0d7de", "zeroline": False, "linecolor": GREY, "ticks": "outside", "automargin": True}
    return {name: {**look, **axis} for name, axis in axes.items()}


def axes_of(x: Mapping[str, Any], y: Mapping[str, Any]) -> dict[str, Any]:
    """Both axes, each with `title` as text."""
    return {name: {**axis, "title": {"text": escaped(axis["title"])}} for name, axis in (("xaxis", x), ("yaxis", y))}


def escaped(text: str) -> str:
    """Text of others in the page, or in plotly's labels: no mark-up of its own, no character that turns the direction of text."""
    return html.escape(plain(text))


def choice_of(trace: Mapping[str, Any]) -> str:
    """With which choice a trace is shown; empty: with all."""
    return str((trace.get("meta") or {}).get("choice", ""))


def colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def line(
    number: int, name: str, x: Iterable[Any], y: Iterable[Any], *, marks: bool = True, dash: str = "solid", **more: Any
) -> Trace:
    """A series of a figure, numbered by its place among the others."""
    marker = {"size": 7, "symbol": SYMBOLS[number % len(SYMBOLS)], "color": colour(number)}
    return {
        "type": "scatter", "mode": "lines+markers" if marks else "lines", "name": escaped(name), "legendgroup": plain(name),
        "x": list(x), "y": list(y), "line": {"color": colour(number), "width": 2, "dash": dash}, "marker": marker, **more,
    }  # fmt: skip


def bound_line(
    x: Iterable[Any], y: Iterable[Any], name: str = BOUND, shape: str = "linear", dash: str = "dot", **more: Any
) -> Trace:
    """What no machine can run: grey, dotted or dashed in every figure."""
    made = line(0, name, x, y, marks=False, dash=dash, **more)
    return {**made, "line": {**made["line"], "color": GREY, "shape": shape}}


def bars(
    number: int,
    name: str,
    labels: Sequence[str],
    values: Iterable[Any],
    texts: Sequence[str],
    hatch: str = "",
    **more: Any,
) -> Trace:
    """Bars that lie, so that their labels have room. texts: what stands at each. hatch: plotly's name of a pattern."""
    marker = {"color": colour(number), **({"pattern": {"shape": hatch, "fgopacity": 0.6}} if hatch else {})}
    return {
        "type": "bar", "orientation": "h", "name": escaped(name), "legendgroup": plain(name), "y": list(map(escaped, labels)),
        "x": list(values), "hovertext": list(map(escaped, texts)), "hoverinfo": "text", "marker": marker, **more,
    }  # fmt: skip


def number(value: Any, digits: int = 4) -> str:
    """A number of a table; – where there is none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) or value == int(value) else f"{value:.{digits}g}"
