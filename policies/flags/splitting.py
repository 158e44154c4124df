"""A pasted command line -> its words, without what stands before the flags: prompt sign, environment, wrappers, the program."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from simmoe.policies.flags.table import Table
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

VARIABLE = re.compile(r"[A-Za-z_]\w*=")
SET_BY_VARIABLE = ("LLAMA_ARG_", "SGLANG_ARG_")  # variables that stand for a flag


class Line(NamedTuple):
    program: str  # empty: the line begins with a flag
    aside: tuple[str, ...]  # variables and wrappers
    words: tuple[str, ...]


def split(table: Table, text: str) -> Line:
    """Words behind the program's name and its sub-commands."""
    words = _words(text)
    start = 0
    while start < len(words) and VARIABLE.match(words[start]):
        start += 1
    variables = [one.partition("=")[0] for one in words[:start]]
    for name in variables:
        if name.startswith(SET_BY_VARIABLE):
            raise UserError(f"{table.engine} flags: the variable {name} stands for a flag: write the flag instead")
    if start == len(words) or words[start].startswith("-"):
        return Line("", tuple(variables), tuple(words[start:]))
    return _behind_program(table, tuple(variables), words[start:])


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(re.sub(r"\\\r?\n", " ", text))
    except ValueError as problem:
        raise UserError(f"flags: {str(problem)[0].lower()}{str(problem)[1:]} in {text!r}: close the quote") from None
    return words[1:] if words[:1] == ["$"] else words


def _behind_program(table: Table, aside: tuple[str, ...], words: list[str]) -> Line:
    """The program is the first word that bears a program's name; wrappers such as numactl stand before it."""
    names = [re.split(r"[/\\]", one)[-1].removesuffix(".exe") for one in words]
    at = next((i for i, name in enumerate(names) if name in table.programs), None)
    if at is None:
        if table.positional_model:
            return Line("", aside, tuple(words))
        raise UserError(
            f"{table.engine} flags: {words[0]!r} is neither a flag nor a program of {table.engine}; {among(names[0], table.programs)}"
        )
    end = at + 1
    while end < len(words) and words[end] in table.programs[names[at]]:
        end += 1
    wrappers = tuple(one for one in words[:at] if one != "-m" and not one.startswith("python"))
    return Line(names[at], aside + wrappers, tuple(words[end:]))
