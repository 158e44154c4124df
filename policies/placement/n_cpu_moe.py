"""The experts of the first N MoE layers stay on the CPU: llama.cpp's --n-cpu-moe."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "layers"


def unit_of(use: npt.NDArray[np.int64], amount: float, seed: int, cpu: int) -> npt.NDArray[np.int8]:
    return np.where(np.broadcast_to(np.arange(len(use))[:, None] < amount, use.shape), cpu, 0).astype(np.int8)
