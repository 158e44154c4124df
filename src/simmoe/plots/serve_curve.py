"""Goodput against the rate of requests (`simmoe serve-curve --json`) as figures and as a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simmoe.plots.figure import Figure, Table, Trace, axes_of, line, number
from simmoe.plots.page import Page
from simmoe.plots.provenance import facts_of

Data = Mapping[str, Any]
LOG = {"type": "log", "minorloglabels": "complete"}  # 20 and 30 between 10 and 100, in place of 2 and 3
X = {"title": "requests that arrive a second", **LOG}


def page(data: Data) -> Page:
    named, targets = data.get("model") or {}, data["targets"]
    asked = [f"{name.upper()} {targets[f'{name}_ms']:g} ms" for name in ("ttft", "tpot") if targets[f"{name}_ms"]]
    load = f"{data['requests']:,} requests, arrivals {data['arrivals']}"
    lead = (f"{load}; targets {' and '.join(asked)} or less for {100 * data['share']:g} % of them.", held(data))
    where = f" on {data['hardware']['name']}, schedule {data['schedule']}"
    title = "Requests under load" + (f": {named['name']}" if named.get("name") else "") + where
    tails = (tail(data, "ttft", "Time to first token"), tail(data, "tpot", "Time per output token"))
    return Page(title, lead, (goodput(data), shares(data), *tails), facts_of(data), tuple(data["notes"]))


def held(data: Data) -> str:
    """The rate that each budget holds, and at the slow and the fast end of all figures."""
    rates = [
        f"{one['label']} {number(one['holds_per_s'])}/s{_between(one)}"
        if one["holds_per_s"]
        else f"{one['label']} none{_between(one)}"
        for one in _played(data)
    ]
    ends = " (In brackets: with every figure of machine and engine at its slow and at its fast end.)"
    return f"Held: {'; '.join(rates)}." + ends * any("(" in one for one in rates)


def _between(one: Data) -> str:
    low, high = one.get("holds_between_per_s") or (0, 0)
    return f" ({number(low)}–{number(high)})" if low < high else ""


def goodput(data: Data) -> Figure:
    """Requests a second that meet the targets, against how many arrive."""
    said = "Requests a second that meet the targets. It rises with the arrivals until requests wait for each other."
    return _figure(
        data, "Goodput", said, {"title": "goodput (requests a second)", "rangemode": "tozero"}, "goodput_per_s"
    )


def shares(data: Data) -> Figure:
    """The share of the requests that meet the targets."""
    said = f"Share of the requests that meet the targets; a budget holds a rate where it is {data['share']:g} or more."
    return _figure(data, "Share that meets the targets", said, {"title": "share", "range": [0, 1.02]}, "share")


def tail(data: Data, of: str, title: str) -> Figure:
    """The slowest requests."""
    target = data["targets"][f"{of}_ms"]
    said = f"Of 99 of 100 requests {of.upper()} is this or less" + (
        f"; the target is {target:g} ms." if target else "."
    )
    return _figure(data, title, said, {"title": f"{of.upper()} p99 (ms)", **LOG}, f"request_{of}_p99_ms")


def _played(data: Data) -> list[Data]:
    return [one for one in data["curves"] if not one["why_not"]]


def _figure(data: Data, title: str, said: str, y: Data, name: str) -> Figure:
    lines = [
        line(i, one["label"], *zip(*((point["rate_per_s"], point[name]) for point in one["points"])))
        for i, one in enumerate(_played(data))
    ]
    return Figure(title, said, "simulated", tuple(lines), {"": axes_of(X, y)}, (_table(lines),))


def _table(lines: list[Trace]) -> Table:
    """All points by rate."""
    rates = sorted({x for one in lines for x in one["x"]})
    at: list[Callable[[float], Any]] = [dict(zip(one["x"], one["y"])).get for one in lines]
    rows = tuple((f"{rate:.4g}/s", *(number(of(rate)) for of in at)) for rate in rates)
    return Table(("arrivals", *(one["legendgroup"] for one in lines)), rows)
