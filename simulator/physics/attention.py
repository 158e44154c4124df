"""Attention: beside its weights, each sequence reads the keys and values of all its positions once per layer.

Bytes and FLOPs of one layer and pass; the sum enters the same launch as the projections' weights, as in
FlashAttention-style kernels that never write the scores (Dao et al., NeurIPS 2022).
"""

from __future__ import annotations


def attention_bytes(weight_bytes: int, kv_positions: int, kv_bytes_per_position: int) -> int:
    """`kv_positions` is summed over the sequences of the pass."""
    return weight_bytes + kv_positions * kv_bytes_per_position


def attention_flops(tokens: int, flops_per_token: int, attended: int, flops_per_position: int) -> int:
    """`attended` counts the (token, position) pairs of the pass."""
    return tokens * flops_per_token + attended * flops_per_position
