"""What the machine does beside the run: settings that keep timing steady, and how much of the machine was somebody else's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Weather:
    """Shares of all processors' time during a run; None where the platform does not tell."""

    steal: float | None  # taken by the host for other guests
    foreign: float | None  # used by other processes

    @property
    def bad(self) -> bool:
        """More than a fifth of the machine was not there: reason enough to measure once more."""
        return (self.steal or 0) + (self.foreign or 0) > 0.2


class Watch:
    """Measures the weather from its creation on."""

    def __init__(self) -> None:
        self.before = self._read()

    def weather(self) -> Weather:
        if self.before is None:
            return Weather(None, None)
        now = self._read()
        assert now is not None
        wall, busy, steal, own = (b - a for a, b in zip(self.before, now))
        capacity = max(wall * (os.cpu_count() or 1), 1e-9)
        return Weather(max(steal / capacity, 0.0), max((busy - own) / capacity, 0.0))

    @staticmethod
    def _read() -> tuple[float, float, float, float] | None:
        """Seconds: now, busy and stolen on all processors together, used by this process."""
        if not STAT.exists():
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq, steal = map(int, STAT.read_text().split(maxsplit=9)[1:9])
        busy = (user + nice + system + irq + softirq) / ticks
        return time.monotonic(), busy, steal / ticks, time.process_time()


def two_cores() -> tuple[int, int] | None:
    """A core to compute on and one to copy on; None where there are fewer or threads cannot be pinned."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (mine[0], mine[1]) if len(mine) > 1 else None


@contextmanager
def steady(core: int | None) -> Iterator[None]:
    """One computing thread, on `core` if given, that flushes denormal numbers; as before afterwards."""
    threads = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if core is not None else None
    torch.set_num_threads(1)
    flushes = torch.set_flush_denormal(True)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if flushes:
            torch.set_flush_denormal(False)
        if cores is not None:
            os.sched_setaffinity(0, cores)
