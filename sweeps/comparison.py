"""What a comparison gives: a row for each machine, trace, policy or set of options, and what they are as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from simmoe.play import advice
from simmoe.play.confidence import Band
from simmoe.play.identity import eviction_identity
from simmoe.play.money import Price, price_of
from simmoe.play.result import Run, versions
from simmoe.play.workload import Workload
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps.cost import Accounts, Cost


@dataclass(frozen=True)
class Row:
    """One machine, trace and policy. `run` is None where it cannot run; `why_not` then says why."""

    workload: Workload
    trace: str
    eviction: str
    run: Run | None
    why_not: str = ""
    band: Band | None = None
    own: str = ""  # options that are of this row alone, as the command line writes them; its machine left out
    command: str | None = None  # the `simmoe run` that gives the same; None where an input was no name

    @property
    def waiting(self) -> float | None:
        """Share of decode time in which the device waits."""
        return advice.waiting(self.run) if self.run else None

    @property
    def bound_by(self) -> str | None:
        return advice.bound_by(self.run) if self.run and self.run.tok_s else None

    @cached_property
    def price(self) -> Price | None:
        return price_of(self.workload.hw)


@dataclass(frozen=True)
class Comparison:
    """All rows, in the order in which they were asked for."""

    rows: tuple[Row, ...]
    accounts: Accounts

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.rows)} rows, {sum(row.run is not None for row in self.rows)} ran>"

    def ratio(self, row: Row) -> float | None:
        """tok/s relative to the first row that ran."""
        base = next((other.run.tok_s for other in self.rows if other.run), None)
        return row.run.tok_s / base if base and row.run and row.run.tok_s else None

    def per_1000(self, row: Row) -> float | None:
        """tok/s for 1000 units of the currency."""
        return self.accounts.per_1000(row.run) if row.run else None

    def per_million(self, row: Row) -> Cost | None:
        """What a million decoded tokens cost."""
        return self.accounts.per_million(row.run, row.band) if row.run else None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": RESULT_SCHEMA, "kind": "simulated", "versions": versions(), "money": self.accounts.to_json(),
            "rows": [self._row(row) for row in self.rows],
        }  # fmt: skip

    def _row(self, row: Row) -> dict[str, Any]:
        price, run, band = row.price, row.run, row.band
        cost, per_1000 = self.per_million(row), self.per_1000(row)
        dollars = price is not None and price.currency == self.accounts.currency == "USD"
        return {
            **row.workload.facts(), "title": row.workload.hw.title, "eviction": eviction_identity(row.eviction), "own": row.own,
            "command": row.command, "why_not": row.why_not, "ratio_to_first": self.ratio(row), "waiting": row.waiting,
            "bound_by": row.bound_by, "price": price and price.to_json(),
            "price_usd": price.amount if price and price.currency == "USD" else None,
            "tok_s_per_1000_usd": per_1000 if dollars else None, "tok_s_per_1000": per_1000,
            "cost_per_million_tokens": cost and cost._asdict(), "run": run and run.to_json(),
            "range_tok_s": band and list(band.hardware),
            "range_prompt_tok_s": list(band.prompt) if band and band.prompt else None,
        }  # fmt: skip
