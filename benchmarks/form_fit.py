"""Fits the constants of a form to measured rows, by itself or with one machine after the other left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simmoe.sweeps.validation.absolute.rows import Row

Floats = npt.NDArray[np.float64]
Predict = Callable[[Floats, Row], float]  # constants, row -> tok/s
Key = Callable[[Row], str]
PULL = 1e-3  # towards where the search began: keeps a constant in place that no row asks for


@dataclass(frozen=True)
class Form:
    """Constants by name with where the search begins; `fixed` ones are not fitted."""

    name: str
    start: dict[str, float]
    predict: Predict
    fixed: tuple[str, ...] = ()


def machine(row: Row) -> str:
    return row.machine


def error(predicted: float, row: Row) -> float:
    """Share of the measured speed."""
    return abs(predicted / row.measured - 1)


def by_machine(rows: Sequence[Row], value: Callable[[Row], float], key: Key = machine) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(value(row))
    return found


def loss(form: Form, x: Floats, rows: Sequence[Row]) -> float:
    """Mean over machines of the mean |log| error, so that a machine with many rows does not outweigh the others."""
    logs = by_machine(rows, lambda row: abs(float(np.log(form.predict(x, row) / row.measured))))
    return float(np.mean([np.mean(one) for one in logs.values()]))


def fit(form: Form, rows: Sequence[Row]) -> Floats:
    """Nelder and Mead (1965) over the logarithms of the constants, from the start and once more from where that ended."""
    centre = np.log(np.array(list(form.start.values())))
    best = centre.copy()
    free = [i for i, name in enumerate(form.start) if name not in form.fixed]

    def cost(y: Floats) -> float:
        x = centre.copy()
        x[free] = y
        return loss(form, np.exp(x), rows) + PULL * float(np.abs(x - centre).sum())

    for spread in (0.35, 0.1) if free else ():
        best[free] = _simplex(cost, best[free], spread)
    return np.exp(best)


def _simplex(cost: Callable[[Floats], float], start: Floats, spread: float, steps: int = 220) -> Floats:
    points = [start, *(start + spread * one for one in np.eye(len(start)))]
    values = [cost(point) for point in points]
    for _ in range(steps):
        order = np.argsort(values)
        points, values = [points[i] for i in order], [values[i] for i in order]
        points, values = _step(cost, points, values)
    return points[int(np.argmin(values))]


def _step(
    cost: Callable[[Floats], float], points: list[Floats], values: list[float]
) -> tuple[list[Floats], list[float]]:
    """Reflects the worst point, or stretches, or draws in; shrinks all towards the best where that helps nothing."""
    middle = np.mean(points[:-1], axis=0)

    def tried(a: float) -> tuple[float, Floats]:
        point = middle + a * (points[-1] - middle)
        return cost(point), point

    found = tried(-1.0)
    if found[0] < values[0]:
        found = min(found, tried(-2.0), key=lambda one: one[0])
    elif found[0] >= values[-2]:
        found = min(tried(0.5), tried(-0.5), key=lambda one: one[0])
    if found[0] < values[-1]:
        return [*points[:-1], found[1]], [*values[:-1], found[0]]
    points = [points[0], *(points[0] + 0.5 * (one - points[0]) for one in points[1:])]
    return points, [values[0], *(cost(one) for one in points[1:])]


def without(form: Form, rows: Sequence[Row], key: Key = machine) -> dict[str, Floats]:
    """For each machine the constants that the rows of all others give."""
    return {one: fit(form, [row for row in rows if key(row) != one]) for one in sorted({key(row) for row in rows})}


def left_out(form: Form, rows: Sequence[Row], key: Key = machine) -> dict[str, float]:
    """Prediction of each row by id, from the rows of other machines."""
    constants = without(form, rows, key)
    return {row.id: form.predict(constants[key(row)], row) for row in rows}


def ranges(
    form: Form, rows: Sequence[Row], seed: int, draws: int = 20, key: Key = machine
) -> list[tuple[float, float]]:
    """Lowest and highest constant of nine in ten fits to machines that are drawn with replacement."""
    names, rng = sorted({key(row) for row in rows}), np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = [names[i] for i in rng.integers(len(names), size=len(names))]
        found.append(fit(form, [row for one in drawn for row in rows if key(row) == one]))
    low, high = np.quantile(np.array(found), [0.05, 0.95], axis=0)
    return list(zip(map(float, low), map(float, high)))


def summary(rows: Sequence[Row], predicted: dict[str, float], key: Key = machine) -> str:
    """Rows and machines; mean and median over machines of the mean error of each; the same over rows. In percent."""
    each = [
        100 * float(np.mean(one)) for one in by_machine(rows, lambda row: error(predicted[row.id], row), key).values()
    ]
    rows_errors = [100 * error(predicted[row.id], row) for row in rows]
    return (f"{len(rows):3} rows {len(each):2} machines  {np.mean(each):5.1f} / {np.median(each):5.1f}"
            f"   by row {np.mean(rows_errors):5.1f} / {np.median(rows_errors):5.1f}")  # fmt: skip
