"""What an engine's kernels cost beside bytes and FLOPs: a few laws with few constants, which carry from one machine to another.

A constant belongs to an engine (`policies/runtime`), never to a machine: a machine gives its peak bandwidth, its processors (streaming
multiprocessors, compute units or GPU cores) and its boost clock. The form was fitted to public measurements of llama.cpp and MLX, each
machine predicted from the others (docs/validation.md, "Absolute speed"; `python -m benchmarks.forms` prints the errors again).

Plain floats in SI units: seconds, bytes, FLOPs, hertz. A FLOP is a multiplication or an addition.
"""

from __future__ import annotations

FEW_ROWS = 8  # rows of which kernels of matrix-vector products take so many at most (llama.cpp: MMVQ_MAX_BATCH_SIZE)
FLOOR_CLOCK_HZ = 2e9  # the clock at which an engine states the time of its smallest kernel
TILE = 128  # rows and columns of the tile of the output that a block of a matrix product holds
ACTIVATION_BYTES = (
    1.125  # of one number of the activations, which quantised products read in blocks of 32 with their scales (8 bit)
)


def kernel_s(floor_s_at_2ghz: float, clock_hz: float) -> float:
    """Fixed time of one kernel of a pass: launching, waiting for the one before, draining. All of it scales with the clock.

    Fitted together with `read_bytes_per_s`: 1.8 us at 2 GHz for llama.cpp under CUDA (19 GPUs), 4 us under Vulkan and ROCm.
    """
    return floor_s_at_2ghz * FLOOR_CLOCK_HZ / clock_hz


def clocked_per_s(per_clock: float, processors: float, clock_hz: float) -> float:
    """What all processors move or compute in a second, if each does `per_clock` in a cycle of its clock."""
    return per_clock * processors * clock_hz


def read_bytes_per_s(
    peak_bytes_per_s: float, share: float, bytes_per_clock: float | None, processors: float, clock_hz: float
) -> float:
    """Rate at which matrix-vector products read their weights: capped by memory and by what the kernels can take in.

    1/R^4 = 1/(share x peak)^4 + 1/(bytes_per_clock x processors x clock)^4: far from the corner the smaller of the two, 16 % below it
    where both are equal. None: the kernels never are the limit. Without the second cap an H100 (10 bytes of bandwidth for each clock
    and processor) and an RTX 4090 (3) have no share in common: 43 and 81 % of the peak for the same file.
    """
    memory = share * peak_bytes_per_s
    if bytes_per_clock is None:
        return memory
    kernels = clocked_per_s(bytes_per_clock, processors, clock_hz)
    return float((memory**-4 + kernels**-4) ** -0.25)


def product_s(rows: float, read_s: float, flops_s: float, tiled_s: float, rows_per_read: float) -> float:
    """Time of a product of `rows` rows: one read of its weights takes `read_s`, its FLOPs alone `flops_s`, and by tiles, whatever they
    waste and read, it takes `tiled_s`.

    The law of tiles charges few rows for a tile that they do not fill; there the kernels read the weights once more for every
    `rows_per_read` rows. So the time never falls with more rows, and the time of a row never rises.
    """
    return max(read_s, flops_s, min(tiled_s, rows / rows_per_read * read_s))


def filled_flops(flops: float, rows: float, half_rows: float) -> float:
    """FLOPs of a product of `rows` rows, with what its kernels waste on few rows: twice as many at `half_rows`.

    Rows: the tokens of the pass in a dense product, tokens x top-k / experts in the product of an expert.
    """
    return flops * (1 + half_rows / rows)


def tile_bytes(flops: float, rows: float, weight_bytes: float) -> float:
    """Bytes that tiles of a product read from memory or its cache: each tile reads its weights and its activations again.

    A tile of 128 weight rows and c = min(rows, 128) tokens reads 128 x weight_bytes + 1.125 c bytes for every 256 c FLOPs;
    weight_bytes is what one weight takes in its storage format.
    """
    columns = min(rows, TILE)
    return flops * (TILE * weight_bytes + ACTIVATION_BYTES * columns) / (2 * TILE * columns)


def cpu_bytes_per_s(peak_bytes_per_s: float, share: float, threads: int, thread_bytes_per_s: float | None) -> float:
    """Rate at which a CPU reads weights: a share of its memory's peak, or what its threads take in (None: they never are the limit)."""
    memory = share * peak_bytes_per_s
    return memory if thread_bytes_per_s is None else min(memory, threads * thread_bytes_per_s)
