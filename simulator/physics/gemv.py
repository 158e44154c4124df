"""Matrix-vector product, the work of decode: t0 + bytes / bandwidth.

Every weight is read once and used for one token, so FLOPs hardly count. Fitted to the projection kernels of six models
(microsoft/vidur, 11 MB to 940 MB): A100 5.2 us + bytes / 1660 GB/s, median error 1.6 %; H100 3.3 us + bytes / 2930 GB/s,
3.7 %; A40 3.0 us + bytes / 558 GB/s, 1.8 %. So a small matrix never sees the peak: 11 MB reach 46 % of an A100's.
"""

from __future__ import annotations

from simmoe.simulator.physics import PS_PER_S


def read_ps(count_bytes: int, bytes_per_s: int) -> int:
    """Time to stream `count_bytes` at a rate."""
    return -(-count_bytes * PS_PER_S // bytes_per_s)


def gemv_ps(count_bytes: int, bytes_per_s: int, launch_ps: int) -> int:
    """Duration of one launch that reads a matrix."""
    return launch_ps + read_ps(count_bytes, bytes_per_s)
