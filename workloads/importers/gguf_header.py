"""Reads the header of a GGUF file (version 2 or 3): metadata and tensor infos, so that a header without data is enough.

Layout: docs/gguf.md of https://github.com/ggml-org/ggml. Bytes follow from the type of a tensor; of a type that is not known here they
are the distance to the next tensor, which needs the data, or at least their offsets.
"""

from __future__ import annotations

import math
import reprlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.ggml_types import GGML_TYPES, named, nbytes

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class TensorInfo:
    """Name, dimensions (fastest first), ggml type and bytes of one tensor."""

    name: str
    dims: tuple[int, ...]
    kind: int
    nbytes: int
    offset: int = 0

    @property
    def params(self) -> int:
        return math.prod(self.dims)


@dataclass(frozen=True)
class Header:
    metadata: dict[str, Any]
    tensors: list[TensorInfo]

    @property
    def unknown(self) -> list[str]:
        """Types whose sizes are distances between tensors."""
        return sorted({named(info.kind) for info in self.tensors if info.kind not in GGML_TYPES})


def read_header(path: Path) -> Header:
    with path.open("rb") as file:
        source = _Source(file, path.stat().st_size, path.name)
        magic = file.read(4)
        if magic != b"GGUF":
            raise UserError(f"{path.name} is not a GGUF file: it starts with {magic!r}, not b'GGUF'")
        version, n_tensors, n_pairs = source.unpack("I"), source.unpack("Q"), source.unpack("Q")
        if version not in (2, 3):
            raise UserError(f"{path.name} is GGUF version {version}; versions 2 and 3 (little-endian) can be read")
        metadata = {}
        for _ in range(n_pairs):
            key = source.string()
            metadata[key] = source.value(source.unpack("I"))
        tensors = [source.tensor() for _ in range(n_tensors)]
        end = source.size - _aligned(file.tell(), metadata)  # of the data, from where offsets count
    return Header(metadata, _sized(tensors, end, path.name))


def _aligned(position: int, metadata: dict[str, Any]) -> int:
    step = metadata.get("general.alignment", 32)
    step = step if type(step) is int and step > 0 else 32
    return -(-position // step) * step


def _sized(tensors: Sequence[TensorInfo], end: int, where: str) -> list[TensorInfo]:
    """Unknown types get the distance to what follows; the last tensor of a file ends where the file does."""
    if all(info.kind in GGML_TYPES for info in tensors):
        return list(tensors)
    starts = sorted({info.offset for info in tensors})
    following = dict(zip(starts, [*starts[1:], end]))
    return [
        _by_distance(info, following[info.offset], where) if info.kind not in GGML_TYPES else info for info in tensors
    ]


def _by_distance(info: TensorInfo, following: int, where: str) -> TensorInfo:
    if following <= info.offset:
        raise UserError(
            f"{where}: tensor {reprlib.repr(info.name)} has the {named(info.kind)}, whose block size is not known here, and the file holds "
            "no data behind it that would show its bytes; import the whole file, or a file of the model in a type such as Q4_K"
        )
    return replace(info, nbytes=following - info.offset)


@dataclass(frozen=True)
class _Source:
    """Little-endian values from a file, and one clear line where it ends too early."""

    file: BinaryIO
    size: int
    name: str

    def take(self, count: int) -> bytes:
        position = self.file.tell()
        if count > self.size - position:  # before reading: a damaged length may ask for exabytes
            raise UserError(
                f"{self.name} is truncated or damaged: its header needs {count} bytes at byte {position} "
                f"but the file has {self.size}"
            )
        return self.file.read(count)

    def unpack(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        return self.take(self.unpack("Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.array(self.unpack("I"), self.unpack("Q"))
        if kind not in SCALARS:
            raise UserError(f"{self.name} is damaged: unknown metadata type {kind} at byte {self.file.tell()}")
        return self.unpack(SCALARS[kind])

    def array(self, kind: int, length: int) -> list[Any]:
        if kind == STRING:
            return [self.string() for _ in range(length)]
        if kind not in SCALARS:  # arrays of arrays are in the format, but in no model file
            raise UserError(f"{self.name} has a metadata array of type {kind}, which cannot be read")
        code = SCALARS[kind]
        return list(struct.unpack(f"<{length}{code}", self.take(length * struct.calcsize("<" + code))))

    def tensor(self) -> TensorInfo:
        name, n_dims = self.string(), self.unpack("I")
        if n_dims > 4:
            raise UserError(f"{self.name} is damaged: tensor {reprlib.repr(name)} has {n_dims} dimensions, at most 4")
        dims = tuple(self.unpack("Q") for _ in range(n_dims))
        kind, offset = self.unpack("I"), self.unpack("Q")
        if kind not in GGML_TYPES:
            return TensorInfo(name, dims, kind, 0, offset)
        type_name, weights, *_ = GGML_TYPES[kind]
        if not dims or dims[0] % weights:
            raise UserError(
                f"{self.name} is damaged: a row of tensor {reprlib.repr(name)} has {dims[:1]} weights, not "
                f"whole {type_name} blocks of {weights}"
            )
        return TensorInfo(name, dims, kind, nbytes(kind, dims), offset)
