"""A comparison as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from simmoe.play import cautions
from simmoe.play.money import Money
from simmoe.play.plan import memory_of
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid, only
from simmoe.show.legend import legend
from simmoe.show.screen import Screen
from simmoe.simulator.units import nbytes
from simmoe.sweeps.comparison import Comparison
from simmoe.sweeps.row import Row
from simmoe.sweeps.show_order import show_order

RANGE, OWN, COST_RANGE = "range", "options", "its range"
COLUMNS = (
    Column("machine", text=True), Column(OWN, 13, text=True), Column("trace", text=True), Column("policy", text=True),
    Column("experts resident", 8), Column("memory", 4), Column("tok/s"), Column(RANGE), Column("ratio", 6), Column("prompt tok/s", 6),
    Column("TTFT first", 7), Column("TTFT later", 10), Column("TPOT p95", 9), Column("hit rate", 2), Column("waiting", 5),
    Column("bound by", 5, text=True), Column(show.ENERGY, 12), Column("price", 3),
)  # fmt: skip


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
    grid = _table(comparison)
    out.table(grid)
    for number, row in enumerate(rows, 1):
        if row.run is None:
            out.print(f"Row {number}, {row.workload.hw.name}: {row.why_not}")
    for line in _starts(comparison):
        out.print(line)
    for line in _prices(comparison):
        out.print(line)
    currency = comparison.accounts.currency
    of_cost = {
        f"per 1000 {currency}": f"per 1000 {currency}: tok/s",
        COST_RANGE: "its range: at the ends of that of tok/s",
    }
    out.print(legend(grid, of_cost))
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
            yield line if len(numbers) == len(rows) else f"Row {', '.join(map(str, numbers))}: {line}"


def _text(row: Row) -> str:
    router = row.workload.trace.meta.get("router")
    beyond = show.extras(row.run.workload, row.run.plan) if row.run else ""
    model = f"model {row.workload.memory.what}, {show.played(row.workload)}{beyond}, {row.workload.kv_for}"
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
        which = "Every row" if len(same) == len(played) else f"Row {', '.join(map(str, same))}"
        yield f"{which} starts {show.started(start)}. {show.empty_slots(list(same.values()))}"


def _prices(comparison: Comparison) -> Iterator[str]:
    """Where the prices come from, and by what a token's cost is reckoned."""
    accounts = comparison.accounts
    said = dict[str, str]()
    for row in comparison.rows:
        if row.price:
            of = ", ".join(filter(None, (row.price.condition, row.price.date)))
            said[row.workload.hw.name] = (
                f"{row.workload.hw.name} {row.price.money}{f' {of}' * bool(of)}: {row.price.source}"
            )
    if said:
        mixed = accounts.currency is None
        yield (
            f"Prices of the profiles: {'; '.join(said.values())}"
            + "; a rate such as --exchange EUR=1.08USD compares them" * mixed
        )
    for one, other in list(accounts.exchange)[::2]:
        yield f"Exchange: 1 {one} = {accounts.exchange[one, other]:g} {other}"
    if accounts.kwh and accounts.life_s and accounts.used:
        years, kwh = accounts.life_s / 86_400 / 365.25, f"{accounts.kwh.amount:g} {accounts.kwh.currency}/kWh"
        yield (
            f"A million decoded tokens cost the price over {years:.3g} years, {accounts.used:.3g} of them spent on decoding, and energy at "
            f"{kwh}. Idle hours and prompts are left out"
        )
        yield from _without_cost(comparison)


def _without_cost(comparison: Comparison) -> Iterator[str]:
    """Which figures of a machine are missing for what a token costs there."""
    ran = {row.workload.hw.name: row for row in comparison.rows if row.run}
    rules = (
        ("no price, which --set price=… gives", [name for name, row in ran.items() if row.price is None]),
        ("no figures of power", [n for n, row in ran.items() if row.price and comparison.per_million(row) is None]),
        ("no energy per byte: ≤ reckons with the most that it may draw",
         [n for n, row in ran.items() if (cost := comparison.per_million(row)) and cost.at_most]),
    )  # fmt: skip
    yield from (f"{', '.join(names)}: the profile states {why}" for why, names in rules if names)


def _table(comparison: Comparison) -> Grid:
    currency = comparison.accounts.currency
    money = (Column(f"per 1000 {currency}", 4), Column(f"{currency} per M tokens", 1), Column(COST_RANGE, 11))
    rows = tuple(tuple(_cells(row, comparison)) for row in comparison.rows)
    grid = show.known_energy(Grid((*COLUMNS, *money), rows))
    empty = {column.name for i, column in enumerate(grid.columns) if all(row[i] in ("–", "") for row in grid.rows)}
    gone = empty & {RANGE, OWN, "prompt tok/s", "price", *(column.name for column in money)}
    return only(grid, [i for i, column in enumerate(grid.columns) if column.name not in gone])


def _cells(row: Row, comparison: Comparison) -> Iterator[str]:
    yield from (row.workload.hw.name, row.own or "–", row.trace, row.eviction)
    yield from _speeds(row, comparison) if row.run else ("does not run", *["–"] * 12)
    price, currency = comparison.accounts.price(row.workload.hw), comparison.accounts.currency
    money = row.price and (row.price.money if price is None else Money(round(price), str(currency)))
    yield str(money or "–")
    cost = comparison.per_million(row)
    yield show.number(comparison.per_1000(row))
    at_most = "≤ " * bool(cost and cost.at_most)
    yield "–" if cost is None else f"{at_most}{cost.amount:.3g}"
    yield "–" if cost is None else f"{cost.low:.3g}–{cost.high:.3g}"


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
