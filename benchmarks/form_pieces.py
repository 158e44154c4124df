"""What each measured row of the table of absolute speed asks of a machine, in numbers: kernels, bytes, FLOPs; and what the machine offers.

No event simulation: one token or one pass, summed over layers. `python -m benchmarks.forms` fits and prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simmoe.policies import runtime as runtimes
from simmoe.simulator.nouns.model import MIXERS, Layer, ModelShape
from simmoe.sweeps.validation.absolute import engines, shapes
from simmoe.sweeps.validation.absolute.rows import Row

GB, GHZ, TERA = 1e9, 1e9, 1e12


@dataclass(frozen=True)
class Device:
    """What a data sheet says."""

    peak: float  # bytes/s
    processors: int
    clock: float  # Hz
    fp16: float = 0.0  # FLOP/s of matrix units
    link: float = 0.0  # bytes/s of its PCIe generation with 16 lanes, as pinned copies reach it


def _d(gb: float, sm: int, mhz: int, tflops: float = 0.0, link: float = 24.0) -> Device:
    return Device(gb * GB, sm, mhz * 1e6, tflops * TERA, link * GB)


DEVICES = {
    "rtx_3060": _d(360, 28, 1777), "rtx_3070": _d(448, 46, 1725), "rtx_3080": _d(760, 68, 1710), "rtx_3080_ti": _d(912, 80, 1665),
    "rtx_3090": _d(936, 82, 1695), "rtx_a6000": _d(768, 84, 1800), "a40": _d(696, 84, 1740),
    "rtx_4070_ti": _d(504, 60, 2610), "rtx_4080": _d(717, 76, 2505), "rtx_4090": _d(1008, 128, 2520), "rtx_4090_d": _d(1008, 114, 2520),
    "rtx_4000_ada": _d(360, 48, 2175), "rtx_5000_ada": _d(576, 100, 2550), "rtx_6000_ada": _d(960, 142, 2505), "l40s": _d(864, 142, 2520),
    "a100": _d(2039, 108, 1410), "a100_pcie_80": _d(1935, 108, 1410), "a100_sxm_80": _d(2039, 108, 1410),
    "h100_pcie": _d(2039, 114, 1755, link=50), "h200": _d(4800, 132, 1980, link=55), "rtx_5090": _d(1792, 170, 2407, link=50),
    "dgx_spark": _d(273, 48, 2418), "strix_halo": _d(256, 40, 2900, 59.4), "r9700": _d(640, 64, 2920, 191),
    "m1": _d(68, 7, 1278), "m1_max": _d(400, 32, 1296), "m2_max_30": _d(400, 30, 1398), "m2_ultra": _d(800, 76, 1398),
    "m3_max": _d(400, 40, 1380), "m3_ultra": _d(819, 80, 1380), "m4_max": _d(546, 40, 1578),
}  # fmt: skip


@dataclass(frozen=True)
class Host:
    """One socket of a CPU, unless its name says otherwise: what its channels offer, its cores, and the clock that all of them keep."""

    peak: float
    cores: int
    clock: float


HOSTS = {
    "ryzen_7950x": Host(83.2 * GB, 16, 4.5 * GHZ), "xeon_6138": Host(128 * GB, 20, 2.4 * GHZ), "tr_7965wx": Host(307.2 * GB, 24, 4.2 * GHZ),
    "xeon_8480": Host(307.2 * GB, 56, 2.8 * GHZ), "xeon_6454s": Host(307.2 * GB, 32, 2.6 * GHZ),
    "xeon_6454s_x2": Host(614.4 * GB, 64, 2.6 * GHZ),
    "i9_14900k_ddr5_6800": Host(108.8 * GB, 24, 4.5 * GHZ), "h200_vm": Host(95 * GB, 8, 3 * GHZ),
}  # fmt: skip
LINKS = {"h200": 8.3 * GB}  # bytes/s at which files of the run were copied, where that was measured beside it

# --- kernels of a layer -------------------------------------------------------------------------------------------------

Counts = Mapping[str, int]
IN_PLACE = (*MIXERS, "no_mixer")
KERNELS: Counts = runtimes.load(
    "llama_cpp_cuda"
).kernels  # the same for all engines here: ggml's, which stand for MLX's own too


def kernels(layer: Layer, counts: Counts) -> int:
    """Launched for one layer and pass."""
    said = layer.features
    mixer = next((word for word in IN_PLACE if word in said), "attention")
    blocks = [
        name for name, part in (("ffn", layer.ffn), ("experts", layer.expert), ("shared", layer.shared)) if part.params
    ]
    total = counts[mixer] + sum(counts[name] for name in blocks)
    total += sum(counts.get(word, 0) for word in said if word not in (*IN_PLACE, "ungated"))
    return total + counts["ungated"] * len(blocks) * ("ungated" in said)


# --- one row ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pieces:
    """What one pass asks, split by where it runs."""

    kernels: int
    layers: int
    device_bytes: float  # weights that the device reads
    kv_bytes: float  # cache that attention reads, states read and written back
    cpu_layers: int  # with work on the CPU
    cpu_bytes: float  # weights that the CPU reads for one token
    cpu_kv_bytes: float
    dense_flops: float  # of one pass, on the device
    expert_flops: float
    attention_flops: float
    dense_weight_bytes: float  # of one weight
    expert_weight_bytes: float
    expert_rows: float  # tokens that reach an expert in a pass
    tokens: int
    copied_bytes: float  # of experts in host memory, all of them
    touched_bytes: float  # of experts that a pass of few tokens reads on the device


def pieces(row: Row) -> Pieces:
    shape, decode = shapes.of(row), row.phase == "decode"
    counts = (
        KERNELS if engines.is_fused(row.build, "CUDA" in row.engine) else engines.older_kernels(KERNELS, shape.top_k)
    )
    hosted = _hosted(row, shape)
    tokens, total = row.pass_tokens, dict.fromkeys(Pieces.__annotations__, 0.0)
    for i, layer in enumerate(shape.layers):
        _one(total, shape, layer, row, hosted.get(i, 0.0), tokens, counts)
    total["kernels"] += counts["end"]
    total["device_bytes"] += shape.head.bytes
    total["dense_flops"] += shape.head.flops_per_token * decode
    total["layers"], total["tokens"] = len(shape.layers), tokens
    if not row.gpu:
        total["cpu_bytes"] += total["device_bytes"]
        total["cpu_kv_bytes"], total["cpu_layers"] = total["kv_bytes"], len(shape.layers)
        total["device_bytes"] = total["kv_bytes"] = total["kernels"] = 0
    return Pieces(**total)  # type: ignore[arg-type]


def _hosted(row: Row, shape: ModelShape) -> dict[int, float]:
    """Share of each layer's expert bytes that stay in host memory."""
    if not row.gpu:
        return dict.fromkeys(range(len(shape.layers)), 1.0)
    if "(last " in row.flags or row.flags.startswith("same -ot"):
        return dict.fromkeys(range(len(shape.layers) - row.on_cpu, len(shape.layers)), 1.0)
    dense = next((i for i, layer in enumerate(shape.layers) if layer.n_experts), 0)
    first = dense if row.engine.startswith(("ik", "KTr")) or row.host.startswith("xeon_6454s") else 0
    return dict.fromkeys(range(first, min(first + row.on_cpu, len(shape.layers))), row.cpu_share)


