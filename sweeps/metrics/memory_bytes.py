"""Device memory: dense weights, KV cache and the budget of experts."""

from __future__ import annotations

from simmoe.running import Run


def value(run: Run) -> int:
    return run.workload.memory.split(run.plan.budget_bytes)["total"]
