"""The trials of a study by two objectives, with the Pareto front of each machine and of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from simmoe.plots.figure import GREY, Figure, Trace, axes_of, colour, line
from simmoe.plots.trials import Data, Trial, apart, feasible, hover, label, played, scaled, spread, table

MOST = 3000  # points behind the fronts, of all pairs of objectives together
MOST_ROWS = 1000  # of the table of fronts
MOST_PAIRS = 6
RING = "#cf4f86"


def pareto(data: Data) -> Figure:
    """One objective against another (which two is chosen); the front of each machine, the common one, and bounds apart."""
    upright = sorted(data["objectives"], key=lambda one: data["objectives"][one] != "maximize")  # what shall grow
    pairs, rest = _pairs(upright), _on_no_front(data)
    traces, axes, drawn = list[Trace](), dict[str, Any](), len(rest)
    for x, y in pairs:
        choice = f"{label(y)} by {label(x)}"
        behind = _thinned(rest, x, y, MOST // len(pairs))
        drawn = min(drawn, len(behind))
        traces += [{**one, "meta": {**one["meta"], "choice": choice}} for one in _traces(data, behind, x, y)]
        axes[choice] = axes_of({"title": _titled(data, x)}, {"title": _titled(data, y)})
    said = _said(data, len(rest) - drawn)
    return Figure("Pareto fronts", said, "simulated", tuple(traces), axes, tuple(_tables(data)), "objectives", 520, 340)


def _said(data: Data, left_out: int) -> str:
    said = (
        "A point is a scenario that was played. Larger marks are on the front of their machine: no other one of it is better in one "
        f"objective and as good in all. Rings: the common front, {len(data['front'])} of {len(played(data)):,}. At a mark: the "
        "configuration and the command that plays it again."
    )
    if _bounds(data):
        said += " Grey diamonds: a bound at the settings of a mark, which no machine can run."
    return said + f" {left_out:,} trials that lie on others are not drawn." * bool(left_out)


def _pairs(objectives: Sequence[str]) -> list[tuple[str, str]]:
    if len(objectives) == 1:
        return [("number", objectives[0])]
    return [(x, y) for y, x in combinations(objectives, 2)][:MOST_PAIRS]


def _titled(data: Data, metric: str) -> str:
    if metric not in data["objectives"]:
        return "trial"
    return f"{label(metric)}, {'less' if data['objectives'][metric] == 'minimize' else 'more'} is better"


def _fronts(data: Data) -> dict[str, list[Trial]]:
    """By machine; "" is the common one."""
    by_number = {trial["number"]: trial for trial in data["trials"]}
    named = {"": data["front"], **data["front_by_hw"]}
    return {name: [by_number[number] for number in numbers] for name, numbers in named.items()}


def _on_fronts(data: Data) -> set[int]:
    return {number for numbers in (data["front"], *data["front_by_hw"].values()) for number in numbers}


def _bounds(data: Data) -> list[Trial]:
    """Beside the trials of the fronts, each with the number of its trial."""
    on_fronts = _on_fronts(data)
    return [{**one, "number": one["beside"]} for one in data["bounds"] if one["beside"] in on_fronts]


def _on_no_front(data: Data) -> list[Trial]:
    on_fronts = _on_fronts(data)
    return [one for one in played(data) if feasible(one) and one["number"] not in on_fronts]


def _thinned(trials: Sequence[Trial], x: str, y: str, most: int) -> list[Trial]:
    """Of each machine those that lie on no other one of it."""
    of = dict[str, list[Trial]]()
    for one in trials:
        of.setdefault(one["point"]["hw"], []).append(one)
    return [kept for mine in of.values() for kept in apart(mine, x, y, most // len(of))]


def _traces(data: Data, behind: list[Trial], x: str, y: str) -> Iterator[Trace]:
    fronts = _fronts(data)
    for i, hw in enumerate(dict.fromkeys(one["point"]["hw"] for one in played(data))):
        mine = [one for one in behind if one["point"]["hw"] == hw]
        made = _points(data, mine, x, y, i, hw)
        yield {**made, "mode": "markers", "opacity": 0.45, "marker": {**made["marker"], "size": 5}}
        yield _front(data, fronts.get(hw, fronts[""]), x, y, i, hw)
    broken = spread([one for one in played(data) if not feasible(one)], MOST // MOST_PAIRS)
    if broken:
        made = _points(data, broken, x, y, 0, "breaks a constraint")
        yield {**made, "mode": "markers", "opacity": 0.5, "marker": {"size": 7, "symbol": "x", "color": GREY}}
    ring = {"size": 15, "symbol": "circle-open", "color": RING, "line": {"width": 2, "color": RING}}
    yield {**_points(data, fronts[""], x, y, 0, "common front"), "mode": "markers", "marker": ring, "hoverinfo": "skip"}
    if beside := _bounds(data):
        leads = [f"bound beside #{one['number']}, which no machine can run" for one in beside]
        made = _points(data, beside, x, y, 0, "bounds", leads)
        yield {
            **made,
            "mode": "markers",
            "marker": {"size": 8, "symbol": "diamond-open", "color": GREY, "line": {"width": 1.5, "color": GREY}},
        }


def _front(data: Data, trials: list[Trial], x: str, y: str, place: int, hw: str) -> Trace:
    """In steps where there are two objectives: between two of its points nothing is better than the worse one."""
    ordered = sorted(trials, key=lambda one: (scaled(x, one.get(x)) or 0, one["number"]))
    made = _points(data, ordered, x, y, place, hw)
    if len(data["objectives"]) != 2:
        return {**made, "mode": "markers", "marker": {**made["marker"], "size": 9}}
    shape = "hv" if data["objectives"][x] == "minimize" else "vh"
    return {
        **made,
        "line": {"color": colour(place), "width": 1.5, "shape": shape},
        "marker": {**made["marker"], "size": 9},
    }


def _points(
    data: Data, trials: Sequence[Trial], x: str, y: str, place: int, name: str, leads: Sequence[str] = ()
) -> Trace:
    texts = [hover(one, data["objectives"], leads[i] if leads else "") for i, one in enumerate(trials)]
    xs, ys = ([scaled(metric, one.get(metric)) for one in trials] for metric in (x, y))
    return line(
        place, name, xs, ys, hovertext=texts, hoverinfo="text", meta={"rows": [one["number"] for one in trials]}
    )


def _tables(data: Data) -> Iterator[Any]:
    fronts = _fronts(data)
    common = {one["number"] for one in fronts[""]}
    union = {one["number"]: one for trials in fronts.values() for one in trials}
    rows = sorted(union.values(), key=lambda one: (one["number"] not in common, one["point"]["hw"], one["number"]))[
        :MOST_ROWS
    ]
    equal = {int(number): len(others) for number, others in data.get("equal", {}).items()}
    first = {
        i: f"#{one['number']}{' common' * (one['number'] in common)}{f' (+{n} equal)' if (n := equal.get(one['number'], 0)) else ''}"
        for i, one in enumerate(rows)
    }
    yield table(data, rows, f"the common front ({len(common)}), then the front of each machine", first)
    if beside := _bounds(data):
        named = {i: f"beside #{one['number']}" for i, one in enumerate(beside)}
        yield table(data, beside, "bounds, which no machine can run", named)
