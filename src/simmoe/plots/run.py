"""A run, or a ladder of runs (`simmoe run --json`), as figures and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simmoe.plots.figure import Figure, Table, Trace, axes_of, bars, bound_line, line, number
from simmoe.plots.page import Page
from simmoe.plots.provenance import facts_of
from simmoe.simulator.units import nbytes

Data = Mapping[str, Any]
Named = Sequence[tuple[str, Data]]  # runs, each with its name
PS_PER_MS = 1e9
WAITS = ("waiting", "slowed")  # parts of a token's time in which nothing is computed begin so


def page(data: Data, more: Sequence[Figure] = (), notes: Sequence[str] = (), command: str = "") -> Page:
    """Of one run. more: figures of what the result does not say, such as those of plots/held.py; command: what gives the result."""
    scenario, rate = data["scenario"], data["decode"]["hit_rate"]
    title = f"{scenario['model']['name']} on {scenario['hardware']['name']}"
    speed = "nothing is decoded" if data["tok_s"] is None else f"{number(data['tok_s'])} tok/s decoded"
    held = f"{nbytes(scenario['plan']['budget_bytes'])} for experts"
    lead = f"Simulated: {speed}, hit rate {'–' if rate is None else f'{rate:.2%}'}, {held}."
    figures = [where_time([(scenario["plan"]["eviction"], data)])] if data["tok_s"] else []
    facts = ((("command", command),) if command else ()) + facts_of(data)
    said = (*data.get("notes", ()), *notes)
    return Page(title, (lead,), (*figures, memory(data), *more), facts, said, tables=(numbers(data),))


def ladder_page(data: Data) -> Page:
    """Of a ladder: one run for each budget."""
    runs = ladder_runs(data)
    title = f"{data['model']['name']} on {data['hardware']['name']}: how much memory for experts?"
    first = data["bounds"]["nothing"]
    missing = tuple(f"{row['label']}: {row['why_not']}." for row in data["rungs"] if row["run"] is None)
    figures = [hit_rates(data), *([speeds(data), where_time(runs)] if first["tok_s"] else [])]
    facts = facts_of({**data, "engine": first["engine"], "scenario": first["scenario"]})
    plan = "all rungs have the plan below, but for the memory for experts, the policy and the start of the bounds"
    return Page(
        title,
        (f"Start of every rung: {data['start']}; {plan}.",),
        tuple(figures),
        facts,
        (*first.get("notes", ()), *missing),
    )


def where_time(runs: Named) -> Figure:
    """Milliseconds of a decoded token by what they were spent on, a bar for each run."""
    played = {name: _parts_ms(run) for name, run in runs if run["tok_s"]}
    every = dict.fromkeys(part for one in played.values() for part in one)
    parts = [part for part in every if any(one.get(part) for one in played.values())]
    data = [_part(place, part, played) for place, part in enumerate(parts)]
    rows = tuple(
        (name, *(number(one.get(part, 0.0)) for part in parts), number(sum(one.values())))
        for name, one in played.items()
    )
    said = "Milliseconds of a decoded token by what they are spent on. Hatched: nothing is computed, the device waits."
    axes = axes_of({"title": "ms per decoded token"}, {"title": "", "type": "category", "autorange": "reversed"})
    table = Table(("run", *(f"{part} (ms)" for part in parts), "in all (ms)"), rows)
    look: dict[str, Any] = {"height": 150 + 34 * len(played), "more": {"barmode": "stack"}}
    return Figure("Where a token's time goes", said, "simulated", tuple(data), {"": axes}, (table,), **look)


def _part(place: int, part: str, played: Mapping[str, Mapping[str, float]]) -> Trace:
    values = [one.get(part, 0.0) for one in played.values()]
    texts = [f"{name}: {part} {value:.4g} ms" for name, value in zip(played, values)]
    return bars(place, part, list(played), values, texts, "/" if part.startswith(WAITS) else "")


def _parts_ms(run: Data) -> dict[str, float]:
    tokens = run["decode"].get("emitted", run["decode"]["tokens"])
    return {part: ps / PS_PER_MS / tokens for part, ps in run["decode_time_ps"].items()}


def memory(data: Data) -> Figure:
    """What the device's memory holds."""
    parts = {name: size for name, size in data["memory_bytes"].items() if name != "total" and size}
    made = [
        bars(i, name, ["device"], [size / 1e9], [f"{name} {nbytes(size)}"])
        for i, (name, size) in enumerate(parts.items())
    ]
    rows = tuple((name, f"{size:,}", nbytes(size)) for name, size in data["memory_bytes"].items())
    axes = axes_of({"title": "GB"}, {"title": "", "type": "category"})
    said = f"What the device holds: {nbytes(data['memory_bytes']['total'])} in all."
    return Figure(
        "Device memory",
        said,
        "exact",
        tuple(made),
        {"": axes},
        (Table(("part", "bytes", "size"), rows),),
        height=190,
        more={"barmode": "stack"},
    )


