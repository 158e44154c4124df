"""The whole calibration: which measurements this machine's picture needs, and how long each may take."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simmoe.calibrate import beside, copies, disk, kernels
from simmoe.calibrate.backend import Backend, Torch, pool_bytes
from simmoe.calibrate.beside import Beside
from simmoe.calibrate.kernels import Cells, Kernels
from simmoe.calibrate.machine import Memory, Watch, memory

FULL, QUICK = 90.0, 9.0  # seconds of sampling; setting up and warming up come on top
FILE_BYTES = (2**30, 2**28)  # of the file that is read, full and quick

Say = Callable[[str, int, int], None]  # what is measured now, its number, how many there are


@dataclass(frozen=True)
class Disk:
    """Reads of the store behind a folder."""

    cells: disk.Cells
    total_bytes: int  # of the file system
    why_not: str  # the page cache could not be passed; empty: every read went to the store

    @property
    def way(self) -> str:
        return "through the page cache" if self.why_not else "O_DIRECT"

    def alone(self) -> Cells:
        """bytes -> seconds of each read with no other in flight."""
        return {size: [size / rate for rate in reached] for (size, depth), reached in self.cells.items() if depth == 1}


@dataclass(frozen=True)
class Measured:
    """Samples of one machine."""

    home: str  # disk or memory: where experts live that are not resident
    unit: str  # what computes: cpu or gpu
    unified: bool
    kernels: Kernels
    copies: Cells  # into the memory that the unit reads
    beside: Beside  # products while experts are loaded
    memory: Memory
    cpu: Kernels | None = None  # of the host, where another unit computes
    pageable: Cells | None = None
    device_bytes: tuple[int, int] = (0, 0)  # of a device with memory of its own: all, free
    disk: Disk | None = None
    busy: tuple[str, ...] = ()

    def doubts(self) -> list[str]:
        """What to know before the figures are trusted."""
        why_not = self.disk.why_not if self.disk else ""
        cache = f"the disk was read through the page cache, which may have answered: no O_DIRECT ({why_not})"
        return [*self.busy, *([cache] if why_not else []), *self.kernels.doubts()]


def machine(backend: Backend, home: str, folder: Path, quick: bool, say: Say) -> Measured:
    """Everything, in the order in which it is told to `say`."""
    watch, found, device = Watch(), memory(), backend.device_bytes()
    pool, seconds = pool_bytes(found.available, backend.least_pool), QUICK if quick else FULL
    room = pool if quick else max(pool, min(copies.SIZES[-1], found.available // 8))
    discrete, on_disk = not backend.unified, home == "disk"
    steps = 3 + discrete + on_disk
    share = seconds / (steps + 1)
    say(f"products of weights with tokens: {backend.what}", 1, steps)
    unit = kernels.measure(backend, pool, 2 * share)
    say("copies by size", 2, steps)
    copier, sizes = backend.copier(room), [size for size in copies.SIZES if size <= room]
    copied = copies.by_size(copier, sizes, share)
    cpu = pageable = None
    if discrete:
        say("products on the CPU, copies from pageable memory", 3, steps)
        cpu = kernels.measure(Torch(), pool, share / 2)
        pageable = copies.by_size(backend.copier(room, pinned=False), sizes[-1:], share / 2)
    multiply = kernels.products(backend, pool, backend.main)(kernels.BESIDE, 1)

    def together(load: Callable[[], object]) -> Beside:
        say("products while experts are loaded", steps, steps)
        return beside.both(lambda: backend.seconds(multiply), kernels.BESIDE, load, copies.EXPERT, share)

    reads = None
    if on_disk:
        say("disk reads by size and depth", steps - 1, steps)
        with disk.scratch(folder, FILE_BYTES[quick], share / 3) as file:
            step = 2 if quick else 1
            cells = disk.by_size_and_depth(file, disk.SIZES[::step], disk.DEPTHS[::step], share * 2 / 3)
            reads = Disk(cells, shutil.disk_usage(folder).total, file.why_not)
            both = together(file.reader(copies.EXPERT))
    else:
        both = together(copier(copies.EXPERT))
    return Measured(
        home, backend.unit, backend.unified, unit, copied, both, found, cpu, pageable, device, reads,
        tuple(watch.warnings()),
    )  # fmt: skip
