"""Text tables of whole numbers, comma by comma, so that a wrong one is named by its line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from simmoe.workloads.foreign.file import Array, File


def whole_numbers(file: File, lines: Iterable[tuple[int, str]], columns: Sequence[str], wanted: Sequence[str]) -> Array:
    """[rows, 1 + wanted]: the line of each row, then its values in the wanted columns. columns: how the table names its own."""
    places = [columns.index(name) for name in wanted]
    rows = []
    for number, line in lines:
        cells = line.split(",")
        if len(cells) != len(columns):
            file.fail(f"line {number} has {len(cells)} values; the columns are {','.join(columns)}")
        row = [number]
        for place in places:
            try:
                row.append(_whole(cells[place]))
            except ValueError:
                file.fail(
                    f"line {number}: {columns[place]} is {cells[place].strip()[:40]!r}; it must be a whole number"
                )
        rows.append(row)
    if not rows:
        file.fail("holds no rows")
    return np.array(rows, np.int64)


def _whole(text: str) -> int:
    value = int(text) if text.isascii() else None
    if value is None or abs(value) >= 2**62:
        raise ValueError
    return value
