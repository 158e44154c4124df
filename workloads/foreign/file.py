"""A file of another program, opened once: its first bytes tell what it is, and each reader takes the view that it needs."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from simmoe.simulator.decide.blame import one_line
from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import parse_json

Array = np.ndarray[Any, Any]
HEAD = 4096  # bytes that tell what a file is
MOST_BYTES = 2_000_000_000  # of a text
MOST_HEADER = 100_000_000  # bytes: the limit of a safetensors file


class File:
    """One file; everything is read when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as stream:
            self.head = stream.read(HEAD)

    def fail(self, problem: str) -> NoReturn:
        """Refuse the file in one line."""
        raise UserError(f"{self.path}: {problem}")

    @property
    def is_text(self) -> bool:
        return b"\0" not in self.head and not self.head.startswith((b"PK", b"\x93NUMPY", b"PAR1", b"\x80"))

    @property
    def first_line(self) -> str:
        """Of a text; empty for anything else."""
        return (
            self.head.lstrip(b"\xef\xbb\xbf \r\n\t").split(b"\n")[0].decode("utf-8", "replace").strip()
            if self.is_text
            else ""
        )

    def lines(self) -> Iterator[tuple[int, str]]:
        """(number from 1, line) of a text, without empty ones."""
        for number, line in enumerate(self._text.splitlines(), 1):
            if line := line.strip():
                yield number, line

    @cached_property
    def _text(self) -> str:
        if self.path.stat().st_size > MOST_BYTES:
            self.fail(f"a text of more than {MOST_BYTES:,} bytes; cut it into several")
        try:
            return self.path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.fail(f"byte {error.start} is no UTF-8; the file is damaged")

    @cached_property
    def records(self) -> tuple[tuple[str, Any], ...]:
        """(where it stands, content) of each object: of one JSON text, of the list that it is, or of each line of JSONL."""
        if not self.first_line.startswith(("{", "[")):
            return ()
        if self._is_one_json:
            content = parse_json(self._text, str(self.path))
            if isinstance(content, list):
                return tuple((f"entry {i}", one) for i, one in enumerate(content))
            return (("the object", content),)
        return tuple((f"line {n}", parse_json(line, f"{self.path}: line {n}")) for n, line in self.lines())

    @property
    def _is_one_json(self) -> bool:
        """A first line that is a whole object, with others behind it, is the first of several."""
        lines = self.lines()
        first = next(lines, (0, ""))[1]
        if next(lines, None) is None or not first.startswith("{"):
            return True
        try:
            json.loads(first)
        except ValueError:
            return True
        return False

    @cached_property
    def names(self) -> frozenset[str]:
        """Of the arrays of an npz archive, or of the members of another zip; empty for anything else."""
        if not self.head.startswith(b"PK"):
            return frozenset()
        try:
            with zipfile.ZipFile(self.path) as archive:
                return frozenset(name.removesuffix(".npy") for name in archive.namelist())
        except Exception as error:  # of zipfile, which knows many ways to be damaged
            self.fail(f"is no readable zip archive ({one_line(error)}); is it truncated?")

    def array(self, name: str | None = None) -> Array:
        """The array of an npy file, or one of an npz archive by name; never pickled objects."""
        try:
            loaded = np.load(self.path, allow_pickle=False)
            if name is None:
                return np.asarray(loaded)
            with loaded:
                return np.asarray(loaded[name])
        except Exception as error:  # zlib.error and friends of a damaged archive share no base class
            problem = (
                "holds pickled objects, which are never loaded"
                if "allow_pickle" in str(error)
                else f"cannot be read ({one_line(error)})"
            )
            self.fail(f"{f'array {name!r} ' if name else ''}{problem}; write it again with numpy.save or numpy.savez")

    @cached_property
    def npy(self) -> Array | None:
        """The array of an npy file; None for anything else."""
        return self.array() if self.head.startswith(b"\x93NUMPY") else None

    @cached_property
    def tensors(self) -> dict[str, Array]:
        """Of a safetensors file, by name; empty for anything else."""
        if len(self.head) < 9 or self.head[8:9] != b"{":
            return {}
        (size,) = struct.unpack("<Q", self.head[:8])
        if size > MOST_HEADER:
            return {}
        content = np.memmap(self.path, np.uint8, "r")
        header = parse_json(bytes(content[8 : 8 + size]), f"{self.path}: header")
        found = {}
        for name, about in header.items():
            if name != "__metadata__":
                found[name] = _tensor(self, name, about, content[8 + size :])
        return found


SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
}


def _tensor(file: File, name: str, about: Any, data: Array) -> Array:
    try:
        dtype, shape, (begin, end) = about["dtype"], tuple(about["shape"]), about["data_offsets"]
        raw = data[begin:end].tobytes()
        if dtype == "BF16":
            return from_bfloat16(np.frombuffer(raw, "<u2")).reshape(shape)
        return np.frombuffer(raw, SAFETENSORS[dtype]).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        file.fail(f"tensor {name!r} cannot be read ({type(error).__name__}: {error}); is the file truncated?")


def from_bfloat16(bits: Array) -> Array:
    """float32 of the same value: bfloat16 is its upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
