"""What a line that refuses a name says of the names that are known: all of a few, the nearest three of many."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FEW = 16


def among(word: object, known: Iterable[object], said: str = "known:", listing: str = "") -> str:
    """said: how the names are called. listing: the command or page that has all of them, where they may be many."""
    names = [str(one) for one in known]
    close = difflib.get_close_matches(str(word), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    if len(names) <= FEW or not listing:
        return f"{hint}{said} {', '.join(names)}"
    three = difflib.get_close_matches(str(word), names, n=3, cutoff=0.0)
    return f"{hint}nearest: {', '.join(three)}; {listing} lists all {len(names)}"
