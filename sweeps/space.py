"""A search space: what a sweep may vary, and the metrics it is judged by. docs/sweeps.md describes the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

from simmoe import policies
from simmoe.play.box import joined
from simmoe.play.kinds import OFF, Policy, changes
from simmoe.play.scenario import OPTIONS
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import resolve
from simmoe.simulator.nearest import among
from simmoe.simulator.reading import read_yaml
from simmoe.sweeps import assumed, constraints, metrics, words, zoo

FOLDER = Path(__file__).parent / "spaces"
DOC = "docs/sweeps.md"
AXES = {name: option for name, option in OPTIONS.items() if option.about.axis}  # in the order of a command
LONGEST_NAME = 512  # of a study in a database of Optuna
REQUIRED = ("schema", "name", *(name for name, option in AXES.items() if option.required), "objectives")
KEYS = (*REQUIRED, *(axis for axis in AXES if axis not in REQUIRED), *zoo.KEYS, "tokens", "constraints", *assumed.KEYS)
Direction = Literal["maximize", "minimize"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

Point = dict[str, str]  # one scenario: axis -> the text that `simmoe run` takes for it


@dataclass(frozen=True)
class Space:
    """Checked, but for the inputs that it names: `Scenarios` opens these."""

    name: str
    axes: Mapping[str, Sequence[str]]  # only those that the file names: options of a run, then paths of figures
    objectives: Mapping[str, Direction]  # by metric
    tokens: int | None
    constraints: tuple[constraints.Constraint, ...] = ()
    assumed: assumed.Assumed = field(default_factory=assumed.Assumed)
    trained: Mapping[str, zoo.Trained] = field(default_factory=dict)  # by trace: what experts, top_k and router chose

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
            metrics.find(name) for name in self.metrics
        ]
        bundled = {policies.FOLDER, metrics.FOLDER}
        return list(dict.fromkeys(str(path) for path in found if bundled.isdisjoint(path.parents)))

    @property
    def metrics(self) -> list[str]:
        """What trials are judged by: objectives, then what constraints limit."""
        return list(dict.fromkeys([*self.objectives, *(rule.metric for rule in self.constraints)]))

    @property
    def figures(self) -> list[str]:
        """Axes that are figures of a profile."""
        return [axis for axis in self.axes if axis not in AXES]

    def given(self, axis: str) -> list[str]:
        """The values of an axis that are not its word for none."""
        off = axis in AXES and AXES[axis].about.off
        return [value for value in self.axes.get(axis, ()) if not (off and value == OFF)]

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
        if key not in KEYS and not _is_figure(key):
            raise UserError(f"{where}: unknown key {key!r}; {among(key, KEYS, listing=DOC)}")
    for key in REQUIRED:
        if key not in data:
            raise UserError(f"{where}: missing key {key!r}; required: {', '.join(REQUIRED)}")
    if type(data["schema"]) is not int or data["schema"] != 1:
        raise UserError(f"{where}: schema is {data['schema']!r}; this release reads 1")
    if not isinstance(data["name"], str) or not data["name"].strip():
        raise UserError(f"{where}: name is {data['name']!r}; give the study a name, in quotes where YAML sees a number")
    if len(data["name"]) > LONGEST_NAME:
        raise UserError(
            f"{where}: name has {len(data['name']):,} characters; a study's name has {LONGEST_NAME} at most"
        )
    trained = _trained(data, where)
    tokens = OPTIONS["tokens"].about.kind.check(data.get("tokens", "all"), f"{where}: tokens")
    rules, said = constraints.read(data.get("constraints", []), assumed.read(data, where), f"{where}: constraints")
    axes, objectives = _axes(data, trained, where), _objectives(data["objectives"], where)
    space = Space(data["name"], axes, objectives, tokens, rules, said, trained)
    for name in space.metrics:
        if missing := [key for key in metrics.needs(metrics.load(name)) or () if key not in data]:
            raise UserError(
                f"{where}: {name} needs the keys {', '.join(missing)} of the space: none has a default (docs/spaces.md#prices)"
            )
    return space


def _is_figure(key: Any) -> bool:
    """Whether a key is the dotted path of a figure. The profiles of the space say whether there is such a figure."""
    return isinstance(key, str) and "." in key


def _trained(data: Mapping[str, Any], where: str) -> dict[str, zoo.Trained]:
    """What experts, top_k and router choose of the zoo, by trace."""
    asked = {key: data[key] for key in zoo.KEYS if key in data}
    if asked and "trace" in data:
        raise UserError(f"{where}: trace and {next(iter(asked))} both say which model is played; keep one of them")
    return zoo.chosen(asked, where) if asked else {}


def _axes(data: Mapping[str, Any], trained: Mapping[str, zoo.Trained], where: str) -> dict[str, Sequence[str]]:
    """The values of every axis that the space names."""
    data = {**data, "trace": [*trained]} if trained else data
    axes = {axis: words.of_option(o, data[axis], f"{where}: {axis}") for axis, o in AXES.items() if axis in data}
    axes |= {key: words.of_figure(data[key], f"{where}: {key}") for key in data if _is_figure(key)}
    if "budget" in axes and "memory" in axes:
        raise UserError(f"{where}: budget and memory both say how much may be resident; keep one of them")
    for change in axes.get("set", ()):
        for path in changes(AXES["set"].parsed(change)):
            if path in axes:
                raise UserError(f"{where}: set and the axis {path} both change that figure; keep one of them")
    return axes


def options_of(point: Mapping[str, str]) -> dict[str, Any]:
    """What a point says as options of a run. Its figures are changes, behind those of `set`."""
    options = {axis: AXES[axis].parsed(word) for axis, word in point.items() if axis in AXES}
    figures = tuple(f"{path}={word}" for path, word in point.items() if path not in AXES)
    return {**options, "set": (*options.get("set", ()), *figures)} if figures else options


def _objectives(value: Any, where: str) -> dict[str, Direction]:
    if not isinstance(value, Mapping) or not value:
        raise UserError(f"{where}: objectives is {value!r}; write {{tok_s: maximize, memory_bytes: minimize}}")
    found = dict[str, Direction]()
    for name, direction in value.items():
        if direction not in DIRECTIONS:
            raise UserError(f"{where}: objectives.{name} is {direction!r}; choose from {', '.join(DIRECTIONS)}")
        metric = metrics.full(str(name))
        if metric in found:
            raise UserError(f"{where}: objectives name {metric} twice; name each once")
        metrics.load(metric)
        found[metric] = direction
    return found
