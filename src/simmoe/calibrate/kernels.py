"""Products of cold weights with one token (GEMV) and with many (GEMM), and what a call costs by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simmoe.calibrate import fit
from simmoe.calibrate.backend import Backend, Call, places
from simmoe.calibrate.sampling import QUANTILES, rates, repeat, spread
from simmoe.simulator.units import nbytes

SIZES = tuple(1 << n for n in range(18, 27, 2))  # 256 KiB … 64 MiB
BESIDE = 2**24  # bytes of the product that runs beside loads
PATIENCE = 1.0  # seconds that a format may take in any case
MISFIT = 1.25  # how far a median may lie from the fitted line without a warning
SLOW = 0.5  # share of the bandwidth below which another format deserves a warning

Cells = dict[int, list[float]]  # bytes of the matrix, or tokens -> seconds
Products = Callable[[int, int], Call]  # bytes of the matrix, tokens -> the product of the pool's next matrix with them


@dataclass(frozen=True)
class Kernels:
    """Samples of one compute unit."""

    what: str
    main: str  # format of the weights of `gemv` and `gemm`
    call: list[float]  # seconds of a product too small to matter
    gemv: Cells
    gemm: dict[str, Cells]  # by format
    params: int  # of the matrix of `gemm`

    def line(self, quantile: float = 0.5) -> fit.Line:
        """Launch and bandwidth, from that quantile of the times of each size."""
        q = QUANTILES.index(quantile)
        times = [spread(samples)[q] for samples in self.gemv.values()]
        return fit.line(list(self.gemv), times, least=spread(self.call)[q])

    def roof(self) -> fit.Roof:
        cells = self.gemm[self.main]
        times = [spread(samples).median for samples in cells.values()]
        return fit.roof(list(cells), times, self.params * width(self.main), 2 * self.params, self.line())

    def best(self, format: str) -> list[float]:
        """FLOP/s at the number of tokens that reaches most."""
        reached = [rates(2 * self.params * tokens, times) for tokens, times in self.gemm[format].items()]
        return max(reached, key=lambda samples: spread(samples).median)

    def doubts(self) -> list[str]:
        """One line for each size or format that one bandwidth and one FLOP rate do not describe."""
        (fixed, bandwidth), found = self.line(), list[str]()
        for size, times in self.gemv.items():
            ratio = spread(times).median / (fixed + size / bandwidth)
            if not 1 / MISFIT < ratio < MISFIT:
                found.append(f"one token with {nbytes(size)} of weights took {ratio:.2g} × what the fitted line says")
        for format, cells in self.gemm.items():
            reached, best, most = (
                self.params * width(format) / spread(cells[1]).median,
                spread(self.best(format)).median,
                max(cells),
            )
            computed = 2 * self.params * most / spread(cells[most]).median
            if reached < SLOW * bandwidth:
                found.append(
                    f"one token reads {format} weights at {nbytes(reached)}/s, {self.main} at {nbytes(bandwidth)}/s: decoding at "
                    f"{format} is slower here than the profile says"
                )
            if computed < SLOW * best:
                found.append(
                    f"{most} tokens with {format} weights compute at {computed / 1e9:.3g} GFLOP/s, fewer at {best / 1e9:.3g}: prefill "
                    f"at {format} is slower here than the profile says"
                )
        return found


def width(format: str) -> int:
    """Bytes of one weight."""
    return 4 if format == "fp32" else 2


def measure(backend: Backend, pool_bytes: int, seconds: float) -> Kernels:
    """Half of the time for GEMV, a quarter for GEMM, the rest for calls and other formats."""
    multiply = products(backend, pool_bytes, backend.main)
    row = backend.columns * width(backend.main)
    call = multiply(row, 1)
    calls = repeat(lambda: backend.seconds(call), seconds / 16, 30)
    sizes = [size * backend.scale for size in SIZES if row <= size * backend.scale <= pool_bytes]
    gemv = {size: _times(backend, multiply(size, 1), seconds / 2 / len(sizes)) for size in sizes}
    params = min(backend.params, pool_bytes // row * backend.columns)
    tokens = [2**n for n in range(20) if 2**n <= backend.most_tokens]
    gemm = {backend.main: _by_tokens(backend, multiply, params * width(backend.main), tokens, seconds / 4)}
    others = [format for format in backend.formats if format != backend.main]
    for format in others:
        other, size = products(backend, pool_bytes, format), params * width(format)
        gemm[format] = _by_tokens(backend, other, size, (1, 8, 64, 512), seconds * 3 / 16 / len(others))
    return Kernels(backend.what, backend.main, calls, gemv, gemm, params)


def products(backend: Backend, pool_bytes: int, format: str) -> Products:
    """Over a pool of weights in that format."""
    row = backend.columns * width(format)
    pool = backend.ones((pool_bytes // row, backend.columns), format)

    def sized(size: int, tokens: int) -> Call:
        rows, shape = size // row, (backend.columns, tokens) if tokens > 1 else (backend.columns,)
        place, right = places(rows, len(pool)), backend.ones(shape, format)

        def multiply() -> object:
            at = place()
            return pool[at : at + rows] @ right

        return multiply

    return sized


def _by_tokens(backend: Backend, multiply: Products, size: int, tokens: Sequence[int], seconds: float) -> Cells:
    """Rising numbers of tokens, while the next product, if it is no more efficient, would not take too much of the time."""
    found, start, last = Cells(), time.perf_counter(), 0.0
    for number, before in zip(tokens, (1, *tokens)):
        if time.perf_counter() - start + 3 * last * backend.batch * number / before > max(2 * seconds, PATIENCE):
            break
        found[number] = _times(backend, multiply(size, number), seconds / len(tokens))
        last = found[number][-1]
    return found


def _times(backend: Backend, call: Call, seconds: float) -> list[float]:
    return repeat(lambda: backend.seconds(call), seconds)
