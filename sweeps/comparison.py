"""What a comparison gives: a row for each machine, trace, policy or set of options, and what they are as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simmoe.play.identity import eviction_identity
from simmoe.play.result import versions
from simmoe.play.tabular import Record, Tabular
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps.cost import Accounts, Cost
from simmoe.sweeps.order import Order
from simmoe.sweeps.row import Row


@dataclass(frozen=True, repr=False)
class Comparison(Tabular):
    """All rows, in the order in which they were asked for."""

    brief = ("hw", "own", "trace", "eviction", "tok_s", "tok_s_low", "tok_s_high", "prompt_tok_s", "ttft_first_s", "memory_bytes", "price",
             "currency", "tok_s_per_1000", "cost_per_m_tokens", "bound_by", "why_not")  # fmt: skip

    rows: tuple[Row, ...]
    accounts: Accounts
    orders: tuple[Order, ...] = ()  # along the axes that were asked for

    def title(self) -> str:
        return f"Simulated: {len(self.rows)} rows side by side, {sum(row.run is not None for row in self.rows)} of which run"

    def records(self) -> list[Record]:
        """A row for each; tok_s_low and tok_s_high: its range. Amounts are in `currency`."""
        played = next((row.run.records()[0] for row in self.rows if row.run), {"kind": "simulated"})
        return [self._record(row, dict.fromkeys(played)) for row in self.rows]

    def _record(self, row: Row, blank: Record) -> Record:
        run = blank | row.workload.choices() | {"kind": "simulated"} if row.run is None else row.run.records()[0]
        low, high = row.band.hardware if row.band else (None, None)
        price, cost = row.price, self.per_million(row)
        return {
            **run, "own": row.own or None, "trace": row.trace, "eviction": row.eviction, "tok_s_low": low, "tok_s_high": high,
            "ratio": self.ratio(row), "bound_by": row.bound_by, "price": price and price.amount, "currency": price and price.currency,
            "tok_s_per_1000": self.per_1000(row), "cost_per_m_tokens": cost and cost.amount, "command": row.command,
            "why_not": row.why_not or None,
        }  # fmt: skip

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
            "rows": [self._row(row) for row in self.rows], "over": [order.to_json() for order in self.orders],
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
