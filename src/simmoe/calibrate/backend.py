"""What multiplies and copies: torch on a CPU or a CUDA device, or numpy where torch is missing.

Weights lie in a pool several times the last-level cache and each call takes the next piece of it, so that every product reads cold
weights, as decoding does: on one repeated matrix a CPU looked 2.5 times as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.calibrate.sampling import timed
from simmoe.simulator.errors import UserError

Call = Callable[[], Any]
MB = 10**6


class Backend:
    """numpy on the CPU."""

    unit = "cpu"
    unified = True
    main = "fp32"  # format of the weights whose bandwidth is measured
    formats: tuple[str, ...] = ("fp32", "fp16")
    columns, params = 1024, 2**22  # of the matrices
    most_tokens = 512
    scale = 1  # of the sizes of the matrices
    batch = 1  # calls that are timed together
    least_pool = 128 * MB

    def __init__(self) -> None:
        self.what = f"numpy {np.__version__} on the CPU"

    def ones(self, shape: tuple[int, ...], format: str) -> Any:
        """An array with every page touched."""
        return np.full(shape, 0.01, {"fp32": np.float32, "fp16": np.float16}[format])

    def seconds(self, call: Call) -> float:
        """Time of one call."""
        return timed(call)

    def device_bytes(self) -> tuple[int, int]:
        """Memory of the device's own: all, free."""
        return 0, 0

    def copier(self, pool_bytes: int, pinned: bool = True) -> Callable[[int], Call]:
        """size -> a copy of the next `size` bytes of one pool to the next place in another, on one thread."""
        return host_copier(pool_bytes)


class Torch(Backend):
    """torch on the CPU."""

    formats = ("fp32", "bf16", "fp16")

    def __init__(self, device: str = "cpu") -> None:
        import torch

        self.torch, self.device = torch, device
        self.what = f"torch {torch.__version__.split('+')[0]} on the CPU, {torch.get_num_threads()} threads"

    def ones(self, shape: tuple[int, ...], format: str) -> Any:
        kinds = {"fp32": self.torch.float32, "bf16": self.torch.bfloat16, "fp16": self.torch.float16}
        return self.torch.full(shape, 0.01, dtype=kinds[format], device=self.device)


class Cuda(Torch):
    """torch on the first CUDA device: calls are issued in batches, as an engine does, and waited for once."""

    unit = "gpu"
    main = "fp16"
    formats = ("fp16", "bf16", "fp32")
    columns, params = 4096, 2**25
    most_tokens = 4096
    scale = 4
    least_pool = 512 * MB
    batch = 20

    def __init__(self) -> None:
        super().__init__("cuda")
        facts = self.torch.cuda.get_device_properties(0)
        self.unified = bool(getattr(facts, "is_integrated", False))
        self.what = f"torch {self.torch.__version__.split('+')[0]} on {facts.name}"

    def device_bytes(self) -> tuple[int, int]:
        free, total = self.torch.cuda.mem_get_info()
        return int(total), int(free)

    def seconds(self, call: Call) -> float:
        def batch() -> None:
            for _ in range(self.batch):
                call()
            self.torch.cuda.current_stream().synchronize()

        self.torch.cuda.current_stream().synchronize()
        return timed(batch) / self.batch

    def copier(self, pool_bytes: int, pinned: bool = True) -> Callable[[int], Call]:
        torch = self.torch
        source = torch.full((pool_bytes,), 1, dtype=torch.uint8, pin_memory=pinned)
        target = torch.empty(pool_bytes, dtype=torch.uint8, device="cuda")
        stream = torch.cuda.Stream()

        def sized(size: int) -> Call:
            place = places(size, pool_bytes)

            def copy() -> None:
                at = place()
                with torch.cuda.stream(stream):
                    target[at : at + size].copy_(source[at : at + size], non_blocking=pinned)
                stream.synchronize()

            return copy

        return sized


def host_copier(pool_bytes: int) -> Callable[[int], Call]:
    """memcpy between two cold pools in host memory."""
    source, target = (np.full(pool_bytes, fill, np.uint8) for fill in (1, 2))

    def sized(size: int) -> Call:
        place = places(size, pool_bytes)

        def copy() -> None:
            at = place()
            np.copyto(target[at : at + size], source[at : at + size])

        return copy

    return sized


def places(size: int, whole: int) -> Callable[[], int]:
    """Where the next piece of a pool starts, round and round."""
    number, pieces = -1, whole // size

    def place() -> int:
        nonlocal number
        number = (number + 1) % pieces
        return number * size

    return place


def choose(device: str | None) -> tuple[Backend, str]:
    """The backend for --device, and a line for what is missing."""
    try:
        import torch
    except ImportError:
        if device == "cuda":
            raise UserError("--device cuda needs torch; install it with CUDA, or leave --device out") from None
        return Backend(), "torch is not installed: numpy multiplies in its place (pip install 'simmoe[moe]' for torch)"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return (Cuda() if device != "cpu" and torch.cuda.is_available() else Torch()), ""


def pool_bytes(available: int, least: int) -> int:
    """Four times the last-level cache, `least` at least, at most half a GB and an eighth of the free memory."""
    return max(64 * MB, min(max(4 * cache_bytes(), least), 512 * MB, available // 8)) // MB * MB


def cache_bytes() -> int:
    """Size of the last-level cache; 32 MiB where the system does not say."""
    found = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text("ascii").strip()
        found.append(int(text[:-1]) * {"K": 2**10, "M": 2**20}[text[-1]])
    return max(found, default=32 * 2**20)
