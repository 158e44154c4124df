"""What `require` is asked beside the options of a run, each declared once: targets, and the one thing of which the least is looked for.

Nothing here imports numpy, so that --help starts at once.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from simmoe.play.kinds import Kind
from simmoe.play.money import limit
from simmoe.play.options import checked, declared, option
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import UNITS, parse
from simmoe.sweeps.comparing import Rate

GOODPUT = ("ttft", "tpot")  # options of a run that are not taken here: --ttft is a target
TARGETS, LEAST = "targets, each met by the middle of its range", "the least of one thing"
SECONDS, WATTS = 10**12, 10**6  # in the base units of a time and of a power
LIKE = {"time": "2s", "power": "30W"}
MOST = 1e9  # tokens a second that anybody asks for


@dataclass(frozen=True)
class Speed(Kind):
    """Tokens a second: a number, or one with its unit."""

    def check(self, value: Any, where: str) -> float:
        return per_s(value, where)


@dataclass(frozen=True)
class AtMost(Kind):
    """A limit with a unit, such as 2s."""

    dimension: str

    def check(self, value: Any, where: str) -> str:
        at_most(value, self.dimension, where)
        return str(value)


@dataclass(frozen=True)
class Amount(Kind):
    """Money."""

    def check(self, value: Any, where: str) -> str:
        limit(value, where)
        return str(value)


def per_s(value: Any, where: str = "--tok-s") -> float:
    """Tokens a second: 12, or "12 tok/s". Raises UserError."""
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?:tok/s)?\s*", value) if isinstance(value, str) else None
    number = float(found[1]) if found else float(value) if isinstance(value, Real) else 0.0
    if isinstance(value, bool) or not 0 < number <= MOST:
        raise UserError(
            f"{where} {reprlib.repr(value)} is no number of tokens a second; give one above 0, up to {MOST:,.0f}, such as 12"
        )
    return number


def at_most(value: Any, dimension: str, where: str) -> float:
    """Seconds of "2s", watts of "30W". Raises UserError."""
    spaced = re.sub(r"(?<=[0-9])(?=[A-Za-z])", " ", value) if isinstance(value, str) else None
    if spaced is None or not re.search(r"[0-9] +[A-Za-z]+\s*$", spaced):
        units = ", ".join(UNITS[dimension])
        raise UserError(
            f"{where}: {reprlib.repr(value)} is no number with a unit; write it like {LIKE[dimension]}; known: {units}"
        )
    found = parse(spaced, dimension, where) / (SECONDS if dimension == "time" else WATTS)
    if found == 0:
        raise UserError(f"{where} {value!r}: nothing is so little; give more")
    return found


@dataclass(frozen=True)
class Requiring:
    """What `require` is asked beside the options of a run."""

    tok_s: float | None = option(
        Speed(), None, group=TARGETS, metavar="N", help="tokens a second that are decoded, at least"
    )
    ttft: str | None = option(
        AtMost("time"), None, group=TARGETS, metavar="TIME", help="time to first token, such as 2s, at most"
    )
    power: str | None = option(
        AtMost("power"), None, group=TARGETS, metavar="W", help="mean power in decode, such as 30W, at most"
    )
    price: str | None = option(
        Amount(), None, group=TARGETS, metavar="AMOUNT", help="price of the machine, such as 2000EUR, at most"
    )
    exchange: tuple[str, ...] = option(
        Rate(), (), group=TARGETS, metavar="RATE", several=True,
        help="for prices in another currency than that of the limit, such as EUR=1.08USD",
    )  # fmt: skip
    least: str | None = option(
        Kind(), None, group=LEAST, metavar="WHAT",
        help="of one machine: the least budget, memory, link.bandwidth, memory.bandwidth or other rate or size (`simmoe hw show`)",
    )  # fmt: skip


ASKED = declared(Requiring)


def asked(values: Mapping[str, Any]) -> Requiring:
    """What is asked, by name. Raises UserError for a value that cannot be."""
    return Requiring(**checked(ASKED, values))
