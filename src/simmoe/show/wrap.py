"""Prose in lines: they end between words, and not between an option and its value, which a reader copies together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_WORD = re.compile(r"\(*--[a-z][a-z-]* [^\s-]\S*|\S+")  # an option with its value, or another word


def wrapped(text: str, width: int, breaks: bool = True, size: Callable[[str], int] = len) -> list[str]:
    """`text` in lines of at most that width. A word that is wider is broken, or else has a line of its own that runs over.

    size: how many places of a line a text takes. The command's help asks with `len`: it starts without the package that knows.
    """
    lines, line = list[str](), text[: len(text) - len(text.lstrip(" "))]
    for word in _WORD.findall(text):
        for piece in _pieces(word, width, size) if breaks else [word]:
            longer = f"{line} {piece}" if line.strip() else line + piece
            if line.strip() and size(longer) > width:
                lines.append(line)
                longer = piece
            line = longer
    return [*lines, line]


def _pieces(word: str, width: int, size: Callable[[str], int]) -> Iterator[str]:
    """A word in parts of at most that width."""
    part = ""
    for one in word if size(word) > width else [word]:
        if part and size(part + one) > width:
            yield part
            part = ""
        part += one
    yield part
