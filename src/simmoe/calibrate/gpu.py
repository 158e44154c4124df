"""Which measurements a GPU needs: launches, products, grouped products, waits, hand-overs and copies, each as engines make them."""

from __future__ import annotations

from typing import Protocol

from simmoe.calibrate.backend import Call
from simmoe.calibrate.fit import CACHES
from simmoe.calibrate.rows import WIDTH, Row, timed_row

COLUMNS = 4096
SIZES = tuple(1 << n for n in range(18, 27, 2))  # bytes of the matrices below the largest: 256 KiB … 64 MiB
TOKENS = tuple(1 << n for n in range(1, 13))
EXPERTS = (1, 2, 4, 8, 16, 32)
SQUARE = 8192  # side of the product that tells the FLOP rate
COPIES = tuple(1 << n for n in range(16, 29, 2))  # 64 KiB … 256 MiB
BATCH = 20  # calls that are issued together


class Device(Protocol):
    """What `cuda.Cuda` offers."""

    name: str
    made_by: str
    unified: bool
    cache_bytes: int

    def memory(self) -> tuple[int, int]: ...
    def eager(self, calls: list[Call], seconds: float) -> list[float]: ...
    def graph(self, calls: list[Call], seconds: float) -> list[float]: ...
    def waited(self, call: Call, seconds: float) -> list[float]: ...
    def products(self, format: str, rows: int, columns: int, pieces: int, tokens: int) -> list[Call]: ...
    def grouped(self, experts: int, rows: int, columns: int, pieces: int) -> list[Call]: ...
    def small(self) -> Call: ...
    def read_back(self) -> Call: ...
    def ping_pong(self) -> Call: ...
    def copies(self, what: str, size: int) -> list[Call]: ...


def kernels(device: Device, seconds: float) -> list[Row]:
    """Launches and products, in about that time."""
    share = seconds / (4 + 2 * (len(SIZES) + 2) + len(TOKENS) + len(EXPERTS) + 3)
    return [*_launches(device, share), *_single(device, share), *_many(device, share), *_grouped(device, share)]


def _launches(device: Device, share: float) -> list[Row]:
    small = [device.small()] * 100
    return [
        timed_row("launch", device.eager(small, share), what="small kernel, eager, back to back"),
        timed_row("launch", device.graph(small, share), what=f"small kernel in a graph of {len(small)}"),
        timed_row("launch", device.waited(device.read_back(), share), what="32 B to the host and event wait"),
        timed_row(
            "launch",
            device.eager([device.ping_pong()] * BATCH, share),
            what="two kernels on two streams, each waits for the other (per round)",
        ),
    ]


def largest(cache_bytes: int) -> int:
    """Bytes of a matrix of whole rows that no last-level cache answers."""
    row = COLUMNS * WIDTH["bf16"]
    return -(-CACHES * cache_bytes // row) * row


def _single(device: Device, share: float) -> list[Row]:
    """One token with matrices of several sizes; the small ones are many, so that they are cold."""
    found, most = list[Row](), largest(device.cache_bytes)
    for size in (*SIZES, most, 4 * most):  # of the last the launch is a small part
        calls = device.products("bf16", size // COLUMNS // WIDTH["bf16"], COLUMNS, max(2, min(BATCH, most // size)), 1)
        for how, clock in (("graph", device.graph), ("eager", device.eager)):
            facts = {"what": f"rows of {COLUMNS}", "format": "bf16", "tokens": 1, "how": how, "bytes": size}
            found.append(timed_row("gemm", clock(calls, share), **facts))
    return found


def _many(device: Device, share: float) -> list[Row]:
    """Many tokens with one matrix, for the exponent; and a square product in each format, for the FLOP rate."""
    found, size = list[Row](), SIZES[-1]
    for tokens in TOKENS:
        calls = device.products("bf16", size // COLUMNS // WIDTH["bf16"], COLUMNS, 4, tokens)
        facts = {"what": f"rows of {COLUMNS}", "format": "bf16", "tokens": tokens, "how": "graph", "bytes": size}
        found.append(timed_row("gemm", device.graph(calls, share), **facts))
    for format in ("bf16", "fp16", "fp32"):
        side = SQUARE if format != "fp32" else SQUARE // 2
        times = device.eager(device.products(format, side, side, 1, side), share)
        facts = {"what": f"{side}^3", "format": format, "tokens": side, "how": "eager"}
        found.append(timed_row("gemm", times, **facts, bytes=side * side * WIDTH[format]))
    return found


def _grouped(device: Device, share: float) -> list[Row]:
    """Distinct experts in one launch, up to what no cache answers."""
    each = max(SIZES[2], -(-largest(device.cache_bytes) // EXPERTS[-1] // COLUMNS) * COLUMNS)
    found = list[Row]()
    for experts in EXPERTS:
        calls = device.grouped(experts, each // COLUMNS // WIDTH["bf16"], COLUMNS, max(2, EXPERTS[-1] // experts))
        facts = {"what": f"rows of {COLUMNS}", "experts": experts, "rows": 1, "way": "bmm"}
        size = each // COLUMNS // WIDTH["bf16"] * COLUMNS * WIDTH["bf16"] * experts
        found.append(timed_row("grouped", device.graph(calls, share), **facts, bytes=size))
    return found


def copies(device: Device, seconds: float) -> list[Row]:
    """Into the device out of pinned and of pageable memory, and back, by size."""
    whats = ("h2d pinned", "d2h pinned", "h2d pageable")
    found, share = list[Row](), seconds / len(whats) / len(COPIES)
    for what in whats:
        for size in COPIES:
            times = device.eager(device.copies(what, size)[:BATCH], share)
            found.append(timed_row("copy", times, what=what, how="back to back", bytes=size))
    return found
