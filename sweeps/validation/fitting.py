"""Least squares with numpy alone: a straight line, and Gauss-Newton with damping for what must be simulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
STEP = 1e-3  # of the logarithm of a constant, for its derivative
CLOSE = 1e-5  # a smaller step ends the search
ROUNDS = 12


def line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """a, b of y = a + b x."""
    columns = np.stack([np.ones(len(xs)), np.asarray(xs, float)], 1)
    a, b = np.linalg.lstsq(columns, np.asarray(ys, float), rcond=None)[0]
    return float(a), float(b)


def relative_line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """a, b of y = a + b x with the least sum of squared relative errors."""
    y = np.asarray(ys, float)
    columns = np.stack([1 / y, np.asarray(xs, float) / y], 1)
    a, b = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)[0]
    return float(a), float(b)


def least_squares(
    predict: Callable[[Floats], Floats], wanted: Sequence[float], start: Sequence[float], relative: bool = True
) -> Floats:
    """Positive constants x with predict(x) nearest to `wanted`; works on log x, halves steps that do not help."""
    goal, at = np.asarray(wanted, float), np.log(np.asarray(start, float))
    scale = goal if relative else np.full(len(goal), goal.mean())

    def residuals(x: Floats) -> Floats:
        return np.asarray((predict(np.exp(x)) - goal) / scale)

    now = residuals(at)
    for _ in range(ROUNDS):
        slopes = np.stack([(residuals(at + STEP * unit) - now) / STEP for unit in np.eye(len(at))], 1)
        move = np.linalg.lstsq(slopes, -now, rcond=None)[0]
        move *= min(1.0, 1.5 / float(np.abs(move).max() or 1.0))
        if np.abs(move).max() < CLOSE:
            break
        for _halving in range(6):
            then = residuals(at + move)
            if then @ then < now @ now:
                break
            move /= 2
        else:
            break
        at, now = at + move, then
    found: Floats = np.exp(at)
    return found
