"""When requests came to a service, from a file: a JSON object a line with `timestamp` in milliseconds, as Mooncake's traces have it.

Nothing here imports numpy, so that --help starts at once.
"""

from __future__ import annotations

import json
import re
import reprlib
from fractions import Fraction
from pathlib import Path

from simmoe.simulator.errors import UserError
from simmoe.simulator.plain import plain

ENDING = ".jsonl"
MILLISECOND_PS = 10**9
MOST_MS = 10**12


def is_file(arrivals: str) -> bool:
    """Whether arrivals are those of a file."""
    return arrivals.endswith(ENDING)


def find(arrivals: str) -> Path:
    """Raises UserError for a file that is not there."""
    path = Path(arrivals)
    if not path.is_file():
        raise UserError(f"--arrivals: no file {arrivals}; name one with a JSON object a line, or write poisson:2/s")
    return path


def times_ps(arrivals: str, n: int) -> list[int]:
    """Of the first n requests of the file, from the first on. Raises UserError."""
    path, found = find(arrivals), list[int]()
    try:
        lines = [line for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"--arrivals: {path.name} is no text; it has a JSON object a line") from None
    if not lines:
        raise UserError(f"--arrivals: {path.name} is empty; it has a JSON object a line")
    if len(lines) < n:
        raise UserError(
            f"--arrivals: {path.name} has {len(lines):,} requests, and {n:,} are played; give --requests {len(lines)} of --prompt and "
            "--generate, or play less with --tokens"
        )
    for number, line in enumerate(lines[:n], 1):
        at = _timestamp(line, f"--arrivals: {plain(path.name)} line {number}")
        if found and at < found[-1]:
            raise UserError(
                f"--arrivals: {path.name} line {number}: timestamp {at / MILLISECOND_PS:g} is before the one above; sort the lines by it"
            )
        found.append(at)
    return [at - found[0] for at in found]


def _timestamp(line: str, where: str) -> int:
    try:
        said = json.loads(line, parse_float=_number, parse_constant=str)
    except (ValueError, RecursionError):
        raise UserError(f"{where} is no JSON: {reprlib.repr(line)}") from None
    value = said.get("timestamp") if isinstance(said, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | Fraction) or not 0 <= value <= MOST_MS:
        raise UserError(
            f'{where}: {reprlib.repr(value)} is no timestamp; write milliseconds, such as {{"timestamp": 27482}}'
        )
    return round(value * MILLISECOND_PS)


def _number(text: str) -> Fraction | str:
    """To the last digit; as a text where the exponent alone is beyond any time, since the number would have as many digits as it says."""
    return text if re.search(r"[eE][+-]?0*[1-9][0-9]{2}", text) else Fraction(text)
