"""What an engine on the CPU stands on: products of weights of 4 bits with one token, by threads, and the clock of a core.

Weights lie as such engines lay them: blocks of 32 with one scale, and 32 rows side by side, so that one instruction multiplies a weight
of each row. A product multiplies whole numbers within a block and adds blocks as floats. That is our own kernel, and no engine is run.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy import float32, int16, uint64

from simmoe.calibrate.backend import COLUMNS, cores
from simmoe.calibrate.fit import CACHES
from simmoe.calibrate.rows import Row, timed_row
from simmoe.calibrate.sampling import repeat, timed

LANES, BLOCK, HALF = 32, 32, 16  # rows side by side; weights of a row that have one scale
BYTES = HALF + 2  # of a block of one row: two weights in a byte, and the scale
STEPS = 2_000_000  # of the chain that tells the clock
PER_STEP = 2  # operations of a step, of which each waits for the one before and takes one cycle on cores of today


def product(weights, scales, token, token_scales, out):  # type: ignore[no-untyped-def]
    """out[group, lane] += row · token. weights[group, block, 16, lane]: weight i of a block in the low half of byte i, weight i + 16 in
    the high half, each plus 8. 32 products of a weight and a number of 8 bits fit into 16 bits."""
    groups, blocks, _, lanes = weights.shape
    for group in range(groups):
        for block in range(blocks):
            at, beside = uint64(group), uint64(block)
            for lane in range(lanes):
                total, row = int16(0), uint64(lane)
                for i in range(HALF):  # known to the compiler, so that it keeps the sums of all lanes in registers
                    two = int16(weights[at, beside, uint64(i), row])
                    low, high = int16(token[beside, uint64(i)]), int16(token[beside, uint64(i + HALF)])
                    first = int16(int16(int16(two & int16(15)) - int16(8)) * low)
                    second = int16(int16(int16(two >> int16(4)) - int16(8)) * high)
                    total = int16(total + int16(first + second))
                out[at, row] += float32(total) * float32(scales[at, beside, row]) * token_scales[beside]


def chain(steps, value, one, other):  # type: ignore[no-untyped-def]
    """An addition and an exclusive or, again and again: no compiler can shorten it, no core can do two of them at a time."""
    for _ in range(steps):
        value = (value + one) ^ other
    return value


def compiled() -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Both kernels; None where numba is not installed."""
    try:
        from numba import njit
    except ImportError:
        return None
    return njit(fastmath=True, nogil=True)(product), njit(nogil=True)(chain)


def draw(groups: int, blocks: int) -> tuple[Any, ...]:
    """Random weights and scales, a random token with its scales, and place for the result."""
    generator = np.random.default_rng(0)
    weights = generator.integers(0, 256, (groups, blocks, HALF, LANES), np.uint8)
    scales = generator.integers(1, 2**15, (groups, blocks, LANES), np.int16)
    token = generator.integers(-127, 128, (blocks, BLOCK), np.int8)
    token_scales = generator.random(blocks, np.float32)
    return weights, scales, token, token_scales, np.zeros((groups, LANES), np.float32)


def rows(cache_bytes: int, seconds: float) -> list[Row]:
    """One token with weights that no cache holds, by threads, and a chain of operations. Nothing without numba."""
    kernels = compiled()
    if kernels is None:
        return []
    multiply, count = kernels
    counts = sorted({1, *(2**n for n in range(1, 9) if 2**n < cores()), cores()})
    share, blocks = seconds / (len(counts) + 1), COLUMNS // BLOCK
    groups = -(-CACHES * cache_bytes // (BYTES * LANES * blocks))
    drawn = draw(groups, blocks)
    found = [_by_threads(multiply, drawn, threads, share) for threads in counts]
    numbers = (np.uint64(STEPS), np.uint64(1), np.uint64(12345), np.uint64(99999))
    times = repeat(lambda: timed(lambda: count(*numbers)), share)
    return [*found, timed_row("clock", times, cycles=STEPS * PER_STEP)]


def _by_threads(multiply: Callable[..., Any], drawn: tuple[Any, ...], threads: int, seconds: float) -> Row:
    weights, scales, token, token_scales, out = drawn
    parts = [np.array_split(one, threads) for one in (weights, scales, out)]
    calls = [(*two, token, token_scales, into) for *two, into in zip(*parts)]
    with ThreadPoolExecutor(threads) as pool:
        times = repeat(lambda: timed(lambda: list(pool.map(lambda call: multiply(*call), calls))), seconds)
    return timed_row("quantised", times, threads=threads, bytes=weights.size // (HALF) * BYTES)
