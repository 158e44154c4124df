"""In every layer the most used experts are left to the GPU, the others to the CPU: KTransformers' placement by frequency.

popular=50% counts the very text that it is scored on: a bound, what a profile could give at best. popular=50%:TRACE counts another trace,
popular=50%:first=20% the first fifth of this one, which is then not played.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = "share"  # of the experts of each layer that the GPU may have


def unit_of(use: npt.NDArray[np.int64], amount: float, seed: int, cpu: int) -> npt.NDArray[np.int8]:
    rank = np.argsort(np.argsort(-use, axis=1, kind="stable"), axis=1)
    return np.where(rank >= round(amount * use.shape[1]), cpu, 0).astype(np.int8)
