"""Which format a file has, told by its content, and the trace that its importer makes of it."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import available
from simmoe.simulator.nearest import among
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import Stated
from simmoe.workloads.foreign.file import File

FOLDER = Path(__file__).parent / "formats"


def names() -> list[str]:
    """Of the formats: each is a file in the folder formats/."""
    return available(FOLDER, ".py")


@cache
def _format(name: str) -> ModuleType:
    return import_module(f"simmoe.workloads.foreign.formats.{name}")


def detect(path: Path) -> str | None:
    """The one format that the content of the file fits; None if there is none. Raises UserError for several."""
    file = File(path)
    found = [name for name in names() if _format(name).recognises(file)]
    if len(found) > 1:
        raise UserError(
            f"{path}: may be {' or '.join(found)}; say which: simmoe trace import {path} --format {found[0]}"
        )
    return found[0] if found else None


def read(path: Path, stated: Stated = Stated(), format: str | None = None) -> Trace:  # noqa: B008  (frozen)
    """The trace in a file of another program, not checked yet. Raises UserError with one line that names the line or the key."""
    if not path.is_file():
        raise UserError(f"{path} does not exist or is no file")
    name = format or detect(path)
    if name is None:
        raise UserError(
            f"{path}: no format that is known; {among('', names(), 'known:')}; docs/foreign_traces.md describes each"
        )
    if name not in names():
        raise UserError(f"unknown format {name!r}; {among(name, names(), 'known:')}")
    made: Trace = _format(name).read(File(path), stated)
    return made
