"""Rows of an array that are used again and again, by index: requests that share recorded rows would take their memory many times over."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints

Rows = npt.NDArray[Any]
BLOCK = 2**12  # rows that are looked at together
LARGE = 2**24  # numbers: fewer are copied


class Picked:
    """The rows `index` of `table`, in this order. It reads like an array of them, and copies only what is asked for."""

    def __init__(self, table: Rows, index: Ints) -> None:
        self.table, self.index = table, index

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), *self.table.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.table.dtype

    @property
    def ndim(self) -> int:
        return self.table.ndim

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __getitem__(self, rows: Any) -> Any:
        """An array, but for many rows that are used several times: those stay an index."""
        if not isinstance(rows, tuple):
            return taken(self.table, self.index[rows])
        first, *others = rows
        whole = np.asarray(self[first])
        return whole[tuple(others)] if whole.ndim < self.ndim else whole[(slice(None), *others)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Rows:
        whole: Rows = self.table[self.index]
        return whole if dtype is None else whole.astype(dtype)


def taken(table: Any, rows: Any) -> Any:
    """These rows of an array. Where they are many and more than it has, so that some are used several times, they stay where they are."""
    if isinstance(table, Picked):
        return table[rows]
    again = isinstance(rows, np.ndarray) and rows.dtype != bool and len(rows) > len(table)
    return Picked(table, rows) if again and len(rows) * table[0].size > LARGE else table[rows]


def equal(one: Any, order: Ints, other: Any, of_other: Ints) -> bool:
    """Whether the rows `order` of the one are the rows `of_other` of the other. Compared a few at a time."""
    if len(order) != len(of_other):
        return False
    if isinstance(one, Picked) and isinstance(other, Picked) and one.table is other.table:
        return bool((one.index[order] == other.index[of_other]).all())
    cuts = range(0, len(order), BLOCK)
    return all(np.array_equal(one[order[at : at + BLOCK]], other[of_other[at : at + BLOCK]]) for at in cuts)
