"""The file of a scenario: what `simmoe run --save` writes and `simmoe run FILE.yaml` reads. docs/scenario.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from simmoe.play import inputs
from simmoe.play.box import joined
from simmoe.play.options import Declared
from simmoe.policies import system as systems
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic, check_outputs
from simmoe.simulator.nearest import among
from simmoe.simulator.reading import read_yaml
from simmoe.simulator.version import VERSION

SCHEMA = 1
DOC = "docs/scenario.md"
SHOWN = 12  # digits of a digest in a message


def writable(path: Path, force: bool) -> None:
    """Raises UserError for a place where no file can be written, and for a file that exists, unless `force`."""
    if not path.name or path.is_dir():
        raise UserError(f"--save {str(path)!r} is a folder; name the file to write, such as run.yaml")
    if (path.is_file() or path.is_symlink()) and not force:
        raise UserError(f"{path} exists; name another file with --save, or overwrite it with --force")
    check_outputs({"--save": path})


def write(
    path: Path, options: Mapping[str, Declared], values: Mapping[str, Any], digests: Mapping[str, str], force: bool
) -> None:
    """Every value that is not the default, files as they are named from the folder of `path`. Raises UserError."""
    writable(path, force)
    check_outputs({"--save": path}, inputs.files(options, values))
    of_system = (
        () if values["system"] is None else systems.load(values["system"]).options
    )  # all said, so that none is asked for
    said = {name: value for name, value in values.items() if value != options[name].default or name in of_system}
    said |= {option.name: inputs.beside(option, value, path.parent) for option, value in inputs.named(options, said)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}
    with atomic(path) as stream:
        stream.write(f"# written by simmoe {VERSION}: simmoe run {path.name} plays it again ({DOC})\n")
        content = {"schema": SCHEMA, **plain, "digests": dict(digests)}
        yaml.safe_dump(content, stream, sort_keys=False, width=140, allow_unicode=True)


def read(path: Path, options: Mapping[str, Declared]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values by option, files as they are named from here, and the digests of the inputs. Raises UserError."""
    content = _content(path)
    known = ("schema", *options, "digests")
    for key in content:
        if key not in known:
            raise UserError(f"{path.name}: unknown key {key!r}; {among(key, known, listing=DOC)}")
    digests = content.get("digests", {})
    if not isinstance(digests, dict) or not all(isinstance(one, str) for one in digests.values()):
        raise UserError(f"{path.name}: digests is {digests!r}; it must name a digest for each input ({DOC})")
    values = joined({name: value for name, value in content.items() if name in options})
    for option, value in inputs.named(options, values):
        values[option.name] = inputs.from_beside(option, value, path.parent)
    return values, digests


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"no file {path}; write one with: simmoe run … --save {path}")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path.name} is no scenario: it holds no keys; {DOC} shows one")
    if type(content.get("schema")) is not int or content["schema"] != SCHEMA:
        raise UserError(f"{path.name}: schema is {content.get('schema')!r}; this release reads {SCHEMA} ({DOC})")
    return content


def compare(path: Path, saved: Mapping[str, str], found: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Raises UserError where an input is not the one that the file was written with."""
    for name in (*found, *saved):
        if found.get(name) != saved.get(name):
            said, (now, then) = values.get(name), (held.get(name, "missing")[:SHOWN] for held in (found, saved))
            raise UserError(
                f"{path.name}: {name}{f' {said}' if said else ''} is not what it was when the file was written: its digest is {now} now, "
                f"{then} then"
            )
