"""Matrix-matrix product, the work of prefill: a soft maximum of reading the weights and computing the FLOPs.

The roofline (Williams, Waterman and Patterson, CACM 2009) takes the slower of the two. Real kernels come close to neither
where both are equal: the gate and up projection of a 7B model on an A100 (microsoft/vidur medians) takes 1.7 times as
long as the roofline at 128 tokens, 2.2 times on an H100 at 256. (memory^p + compute^p)^(1/p) bends the corner; p falls
with how badly the two overlap. Steps of tiles and waves remain: over 254 token counts on that H100 the median error is 5.5 %,
the worst 31 %. Waves of tiles or a table by tokens predict matrices they were not fitted on hardly better (validation case
kernel_gemm_h100), and no part of a model says its m x k x n.
"""

from __future__ import annotations

from simmoe.simulator.physics import PS_PER_S


def flops_ps(flops: int, flops_per_s: int) -> int:
    """Time to compute `flops` at a rate."""
    return -(-flops * PS_PER_S // flops_per_s)


def soft_excess_ps(memory_ps: int, compute_ps: int, softness: float | None) -> int:
    """What a soft maximum of exponent `softness` adds to the hard one: 0 for None, at most (2^(1/p) - 1) times it."""
    low, high = sorted((memory_ps, compute_ps))
    if softness is None or not low:
        return 0
    excess: float = high * ((1 + (low / high) ** softness) ** (1 / softness) - 1)
    return round(excess)


def gemm_ps(memory_ps: int, compute_ps: int, softness: float | None, launch_ps: int) -> int:
    """Duration of one launch."""
    return launch_ps + max(memory_ps, compute_ps) + soft_excess_ps(memory_ps, compute_ps, softness)
