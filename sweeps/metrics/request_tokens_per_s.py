"""Tokens of all requests per second, from the first arrival to the last end; none unless the schedule is clock-driven."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "tok/s"


def value(run: Run) -> float | None:
    found = run.requests
    return None if found is None else found.to_json()["tokens_per_s"]
