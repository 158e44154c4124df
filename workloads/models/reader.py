"""Turns what a YAML file holds into the data classes of schema.py, or into one line that says what is wrong with it.

The type of every field is Annotated with its check, so that a key, its type and its limits stand on one line.
"""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

from simmoe.simulator.errors import UserError

T = TypeVar("T")
Check = Callable[[object, str], Any]  # (value, where it stands) -> value, or UserError
LARGEST = 2**53  # far above any count or size of a model, far below where int64 sums overflow


def whole(low: int, high: int = LARGEST) -> Check:
    def check(value: object, where: str) -> int:
        if type(value) is not int or not low <= value <= high:  # bool is an int to isinstance
            raise UserError(f"{where} is {reprlib.repr(value)}; it must be a whole number from {low} to {high}")
        return value

    return check


def flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{where} is {reprlib.repr(value)}; it must be true or false")
    return value


def text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where} is {reprlib.repr(value)}; it must be a text, in quotes if it looks like a number")
    return value


def one_of(*options: str) -> Check:
    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in options:
            raise UserError(f"{where} is {reprlib.repr(value)}; it must be one of {', '.join(options)}")
        return value

    return check


def texts(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise UserError(f"{where} is {reprlib.repr(value)}; it must be a mapping of texts")
    return {text(name, f"{where}: the key"): text(item, f"{where}.{name}") for name, item in value.items()}


def nested(cls: type[T]) -> Check:
    return lambda value, where: read(cls, value, where)


def many(check: Check) -> Check:
    def check_all(value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            raise UserError(f"{where} is {reprlib.repr(value)}; it must be a list with at least one entry")
        found: tuple[Any, ...] = several(check)(value, where)
        return found

    return check_all


def several(check: Check) -> Check:
    """Any number, none too."""

    def check_all(value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise UserError(f"{where} is {reprlib.repr(value)}; it must be a list, [] for none")
        return tuple(check(item, f"{where}[{i}]") for i, item in enumerate(value))

    return check_all


def read(cls: type[T], data: object, where: str) -> T:
    """The data class `cls` from the mapping `data`; `where` names the file and the keys above."""
    assert dataclasses.is_dataclass(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}
    if not isinstance(data, dict):
        raise UserError(f"{where} is {reprlib.repr(data)}; it must be a mapping with the keys {', '.join(known)}")
    _check_keys(data, known, where)
    checks = {name: hint.__metadata__[0] for name, hint in get_type_hints(cls, include_extras=True).items()}
    values = {name: checks[name](item, _join(where, name)) for name, item in data.items()}
    try:
        return cls(**values)
    except UserError as rule:  # a rule over several keys does not know where it stands
        raise UserError(f"{where}: {rule}") from None


def _check_keys(data: Mapping[Any, object], known: Mapping[str, dataclasses.Field[Any]], where: str) -> None:
    for name in data:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"{where}: unknown key {reprlib.repr(name)}; {hint}known: {', '.join(known)}")
    for name, field in known.items():
        if name not in data and field.default is dataclasses.MISSING:
            raise UserError(f"{where}: the key {name!r} is missing; docs/models.md says what it means")


def _join(where: str, name: str) -> str:
    """`file.yaml: a.b` from `file.yaml` or `file.yaml: a`."""
    return f"{where}.{name}" if ": " in where else f"{where}: {name}"


# --- the types of most fields ---------------------------------------------------------------------------------------

MOST = 32_767  # layers and experts are int16 in a trace

Count = Annotated[int, whole(0)]
Positive = Annotated[int, whole(1)]
Number = Annotated[int, whole(0, MOST)]  # of a layer, or of experts
PositiveNumber = Annotated[int, whole(1, MOST)]
Flag = Annotated[bool, flag]
Text = Annotated[str, text]
