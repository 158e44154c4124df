"""The experts of every layer split over the devices in blocks, in the proportions given: expert parallelism as engines start it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "proportions"  # of the experts of each layer, one for each device: expert_split=1/1


def unit_of(use: npt.NDArray[np.int64], amount: tuple[float, ...], seed: int, cpu: int) -> npt.NDArray[np.int8]:
    ends = np.cumsum(amount) / np.sum(amount) * use.shape[1]
    device = np.searchsorted(ends, np.arange(use.shape[1]) + 0.5).astype(np.int8)
    return np.broadcast_to(device, use.shape)
