"""The experts of the first N MoE layers stay on the CPU: llama.cpp's --n-cpu-moe."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "layers"


def on_cpu(use: npt.NDArray[np.int64], amount: float, seed: int) -> npt.NDArray[np.bool_]:
    return np.broadcast_to(np.arange(len(use))[:, None] < amount, use.shape)
