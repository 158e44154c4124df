"""Flat arrays that grow at their ends while text reads them: lists where it runs interpreted, arrays with room where it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from simmoe.simulator.arrays import Ints

T = TypeVar("T", bound=tuple[Any, ...])  # a NamedTuple of flat arrays


class Grown(Generic[T]):
    """`now` holds the arrays under their names. Behind the last value of an array with room stands a number that no index reaches, so
    text that looks for the end of what it was given finds it there, too."""

    def __init__(self, begin: T, arrays: Callable[[T], T]) -> None:
        """`arrays` makes of arrays what the text reads (decide/player.py)."""
        fields: dict[str, Any] = begin._asdict()  # type: ignore[attr-defined]
        self.length = {name: len(array) for name, array in fields.items()}
        self._dtype = {name: array.dtype for name, array in fields.items()}
        self.now = arrays(begin)
        if any(isinstance(array, np.ndarray) and array.dtype == object for array in self.now):
            raise OverflowError("a number does not fit into 64 bits")

    def put(self, **whole: Ints) -> None:
        """Other values in place of all of an array."""
        for name, values in whole.items():
            lists = isinstance(getattr(self.now, name), list)
            self.now = self.now._replace(**{name: values.tolist() if lists else values.astype(self._dtype[name])})  # type: ignore[attr-defined]
            self.length[name] = len(values)

    def extend(self, **more: Ints) -> None:
        """Values behind the last ones."""
        for name, values in more.items():
            column = getattr(self.now, name)
            if isinstance(column, list):
                column.extend(values.tolist())
            elif len(values):
                self._room(name, self.length[name] + len(values))[self.length[name] :][: len(values)] = values
            self.length[name] += len(values)

    def empty(self, name: str) -> None:
        """An array begins anew, in the room that it has."""
        column = getattr(self.now, name)
        if isinstance(column, list):
            column.clear()
        self.length[name] = 0

    def since(self, name: str, begin: int = 0, end: int | None = None) -> Ints:
        """The values begin … end-1 of an array; to its last one without `end`."""
        column = getattr(self.now, name)[begin : self.length[name] if end is None else end]
        return np.array(column, self._dtype[name])

    def _room(self, name: str, wanted: int) -> Any:
        """The array, with room for so many values."""
        column = getattr(self.now, name)
        if wanted > len(column):
            larger = np.full(2 * wanted, np.iinfo(self._dtype[name]).max, self._dtype[name])
            larger[: self.length[name]] = column[: self.length[name]]
            self.now = self.now._replace(**{name: larger})  # type: ignore[attr-defined]
            column = larger
        return column
