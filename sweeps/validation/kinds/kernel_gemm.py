"""Matrix products: launch + soft maximum of reading the weights and computing (simulator/physics/gemm.py).

A row says m, k, n; the weights are k x n. Launch and bandwidth are those of setting.hw (given, not fitted here); the rate of
the arithmetic and the softness are fitted, or those of setting.hw too when nothing is. Beside it: the roofline, a hard maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from simmoe import hardware_profiles
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware
from simmoe.simulator.physics.gemm import flops_ps, gemm_ps
from simmoe.simulator.physics.gemv import read_ps
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import Floats, least_squares

BESIDE = "hard maximum"
RATE, SOFTNESS = "arithmetic, TFLOP/s", "softness p"


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    def times(x: Floats) -> Floats:
        return np.array([_ps(case, row, x[0] * 1e12, x[1]) / _unit(case) for row in rows])

    rate, softness = least_squares(times, [row.measured for row in rows], [_rate(case) / 1e12, 2.0])
    return {RATE: float(rate), SOFTNESS: float(softness)}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    unit = _device(case)
    rate = constants[RATE] * 1e12 if constants else _rate(case)
    return [_ps(case, row, rate, constants.get(SOFTNESS, unit.softness)) / _unit(case) for row in rows]


def beside(case: Case, rows: Sequence[Row]) -> list[float]:
    return [_ps(case, row, _rate(case), None) / _unit(case) for row in rows]


def _ps(case: Case, row: Row, flops_per_s: float, softness: float | None) -> int:
    unit = _device(case)
    m, k, n = (int(number(row.facts, key, row.id)) for key in "mkn")
    read = read_ps(k * n * int(number(case.setting, "element_bytes", case.name)), unit.bytes_per_s)
    return gemm_ps(read, flops_ps(2 * m * k * n, round(flops_per_s)), softness, unit.launch_ps)


def _device(case: Case) -> ComputeUnit:
    return _machine(case.setting["hw"]).device


@cache
def _machine(name: str) -> Hardware:
    return hardware_profiles.load(name)


def _rate(case: Case) -> float:
    return _device(case).flops_per_s[case.setting["dtype"]]


def _unit(case: Case) -> float:
    return {"us": 1e6, "ms": 1e9}[case.unit]
