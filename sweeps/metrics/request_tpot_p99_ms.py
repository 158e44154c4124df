"""Milliseconds between the tokens of a request, percentile 99; none unless the schedule is clock-driven."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "ms"


def value(run: Run) -> float | None:
    found = run.requests
    return None if found is None or not len(found.tpot_ps) else found.to_json()["tpot_ms"]["p99"]
