"""Prices, limits on them, and exchange rates. Amounts of different currencies are compared only at a rate that the user gives."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import UNITS, parse, unit_of

CURRENCIES = tuple(UNITS["price"])
_AMOUNT = r"\s*([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{3})\s*"
_RATE = re.compile(r"\s*([A-Za-z]{3})\s*=" + _AMOUNT)
_PART = re.compile(r"(?:(?:[0-9]+ x )?[0-9.]+ [A-Z]{3}: )?the (card|module) alone\b")
_EACH = re.compile(r"; (?=(?:\S+ )?[0-9.]+ [A-Z]{3}: )")  # between parts that have a price each
_PER_KWH = re.compile(_AMOUNT + r"/\s*kWh\s*")

Exchange = Mapping[tuple[str, str], float]  # (from, to) -> how much of the second currency one of the first is


class Money(NamedTuple):
    """An amount in a currency, such as 2000.0 and "EUR"."""

    amount: float
    currency: str

    def __str__(self) -> str:
        return f"{self.amount:,.2f}".removesuffix(".00") + f" {self.currency}"


@dataclass(frozen=True)
class Price:
    """What a machine costs, as its profile says."""

    amount: float
    currency: str
    condition: str | None  # new or used; None: the profile does not say
    date: str | None  # YYYY, YYYY-MM or YYYY-MM-DD; None: the profile does not say
    source: str

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def part(self) -> str:
        """The card or the module that it buys, where that is no whole machine; empty for one, and where the source does not say."""
        found = [_PART.match(one) for one in _EACH.split(self.source)]
        return found[0][1] if found[0] and all(found) else ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def price_of(hw: Hardware) -> Price | None:
    """The price of the machine; None where its profile states none."""
    found = hw.figures.get("price")
    if found is None:
        return None
    currency = unit_of(found.text)
    return Price(found.value / UNITS["price"][currency], currency, found.condition, found.date, found.source)


def unsaid(hw: Hardware) -> str:
    """What the price of a machine leaves open, in a sentence; empty where it leaves nothing open, or there is none."""
    price = price_of(hw)
    if price is None or (price.date and price.condition):
        return ""
    open_ends = (
        (price.date, "when it was asked", 'date: "2025-11", as far as it is known'),
        (price.condition, "of a new or a used machine", "condition: new, or used"),
    )
    missing = [(what, fix) for said, what, fix in open_ends if not said]
    says, fixes = (" and ".join(words) for words in zip(*missing))
    return f"price: {price.money} does not say {says}; add {fixes}"


def of_parts(prices: Mapping[str, Price | None]) -> str:
    """Which machines have the price of a part of them, in a sentence; empty where none has. prices: by the machine's name."""
    known = {name: price for name, price in prices.items() if price}
    parts = {name: price.part for name, price in known.items() if price.part}
    if not parts:
        return ""
    beside = ", beside prices of whole machines" * (len(parts) < len(known))
    what = " or ".join(f"the {part} alone" for part in sorted(set(parts.values())))
    return f"{', '.join(parts)}: the price is that of {what}{beside}; --set price=… says what a whole machine costs."


def limit(text: str, where: str = "--price") -> Money:
    """The amount of "2000 EUR". Raises UserError."""
    spaced = re.sub(r"(?<=[0-9])(?=[A-Za-z])", " ", text) if isinstance(text, str) else text
    value = parse(spaced, "price", where)
    if value == 0:
        raise UserError(f"{where}: {text!r} buys nothing; give an amount above 0, such as 2000EUR")
    currency = unit_of(spaced)
    return Money(value / UNITS["price"][currency], currency)


def per_kwh(text: str, where: str = "--power-price") -> Money:
    """What a kWh costs: "0.30EUR/kWh". Raises UserError."""
    found = _PER_KWH.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise UserError(f"{where}: {reprlib.repr(text)} is no price of energy; write it like 0.30EUR/kWh")
    return Money(float(found[1]), _currency(found[2], where))


def exchange_of(rates: Iterable[str], where: str = "--exchange") -> Exchange:
    """Rates such as "EUR=1.08USD", one euro is 1.08 dollars, in both directions. Raises UserError."""
    known = dict[tuple[str, str], float]()
    for rate in (rates,) if isinstance(rates, str) else rates:
        found = _RATE.fullmatch(rate) if isinstance(rate, str) else None
        if found is None or float(found[2]) == 0:
            raise UserError(f"{where}: {reprlib.repr(rate)} is no exchange rate; write it like EUR=1.08USD")
        one, other = (_currency(word, where) for word in (found[1], found[3]))
        if one == other or (one, other) in known:
            why = f"{one} is the same on both sides" if one == other else f"{one} and {other} have a rate already"
            raise UserError(f"{where}: {reprlib.repr(rate)}: {why}; give one rate for each pair of currencies")
        known[one, other], known[other, one] = float(found[2]), 1 / float(found[2])
    return known


def sample_rate(one: str, other: str) -> str:
    """How a rate between two currencies is written."""
    return "EUR=1.08USD" if {one, other} == {"EUR", "USD"} else f"{one}=RATE{other}"


def converted(money: Money, currency: str, exchange: Exchange) -> float:
    """The amount in another currency. Raises UserError where no rate is given."""
    if money.currency == currency:
        return money.amount
    rate = exchange.get((money.currency, currency))
    if rate is None:
        raise UserError(
            f"{money} is in another currency than {currency}, and no rate is given; add one, such as "
            f"--exchange {sample_rate(money.currency, currency)} with the rate of the day"
        )
    return money.amount * rate


def meets(price: Price | None, most: Money, exchange: Exchange) -> bool:
    """Whether a machine costs at most that; one without a price does not meet a limit. Raises UserError for an unknown rate."""
    return price is not None and converted(price.money, most.currency, exchange) <= most.amount


def _currency(word: str, where: str) -> str:
    if word not in CURRENCIES:
        raise UserError(f"{where}: unknown currency {word!r}; known: {', '.join(CURRENCIES)}")
    return word
