"""Where the order of machines changes along an axis (`simmoe compare --over`), as figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import log
from typing import Any

from simmoe.play.load_words import WHOLE, rate_word
from simmoe.plots.figure import Figure, Table, Trace, axes_of, bound_line, colour, escaped, line, number
from simmoe.plots.trials import axis_label
from simmoe.simulator.units import UNITS, nbytes, text

Data = Mapping[str, Any]
SAID = "A band is the range of a row. Dashed upright lines: from there on another row is ahead of two."
TITLES = {
    "tok_s": "decoded tokens a second",
    "goodput_per_s": "goodput, requests a second",
    "request_e2e_p99_ms": "a request, p99 (ms)",
}


def orders(data: Data, names: Sequence[str]) -> Iterator[Figure]:
    """One for each axis of a comparison, none where it has none."""
    return (order(one, names) for one in data.get("over", ()))


def order(one: Data, names: Sequence[str]) -> Figure:
    """What rows are measured by along an axis, with the range of each, and the values at which another row comes to be ahead."""
    traces = [trace for place, name in enumerate(names) for trace in _row(one, place, name)]
    top = max((point["high"] or 0 for points in one["points"] for point in points), default=0)
    changes = [change for pair in one["pairs"] for change in pair["changes"]]
    traces += [_upright(change, names, top) for change in changes]
    marked = _apart(one["values"])
    ticks = {"tickvals": marked, "ticktext": [escaped(_shown(one, value)) for value in marked]}
    x_axis = {"title": axis_label(one["axis"]), **ticks, **({"type": "log"} if min(one["values"]) > 0 else {})}
    axes = {"": axes_of(x_axis, {"title": TITLES[one["measure"]], "rangemode": "tozero"})}
    tables = (_changes(one, changes, names), _points(one, names))
    title = f"Which is {'faster' if one['measure'] == 'tok_s' else 'ahead'}, by {axis_label(one['axis'])}"
    said = f"{TITLES[one['measure']].capitalize()} of each row. {SAID}"
    return Figure(title, said, "simulated", tuple(traces), axes, tables, height=460, least_width=420)


def _apart(values: Sequence[int]) -> list[int]:
    """Values whose labels do not meet: from one to the next at least a ninth of the axis, on which factors are distances."""
    reach, marked = log(values[-1] / values[0]) if values[0] > 0 else 0.0, list[int]()
    for value in values:
        if not marked or not reach or 9 * log(value / marked[-1]) >= reach:
            marked.append(value)
    return marked if reach else marked[:: max(len(marked) // 6, 1)]


def _shown(one: Data, value: int) -> str:
    """A value of the axis as people read it."""
    unit = one.get("unit")
    if unit == "rate":
        return rate_word(Fraction(value, WHOLE))
    return nbytes(value) if unit == "bytes" else text(value, unit) if unit in UNITS else f"{value:,}"


def _upright(change: Data, names: Sequence[str], top: float) -> Trace:
    """A line between the values on both sides of a change."""
    x = (change["below"]["value"] + change["above"]["value"]) / 2
    below, above = (f"{change[side]['word']}: {names[change[f'faster_{side}'] - 1]}" for side in ("below", "above"))
    text = escaped(f"up to {below}; from {above}")
    return bound_line([x, x], [0, top], "the order changes", dash="dash", hovertext=text, hoverinfo="text")


def _row(one: Data, place: int, name: str) -> Iterator[Trace]:
    known = [(value, point) for value, point in zip(one["values"], one["points"][place]) if point["value"] is not None]
    x = [value for value, _ in known]
    if any(point["low"] != point["high"] for _, point in known):
        edges = [*(point["high"] for _, point in known), *(point["low"] for _, point in reversed(known))]
        made = line(place, name, [*x, *reversed(x)], edges, marks=False, fill="toself", hoverinfo="skip", opacity=0.25)
        yield {**made, "line": {"width": 0, "color": colour(place)}, "fillcolor": colour(place)}
    texts = [escaped(f"{name}: {_cell(point)}") + f"<br>{escaped(point.get('command') or '')}" for _, point in known]
    yield line(place, name, x, [point["value"] for _, point in known], hovertext=texts, hoverinfo="text")


def _changes(axis: Data, changes: Sequence[Data], names: Sequence[str]) -> Table:
    rows = []
    for one in changes:
        between = one["undecided"]
        faster = (names[one[side] - 1] for side in ("faster_below", "faster_above"))
        open_from = "–" if not between else " to ".join(_shown(axis, end) for end in between)
        rows.append((one["below"]["word"], next(faster), one["above"]["word"], next(faster), open_from))
    head = ("up to", "faster", "from", "faster then", "not decided: ranges overlap")
    return Table(head, tuple(rows) or (("–", "the order does not change", "–", "–", "–"),), "where the order changes")


def _points(one: Data, names: Sequence[str]) -> Table:
    rows = tuple((word, *(_cell(points[i]) for points in one["points"])) for i, word in enumerate(one["words"]))
    return Table((axis_label(one["axis"]), *names), rows, f"{TITLES[one['measure']]} at each value")


def _cell(point: Data) -> str:
    if point["value"] is None:
        return str(point["why_not"])
    return f"{number(point['value'])} ({number(point['low'])}–{number(point['high'])})"
