"""What a million decoded tokens cost: the machine over its life at the share of it that is used, and energy."""

from __future__ import annotations

from simmoe.play.money import price_of
from simmoe.play.result import Run
from simmoe.sweeps.assumed import Assumed

UNIT, NEEDS = "money", ("life", "used", "power_price")
JOULES_PER_KWH = 3.6e6


def value(run: Run, assumed: Assumed) -> float | None:
    price, energy, a = price_of(run.workload.hw), run.energy, assumed
    if price is None or energy is None or not run.tok_s:
        return None
    if a.life_s is None or a.used is None or a.power_price is None:
        return None
    machine = a.amount(price.money) / (a.life_s * a.used * run.tok_s)
    power = energy["joules_per_token"] / JOULES_PER_KWH * a.amount(a.power_price)
    return 1e6 * float(machine + power)
