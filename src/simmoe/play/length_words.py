"""How the lengths of requests are written: a number of tokens, a distribution that draws one for each request, or a file that has them.

Nothing here imports numpy, so that --help starts at once.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from simmoe.play import arrival_file
from simmoe.play.kinds import LONGEST, Positions
from simmoe.play.load_words import NUMBER
from simmoe.simulator.errors import UserError

UNIFORM, LOGNORMAL, FILE = "uniform", "lognormal", "file"
MOST_CV = 100
EXAMPLE = "uniform:100..300, lognormal:800,cv=1.2 or a file of requests such as trace.jsonl"


class Spread(NamedTuple):
    """A length for each request."""

    how: str
    low: int = 0  # of uniform, both ends included
    high: int = 0
    mean: int = 0  # of lognormal, before it is rounded
    cv: Fraction = Fraction(0)  # its standard deviation, in means


@dataclass(frozen=True)
class Tokens(Positions):
    """A whole number, or a length for each request."""

    least: int = 1  # of a length that is drawn
    files: bool = True  # have it
    such_as: str = f", such as 4096 or 32k, or for each request its own with {EXAMPLE}"

    def check(self, value: Any, where: str) -> int | str | None:  # type: ignore[override]
        said = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(said, str) or not (":" in said or arrival_file.is_file(said)):
            return super().check(said, where)
        if spread_of(said, where, self.least).how == FILE and not self.files:
            raise UserError(
                f"{where} {said}: a file has lengths of prompts and answers; write a number or a distribution"
            )
        return said


def about(said: int | str | None) -> float:
    """A length or the mean of them, to find the greatest of several; a file's is not known, and counts as greater than any."""
    if not isinstance(said, str):
        return said or 0
    spread = spread_of(said, "lengths")
    return {UNIFORM: (spread.low + spread.high) / 2, LOGNORMAL: float(spread.mean)}.get(spread.how, float("inf"))


def spread_of(said: str, where: str, least: int = 0) -> Spread:
    """Of "lognormal:800,cv=1.2". Raises UserError."""
    if arrival_file.is_file(said):
        arrival_file.find(said, where)
        return Spread(FILE)
    how, _, rest = said.partition(":")
    if len(said) > 3 * LONGEST or how not in (UNIFORM, LOGNORMAL):
        raise UserError(f"{where} {said[: 3 * LONGEST]!r} says no lengths; write a number of tokens, {EXAMPLE}")
    return (_uniform if how == UNIFORM else _lognormal)(said, rest, where, least)


def _uniform(said: str, rest: str, where: str, least: int) -> Spread:
    low, dots, high = rest.partition("..")
    if not dots:
        raise UserError(f"{where} {said!r}: behind uniform stand both ends; write uniform:100..300")
    tokens = Positions("number of tokens", least, such_as=", such as uniform:100..300")
    ends = [tokens.check(_whole(word), f"{where} {UNIFORM}:") for word in (low, high)]
    assert ends[0] is not None and ends[1] is not None
    if ends[0] > ends[1]:
        raise UserError(f"{where} {said}: {low} is above {high}; write the smaller one first")
    return Spread(UNIFORM, low=ends[0], high=ends[1])


def _lognormal(said: str, rest: str, where: str, least: int) -> Spread:
    mean, _, figure = rest.partition(",")
    name, _, cv = figure.partition("=")
    if name != "cv" or not re.fullmatch(NUMBER, cv) or not 0 < Fraction(cv) <= MOST_CV:
        raise UserError(
            f"{where} {said!r}: behind the mean of lognormal stands cv=…, the standard deviation ÷ the mean, above 0 and up to {MOST_CV}; "
            "write lognormal:800,cv=1.2"
        )
    tokens = Positions("mean number of tokens", 1, such_as=", such as lognormal:800,cv=1.2")
    found = tokens.check(_whole(mean), f"{where} {LOGNORMAL}:")
    assert found is not None
    return Spread(LOGNORMAL, mean=found, cv=Fraction(cv))


def _whole(word: str) -> int | str:
    return int(word) if re.fullmatch(r"[0-9]{1,20}", word) else word
