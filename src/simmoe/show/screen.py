"""Where everything that a command prints for people goes: text of others is made plain here, and here only, and a table fits."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from simmoe.show.grid import Grid, fitted, lines
from simmoe.show.wrap import wrapped
from simmoe.simulator.plain import plain

PIPE = 150  # width of prose where the output is no terminal


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """The reader of the output has gone: the command ends as usual, where rich would end it with status 1."""
        raise BrokenPipeError


class Screen:
    """Standard output: a terminal of some width, or a pipe or file, in which a row of a table is one line."""

    def __init__(self) -> None:
        self.width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        self._console = _Output(width=self.width or PIPE, markup=False, emoji=False, highlight=False)

    def print(self, text: str = "", lead: str = "") -> None:
        """A paragraph, in lines that fit; `lead` stands before it in bold. Only a terminal breaks a word, one that is wider than it."""
        bold = len(plain(lead))
        for line in wrapped(plain(lead) + plain(text), self.width or PIPE, self.width is not None, cell_len):
            self._console.print(Text.assemble((line[:bold], "bold"), line[bold:]), soft_wrap=True)
            bold = max(bold - len(line) - 1, 0)

    def line(self, text: str) -> None:
        """What a program may read: a paragraph on a terminal, one line elsewhere."""
        if self.width is None:
            self._line(plain(text))
        else:
            self.print(text)

    def command(self, text: str) -> None:
        """A command to copy: one line, or several that a shell reads as one."""
        words, line = plain(text).split(" "), ""
        for word in words:
            if self.width is not None and line and len(line) + len(word) + 3 > self.width:
                self._line(f"{line} \\")
                line = f"    {word}"
            else:
                line = f"{line} {word}" if line else word
        self._line(line)

    def table(self, grid: Grid) -> list[str]:
        """The table; below it what had no room in it. The names of the columns that can be read there."""
        columns = tuple(replace(column, name=plain(column.name)) for column in grid.columns)
        grid = replace(grid, columns=columns, rows=tuple(tuple(map(plain, row)) for row in grid.rows))
        parts = fitted(grid, self.width)
        for one in parts:
            heading, *rows = lines(one.grid, self.width)
            self._line(heading, "bold")
            for row in rows:
                self._line(row)
            for note in one.notes:
                self.print(note)
            if one.same:
                self.print(f"all rows: {', '.join(one.same)}")
            if one.gone:
                self.print(
                    f"Not shown at {self.width} columns: {', '.join(one.gone)}. A wider terminal or a pipe shows all."
                )
        gone = {name for one in parts for name in one.gone}
        return [column.name for column in columns if column.name not in gone]

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style), soft_wrap=True)
