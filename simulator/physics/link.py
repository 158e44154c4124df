"""Transfers: latency + bytes / rate, where the rate depends on size, on how the host memory is allocated, and on the store behind.

Raw PCIe rate: GT/s x lanes x 128/130 / 8; of it a packet of `payload` bytes carries payload / (payload + overhead) with
24-28 bytes of header, sequence number and CRC. NVLink-C2C is another link with other figures (a GH200 reaches 375 GB/s
towards the GPU and 297 back of 450). Pageable host memory is copied twice, through a pinned buffer of the driver.
Managed memory moves pages when they are touched: each fault costs a fixed time beside its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log

from simmoe.simulator.physics.gemv import read_ps


def pcie_bytes_per_s(giga_transfers: float, lanes: int, payload: int = 256, overhead: int = 26) -> int:
    """What a PCIe link (generation 3 or later) can carry one way, packet headers taken off."""
    return int(giga_transfers * 1e9 * lanes * 128 / 130 / 8 * payload / (payload + overhead))


def efficiency(count_bytes: int, points: Sequence[tuple[int, float]]) -> float:
    """Share of the link's rate that a transfer of that size reaches: linear in the logarithm of the size, flat outside."""
    if not points:
        return 1.0
    for (small, low), (large, high) in pairwise(points):
        if small <= count_bytes <= large:
            return low + (high - low) * log(count_bytes / small) / log(large / small)
    return points[0][1] if count_bytes < points[0][0] else points[-1][1]


def transfer_ps(count_bytes: int, bytes_per_s: int, latency_ps: int, share: float = 1.0) -> int:
    """Duration of one transfer at `share` of the rate."""
    rate = bytes_per_s if share == 1.0 else max(1, int(bytes_per_s * share))
    return latency_ps + read_ps(count_bytes, rate)


def two_hops_ps(first_ps: int, second_ps: int, first_latency_ps: int, second_latency_ps: int, pipelined: bool) -> int:
    """NVMe to DRAM to GPU: the slower hop and both latencies when chunks follow each other, else one hop after the other."""
    if not pipelined:
        return first_ps + second_ps
    return first_latency_ps + second_latency_ps + max(first_ps - first_latency_ps, second_ps - second_latency_ps)


def managed_ps(count_bytes: int, page_bytes: int, fault_ps: int, bytes_per_s: int) -> int:
    """First touch of managed memory: one fault per page and the bytes' own time."""
    return -(-count_bytes // page_bytes) * fault_ps + read_ps(count_bytes, bytes_per_s)


def both_ways_ps(down_ps: int, up_ps: int, duplex: str) -> int:
    """A load and the write-back of what it throws out: at the same time on a full-duplex link, in turn on a half-duplex one."""
    return max(down_ps, up_ps) if duplex == "full" else down_ps + up_ps
