"""Copies of experts in low precision: weights in blocks of 32, each with a smallest value and a step."""

from __future__ import annotations

import torch
from torch import Tensor

from simmoe.workloads.offload.layout import Layout, Weights
from simmoe.workloads.offload.measured import BITS as BITS

BLOCK = 32  # neighbouring weights of a row
SCALES = 4  # bytes of a block's smallest value and step, 16 bits each


def rounded(weights: Weights, bits: int) -> Weights:
    """The expert as its copy of `bits` a weight says it; biases stay as they are."""
    return weights._replace(w1=_rounded(weights.w1, bits), w2=_rounded(weights.w2, bits))


def low_bytes(layout: Layout, bits: int) -> int:
    """Bytes of such a copy: what loading it moves."""
    weights, biases = 2 * layout.d_model * layout.d_ff, layout.d_model + layout.d_ff
    return -(-weights * bits // 8) + -(-weights // BLOCK) * SCALES + 4 * biases


def _rounded(weight: Tensor, bits: int) -> Tensor:
    """Each weight to the nearest of the 2**bits levels between least and greatest of its block, (rows, columns) to the same."""
    blocks = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % BLOCK), value=0.0).view(-1, BLOCK)
    least = _half(blocks.min(1, keepdim=True).values)
    step = _half((blocks.max(1, keepdim=True).values - least) / (2**bits - 1))
    level = torch.where(step > 0, (blocks - least) / step, torch.zeros_like(blocks)).round().clamp(0, 2**bits - 1)
    return (least + level * step).flatten()[: weight.numel()].view(weight.shape)


def _half(x: Tensor) -> Tensor:
    """As 16 bits hold it."""
    return x.to(torch.float16).to(x.dtype)
