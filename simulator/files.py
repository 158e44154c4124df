"""Files by name: the file name is the registry, a path that exists wins, and nothing is ever half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among


def available(folder: Path, suffix: str) -> list[str]:
    """Names of the bundled files of one kind, without the suffix."""
    return sorted(p.stem for p in folder.glob(f"*{suffix}") if not p.name.startswith("_"))


def resolve(name: str | Path, folder: Path, suffix: str, what: str, add: str, listing: str = "") -> Path:
    """The file that `name` means: a path that exists, else a bundled file with or without its suffix.

    Raises UserError (what exists, where to add one) for neither. listing: the command that lists them, where they are many.
    """
    path = Path(name)
    if path.is_file():
        return path
    stem = path.name.removesuffix(suffix)
    if len(path.parts) == 1 and stem in available(folder, suffix):
        return folder / f"{stem}{suffix}"
    known = among(stem, available(folder, suffix), "bundled:", listing)
    raise UserError(f"unknown {what} {str(name)!r}: no such file or bundled name; {known}; {add}")


@contextmanager
def atomic(path: Path, mode: str = "w") -> Iterator[IO]:  # type: ignore[type-arg]
    """A file beside `path` that takes its name only when everything has been written."""
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, mode, **({} if "b" in mode else {"encoding": "utf-8"})) as stream:  # type: ignore[call-overload]
            yield stream
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
