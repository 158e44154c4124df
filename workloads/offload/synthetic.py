"""Dense layers of random weights for a given routing: norms and attention over a cache that grows by one position per pass.

All rows of a pass attend to the same cache, since only the cost is wanted: weights once, then the cache, as in decoding.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simmoe.simulator.nouns.trace import Trace

HEAD_WIDTH = 64


class Dense:
    """Attention and norms of every MoE layer of a trace."""

    def __init__(self, d_model: int, trace: Trace, seed: int) -> None:
        made = torch.Generator().manual_seed(seed)
        layers, passes = trace.n_layers, trace.n_passes
        self.heads = max(d_model // HEAD_WIDTH, 1)
        self.d_model = d_model
        self.qkv = torch.randn(layers, d_model, 3 * d_model, generator=made) * d_model**-0.5
        self.out = torch.randn(layers, d_model, d_model, generator=made) * d_model**-0.5
        self.keys = torch.zeros(layers, self.heads, passes, d_model // self.heads)
        self.values = torch.zeros_like(self.keys)
        self.inputs = torch.randn(int(np.diff(trace.pass_ptr).max()), d_model, generator=made)

    def start(self, rows: int) -> Tensor:
        """Input of a pass, (N, d)."""
        return self.inputs[:rows]

    def layer(self, column: int, x: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Pass `number` through the attention of a layer: x (N, d) to the residual and what the experts see."""
        qkv = F.layer_norm(x, x.shape[1:]) @ self.qkv[column]
        q, k, v = qkv.view(len(x), 3, self.heads, -1).permute(1, 2, 0, 3)  # (H, N, d/H) each
        self.keys[column, :, number] = k[:, -1]
        self.values[column, :, number] = v[:, -1]
        past = slice(0, number + 1)
        y = F.scaled_dot_product_attention(q, self.keys[column, :, past], self.values[column, :, past])  # (H, N, d/H)
        x = x + y.transpose(0, 1).reshape(len(x), -1) @ self.out[column]
        return x, F.layer_norm(x, x.shape[1:])

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean of a token's experts, y (N, k, d), to the residual."""
        return x + y.mean(1)

    def again(self, column: int, x: Tensor, number: int, k: int) -> None:
        """A layer's dense work once more, for a reference sample; the cache stays what it is."""
        x, h = self.layer(column, x, number)
        self.add(x, h.unsqueeze(1).expand(-1, k, -1))
