"""Machines side by side (`simmoe compare --json`) as figures and as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from simmoe.plots.figure import GREY, Figure, Table, Trace, axes_of, bars, number
from simmoe.plots.order import orders
from simmoe.plots.page import Page
from simmoe.plots.provenance import facts_of, told
from simmoe.plots.run import where_time

Data = Mapping[str, Any]
Band = Sequence[float] | None
ENERGY = "energy (J per decoded token, estimated)"
SPEED, PROMPT, COST = "decoded tokens a second", "prompt tokens a second", "a million decoded tokens"
OF_RUN: dict[str, Callable[[Data], Any]] = {
    SPEED: lambda run: run["tok_s"],
    PROMPT: lambda run: run["prompt_tok_s"],
    "time to first token, first sequence (s)": lambda run: run["ttft_s"]["first"],
    "time per output token, p95 (ms)": lambda run: run["tpot_ms"]["p95"],
    "hit rate in decode (exact)": lambda run: run["decode"]["hit_rate"],
    "device memory (GB)": lambda run: run["memory_bytes"]["total"] / 1e9,
    ENERGY: lambda run: (run["energy"] or {}).get("joules_per_token"),
}


def page(data: Data) -> Page:
    named = list(zip(names(data), data["rows"]))
    runs = [(name, row["run"]) for name, row in named if row["run"]]
    cannot = tuple(f"{name} does not run: {row['why_not']}." for name, row in named if not row["run"])
    notes = dict.fromkeys(note for _, run in runs for note in run.get("notes", ()))
    figures = [side_by_side(data), *orders(data, names(data))]
    if any(run["tok_s"] for _, run in runs):
        figures.append(where_time(runs))
    machines = ", ".join(dict.fromkeys(row["hardware"]["name"] for row in data["rows"]))
    return Page("Machines side by side", (machines,), tuple(figures), tuple(_facts(data)), (*cannot, *notes))


def _facts(data: Data) -> Iterator[tuple[str, str]]:
    for name, row in zip(names(data), data["rows"]):
        if run := row["run"]:
            yield name, told({"name": row["hardware"]["name"], "digest": run["digest"], "engine": run["engine"]})
            if row.get("command"):
                yield f"command of {name}", row["command"]
    first: Data = next((row["run"] for row in data["rows"] if row["run"]), {})
    yield from (fact for fact in facts_of({**first, **data}) if fact[0] in ("model", "versions"))


def names(data: Data) -> list[str]:
    """Rows by number and by what tells them apart: the machine, its own options, the trace, the policy."""
    said = [
        {
            "machine": row["hardware"]["name"],
            "own": row.get("own", ""),
            "trace": row["trace"]["router"],
            "policy": row["eviction"],
        }
        for row in data["rows"]
    ]
    varied = (
        [key for key in said[0] if key in ("machine", "own") or len({one[key] for one in said}) > 1] if said else []
    )
    return [f"{i}. {', '.join(str(one[key]) for key in varied if one[key])}" for i, one in enumerate(said, 1)]


def side_by_side(data: Data) -> Figure:
    """A bar for each row, of one number that is chosen, with its band where there is one."""
    labels, columns = names(data), _columns(data)
    traces, axes = list[Trace](), dict[str, Any]()
    for name, cells in columns.items():
        values = [value for value, _ in cells]
        texts = [f"{label}: {number(value)}{_ends(band)}" for label, (value, band) in zip(labels, cells)]
        hatch = "." if name == ENERGY else ""
        made = bars(0, name, labels, values, texts, hatch, meta={"choice": name})
        traces.append({**made, **_whiskers(cells), "legendgroup": "value"})
        upright = {"title": "", "type": "category", "autorange": "reversed"}
        axes[name] = axes_of({"title": name, "rangemode": "tozero"}, upright)
    table = Table(("row", *columns, "bound by"), tuple(_rows(data, columns)))
    said = "One number of each row. A whisker is the range that the machine's figures leave open; a row without one states none."
    return Figure("Side by side", said, "simulated", tuple(traces), axes, (table,), "number", 130 + 40 * len(labels))


Cells = list[tuple[float | None, Band]]


def _columns(data: Data) -> dict[str, Cells]:
    """Numbers and bands of all rows by name, those that some row has."""
    bands = {SPEED: "range_tok_s", PROMPT: "range_prompt_tok_s"}
    columns = {
        name: [(value(row["run"]) if row["run"] else None, row.get(bands.get(name, ""))) for row in data["rows"]]
        for name, value in OF_RUN.items()
    } | _money(data)
    return {name: cells for name, cells in columns.items() if any(value is not None for value, _ in cells)}


def _money(data: Data) -> dict[str, Cells]:
    """Prices in the currency of the comparison, and what tokens cost in it."""
    rows, said = data["rows"], data.get("money") or {}
    currency = said.get("currency") or "USD"
    same = [_price(row, currency) for row in rows]
    costs = [row.get("cost_per_million_tokens") for row in rows]
    return {
        f"price ({currency}, as the profile states it)": [(amount, None) for amount in same],
        f"{SPEED} per 1,000 {currency}": [(row.get("tok_s_per_1000", row.get("tok_s_per_1000_usd")), None) for row in rows],
        f"{COST} ({currency})": [(one["amount"], (one["low"], one["high"])) if one else (None, None) for one in costs],
    }  # fmt: skip


def _price(row: Data, currency: str) -> float | None:
    found: float | None
    if price := row.get("price"):
        found = price["amount"] if price["currency"] == currency else None
    else:
        found = row.get("price_usd") if currency == "USD" else None
    return found


def _rows(data: Data, columns: Mapping[str, Cells]) -> Iterator[tuple[str, ...]]:
    for i, (name, row) in enumerate(zip(names(data), data["rows"])):
        cells = (cells[i] for cells in columns.values())
        numbers = (f"{number(value)}{_ends(band)}" for value, band in cells)
        yield name, *numbers, str(row["bound_by"] or row["why_not"] or "–")


def _ends(band: Band) -> str:
    return f" ({number(band[0])}–{number(band[1])})" if band else ""


def _whiskers(cells: Cells) -> dict[str, Any]:
    if not any(band for _, band in cells):
        return {}
    pairs = [(0.0, 0.0) if not band or value is None else (band[1] - value, value - band[0]) for value, band in cells]
    up, down = (list(one) for one in zip(*pairs))
    bar = {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": GREY, "thickness": 2}
    return {"error_x": bar}
