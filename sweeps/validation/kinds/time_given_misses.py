"""Milliseconds of a forward pass when the number of loads is given: everything else + misses x bytes / rate of the link.

Tests the link's law alone: no cache is simulated. Misses of a pass come from the logged hit rate, which counts the prefill
pass of every prompt too: setting prompts, layers, top_k, prefill_experts (experts that a prefill touches in a layer); a row may
give its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from simmoe.simulator.physics.link import transfer_ps
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import line

ELSE, RATE = "everything else, ms", "link, GB/s"


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    rest, per_miss = line([misses(case, row) for row in rows], [row.measured for row in rows])
    return {ELSE: rest, RATE: number(case.setting, "expert_bytes", case.name) / per_miss / 1e6}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    size = int(number(case.setting, "expert_bytes", case.name))
    load_ms = transfer_ps(size, round(constants[RATE] * 1e9), 0) / 1e9
    return [constants[ELSE] + misses(case, row) * load_ms for row in rows]


def misses(case: Case, row: Row) -> float:
    """Loads of a mean forward pass."""
    facts = {**case.setting, **row.facts}
    prompts, layers, top_k, prefill = (
        number(facts, key, row.id) for key in ("prompts", "layers", "top_k", "prefill_experts")
    )
    passes = number(row.facts, "passes", row.id)
    asked = ((passes - prompts) * layers * top_k + prompts * layers * prefill) / passes
    return (1 - number(row.facts, "hit_rate", row.id)) * asked
