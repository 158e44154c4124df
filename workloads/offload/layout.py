"""How experts lie in memory: one run of page-aligned bytes each, in the slow tier and in a slot alike."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from simmoe.workloads.oracle_moe.backbone import Experts

PAGE, LINE = 4096, 64  # bytes: what unbuffered reads ask for; where a part of an expert may start
Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]


class Weights(NamedTuple):
    """One two-layer GELU network."""

    w1: Tensor  # (d, f)
    b1: Tensor  # (f)
    w2: Tensor  # (f, d)
    b2: Tensor  # (d)


@dataclass(frozen=True)
class Layout:
    """Shape of every expert of a model, and where its four parts stand."""

    d_model: int
    d_ff: int

    @cached_property
    def parts(self) -> list[tuple[int, tuple[int, ...]]]:
        """(first byte, shape) of each part, in the order of Weights."""
        found: list[tuple[int, tuple[int, ...]]] = []
        at = 0
        for shape in ((self.d_model, self.d_ff), (self.d_ff,), (self.d_ff, self.d_model), (self.d_model,)):
            found.append((at, shape))
            at = rounded_up(at + 4 * int(np.prod(shape)), LINE)
        return found

    @cached_property
    def nbytes(self) -> int:
        """Bytes of one expert, whole pages: what a load moves, what a slot takes and what the budget counts."""
        first, shape = self.parts[-1]
        return rounded_up(first + 4 * int(np.prod(shape)), PAGE)

    def views(self, memory: Bytes) -> Weights:
        """The expert that lies in `memory`, uint8 [nbytes], without a copy."""
        flat = [memory[first : first + 4 * int(np.prod(shape))].view(np.float32) for first, shape in self.parts]
        return Weights(*(torch.from_numpy(a).view(shape) for a, (_, shape) in zip(flat, self.parts)))


def ffn(rows: Tensor, w: Weights, scale: int) -> Tensor:
    """The expert on rows (m, d): the only kernel, whether the expert was resident or has just been loaded."""
    return torch.addmm(w.b2, F.gelu(torch.addmm(w.b1, rows, w.w1)), w.w2, alpha=scale)


def rounded_up(count: int, to: int) -> int:
    return -(-count // to) * to


def aligned(rows: int, nbytes: int) -> Bytes:
    """uint8 [rows, nbytes] of zeros that start on a page, every page touched."""
    memory = mmap.mmap(-1, max(rows * nbytes, PAGE))
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    array: Bytes = np.frombuffer(memory, np.uint8)[: rows * nbytes].reshape(rows, nbytes)
    array[:] = 0
    return array


def image_of(experts: list[Experts], widen: int = 1) -> tuple[Layout, Bytes]:
    """All routed experts of a model, uint8 [layers * E, nbytes], object layer * E + expert.

    `widen` makes the hidden width so many times as large, with zeros that change nothing but the cost: for studies of
    the machine, since the bundled models' own experts are too small to time.
    """
    n, d, f = experts[0].w1.shape
    layout = Layout(d, f * widen)
    image = aligned(len(experts) * n, layout.nbytes)
    for obj, row in enumerate(image):
        mine, e = experts[obj // n], obj % n
        place = layout.views(row)
        place.w1[:, :f], place.b1[:f] = mine.w1.detach()[e], mine.b1.detach()[e]
        place.w2[:f], place.b2[:] = mine.w2.detach()[e], mine.b2.detach()[e]
    return layout, image


def random_image(layout: Layout, objects: int, seed: int) -> Bytes:
    """Experts of random weights, all different: each is a window into one long row of numbers."""
    rng: Any = np.random.default_rng(seed)
    floats = layout.nbytes // 4
    numbers = rng.standard_normal(floats + objects, np.float32) * np.float32(0.02)
    image = aligned(objects, layout.nbytes)
    for obj, row in enumerate(image):
        row.view(np.float32)[:] = numbers[obj : obj + floats]
    return image
