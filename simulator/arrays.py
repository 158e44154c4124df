"""Integer arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]


Flags = npt.NDArray[np.bool_]


def small(index: Ints) -> npt.NDArray[np.uint32]:
    """Half the memory to stream through, and no negative index for compiled code to check."""
    return index.astype(np.uint32, copy=False)


def ints(values: Any) -> Ints:
    """int64, or Python's whole numbers where one does not fit."""
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return np.array(values, object)
