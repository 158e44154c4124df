"""Flash: the rate depends on how many requests are in flight.

A phone's UFS 4 read with O_DIRECT in 4 MiB requests (Helldez/BigMoeOnEdge): 1810, 2460, 2458, 2420, 2244, 2255 MiB/s with
1, 2, 4, 8, 16, 32 in flight: two are enough, more do not help. SD cards, eMMC and NVMe differ in figures, not in form.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def queued_bytes_per_s(bytes_per_s: int, depth: int, points: Sequence[tuple[int, float]]) -> int:
    """Rate with `depth` requests in flight; points (depth, share of the rate) in rising order, linear between them."""
    if not points:
        return bytes_per_s
    for (few, low), (many, high) in pairwise(points):
        if few <= depth <= many:
            return int(bytes_per_s * (low + (high - low) * (depth - few) / (many - few)))
    return int(bytes_per_s * (points[0][1] if depth < points[0][0] else points[-1][1]))
