"""The values of one axis of a space: words that `simmoe run` takes, or evenly spaced quantities, written exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, overload

from simmoe.play.kinds import OFF, Count, Size, Switch, Words
from simmoe.play.options import Declared
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import parse

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([^\s0-9.][^\s]*)?\s*")


@dataclass(frozen=True)
class Steps(Sequence[str]):
    """Evenly spaced quantities."""

    low: Decimal
    step: Decimal
    steps: int
    unit: str  # "%", "B", or the unit of a figure

    def __len__(self) -> int:
        return self.steps

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[str]: ...
    def __getitem__(self, number: int | slice) -> str | Sequence[str]:
        if isinstance(number, slice):
            return [self[i] for i in range(self.steps)[number]]
        return f"{(self.low + range(self.steps)[number] * self.step).normalize():f}{self.unit}"


def of_option(option: Declared, value: Any, at: str) -> Sequence[str]:
    """The values of an axis that is an option of `simmoe run`. Raises UserError; `at` says where it stands."""
    kind = option.about.kind
    if isinstance(kind, Size) and isinstance(value, Mapping):
        return _steps({key: _size(one, kind.percent, f"{at}.{key}") for key, one in _range(value, at).items()}, at)
    return _each([_word(option, one, at) for one in _listed(value)], at)


def of_figure(value: Any, at: str) -> Sequence[str]:
    """The values of an axis that is a figure of a profile: what stands behind PATH= of `--set`. The profile checks them."""
    if isinstance(value, Mapping):
        return _steps({key: _quantity(one, f"{at}.{key}") for key, one in _range(value, at).items()}, at)
    return _each([_figure(one, at) for one in _listed(value)], at)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _each(words: list[str], at: str) -> Sequence[str]:
    """Every word once."""
    if not words:
        raise UserError(f"{at}: the list is empty; name at least one")
    for one in words:
        if words.count(one) > 1:
            raise UserError(f"{at}: {one!r} stands there twice; name each once")
    return tuple(words)


def _word(option: Declared, one: Any, at: str) -> str:
    """The word that a command takes for one value of an axis."""
    kind = option.about.kind
    if option.about.off and one == OFF:
        return OFF
    if isinstance(kind, Count | Switch | Words):
        return kind.word(kind.check(one, at))
    if not isinstance(one, str) or not one.strip():
        what = "none or a name" if option.about.off else "a name or a size"
        raise UserError(f"{at}: {one!r} is no text; write {what}, in quotes where YAML sees a number")
    if isinstance(kind, Size):
        _size(one, kind.percent, at)
    kind.check(one, at)
    return one


def _figure(one: Any, at: str) -> str:
    """A quantity or a word; of a figure without a unit a bare number, as YAML reads it."""
    if isinstance(one, bool) or not isinstance(one, str | int | float) or not str(one).strip():
        raise UserError(f"{at}: {one!r} is no figure; write a quantity such as 32GB/s")
    return str(one).strip()


def _range(value: Mapping[str, Any], at: str) -> dict[str, Any]:
    if sorted(map(str, value)) != ["high", "low", "step"]:
        raise UserError(f"{at}: has the keys {', '.join(map(str, value))}; a range has low, high and step")
    return {key: value[key] for key in ("low", "high", "step")}


def _steps(bounds: Mapping[str, tuple[Decimal, str]], at: str) -> Steps:
    """bounds: number and unit of low, high and step."""
    (low, unit), (high, unit_high), (step, unit_step) = (bounds[key] for key in ("low", "high", "step"))
    if not unit == unit_high == unit_step:
        raise UserError(f"{at}: low, high and step mix {_units(unit, unit_high, unit_step)}; write all three alike")
    if step <= 0 or not 0 < low <= high:
        raise UserError(f"{at}: {low:f} to {high:f} by {step:f} is no range; it needs 0 < low <= high and step > 0")
    if (high - low) % step:
        last = high - (high - low) % step
        raise UserError(f"{at}: high is no whole number of steps above low; the nearest below is {last:f}{unit}")
    return Steps(low, step, int((high - low) / step) + 1, unit)


def _units(*units: str) -> str:
    if set(units) == {"%", "B"}:
        return "percentages and bytes"
    return " and ".join(dict.fromkeys(unit or "bare numbers" for unit in units))


def _size(text: Any, share: bool, at: str) -> tuple[Decimal, str]:
    """(number, unit) of a size in bytes or, with `share`, of a percentage."""
    percent = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", text) if isinstance(text, str) else None
    if percent is None or not share:
        spaced = re.sub(r"(?<=[0-9])(?=[a-zA-Z])", " ", text) if isinstance(text, str) else text
        return Decimal(parse(spaced, "bytes", at)), "B"
    if Decimal(percent[1]) > 100:
        raise UserError(f"{at}: {text} is more than all experts; 100% is the most")
    return Decimal(percent[1]), "%"


def _quantity(value: Any, at: str) -> tuple[Decimal, str]:
    """(number, unit) of a figure; "" where it has no unit."""
    found = _QUANTITY.fullmatch(_figure(value, at))
    if found is None:
        raise UserError(f"{at}: {value!r} is no number with a unit; write it like 32GB/s")
    return Decimal(found[1]), found[2] or ""
