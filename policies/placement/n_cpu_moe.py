"""The experts of the first N blocks stay on the CPU: llama.cpp's --n-cpu-moe.

N counts the blocks of the model from 0, those without experts too, and may be larger than there are. What `unit_of` is given is how
many MoE layers are among them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "blocks"


def unit_of(use: npt.NDArray[np.int64], amount: float, seed: int, cpu: int) -> npt.NDArray[np.int8]:
    return np.where(np.broadcast_to(np.arange(len(use))[:, None] < amount, use.shape), cpu, 0).astype(np.int8)
