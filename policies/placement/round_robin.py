"""Expert i of every layer on device i mod N: expert parallelism that knows nothing of the text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "devices"


def unit_of(use: npt.NDArray[np.int64], amount: int, seed: int, cpu: int) -> npt.NDArray[np.int8]:
    return np.broadcast_to((np.arange(use.shape[1]) % amount).astype(np.int8), use.shape)