def _one(
    total: dict[str, float], shape: ModelShape, layer: Layer, row: Row, share: float, tokens: int, counts: Counts
) -> None:
    k = shape.top_k
    dense = (layer.attention, layer.ffn, layer.shared)
    total["kernels"] += kernels(layer, counts)
    total["device_bytes"] += sum(part.bytes for part in dense)
    picked = k * layer.expert.bytes if layer.n_experts else 0
    total["device_bytes"] += picked * (1 - share)
    total["cpu_bytes"] += picked * share
    total["cpu_layers"] += bool(share and layer.n_experts)
    total["copied_bytes"] += share * layer.expert_bytes
    total["kv_bytes"] += 2 * layer.state_bytes
    for cache in layer.caches:
        depth = row.mean_depth + (tokens + 1) / 2 * (tokens > 1)
        if tokens > 1 and row.tokens > tokens:
            depth = row.depth + row.tokens / 2
        seen = min(depth, cache.kept or depth)
        total["kv_bytes"] += seen * cache.bytes_per_position
        total["attention_flops"] += tokens * seen * cache.flops_per_position
    total["dense_flops"] += tokens * sum(part.flops_per_token for part in dense)
    total["expert_flops"] += tokens * k * layer.expert.flops_per_token * bool(layer.n_experts)
    params = sum(part.params for part in dense)
    total["dense_weight_bytes"] = sum(part.bytes for part in dense) / params if params else total["dense_weight_bytes"]
    if layer.n_experts:
        total["expert_weight_bytes"] = layer.expert.bytes / layer.expert.params
        total["expert_rows"] = tokens * k / layer.n_experts
        touched = layer.n_experts * (1 - (1 - k / layer.n_experts) ** tokens)
        total["touched_bytes"] += touched * layer.expert.bytes * (1 - share)
