"""A fused layer of routed experts: launch + a soft maximum of distinct experts x bytes / bandwidth and the FLOPs
(simulator/physics/grouped.py).

A row says `tokens` and `experts` (distinct); setting: expert_bytes, top_k, flops_per_slot; microseconds. Fitted rows of the fewest
tokens give launch and bandwidth; where there are others, they give the rate of the arithmetic and the softness. Beside it: the
larger of the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simmoe import hardware_profiles
from simmoe.simulator.physics.grouped import grouped_ps
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import Floats, least_squares, relative_line

LAUNCH, RATE = "launch, us", "bandwidth, GB/s"
ARITHMETIC, SOFTNESS = "arithmetic, TFLOP/s", "softness p"
BESIDE = "hard maximum"


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    fewest = min(_count(row, "tokens") for row in rows)
    decode = [row for row in rows if _count(row, "tokens") == fewest]
    many = [row for row in rows if row not in decode]
    launch, per_expert = relative_line([_count(row, "experts") for row in decode], [row.measured for row in decode])
    line = {LAUNCH: launch, RATE: number(case.setting, "expert_bytes", case.name) / per_expert / 1e3}
    return line | (_many(case, many, line) if many else {})


def _many(case: Case, rows: Sequence[Row], line: dict[str, float]) -> dict[str, float]:
    def times(x: Floats) -> Floats:
        return np.array(predict(case, {**line, ARITHMETIC: x[0], SOFTNESS: x[1]}, rows))

    rate, softness = least_squares(times, [row.measured for row in rows], [_given(case), 2.0])
    return {ARITHMETIC: float(rate), SOFTNESS: float(softness)}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return [_us(case, constants, row, constants.get(SOFTNESS)) for row in rows]


def beside(case: Case, rows: Sequence[Row]) -> list[float]:
    return [_us(case, fit(case, [row for row in rows if row.id in case.fit]), row, None) for row in rows]


def _us(case: Case, constants: dict[str, float], row: Row, softness: float | None) -> float:
    size, top_k, flops = (
        int(number(case.setting, key, case.name)) for key in ("expert_bytes", "top_k", "flops_per_slot")
    )
    launch, read = round(constants[LAUNCH] * 1e6), round(constants[RATE] * 1e9)
    total, rate = _count(row, "tokens") * top_k * flops, round(constants.get(ARITHMETIC, _given(case)) * 1e12)
    return grouped_ps(_count(row, "experts"), size, read, launch, total, rate, softness) / 1e6


def _count(row: Row, key: str) -> int:
    return int(number(row.facts, key, row.id))


def _given(case: Case) -> float:
    """TFLOP/s of the profile."""
    return hardware_profiles.load(case.setting["hw"]).device.flops_per_s["bf16"] / 1e12
