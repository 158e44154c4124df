"""One memory for CPU, GPU and loads: what flows in is taken from what the units can read.

R = min(unit's own rate, B - w r) while a load of rate r runs, B the rate of the whole memory (docs/design.md, "Unified
memory"). w = 1 when the load lands in the buffer that the GPU reads; a copy from a staging buffer reads and writes once
more: w = 3. Managed memory moves pages on a fault: each costs a fixed time beside its bytes.
"""

from __future__ import annotations

IN_PLACE, STAGING_COPY = 1, 3  # DRAM bytes moved per byte loaded


def contended_rate(own: int, memory: int, load: int, bytes_per_byte: int) -> int:
    """What is left for a unit while a load runs; all in bytes per ms. May be ≤ 0, which the caller refuses."""
    return min(own, memory - bytes_per_byte * load)


def managed_ps(count_bytes: int, page_bytes: int, fault_ps: int, stream_ps: int) -> int:
    """First touch of managed memory: one fault per page and the bytes' own time."""
    return -(-count_bytes // page_bytes) * fault_ps + stream_ps
