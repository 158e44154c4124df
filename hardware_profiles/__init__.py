"""Hardware profiles: one machine per YAML file, every number with its unit, how it is known and where it comes from.

The format is described in docs/hardware_format.md. The loader checks a file completely before it builds a `Hardware`,
so that a mistake is one line that names the file and the dotted path, never a traceback in the middle of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simmoe.hardware_profiles import cards, host, ranks
from simmoe.hardware_profiles.building import build
from simmoe.hardware_profiles.composing import JOIN, alone, parts
from simmoe.hardware_profiles.figures import KINDS
from simmoe.hardware_profiles.plausible import doubts
from simmoe.hardware_profiles.ranges import bounds
from simmoe.hardware_profiles.reading import FOLDER, available, changed, in_mode, merged, split
from simmoe.hardware_profiles.schema import Checked
from simmoe.simulator.nouns.hardware import Hardware

__all__ = [
    "FOLDER",
    "FOLDERS",
    "KINDS",
    "available",
    "bounds",
    "content",
    "doubts",
    "find",
    "found",
    "load",
    "merged",
    "parts",
    "ranks",
    "renamed",
]

FOLDERS = (FOLDER, host.HOSTS, ranks.FABRICS)  # of the bundled files


def find(name_or_path: str | Path) -> Path:
    """The file behind a name: a file that exists wins over a bundled profile of the same name; `@mode` is left out."""
    return split(name_or_path)[0]


def found(name_or_path: str | Path) -> list[Path]:
    """The files behind a name: of "GPU+HOST" the profile and the host, of "GPU+GPU+HOST" both profiles too, of "+HOST" the host, of
    "8xGPU:FABRIC" profile and fabric."""
    if pair := parts(name_or_path):
        return [*(file for name in cards.names(pair[0]) if name for file in found(name)), host.find(pair[1])]
    if many := ranks.parts(name_or_path):
        return [*found(many[1]), ranks.find(many[2])]
    return [find(name_or_path)]


def renamed(name_or_path: str | Path, called: Callable[[Path], str]) -> str:
    """The same machine, each file of it by the name that `called` gives it."""
    if pair := parts(name_or_path):
        gpus = [renamed(name, called) if name else "" for name in cards.names(pair[0])]
        return JOIN.join([*gpus, called(host.find(pair[1]))])
    if many := ranks.parts(name_or_path):
        return f"{many[0]}x{renamed(many[1], called)}:{called(ranks.find(many[2]))}"
    path, mode = split(name_or_path)
    return called(path) + f"@{mode}" * bool(mode)


def content(name_or_path: str | Path) -> tuple[dict[str, Any], Checked]:
    """What a profile says, checked: all that it extends, its mode, its host. Raises UserError with one line."""
    pair = parts(name_or_path)
    if pair is None:
        return _one(name_or_path)
    box = host.load(pair[1])[0]
    machine = _with_gpu(pair[0], box) if pair[0] else alone(box)
    return machine, Checked(machine, machine["name"])


def _with_gpu(name: str, box: Mapping[str, Any]) -> dict[str, Any]:
    found = [_one(gpu) for gpu in cards.names(name)]
    return cards.composed([gpu for gpu, _ in found], box, [checked.file for _, checked in found])


def _one(name_or_path: str | Path) -> tuple[dict[str, Any], Checked]:
    """Of one device, or of equal ones."""
    if many := ranks.parts(name_or_path):
        one, checked = _one(many[1])
        machine = ranks.joined(many[0], one, many[2], checked.file)
        return machine, Checked(machine, machine["name"])
    path, mode = split(name_or_path)
    said = merged(path)
    checked = Checked(said, path.name)
    if mode:
        said = in_mode(said, mode, path.name)
        checked = Checked(said, f"{path.name}@{mode}")
    return said, checked


def load(name_or_path: str | Path, changes: Mapping[str, str] | None = None) -> Hardware:
    """One machine, checked: by the path of a YAML file or by the name of a bundled profile, either with `@mode`, or as "GPU+HOST",
    "GPU+GPU+HOST", "+HOST", "8xGPU:FABRIC".

    changes: dotted path of a figure -> its new value, such as {"link.bandwidth": "128 GB/s"}. Raises UserError with one line.
    """
    said, checked = content(name_or_path)
    if changes:
        pair = parts(name_or_path)
        equal = ranks.parts(pair[0] if pair else name_or_path)
        said = changed(said, ranks.of_all(said, changes) if equal else changes, checked, changes)
        if pair and len(cards.names(pair[0])) > 1:
            said = cards.follow(said, changes)
        checked = Checked(said, checked.file)
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return build(said, checked, hashlib.sha256(canonical.encode()).hexdigest())
