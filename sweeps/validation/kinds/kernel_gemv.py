"""One matrix times one vector: launch + bytes / bandwidth (simulator/physics/gemv.py). A row says `bytes`; microseconds."""

from __future__ import annotations

from collections.abc import Sequence

from simmoe.simulator.physics.gemv import gemv_ps
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import relative_line

LAUNCH, RATE = "launch, us", "bandwidth, GB/s"


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    launch, per_byte = relative_line(
        [number(row.facts, "bytes", row.id) for row in rows], [row.measured for row in rows]
    )
    return {LAUNCH: launch, RATE: 1e-3 / per_byte}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    rate, launch = round(constants[RATE] * 1e9), round(constants[LAUNCH] * 1e6)
    return [gemv_ps(int(number(row.facts, "bytes", row.id)), rate, launch) / 1e6 for row in rows]
