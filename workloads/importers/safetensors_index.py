"""Makes a model file from the headers of safetensors files and the config.json beside them.

A header gives names, types and bytes of the tensors (https://github.com/huggingface/safetensors); how many heads and how many experts a
token uses stand in config.json only. The parameters that it describes say which tensors are missing.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import parse_json
from simmoe.workloads.importers import described
from simmoe.workloads.importers.config import name_of, read_json
from simmoe.workloads.importers.config_file import import_config, said
from simmoe.workloads.importers.places import Named
from simmoe.workloads.importers.tensors import collect

MOST_HEADER_BYTES = 100_000_000  # the limit of the format
ONE_EACH = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}  # types that store one weight per element: its bytes
SCALES = re.compile(r"(_scales|\.weight_scale(_inv)?)$")  # belong to a quantised tensor, are no parameters


@dataclass(frozen=True)
class Entry:
    """One tensor of a header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


def import_index(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """From model.safetensors.index.json: the real bytes of the files it names, else only the shape in config.json."""
    weight_map = content["weight_map"]
    if not isinstance(weight_map, dict) or not all(isinstance(x, str) and Path(x).name for x in weight_map.values()):
        raise UserError(f"{path.name}: weight_map must map the name of every tensor to a file name")
    shards = sorted({path.with_name(Path(name).name) for name in weight_map.values()})
    missing = [shard.name for shard in shards if not shard.is_file()]
    if shards and not missing:
        return _import(path, shards)
    if len(missing) < len(shards):
        raise UserError(
            f"{missing[0]} is not beside {path.name} though other files of the set are; add all of them, "
            "or import config.json for the shape alone"
        )
    return _shape_only(path, content)


def import_single(path: Path) -> dict[str, Any]:
    """From a model that is one safetensors file."""
    return _import(path, [path])


def _shape_only(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    config = path.with_name("config.json")
    if not config.is_file():
        raise UserError(
            f"{path.name} names tensors but not their sizes; put its safetensors files beside it, or "
            "config.json for the shape alone"
        )
    data = import_config(config, read_json(config))
    metadata = content.get("metadata")
    size = metadata.get("total_size") if isinstance(metadata, dict) else None
    known = type(size) is int and size > 0
    said = f"the index says {size} bytes in all" if known else "the index does not say how many bytes"
    note = f"Without the safetensors files the bytes of each part are not known; {said}."
    return {**data, "notes": f"{data['notes']} {note}" if "notes" in data else note}


def _import(path: Path, shards: Iterable[Path]) -> dict[str, Any]:
    """A model file with parts."""
    config_path = path.with_name("config.json")
    if not config_path.is_file():
        raise UserError(
            f"config.json is not beside {path.name}; it says how many heads and how many experts per token "
            "the model has"
        )
    model = described.describe(read_json(config_path), config_path.name)
    entries = [entry for shard in shards for entry in read_entries(shard)]
    tensors = described.in_one_stack([_named(entry, path.name) for entry in entries if entry.nbytes])
    placed = described.placed(model, tensors, path.name)
    parts = collect(placed, described.facts(model), model.config.top_k, model.config.width, path.name)
    _compare(parts, described.parts(model, config_path.name), path.name)
    sources = {"parts": f"headers of the safetensors files of {path.name}, and config.json"}
    return {"schema": 1, "name": name_of(path.resolve().parent.name), "title": f"{model.family} model, imported from {path.name}",
            "sources": sources, "parts": parts, **said(model)}  # fmt: skip


def _compare(found: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """A tensor that is missing or not understood shows as a part of another size than config.json says."""
    for i, (have, want) in enumerate(zip(found["layers"], expected["layers"])):
        for part in ("attention", "ffn", "shared", "expert"):
            params, due = _params_of(have.get(part, {})), _params_of(want.get(part, {}))
            if abs(params - due) > due // 100:  # old files hold a few buffers besides
                raise UserError(
                    f"{where}: {part} of layer {i} has {params} parameters where config.json makes {due}; "
                    "is a file missing, or from another model?"
                )


def _params_of(part: Mapping[str, Any]) -> int:
    return sum(part.get(kind, 0) for kind in ("matrix_params", "router_params", "vector_params"))


def read_entries(path: Path) -> list[Entry]:
    """The header of one file: 8 bytes with its length, then JSON."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
            raise UserError(
                f"{path.name} is truncated or no safetensors file: its header would be {length} bytes, the "
                f"file has {size}"
            )
        text = file.read(length)
    try:
        header = parse_json(text, f"the header of {path.name}")
        return [_entry(name, info) for name, info in header.items() if name != "__metadata__"]
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path.name} has a damaged header: {type(error).__name__} {str(error)[:200]}") from None


def _entry(name: str, info: Mapping[str, Any]) -> Entry:
    begin, end = info["data_offsets"]
    shape = tuple(info["shape"])
    if not all(type(x) is int and x >= 0 for x in (*shape, begin, end)) or end < begin:
        raise ValueError(f"tensor {reprlib.repr(name)} has the shape {shape} and the offsets {begin}, {end}")
    entry = Entry(name, str(info["dtype"]), shape, end - begin)
    if (due := math.prod(shape) * ONE_EACH.get(entry.dtype, 0)) and due != entry.nbytes:
        raise ValueError(f"tensor {reprlib.repr(name)} has {entry.nbytes} bytes where its shape and type make {due}")
    return entry


def _named(entry: Entry, where: str) -> Named:
    """A tensor under the name that the class has for it; block scales stay beside their matrix, without parameters."""
    return Named(
        SCALES.sub("", entry.name) if entry.name.endswith("_scales") else entry.name,
        entry.shape,
        entry.nbytes,
        _params(entry, where),
    )


def _params(entry: Entry, where: str) -> int:
    if SCALES.search(entry.name):
        return 0
    elements = math.prod(entry.shape)
    if entry.dtype in ONE_EACH:
        return elements
    if entry.dtype == "U8" and entry.name.endswith("_blocks"):  # MXFP4 as gpt-oss stores it: two weights in a byte
        return 2 * elements
    raise UserError(
        f"{where}: tensor {entry.name} has the type {entry.dtype}, whose weights cannot be counted; import "
        "config.json and choose a format instead"
    )
