"""Rows as figures of a profile: value, how it is known, range, and a source that says how it was taken."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any

from simmoe.calibrate.fit import CACHES, Fitted, Point, Transfer, transfer
from simmoe.calibrate.rows import Rows, machine_of, microseconds, samples
from simmoe.simulator.units import nbytes, text
from simmoe.simulator.version import VERSION

BASE = {"time": 10**12}  # base units in a second; rates and sizes are written as they are

Figure = dict[str, Any]


def whole(value: float, dimension: str, up: bool = False) -> int:
    """Base units with four digits, a bandwidth in whole bytes per ms; what is whole stays as it is."""
    base, finest = value * BASE.get(dimension, 1), 1000 if dimension == "bandwidth" else 1
    step = max(10 ** (floor(log10(base)) - 3) if base >= 1 else 1, finest)
    least = 0 if dimension == "time" else step
    return max((ceil(base / step) if up else round(base / step)) * step, least)


def points_of(rows: Rows) -> list[Point]:
    """Bytes and seconds of each row, by size."""
    return sorted(Point(row["bytes"], row["us"] / 1e6) for row in rows)


class Figures:
    """Writes the figures of one machine."""

    def __init__(self, rows: Rows) -> None:
        machine = machine_of(rows)
        self.here = f"measured here by simmoe calibrate {VERSION} on {machine['day']}"

    def figure(
        self, dimension: str, value: float, ends: Sequence[float], n: int, method: str, kind: str = "measured"
    ) -> Figure:
        """ends: low and high, in any order; the range holds the value in any case."""
        low, middle, high = (whole(x, dimension) for x in (min(ends), value, max(ends)))
        return {
            "value": text(middle, dimension), "kind": kind, "source": f"{self.here}, {n} samples, {method}",
            "range": [text(min(low, middle), dimension), text(max(high, middle), dimension)],
        }  # fmt: skip

    def rate(self, rows: Rows, point: Point, method: str) -> Figure:
        """Bytes per second of the row that gave that point."""
        (row, *_) = (row for row in rows if Point(row["bytes"], row["us"] / 1e6) == point)
        ends = [point.bytes / microseconds(row, end) * 1e6 for end in ("hi", "lo")]
        how = f"{nbytes(point.bytes)}, {method}"
        return self.figure("bandwidth", point.bytes / point.seconds, ends, samples([row]), how)

    def time(self, rows: Rows, fitted: Fitted, method: str) -> Figure:
        """A fixed part; the source says how far the law lies from its points."""
        low, high = fitted.ratios
        law = f"{len(rows)} products, of which the law gives {low:.2f} to {high:.2f} x the measured time"
        ends = (fitted.low, fitted.high)
        return self.figure("time", fitted.value, ends, samples(rows), f"{law}, {method}", fitted.kind)

    def median(self, rows: Rows, share: float, method: str) -> Figure:
        """That share of the time of one row."""
        (row, *_) = rows
        ends = [microseconds(row, end) * share / 1e6 for end in ("lo", "hi")]
        return self.figure("time", row["us"] * share / 1e6, ends, samples([row]), method)

    def flops(self, rows: Rows, method: str) -> Figure:
        """The best of rows that say `tflops`."""
        best = max(rows, key=lambda row: row["tflops"])
        ends = [
            best["tflops"] * best["us"] / best[end] if end in best and "us" in best else best["tflops"]
            for end in ("lo", "hi")
        ]
        return self.figure("compute", best["tflops"] * 1e12, [end * 1e12 for end in ends], samples(rows), method)

    def stated(self, count_bytes: int, by: str) -> Figure:
        """What the system says of itself."""
        return {"value": text(count_bytes, "bytes"), "kind": "measured", "source": f"{self.here}: {by}"}

    def chosen(self, count_bytes: int, why: str) -> Figure:
        """What nobody can measure."""
        return {"value": text(count_bytes, "bytes"), "kind": "assumed", "source": f"{why}; change it to what you give"}

    def path(
        self, rows: Rows, method: str, least_ps: int, beside: float | None = None
    ) -> tuple[Transfer, dict[str, Any]]:
        """Bandwidth, latency and efficiency of the path along which those copies or reads went, which needs `least_ps` to start; beside:
        rate seen while others ran."""
        found, n = transfer(points_of(rows), least_ps / 1e12), samples(rows)
        best = max(found.shares, key=lambda point: point[::-1])[0]
        (row, *_) = (row for row in rows if row["bytes"] == best)
        start = found.latency.value
        reach = [best / max(microseconds(row, end) / 1e6 - start, row["us"] / 1e7) for end in ("lo", "hi")]
        reach += [] if beside is None else [beside]
        low, high = found.latency.ratios
        fixed = f"{method}, with one rate over {len(rows)} sizes it gives {low:.2f} to {high:.2f} x the measured time"
        points = [[text(size, "bytes"), share] for size, share in found.shares]
        return found, {
            "bandwidth": self.figure("bandwidth", found.bytes_per_s, reach, n, f"{method}, latency taken off, best of {len(rows)} sizes"),
            "latency": self.figure("time", start, (found.latency.low, found.latency.high), n, fixed, found.latency.kind),
            "efficiency": {"points": points, "kind": "measured", "source": f"{self.here}, {n} samples, {method}"},
        }  # fmt: skip

    def store(self, reads: Rows, total_bytes: int, least: int) -> dict[str, Any]:
        """The tier behind a disk; `least` is what its link takes out of it."""
        best, n = max(reads, key=lambda row: row["gbs"]), samples(reads)
        top = max(whole(best["gbs"] * 1e9, "bandwidth"), least)
        sizes = [row["bytes"] for row in reads]
        size = max(sizes, key=lambda one: (sizes.count(one), one))  # read with the most in flight
        queue = sorted(
            (row["depth"], round(min(row["gbs"] * 1e9 / top, 1), 4)) for row in reads if row["bytes"] == size
        )
        method = f"O_DIRECT reads, best of {len(reads)}: {text(best['bytes'], 'bytes')}, {best['depth']} in flight"
        source = f"{self.here}, {n} samples, O_DIRECT reads of {text(size, 'bytes')}"
        return {
            "capacity": self.stated(total_bytes, "size of the file system"),
            "bandwidth": self.figure("bandwidth", top, [top], n, method),
            "queue": {"points": [list(point) for point in queue], "kind": "measured", "source": source},
        }  # fmt: skip


def large(library: str) -> str:
    """The method of a bandwidth."""
    return f"weights times one token, at least {CACHES} times the last-level cache, {library}"
