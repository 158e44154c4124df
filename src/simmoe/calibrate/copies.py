"""Copies by size: host memory to host memory, or host to device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simmoe.calibrate.backend import Call
from simmoe.calibrate.sampling import repeat, timed

SIZES = tuple(1 << n for n in range(16, 29, 2))  # 64 KiB … 256 MiB
EXPERT = 2**22  # bytes of the copies and reads that run beside a computation


def by_size(copier: Callable[[int], Call], sizes: Sequence[int], seconds: float) -> dict[int, list[float]]:
    """size -> seconds of each copy."""
    found = {}
    for size in sizes:
        copy = copier(size)
        found[size] = repeat(lambda copy=copy: timed(copy), seconds / len(sizes))  # type: ignore[misc]
    return found
