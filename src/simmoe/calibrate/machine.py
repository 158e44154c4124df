"""What the operating system says about the machine, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from simmoe.calibrate.backend import MB

LOADAVG, STEAL, FOREIGN = 0.5, 0.04, 0.05  # above them a measurement is worth repeating
STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Memory:
    """Bytes of DRAM, whole megabytes."""

    total: int
    available: int
    how: str


def memory() -> Memory:
    """From /proc/meminfo; elsewhere the whole, with a quarter of it taken as in use."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
        how = "/proc/meminfo"
    except OSError:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        available, how = total * 3 // 4, "physical pages; a quarter taken as in use"
    return Memory(total // MB * MB, available // MB * MB, how)


class Watch:
    """How busy the machine is, from when it is made: the share of all cores that others had."""

    def __init__(self) -> None:
        self.load = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0
        self.cores, self.own = _cores(), _own_seconds()

    def warnings(self) -> list[str]:
        """One line for each thing that made the samples doubtful."""
        found = []
        if self.load > LOADAVG:
            found.append(f"load average {self.load:.1f} per core when it began")
        now = _cores()
        whole = sum(now.values()) - sum(self.cores.values())  # clock ticks
        if now and self.cores and whole:
            part = {name: (now[name] - self.cores[name]) / whole for name in now}
            own = (_own_seconds() - self.own) * os.sysconf("SC_CLK_TCK") / whole
            foreign = 1 - part["idle"] - part["iowait"] - part["steal"] - own
            if part["steal"] > STEAL:
                found.append(f"steal {part['steal']:.0%}: another guest of this host took the processor")
            if foreign > FOREIGN:
                found.append(f"foreign load {foreign:.0%}: other processes computed")
        return found


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
