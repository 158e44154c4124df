"""What multiplies on the CPU: torch, or numpy where torch is missing. All values are random: equal ones cost less power and run faster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[], Any]
MB = 10**6
COLUMNS = 2048  # of the matrices


class Numpy:
    """numpy, in the one format that it multiplies as fast as an engine would; its number of threads cannot be changed."""

    formats: tuple[str, ...] = ("fp32",)

    def __init__(self) -> None:
        self.made_by = f"numpy {np.__version__} on the CPU"

    def use(self, threads: int) -> bool:
        """Whether products run on so many threads from now on."""
        return threads == cores()

    def products(self, format: str, rows: int, pieces: int, tokens: int) -> list[Call]:
        """The product of each of several random matrices with random values of so many tokens."""
        generator = np.random.default_rng(0)
        right = generator.standard_normal((COLUMNS, tokens), np.float32)
        matrices = [generator.standard_normal((rows, COLUMNS), np.float32) for _ in range(pieces)]
        return [lambda matrix=matrix: matrix @ right for matrix in matrices]  # type: ignore[misc]


class Torch(Numpy):
    """torch. int8 is what engines do with quantised weights: the values are quantised on the way, the dot products are of int8."""

    formats = ("fp32", "bf16", "fp16", "int8")

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.made_by = f"torch {torch.__version__.split('+')[0]} on the CPU"

    def use(self, threads: int) -> bool:
        self.torch.set_num_threads(threads)
        return True

    def products(self, format: str, rows: int, pieces: int, tokens: int) -> list[Call]:
        """Raises RuntimeError where torch was built without the kernels of that format."""
        torch = self.torch
        if format == "int8":
            return self._int8(rows, pieces, tokens)
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[format]
        right = torch.randn(COLUMNS, tokens).to(kind) if tokens > 1 else torch.randn(COLUMNS).to(kind)
        matrices = [torch.randn(rows, COLUMNS).to(kind) for _ in range(pieces)]
        return [lambda matrix=matrix: matrix @ right for matrix in matrices]  # type: ignore[misc]

    def _int8(self, rows: int, pieces: int, tokens: int) -> list[Call]:
        ops, right = self.torch.ops.quantized, self.torch.randn(tokens, COLUMNS)
        packed = [ops.linear_prepack(self._quantised(rows), None) for _ in range(pieces)]
        return [lambda weights=weights: ops.linear_dynamic(right, weights) for weights in packed]  # type: ignore[misc]

    def _quantised(self, rows: int) -> Any:
        values = self.torch.randint(-127, 128, (rows, COLUMNS), dtype=self.torch.int8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch plans to replace such tensors; without them int8 is left out
            return self.torch._make_per_tensor_quantized_tensor(values, 0.02, 0)


def choose() -> tuple[Numpy, str]:
    """What multiplies on the CPU, and a line for what is missing."""
    try:
        return Torch(), ""
    except ImportError:
        return Numpy(), "torch is not installed: numpy multiplies in its place (pip install 'simmoe[moe]' for torch)"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_bytes() -> int:
    """Size of the last-level cache; 32 MiB where the system does not say."""
    found = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text("ascii").strip()
        found.append(int(text[:-1]) * {"K": 2**10, "M": 2**20}[text[-1]])
    return max(found, default=32 * 2**20)
