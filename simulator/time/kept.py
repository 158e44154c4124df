"""What numba keeps of a compiled kernel, beside its text: checked before it is loaded, and never a reason to fail.

numba unpickles and runs what it finds. A file that a crash or a full disk has cut, or that is damaged, would be the same error in every
later run, or worse, other machine code. So digests of the files stand beside them; what does not match is removed and compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic

SUMS = "simmoe.sums"


class Kept:
    """Stands in the place of the cache of one of numba's dispatchers."""

    def __init__(self, numba_cache: Any) -> None:
        self.numba_cache = numba_cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self.numba_cache, name)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """What was compiled for that signature; None = compile it."""
        folder = Path(self.numba_cache.cache_path)
        try:
            if (folder / SUMS).read_text("utf-8") == _sums(folder):
                return self.numba_cache.load_overload(signature, target)
        except Exception:  # whatever unpickling raises
            pass
        _remove(folder)
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep it where that can be; without it the next run compiles again."""
        folder = Path(self.numba_cache.cache_path)
        try:
            self.numba_cache.save_overload(signature, compiled)
            with atomic(folder / SUMS) as stream:
                stream.write(_sums(folder))
        except (OSError, UserError):
            _remove(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.glob("*") if one.suffix in (".nbi", ".nbc"))


def _sums(folder: Path) -> str:
    return "".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()} {one.name}\n" for one in _files(folder))


def _remove(folder: Path) -> None:
    for one in (*_files(folder), folder / SUMS):
        with contextlib.suppress(OSError):  # in a folder that cannot be written
            one.unlink(missing_ok=True)
