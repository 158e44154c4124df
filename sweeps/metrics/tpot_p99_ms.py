"""Milliseconds per output token, percentile 99 of the decode passes."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "ms"


def value(run: Run) -> float | None:
    return run.tpot_ms(99)
