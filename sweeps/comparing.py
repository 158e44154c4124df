"""What a comparison is asked beside the options of a run, each declared once: rows of their own, what a token costs, an axis.

Nothing here imports numpy, so that --help starts at once.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from simmoe.play.kinds import Kind
from simmoe.play.money import exchange_of, per_kwh
from simmoe.play.options import checked, declared, option
from simmoe.simulator.errors import UserError

ROWS, COST, ORDER = "rows", "cost of tokens", "where the order changes"
DAYS = {"y": Fraction("365.25"), "d": Fraction(1)}  # of a life


@dataclass(frozen=True)
class Row(Kind):
    """Options of a run by name."""

    def check(self, value: Any, where: str) -> Any:
        if isinstance(value, Mapping) and value:
            return dict(value)
        raise UserError(
            f"{where}: {reprlib.repr(value)} are no options of a run by name; write them like {{'hw': 'm4_max'}}"
        )


@dataclass(frozen=True)
class Life(Kind):
    """A time of use in years or days."""

    def check(self, value: Any, where: str) -> str:
        seconds_of(value, where)
        return str(value)


@dataclass(frozen=True)
class Share(Kind):
    """A percentage of a time."""

    def check(self, value: Any, where: str) -> str:
        share_of(value, where)
        return str(value)


@dataclass(frozen=True)
class PerKwh(Kind):
    """What a kWh costs."""

    def check(self, value: Any, where: str) -> str:
        per_kwh(value, where)
        return str(value)


@dataclass(frozen=True)
class Rate(Kind):
    """An exchange rate."""

    def check(self, value: Any, where: str) -> str:
        exchange_of([value], where)
        return str(value)


def seconds_of(text: Any, where: str = "--life") -> float:
    """Seconds of "3y" or "400d". Raises UserError."""
    found = re.fullmatch(r"\s*([0-9]{1,4}(?:\.[0-9]{1,4})?)\s*([yd])\s*", text) if isinstance(text, str) else None
    if found is None or not Fraction(found[1]):
        raise UserError(f"{where}: {reprlib.repr(text)} is no time of use; write it in years or days, like 3y or 400d")
    return float(Fraction(found[1]) * DAYS[found[2]] * 86_400)


def share_of(text: Any, where: str = "--used") -> float:
    """ "20%" as .2. Raises UserError."""
    found = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*", text) if isinstance(text, str) else None
    if found is None or not 0 < Fraction(found[1]) <= 100:
        raise UserError(
            f"{where}: {reprlib.repr(text)} is no share of the time; write it above 0% and up to 100%, like 20%"
        )
    return float(Fraction(found[1]) / 100)


@dataclass(frozen=True)
class Comparing:
    """What a comparison is asked beside the options of a run."""

    row: tuple[Mapping[str, Any], ...] = option(
        Row(), (), group=ROWS, metavar="'OPTIONS'", several=True,
        help="a machine with options of its own, such as '--hw m4_max --runtime llama_cpp_metal'; they stand in place of those outside, "
        "which hold for all rows",
    )  # fmt: skip
    over: tuple[str, ...] = option(
        Kind(), (), group=ORDER, metavar="AXIS[=LOW..HIGH]", several=True,
        help="from which budget, batch, context or other number of a run, or from which figure of the machines such as link.bandwidth, "
        "another machine is the fastest. 2:link.bandwidth changes that of row 2 alone; batch=1,2,4 names the values",
    )  # fmt: skip
    life: str | None = option(
        Life(), None, group=COST, metavar="TIME",
        help="how long a machine is used, such as 3y or 400d: with --used and --power-price, what a million decoded tokens cost",
    )  # fmt: skip
    used: str | None = option(
        Share(), None, group=COST, metavar="PERCENT", help="in which share of its life it decodes, such as 20%"
    )
    power_price: str | None = option(
        PerKwh(), None, group=COST, metavar="PRICE", help="what energy costs, such as 0.30EUR/kWh"
    )
    exchange: tuple[str, ...] = option(
        Rate(), (), group=COST, metavar="RATE", several=True,
        help="for prices in several currencies, such as USD=0.92EUR: one dollar is .92 euros, and all amounts are shown in euros",
    )  # fmt: skip


EXTRA = declared(Comparing)


def asked(values: Mapping[str, Any]) -> Comparing:
    """What is asked, by name. Raises UserError for a value that cannot be."""
    return Comparing(**checked(EXTRA, values))
