"""Device memory: dense weights, KV cache, the budget of experts and prefetch buffers."""

from __future__ import annotations

from simmoe.play.result import Run

UNIT = "B"


def value(run: Run) -> int:
    return run.memory_bytes["total"]
