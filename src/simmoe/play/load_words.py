"""How the load of a clock-driven run is written: when requests arrive, and how many a second.

Nothing here imports numpy, so that --help starts at once.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from simmoe.play import arrival_file
from simmoe.play.kinds import LONGEST, Kind, ps_of, spaced
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import parse

NUMBER = r"(?:[0-9]{1,15}(?:\.[0-9]{1,15})?|\.[0-9]{1,15})"
RATE = re.compile(rf"\s*({NUMBER})\s*/\s*s\s*")
WHOLE = 10**9  # a rate as a whole number: so many in 10^9 seconds
FILE = "file"
FIGURES: dict[str, tuple[str, ...]] = {"poisson": (), "every": (), "gamma": ("burstiness",), "onoff": ("on", "off")}
MOST_BURSTINESS = 10**6
EXAMPLE = "poisson:2/s, gamma:2/s,burstiness=0.5, onoff:2/s,on=10s,off=30s, a file such as trace.jsonl or every:500ms"


class Process(NamedTuple):
    """When requests arrive."""

    how: str
    per_s: Fraction | None  # mean rate; None = not said
    figures: Mapping[str, Fraction]  # picoseconds, and the shape of the gaps


@dataclass(frozen=True)
class Arrivals(Kind):
    """A process: poisson, every, gamma or onoff, with its rate and its figures; or a file of timestamps."""

    def check(self, value: Any, where: str) -> str:
        process_of(value, where)
        return str(value)


@dataclass(frozen=True)
class Rate(Kind):
    """So many a second."""

    def check(self, value: Any, where: str) -> str:
        rate_of(value, where)
        return str(value)


def rate_of(text: Any, where: str) -> Fraction:
    """2 of "2/s". Raises UserError."""
    found = RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or not Fraction(found[1]):
        raise UserError(f"{where}: {reprlib.repr(text)} is no rate above 0; write it like 2/s")
    return Fraction(found[1])


def process_of(text: Any, where: str) -> Process:
    """Of "gamma:2/s,burstiness=0.5". Raises UserError."""
    if isinstance(text, str) and arrival_file.is_file(text):
        arrival_file.find(text)
        return Process(FILE, None, {})
    how, _, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    words = [word for word in rest.split(",") if word]
    if how not in FIGURES or len(text) > 3 * LONGEST:
        raise UserError(f"{where}: {reprlib.repr(text)} says no arrivals; write {EXAMPLE}")
    rate = None
    if words and "=" not in words[0]:
        rate = _every(words.pop(0), where) if how == "every" else rate_of(words.pop(0), where)
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if sorted(given) != sorted(FIGURES[how]) or len(given) < len(words):
        wanted = " and ".join(f"{name}=…" for name in FIGURES[how]) or "nothing"
        raise UserError(f"{where}: {text!r}: behind the rate of {how} stands {wanted}; write {EXAMPLE}")
    return Process(how, rate, {name: _figure(name, word, f"{where}: {name}") for name, word in given.items()})


def _every(word: str, where: str) -> Fraction:
    gap = parse(spaced(word), "time", where)
    if not gap:
        raise UserError(f"{where}: every:{word}: no time lies between; leave {where} out, and all arrive at 0")
    return Fraction(10**12, gap)


def _figure(name: str, word: str, where: str) -> Fraction:
    if name != "burstiness":
        return Fraction(ps_of(word, where))
    if not re.fullmatch(NUMBER, word) or not 0 < Fraction(word) <= MOST_BURSTINESS:
        raise UserError(
            f"{where} {reprlib.repr(word)} is no shape of gaps; give a number above 0, below 1 for bursts (1: Poisson)"
        )
    return Fraction(word)


def joined_process(arrivals: str | None, rate: str | None) -> Process | None:
    """What --arrivals and --rate say together; None of neither. Raises UserError for a rate that is said twice or not at all."""
    if arrivals is None and rate is None:
        return None
    process = process_of("poisson" if arrivals is None else arrivals, "--arrivals")
    if rate is not None and process.per_s is not None:
        raise UserError(
            f"--arrivals {arrivals} says how many arrive, and --rate {rate} does too: write --arrivals "
            f"{arrivals_without_rate(str(arrivals))}, or leave --rate out"
        )
    if rate is not None:
        process = process._replace(per_s=rate_of(rate, "--rate"))
    if process.per_s is None and process.how != FILE:
        raise UserError(f"--arrivals {arrivals} does not say how many arrive: add --rate, such as --rate 2/s")
    return process


def arrivals_without_rate(arrivals: str) -> str:
    how, _, rest = arrivals.partition(":")
    figures = ",".join(word for word in rest.split(",") if "=" in word)
    return f"{how}:{figures}" if figures else how


def rate_word(per_s: Fraction) -> str:
    """As the command line takes it, to nine digits."""
    text = f"{float(per_s):.9f}".rstrip("0").rstrip(".")
    return f"{text}/s"
