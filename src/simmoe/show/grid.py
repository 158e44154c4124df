"""A table as columns and rows of text, and how it fits into a width: no cell is ever cut.

Where a table is too wide, columns that tell no row from another leave and their value is said once; then long words of a text column go to
notes below it; then the columns that matter least leave and are named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from simmoe.show.wrap import wrapped

GAP = 2  # spaces between columns
LONG, SHORT = 32, 10  # a longer word of a text column goes to a note before, or after, columns leave
LEAST = 24  # width of a column that wraps


@dataclass(frozen=True)
class Column:
    """rank: 0 = stays; of the others the one with the largest leaves first."""

    name: str
    rank: int = 0
    text: bool = False  # words, which stand left and may go to a note; numbers stand right
    wraps: bool = False  # the last column, which may run over several lines of a terminal


@dataclass(frozen=True)
class Grid:
    """A row of two cells in a wider table is a label and one text across the other columns."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    stacked: bool = False  # columns that do not fit stand below, in a table of their own


@dataclass(frozen=True)
class Fitted:
    """A table that fits. `notes`: long words by their mark. `gone`: names of the columns that left. `same`: name and value of those that
    left because every row has the same."""

    grid: Grid
    notes: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def fitted(grid: Grid, width: int | None) -> list[Fitted]:
    """The table, or the tables that stand below each other; width None: all of it, however wide."""
    if width is None:
        return [Fitted(grid)]
    return [_shrunk(one, width) for one in (_blocks(grid, width) if grid.stacked else [grid])]


def widths(grid: Grid) -> list[int]:
    """Of each column."""
    whole = [row for row in grid.rows if not _spans(row, grid)]
    found = [max(map(cell_len, (c.name, *(row[i] for row in whole)))) for i, c in enumerate(grid.columns)]
    found[0] = max([found[0], *(cell_len(row[0]) for row in grid.rows)])
    return found


def lines(grid: Grid, width: int | None) -> Iterator[str]:
    """The heading and each row, aligned, without spaces at the end."""
    column_widths = widths(grid)
    if width is not None and grid.columns[-1].wraps:
        column_widths[-1] = max(width - _total(column_widths[:-1]) - GAP, 1)
    for row in ([column.name for column in grid.columns], *grid.rows):
        if _spans(row, grid):
            yield f"{_padded(row[0], column_widths[0], True)}{' ' * GAP}{row[1]}".rstrip()
        else:
            yield from _row(row, grid.columns, column_widths, width)


def _row(cells: Sequence[str], columns: Sequence[Column], column_widths: list[int], width: int | None) -> Iterator[str]:
    parts = [[cell] for cell in cells]
    if width is not None and columns[-1].wraps:
        parts[-1] = wrapped(cells[-1], column_widths[-1], size=cell_len)
    for number in range(max(map(len, parts))):
        each = [part[number] if number < len(part) else "" for part in parts]
        padded = (
            _padded(cell, w, i == 0 or c.text) for i, (cell, w, c) in enumerate(zip(each, column_widths, columns))
        )
        yield (" " * GAP).join(padded).rstrip()


def _shrunk(grid: Grid, width: int) -> Fitted:
    """Columns that say nothing leave first, then long words, then columns, then shorter words; what cannot be helped runs over."""
    same, gone = list[str](), list[str]()
    grid, notes = _long_rows(grid, width)
    while _needs(grid) > width and (alike := _alike(grid)):
        grid, column, value = _without(grid, alike)
        same.insert(0, f"{column.name} {value}")
    grid, notes = _noted(grid, width, LONG, notes)
    while _needs(grid) > width and any(column.rank for column in grid.columns):
        grid, column, _ = _without(grid, [i for i, column in enumerate(grid.columns) if column.rank])
        gone.insert(0, column.name)
    grid, notes = _noted(grid, width, SHORT, notes)
    shown = {cell for row in ([column.name for column in grid.columns], *grid.rows) for cell in row}
    marked = ((f"({n})", word) for n, word in enumerate(notes, 1))
    said = tuple(f"{mark} {word}" for mark, word in marked if mark in shown)  # others left with their column
    return Fitted(grid, said, tuple(same), tuple(gone))


