"""Values of flags: text to number or word, and back. A reader raises UserError with the rule; the caller says the flag."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from simmoe.policies.flags.table import NotSet
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

YES, NO = ("1", "on", "true", "enabled", "yes"), ("0", "off", "false", "disabled", "no")
SUFFIX = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
GIB = 2**30


def count(least: int = 1, unset: tuple[int, ...] = ()) -> Callable[[str], int]:
    """A whole number from `least` on; a number in `unset` leaves the choice to the engine."""

    def read(text: str) -> int:
        if re.fullmatch(r"\d+(,\d+)+|\d+-\d+([+*]\d+)?", text):
            raise UserError("several values are several tests, and a simulation runs one: give one of them")
        if not re.fullmatch(r"[+-]?\d{1,15}", text):
            raise UserError("must be a whole number")
        value = int(text)
        if value in unset:
            raise NotSet
        if value < least:
            raise UserError(f"must be a whole number from {least} on")
        return value

    return read


def human_count(text: str) -> int:
    """As vLLM and SGLang write numbers: 32k is 32,000, 32K is 32,768; -1 and auto leave the choice to the engine."""
    if text in ("-1", "auto"):
        raise NotSet
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([kKmMgG]?)", text)
    if not found or ("." in found[1] and found[2] not in tuple("kmg")):
        raise UserError("must be a whole number, 32k (32,000) or 32K (32,768)")
    value = round(float(found[1]) * SUFFIX[found[2]]) if found[2] else int(found[1])
    if value < 1:
        raise UserError("must be a whole number from 1 on")
    return value


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise UserError("must be a number from 0 on")
    return value


def share(text: str) -> float:
    value = number(text)
    if not 0 < value <= 1:
        raise UserError("must be a share of the memory, above 0 and up to 1")
    return value


def units(unit: int) -> Callable[[str], int]:
    """A size in `unit` bytes."""
    return lambda text: round(number(text) * unit)


def in_gib(value: int) -> list[str]:
    return [f"{value / GIB:.17g}"]


def truth(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise UserError(f"must be {', '.join(YES)} or {', '.join(NO)}")
    return text.lower() in YES


def untruth(text: str) -> bool:
    return not truth(text)


def truth_or_auto(text: str) -> bool:
    if text.lower() in ("auto", "-1"):
        raise NotSet
    return truth(text)


def on_off(value: bool) -> list[str]:
    return ["on" if value else "off"]


def only(wanted: bool) -> Callable[[bool], list[str] | None]:
    """Printed alone, and only where the field has this value."""
    return lambda value: [] if value is wanted else None


def said(value: object) -> list[str]:
    """Printed as it is."""
    return [f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)]


def word(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise UserError(among(text, known))
        return text

    return read


def proportions(text: str) -> tuple[float, ...]:
    parts = tuple(number(one) for one in re.split("[,/;]+", text))
    if not sum(parts):
        raise UserError("one of the proportions must be above 0")
    return parts


def slashed(parts: tuple[float, ...]) -> list[str]:
    return ["/".join(f"{one:.17g}" for one in parts)]
