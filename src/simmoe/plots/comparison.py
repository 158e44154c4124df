"""Machines side by side (`simmoe compare --json`) as figures and as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from simmoe.plots.figure import Figure, Table, Trace, axes_of, bars, number
from simmoe.plots.page import Page
from simmoe.plots.provenance import facts_of, told
from simmoe.plots.run import where_time

Data = Mapping[str, Any]
OF_RUN: dict[str, Callable[[Data], Any]] = {
    "decoded tokens a second": lambda run: run["tok_s"],
    "prompt tokens a second": lambda run: run["prompt_tok_s"],
    "time to first token, first sequence (s)": lambda run: run["ttft_s"]["first"],
    "time per output token, p95 (ms)": lambda run: run["tpot_ms"]["p95"],
    "hit rate in decode": lambda run: run["decode"]["hit_rate"],
    "device memory (GB)": lambda run: run["memory_bytes"]["total"] / 1e9,
    "energy (J per decoded token)": lambda run: (run["energy"] or {}).get("joules_per_token"),
}
OF_ROW = {
    "price": "price",
    "price_usd": "price (USD)",
    "tok_s_per_1000_usd": "tokens a second per 1,000 USD",
}


def page(data: Data) -> Page:
    runs = [(name, row["run"]) for name, row in zip(names(data), data["rows"]) if row["run"]]
    cannot = tuple(
        f"{name} does not run: {row['why_not']}." for name, row in zip(names(data), data["rows"]) if not row["run"]
    )
    notes = dict.fromkeys(note for _, run in runs for note in run.get("notes", ()))
    figures = (side_by_side(data), where_time(runs)) if any(run["tok_s"] for _, run in runs) else (side_by_side(data),)
    facts = [
        (f"row {i}, {name}", told({"digest": run["digest"], "engine": run["engine"]}))
        for i, (name, run) in enumerate(runs, 1)
    ]
    first: Data = next((run for _, run in runs), {})
    own = tuple(
        fact
        for fact in facts_of({**first, **{k: v for k, v in data.items() if k == "versions"}})
        if fact[0] in ("model", "versions")
    )
    machines = ", ".join(dict.fromkeys(row["hardware"]["name"] for row in data["rows"]))
    return Page("Machines side by side", (machines,), figures, (*facts, *own), (*cannot, *notes))


def names(data: Data) -> list[str]:
    """What tells the rows apart: the machine, and what differs beside it."""
    rows = data["rows"]
    said = [
        {"machine": row["hardware"]["name"], "trace": row["trace"]["router"], "policy": row["eviction"]} for row in rows
    ]
    varied = [key for key in ("machine", "trace", "policy") if key == "machine" or len({one[key] for one in said}) > 1]
    return [", ".join(str(one[key]) for key in varied if one[key]) for one in said]


def side_by_side(data: Data) -> Figure:
    """A bar for each row, of one number that is chosen; of speeds with their band."""
    labels, rows = names(data), data["rows"]
    columns = {name: [None if not row["run"] else value(row["run"]) for row in rows] for name, value in OF_RUN.items()}
    columns |= {
        name: [row.get(key) if isinstance(row.get(key), int | float) else None for row in rows]
        for key, name in OF_ROW.items()
    }
    columns = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    bands = [row.get("range_tok_s") for row in rows]
    traces, axes = list[Trace](), dict[str, Any]()
    for name, values in columns.items():
        made = bars(
            0, "value", labels, values, hovertext=[f"{label}: {number(value)}" for label, value in zip(labels, values)]
        )
        traces.append(
            {
                **made,
                **(_ends(values, bands) if name == next(iter(OF_RUN)) else {}),
                "hoverinfo": "text",
                "meta": {"choice": name},
            }
        )
        axes[name] = axes_of(
            {"title": name, "rangemode": "tozero"}, {"title": "", "type": "category", "autorange": "reversed"}
        )
    table = Table(("row", "range of tok/s", *columns, "bound by"), tuple(_rows(data, columns)))
    said = "One number of each row. A whisker is what the ranges of the machine's figures leave open; a row without one states none."
    return Figure("Side by side", said, "simulated", tuple(traces), axes, (table,), "number", 130 + 40 * len(labels))


def _rows(data: Data, columns: Mapping[str, list[Any]]) -> Iterator[tuple[str, ...]]:
    for i, (name, row) in enumerate(zip(names(data), data["rows"])):
        band = row.get("range_tok_s")
        ends = "–" if not band else f"{number(band[0])}–{number(band[1])}"
        numbers = (number(values[i]) for values in columns.values())
        yield name, ends, *numbers, str(row["bound_by"] or row["why_not"] or "–")


def _ends(values: list[Any], bands: list[Any]) -> dict[str, Any]:
    if not any(bands):
        return {}
    pairs = [
        (0.0, 0.0) if band is None or value is None else (band[1] - value, value - band[0])
        for value, band in zip(values, bands)
    ]
    up, down = zip(*pairs)
    return {
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": list(up),
            "arrayminus": list(down),
            "color": "#7d8590",
            "thickness": 2,
        }
    }
