"""Seconds to the first token, median of the later sequences."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "s"


def value(run: Run) -> float | None:
    return run.ttft_s["later"]
