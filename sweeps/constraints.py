"""What a scenario must keep to be on a front: `tok_s >= 10`, `power <= 30 W`, `price <= 2000 EUR`.

A trial that breaks one has been played and keeps its numbers; samplers are told by how much, and fronts leave it out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from simmoe.play.money import limit
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import parse
from simmoe.sweeps import metrics
from simmoe.sweeps.assumed import Assumed

UNKNOWN = 1.0  # how far a number that is not known is counted to be off: all of the limit
_RULE = re.compile(r"\s*(\S+?)\s*(<=|>=)\s*(.+?)\s*")
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)")
_QUANTITIES = {
    "s": ("time", 1e12),
    "ms": ("time", 1e9),
    "W": ("power", 1e6),
    "B": ("bytes", 1.0),
    "J": ("energy", 1e18),
}
_EXAMPLES = {"s": "2 s", "ms": "50 ms", "W": "30 W", "B": "8 GB", "J": "0.5 J", "money": "2000 EUR", "share": "90%"}


@dataclass(frozen=True)
class Constraint:
    """One line of a space."""

    text: str  # as the space says it
    metric: str
    at_most: bool
    limit: float  # in the unit of the metric; an amount is in the currency of the space

    def excess(self, value: float | None) -> float:
        """By which share of the limit a number breaks it; 0 or less where it is kept. What is not known does not keep it."""
        if value is None:
            return UNKNOWN
        return (value - self.limit if self.at_most else self.limit - value) / (abs(self.limit) or 1.0)


def read(value: Any, assumed: Assumed, where: str) -> tuple[tuple[Constraint, ...], Assumed]:
    """The constraints of a space, and its assumptions: in the currency of the first amount, where they name none. Raises UserError."""
    found = list[Constraint]()
    for line in value if isinstance(value, list) else [value]:
        one, assumed = _constraint(line, assumed, where)
        if one.text in [other.text for other in found]:
            raise UserError(f"{where}: {one.text!r} stands there twice; name each once")
        found.append(one)
    return tuple(found), assumed


def _constraint(line: Any, assumed: Assumed, where: str) -> tuple[Constraint, Assumed]:
    rule = _RULE.fullmatch(line) if isinstance(line, str) else None
    if rule is None:
        raise UserError(
            f"{where}: {line!r} is no constraint; write METRIC <= LIMIT or METRIC >= LIMIT, such as tok_s >= 10"
        )
    name, sign, said = rule.groups()
    metric, text = metrics.full(name), f"{name} {sign} {said}"
    unit, at = metrics.unit(metrics.load(metric)), f"{where}: {text}"
    if unit != "money":
        return Constraint(text, metric, sign == "<=", _limit(said, unit, name == metric, at)), assumed
    most = limit(said, at)
    assumed = replace(assumed, currency=assumed.currency or most.currency)
    return Constraint(text, metric, sign == "<=", assumed.amount(most, at)), assumed


def _limit(said: str, unit: str, whole_name: bool, at: str) -> float:
    """A limit in the unit of its metric. A bare number is in that unit, where the name of the metric says it."""
    bare = _NUMBER.fullmatch(said.removesuffix("tok/s").strip() if unit == "tok/s" else said)
    if bare and (whole_name or unit in ("", "tok/s")):
        return _share(float(bare[1]), said, at) if unit == "share" else float(bare[1])
    if unit == "share" and said.endswith("%") and (percent := _NUMBER.fullmatch(said[:-1].strip())):
        return _share(float(percent[1]) / 100, said, at)
    if unit in _QUANTITIES and not bare:
        dimension, base = _QUANTITIES[unit]
        return parse(re.sub(r"(?<=[0-9])(?=[a-zA-Z])", " ", said), dimension, at) / base
    raise UserError(f"{at}: {said!r} is no limit of it; write {_EXAMPLES.get(unit, 'a number')}")


def _share(limit: float, said: str, at: str) -> float:
    """Raises UserError above 1, which every trial would break, or none."""
    if limit > 1:
        raise UserError(f"{at}: {said!r} is more than all; write a share as 0.9 or 90%")
    return limit


def broken_by(rules: tuple[Constraint, ...], facts: Mapping[str, Any]) -> dict[str, float]:
    """By how much a trial with those facts breaks each constraint, by its text."""
    return {rule.text: rule.excess(facts[rule.metric]) for rule in rules}
