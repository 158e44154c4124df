"""What a space assumes about money: how long a machine serves, for what share of that time, what energy costs. None has a default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simmoe.play.money import Exchange, Money, converted, exchange_of, per_kwh, sample_rate
from simmoe.simulator.errors import UserError
from simmoe.sweeps.comparing import seconds_of, share_of

KEYS = ("life", "used", "power_price", "exchange")


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
                f"{sample_rate(money.currency, wanted)} with the rate of the day"
            )
        return converted(money, wanted, self.exchange)


def read(data: Mapping[str, Any], where: str) -> Assumed:
    """What the keys of a space say. Raises UserError."""
    power = per_kwh(data["power_price"], f"{where}: power_price") if "power_price" in data else None
    return Assumed(
        seconds_of(data["life"], f"{where}: life") if "life" in data else None,
        share_of(data["used"], f"{where}: used") if "used" in data else None,
        power,
        exchange_of(data.get("exchange", ()), f"{where}: exchange"),
        power and power.currency,
    )
