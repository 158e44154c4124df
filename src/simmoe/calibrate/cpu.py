"""Which measurements a CPU needs: products by threads and number format, their best rate, plain reads of memory, and copies."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from simmoe.calibrate.backend import COLUMNS, Call, Numpy, cores
from simmoe.calibrate.fit import CACHES
from simmoe.calibrate.rows import WIDTH, Row, timed_row
from simmoe.calibrate.sampling import repeat, timed
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import nbytes

SIZES = (2**14, 2**20, 2**22, 2**24)  # bytes of the small matrices; the first costs nothing but its call
TOKENS, FEW, ROWS = 256, 8, 2048  # of the product that tells the FLOP rate
SLOW = 0.02  # seconds of a product of a few tokens: without fast kernels for its format, many tokens would take minutes
COPIES = tuple(1 << n for n in range(16, 29, 2))  # 64 KiB … 256 MiB


def products(library: Numpy, cache_bytes: int, free_bytes: int, seconds: float) -> list[Row]:
    """One token with matrices of several sizes, and many tokens with one, in every format that the library multiplies here."""
    most, found = CACHES * cache_bytes, list[Row]()
    if 4 * most > free_bytes:
        raise UserError(
            f"products of {nbytes(most)}, {CACHES} times the last-level cache, need {nbytes(4 * most)} of free memory, and there are "
            f"{nbytes(free_bytes)}: smaller ones would measure the cache; free some memory"
        )
    counts = sorted({1, *(2**n for n in range(1, 9) if 2**n < cores()), cores()})
    share = seconds / len(library.formats) / (len(counts) * (len(SIZES) + 1) + 1)
    for format in library.formats:
        try:
            found += _of_format(library, format, most, counts, share)
        except (RuntimeError, AttributeError):  # torch has no kernel for it here
            continue
    return found


def _of_format(library: Numpy, format: str, most: int, counts: list[int], share: float) -> list[Row]:
    found = list[Row]()
    for size in sorted({*SIZES, most}):
        calls = library.products(format, _rows(size, format), max(1, min(64, most // size)), 1)
        found += [_single(calls, format, threads, size, share) for threads in counts if library.use(threads)]
    few, tokens = library.products(format, ROWS, 1, FEW)[0], TOKENS
    if min(timed(few) for _ in range(4)) > SLOW:
        tokens = FEW
    times = _samples(library.products(format, ROWS, 1, tokens), share)
    row = timed_row("cpu_flops", times, format=format, threads=counts[-1], tokens=tokens)
    return [*found, {**row, "tflops": 2 * ROWS * COLUMNS * tokens / row["us"] / 1e6}]


def _single(calls: list[Call], format: str, threads: int, size: int, share: float) -> Row:
    held = _rows(size, format) * COLUMNS * WIDTH[format]
    facts = {"what": f"rows of {COLUMNS}", "format": format, "threads": threads, "bytes": held}
    return timed_row("cpu", _samples(calls, share), **facts)


def _rows(size: int, format: str) -> int:
    return -(-size // COLUMNS // WIDTH[format])


def _samples(calls: list[Call], seconds: float) -> list[float]:
    """Seconds of each call, round and round; a call that lasts longer than the time is made three times."""
    number = -1

    def following() -> float:
        nonlocal number
        number = (number + 1) % len(calls)
        return timed(calls[number])

    return repeat(following, seconds)


def reads(cache_bytes: int, seconds: float) -> list[Row]:
    """All threads read an array that no cache holds."""
    threads = cores()
    words = np.ones(CACHES * cache_bytes // 8 * 2, np.int64)
    parts = np.array_split(words, threads)
    with ThreadPoolExecutor(threads) as pool:
        times = repeat(lambda: timed(lambda: list(pool.map(np.max, parts))), seconds)
    return [timed_row("memread", times, threads=threads, bytes=words.nbytes)]


def copier(pool_bytes: int) -> Callable[[int], list[Call]]:
    """size -> copies of one thread between two pools in host memory, each of the next place."""
    source, target = (np.full(pool_bytes, fill, np.uint8) for fill in (1, 2))

    def sized(size: int) -> list[Call]:
        places = range(0, pool_bytes - size + 1, size)
        return [lambda at=at: np.copyto(target[at : at + size], source[at : at + size]) for at in places]  # type: ignore[misc]

    return sized


def copies(sized: Callable[[int], list[Call]], pool_bytes: int, seconds: float) -> list[Row]:
    """By size, up to what the pool holds."""
    sizes = [size for size in COPIES if size <= pool_bytes]
    facts = {"what": "host to host", "how": "back to back"}
    return [timed_row("copy", _samples(sized(size), seconds / len(sizes)), **facts, bytes=size) for size in sizes]
