"""What tokens cost: the price of a machine over its life, and its energy while it decodes.

A decoded token costs price / (life x share used x tok/s) and, of energy, W x price of a kWh / tok/s. Time in which the machine does not
decode costs no energy here, prompts are free, and nothing is earned by a sale at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from simmoe.play.confidence import Band
from simmoe.play.money import Exchange, Money, converted, exchange_of, per_kwh, price_of
from simmoe.play.result import Run
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.sweeps.comparing import Comparing, seconds_of, share_of

JOULES_PER_KWH = 3_600_000
MILLION = 1_000_000


class Cost(NamedTuple):
    """What a million decoded tokens cost. low, high: at the ends of the range of tok/s. at_most: the power is the most that the board
    draws, because its profile says no more."""

    amount: float
    low: float
    high: float
    at_most: bool


@dataclass(frozen=True)
class Accounts:
    """In which currency a comparison counts, and by what a token's cost is reckoned; None where that is not asked."""

    currency: str | None  # None: no machine has a price, or they have several currencies and no rate
    exchange: Exchange
    life_s: float | None = None
    used: float | None = None
    kwh: Money | None = None

    def price(self, hw: Hardware) -> float | None:
        """In the currency of the comparison."""
        found = price_of(hw)
        return None if found is None or self.currency is None else converted(found.money, self.currency, self.exchange)

    def per_1000(self, run: Run) -> float | None:
        """tok/s for 1000 units of the currency."""
        price = self.price(run.workload.hw)
        return 1000 * run.tok_s / price if price and run.tok_s else None

    def per_million(self, run: Run, band: Band | None) -> Cost | None:
        """None where it is not asked, nothing is decoded, or price or power are not known."""
        price, speed = self.price(run.workload.hw), run.tok_s
        if self.life_s is None or self.used is None or self.kwh is None or price is None or not speed:
            return None
        watts, at_most = _watts(run)
        kwh = converted(self.kwh, str(self.currency), self.exchange)
        if watts is None and kwh:
            return None
        a_second = price / (self.life_s * self.used) + (watts or 0.0) / JOULES_PER_KWH * kwh
        slow, fast = band.hardware if band else (speed, speed)
        low, high = (MILLION * a_second / one for one in (fast, slow))
        return Cost(MILLION * a_second / speed, low, high, at_most and kwh > 0)

    def to_json(self) -> dict[str, Any]:
        rates = {f"{one}={other}": rate for (one, other), rate in self.exchange.items()}
        kwh = None if self.kwh is None else {"amount": self.kwh.amount, "currency": self.kwh.currency}
        return {"currency": self.currency, "life_s": self.life_s, "used": self.used, "per_kwh": kwh, "exchange": rates}


def _watts(run: Run) -> tuple[float | None, bool]:
    """Mean power while decoding, and whether it is only a limit."""
    if run.energy is not None:
        return run.energy["decode_watts"], False
    power = run.workload.hw.power
    return (None, False) if power is None or power.max_uw is None else (power.max_uw / 1e6, True)


def accounts(machines: Iterable[Hardware], asked: Comparing) -> Accounts:
    """Raises UserError for two currencies without a rate, and where only a part of what a token's cost needs is said."""
    exchange = exchange_of(asked.exchange)
    kwh = None if asked.power_price is None else per_kwh(asked.power_price)
    amounts = [kwh] if kwh else []
    amounts += [price.money for hw in machines if (price := price_of(hw))]
    currency = next((to for _, to in exchange), amounts[0].currency if amounts else None)
    terms = _terms(asked)
    if terms is None and not exchange and len({money.currency for money in amounts}) > 1:
        return Accounts(None, exchange)
    for money in amounts:
        converted(money, str(currency), exchange)
    life_s, used = terms or (None, None)
    return Accounts(currency, exchange, life_s, used, kwh)


def _terms(asked: Comparing) -> tuple[float, float] | None:
    """Seconds of life and the share of them that is used; None where no cost is asked. Raises UserError."""
    needed = {"--life": asked.life, "--used": asked.used, "--power-price": asked.power_price}
    missing = [flag for flag, value in needed.items() if value is None]
    if len(missing) == len(needed):
        return None
    if missing:
        said = " and ".join(missing)
        raise UserError(
            f"{said} {'is' if len(missing) == 1 else 'are'} missing: what a token costs needs --life, --used and --power-price"
        )
    return seconds_of(asked.life), share_of(asked.used)
