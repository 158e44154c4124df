"""Repeated timing and what is kept of it: the median, and the 10 % and 90 % quantiles as the range."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

QUANTILES = (0.1, 0.5, 0.9)


class Spread(NamedTuple):
    """Quantiles of some samples."""

    low: float
    median: float
    high: float
    n: int


def spread(samples: Sequence[float]) -> Spread:
    low, median, high = (float(x) for x in np.quantile(samples, QUANTILES))
    return Spread(low, median, high, len(samples))


def repeat(once: Callable[[], float], seconds: float, least: int = 5) -> list[float]:
    """What `once` returns, again and again for `seconds`; the first call warms up. Slow calls end it early, with two at least."""
    once()
    start, found = time.perf_counter(), list[float]()
    while True:
        found.append(once())
        elapsed = time.perf_counter() - start
        if len(found) >= 2 and elapsed >= seconds * (1 if len(found) >= least else 3):
            return found


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
