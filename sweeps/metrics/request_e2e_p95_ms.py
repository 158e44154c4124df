"""Milliseconds from a request's arrival to its last token, percentile 95; none unless the schedule is clock-driven."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "ms"


def value(run: Run) -> float | None:
    found = run.requests
    return None if found is None else found.to_json()["e2e_ms"]["p95"]
