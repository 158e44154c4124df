"""Reads the header of a GGUF file (version 2 or 3): metadata and tensor infos, so that a header without data is enough.

Layout: docs/gguf.md of https://github.com/ggml-org/ggml; bytes per block: workloads/models/blocks.py.
"""

from __future__ import annotations

import math
import reprlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from simmoe.simulator.errors import UserError
from simmoe.workloads.models.blocks import BLOCKS

NAMES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
# ggml type number: (name, weights per block, bytes per block)
GGML_TYPES = {number: (name, *BLOCKS[name]) for number, name in NAMES.items()}
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


OF_THE_FORK = 97  # ik_llama.cpp numbers its own types from there; theirs may have bytes of their own in each row


@dataclass(frozen=True)
class TensorInfo:
    """Name, dimensions (fastest first) and ggml type of one tensor."""

    name: str
    dims: tuple[int, ...]
    kind: int

    @property
    def params(self) -> int:
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        _, weights, size = GGML_TYPES[self.kind]
        return self.params // weights * size


@dataclass(frozen=True)
class Header:
    metadata: dict[str, Any]
    tensors: list[TensorInfo]


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
        return Header(metadata, [source.tensor() for _ in range(n_tensors)])


def _whose(kind: int) -> str:
    return ", one of the fork ik_llama.cpp" if kind >= OF_THE_FORK else ", newer than this release"


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
        kind, _offset = self.unpack("I"), self.unpack("Q")
        if kind not in GGML_TYPES:
            raise UserError(
                f"{self.name}: tensor {reprlib.repr(name)} has the ggml type {kind}{_whose(kind)}, whose block size is not known here; "
                "import a file of the same model in a type of llama.cpp, such as Q4_K, or write the shape by hand (docs/models.md). "
                f"Known: {', '.join(entry[0] for entry in GGML_TYPES.values())}"
            )
        type_name, weights, _ = GGML_TYPES[kind]
        if not dims or dims[0] % weights:
            raise UserError(
                f"{self.name} is damaged: a row of tensor {reprlib.repr(name)} has {dims[:1]} weights, not "
                f"whole {type_name} blocks of {weights}"
            )
        return TensorInfo(name, dims, kind)
