"""torch on the first CUDA device: what is timed, eager and in a CUDA graph; `gpu` says which and how large."""

from __future__ import annotations

from typing import Any

from simmoe.calibrate.backend import MB, Call
from simmoe.calibrate.sampling import repeat, timed
from simmoe.simulator.errors import UserError

POOL = 512 * MB  # bytes of the two ends of the copies
WARM = 3  # calls before a graph is recorded


class Cuda:
    """Times are those of the device, from one event to another; a call of a batch is issued without waiting for the one before."""

    def __init__(self) -> None:
        import torch

        self.torch, facts = torch, torch.cuda.get_device_properties(0)
        self.name, self.unified = str(facts.name), bool(getattr(facts, "is_integrated", False))
        self.made_by = f"torch {torch.__version__.split('+')[0]} on {self.name}"
        self.cache_bytes = int(facts.L2_cache_size)

    def memory(self) -> tuple[int, int]:
        """Bytes of the device: all, free."""
        free, total = self.torch.cuda.mem_get_info()
        return int(total), int(free)

    def eager(self, calls: list[Call], seconds: float) -> list[float]:
        """Seconds of a call, issued one after the other."""

        def all_of_them() -> None:
            for call in calls:
                call()

        return self._timed(all_of_them, len(calls), seconds)

    def graph(self, calls: list[Call], seconds: float) -> list[float]:
        """Seconds of a call, all of them recorded once and played again."""
        torch: Any = self.torch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for call in calls[:WARM]:
                call()
        torch.cuda.synchronize()
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded, stream=stream):
            for call in calls:
                call()
        return self._timed(recorded.replay, len(calls), seconds)

    def waited(self, call: Call, seconds: float) -> list[float]:
        """Seconds by the host's clock of a call that waits by itself."""
        self.torch.cuda.synchronize()
        return repeat(lambda: timed(call), seconds)

    def _timed(self, work: Call, count: int, seconds: float) -> list[float]:
        torch = self.torch

        def once() -> float:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end)) / 1e3 / count

        return repeat(once, seconds)

    def products(self, format: str, rows: int, columns: int, pieces: int, tokens: int) -> list[Call]:
        """One for each of several random matrices."""
        right = self._random(format, columns, tokens)
        matrices = [self._random(format, rows, columns) for _ in range(pieces)]
        return [lambda matrix=matrix: matrix @ right for matrix in matrices]  # type: ignore[misc]

    def grouped(self, experts: int, rows: int, columns: int, pieces: int) -> list[Call]:
        """One launch over so many distinct experts, one token each."""
        right = self._random("bf16", experts, columns, 1)
        pools = [self._random("bf16", experts, rows, columns) for _ in range(pieces)]
        return [lambda pool=pool: self.torch.bmm(pool, right) for pool in pools]  # type: ignore[misc]

    def _random(self, format: str, *shape: int) -> Any:
        kind = {"fp32": self.torch.float32, "bf16": self.torch.bfloat16, "fp16": self.torch.float16}[format]
        return self.torch.randn(*shape, device="cuda", dtype=kind)

    def small(self) -> Call:
        """A kernel that does next to nothing."""
        few = self.torch.zeros(32, device="cuda")
        return lambda: few.add_(1)

    def read_back(self) -> Call:
        """32 bytes to the host, which waits for them, as an engine that reads what a router chose."""
        torch = self.torch
        few, there = torch.zeros(8, device="cuda"), torch.zeros(8, pin_memory=True)

        def read() -> None:
            few.add_(1)
            there.copy_(few, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            event.synchronize()

        return read

    def ping_pong(self) -> Call:
        """A kernel on one stream, then one on another that waits for it, and back: two hand-overs."""
        torch, few = self.torch, self.torch.zeros(32, device="cuda")
        first, second = torch.cuda.current_stream(), torch.cuda.Stream()

        def both() -> None:
            few.add_(1)
            second.wait_stream(first)
            with torch.cuda.stream(second):
                few.add_(1)
            first.wait_stream(second)

        return both

    def copies(self, what: str, size: int) -> list[Call]:
        """Copies between two pools, each of the next place."""
        torch = self.torch
        host = torch.ones(POOL, dtype=torch.uint8, pin_memory="pinned" in what)
        device = torch.ones(POOL, dtype=torch.uint8, device="cuda")
        source, target = (device, host) if what.startswith("d2h") else (host, device)
        places = range(0, POOL - size + 1, size)[:64]
        return [lambda at=at: target[at : at + size].copy_(source[at : at + size], non_blocking=True) for at in places]  # type: ignore[misc]


def choose(device: str | None) -> Cuda | None:
    """The first CUDA device, where --device does not say cpu and torch sees one. Raises UserError where it must and does not."""
    if device == "cpu":
        return None
    try:
        import torch
    except ImportError:
        if device == "cuda":
            raise UserError("--device cuda needs torch; install it with CUDA, or leave --device out") from None
        return None
    if torch.cuda.is_available():
        return Cuda()
    if device == "cuda":
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return None
