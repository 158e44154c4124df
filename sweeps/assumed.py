"""What a space assumes about money: how long a machine serves, for what share of that time, what energy costs. None has a default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simmoe.play.money import Exchange, Money, converted, exchange_of, per_kwh
from simmoe.simulator.errors import UserError

KEYS = ("life", "used", "power_price", "exchange")
DAYS = {"y": 365.25, "d": 1.0}  # of a life
_TIME = re.compile(r"\s*([0-9]{1,4}(?:\.[0-9]{1,4})?)\s*([yd])\s*")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")


@dataclass(frozen=True)
class Assumed:
    """The keys of a space; None where it does not say. currency: of every amount; None: each machine's own."""

    life_s: float | None = None
    used: float | None = None
    power_price: Money | None = None  # of a kWh
    exchange: Exchange = field(default_factory=dict)
    currency: str | None = None

    def amount(self, money: Money, at: str = "price") -> float:
        """In the currency of the space. Raises UserError where it says no rate."""
        wanted = self.currency or money.currency
        if money.currency != wanted and (money.currency, wanted) not in self.exchange:
            raise UserError(
                f"{at}: {money} is to be compared with {wanted}, and the space gives no rate; add the key exchange, such as "
                f"{money.currency}=1.08{wanted} with the rate of the day"
            )
        return converted(money, wanted, self.exchange)


def read(data: Mapping[str, Any], where: str) -> Assumed:
    """What the keys of a space say. Raises UserError."""
    power = per_kwh(data["power_price"], f"{where}: power_price") if "power_price" in data else None
    return Assumed(
        _life_s(data["life"], f"{where}: life") if "life" in data else None,
        _share(data["used"], f"{where}: used") if "used" in data else None,
        power,
        exchange_of(data.get("exchange", ()), f"{where}: exchange"),
        power and power.currency,
    )


def _life_s(value: Any, at: str) -> float:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None or float(found[1]) == 0:
        raise UserError(f"{at}: {value!r} is no time of use; write it in years or days, like 3y or 400d")
    return float(found[1]) * DAYS[found[2]] * 86_400


def _share(value: Any, at: str) -> float:
    found = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or not 0 < float(found[1]) <= 100:
        raise UserError(f"{at}: {value!r} is no share of the time; write it like 25%")
    return float(found[1]) / 100
