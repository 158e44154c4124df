"""Machines side by side on the same traces and policies: speed, what bounds it, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from simmoe.play import advice, cautions
from simmoe.play import confidence as bands
from simmoe.play.box import joined
from simmoe.play.calling import scenario_of, takes
from simmoe.play.identity import eviction_identity
from simmoe.play.lanes import Lanes
from simmoe.play.money import price_of
from simmoe.play.plan import memory_of
from simmoe.play.result import Run, versions
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.traced import traced
from simmoe.play.workload import Workload
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid, only
from simmoe.show.legend import legend
from simmoe.show.screen import Screen
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.units import nbytes
from simmoe.simulator.version import RESULT_SCHEMA

NO_BUDGET: dict[str, Any] = {"budget": None, "memory": None}  # a bound takes none; the policies beside it keep theirs
Machine = str | Path | Hardware
Recording = str | Path | Trace


@dataclass(frozen=True)
class Row:
    """One machine, trace and policy. `run` is None where it cannot run; `why_not` then says why."""

    workload: Workload
    trace: str
    eviction: str
    run: Run | None
    why_not: str = ""
    band: bands.Band | None = None  # where a run prints one: without a trace, or under an engine

    @property
    def waiting(self) -> float | None:
        """Share of decode time in which the device waits."""
        return advice.waiting(self.run) if self.run else None

    @property
    def bound_by(self) -> str | None:
        return advice.bound_by(self.run) if self.run and self.run.tok_s else None

    @property
    def price_usd(self) -> float | None:
        price = price_of(self.workload.hw)
        return price.amount if price and price.currency == "USD" else None

    @property
    def tok_s_per_1000_usd(self) -> float | None:
        return 1000 * self.run.tok_s / self.price_usd if self.run and self.run.tok_s and self.price_usd else None


@dataclass(frozen=True)
class Comparison:
    """All rows, machine by machine in the order they were asked for."""

    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.rows)} rows, {sum(row.run is not None for row in self.rows)} ran>"

    def ratio(self, row: Row) -> float | None:
        """tok/s relative to the first row that ran."""
        base = next((other.run.tok_s for other in self.rows if other.run), None)
        return row.run.tok_s / base if base and row.run and row.run.tok_s else None

    def to_json(self) -> dict[str, Any]:
        rows = [
            {
                **row.workload.facts(), "eviction": eviction_identity(row.eviction), "why_not": row.why_not,
                "ratio_to_first": self.ratio(row), "waiting": row.waiting, "bound_by": row.bound_by, "price_usd": row.price_usd,
                "tok_s_per_1000_usd": row.tok_s_per_1000_usd, "run": row.run and row.run.to_json(),
                "range_tok_s": row.band and list(row.band.hardware),
            }
            for row in self.rows
        ]  # fmt: skip
        return {"schema": RESULT_SCHEMA, "kind": "simulated", "versions": versions(), "rows": rows}


@takes()
def compare(
    hw: Sequence[Machine] | Machine | None = None, trace: Sequence[Recording] | Recording | None = None, **options: Any
) -> Comparison:
    """Simulate every combination of `hw`, `trace` and `eviction`: each may be one or a list. The options are those of `simmoe.run`.

    budget, memory: the same for every machine; neither: each plays with what it holds.
    A combination that cannot run is a row with its reason. Raises UserError with one line for a mistake that concerns all of them.
    """
    options = joined({"hw": hw, **options})
    machines = _several("hw", options.pop("hw"))
    recordings = [None] if trace is None else _several("trace", trace)
    named = options.pop("eviction", None)
    first = scenario_of({"hw": machines[0], "trace": recordings[0], **options})
    policies = [first.eviction] if named is None else _several("eviction", named)
    for policy in policies:
        eviction_identity(OPTIONS["eviction"].checked(policy))  # a typo stops here and is no row
    opened = [replace(first, hw=machine).machine() for machine in machines]
    texts = {_named(t, i): t if t is None else traced(t, first.model) for i, t in enumerate(recordings, 1)}
    runs, rows, lanes = len(opened) * len(texts) * len(policies), [], Lanes()
    for machine, (name, loaded) in product(opened, texts.items()):
        workload = replace(first, hw=machine, set=(), trace=loaded).workload()
        rows += [_row(first, policy, workload, name, runs, lanes) for policy in policies]
    reasons = {row.why_not for row in rows}
    if len(reasons) == 1 and "" not in reasons:  # the same mistake everywhere
        raise UserError(reasons.pop())
    return Comparison(tuple(rows))


def _named(trace: Recording | None, number: int) -> str:
    """A trace as the rows name it."""
    if trace is None:
        return "drawn"
    return str(trace) if isinstance(trace, str | Path) else f"trace {number}"


def _several(option: str, given: Any) -> list[Any]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    if not values or values[0] is None:
        raise UserError(f"--{option} is missing: name at least one")
    return values


def _row(first: Scenario, policy: str, workload: Workload, trace: str, runs: int, lanes: Lanes) -> Row:
    try:
        scenario = replace(first, eviction=policy, **(NO_BUDGET if policy in BOUNDS else {}))
        plan = scenario.plan(workload)
        # several devices: the plan has found that each holds its own
        memory = memory_of(workload, plan)
        bounded = plan.device_budgets or plan.eviction in BOUNDS
        short = 0 if bounded else memory.short_by(max(plan.budget_bytes, memory.least_bytes))
        if short:
            why = f"does not fit: short by {nbytes(short)} of {nbytes(memory.usable_bytes)} usable"
            return Row(workload, trace, plan.eviction, None, why)
        lanes.join(workload)
        run = play(workload, plan, workload.engine(scenario.engine, runs=runs), lanes=lanes)
        banded = scenario.trace is None or workload.runtime is not None
        return Row(workload, trace, plan.eviction, run, band=bands.band(run) if banded else None)
    except UserError as error:
        return Row(workload, trace, policy, None, str(error))


def _notes(row: Row) -> list[str]:
    """What to know of a row; what is about its machine names it."""
    of_machine = cautions.of_machine(row.workload, row.run.plan) if row.run else cautions.about(row.workload.hw)
    others = [note for note in (row.run.notes if row.run else ()) if note not in of_machine]
    return [show.small_model(row.workload), *(f"{row.workload.hw.name}: {note}" for note in of_machine), *others]


def show_comparison(comparison: Comparison, files: list[str], out: Screen) -> None:
    rows = comparison.rows
    engines = sorted({row.run.engine for row in rows if row.run})
    machines = dict.fromkeys(row.workload.hw.title for row in rows)
    out.print(f" (engine {', '.join(engines) or 'none'}): {'; '.join(machines)}", lead="Simulated")
    for name, workload in {row.trace: row.workload for row in rows}.items():
        router = workload.trace.meta.get("router")
        model = f"model {workload.memory.what}, {show.played(workload)}{_beyond(comparison)}, {workload.kv_for}"
        out.print(f"{name}: {f'router {router}, ' if router else ''}{model}")
    out.print(show.inputs(files))
    for note in dict.fromkeys(note for row in rows for note in _notes(row) if note):
        out.print(note)
    grid = _table(comparison)
    out.table(grid)
    for number, row in enumerate(rows, 1):
        if row.run is None:
            out.print(f"Row {number}, {row.workload.hw.name}: {row.why_not}")
    for line in _starts(comparison):
        out.print(line)
    out.print(legend(grid))


def _starts(comparison: Comparison) -> list[str]:
    """How the rows started, a line for each way."""
    played = {number: row.run for number, row in enumerate(comparison.rows, 1) if row.run}
    lines = []
    for start in dict.fromkeys(run.start for run in played.values()):
        same = {number: run for number, run in played.items() if run.start == start}
        which = "Every row" if len(same) == len(played) else f"Row {', '.join(map(str, same))}"
        lines.append(f"{which} starts {show.started(start)}. {show.empty_slots(list(same.values()))}")
    return lines


def _beyond(comparison: Comparison) -> str:
    """What all rows play beyond a plain cache."""
    run = next((row.run for row in comparison.rows if row.run), None)
    return show.extras(run.workload, run.plan) if run else ""


RANGE = "range"
COLUMNS = (
    Column("machine", text=True), Column("trace", text=True), Column("policy", text=True), Column("experts resident", 8),
    Column("memory", 4), Column("tok/s"), Column(RANGE), Column("ratio", 1), Column("TTFT first", 7), Column("TTFT later", 10),
    Column("TPOT p95", 9), Column("hit rate", 2), Column("waiting", 6), Column("bound by", 5, text=True), Column(show.ENERGY, 12),
    Column("price", 11), Column("per 1000 USD", 3),
)  # fmt: skip


def _table(comparison: Comparison) -> Grid:
    priced = any(row.price_usd for row in comparison.rows)
    columns = COLUMNS if priced else COLUMNS[:-2]
    rows = []
    for row in comparison.rows:
        cells = (row.workload.hw.name, row.trace, row.eviction, *_cells(row, comparison), *_price(row))
        rows.append(cells[: len(columns)])
    grid = show.known_energy(Grid(columns, tuple(rows)))
    if any(row.band for row in comparison.rows):
        return grid
    return only(grid, [i for i, column in enumerate(grid.columns) if column.name != RANGE])


def _cells(row: Row, comparison: Comparison) -> list[str]:
    if row.run is None:
        return ["does not run", *["–"] * 11]
    run, budget = row.run, row.run.plan.budget_bytes
    ratio, rate, tpot = comparison.ratio(row), run.decode.hit_rate, run.tpot_ms(95)
    bound = (row.bound_by or "–").removeprefix("bound by ").split(":")[0]
    ends = "–" if row.band is None else "–".join(map(show.number, row.band.hardware))
    return [
        f"{memory_of(row.workload, run.plan).share(budget):.1%} ({nbytes(budget)})",
        nbytes(run.memory_bytes["total"]), show.number(run.tok_s), ends, "–" if ratio is None else f"{ratio:.3g}",
        show.seconds(run.ttft_s["first"]), show.seconds(run.ttft_s["later"]), show.seconds(None if tpot is None else tpot / 1e3),
        "–" if rate is None else f"{rate:.2%}", "–" if row.waiting is None else f"{row.waiting:.1%}", bound, show.joules(run),
    ]  # fmt: skip


def _price(row: Row) -> tuple[str, str]:
    price = "–" if row.price_usd is None else f"{row.price_usd:,.0f} USD"
    return price, show.number(row.tok_s_per_1000_usd)
