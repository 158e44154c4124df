"""A fused layer of routed experts: launch + distinct experts x bytes / bandwidth, or the FLOPs (simulator/physics/grouped.py).

A row says `tokens` and `experts` (distinct); setting: expert_bytes, top_k, flops_per_slot and flops_per_s (given); microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from simmoe.simulator.physics.grouped import grouped_ps
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import relative_line

LAUNCH, RATE = "launch, us", "bandwidth, GB/s"


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    experts = [number(row.facts, "experts", row.id) for row in rows]
    launch, per_expert = relative_line(experts, [row.measured for row in rows])
    return {LAUNCH: launch, RATE: number(case.setting, "expert_bytes", case.name) / per_expert / 1e3}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    size, top_k, flops, rate = (
        int(number(case.setting, key, case.name)) for key in ("expert_bytes", "top_k", "flops_per_slot", "flops_per_s")
    )
    launch, read = round(constants[LAUNCH] * 1e6), round(constants[RATE] * 1e9)
    return [
        grouped_ps(int(number(row.facts, "experts", row.id)), size, read, launch,
                   int(number(row.facts, "tokens", row.id)) * top_k * flops, rate) / 1e6
        for row in rows
    ]  # fmt: skip
