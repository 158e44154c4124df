"""From medians to the constants of the laws in simulator/physics: pure functions of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log
from typing import NamedTuple

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.simulator.physics.gemm import soft_excess_ps
from simmoe.simulator.units import nbytes

CACHES = 4  # a product tells the memory's rate if it reads so many times the last-level cache
NEAR = 0.1  # relative error up to which a law describes its points: they count as measured, else as fitted
SMALL = 0.05  # share of a transfer's time from which its latency counts
SOFTNESS = (1.0, 32.0)  # where the exponent is searched


class Fitted(NamedTuple):
    """One constant of a law, where it would lie for single points, and how far the law is from all of them."""

    value: float
    low: float
    high: float
    ratios: tuple[float, float]  # smallest and largest of predicted / measured

    @property
    def kind(self) -> str:
        """measured, or fitted where the law does not describe every point."""
        return "measured" if self.ratios[0] >= 1 - NEAR and self.ratios[1] <= 1 + NEAR else "fitted"


class Point(NamedTuple):
    """The median time of a product or copy of some bytes."""

    bytes: int
    seconds: float


def out_of_cache(points: Sequence[Point], cache_bytes: int) -> Point:
    """The point with the best rate among those that read 4 times the last-level cache. Raises UserError where there is none."""
    large = [point for point in points if point.bytes >= CACHES * cache_bytes]
    if not large:
        most = max((point.bytes for point in points), default=0)
        raise UserError(
            f"no product reads {nbytes(CACHES * cache_bytes)}, {CACHES} times the last-level cache; the largest reads {nbytes(most)}, "
            "which the cache may answer: measure a larger one"
        )
    return max(large, key=lambda point: point.bytes / point.seconds)


def fixed(points: Sequence[Point], bytes_per_s: float, least: float) -> Fitted:
    """What a product costs beside its bytes: the median over those that spend half of their time on it, or that of the smallest.

    least: seconds of what does nothing.
    """
    if not points:
        raise UserError("no product of one token that was issued eager: the launch is not known")
    small = [point for point in points if 2 * point.bytes / bytes_per_s <= point.seconds] or [min(points)]
    left = [max(least, seconds - size / bytes_per_s) for size, seconds in small]
    value = float(np.median(left))
    ratios = [(value + size / bytes_per_s) / seconds for size, seconds in points]
    return Fitted(value, min(left), max(left), (min(ratios), max(ratios)))


def line(points: Sequence[Point]) -> tuple[float, float]:
    """seconds = fixed + bytes / rate, least squares of the relative error; the fixed part is from 0 to 90 % of the shortest time."""
    s, t = (np.asarray(values, float) for values in zip(*points))
    columns = np.stack((1 / t, s / t), axis=1)
    start, slope = np.linalg.lstsq(columns, np.ones(len(t)), rcond=None)[0]
    if not 0 <= start <= 0.9 * t.min() or slope <= 0:
        start = min(max(start if slope > 0 else 0.0, 0.0), 0.9 * t.min())
        slope = float(((1 - start / t) * (s / t)).sum() / ((s / t) ** 2).sum())
    return float(start), float(1 / slope)


class Transfer(NamedTuple):
    """A link: latency, best rate, and the share of it that each size reaches."""

    latency: Fitted
    bytes_per_s: float
    shares: tuple[tuple[int, float], ...]


def transfer(points: Sequence[Point], least: float = 0.0) -> Transfer:
    """latency + bytes / (rate x share of that size) meets each time. least: seconds that every such path needs to start.

    The rate is that of the size with the best bytes per second. A latency taken off small transfers must not make them faster than
    that, or the link would be faster than anything that was seen: so it ends where a straight line through a small transfer and
    the best one begins.
    """
    start, _ = line(points)
    size, seconds = max(points, key=lambda point: point.bytes / point.seconds)
    small = [point for point in points if point.bytes < size and start > SMALL * point.seconds]
    begins = [max(0.0, (size * t - s * seconds) / (size - s)) for s, t in small]
    latency = max(min([start, *begins]), min(least, 0.9 * min(point.seconds for point in points)))
    rate = size / (seconds - latency)
    ratios = [(latency + s / rate) / t for s, t in points]
    ends = [latency, *begins]
    shares = tuple((s, round(min(1.0, s / (t - latency) / rate), 4)) for s, t in points)
    return Transfer(Fitted(latency, min(ends), max(ends), (min(ratios), max(ratios))), rate, shares)


def softness(
    times: Sequence[tuple[int, float]],
    matrix_bytes: int,
    flops_per_token: float,
    bytes_per_s: float,
    flops_per_s: float,
) -> Fitted | None:
    """The exponent p of simulator.physics.gemm that meets (tokens, seconds) of one matrix; None where the times do not bound it.

    Its range is what comes out without any one of the times.
    """
    memory = matrix_bytes / bytes_per_s

    def seconds(tokens: int, start: float, p: float) -> float:
        read_ps, compute_ps = (round(x * 1e12) for x in (memory, tokens * flops_per_token / flops_per_s))
        return start + (max(read_ps, compute_ps) + soft_excess_ps(read_ps, compute_ps, p)) / 1e12

    start = max(0.0, min(took for _, took in times) - memory)

    def best(some: Sequence[tuple[int, float]]) -> float:
        found = [(sum(log(seconds(n, start, p) / took) ** 2 for n, took in some), p) for p in grid]
        return min(found)[1]

    grid: list[float] = np.geomspace(*SOFTNESS, 61).round(2).tolist()
    p, without = best(times), [best([*times[:k], *times[k + 1 :]]) for k in range(len(times))]
    if {grid[0], grid[-1]} & {p, *without}:
        return None
    ratios = [seconds(n, start, p) / took for n, took in times]
    return Fitted(p, min(p, *without), max(p, *without), (min(ratios), max(ratios)))


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
