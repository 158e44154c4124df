"""A missing expert is computed on the CPU and never loaded: nothing but prefetches can make an expert resident."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def on_cpu(load_ps: npt.NDArray[np.int64], cpu_ps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return np.ones(len(load_ps), bool)
