"""Fused layer of routed experts: t0 + distinct experts x bytes / bandwidth, or the compute time where that is longer.

Time depends on how many experts are touched, not on how many tokens touch them, until an expert has some 64 tokens. The
fused kernel of Qwen3-30B-A3B in bf16 on an RTX PRO 6000 (casys-kaist/LLMServingSim moe.csv): 33 us + 6.13 us per distinct
expert from 16 experts on, 96 % of the memory's peak per expert.
"""

from __future__ import annotations

from simmoe.simulator.physics.gemm import flops_ps
from simmoe.simulator.physics.gemv import read_ps


def grouped_ps(
    distinct: int, expert_bytes: int, bytes_per_s: int, launch_ps: int, flops: int = 0, flops_per_s: int = 1
) -> int:
    """Duration of one launch over `distinct` experts."""
    return launch_ps + max(read_ps(distinct * expert_bytes, bytes_per_s), flops_ps(flops, flops_per_s))
