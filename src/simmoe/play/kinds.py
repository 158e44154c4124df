"""What the value of an option may be. Each kind checks a Python value, reads a word of the command line, and writes it again.

Nothing here imports numpy, so that --help starts at once.
"""

from __future__ import annotations

import operator
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.naming import named
from simmoe.simulator.nearest import among
from simmoe.simulator.units import parse

OFF = "none"  # the word of a command or a space for an option that is left out
LONGEST = 40  # characters of a size
MOST_BYTES = 2**62  # twice that overflows int64
LARGEST = 2**31 - 1  # count: positions of a trace are int32


@dataclass(frozen=True)
class Kind:
    """A text: a name or a file."""

    def check(self, value: Any, where: str) -> Any:
        """`value` as a Scenario holds it. Raises UserError; `where` says which option it is of."""
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str) or not value.strip():
            raise UserError(
                f"{where}: {reprlib.repr(value)} is no text; write a name, in quotes where YAML sees a number"
            )
        return value

    def parse(self, word: str, where: str) -> Any:
        """The Python value of a word of the command line."""
        return self.check(word, where)

    def word(self, value: Any) -> str:
        """What `parse` takes for `value`."""
        return str(value)


@dataclass(frozen=True)
class Input(Kind):
    """A name, a file, or the loaded thing itself."""

    noun: Callable[[], type]  # its class, imported when it is asked for

    def check(self, value: Any, where: str) -> Any:
        return value if not isinstance(value, str) and isinstance(value, self.noun()) else super().check(value, where)


@dataclass(frozen=True)
class Policy(Kind):
    """A file of the folder of policies/ that is called like the option, or a file of the user's."""

    told: bool = False  # numbers and another text may stand behind the name: popular=50%:first=20%

    def name(self, value: str) -> str:
        return named(value).name if self.told else value


@dataclass(frozen=True)
class Words(Kind):
    """One of a few words."""

    choices: Callable[[], Sequence[str]]  # asked when a value is checked: the core that declares them needs numpy

    def check(self, value: Any, where: str) -> str:
        if isinstance(value, str) and value in (known := self.choices()):
            return value
        known = self.choices()
        raise UserError(f"{where}: unknown {reprlib.repr(value)}; {among(value, known, 'choose one of')}")


class Counts:
    """Of a kind: the value may end with the trace that it counts, behind a colon."""

    def name(self, value: str) -> str:
        return named(value).name


@dataclass(frozen=True)
class Scope(Counts, Words):
    """One of a few words, or one more with the text that it counts behind a colon."""

    names: str = ""

    def check(self, value: Any, where: str) -> str:
        if isinstance(value, str) and (said := named(value)).name == self.names and not said.values:
            return value
        known = (*self.choices(), f"{self.names}:TRACE", f"{self.names}:first=20%")
        if isinstance(value, str) and value in self.choices():
            return value
        raise UserError(f"{where}: unknown {reprlib.repr(value)}; {among(value, known, 'choose one of')}")


@dataclass(frozen=True)
class Switch(Kind):
    """On or off. The words for it are `on` and `none`."""

    def check(self, value: Any, where: str) -> bool:
        if isinstance(value, bool) or (isinstance(value, str) and value in ("on", OFF)):
            return value in (True, "on")
        raise UserError(f"{where}: unknown {reprlib.repr(value)}; choose one of on, {OFF}")

    def word(self, value: Any) -> str:
        return "on" if value else OFF


@dataclass(frozen=True)
class Count(Kind):
    """A whole number."""

    what: str
    low: int = 1
    high: int = LARGEST
    all: bool = False  # the word "all" stands for None
    such_as: str = ""  # how else it may be written

    def check(self, value: Any, where: str) -> int | None:
        if self.all and value == "all":
            return None
        number = whole(value)
        if number is not None and self.low <= number <= self.high:
            return number
        most = "at most" if number is not None and number > self.high else None
        rule = f"{most} {self.high:,}" if most else f"{self.low} or more"
        raise UserError(
            f"{where} {reprlib.repr(value)} is no {self.what}; give {rule}{', or all' * self.all}{self.such_as}"
        )

    def parse(self, word: str, where: str) -> int | None:
        return self.check(int(word) if re.fullmatch(r"[+-]?[0-9]{1,20}", word.strip()) else word, where)

    def word(self, value: Any) -> str:
        return "all" if value is None else str(value)


@dataclass(frozen=True)
class Positions(Count):
    """A whole number of tokens or positions; k stands for 1,024 of them."""

    such_as: str = ", such as 4096 or 32k"

    def check(self, value: Any, where: str) -> int | None:
        thousands = re.fullmatch(r"([0-9]{1,10})[kK]", value.strip()) if isinstance(value, str) else None
        return super().check(1024 * int(thousands[1]) if thousands else value, where)


