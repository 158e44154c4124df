"""A comparison as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from simmoe.play import cautions
from simmoe.play.plan import memory_of
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid, with_values
from simmoe.show.legend import legend
from simmoe.show.screen import Screen
from simmoe.simulator.units import nbytes
from simmoe.sweeps.comparison import Comparison
from simmoe.sweeps.row import Row
from simmoe.sweeps.show_costs import show_costs
from simmoe.sweeps.show_order import show_order

RANGE, OWN = "range", "options"
COLUMNS = (
    Column("machine", text=True), Column(OWN, 13, text=True), Column("trace", text=True), Column("policy", text=True),
    Column("experts resident", 8), Column("memory", 4), Column("tok/s"), Column(RANGE), Column("ratio", 6), Column("prompt tok/s", 3),
    Column("TTFT first", 7), Column("TTFT later", 10), Column("TPOT p95", 9), Column("hit rate", 2), Column("waiting", 5),
    Column("bound by", 4, text=True), Column(show.ENERGY, 11),
)  # fmt: skip
OF_DEVICES = (Column("over fabric", 1), Column("busiest", 1), Column("fullest", 1))


def show_comparison(comparison: Comparison, files: list[str], out: Screen) -> None:
    rows = comparison.rows
    engines = sorted({row.run.engine for row in rows if row.run})
    machines = dict.fromkeys(row.workload.hw.title for row in rows)
    out.print(f" (engine {', '.join(engines) or 'none'}): {'; '.join(machines)}", lead="Simulated")
    for line in _texts(comparison):
        out.print(line)
    out.print(show.inputs(files))
    for note in dict.fromkeys(note for row in rows for note in _notes(row) if note):
        out.print(note)
    for line in _of_other_rows(comparison):
        out.print(line)
    columns = out.table(_table(comparison))
    for number, row in enumerate(rows, 1):
        if row.run is None:
            out.print(f"Row {number}, {row.workload.hw.name}: {row.why_not}")
    for line in _starts(comparison):
        out.print(line)
    out.print(legend(columns))
    show_costs(comparison, out)
    for order in comparison.orders:
        show_order(order, [row.workload.hw.name for row in rows], out)


def _texts(comparison: Comparison) -> Iterator[str]:
    """What is played: model, how much of which trace, under which engine."""
    rows = dict(enumerate(comparison.rows, 1))
    said = {number: _text(row) for number, row in rows.items()}
    engines = {number: show.of_runtime(row.workload) for number, row in rows.items() if row.workload.runtime}
    for lines in (said, engines):
        for line in dict.fromkeys(lines.values()):
            numbers = [number for number, one in lines.items() if one == line]
            yield line if len(numbers) == len(rows) else f"{_numbered(numbers)}: {line}"


def _text(row: Row) -> str:
    workload = row.run.workload.begun if row.run else row.workload
    router = workload.trace.meta.get("router")
    beyond = show.extras(workload, row.run.plan) if row.run else ""
    model = f"model {workload.memory.what}, {show.played(workload)}{beyond}, {workload.kv_for}"
    return f"{row.trace}: {f'router {router}, ' if router else ''}{model}"


def _notes(row: Row) -> list[str]:
    """What to know of a row; what is about its machine names it."""
    of_machine = cautions.of_machine(row.workload, row.run.plan) if row.run else cautions.about(row.workload.hw)
    others = [note for note in (row.run.notes if row.run else ()) if note not in of_machine]
    return [show.small_model(row.workload), *(f"{row.workload.hw.name}: {note}" for note in of_machine), *others]


def _starts(comparison: Comparison) -> Iterator[str]:
    """How the rows started, a line for each way."""
    played = {number: row.run for number, row in enumerate(comparison.rows, 1) if row.run}
    for start in dict.fromkeys(run.start for run in played.values()):
        same = {number: run for number, run in played.items() if run.start == start}
        which = (
            "Every row starts" if len(same) == len(played) else f"{_numbered(list(same))} start{'s' * (len(same) == 1)}"
        )
        yield f"{which} {show.started(start)}. {show.empty_slots(list(same.values()))}"


def _of_other_rows(comparison: Comparison) -> Iterator[str]:
    """Whether rows of one trace are timed on different parts of it."""
    for trace in dict.fromkeys(row.trace for row in comparison.rows):
        counted = {row.workload.counted and row.workload.counted.rows for row in comparison.rows if row.trace == trace}
        if len(counted) > 1:
            yield (
                f"Rows that count the first tokens of {trace} play the others alone: their speeds are of another part of it than the "
                "rest, and no ratio to them; let all rows leave the same tokens out, such as --placement round_robin:first=50%"
            )


def _numbered(numbers: list[int]) -> str:
    return f"Row{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _table(comparison: Comparison) -> Grid:
    rows = tuple((*_cells(row, comparison), *_of_devices(row), *show.request_cells(row.run)) for row in comparison.rows)
    alike = len({row.workload.hw.name for row in comparison.rows}) < len(rows)  # then options tell rows apart
    columns = (replace(column, rank=0) if alike and column.name == OWN else column for column in COLUMNS)
    grid = Grid((*columns, *OF_DEVICES, *show.OF_REQUESTS), rows)
    return with_values(grid, {RANGE, OWN, "prompt tok/s", *show.NOT_ALWAYS, *(column.name for column in OF_DEVICES)})


def _of_devices(row: Row) -> Iterator[str]:
    """What several devices send each other, how evenly they are used, and how full the fullest is."""
    found = row.run.crossing if row.run else None
    if row.run is None or found is None:
        yield from ("–",) * len(OF_DEVICES)
        return
    yield nbytes(round(found.bytes_per_token))
    yield f"{found.imbalance:.2f}"
    yield f"{max(one['memory_bytes']['total'] / one['capacity_bytes'] for one in row.run.devices()):.0%}"


def _cells(row: Row, comparison: Comparison) -> Iterator[str]:
    yield from (row.workload.hw.name, row.own or "–", row.trace, row.eviction)
    yield from _speeds(row, comparison) if row.run else ("does not run", *["–"] * 12)


def _speeds(row: Row, comparison: Comparison) -> Iterator[str]:
    run = row.run
    assert run is not None
    budget, ratio, rate, tpot = run.plan.budget_bytes, comparison.ratio(row), run.decode.hit_rate, run.tpot_ms(95)
    yield f"{memory_of(row.workload, run.plan).share(budget):.1%} ({nbytes(budget)})"
    yield nbytes(run.memory_bytes["total"])
    yield show.number(run.tok_s)
    yield "–" if row.band is None else "–".join(map(show.number, row.band.hardware))
    yield "–" if ratio is None else f"{ratio:.3g}"
    yield show.number(run.prompt_tok_s or None)
    yield from (show.seconds(run.ttft_s["first"]), show.seconds(run.ttft_s["later"]))
    yield show.seconds(None if tpot is None else tpot / 1e3)
    yield "–" if rate is None else f"{rate:.2%}"
    yield "–" if row.waiting is None else f"{row.waiting:.1%}"
    yield (row.bound_by or "–").removeprefix("bound by ").split(":")[0]
    yield show.joules(run)
