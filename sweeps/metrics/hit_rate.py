"""Share of the distinct requests of decode passes that found their expert resident."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "share"


def value(run: Run) -> float | None:
    return run.decode.hit_rate
