"""A missing expert goes the way that takes less time on an idle machine: CPU for few tokens, link for many (Fiddler)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def on_cpu(load_ps: npt.NDArray[np.int64], cpu_ps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return np.asarray(cpu_ps < load_ps)
