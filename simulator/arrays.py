"""Integer arrays."""

from collections.abc import Iterator
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


def least(values: Ints) -> Ints:
    """A copy in half the memory, where no value is negative or needs more than 32 bits; else the array itself."""
    fits = not len(values) or (int(values.min()) >= 0 and int(values.max()) < 2**32)
    return values.astype(np.uint32) if fits else values


def blocks(ptr: Ints, most: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of stretches of what `ptr` points from: each is the longest that points to at most so many items, but of one at least."""
    begin, n = 0, len(ptr) - 1
    while begin < n:
        end = int(np.searchsorted(ptr, ptr[begin] + most, side="right")) - 1
        end = min(max(end, begin + 1), n)
        yield begin, end
        begin = end
