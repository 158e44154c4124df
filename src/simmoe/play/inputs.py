"""The files behind the options of a scenario: which they are, which of them are the user's, how another folder names them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from simmoe import hardware_profiles, policies
from simmoe.hardware_profiles.composing import JOIN
from simmoe.play import arrival_file, popularity
from simmoe.play.kinds import Counts, Policy
from simmoe.play.options import Declared
from simmoe.policies import runtime as runtimes
from simmoe.policies import system as systems
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.workloads import models, synthetic
from simmoe.workloads.format import trace as traces

LOADS = ("arrivals", "prompt", "generate")  # each may name a file of requests
FINDERS = {
    "trace": traces.find,
    "model": models.find,
    "draft_model": models.find,
    "runtime": runtimes.find,
    "routing": synthetic.find,
    "system": systems.find,
    **dict.fromkeys(LOADS, arrival_file.find),
}  # of all that is no machine and no policy
FOLDERS: dict[str, tuple[Path, ...]] = {
    "hw": hardware_profiles.FOLDERS, "trace": (traces.BUNDLED,), "model": (models.FOLDER,), "draft_model": (models.FOLDER,), "routing": (),
    **dict.fromkeys(LOADS, ()),
    "runtime": (runtimes.FOLDER,), "system": (systems.FOLDER,),
}  # fmt: skip


def named(options: Mapping[str, Declared], values: Mapping[str, Any]) -> Iterator[tuple[Declared, Any]]:
    """(option, value) of every option with a value that names a file; the bounds name none."""
    for name, option in options.items():
        value = values.get(name)
        if (
            value is not None
            and (name in FOLDERS or _is_policy(option))
            and not (name == "eviction" and value in BOUNDS)
            and not (name == "runtime" and value in (runtimes.IDEAL, runtimes.USUAL))
            and not (isinstance(option.about.kind, Counts) and _counted(option, value) is None)
            and not (name == "routing" and not synthetic.is_file(str(value)))
            and not (name in LOADS and not arrival_file.is_file(str(value)))
        ):
            yield option, value


def find(option: Declared, value: str) -> list[Path]:
    """The files that a value names, one but for a machine of two parts. Raises UserError."""
    kind = option.about.kind
    if isinstance(kind, Counts):
        return []
    if isinstance(kind, Policy):
        return [policies.find(option.name, kind.name(value))]
    return hardware_profiles.found(value) if option.name == "hw" else [FINDERS[option.name](value)]


def of_the_user(option: Declared, file: Path) -> bool:
    """Whether the file is the user's, in place of a bundled one."""
    return file.parent not in FOLDERS.get(option.name, (policies.FOLDER / option.name,))


def files(options: Mapping[str, Declared], values: Mapping[str, Any]) -> list[Path]:
    """The files that are named, bundled ones too."""
    return [file for one in named(options, values) if isinstance(one[1], str) for file in find(*one)]


def users_files(options: Mapping[str, Declared], values: Mapping[str, Any]) -> list[str]:
    """The user's own files among those that are named."""
    own = [
        str(file)
        for option, value in named(options, values)
        if isinstance(value, str)
        for file in find(option, value)
        if of_the_user(option, file)
    ]
    counted = {traces.find(trace) for one in named(options, values) if (trace := _counted(*one))}
    return own + [str(file) for file in counted if file.parent != traces.BUNDLED]


def content(option: Declared, value: str) -> bytes:
    """What the file says that a value names, and the trace that a policy counts."""
    counted = _counted(option, value)
    if option.name in ("model", "draft_model"):
        return models.text(value)
    return b"".join(file.read_bytes() for file in find(option, value)) + (
        traces.find(counted).read_bytes() if counted else b""
    )


def beside(option: Declared, value: Any, folder: Path) -> str:
    """The value as a file in `folder` says it: a bundled name, or the way from there, which begins with a dot."""
    if not isinstance(value, str):
        raise UserError(f"{option.name} is a loaded object, and a scenario file holds names: save it and name its file")
    if option.name == "hw":
        return hardware_profiles.renamed(value, lambda file: _named(option, file, folder))
    found, tail = [_named(option, file, folder) for file in find(option, value)], _tail(option, value)
    counted = _counted(option, value)
    if counted is not None and traces.find(counted).parent != traces.BUNDLED:
        tail = tail.removesuffix(counted) + _way(traces.find(counted), folder)
    return (found[0] if found else value.removesuffix(_tail(option, value))) + tail


def _named(option: Declared, file: Path, folder: Path) -> str:
    return _way(file, folder) if of_the_user(option, file) else file.stem


def _way(file: Path, folder: Path) -> str:
    way = Path(os.path.relpath(file, folder)).as_posix()
    return way if way.startswith(".") else f"./{way}"


def _counted(option: Declared, value: Any) -> str | None:
    """The trace that a policy counts, in place of the one that is played."""
    kind = option.about.kind
    counts = isinstance(kind, Counts) or (isinstance(kind, Policy) and kind.told)
    return popularity.other_trace(value) if counts and isinstance(value, str) else None


def from_beside(option: Declared, value: Any, folder: Path) -> Any:
    """What a file in `folder` names, as it is named from here."""
    if not isinstance(value, str):
        return value  # whoever checks it says so
    if option.name == "hw" and not (folder / value).is_file() and (pair := hardware_profiles.parts(value)):
        return JOIN.join(from_beside(option, part, folder) for part in pair)
    if option.name == "hw" and not (folder / value).is_file() and (many := hardware_profiles.ranks.parts(value)):
        return f"{many[0]}x{from_beside(option, many[1], folder)}:{from_beside(option, many[2], folder)}"
    tail = _tail(option, value) if not (folder / value).is_file() else ""
    head, counted = value.removesuffix(tail), _counted(option, value)
    if counted is not None and "/" in counted:
        tail = tail.removesuffix(counted) + os.path.normpath(folder / counted)
    path = os.path.normpath(folder / head)
    return (path if "/" in head or Path(path).is_file() else head) + tail


def _tail(option: Declared, value: str) -> str:
    """What stands behind the name: the power mode of a machine, what a policy is told."""
    if option.name == "hw" and not Path(value).is_file():
        head, sign, mode = value.rpartition("@")
        return sign + mode if head else ""
    kind = option.about.kind
    return value.removeprefix(kind.name(value)) if isinstance(kind, Policy | Counts) else ""


def _is_policy(option: Declared) -> bool:
    return isinstance(option.about.kind, Policy | Counts)