def numbers(data: Data) -> Table:
    """What a run says in single numbers."""
    ttft, tpot = data["ttft_s"], data["tpot_ms"]
    rows = {
        "decoded tokens a second": number(data["tok_s"]), "prompt tokens a second": number(data["prompt_tok_s"]),
        "time to first token, first sequence (s)": number(ttft["first"]), "time to first token, later ones (s)": number(ttft["later"]),
        **{f"time per output token, {name} (ms)": number(value) for name, value in tpot.items()},
        "requests for experts that hit": f"{data['hits']:,}", "misses": f"{data['misses']:,}", "evictions": f"{data['evictions']:,}",
        "loaded bytes": f"{data['bytes']:,}", "loaded bytes per decoded token": number(data["bytes_per_token"]),
    }  # fmt: skip
    return Table(("number", "value"), tuple(rows.items()), "Numbers of the run")


def ladder_runs(data: Data) -> Named:
    """The runs of a ladder by name, the bound that keeps everything last."""
    rungs = [(row["label"], row["run"]) for row in data["rungs"] if row["run"]]
    return [*rungs, ("bound: everything", data["bounds"]["everything"])]


def hit_rates(data: Data) -> Figure:
    """Hit rate in decode of each rung."""
    x, runs = _shares(data)
    made = line(0, _policy(data), x, [run["decode"]["hit_rate"] for run in runs])
    axes = axes_of(SHARE, {"title": "hit rate", "range": [0, 1.02]})
    said = "Share of the requests for experts in decode that find the expert resident, at each budget of the ladder."
    return Figure("Hit rate", said, "exact", (made,), {"": axes}, (_table(data, x, [made]),))


def speeds(data: Data) -> Figure:
    """Tokens a second of each rung, between the bounds of nothing and of everything resident."""
    x, runs = _shares(data)
    made = line(0, _policy(data), x, [run["tok_s"] for run in runs])
    ends = [
        bound_line([0, 100], [data["bounds"][which]["tok_s"]] * 2, f"bound: {which} resident")
        for which in ("nothing", "everything")
    ]
    axes = axes_of(SHARE, {"title": "tokens a second", "rangemode": "tozero"})
    said = "Decoded tokens a second at each budget of the ladder. Dotted: nothing and everything resident."
    return Figure("Speed", said, "simulated", (made, *ends), {"": axes}, (_table(data, x, [made]),))


SHARE = {"title": "experts resident (% of all experts)", "range": [0, 103]}


def _policy(data: Data) -> str:
    return next((str(row["run"]["scenario"]["plan"]["eviction"]) for row in data["rungs"] if row["run"]), "policy")


def _shares(data: Data) -> tuple[list[float], list[Data]]:
    every = data["bounds"]["everything"]["scenario"]["plan"]["budget_bytes"]
    rows = [row for row in data["rungs"] if row["run"]]
    return [100 * row["budget_bytes"] / max(every, 1) for row in rows], [row["run"] for row in rows]


def _table(data: Data, x: list[float], lines: list[Trace]) -> Table:
    labels = [row["label"] for row in data["rungs"] if row["run"]]
    rows = tuple((label, *(number(one["y"][i]) for one in lines)) for i, label in enumerate(labels))
    return Table(("experts resident", *(one["legendgroup"] for one in lines)), rows)
