"""What the columns of the tables of speeds are: said below each of them."""

from __future__ import annotations

from simmoe.show.grid import Grid

MEANS = {  # column -> what is said of it, in the order of the columns
    "ratio": "ratio: tok/s relative to the first row that ran",
    "range": "range: tok/s at the ends of the profile's ranges, the runtime's constants and what its laws leave",
    "prompt tok/s": "prompt tok/s: tokens of prompts read a second",
    "TTFT first": "TTFT: time to the first token, of the first sequence",
    "TTFT later": "later: the median of the later sequences",
    "TPOT p50": "TPOT p50, p95, p99: percentiles of the time per output token",
    "TPOT p95": "TPOT p95: a percentile of the time per output token",
    "hit rate": "hit rate: share of the requests for experts in decode that find the expert resident",
    "loaded/token": "loaded/token: bytes of experts loaded for a decoded token",
    "waiting": "waiting: share of decode time in which the device waits, for loads, the CPU, the host or another device",
    "J/token": "J/token: estimated energy of the board for a decoded token",
}


def legend(grid: Grid) -> str:
    """What each column of the table is that needs a word."""
    return "; ".join(MEANS[column.name] for column in grid.columns if column.name in MEANS) + "."
