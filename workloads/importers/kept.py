"""Published models as `--model` takes them: imported at the first use, and kept beside the compiled kernels.

What is kept is found by a digest of the files' names, sizes, times and first bytes and of the importers' own text. A kept file that is cut
or damaged is removed and made again; a folder that cannot be written is never a reason to fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic, cache_folder
from simmoe.workloads.importers.gguf_file import SPLIT
from simmoe.workloads.importers.model import import_model, main_file

BEGINNING = 65_536  # bytes of each file that the digest reads


def content(path: Path) -> dict[str, Any]:
    """The model file that `path` makes. Raises UserError."""
    path = main_file(path)
    folder = cache_folder()
    if folder is None:
        return import_model(path)
    file = folder / "models" / f"{_digest(path)}.json"
    data = _read(file)
    if data is None:
        data = import_model(path)
        _write(file, data)
    return data


def _read(file: Path) -> dict[str, Any] | None:
    """What was kept, if it is whole."""
    try:
        digest, _, text = file.read_text("utf-8").partition("\n")
        if digest == _sum(text):
            found: dict[str, Any] = json.loads(text)
            return found
        file.unlink()
    except (OSError, ValueError):
        pass
    return None


def _write(file: Path, data: dict[str, Any]) -> None:
    text = json.dumps(data)
    with contextlib.suppress(OSError, UserError):
        file.parent.mkdir(exist_ok=True)
        with atomic(file) as stream:
            stream.write(f"{_sum(text)}\n{text}")


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    found = hashlib.sha256(_own_text().encode())
    for file in _files(path):
        stat = file.stat()
        found.update(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        with file.open("rb") as stream:
            found.update(stream.read(BEGINNING))
    return found.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """The files that an import of `path` may read."""
    yield path
    if match := SPLIT.fullmatch(path.name):
        yield from sorted(path.parent.glob(f"{match[1]}-*-of-{match[3]}.gguf"))
    elif path.suffix != ".gguf":
        beside = (path.with_name("config.json"), *sorted(path.parent.glob("*.safetensors")))
        yield from (one for one in beside if one.is_file())


@cache
def _own_text() -> str:
    """Of the importers, so that what an older one made is made again."""
    return "".join(file.read_text("utf-8") for file in sorted(Path(__file__).parent.glob("*.py")))
