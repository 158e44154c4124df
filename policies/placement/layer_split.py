"""Whole MoE layers on each device, in the proportions given: llama.cpp's --split-mode layer and --tensor-split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "proportions"  # of the layers, one for each device: layer_split=3/1


def unit_of(use: npt.NDArray[np.int64], shares: tuple[float, ...]) -> npt.NDArray[np.int8]:
    return np.broadcast_to(dealt(len(use), shares)[:, None], use.shape)


def dealt(count: int, shares: tuple[float, ...]) -> npt.NDArray[np.int8]:
    """[count]: device of each in turn, so that device d has shares[d] / sum(shares) of them, to the nearest."""
    ends = np.cumsum(shares) / np.sum(shares) * count
    return np.searchsorted(ends, np.arange(count) + 0.5).astype(np.int8)
