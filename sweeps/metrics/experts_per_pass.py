"""Mean number of distinct experts of an MoE layer that a pass that decodes asks for; none unless the schedule is clock-driven."""

from __future__ import annotations

from simmoe.play.result import Run


def value(run: Run) -> float | None:
    found = run.requests
    return None if found is None else found.experts[1]
