"""In every layer a random share of the experts is left to the GPU, the others to the CPU: KTransformers' uniform placement."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "share"  # of the experts of each layer that the GPU may have


def unit_of(use: npt.NDArray[np.int64], amount: float, seed: int, cpu: int) -> npt.NDArray[np.int8]:
    rank = np.argsort(np.random.default_rng(seed).random(use.shape), axis=1)
    return np.where(rank >= round(amount * use.shape[1]), cpu, 0).astype(np.int8)
