"""Requests that met an empty slot: the expert was never resident since slots were last emptied."""

from __future__ import annotations

from simmoe.play.result import Run


def value(run: Run) -> float | None:
    return run.cold_misses
