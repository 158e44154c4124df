"""When the requests of a clock-driven run arrive."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import accumulate, count, islice

import numpy as np

from simmoe.play.arrival_file import times_ps
from simmoe.play.load_words import FILE, joined_process
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.player import splitmix64
from simmoe.simulator.errors import LATEST_PS, UserError, too_long

SECOND_PS = 10**12
STEP = 0x9E3779B97F4A7C15  # of SplitMix64: a seed moved by n of them is n outputs ahead
DRAWN = 1024  # numbers at a time


def arrival_ps(arrivals: str | None, n: int, seed: int, rate: str | None = None) -> Ints:
    """Of n requests, in whole picoseconds; all at 0 where neither a process nor a rate is said. Raises UserError."""
    process = joined_process(arrivals, rate)
    if process is None:
        return np.zeros(n, np.int64)
    if process.how == FILE:
        found = _stretched(times_ps(str(arrivals), n), process.per_s, str(arrivals))
    else:
        assert process.per_s is not None
        found = PROCESSES[process.how](n, SECOND_PS / process.per_s, process.figures, shares(seed))
    if found[-1] > LATEST_PS:
        raise too_long()
    return np.array(found, np.int64)


def _stretched(times_ps: list[int], per_s: Fraction | None, file: str) -> list[int]:
    """The timestamps of a file, at another mean rate where one is said: so many from the first to the last, which counts no more. Raises
    UserError where no time lies between them."""
    if per_s is None:
        return times_ps
    if not times_ps[-1]:
        how = "all come at once" if len(times_ps) > 1 else "only one comes"
        raise UserError(
            f"--rate stretches the time between the requests of a file, and of {file} {how}: leave the file or the rate out, or play more "
            "with --tokens or --requests"
        )
    factor = Fraction((len(times_ps) - 1) * SECOND_PS, times_ps[-1]) / per_s
    return [round(at * factor) for at in times_ps]


def shares(seed: int) -> Iterator[float]:
    """Numbers inside 0 … 1: the upper 53 bits of the outputs of SplitMix64."""
    for block in count():
        high, low = (part.tolist() for part in splitmix64((seed + block * DRAWN * STEP) % 2**64, DRAWN))
        yield from (((up << 21) + (down >> 11) + 0.5) / 2**53 for up, down in zip(high, low))


Figures = Mapping[str, Fraction]


def _every(n: int, gap_ps: Fraction, figures: Figures, drawn: Iterator[float]) -> list[int]:
    return [round(i * gap_ps) for i in range(n)]


def _poisson(n: int, gap_ps: Fraction, figures: Figures, drawn: Iterator[float]) -> list[int]:
    """Exponential gaps."""
    return list(accumulate(round(-math.log(share) * float(gap_ps)) for share in islice(drawn, n)))


def _gamma(n: int, gap_ps: Fraction, figures: Figures, drawn: Iterator[float]) -> list[int]:
    """Gaps of a gamma distribution whose shape is the burstiness: their variance is the square of their mean, divided by it."""
    shape = float(figures["burstiness"])
    return list(accumulate(round(_of_shape(shape, drawn) / shape * float(gap_ps)) for _ in range(n)))


def _of_shape(shape: float, drawn: Iterator[float]) -> float:
    """Of a gamma distribution with scale 1 (Marsaglia and Tsang, 2000)."""
    if shape < 1:
        return math.pow(next(drawn), 1 / shape) * _of_shape(shape + 1, drawn)
    d = shape - 1 / 3
    while True:
        normal = math.sqrt(-2 * math.log(next(drawn))) * math.cos(2 * math.pi * next(drawn))
        v = (1 + normal / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(next(drawn)) < normal**2 / 2 + d - d * v + d * math.log(v):
            return d * v


def _onoff(n: int, gap_ps: Fraction, figures: Figures, drawn: Iterator[float]) -> list[int]:
    """A Poisson process whose clock stands still while it is off."""
    on, off = int(figures["on"]), int(figures["off"])
    return [at + at // on * off for at in _poisson(n, gap_ps * on / (on + off), figures, drawn)]


PROCESSES: dict[str, Callable[[int, Fraction, Figures, Iterator[float]], list[int]]] = {
    "every": _every, "poisson": _poisson, "gamma": _gamma, "onoff": _onoff,
}  # fmt: skip
