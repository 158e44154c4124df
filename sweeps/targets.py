"""What a machine must reach: speed, time to first token, power, price; whether a run does, and by how much it falls short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from simmoe.play import advice
from simmoe.play.confidence import Band
from simmoe.play.money import Exchange, Money, Price, converted, exchange_of, limit
from simmoe.play.result import Run
from simmoe.play.what_if import speed as four_digits
from simmoe.show import tables as show
from simmoe.simulator.errors import UserError
from simmoe.sweeps.requiring import Requiring, at_most

SPEED = "tok/s"
UNKNOWN = float("inf")  # how far a machine is from a target that nothing tells


@dataclass(frozen=True)
class Targets:
    """None: not asked for."""

    tok_s: float | None = None  # at least
    ttft_s: float | None = None  # at most, as the other two
    power_w: float | None = None
    price: Money | None = None
    exchange: Exchange = field(default_factory=dict)

    def __post_init__(self) -> None:
        if all(one is None for one in (self.tok_s, self.ttft_s, self.power_w, self.price)):
            raise UserError(
                "nothing is required: name a target, such as --tok-s 12, --ttft 2s, --power 30W or --price 2000USD"
            )

    def __str__(self) -> str:
        said = [
            self.tok_s is not None and f"{self.tok_s:g} tok/s or more", self.ttft_s is not None and f"TTFT of {self.ttft_s:g} s or less",
            self.power_w is not None and f"{self.power_w:g} W or less", self.price is not None and f"{self.price} or less",
        ]  # fmt: skip
        return ", ".join(one for one in said if one)

    def to_json(self) -> dict[str, Any]:
        return {
            "tok_s": self.tok_s,
            "ttft_s": self.ttft_s,
            "power_w": self.power_w,
            "price": self.price and str(self.price),
        }


def targets_of(asked: Requiring) -> Targets:
    """What is asked, in base units. Raises UserError where nothing is, and for two rates of one pair of currencies."""
    return Targets(
        asked.tok_s, None if asked.ttft is None else at_most(asked.ttft, "time", "--ttft"),
        None if asked.power is None else at_most(asked.power, "power", "--power"), None if asked.price is None else limit(asked.price),
        exchange_of(asked.exchange),
    )  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One target of a run."""

    name: str
    value: float | None  # None: nothing tells
    wanted: float
    met: bool
    factor: float  # what is missing: 2 = half as fast, twice as expensive; 1 or less where it is met
    whole: bool | None  # whether all of the band meets it; None without a band
    said: str

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "wanted": self.wanted, "met": self.met, "whole_range": self.whole}


def checks(targets: Targets, run: Run, price: Price | None, band: Band | None = None) -> tuple[Check, ...]:
    """Each target of a run. Raises UserError for a price in another currency, and for a speed of what is not played."""
    return tuple(_checks(targets, run, price, band))


def met(found: Sequence[Check]) -> bool:
    return all(one.met for one in found)


def missed(found: Sequence[Check], run: Run | None) -> str:
    """What is missing, in words, and what bounds the speed where that is too low."""
    said = [one.said for one in found if not one.met]
    slow = any(one.name == SPEED and not one.met for one in found)
    return "; ".join([*said, advice.bound_by(run)] if slow and run and run.tok_s else said)


def worst(found: Sequence[Check]) -> tuple[int, float]:
    """How many targets nothing tells of, and what is missing of the target that is missed by most."""
    known = [one.factor for one in found if one.factor != UNKNOWN]
    return len(found) - len(known), max(known, default=1.0)


def whole(found: Sequence[Check]) -> bool | None:
    """Whether the whole band meets all targets that have one."""
    known = [one.whole for one in found if one.whole is not None]
    return all(known) if known else None


def _checks(targets: Targets, run: Run, price: Price | None, band: Band | None) -> Iterator[Check]:
    _refuse_what_is_not_played(targets, run)
    if targets.tok_s is not None:
        speed, wanted = run.tok_s, targets.tok_s
        said = f"{four_digits(speed)} of {wanted:g} tok/s" if speed else "nothing is decoded"
        enough = None if band is None else band.hardware[0] >= wanted
        yield Check(
            "tok/s", speed, wanted, bool(speed and speed >= wanted), wanted / speed if speed else UNKNOWN, enough, said
        )
    if targets.ttft_s is not None:
        yield _most("TTFT", ttft_s(run), targets.ttft_s, f"TTFT {{}} for {targets.ttft_s:g} s", _slowest_s(run, band))
    if targets.power_w is not None:
        watts = None if run.energy is None else float(run.energy["decode_watts"])
        yield _most("power", watts, targets.power_w, f"{{}} W of {targets.power_w:g} W")
    if targets.price is not None:
        currency = targets.price.currency
        cost = None if price is None else converted(price.money, currency, targets.exchange)
        yield _most("price", cost, targets.price.amount, f"{{}} {currency} of {targets.price}")


def _refuse_what_is_not_played(targets: Targets, run: Run) -> None:
    """Raises UserError where no machine can meet a target, since what it is about is not played."""
    if run.serving is not None:  # of requests that arrive a machine may finish none
        return
    if targets.tok_s is not None and run.tok_s is None:
        raise UserError(f"--tok-s {targets.tok_s:g}: no token is decoded; decode some, such as --generate 128")
    if targets.ttft_s is not None and ttft_s(run) is None:
        raise UserError(
            f"--ttft {targets.ttft_s:g}s: no prompt is read, so no first token is waited for; read one, such as --prompt 512"
        )


def _most(name: str, value: float | None, wanted: float, said: str, slowest: float | None = None) -> Check:
    """A target that is met at or below it."""
    if value is None:
        why = ": its profile states no figures of energy" * (name == "power") + ": its profile states none" * (
            name == "price"
        )
        return Check(name, None, wanted, False, UNKNOWN, None, f"{name} not known{why}")
    shown = show.seconds(value) if name == "TTFT" else four_digits(value)
    enough = None if slowest is None else slowest <= wanted
    return Check(name, value, wanted, value <= wanted, value / wanted, enough, said.format(shown))


def ttft_s(run: Run) -> float | None:
    """The longer one of the first sequence and the median of the later ones; where requests arrive, their 95th percentile."""
    if run.serving is not None:
        found = run.requests
        return None if found is None or not len(found.ttft_ps) else float(found.to_json()["ttft_ms"]["p95"]) / 1e3
    return max((one for one in run.ttft_s.values() if one is not None), default=None)


def _slowest_s(run: Run, band: Band | None) -> float | None:
    """TTFT at the slow end of the band of prompts."""
    time = ttft_s(run)
    if band is None or band.prompt is None or time is None or run.prompt_tok_s is None or run.serving is not None:
        return None
    return time * run.prompt_tok_s / band.prompt[0]
