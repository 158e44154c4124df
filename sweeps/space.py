"""A search space: what a sweep may vary, and the metrics it is judged by. docs/sweeps.md describes the file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args, overload

from simmoe import policies
from simmoe.play.box import joined
from simmoe.play.kinds import OFF, Count, Policy, Size, Switch, Words
from simmoe.play.options import Declared
from simmoe.play.scenario import OPTIONS
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import resolve
from simmoe.simulator.nearest import among
from simmoe.simulator.reading import read_yaml
from simmoe.simulator.units import parse
from simmoe.sweeps import metrics

FOLDER = Path(__file__).parent / "spaces"
DOC = "docs/sweeps.md"
AXES = {name: option for name, option in OPTIONS.items() if option.about.axis}  # in the order of a command
REQUIRED = ("schema", "name", *(name for name, option in AXES.items() if option.required), "objectives")
KEYS = (*REQUIRED, *(axis for axis in AXES if axis not in REQUIRED), "tokens")
Direction = Literal["maximize", "minimize"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

Point = dict[str, str]  # one scenario: axis -> the text that `simmoe run` takes for it


@dataclass(frozen=True)
class Steps(Sequence[str]):
    """Evenly spaced sizes, written exactly."""

    low: Decimal
    step: Decimal
    steps: int
    unit: str  # "%" or "B"

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


@dataclass(frozen=True)
class Space:
    """Checked, but for the inputs that it names: `Scenarios` opens these."""

    name: str
    axes: Mapping[str, Sequence[str]]  # only those that the file names
    objectives: Mapping[str, Direction]  # by metric
    tokens: int | None

    @property
    def size(self) -> int:
        """Scenarios in the space."""
        return prod(len(values) for values in self.axes.values())

    @property
    def policies(self) -> list[tuple[str, str, str]]:
        """(kind, value, name) of each policy: a placement is a name and an amount, such as popular=50%."""
        kinds = {axis: kind for axis, option in AXES.items() if isinstance(kind := option.about.kind, Policy)}
        return [(axis, value, kind.name(value)) for axis, kind in kinds.items() for value in self.given(axis)]

    @property
    def code(self) -> list[str]:
        """The files of the user's that are executed: policies and metrics."""
        found = [policies.find(kind, name) for kind, _, name in self.policies] + [
            metrics.find(name) for name in self.objectives
        ]
        bundled = {policies.FOLDER, metrics.FOLDER}
        return list(dict.fromkeys(str(path) for path in found if bundled.isdisjoint(path.parents)))

    def given(self, axis: str) -> list[str]:
        """The values of an axis that are not its word for none."""
        return [value for value in self.axes.get(axis, ()) if not (AXES[axis].about.off and value == OFF)]

    def indices(self, number: int) -> dict[str, int]:
        """Which value of each axis scenario `number` (0 … size - 1) takes."""
        found = {}
        for axis, values in self.axes.items():
            number, found[axis] = divmod(number, len(values))
        return found


def load(space: str | Path | Mapping[str, Any]) -> Space:
    """A space by path, by bundled name, or as the content of such a file. Raises UserError with one line."""
    return _space(said(space), "space" if isinstance(space, Mapping) else _path(space).name)


def said(space: str | Path | Mapping[str, Any]) -> Any:
    """The content of a space, not checked."""
    return space if isinstance(space, Mapping) else read_yaml(_path(space))


def _path(space: str | Path) -> Path:
    return resolve(space, FOLDER, ".yaml", "space", f"to search your own, write a YAML file ({DOC})")


def _space(data: Any, where: str) -> Space:
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: {data!r} is not a mapping; a space has the keys {', '.join(REQUIRED)} ({DOC})")
    data = joined(data)
    for key in data:
        if key not in KEYS:
            raise UserError(f"{where}: unknown key {key!r}; {among(key, KEYS, listing=DOC)}")
    for key in REQUIRED:
        if key not in data:
            raise UserError(f"{where}: missing key {key!r}; required: {', '.join(REQUIRED)}")
    if type(data["schema"]) is not int or data["schema"] != 1:
        raise UserError(f"{where}: schema is {data['schema']!r}; this release reads 1")
    if not isinstance(data["name"], str) or not data["name"].strip():
        raise UserError(f"{where}: name is {data['name']!r}; give the study a name, in quotes where YAML sees a number")
    axes = {axis: _axis(option, data[axis], f"{where}: {axis}") for axis, option in AXES.items() if axis in data}
    if "budget" in axes and "memory" in axes:
        raise UserError(f"{where}: budget and memory both say how much may be resident; keep one of them")
    tokens = OPTIONS["tokens"].about.kind.check(data.get("tokens", "all"), f"{where}: tokens")
    return Space(data["name"], axes, _objectives(data["objectives"], where), tokens)


def _axis(option: Declared, value: Any, at: str) -> Sequence[str]:
    if isinstance(option.about.kind, Size) and isinstance(value, Mapping):
        return _steps(value, option.about.kind.percent, at)
    values = [_word(option, one, at) for one in (value if isinstance(value, list) else [value])]
    if not values:
        raise UserError(f"{at}: the list is empty; name at least one")
    for one in values:
        if values.count(one) > 1:
            raise UserError(f"{at}: {one!r} stands there twice; name each once")
    return tuple(values)


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


def _steps(value: Mapping[str, Any], percent: bool, at: str) -> Steps:
    if sorted(map(str, value)) != ["high", "low", "step"]:
        raise UserError(f"{at}: has the keys {', '.join(map(str, value))}; a range has low, high and step")
    (low, unit), (high, unit_high), (step, unit_step) = (
        _size(value[k], percent, f"{at}.{k}") for k in ("low", "high", "step")
    )
    if not unit == unit_high == unit_step:
        raise UserError(f"{at}: low, high and step mix percentages and bytes; write all three alike")
    if step <= 0 or not 0 < low <= high:
        raise UserError(f"{at}: {low:f} to {high:f} by {step:f} is no range; it needs 0 < low <= high and step > 0")
    if (high - low) % step:
        last = high - (high - low) % step
        raise UserError(f"{at}: high is no whole number of steps above low; the nearest below is {last:f}{unit}")
    return Steps(low, step, int((high - low) / step) + 1, unit)


def _size(text: Any, share: bool, at: str) -> tuple[Decimal, str]:
    """(number, unit) of a size in bytes or, with `share`, of a percentage."""
    percent = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", text) if isinstance(text, str) else None
    if percent is None or not share:
        spaced = re.sub(r"(?<=[0-9])(?=[a-zA-Z])", " ", text) if isinstance(text, str) else text
        return Decimal(parse(spaced, "bytes", at)), "B"
    if Decimal(percent[1]) > 100:
        raise UserError(f"{at}: {text} is more than all experts; 100% is the most")
    return Decimal(percent[1]), "%"


def _objectives(value: Any, where: str) -> dict[str, Direction]:
    if not isinstance(value, Mapping) or not value:
        raise UserError(f"{where}: objectives is {value!r}; write {{tok_s: maximize, memory_bytes: minimize}}")
    for metric, direction in value.items():
        if direction not in DIRECTIONS:
            raise UserError(f"{where}: objectives.{metric} is {direction!r}; choose from {', '.join(DIRECTIONS)}")
        metrics.load(str(metric))
    return {str(metric): direction for metric, direction in value.items()}
