"""Share of the requests that are served as quickly as ttft and tpot of the scenario ask for; none where they ask for nothing."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "share"


def value(run: Run) -> float | None:
    found = run.requests
    return found.goodput.share if found and found.goodput else None
