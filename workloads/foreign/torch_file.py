"""What `torch.save` wrote, without unpickling: a walk over its opcodes that calls nothing, and the numbers behind it.

A `.pt` file is a zip: `data.pkl` says in pickle opcodes how dictionaries, lists and tensors nest, `data/N` hold the numbers
(https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst). Pickle may name any function and call it. Here the
opcodes are only read (`pickletools.genops` runs none), 40 of them are understood, and of all names only those below: the two of tensors and
dictionaries, which stand for our own steps, and the types of storages. Anything else is refused with its name.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.decide.blame import one_line
from simmoe.simulator.errors import UserError
from simmoe.workloads.foreign.file import Array, File, from_bfloat16

MOST_PICKLE = 50_000_000  # bytes of data.pkl
STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1",
}  # fmt: skip
TENSOR, DICTIONARY = ("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict")


class Name(NamedTuple):
    """A global that the pickle names; nothing is imported."""

    module: str
    name: str


class Storage(NamedTuple):
    dtype: str  # a key of STORAGES
    key: str  # the member data/KEY


class _Mark:
    """Where a group of values begins on the stack."""


def is_torch(file: File) -> bool:
    return any(name.endswith("/data.pkl") or name == "data.pkl" for name in file.names)


@lru_cache(maxsize=1)
def contents(file: File) -> Any:
    """Dictionaries, lists, numbers and texts; a tensor is an array. Raises UserError for what is no plain data."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            pickle = next(info for info in archive.infolist() if info.filename.endswith("data.pkl"))
            if pickle.file_size > MOST_PICKLE:
                file.fail(f"{pickle.filename} has {pickle.file_size:,} bytes; the most that is read is {MOST_PICKLE:,}")
            root = pickle.filename.removesuffix("data.pkl")
            return _Walk(file, lambda storage: _numbers(file, archive, root, storage)).run(archive.read(pickle))
    except UserError:
        raise
    except Exception as error:  # of zipfile, pickletools or NumPy, each of which knows many ways to be damaged
        file.fail(f"is no file of torch.save that can be read ({one_line(error)}); is it truncated?")


def _numbers(file: File, archive: zipfile.ZipFile, root: str, storage: Storage) -> Array:
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        file.fail("its numbers are big-endian; save it on a little-endian machine")
    member = archive.getinfo(f"{root}data/{storage.key}")
    if member.compress_type != zipfile.ZIP_STORED:
        file.fail(f"{member.filename} is compressed, which torch.save never does")
    numbers = np.frombuffer(archive.read(member), STORAGES[storage.dtype])
    return from_bfloat16(numbers) if storage.dtype == "BFloat16Storage" else numbers


class _Walk:
    """The stack machine of pickle, without the part that calls."""

    def __init__(self, file: File, numbers: Callable[[Storage], Array]) -> None:
        self.file, self.numbers = file, numbers
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, text: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(text):
            step: Callable[[Any], None] | None = getattr(self, f"on_{opcode.name.lower()}", None)
            if opcode.name in VALUES:
                self.stack.append(VALUES[opcode.name](argument))
            elif opcode.name in ("PROTO", "FRAME"):
                continue
            elif opcode.name == "STOP":
                return self.stack.pop()
            elif step is None:
                self.file.fail(
                    f"the pickle opcode {opcode.name} is no plain data and never run; save dictionaries, lists and tensors only"
                )
            else:
                step(argument)
        raise ValueError("the pickle has no end")

    def popped(self) -> list[Any]:
        """What stands above the last mark."""
        at = max(i for i, one in enumerate(self.stack) if isinstance(one, _Mark))
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def on_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.named(module, name)

    def on_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.named(str(module), str(name))

    def named(self, module: str, name: str) -> None:
        if (module, name) not in (TENSOR, DICTIONARY) and not (module == "torch" and name in STORAGES):
            self.file.fail(
                f"names the Python object {module}.{name}, which is never imported; save dictionaries, lists and tensors only"
            )
        self.stack.append(Name(module, name))

    def on_binpersid(self, _: Any) -> None:
        kind, storage, key, *_rest = self.stack.pop()
        if kind != "storage" or not isinstance(storage, Name):
            raise ValueError("a persistent id is no storage")
        self.stack.append(Storage(storage.name, str(key)))

    def on_reduce(self, _: Any) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if tuple(name) == DICTIONARY and not arguments:
            self.stack.append({})
        elif tuple(name) == TENSOR:
            self.stack.append(self.tensor(*arguments[:4]))
        else:
            raise ValueError(f"{'.'.join(name)} stands for nothing here")

    def tensor(self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Array:
        numbers = self.numbers(storage)
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride)) if all(shape) else offset
        if (
            offset < 0
            or min([*shape, *stride, 0]) < 0
            or len(shape) != len(stride)
            or prod(shape) > len(numbers)
            or last > len(numbers)
        ):
            raise ValueError(f"a tensor of shape {shape} is larger than its storage of {len(numbers)} numbers")
        if all(shape) and last >= len(numbers):
            raise ValueError(f"a tensor of shape {shape} ends behind its storage of {len(numbers)} numbers")
        steps = [step * numbers.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False).copy()

    def on_mark(self, _: Any) -> None:
        self.stack.append(_Mark())

    def on_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.popped()))

    def on_tuple1(self, _: Any) -> None:
        self.stack[-1:] = [tuple(self.stack[-1:])]

    def on_tuple2(self, _: Any) -> None:
        self.stack[-2:] = [tuple(self.stack[-2:])]

    def on_tuple3(self, _: Any) -> None:
        self.stack[-3:] = [tuple(self.stack[-3:])]

    def on_append(self, _: Any) -> None:
        value = self.stack.pop()
        self.stack[-1].append(value)

    def on_appends(self, _: Any) -> None:
        values = self.popped()
        self.stack[-1].extend(values)

    def on_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][key] = value

    def on_setitems(self, _: Any) -> None:
        pairs = self.popped()
        self.stack[-1].update(zip(pairs[::2], pairs[1::2]))

    def on_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_binput(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def on_binget(self, place: int) -> None:
        self.stack.append(self.memo[place])

    on_long_binput = on_binput
    on_long_binget = on_binget


def _itself(value: Any) -> Any:
    return value


VALUES: dict[str, Callable[[Any], Any]] = {
    "NONE": _itself, "NEWTRUE": lambda _: True, "NEWFALSE": lambda _: False, "BININT": _itself, "BININT1": _itself, "BININT2": _itself,
    "LONG1": _itself, "BINFLOAT": _itself, "BINUNICODE": _itself, "SHORT_BINUNICODE": _itself, "BINUNICODE8": _itself,
    "EMPTY_DICT": lambda _: {}, "EMPTY_LIST": lambda _: [], "EMPTY_TUPLE": lambda _: (),
}  # fmt: skip
