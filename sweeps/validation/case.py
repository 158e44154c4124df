"""A validation case as its YAML file describes it, or one line that says what is wrong with the file.

title, kind, source, setup, fitted, unit: texts     bar: {worst: 0.05, ...}, see bars.py     misses: text, why the bar is missed
fit: [row id, ...] or {every: 2} or {first: 64}      predict: [row id, ...] (default: all rows that are not fitted)
rows: [{id: ..., measured: ..., note: ..., doubt: ..., and what the kind reads}]      setting: what the kind reads
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simmoe.simulator import files
from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import read_yaml

FOLDER = Path(__file__).parent / "cases"
NEEDED = ("title", "kind", "source", "setup", "fitted", "unit", "bar")
KNOWN = (*NEEDED, "fit", "predict", "rows", "setting", "misses", "group")
GROUPS = (
    "runs",
    "kernels",
    "counts",
    "own",
)  # runs and kernels enter the overall errors; own: constants sampled in the run


@dataclass(frozen=True)
class Row:
    """One measurement. `doubt`: why it is shown but not judged."""

    id: str
    measured: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def doubt(self) -> str:
        return str(self.facts.get("doubt", ""))


@dataclass(frozen=True)
class Case:
    """One case; texts for people, `setting` and `rows` for its kind."""

    name: str
    title: str
    kind: str
    source: str
    setup: str
    fitted: str
    unit: str
    bar: Mapping[str, Any]
    group: str = "runs"
    misses: str = ""
    setting: Mapping[str, Any] = field(default_factory=dict)
    fit: Any = ()
    predict: tuple[str, ...] | None = None
    rows: tuple[Row, ...] = ()
    folder: Path = FOLDER  # of the case file


def names() -> list[str]:
    """Names of the bundled cases."""
    return files.available(FOLDER, ".yaml")


def find(name: str | Path) -> Path:
    """The file of a bundled case, or a file of one's own."""
    return files.resolve(
        name,
        FOLDER,
        ".yaml",
        "case",
        "add one as sweeps/validation/cases/NAME.yaml or give a path",
        "docs/validation.md",
    )


def load(name: str | Path) -> Case:
    """A bundled case by name, or a file."""
    path = find(name)
    return read(read_yaml(path), path.stem, path.parent)


def read(data: object, name: str, folder: Path = FOLDER) -> Case:
    """The case that `data` describes; `name` stands in error messages."""
    if not isinstance(data, dict):
        raise UserError(f"case {name} is {data!r:.80}; it must be a mapping with the keys {', '.join(NEEDED)}")
    for key in data:
        if key not in KNOWN:
            raise UserError(f"case {name}: unknown key {key!r}; known: {', '.join(KNOWN)}")
    for key in NEEDED:
        if not isinstance(data.get(key), dict if key == "bar" else str) or data[key] == "":
            raise UserError(
                f"case {name}: {key!r} is missing, empty or of the wrong type; it must be a {'mapping' if key == 'bar' else 'text'}"
            )
    group = data.get("group", "runs")
    if group not in GROUPS:
        raise UserError(f"case {name}: group is {group!r}; it must be one of {', '.join(GROUPS)}")
    rows = data.get("rows") or []
    if not isinstance(rows, list):
        raise UserError(f"case {name}: rows is {rows!r:.80}; it must be a list")
    texts = {key: " ".join(data[key].split()) for key in (*NEEDED, "misses") if key != "bar" and data.get(key)}
    predict = data.get("predict")
    return Case(
        name, **texts, bar=data["bar"], group=group, setting=data.get("setting") or {}, fit=data.get("fit") or (),
        predict=None if predict is None else tuple(map(str, predict)),
        rows=tuple(_row(row, number, name) for number, row in enumerate(rows, 1)), folder=folder,
    )  # fmt: skip


def _row(data: object, number: int, name: str) -> Row:
    if not isinstance(data, dict) or "id" not in data:
        raise UserError(f"case {name}: row {number} is {data!r:.80}; it must be a mapping with id and measured")
    measured = data.get("measured")
    if isinstance(measured, bool) or not isinstance(measured, int | float) or measured <= 0:
        raise UserError(f"case {name}: row {data['id']!r}: measured is {measured!r}; it must be a number above 0")
    return Row(str(data["id"]), measured, {key: value for key, value in data.items() if key not in ("id", "measured")})


def number(mapping: Mapping[str, Any], key: str, where: str) -> float:
    """A number that a kind needs; one line when it is not there."""
    value = mapping.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: {key} is {value!r}; this kind needs a number there")
    return value
