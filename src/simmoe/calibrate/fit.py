"""From samples to the constants of the laws in simulator/physics: pure functions of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, exp, log
from typing import NamedTuple

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.simulator.physics.gemm import soft_excess_ps

FACTORS = (0.02, 20.0)  # where a constant for a user's own measurement is searched


class Line(NamedTuple):
    """seconds = fixed_s + bytes / bytes_per_s."""

    fixed_s: float
    bytes_per_s: float


def line(sizes: Sequence[int], seconds: Sequence[float], least: float = 0.0) -> Line:
    """Least squares of the relative error; the fixed part is not below `least` nor above the shortest time."""
    t, s = np.asarray(seconds, float), np.asarray(sizes, float)
    columns = np.stack((1 / t, s / t), axis=1)
    fixed, slope = np.linalg.lstsq(columns, np.ones(len(t)), rcond=None)[0]
    if not least <= fixed <= 0.9 * t.min() or slope <= 0:
        fixed = min(max(fixed if slope > 0 else least, least), 0.9 * t.min())
        slope = float(((1 - fixed / t) * (s / t)).sum() / ((s / t) ** 2).sum())
    return Line(float(fixed), float(1 / slope))


class Transfer(NamedTuple):
    """A link: latency, best rate, and the share of it that each size reaches."""

    latency_s: float
    bytes_per_s: float
    shares: tuple[tuple[int, float], ...]


def transfer(sizes: Sequence[int], seconds: Sequence[float]) -> Transfer:
    """latency + bytes / (rate x share of that size) meets each time; the latency is that of the best straight line."""
    latency = line(sizes, seconds).fixed_s
    reached = [size / (took - latency) for size, took in zip(sizes, seconds)]
    best = max(reached)
    return Transfer(latency, best, tuple((size, round(rate / best, 4)) for size, rate in zip(sizes, reached)))


class Roof(NamedTuple):
    """A unit's FLOP rate, and how softly it meets the memory's."""

    flops_per_s: float
    softness: float


def roof(
    tokens: Sequence[int], seconds: Sequence[float], matrix_bytes: int, flops_per_token: float, memory: Line
) -> Roof:
    """The FLOP rate and exponent p of simulator.physics.gemm that meet the times of a product of one matrix with n tokens.

    A search over p; for each, one over the rate, from the best that was seen up to twice that.
    """
    read_ps = round(matrix_bytes / memory.bytes_per_s * 1e12)
    flops = [n * flops_per_token for n in tokens]
    seen = max(f / t for f, t in zip(flops, seconds))

    def error(rate: float, p: float) -> float:
        total = 0.0
        for work, took in zip(flops, seconds):
            compute_ps = round(work / rate * 1e12)
            ps = max(read_ps, compute_ps) + soft_excess_ps(read_ps, compute_ps, p)
            total += log((memory.fixed_s + ps / 1e12) / took) ** 2
        return total

    found = []
    for p in np.geomspace(1, 32, 41).tolist():
        rate = minimum(lambda rate, p=p: error(rate, p), seen, 2 * seen)  # type: ignore[misc]
        found.append((error(rate, p), rate, p))
    _, rate, p = min(found)
    return Roof(rate, round(p, 2))


def minimum(error: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is least, by thirds, to 0.01 %."""
    while high / low > 1.0001:
        third = (high - low) / 3
        if error(low + third) < error(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2


class Shared(NamedTuple):
    """B and w of simulator.physics.unified."""

    bytes_per_s: float
    bytes_per_loaded_byte: int


def shared(own: float, beside: float, load: float, natural: int) -> Shared:
    """B and w for which a unit that reads at `own` alone reads at `beside` while loads run: min(own, B - w load).

    natural: bytes of memory traffic per loaded byte by the way the load is made; w is more where loads cost the unit more.
    """
    w = max(natural, ceil((own - beside) / load - 1e-9))
    return Shared(min(beside, own) + w * load, w)


def factor(speed: Callable[[float], float], wanted: float) -> float:
    """The factor on bandwidths at which a rising `speed` is `wanted`, to 0.01 %. Raises UserError where none is."""
    low, high = FACTORS
    slowest, fastest = speed(low), speed(high)
    if not slowest < wanted < fastest:
        raise UserError(
            f"no one factor on the bandwidths explains tok_s={wanted:g}: × {low:g} gives {slowest:.3g} and × {high:g} gives "
            f"{fastest:.3g}; look at launch times, FLOP rates, the trace and the budget"
        )
    while high / low > 1.0001:
        middle = exp((log(low) + log(high)) / 2)
        low, high = (middle, high) if speed(middle) < wanted else (low, middle)
    return exp((log(low) + log(high)) / 2)