@dataclass(frozen=True)
class Size(Kind):
    """Bytes: a whole number of them in Python, a text with a unit, or a percentage where there is something to take it of."""

    percent: bool = False

    def check(self, value: Any, where: str) -> int | str:
        number = whole(value)
        if number is not None and 0 <= number <= MOST_BYTES:
            return number
        if not isinstance(value, str):
            example = "'2 GB' or '25%'" if self.percent else "'2 GB'"
            raise UserError(f"{where}: {reprlib.repr(value)} is no size; write it like {example}")
        bytes_of(value, 1 if self.percent else None, where)
        return value

    def word(self, value: Any) -> str:
        return f"{value}B" if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Changes(Kind):
    """PATH=VALUE, any number of times."""

    def check(self, value: Any, where: str) -> tuple[str, ...]:
        settings = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else None
        if settings is None:
            raise UserError(f"{where}: {reprlib.repr(value)} is no list of changes; write PATH=VALUE for each")
        changes(settings, where)
        return settings


@dataclass(frozen=True)
class Time(Kind):
    """A time above 0, such as 100ms."""

    def check(self, value: Any, where: str) -> str:
        ps_of(value, where)
        return str(value)


def ps_of(text: Any, where: str) -> int:
    """Picoseconds of "100ms". Raises UserError."""
    if not isinstance(text, str) or len(text) > LONGEST:
        raise UserError(f"{where}: {reprlib.repr(text)} is no time; write it like 100ms")
    found = parse(spaced(text), "time", where)
    if not found:
        raise UserError(f"{where} {text!r}: nothing is so quick; give a time such as 100ms")
    return found


def spaced(quantity: str) -> str:
    """A number and its unit with a space between them."""
    return re.sub(r"(?<=[0-9])(?=[a-zA-Z])", " ", quantity)


@dataclass(frozen=True)
class Acceptance(Counts, Kind):
    """How many guesses of a draft are right: 60%, each=80%, by position 80%,60%,40%, or counted in the verify passes of a trace."""

    def check(self, value: Any, where: str) -> str:
        text = f"{value:.15g}" if isinstance(value, int | float) and not isinstance(value, bool) else value
        acceptance_of(text, where)
        return str(text)


def acceptance_of(text: Any, where: str) -> tuple[str, tuple[float, ...]]:
    """("share", of all guesses), ("each", chance behind right ones), ("positions", of each place) or ("counted", nothing): behind the
    colon stands the trace that says. Raises UserError."""
    if isinstance(text, str) and text.startswith("counted:") and named(text).text:
        return "counted", ()
    said = text.replace(" ", "") if isinstance(text, str) else ""
    each = said.startswith("each=")
    words = [
        re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,15})?)(%?)", word) for word in said.removeprefix("each=").split(",")
    ]
    shares = [float(Fraction(one[1]) / (100 if one[2] else 1)) for one in words if one]
    if len(shares) < len(words) or (each and len(words) > 1) or max(shares) > 1:
        raise UserError(
            f"{where}: {reprlib.repr(text)} is no acceptance; write 60% (of all guesses), each=80% (the chance of each behind right ones), "
            "80%,60%,40% (by position) or counted:TRACE (as a trace with emitted says)"
        )
    if shares != sorted(shares, reverse=True):
        raise UserError(
            f"{where} {text}: a guess is only kept behind kept ones, so no position has a larger share than the one before; write them as "
            "an engine prints them, shares of all passes"
        )
    return "each" if each else "share" if len(shares) == 1 else "positions", tuple(shares)


def changes(settings: Iterable[Any], where: str = "--set") -> dict[str, str]:
    """Path of a figure -> its new value. Raises UserError."""
    found = dict[str, str]()
    for setting in settings:
        path, sign, value = setting.partition("=") if isinstance(setting, str) else ("", "", "")
        if not sign or not path.strip() or not value.strip():
            raise UserError(
                f"{where} {reprlib.repr(setting)} is no change; write PATH=VALUE, such as link.bandwidth=12GB/s"
            )
        if path.strip() in found:
            raise UserError(f"{where} changes {path.strip()} twice; change each figure once")
        found[path.strip()] = value.strip()
    return found


def whole(value: Any) -> int | None:
    """A whole number of Python or numpy as an int; None for anything else. A bool is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def bytes_of(size: int | str, all_bytes: int | None, where: str) -> int:
    """Bytes of "2GB", or of a percentage of `all_bytes` where that is given. Raises UserError."""
    if isinstance(size, int):
        return size
    if len(size) > LONGEST:
        raise UserError(f"{where}: {reprlib.repr(size)} has {len(size):,} characters; write a size like '2 GB'")
    percent = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", size)
    if percent and all_bytes is not None:
        if Fraction(percent[1]) > 100:
            raise UserError(f"{where} {size.strip()} is more than all experts; write 100% or less")
        return int(Fraction(percent[1]) / 100 * all_bytes)
    return parse(spaced(size), "bytes", where)
