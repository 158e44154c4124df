"""One measured speed, and what its output says of the run."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median, stdev

from simmoe.policies.flags import Flags, read
from simmoe.simulator.errors import UserError

PROMPT, DECODE, BOTH = "prompt", "decode", "both"  # BOTH: prompt and generated tokens over the time of both
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Row:
    """One measured speed."""

    line: int  # of the text, from 1 on
    phase: str  # PROMPT, DECODE or BOTH
    tok_s: float  # of all sequences together
    flags: Flags  # what the run was asked for, as far as the output says; its prompt and generate are the tokens of this row
    spread: float | None = None  # standard deviation of tok_s over its repeats
    model: str = ""  # as the output calls it
    size_bytes: int | None = None
    params: int | None = None
    backend: str = ""
    device: str = ""
    build: str = ""
    cpu: str = ""
    format: str = ""  # how the weights are stored, in the words of the output

    @property
    def tokens(self) -> int | None:
        """What was counted: tokens read, generated, or both."""
        parts = (self.flags.prompt, self.flags.generate)
        chosen = {PROMPT: parts[:1], DECODE: parts[1:], BOTH: parts}[self.phase]
        return None if None in chosen else sum(one for one in chosen if one is not None)


def number(text: object, where: str) -> float:
    """A finite number above 0 that stands in a text."""
    clean = str(text).strip().strip("*`").replace(",", "")
    value = float(clean) if _NUMBER.fullmatch(clean) else math.nan
    if not math.isfinite(value) or value <= 0:
        raise UserError(f"{where}: {text!r} must be a number above 0")
    return value


def flags_of(engine: str, words: Iterable[tuple[str, object]], where: str, program: str = "") -> Flags:
    """Flags of (spelling, value) pairs; a spelling without a value has None."""
    line = [program] if program else []
    line += [name if value is None else f"{name}={value}" for name, value in words]
    try:
        return read(engine, shlex.join(line))
    except UserError as problem:
        raise UserError(f"{where}: {problem}") from None


def middle(values: Sequence[float]) -> tuple[float, float | None]:
    """The median and the standard deviation of a speed that was seen several times."""
    return median(values), stdev(values) if len(values) > 1 else None


def behind_prompt(flags: Flags) -> Flags:
    """Those of tokens that are generated behind the prompt."""
    return replace(flags, depth=flags.prompt, prompt=None)