def _alike(grid: Grid) -> list[int]:
    """Columns that may leave because several rows have the same value there: not the first, by which a row is called, nor a number that
    always stays."""
    whole = [row for row in grid.rows if not _spans(row, grid)]
    free = [i for i, column in enumerate(grid.columns) if i and (column.rank or column.text) and not column.wraps]
    return [i for i in free if len(whole) > 1 and len({row[i] for row in whole}) == 1]


def _without(grid: Grid, numbers: list[int]) -> tuple[Grid, Column, str]:
    """The table without the one of those columns that matters least; that column, and its value in the first whole row."""
    last = max(numbers, key=lambda i: (grid.columns[i].rank, i))
    value = next((row[last] for row in grid.rows if not _spans(row, grid)), "")
    return only(grid, [i for i in range(len(grid.columns)) if i != last]), grid.columns[last], value


def _long_rows(grid: Grid, width: int) -> tuple[Grid, list[str]]:
    """Texts across the table that would run over its edge go to notes."""
    notes: list[str] = []
    first = widths(grid)[0]
    rows = [
        (row[0], _mark(row[1], notes)) if _spans(row, grid) and first + GAP + cell_len(row[1]) > width else row
        for row in grid.rows
    ]
    return replace(grid, rows=tuple(rows)), notes


def _noted(grid: Grid, width: int, least: int, notes: list[str]) -> tuple[Grid, list[str]]:
    """While the table is too wide, its longest word of more than `least` characters leaves a mark behind."""
    while _needs(grid) > width:
        words = (
            {
                cell
                for row in ([column.name for column in grid.columns], *grid.rows)
                for cell, column in zip(row, grid.columns)
                if not _spans(row, grid) and column.text and not column.wraps
            }
            | {column.name for column in grid.columns[1:]}
            | {row[0] for row in grid.rows}
        )
        word = max(sorted(words), key=cell_len)
        if cell_len(word) <= least:
            break
        mark = _mark(word, notes)
        columns = tuple(replace(c, name=mark) if c.name == word else c for c in grid.columns)
        rows = tuple(
            tuple(mark if cell == word and (i == 0 or c.text) else cell for i, (cell, c) in enumerate(zip(row, columns)))
            if not _spans(row, grid) else (mark if row[0] == word else row[0], row[1])
            for row in grid.rows
        )  # fmt: skip
        grid = replace(grid, columns=columns, rows=rows)
    return grid, notes


def _mark(word: str, notes: list[str]) -> str:
    if word not in notes:
        notes.append(word)
    return f"({notes.index(word) + 1})"


def _blocks(grid: Grid, width: int) -> list[Grid]:
    """The first column beside as many of the others as fit, as often as it takes."""
    found, taken = [], [1]
    for number in range(2, len(grid.columns)):
        if _needs(only(grid, [0, *taken, number])) > width:
            found.append(only(grid, [0, *taken]))
            taken = []
        taken.append(number)
    return [*found, only(grid, [0, *taken])]


def with_values(grid: Grid, names: Collection[str]) -> Grid:
    """The table without those columns of `names` in which no row has a value."""
    whole = [row for row in grid.rows if not _spans(row, grid)]
    empty = {column.name for i, column in enumerate(grid.columns) if all(row[i] == "–" for row in whole)}
    return only(grid, [i for i, column in enumerate(grid.columns) if column.name not in empty.intersection(names)])


def only(grid: Grid, numbers: list[int]) -> Grid:
    """The table with those columns."""
    rows = (row if _spans(row, grid) else tuple(row[i] for i in numbers) for row in grid.rows)
    return replace(grid, columns=tuple(grid.columns[i] for i in numbers), rows=tuple(rows))


def _needs(grid: Grid) -> int:
    """The least width of the table."""
    found = widths(grid)
    if grid.columns[-1].wraps:
        found[-1] = min(found[-1], LEAST)
    return _total(found)


def _total(column_widths: list[int]) -> int:
    return sum(column_widths) + GAP * (len(column_widths) - 1)


def _spans(row: Sequence[str], grid: Grid) -> bool:
    return len(row) < len(grid.columns)


def _padded(text: str, width: int, left: bool) -> str:
    room = " " * (width - cell_len(text))
    return text + room if left else room + text
