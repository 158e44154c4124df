"""The slow tier, where every expert lies: a buffer in host memory, or one file per layer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np

from simmoe.workloads.offload.layout import Bytes


class Store(Protocol):
    """Where loads come from. `read` is called by the copy thread alone and must let other threads run meanwhile."""

    def read(self, obj: int, into: Bytes) -> None:
        """Copy expert `obj` into a slot."""

    def close(self) -> None:
        """Give up what was opened."""


class MemoryStore:
    """Experts in a host buffer, uint8 [objects, nbytes]."""

    def __init__(self, image: Bytes) -> None:
        self.image = image

    def read(self, obj: int, into: Bytes) -> None:
        np.copyto(into, self.image[obj])

    def close(self) -> None:
        pass


class FileStore:
    """One file per layer in `folder`, read past the page cache where the file system allows it (`direct`)."""

    def __init__(self, folder: Path, image: Bytes, n_experts: int) -> None:
        self.nbytes, self.n_experts = image.shape[1], n_experts
        self.files: list[int] = []
        for layer in range(len(image) // n_experts):
            path = folder / f"layer-{layer:03}.bin"
            image[layer * n_experts : (layer + 1) * n_experts].tofile(path)
            self.files.append(_open(path))
        self.direct = all(_is_direct(file) for file in self.files)

    def read(self, obj: int, into: Bytes) -> None:
        layer, expert = divmod(obj, self.n_experts)
        done = 0
        while done < self.nbytes:
            got = os.preadv(self.files[layer], [into[done:].data], expert * self.nbytes + done)
            if not got:
                raise OSError(f"the file of layer {layer} ends within expert {expert}")
            done += got

    def close(self) -> None:
        while self.files:
            os.close(self.files.pop())


def _open(path: Path) -> int:
    """A file descriptor; with O_DIRECT unless the platform or the file system refuses it."""
    written = os.open(path, os.O_RDONLY)
    try:
        os.fsync(written)  # an unbuffered read of pages not yet written would wait for them
        return os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
    except OSError:
        return os.open(path, os.O_RDONLY)
    finally:
        os.close(written)


def _is_direct(file: int) -> bool:
    import fcntl

    return bool(fcntl.fcntl(file, fcntl.F_GETFL) & getattr(os, "O_DIRECT", 0))
