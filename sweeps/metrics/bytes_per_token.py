"""Bytes loaded per decoded token."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "B"


def value(run: Run) -> float | None:
    return run.bytes_per_token
