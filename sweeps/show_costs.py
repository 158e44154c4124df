"""What the machines of a comparison and their tokens cost, as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from simmoe.play.money import Money, of_parts
from simmoe.show.grid import Column, Grid, with_values
from simmoe.show.screen import Screen
from simmoe.show.tables import number
from simmoe.sweeps.comparison import Comparison
from simmoe.sweeps.row import Row


def show_costs(comparison: Comparison, out: Screen) -> None:
    """A table and where its figures come from; nothing where no machine has a price and no cost was asked."""
    if any(row.price for row in comparison.rows):
        out.print()
        out.table(_table(comparison))
    for line in _said(comparison):
        out.print(line)


def _table(comparison: Comparison) -> Grid:
    currency = comparison.accounts.currency
    named = (
        Column("machine", text=True),
        Column("options", 4, text=True),
        Column("trace", text=True),
        Column("policy", text=True),
    )
    money = (Column(f"per 1000 {currency}"), Column(f"{currency} per M tokens"), Column("its range"))
    rows = tuple(tuple(_cells(row, comparison)) for row in comparison.rows)
    grid = Grid((*named, Column("price"), Column("tok/s"), *money), rows)
    return with_values(grid, {"options", *(column.name for column in money)})


def _cells(row: Row, comparison: Comparison) -> Iterator[str]:
    yield from (row.workload.hw.name, row.own or "–", row.trace, row.eviction)
    price, currency = comparison.accounts.price(row.workload.hw), comparison.accounts.currency
    yield str((row.price and (row.price.money if price is None else Money(round(price), str(currency)))) or "–")
    yield number(row.run.tok_s if row.run else None)
    yield number(comparison.per_1000(row))
    cost = comparison.per_million(row)
    at_most = "≤ " * bool(cost and cost.at_most)
    yield "–" if cost is None else f"{at_most}{cost.amount:.3g}"
    yield "–" if cost is None else f"{cost.low:.3g}–{cost.high:.3g}"


def _said(comparison: Comparison) -> Iterator[str]:
    """Where the prices come from, and by what a token's cost is reckoned."""
    accounts = comparison.accounts
    said = dict[str, str]()
    for row in comparison.rows:
        if row.price:
            of = ", ".join(filter(None, (row.price.condition, row.price.date)))
            said[row.workload.hw.name] = (
                f"{row.workload.hw.name} {row.price.money}{f' {of}' * bool(of)}: {row.price.source}"
            )
    if any(comparison.per_1000(row) for row in comparison.rows):
        yield f"per 1000 {accounts.currency}: tok/s."
    if said:
        mixed = accounts.currency is None
        yield (
            f"Prices of the profiles: {'; '.join(said.values())}"
            + "; a rate such as --exchange EUR=1.08USD compares them" * mixed
        )
    if part := of_parts({row.workload.hw.name: row.price for row in comparison.rows}):
        yield part
    for one, other in list(accounts.exchange)[::2]:
        yield f"Exchange: 1 {one} = {accounts.exchange[one, other]:g} {other}"
    if accounts.kwh and accounts.life_s and accounts.used:
        years, kwh = accounts.life_s / 86_400 / 365.25, f"{accounts.kwh.amount:g} {accounts.kwh.currency}/kWh"
        yield (
            f"A million decoded tokens cost the price over {years:.3g} years, {accounts.used:.3g} of them spent on decoding, and energy at "
            f"{kwh}. Idle hours and prompts are left out; its range is that of tok/s"
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
