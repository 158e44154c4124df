"""Perplexity of held-out text by the small trained model whose routing is played, and by what a miss rule makes of it."""

from __future__ import annotations

from simmoe.play.quality import quality_of
from simmoe.play.result import Run

STEP = 0.4  # two seeds of switch-4x8 are .395 apart (59.582 and 59.977, docs/zoo.md): less than that is no difference


def value(run: Run) -> float | None:
    ppl, changed = run.workload.trace.meta.get("proxy_ppl"), quality_of(run)
    return None if not isinstance(ppl, int | float) or changed is None else ppl * changed.ratio
