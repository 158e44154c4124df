"""Makes a model file from what a model is published as: config.json, a GGUF file, or a set of safetensors files.

Only headers are read, never weights. docs/importing.md lists what each source says and what it leaves out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic
from simmoe.workloads.importers.config import read_json
from simmoe.workloads.importers.config_file import import_config
from simmoe.workloads.importers.gguf_file import import_gguf
from simmoe.workloads.importers.safetensors_index import import_index, import_single
from simmoe.workloads.models.reader import read
from simmoe.workloads.models.schema import ModelFile

HEADER = "# A simmoe model shape. docs/models.md describes every key.\n"
SUFFIXES = (".gguf", ".safetensors", ".json")  # of what is imported; a shape is YAML
IN_A_FOLDER = (
    "model.safetensors.index.json",
    "model.safetensors",
    "config.json",
)  # the first that is there says the most


def is_published(path: Path) -> bool:
    """Whether a path is a published model in place of a shape."""
    return path.is_dir() or path.suffix in SUFFIXES


def holds_model(folder: Path) -> bool:
    """Whether there is something in a folder that can be imported."""
    return any((folder / name).is_file() for name in IN_A_FOLDER) or any(folder.glob("*.gguf"))


def main_file(path: Path) -> Path:
    """The file to import: of a folder the one that says the most. Raises UserError."""
    if not path.is_dir():
        return path
    ggufs = sorted(path.glob("*.gguf"))
    first = [one for one in ggufs if "-of-" not in one.stem or "-00001-of-" in one.stem]
    if len(first) > 1:
        raise UserError(f"{path} holds {len(first)} GGUF models, {first[0].name} and others; name one of them")
    found = [*(path / name for name in IN_A_FOLDER if (path / name).is_file()), *first]
    if not found:
        raise UserError(
            f"{path} holds no config.json, *.gguf, *.safetensors or model.safetensors.index.json; name a file or another folder"
        )
    return found[0]


def import_model(path: Path) -> dict[str, Any]:
    """The content of a model file for the model that `path` describes, checked as every model file is."""
    if not path.exists():
        raise UserError(
            f"{path} does not exist; give a file or folder: config.json, *.gguf, *.safetensors or model.safetensors.index.json"
        )
    path = main_file(path)
    try:
        data = _import(path)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}") from None
    read(ModelFile, data, path.name)
    return data


def _import(path: Path) -> dict[str, Any]:
    if path.suffix == ".gguf":
        return import_gguf(path)
    if path.suffix == ".safetensors":
        return import_single(path)
    if path.suffix == ".json":
        content = read_json(path)
        return import_index(path, content) if "weight_map" in content else import_config(path, content)
    raise UserError(
        f"{path.name}: cannot tell what it is; give config.json, *.gguf, *.safetensors or model.safetensors.index.json"
    )


def write_shape(data: dict[str, Any], out: Path, force: bool = False) -> None:
    """Writes a model file in one step: readers see the old file or the whole new one, never half of it."""
    read(ModelFile, data, out.name)
    if out.exists() and not force:
        raise UserError(f"{out} exists; choose another name or overwrite it with --force")
    text = HEADER + yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    with atomic(out) as stream:
        stream.write(text)
