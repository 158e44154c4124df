"""`simmoe.compare`: the same traces and policies on several machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simmoe.simulator.types import Hardware, ModelShape, Trace
from simmoe.sweeps.comparison import Comparison, compare_machines

__all__ = ["Comparison", "compare"]


def compare(
    hw: Sequence[str | Path | Hardware],
    trace: Sequence[str | Path | Trace],
    *,
    model: str | Path | ModelShape | None = None,
    budget: int | str | None = None,
    memory: int | str | None = None,
    eviction: Sequence[str | Path] = ("lru",),
    scope: str = "global",
    format: str | None = None,
    tokens: int | None = None,
    prefill_chunk: int | None = None,
    batch: int | None = None,
    engine: str = "auto",
) -> Comparison:
    """Simulate every combination of `hw`, `trace` and `eviction`.

    budget, memory: as for `simmoe.run`, the same for every machine; neither: each plays with what it holds. prefill_chunk, batch: as for
    `simmoe.run`.
    A combination that cannot run is a row with its reason. Raises UserError with one line for a mistake that concerns all of them.
    """
    return compare_machines(
        hw, trace, model=model, budget=budget, memory=memory, eviction=eviction, scope=scope, format=format, tokens=tokens,
        prefill_chunk=prefill_chunk, batch=batch, engine=engine,
    )  # fmt: skip
