"""Makes a model file from what a model is published as: config.json, a GGUF file, or a set of safetensors files.

Only headers are read, never weights. docs/models.md lists what each source says and what it leaves out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic
from simmoe.workloads import models
from simmoe.workloads.importers.config import import_config, read_json
from simmoe.workloads.importers.gguf_file import import_gguf
from simmoe.workloads.importers.safetensors_index import import_index, import_single

HEADER = "# A simmoe model shape. docs/models.md describes every key.\n"


def import_model(path: Path) -> dict[str, Any]:
    """The content of a model file for the model that `path` describes; checked, so that it loads."""
    if not path.is_file():
        what = "is a folder; give a file in it" if path.is_dir() else "does not exist; give a file"
        raise UserError(f"{path} {what}: config.json, *.gguf, *.safetensors or model.safetensors.index.json")
    try:
        data = _import(path)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read: {error.strerror}") from None
    models.shape(data, path.name)
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
    models.shape(data, out.name)
    if out.exists() and not force:
        raise UserError(f"{out} exists; choose another name or overwrite it with --force")
    text = HEADER + yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    with atomic(out) as stream:
        stream.write(text)
