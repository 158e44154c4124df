"""Changes of a machine that one could buy: what each gives, and what it gives for its price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simmoe.play.kinds import changes
from simmoe.play.money import Money, limit
from simmoe.simulator.errors import UserError

HUNDRED = 100  # of a currency


@dataclass(frozen=True)
class Upgrade:
    """Figures that change, and what the user pays for that."""

    settings: tuple[str, ...]  # of --set
    price: Money

    def __str__(self) -> str:
        return ", ".join(self.settings)


@dataclass(frozen=True)
class Upgraded:
    """An upgrade, played."""

    upgrade: Upgrade
    command: str
    tok_s: float
    before: float  # tok/s without it

    @property
    def gain(self) -> float:
        """As a fraction of the speed without it."""
        return self.tok_s / self.before - 1

    @property
    def gain_per_hundred(self) -> float:
        """The gain for each 100 of the currency."""
        return self.gain * HUNDRED / self.upgrade.price.amount

    def to_json(self) -> dict[str, Any]:
        price = self.upgrade.price
        return {
            "set": list(self.upgrade.settings), "price": price.amount, "currency": price.currency, "command": self.command,
            "tok_s": self.tok_s, "gain": self.gain, "gain_per_100": self.gain_per_hundred,
        }  # fmt: skip


def upgrade_of(word: str, where: str = "--upgrade") -> Upgrade:
    """FIGURE=VALUE[,FIGURE=VALUE …]:PRICE. Raises UserError."""
    said, colon, price = word.rpartition(":")
    if not colon or not said.strip():
        raise UserError(
            f"{where} {word!r} is no change with a price; write FIGURE=VALUE:PRICE, such as link.bandwidth=7GB/s:150USD"
        )
    settings = tuple(part.strip() for part in said.split(","))
    changes(settings, where)
    return Upgrade(settings, limit(price, f"{where} {word!r}"))
