"""Experts computed where they live: the CPU reads them from its memory, beside what transfers take out of the same memory.

A CPU's own limit can be far below its memory's (Strix Halo: 100-118 of 256 GB/s, the link between dies). KTransformers,
llama.cpp --n-cpu-moe and Fiddler do this instead of loading. Host memory that the link reads with its copy engine gives the CPU what is
left, exactly while bytes move; in unified memory, where the GPU reads too, no reader takes everything from the CPU.
"""

from __future__ import annotations

from simmoe.simulator.physics.gemm import flops_ps
from simmoe.simulator.physics.gemv import read_ps


def left_bytes_per_s(own: int, memory: int, link: int) -> int:
    """Rate at which a CPU reads its memory while the link reads it at `link`; 0 = it waits."""
    return max(0, min(own, memory - link))


def shared_bytes_per_s(own: int, memory: int, link: int) -> int:
    """Rate at which the CPU reads unified memory beside transfers; at least half of what it reaches alone."""
    return max(min(own, memory - link), own // 2)


def experts_ps(
    count: int,
    expert_bytes: int,
    token_slots: int,
    flops_per_token: int,
    bytes_per_s: int,
    flops_per_s: int,
    launch_ps: int,
) -> int:
    """`count` experts with `token_slots` (token, slot) pairs routed to them, one after the other on all cores."""
    return launch_ps + max(
        read_ps(count * expert_bytes, bytes_per_s), flops_ps(token_slots * flops_per_token, flops_per_s)
    )
