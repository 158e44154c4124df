"""Requests that came to a service, from a file: a JSON object a line, as the traces of Mooncake and of Alibaba's Bailian have it, with its
`timestamp` and the lengths of its prompt and of its answer in tokens.

Nothing here imports numpy, so that --help starts at once.
"""

from __future__ import annotations

import json
import re
import reprlib
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.plain import plain

ENDING = ".jsonl"
MILLISECOND_PS = 10**9
MOST_MS, MOST_TOKENS = 10**12, 2**31 - 1
IN_SECONDS = "chat_id"  # a key of Bailian's lines, whose timestamps are seconds
KEYS = {  # of a length, by option: Mooncake's, Bailian's and vLLM's name, then that of Dynamo's tools
    "prompt": ("input_length", "input_tokens"),
    "generate": ("output_length", "output_tokens"),
}


def is_file(said: str) -> bool:
    """Whether arrivals, or lengths, are those of a file."""
    return said.endswith(ENDING)


def find(said: str, where: str = "--arrivals") -> Path:
    """Raises UserError for a file that is not there."""
    path = Path(said)
    if not path.is_file():
        instead = "poisson:2/s" if where == "--arrivals" else "a number of tokens"
        raise UserError(f"{where}: no file {said}; name one with a JSON object a line, or write {instead}")
    return path


def named(said: str) -> str:
    """The file as a line names it, without folders."""
    return plain(Path(said).name)


def count(said: str, where: str) -> int:
    """How many requests the file has. Raises UserError."""
    return len(_lines(find(said, where), where))


def says(said: str, option: str) -> bool:
    """Whether the first request of the file has a length of that option; what is wrong with the file, who reads it says."""
    try:
        path = find(said)
        with path.open(encoding="utf-8-sig") as stream:
            first = json.loads(next(line for line in stream if line.strip()))
    except (UserError, OSError, ValueError, RecursionError, StopIteration):
        return False
    return isinstance(first, dict) and any(key in first for key in KEYS[option])


def times_ps(arrivals: str, n: int) -> list[int]:
    """Of the first n requests of the file, from the first on. Raises UserError."""
    where, found = f"--arrivals: {named(arrivals)}", list[int]()
    for number, said in enumerate(_requests(arrivals, n, "--arrivals"), 1):
        at = _timestamp(said, f"{where} line {number}")
        if found and at < found[-1]:
            raise UserError(
                f"{where} line {number}: timestamp {at / MILLISECOND_PS:g} is before the one above; sort the lines by it"
            )
        found.append(at)
    return [at - found[0] for at in found]


def lengths(said: str, option: str, n: int) -> list[int]:
    """Tokens of the prompts, or of the answers, of the first n requests of the file. Raises UserError."""
    where = f"--{option}"
    return [
        _length(request, option, f"{where}: {named(said)} line {number}")
        for number, request in enumerate(_requests(said, n, where), 1)
    ]


def _requests(said: str, n: int, where: str) -> list[dict[str, Any]]:
    """The first n of the file. Raises UserError."""
    path = find(said, where)
    return _parsed(path, path.stat().st_mtime_ns, n, where)


@lru_cache(maxsize=3)  # arrivals, prompts and answers of one run
def _parsed(path: Path, written: int, n: int, where: str) -> list[dict[str, Any]]:
    lines = _lines(path, where)
    if len(lines) < n:
        own = f"--prompt {plain(path.name)} for its own lengths, " * (
            where == "--arrivals" and says(str(path), "prompt")
        )
        raise UserError(
            f"{where}: {plain(path.name)} has {len(lines):,} requests, and {n:,} are played; give {own}--requests {len(lines)} of --prompt "
            "and --generate, or play less with --tokens"
        )
    return [_object(line, f"{where}: {plain(path.name)} line {number}") for number, line in enumerate(lines[:n], 1)]


def _lines(path: Path, where: str) -> list[str]:
    try:
        lines = [line for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"{where}: {plain(path.name)} is no text; it has a JSON object a line") from None
    if not lines:
        raise UserError(f"{where}: {plain(path.name)} is empty; it has a JSON object a line")
    return lines


def _object(line: str, where: str) -> dict[str, Any]:
    """What a line says; of something else than an object nothing. Raises UserError."""
    try:
        said = json.loads(line, parse_float=_number, parse_constant=str)
    except (ValueError, RecursionError):
        raise UserError(f"{where} is no JSON: {reprlib.repr(line)}") from None
    return said if isinstance(said, dict) else {}


def _timestamp(said: dict[str, Any], where: str) -> int:
    value, unit = said.get("timestamp"), 1000 if IN_SECONDS in said else 1
    if isinstance(value, bool) or not isinstance(value, int | Fraction) or not 0 <= value * unit <= MOST_MS:
        raise UserError(f'{where}: {_shown(value)} is no timestamp; write milliseconds, such as {{"timestamp": 27482}}')
    return round(value * unit * MILLISECOND_PS)


def _length(said: dict[str, Any], option: str, where: str) -> int:
    value = next((said[key] for key in KEYS[option] if key in said), None)
    number = value if isinstance(value, int | Fraction) and not isinstance(value, bool) else -1
    if number.denominator == 1 and 0 <= number <= MOST_TOKENS:
        return int(number)
    name = KEYS[option][0]
    raise UserError(
        f'{where}: {_shown(value)} is no {name}; write whole tokens up to {MOST_TOKENS:,}, such as {{"{name}": 6955}}, or give a number '
        f"with --{option}"
    )


def _shown(value: Any) -> str:
    """As the file has it, long numbers in short."""
    return f"{Decimal(value.numerator) / value.denominator:.6g}" if isinstance(value, Fraction) else reprlib.repr(value)


def _number(text: str) -> Fraction | str:
    """To the last digit; as a text where the exponent alone is beyond any time, since the number would have as many digits as it says."""
    return text if re.search(r"[eE][+-]?0*[1-9][0-9]{2}", text) else Fraction(text)
