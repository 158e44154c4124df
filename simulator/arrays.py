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


def distinct(numbers: Ints) -> tuple[Ints, Ints]:
    """The distinct ones of whole numbers from 0 on, rising, and which of them each is."""
    most = int(numbers.max(initial=0)) + 1
    if most > 4 * len(numbers):  # else a table of all that could be is faster than sorting
        found, place = np.unique(numbers, return_inverse=True)
        return found, place.reshape(-1)
    there = np.zeros(most, bool)
    there[numbers] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[numbers]


def blocks(ptr: Ints, most: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of stretches of what `ptr` points from: the longest that point to at most so many items, but of one at least."""
    begin, n = 0, len(ptr) - 1
    while begin < n:
        end = int(np.searchsorted(ptr, ptr[begin] + most, side="right")) - 1
        end = min(max(end, begin + 1), n)
        yield begin, end
        begin = end
