"""Bytes that several devices send each other, by row of all passes."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "B"


def value(run: Run) -> float:
    return 0.0 if run.crossing is None else run.crossing.bytes_per_token
