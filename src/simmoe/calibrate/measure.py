"""The whole calibration: which measurements this machine's picture needs, and how long each may take."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simmoe.calibrate import beside, cpu, disk, gpu, quantised
from simmoe.calibrate.backend import COLUMNS, MB, Call, Numpy, cache_bytes, cores
from simmoe.calibrate.machine import Watch, memory
from simmoe.calibrate.rows import Row, rate_row
from simmoe.calibrate.sampling import timed

FULL, QUICK = 90.0, 9.0  # seconds of sampling; setting up and warming up come on top
FILE_BYTES = (2**30, 2**28)  # of the file that is read, full and quick
EXPERT = 2**22  # bytes of the copies and reads that run beside a computation
BESIDE = 2**24  # bytes of the product that runs beside loads

Say = Callable[[str, int, int], None]  # what is measured now, its number, how many there are


@dataclass(frozen=True)
class Asked:
    """What is measured: the CPU by a library, a GPU or none, and where the experts live."""

    backend: Numpy
    device: gpu.Device | None
    home: str  # disk or memory
    folder: Path
    quick: bool


def machine(asked: Asked, watch: Watch, say: Say) -> list[Row]:
    """Everything, in the order in which it is told to `say`."""
    steps = _steps(asked)
    share = (QUICK if asked.quick else FULL) / (len(steps) + 1)
    found = list[Row]()
    for number, (what, step) in enumerate(steps, 1):
        say(what, number, len(steps))
        found += step(share)
    return [_facts(asked, watch), *found]


def _steps(asked: Asked) -> list[tuple[str, Callable[[float], list[Row]]]]:
    """What is told, and what measures it in so many seconds."""
    device, cache, free = asked.device, cache_bytes(), memory().available
    steps: list[tuple[str, Callable[[float], list[Row]]]] = []
    if device:
        steps.append((f"kernels: {device.made_by}", lambda s: gpu.kernels(device, 2 * s)))
    if not device or not device.unified:
        what = f"products by threads and format: {asked.backend.made_by}"
        steps.append((what, lambda s: cpu.products(asked.backend, cache, free, s)))
        steps.append(("reads of memory", lambda s: cpu.reads(cache, s / 4)))
        steps.append(("products of 4 bits by threads, clock", lambda s: quantised.rows(cache, s / 2)))
    if device:
        steps.append(("copies by size", lambda s: gpu.copies(device, s)))
    elif asked.home == "memory":
        steps.append(("copies by size", lambda s: _copies(free, s)))
    if asked.home == "disk":
        steps.append(("disk reads by size and depth", lambda s: _disk(asked, s)))
    elif not device or device.unified:
        steps.append(("products while experts are loaded", lambda s: _beside(asked, _load(asked), s)))
    return steps


def _copies(free: int, seconds: float) -> list[Row]:
    pool = max(64 * MB, min(cpu.COPIES[-1], free // 8))
    return cpu.copies(cpu.copier(pool), pool, seconds)


def _load(asked: Asked) -> Call:
    """The next copy of an expert, on one thread."""
    calls = asked.device.copies("h2d pinned", EXPERT) if asked.device else cpu.copier(64 * MB)(EXPERT)
    return _round(calls)


def _round(calls: list[Call]) -> Call:
    """Each of the calls in turn."""
    number = -1

    def following() -> object:
        nonlocal number
        number = (number + 1) % len(calls)
        return calls[number]()

    return following


def _disk(asked: Asked, seconds: float) -> list[Row]:
    """Reads alone and, on one memory, beside products."""
    with disk.scratch(asked.folder, FILE_BYTES[asked.quick], seconds / 3) as file:
        step = 2 if asked.quick else 1
        cells = disk.by_size_and_depth(file, disk.SIZES[::step], disk.DEPTHS[::step], seconds / 3)
        found = [
            rate_row("disk", "gbs", [rate / 1e9 for rate in rates], what="read", direct=True, bytes=size, depth=depth)
            for (size, depth), rates in cells.items()
        ]
        found = [{**row, "us": row["bytes"] / row["gbs"] / 1e3, "lo": row["bytes"] / row["hi"] / 1e3,
                  "hi": row["bytes"] / row["lo"] / 1e3} for row in found]  # fmt: skip
        if not asked.device or asked.device.unified:
            found += _beside(asked, file.reader(EXPERT), seconds / 3)
    return found


def _beside(asked: Asked, load: Call, seconds: float) -> list[Row]:
    """A product alone and while experts are loaded."""
    rows = BESIDE // COLUMNS // 4
    if asked.device:
        calls, clock = asked.device.products("bf16", rows * 2, COLUMNS, 8, 1), asked.device.eager
        alone = beside.both(lambda: clock(calls, 0.0)[0], BESIDE, load, EXPERT, seconds)
    else:
        product = _round(asked.backend.products("fp32", rows, 8, 1))
        alone = beside.both(lambda: timed(product), BESIDE, load, EXPERT, seconds)
    kernel, loads = f"one token, {BESIDE} B", alone.loading
    return [
        rate_row("beside", "per_s", alone.alone, kernel=kernel, other="alone"),
        {**rate_row("beside", "per_s", alone.computing, kernel=kernel, other="load"),
         "load_gbs": rate_row("", "gbs", [rate / 1e9 for rate in loads])["gbs"]},
    ]  # fmt: skip


def _facts(asked: Asked, watch: Watch) -> Row:
    """The row that says what the others were measured on."""
    device, found = asked.device, memory()
    disk_bytes = shutil.disk_usage(asked.folder).total if asked.home == "disk" else 0
    return {
        "kind": "machine", "unit": "gpu" if device else "cpu", "unified": device is None or device.unified, "home": asked.home,
        "device": device.name if device else "", "library": device.made_by if device else asked.backend.made_by,
        "day": datetime.date.today().isoformat(), "llc_bytes": device.cache_bytes if device else cache_bytes(),
        "host_llc_bytes": cache_bytes(), "threads": cores(), "memory_bytes": [found.total, found.available],
        "device_bytes": list(device.memory()) if device else [0, 0], "disk_bytes": disk_bytes, "foreign": watch.foreign(),
    }  # fmt: skip
