"""What the operating system says about the machine, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from simmoe.calibrate.backend import MB

STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Memory:
    """Bytes of DRAM, whole megabytes."""

    total: int
    available: int


def memory() -> Memory:
    """From /proc/meminfo; elsewhere the whole, with a quarter of it taken as in use."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except OSError:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        available = total * 3 // 4
    return Memory(total // MB * MB, available // MB * MB)


class Watch:
    """The share of all cores that others had, from when it is made: other processes, and other guests of the host (steal)."""

    def __init__(self) -> None:
        self.cores, self.own = _cores(), _own_seconds()

    def foreign(self) -> float:
        """0 where the system does not say."""
        now = _cores()
        whole = sum(now.values()) - sum(self.cores.values())  # clock ticks
        if not now or not self.cores or whole <= 0:
            return 0.0
        part = {name: (now[name] - self.cores[name]) / whole for name in now}
        own = (_own_seconds() - self.own) * os.sysconf("SC_CLK_TCK") / whole
        return round(min(max(1 - part["idle"] - part["iowait"] - own, 0.0), 1.0), 4)


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _cores() -> dict[str, int]:
    """Clock ticks of all cores together; empty where the system does not say."""
    try:
        first = STAT.read_text("ascii").splitlines()[0].split()[1:9]
    except OSError:
        return {}
    return dict(zip(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), map(int, first)))
