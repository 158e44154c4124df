"""Estimated mean power of the board in decode, of machines whose profile has the figures."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "W"


def value(run: Run) -> float | None:
    return None if run.energy is None else float(run.energy["decode_watts"])
