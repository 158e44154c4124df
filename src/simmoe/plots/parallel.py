"""The trials of a study as lines over all axes and objectives at once (parallel coordinates), drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from simmoe.plots.figure import GREY, Figure, Trace, colour, escaped, number
from simmoe.plots.trials import (
    Data,
    Trial,
    as_number,
    axis_label,
    config,
    feasible,
    hover,
    label,
    played,
    scaled,
    spread,
    table,
    varied,
)

MOST_ON_FRONTS, MOST_OTHERS = 200, 150  # lines: of more nothing can be told apart
MOST_WORDS = 14  # of an axis that is no number: of more, some are labelled


class Scale(NamedTuple):
    """A vertical axis: the height of each trial on it, and the labels beside it."""

    title: str
    height: Mapping[int, float | None]  # by trial
    labels: Sequence[tuple[float, str]]


def parallel(data: Data) -> Figure:
    """A line for each trial of a front, and for some others."""
    trials = [one for one in played(data) if feasible(one)]
    on_front = {number for numbers in (data["front"], *data["front_by_hw"].values()) for number in numbers}
    best, rest = ([one for one in trials if (one["number"] in on_front) == wanted] for wanted in (True, False))
    best, others = spread(best, MOST_ON_FRONTS), spread(rest, MOST_OTHERS)
    drawn = [*best, *others]
    scales = [_scale(drawn, axis) for axis in varied(trials)]
    scales += [_objective(data, drawn, metric) for metric in data["objectives"]]
    traces = [_lines(data, scales, others, "other trials", GREY, 0.25)] if others else []
    for i, hw in enumerate(dict.fromkeys(one["point"]["hw"] for one in trials)):
        mine = [one for one in best if one["point"]["hw"] == hw]
        traces.append(_lines(data, scales, mine, f"front on {hw}", colour(i), 0.85))
    said = f"Each line is a trial: {len(best)} of the {len(on_front)} on a front, and {len(others)} of {len(rest):,} others, evenly."
    axes = {"": {"xaxis": _names(scales), "yaxis": {"visible": False, "range": [-0.06, 1.06]}}}
    tables, traces = (table(data, drawn, "the trials that are drawn"),), [*traces, _labels(scales)]
    look: dict[str, Any] = {"height": 460, "least_width": max(420, 118 * len(scales))}
    return Figure("All axes at once", said, "simulated", tuple(traces), axes, tables, **look)


def _scale(trials: Sequence[Trial], axis: str) -> Scale:
    words = {one["number"]: config(one).get(axis, "–") for one in trials}
    numbers = as_number(set(words.values()))
    if numbers is None:
        names = sorted(set(words.values()))
        place = {name: i / max(len(names) - 1, 1) for i, name in enumerate(names)}
        return Scale(
            axis_label(axis),
            {row: place[word] for row, word in words.items()},
            [(place[name], name) for name in spread(names, MOST_WORDS)],
        )
    low, high = min(numbers.values()), max(numbers.values())
    place = {word: (value - low) / ((high - low) or 1) for word, value in numbers.items()}
    labels = {place[word]: word for word in spread(sorted(numbers, key=lambda word: numbers[word]), 5)}
    return Scale(axis_label(axis), {row: place[word] for row, word in words.items()}, list(labels.items()))


def _objective(data: Data, trials: Sequence[Trial], metric: str) -> Scale:
    values = {one["number"]: scaled(metric, one.get(metric)) for one in trials}
    known = [value for value in values.values() if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    heights = {row: None if value is None else (value - low) / ((high - low) or 1) for row, value in values.items()}
    shares = (0.0, 0.25, 0.5, 0.75, 1.0) if high > low else (0.0,) * bool(known)
    labels = [(share, number(low + share * (high - low), 3)) for share in shares]
    return Scale(
        f"{label(metric)}<br>{'less' if data['objectives'][metric] == 'minimize' else 'more'} is better",
        heights,
        labels,
    )


def _lines(
    data: Data, scales: Sequence[Scale], trials: Sequence[Trial], name: str, stroke: str, opacity: float
) -> Trace:
    """Lines of all trials as one series, a gap between each two."""
    x, y, rows, texts = list[Any](), list[Any](), list[Any](), list[str]()
    for one in trials:
        text = hover(one, data["objectives"])
        x += [*range(len(scales)), None]
        y += [*(_rounded(scale.height.get(one["number"])) for scale in scales), None]
        rows += [one["number"]] * (len(scales) + 1)
        texts += [text] * (len(scales) + 1)
    return {
        "type": "scatter", "mode": "lines+markers", "name": escaped(name), "legendgroup": name, "x": x, "y": y, "opacity": opacity,
        "line": {"color": stroke, "width": 1.3}, "marker": {"color": stroke, "size": 4}, "hovertext": texts, "hoverinfo": "text",
        "connectgaps": False, "meta": {"rows": rows},
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _names(scales: Sequence[Scale]) -> dict[str, Any]:
    places = list(range(len(scales)))
    titles = ["<br>".join(map(escaped, scale.title.split("<br>"))) for scale in scales]
    return {
        "tickvals": places,
        "ticktext": titles,
        "range": [-0.2, len(scales) - 0.35],
        "gridcolor": GREY,
        "side": "top",
        "ticks": "",
    }


def _labels(scales: Sequence[Scale]) -> Trace:
    """The values beside each axis."""
    marks = [(i, height, text) for i, scale in enumerate(scales) for height, text in scale.labels]
    return {
        "type": "scatter", "mode": "text", "x": [i for i, _, _ in marks], "y": [height for _, height, _ in marks],
        "text": [f" {escaped(text)}" for _, _, text in marks], "textposition": "middle right", "textfont": {"size": 12},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }  # fmt: skip
