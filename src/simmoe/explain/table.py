"""Pipe tables of Markdown, and the columns that llama-batched-bench and llama-sweep-bench print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from simmoe.simulator.errors import UserError


class Line(NamedTuple):
    number: int  # from 1 on
    cells: dict[str, str]


def tables(lines: list[str]) -> Iterator[Line]:
    """Each line of each table, under the names of its head."""
    names: list[str] = []
    for i, one in enumerate(lines):
        cells = _cells(one)
        if not cells:
            names = []
        elif _is_rule(cells):
            names = _cells(lines[i - 1]) if i else []
        elif names and not (i + 1 < len(lines) and _is_rule(_cells(lines[i + 1]))):
            if len(cells) != len(names):
                raise UserError(
                    f"line {i + 1}: {len(cells)} cells, but the head of its table has {len(names)}: {', '.join(names)}"
                )
            yield Line(i + 1, dict(zip(names, cells, strict=True)))


def _cells(line: str) -> list[str]:
    clean = line.strip()
    if not clean.startswith("|") or not clean.endswith("|") or len(clean) < 2:
        return []
    return [one.strip().replace("\\|", "|") for one in re.split(r"(?<!\\)\|", clean[1:-1])]


def _is_rule(cells: list[str]) -> bool:
    return bool(cells) and all(re.fullmatch(r":?-+:?|-+", one) for one in cells)
