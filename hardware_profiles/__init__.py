"""Hardware profiles: one machine per YAML file, every number with its unit, how it is known and where it comes from.

The format is described in docs/hardware_format.md. The loader checks a file completely before it builds a `Hardware`,
so that a mistake is one line that names the file and the dotted path, never a traceback in the middle of a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from simmoe.hardware_profiles.building import build
from simmoe.hardware_profiles.figures import KINDS
from simmoe.hardware_profiles.plausible import doubts
from simmoe.hardware_profiles.ranges import bounds
from simmoe.hardware_profiles.reading import FOLDER, available, changed, in_mode, merged, split
from simmoe.hardware_profiles.schema import Checked
from simmoe.simulator.nouns.hardware import Hardware

__all__ = ["FOLDER", "KINDS", "available", "bounds", "doubts", "find", "load", "merged"]


def find(name_or_path: str | Path) -> Path:
    """The file behind a name: a file that exists wins over a bundled profile of the same name; `@mode` is left out."""
    return split(name_or_path)[0]


def load(name_or_path: str | Path, changes: Mapping[str, str] | None = None) -> Hardware:
    """One machine, checked: by the path of a YAML file or by the name of a bundled profile, either with `@mode`.

    changes: dotted path of a figure -> its new value, such as {"link.bandwidth": "128 GB/s"}. Raises UserError with one line.
    """
    path, mode = split(name_or_path)
    content = merged(path)
    checked = Checked(content, path.name)
    if mode:
        content = in_mode(content, mode, path.name)
        checked = Checked(content, f"{path.name}@{mode}")
    if changes:
        content = changed(content, changes, checked)
        checked = Checked(content, checked.file)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return build(content, checked, hashlib.sha256(canonical.encode()).hexdigest())
