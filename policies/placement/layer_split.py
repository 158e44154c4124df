"""Whole MoE layers on each device, in the proportions given: llama.cpp's --split-mode layer and --tensor-split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "proportions"  # of the layers, one for each device: layer_split=3/1


def unit_of(use: npt.NDArray[np.int64], amount: tuple[float, ...], seed: int, cpu: int) -> npt.NDArray[np.int8]:
    ends = np.cumsum(amount) / np.sum(amount) * len(use)
    device = np.searchsorted(ends, np.arange(len(use)) + 0.5).astype(np.int8)
    return np.broadcast_to(device[:, None], use.shape)
