"""Published systems as data, one YAML file each: a runtime and its policies. A file in this folder is known by its name; a path that
exists wins over it. docs/systems.md describes the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simmoe.simulator import files
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.reading import read_yaml

FOLDER = Path(__file__).parent
NEEDED = ("schema", "name", "title", "source", "options")
KNOWN = (*NEEDED, "lacks")


@dataclass(frozen=True)
class System:
    """A system as its file describes it. `options`: words of the command line by option; `lacks`: what of it is not simulated."""

    name: str
    title: str
    source: str
    options: Mapping[str, str]
    lacks: str
    folder: Path  # from which its file names other files
    digest: str


def names() -> list[str]:
    """Names of the bundled systems."""
    return files.available(FOLDER, ".yaml")


def find(name: str | Path) -> Path:
    """The file behind a path or a bundled name. Raises UserError."""
    add = "add one as policies/system/NAME.yaml or give a path"
    return files.resolve(name, FOLDER, ".yaml", "system", add, "`simmoe system list`")


def load(name: str | Path) -> System:
    """A bundled system, or a file of your own. Raises UserError."""
    path = find(name)
    return system(read_yaml(path), path.name, path.parent)


def system(data: object, where: str, folder: Path = FOLDER) -> System:
    """The system that `data` describes; `where` names it in error messages. Raises UserError."""
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: is no mapping; copy one of policies/system/*.yaml and change it")
    for key in data:
        if key not in KNOWN:
            raise UserError(f"{where}: unknown key {key!r}; {among(str(key), KNOWN)}")
    if missing := [key for key in NEEDED if key not in data]:
        raise UserError(f"{where}: {missing[0]} is missing; see policies/system/mixtral_offloading.yaml")
    if type(data["schema"]) is not int or data["schema"] != 1:
        raise UserError(f"{where}: schema is {data['schema']!r}; this version reads schema 1")
    options = data["options"]
    if not isinstance(options, Mapping) or not options:
        raise UserError(
            f"{where}: options is {options!r:.80}; name the options that the system sets, such as {{eviction: lru}}"
        )
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), default=str)
    name, title, source = (_text(data[key], f"{where}: {key}") for key in ("name", "title", "source"))
    words = {str(key): _word(value, f"{where}: options.{key}") for key, value in options.items()}
    lacks = _text(data["lacks"], f"{where}: lacks") if "lacks" in data else ""
    return System(name, title, source, words, lacks, folder, hashlib.sha256(text.encode()).hexdigest())


def said(one: System) -> dict[str, Any]:
    """A system as plain data."""
    return {
        "name": one.name, "title": one.title, "source": one.source, "options": dict(one.options), "lacks": one.lacks,
        "digest": one.digest,
    }  # fmt: skip


def _text(value: object, at: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{at} is {value!r:.80}; write words")
    return " ".join(value.split())


def _word(value: object, at: str) -> str:
    """The word of an option; YAML reads `on` as true."""
    if isinstance(value, bool):
        return "on" if value else "none"
    if isinstance(value, int):
        return str(value)
    return _text(value, at)
