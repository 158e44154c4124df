"""Reads of a store by size and by how many are in flight: O_DIRECT into page-aligned buffers, one thread for each.

Where reads cannot go past the page cache nothing is measured: it would be the cache's rate. The file that is read loses its name as
soon as it exists, so that nothing is left of it however the measurement ends.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simmoe.calibrate.sampling import repeat, timed
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import nbytes

SIZES = tuple(1 << n for n in range(16, 25, 2))  # 64 KiB … 16 MiB
DEPTHS = (1, 2, 4, 8)
LEAST = 2**26  # bytes of a file that is worth reading
CHUNK = 2**23

Cells = dict[tuple[int, int], list[float]]  # (bytes of a read, reads in flight) -> bytes per second


@dataclass(frozen=True)
class Scratch:
    """A nameless file of random bytes, open for reading."""

    handle: int
    size: int

    def reader(self, size: int, seed: int = 0) -> Callable[[], int]:
        """Reads `size` bytes at the next place of a random order; each has a buffer of its own and serves one thread."""
        buffer = mmap.mmap(-1, size)
        order = np.random.default_rng(seed).permutation(self.size // size) * size
        number = -1

        def read() -> int:
            nonlocal number
            number = (number + 1) % len(order)
            at = int(order[number])
            got = os.preadv(self.handle, [buffer], at)
            if got != size:
                raise OSError(f"a read of {size} B returned {got} B")
            return got

        return read


@contextmanager
def scratch(folder: Path, count_bytes: int, seconds: float) -> Iterator[Scratch]:
    """A file of `count_bytes`, or of what can be written in that time, a quarter of the free space at most."""
    if not folder.is_dir():
        raise UserError(f"--disk {folder} is no folder; name one on the disk that holds the experts")
    if not hasattr(os, "preadv"):
        raise UserError(
            "reading the disk needs os.preadv, which this system has not; leave the disk out with --home memory"
        )
    free = shutil.disk_usage(folder).free
    if free < 4 * LEAST:
        raise UserError(f"--disk {folder} has {nbytes(free)} free; {nbytes(4 * LEAST)} are needed to measure it")
    writing, name = tempfile.mkstemp(dir=folder, prefix=".simmoe-calibrate-")
    opened = [writing]
    try:
        try:
            opened.append(open_direct(name))
        except OSError as error:
            raise _cached(folder, error) from None
        finally:
            os.unlink(name)
        size = _fill(writing, min(count_bytes, free // 4), seconds)
        try:
            os.preadv(opened[1], [mmap.mmap(-1, 4096)], 0)  # some file systems refuse only the first read
        except OSError as error:
            raise _cached(folder, error) from None
        yield Scratch(opened[1], size)
    finally:
        for one in opened:
            os.close(one)


def _cached(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"--disk {folder}: reads cannot go past the page cache ({error.strerror or error}), whose rate is not the disk's; name a folder "
        "on another file system with --disk, or leave the disk out with --home memory"
    )


def open_direct(name: str) -> int:
    """A handle whose reads go past the page cache."""
    if not hasattr(os, "O_DIRECT"):
        raise OSError(0, "this system has no O_DIRECT")
    return os.open(name, os.O_RDONLY | os.O_DIRECT)


def _fill(handle: int, count_bytes: int, seconds: float) -> int:
    """Random bytes, which no file system can shrink; returns how many."""
    generator, start, written = np.random.default_rng(0), time.perf_counter(), 0
    while written + CHUNK <= count_bytes and (written < LEAST or time.perf_counter() - start < seconds):
        written += os.write(handle, generator.bytes(CHUNK))
    os.fsync(handle)
    return written // SIZES[-1] * SIZES[-1]


def by_size_and_depth(file: Scratch, sizes: Sequence[int], depths: Sequence[int], seconds: float) -> Cells:
    """One read in flight for every size, more of them for the second largest."""
    cells = [(size, 1) for size in sizes] + [(sizes[-2], depth) for depth in depths if depth > 1]
    return {(size, depth): _cell(file, size, depth, seconds / len(cells)) for size, depth in cells}


def _cell(file: Scratch, size: int, depth: int, seconds: float) -> list[float]:
    """Rates of rounds: one read alone, or in each of `depth` threads four."""
    if depth == 1:
        read = file.reader(size)
        return [size / took for took in repeat(lambda: timed(read), seconds)]
    readers = [file.reader(size, seed) for seed in range(depth)]

    def four(read: Callable[[], int]) -> int:
        return sum(read() for _ in range(4))

    with ThreadPoolExecutor(depth) as threads:
        rounds = repeat(lambda: timed(lambda: list(threads.map(four, readers))), seconds)
    return [4 * depth * size / took for took in rounds]
