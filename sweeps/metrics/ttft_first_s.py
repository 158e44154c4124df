"""Seconds to the first token of the first sequence that is timed whole."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "s"


def value(run: Run) -> float | None:
    return run.ttft_s["first"]
