"""Estimated energy for each decoded token, of machines whose profile has the figures."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "J"


def value(run: Run) -> float | None:
    return None if run.energy is None else float(run.energy["joules_per_token"])
