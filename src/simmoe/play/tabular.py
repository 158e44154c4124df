"""Results as rows of plain values: what `repr` prints, what a notebook shows, and what `to_frame` hands to pandas."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any, ClassVar

from simmoe.simulator.errors import UserError
from simmoe.simulator.plain import plain

if TYPE_CHECKING:
    from pandas import DataFrame

MOST = 20  # rows that are shown; to_frame has all
NUMBER = re.compile(r"[-+]?[0-9,.]+(e[-+][0-9]+)?|–")
LONGEST = 60  # characters of a cell
WIDE = 10_000  # characters: the lines of a repr are cut by whoever shows them

Record = dict[str, Any]  # column -> number, text, truth value or None; a name ends in its unit


class Tabular(ABC):
    """A result that is a table. `brief` names the columns that are shown; all have a place in `to_frame`."""

    brief: ClassVar[tuple[str, ...]]

    @abstractmethod
    def records(self) -> list[Record]:
        """One record a row; all have the same columns."""

    @abstractmethod
    def title(self) -> str:
        """The line above the table."""

    def to_frame(self) -> DataFrame:
        """A pandas DataFrame, one row for each record. Raises UserError where pandas is missing."""
        try:
            import pandas as pd
        except ImportError:
            raise UserError("pandas is not installed, which to_frame needs: pip install 'simmoe[frames]'") from None
        return pd.DataFrame(self.records())

    def __repr__(self) -> str:
        from rich.console import Console  # only what is shown needs it
        from rich.table import Table
        from rich.text import Text

        head, rows, rest = self._shown()
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=bool(head))
        numbers = [all(NUMBER.fullmatch(one) for one in column) for column in zip(*rows)]
        for name, right in zip(map(plain, head or ("", "")), numbers):
            table.add_column(Text(name), justify="right" if right else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        Console(file=(out := StringIO()), width=WIDE, color_system=None, highlight=False, force_jupyter=False).print(
            table
        )
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
        return "\n".join([plain(self.title()), *lines, *rest])

    def _repr_html_(self) -> str:
        """The same table, as notebooks show it."""
        head, rows, rest = self._shown()
        top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        caption = escape(" · ".join([plain(self.title()), *rest]))
        return f"<table><caption>{caption}</caption>{f'<thead><tr>{top}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"

    def _shown(self) -> tuple[Sequence[str], list[list[str]], list[str]]:
        """Heads, cells and a line about what is left out. A single record stands upright, without heads."""
        records = self.records()
        if len(records) == 1:
            return (), [[name, cell(records[0][name])] for name in self.brief], []
        head = [name for name in self.brief if any(record[name] is not None for record in records)]
        rows = [[cell(record[name]) for name in head] for record in records[:MOST]]
        more = len(records) - MOST
        return head, rows, [f"… and {more:,} more rows: to_frame() has all"] if more > 0 else []


def cell(value: Any) -> str:
    """A value as it is read: four digits of a number that is not whole, a long text cut."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = plain(str(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
