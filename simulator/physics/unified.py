"""One memory for CPU, GPU and loads: what flows in is taken from what the units can read.

R = min(unit's own rate, B - w r) while a load of rate r runs, B the rate of the whole memory (docs/costs.md, "Contention:
unified memory"). w = 1 when the load lands in the buffer that the GPU reads; a copy from a staging buffer reads and writes once
more: w = 3. A profile states its w as dram_bytes_per_loaded_byte.
"""

from __future__ import annotations


def contended_rate(own: int, memory: int, load: int, bytes_per_byte: int) -> int:
    """What is left for a unit while a load runs; all in bytes per ms. May be ≤ 0, which the caller refuses."""
    return min(own, memory - bytes_per_byte * load)
