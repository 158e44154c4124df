"""What the columns of the tables of speeds are: said below each of them."""

from __future__ import annotations

from simmoe.show.grid import Grid

MEANS = {
    "ratio": "tok/s relative to the first row that ran",
    "TTFT first": "time to the first token of the first sequence",
    "TTFT later": "median of the later sequences",
    "TPOT p50": "time per output token, percentiles",
    "TPOT p95": "time per output token, percentile",
    "hit rate": "of the expert requests in decode",
    "loaded/token": "bytes of experts",
    "waiting": "share of decode time spent waiting for experts",
    "per 1000 USD": "tok/s",
}


def legend(grid: Grid) -> str:
    """One sentence for each column of the table that needs it."""
    return "; ".join(f"{column.name}: {MEANS[column.name]}" for column in grid.columns if column.name in MEANS) + "."
