"""One line for a key or a word that a profile may not hold, with the nearest one that it may."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any

from simmoe.simulator.errors import UserError

DOC = "docs/hardware_format.md"


def hint(word: object, known: Collection[object]) -> str:
    near = difflib.get_close_matches(str(word), [str(x) for x in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_keys(node: Any, shape: Mapping[str, Any], at: str) -> None:
    keys = [key.removesuffix("?") for key in shape]
    if not isinstance(node, Mapping) or not node:
        what = "names of your choice" if "*" in shape else ", ".join(keys)
        raise UserError(f"{at}: {node!r} is not a filled mapping; its keys: {what} ({DOC})")
    for key in node:
        if "*" in shape:
            if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", key):
                raise UserError(f"{at}: {key!r} is no name; use letters, digits, '_' and '-', a letter first")
        elif key not in keys:
            raise UserError(f"{at}: unknown key {key!r}{hint(key, keys)}; known: {', '.join(keys)}")
    required = [key for key in shape if not key.endswith(("?", "*"))]
    for key in required:
        if key not in node:
            raise UserError(f"{at}: missing key {key!r}; required: {', '.join(required)}")


def check_word(node: Any, known: Collection[object], at: str) -> None:
    if isinstance(node, bool) or node not in known:  # True is 1 to Python
        raise UserError(f"{at}: unknown {node!r}{hint(node, known)}; known: {', '.join(map(str, known))}")
