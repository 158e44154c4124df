"""Price of the machine as its profile says: in its own currency, or in that of the space (docs/spaces.md#prices)."""

from __future__ import annotations

from simmoe.play.money import price_of
from simmoe.play.result import Run
from simmoe.sweeps.assumed import Assumed

UNIT, NEEDS = "money", ()


def value(run: Run, assumed: Assumed) -> float | None:
    price = price_of(run.workload.hw)
    return None if price is None else assumed.amount(price.money)
