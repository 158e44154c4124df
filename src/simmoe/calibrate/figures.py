"""Samples as figures of a profile: value, range and a source that says how many samples were taken in what way."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any

from simmoe.calibrate.fit import Transfer, line, transfer
from simmoe.calibrate.kernels import Cells, Kernels
from simmoe.calibrate.measure import Disk
from simmoe.calibrate.sampling import count, spread
from simmoe.simulator.units import text
from simmoe.simulator.version import VERSION

BASE = {"time": 10**12}  # base units in a second; rates and sizes are written as they are

Figure = dict[str, Any]


def whole(value: float, dimension: str, up: bool = False) -> int:
    """Base units with four digits, a bandwidth in whole bytes per ms; what is whole stays as it is."""
    base, finest = value * BASE.get(dimension, 1), 1000 if dimension == "bandwidth" else 1
    step = max(10 ** (floor(log10(base)) - 3) if base >= 1 else 1, finest)
    least = 0 if dimension == "time" else step
    return max((ceil(base / step) if up else round(base / step)) * step, least)


class Figures:
    """Writes the figures of one day."""

    def __init__(self, today: str) -> None:
        self.here = f"measured here by simmoe calibrate {VERSION} on {today}"

    def figure(self, dimension: str, value: float, ends: Sequence[float], samples: int, method: str) -> Figure:
        """ends: what the quantiles give, in any order; the range holds the value in any case."""
        low, middle, high = (whole(x, dimension) for x in (min(ends), value, max(ends)))
        return {
            "value": text(middle, dimension), "kind": "measured", "source": f"{self.here}, {samples} samples, {method}",
            "range": [text(min(low, middle), dimension), text(max(high, middle), dimension)],
        }  # fmt: skip

    def stated(self, count_bytes: int, by: str) -> Figure:
        """What the system says of itself."""
        return {"value": text(count_bytes, "bytes"), "kind": "measured", "source": f"{self.here}: {by}"}

    def chosen(self, count_bytes: int, why: str) -> Figure:
        """What nobody can measure."""
        return {"value": text(count_bytes, "bytes"), "kind": "assumed", "source": f"{why}; change it to what you give"}

    def unit(self, kernels: Kernels, memory: str) -> Figure:
        """A compute unit."""
        fitted, slow, fast = (kernels.line(q) for q in (0.5, 0.9, 0.1))
        samples = count(kernels.gemv)
        how = f"straight line through products of {len(kernels.gemv)} cold {kernels.main} matrices with one token, {kernels.what}"
        fixed = f"fixed part of that line, not below a small call, {kernels.what}"
        launches = (slow.fixed_s, fast.fixed_s), samples + len(kernels.call), fixed
        return {
            "memory": memory,
            "bandwidth": self.figure(
                "bandwidth", fitted.bytes_per_s, (slow.bytes_per_s, fast.bytes_per_s), samples, how
            ),
            "launch": self.figure("time", fitted.fixed_s, *launches),
            "flops": self._flops(kernels),
            "softness": self._softness(kernels),
        }

    def _flops(self, kernels: Kernels) -> dict[str, Figure]:
        found = {}
        for format in kernels.gemm:
            reached, method = spread(kernels.best(format)), f"best product of a {format} matrix with many tokens"
            value = reached.median
            if format == kernels.main:
                value, method = (
                    kernels.roof().flops_per_s,
                    f"soft maximum fitted to products with {_span(kernels)} tokens",
                )
            ends = (reached.low, max(reached.high, value))
            found[format] = self.figure(
                "compute", value, ends, count(kernels.gemm[format]), f"{method}, {kernels.what}"
            )
        return found

    def _softness(self, kernels: Kernels) -> Figure:
        p, how = kernels.roof().softness, f"soft maximum fitted to products with {_span(kernels)} tokens"
        source = f"{self.here}, {count(kernels.gemm[kernels.main])} samples, {how}, {kernels.what}"
        return {"value": p, "kind": "measured", "source": source}

    def path(self, cells: Cells, method: str, beside: float | None = None) -> tuple[Transfer, dict[str, Any]]:
        """Bandwidth, latency and efficiency of the path along which those transfers went; beside: rate seen while others ran."""
        fitted, sizes = transfer(list(cells), [spread(x).median for x in cells.values()]), list(cells)
        slow, fast = (line(sizes, [spread(x)[q] for x in cells.values()]) for q in (2, 0))
        best = max(fitted.shares, key=lambda point: point[1])[0]
        there = spread(cells[best])
        reach = [best / max(took - fitted.latency_s, took / 10) for took in (there.low, there.high)]
        reach += [] if beside is None else [beside]
        n, points = count(cells), [[text(size, "bytes"), share] for size, share in fitted.shares]
        best_of = f"{method}, latency taken off, best of {len(sizes)} sizes"
        fixed = f"{method}, fixed part of a straight line over {len(sizes)} sizes"
        return fitted, {
            "bandwidth": self.figure("bandwidth", fitted.bytes_per_s, reach, n, best_of),
            "latency": self.figure("time", fitted.latency_s, (slow.fixed_s, fast.fixed_s), n, fixed),
            "efficiency": {"points": points, "kind": "measured", "source": f"{self.here}, {n} samples, {method}"},
        }

    def store(self, disk: Disk, least: int) -> dict[str, Any]:
        """The tier behind a disk; `least` is what its link takes out of it."""
        spreads = {cell: spread(samples) for cell, samples in disk.cells.items()}
        best = max(spreads, key=lambda cell: spreads[cell].median)
        reached, n = spreads[best], sum(map(len, disk.cells.values()))
        top = max(whole(reached.median, "bandwidth"), least)
        how = (
            f"reads, {disk.way}, best of {len(spreads)} sizes and depths: {text(best[0], 'bytes')}, {best[1]} in flight"
        )
        (size,) = {size for size, depth in disk.cells if depth > 1}
        shares = [[depth, round(min(x.median / top, 1), 4)] for (s, depth), x in spreads.items() if s == size]
        source = f"{self.here}, {n} samples, reads of {text(size, 'bytes')}, {disk.way}"
        return {
            "capacity": self.stated(disk.total_bytes, "size of the file system"),
            "bandwidth": self.figure("bandwidth", top, (reached.low, reached.high), n, how),
            "queue": {"points": shares, "kind": "measured", "source": source},
        }  # fmt: skip


def _span(kernels: Kernels) -> str:
    return f"{min(kernels.gemm[kernels.main])} to {max(kernels.gemm[kernels.main])}"
