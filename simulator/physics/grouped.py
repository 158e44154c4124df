"""Fused layer of routed experts: t0 + a soft maximum of distinct experts x bytes / bandwidth and of the compute time.

Time depends on how many experts are touched, not on how many tokens touch them, until an expert has some 64 tokens. The
fused kernel of Qwen3-30B-A3B in bf16 on an RTX PRO 6000 (casys-kaist/LLMServingSim moe.csv): 33 us + 6.13 us per distinct
expert from 16 experts on, 96 % of the memory's peak per expert. From there on it does both badly at once: with p = 1.58
the 31 rows of 32 to 2048 tokens and 16 to 128 experts are met within 12 %, with the larger of the two by up to 23 %.

How many experts meet in a launch, and with how many tokens, is not known before time runs, so the soft maximum is looked up
in whole numbers: the same to the picosecond in both clocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from simmoe.simulator.physics.gemm import flops_ps
from simmoe.simulator.physics.gemv import read_ps

RATIOS, UNIT = 1024, 2**20  # steps of smaller / larger, linear between them; shares are whole multiples of 1 / UNIT


def soft_shares(softness: float | None) -> list[int]:
    """What a soft maximum adds to the larger time, as a share of it, at 1024 x smaller / larger = 0, 1, … 1024; empty for None."""
    if softness is None:
        return []
    return [round(UNIT * ((1 + (q / RATIOS) ** softness) ** (1 / softness) - 1)) for q in range(RATIOS + 1)]


def looked_up_ps(memory_ps: int, compute_ps: int, shares: Sequence[int]) -> int:
    """What the soft maximum adds to the larger of the two: linear between the shares, so that less of either is never longer."""
    low, high = min(memory_ps, compute_ps), max(memory_ps, compute_ps)
    if not shares or not low:
        return 0
    step, rest = divmod(low * RATIOS, high)
    slope = shares[step + 1] - shares[step] if rest else 0
    return (high * shares[step] + rest * slope) // UNIT


def grouped_ps(
    distinct: int, expert_bytes: int, bytes_per_s: int, launch_ps: int, flops: int = 0, flops_per_s: int = 1,
    softness: float | None = None,
) -> int:  # fmt: skip
    """Duration of one launch over `distinct` experts."""
    memory, compute = read_ps(distinct * expert_bytes, bytes_per_s), flops_ps(flops, flops_per_s)
    return launch_ps + max(memory, compute) + looked_up_ps(memory, compute, soft_shares(softness))
