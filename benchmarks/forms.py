"""Which form of what an engine costs carries from machine to machine: fits on the rows of the table of absolute speed, one machine left out.

    python -m benchmarks.forms [--seed 1]

Prints errors (|predicted / measured - 1| of the speed) first by machine, then over machines, for the form that simmoe plays and for plainer
ones beside it, and the constants of each family with the range that resampled machines give.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from benchmarks import form_pieces as fp
from simmoe.simulator.physics import kernels as law
from simmoe.sweeps.validation.absolute import rows as table
from simmoe.sweeps.validation.absolute import shapes
from simmoe.sweeps.validation.absolute.rows import Row

Floats = npt.NDArray[np.float64]
Predict = Callable[[Floats, Row], float]  # constants, row -> tok/s


@cache
def asked(row: Row, fused: bool) -> fp.Pieces:
    return fp.pieces(row, fp.FUSED if fused else fp.PLAIN)


def of(row: Row) -> fp.Pieces:
    return asked(row, is_fused(row.build, "CUDA" in row.engine))


FUSED_SINCE = {True: 6840, False: 7600}  # CUDA: ggml-org/llama.cpp pull request 16715, 2025-10-26; else the first build of 2026


def is_fused(build: str, cuda: bool) -> bool:
    """Whether a build launches the fused kernels: by llama.cpp's number, or by its date."""
    if number := re.search(r"build (\d+)|\((\d+)\)", build):
        return int(number[1] or number[2]) > FUSED_SINCE[cuda]
    return not build.startswith(("2024", "2025", "early 2025", "main 2025"))


# --- fitting ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """Constants by name with where the search begins; `fixed` ones are not fitted."""

    name: str
    start: dict[str, float]
    predict: Predict
    fixed: tuple[str, ...] = ()


def error(predicted: float, row: Row) -> float:
    return abs(predicted / row.measured - 1)


def loss(form: Form, x: Floats, rows: Sequence[Row]) -> float:
    """Mean over machines of the mean |log| error, so that a machine with many rows does not outweigh the others."""
    by: dict[str, list[float]] = {}
    for row in rows:
        by.setdefault(row.machine, []).append(abs(float(np.log(form.predict(x, row) / row.measured))))
    return float(np.mean([np.mean(one) for one in by.values()]))


def fit(form: Form, rows: Sequence[Row]) -> Floats:
    """Nelder and Mead (1965) over the logarithms of the constants, from the start and once more from where it ended."""
    names = list(form.start)
    free = [i for i, name in enumerate(names) if name not in form.fixed]
    best = np.log(np.array([form.start[name] for name in names]))

    def cost(y: Floats) -> float:
        x = best.copy()
        x[free] = y
        return loss(form, np.exp(x), rows) + 1e-3 * float(np.abs(x - centre).sum())

    centre = best.copy()
    for spread in (0.35, 0.1):
        best[free] = _simplex(cost, best[free], spread)
    return np.exp(best)


def _simplex(cost: Callable[[Floats], float], start: Floats, spread: float, steps: int = 220) -> Floats:
    points = [start, *(start + spread * np.eye(len(start))[i] for i in range(len(start)))]
    values = [cost(point) for point in points]
    for _ in range(steps):
        order = np.argsort(values)
        points, values = [points[i] for i in order], [values[i] for i in order]
        middle = np.mean(points[:-1], axis=0)
        tries = [middle + a * (points[-1] - middle) for a in (-1.0, -2.0, 0.5, -0.5)]
        first = cost(tries[0])
        if first < values[0]:
            second = cost(tries[1])
            points[-1], values[-1] = (tries[1], second) if second < first else (tries[0], first)
        elif first < values[-2]:
            points[-1], values[-1] = tries[0], first
        else:
            inner = min(((cost(one), i) for i, one in enumerate(tries[2:], 2)), key=lambda pair: pair[0])
            if inner[0] < values[-1]:
                points[-1], values[-1] = tries[inner[1]], inner[0]
            else:
                points = [points[0], *(points[0] + 0.5 * (one - points[0]) for one in points[1:])]
                values = [values[0], *(cost(one) for one in points[1:])]
    return points[int(np.argmin(values))]


def left_out(form: Form, rows: Sequence[Row], key: Callable[[Row], str] = lambda row: row.machine) -> dict[str, float]:
    """Prediction of each row by id, from the rows of other machines."""
    found = {}
    for one in sorted({key(row) for row in rows}):
        x = fit(form, [row for row in rows if key(row) != one])
        found |= {row.id: form.predict(x, row) for row in rows if key(row) == one}
    return found


def summary(rows: Sequence[Row], predicted: dict[str, float]) -> tuple[int, int, float, float]:
    """Rows, machines, and mean and median over machines of the mean error of each. In percent."""
    by: dict[str, list[float]] = {}
    for row in rows:
        by.setdefault(row.machine, []).append(error(predicted[row.id], row))
    each = [100 * float(np.mean(one)) for one in by.values()]
    return sum(map(len, by.values())), len(by), float(np.mean(each)), float(np.median(each))


# --- decode on a device ---------------------------------------------------------------------------------------------------


def device_s(row: Row, floor_us: float, share: float, per_clock: float | None) -> float:
    one, gpu = of(row), fp.DEVICES[row.gpu]
    rate = law.read_bytes_per_s(gpu.peak, share, per_clock, gpu.processors, gpu.clock)
    return one.kernels * law.kernel_s(floor_us * 1e-6, gpu.clock) + one.device_bytes / rate + one.kv_bytes / (share * gpu.peak)


def decode_form(x: Floats, row: Row) -> float:
    return 1 / device_s(row, x[0], x[1], x[2])


def decode_unbound(x: Floats, row: Row) -> float:
    return 1 / device_s(row, x[0], x[1], None)


def ideal(row: Row) -> float:
    one, gpu = of(row), fp.DEVICES[row.gpu]
    return 0.85 * gpu.peak / (one.device_bytes + one.kv_bytes)


def per_layer(x: Floats, row: Row) -> float:
    return 1 / (1 / ideal(row) + of(row).layers * x[0] * 1e-6)


def efficiency(x: Floats, row: Row) -> float:
    return ideal(row) * x[0]


# --- experts on the CPU ---------------------------------------------------------------------------------------------------


def cpu_form(rest: Sequence[float]) -> Predict:
    def predict(x: Floats, row: Row) -> float:
        one = of(row)
        device = device_s(row, *rest) if row.gpu else 0.0
        rate = x[1] * fp.HOSTS[row.host]
        return 1 / (device + one.cpu_layers * x[0] * 1e-6 + (one.cpu_bytes + one.cpu_kv_bytes) / rate)

    return predict
