"""Which form of what an engine costs carries from machine to machine: fits on the rows of the table of absolute speed.

    python -m benchmarks.forms [--ranges] [--write sweeps/validation/absolute/constants.json]

Prints errors, |predicted / measured - 1| of the speed, first by machine and then over machines, for the form that simmoe plays and for
plainer ones beside it. Nothing is simulated: one token or one pass, summed over layers (form_pieces.py).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks import form_fit
from benchmarks import form_pieces as fp
from benchmarks.form_fit import Floats, Form, summary
from simmoe.simulator.physics import kernels as law
from simmoe.sweeps.validation.absolute import rows as table
from simmoe.sweeps.validation.absolute import shapes
from simmoe.sweeps.validation.absolute.rows import Row


@cache
def of(row: Row) -> fp.Pieces:
    return fp.pieces(row)


# --- decode -------------------------------------------------------------------------------------------------------------


def device_s(row: Row, floor_us: float, share: float, per_clock: float | None) -> float:
    one, gpu = of(row), fp.DEVICES[row.gpu]
    rate = law.read_bytes_per_s(gpu.peak, share, per_clock, gpu.processors, gpu.clock)
    return (
        one.kernels * law.kernel_s(floor_us * 1e-6, gpu.clock)
        + one.device_bytes / rate
        + one.kv_bytes / (share * gpu.peak)
    )


def bound(x: Floats, row: Row) -> float:
    return 1 / device_s(row, x[0], x[1], x[2])


def unbound(x: Floats, row: Row) -> float:
    return 1 / device_s(row, x[0], x[1], None)


def ideal(row: Row) -> float:
    return 0.85 * fp.DEVICES[row.gpu].peak / (of(row).device_bytes + of(row).kv_bytes)


def layered(x: Floats, row: Row) -> float:
    return 1 / (1 / ideal(row) + of(row).layers * x[0] * 1e-6)


def share_of_ideal(x: Floats, row: Row) -> float:
    return ideal(row) * x[0]


PLAINER = (Form("us a layer", {"layer": 70.0}, layered), Form("an efficiency", {"share": 0.7}, share_of_ideal))
WITH_CAP = Form("kernels, cap", {"kernel": 1.76, "memory": 0.83, "per_clock": 6.45}, bound)
NO_CAP = Form("kernels", {"kernel": 4.25, "memory": 0.86}, unbound)
MLX_DECODE = Form("kernels", {"kernel": 2.6, "memory": 0.95}, unbound, fixed=("memory",))
METAL_DECODE = Form("kernels, cap", {"kernel": 3.0, "memory": 0.95, "per_clock": 6.1}, bound, fixed=("memory",))

# --- experts, or everything, on the CPU -----------------------------------------------------------------------------------

CUDA_DEVICE = (1.7, 0.84, 6.2)  # of the rest on the device; what is fitted here hardly depends on it


def hosted(x: Floats, row: Row) -> float:
    one = of(row)
    device = device_s(row, *CUDA_DEVICE) + one.cpu_layers * x[0] * 1e-6 if row.gpu else 0.0
    return 1 / (device + (one.cpu_bytes + one.cpu_kv_bytes) / (x[1] * fp.HOSTS[row.host].peak))


def host_rates(rows: Sequence[Row], layer_us: float) -> dict[str, float]:
    """Bytes/s at which the CPU reads weights, by row: what other rows of the same host, engine and number of threads show."""

    def rate(row: Row) -> float:
        return (of(row).cpu_bytes + of(row).cpu_kv_bytes) / max(1 / row.measured - device_part_s(row, layer_us), 1e-9)

    return from_others(rows, rate, host_key)


def from_others(rows: Sequence[Row], rate: Callable[[Row], float], key: Callable[[Row], object]) -> dict[str, float]:
    """The median of what the other rows of the same key show, where there are any."""
    found = {}
    for row in rows:
        if same := [rate(one) for one in rows if one is not row and key(one) == key(row)]:
            found[row.id] = float(np.median(same))
    return found


def device_part_s(row: Row, layer_us: float) -> float:
    return device_s(row, *CUDA_DEVICE) + of(row).cpu_layers * layer_us * 1e-6 if row.gpu else 0.0


def calibrated(rows: Sequence[Row], layer_us: float) -> dict[str, float]:
    """Predictions where the rate of the host is known."""
    rates = host_rates(rows, layer_us)
    read = {row: of(row).cpu_bytes + of(row).cpu_kv_bytes for row in rows}
    return {row.id: 1 / (device_part_s(row, layer_us) + read[row] / rates[row.id]) for row in rows if row.id in rates}


def host_key(row: Row) -> tuple[str, str, int]:
    return row.host, row.engine.split(" ")[0], row.threads


HOSTED = Form("us a layer, share of the peak", {"layer": 100.0, "memory": 0.45}, hosted, fixed=("layer",))


def cpu_prompt(x: Floats, row: Row) -> float:
    one, host = of(row), fp.HOSTS[row.host]
    flops = one.expert_flops + (0 if row.gpu else one.dense_flops + one.attention_flops)
    device = 0.0 if not row.gpu else prompt_s(row, 0.0, *CUDA_PROMPT)
    return one.tokens / (
        flops / law.clocked_per_s(x[0], min(host.cores, row.threads or host.cores), host.clock) + device
    )


# --- prompts --------------------------------------------------------------------------------------------------------------

CUDA_PROMPT = (1255.0, 337.0, 1.06, 350.0)
READS = {"CUDA": (0.84, 6.17), "Metal": (0.95, 5.65), "MLX": (0.95, None), "Vulkan": (0.88, None), "ROCm": (0.88, None)}
# what products of few rows read at, by backend: memory and per_clock of decoding with all rows

FEW_ROWS_READ = {
    "CUDA": 5.0,
    "Vulkan": 4.0,
    "ROCm": 5.0,
    "Metal": 6.0,
    "MLX": 6.0,
}  # rows_per_read, by backend; fitted apart


def read_rate(row: Row) -> float:
    gpu, (share, per_clock) = fp.DEVICES[row.gpu], READS.get(row.engine.split(" ")[-1], READS["CUDA"])
    return law.read_bytes_per_s(gpu.peak, share, per_clock, gpu.processors, gpu.clock)


def prompt_s(
    row: Row, experts: float, flops: float, half: float, tiles: float, attention: float, peak: bool = False
) -> float:
    """Of one pass on the device. experts: share of the routed experts' work that it does. peak: rates are shares of the FP16 peak."""
    one, gpu = of(row), fp.DEVICES[row.gpu]
    unit = gpu.fp16 if peak else law.clocked_per_s(1.0, gpu.processors, gpu.clock)
    parts = [
        (one.dense_flops, one.tokens, one.dense_weight_bytes),
        (one.expert_flops * experts, one.expert_rows, one.expert_weight_bytes),
    ]
    parts = [part for part in parts if part[0]]

    per_read = FEW_ROWS_READ.get(row.engine.split(" ")[-1], FEW_ROWS_READ["CUDA"])

    def product_s(done: float, rows: float, weight: float) -> float:
        tiled = law.filled_flops(done, rows, half) / (flops * unit)
        tiled += law.tile_bytes(done, rows, weight) / (tiles * gpu.peak) if tiles else 0.0
        read = done / (2 * rows) * weight / read_rate(row)
        return law.product_s(rows, read, done / (flops * unit), tiled, per_read)

    return sum(product_s(*part) for part in parts) + one.attention_flops / (attention * unit)


def tiled(x: Floats, row: Row) -> float:
    return row.pass_tokens / prompt_s(row, 1.0, x[0], x[1], x[2], x[3])


def untiled(x: Floats, row: Row) -> float:
    return row.pass_tokens / prompt_s(row, 1.0, x[0], x[1], 0.0, x[2])


def of_the_peak(x: Floats, row: Row) -> float:
    return row.pass_tokens / prompt_s(row, 1.0, x[0], x[1], 0.0, x[2], peak=True)


def link_rates(rows: Sequence[Row]) -> dict[str, float]:
    """Bytes/s at which experts in host memory cross the link, by row: measured beside, or what other rows of a machine show."""

    def rate(row: Row) -> float:
        return of(row).copied_bytes / max(of(row).tokens / row.measured - prompt_s(row, 1.0, *CUDA_PROMPT), 1e-3)

    found = from_others(rows, rate, lambda row: (row.machine, row.engine))
    return found | {row.id: fp.LINKS[row.machine] for row in rows if row.machine in fp.LINKS}


def carried(rows: Sequence[Row]) -> dict[str, float]:
    """Experts in host memory cross the link once in a pass, and then the device computes."""
    rates = link_rates(rows)
    copied = {row: of(row).copied_bytes / rates[row.id] for row in rows if row.id in rates}
    return {row.id: of(row).tokens / (prompt_s(row, 1.0, *CUDA_PROMPT) + seconds) for row, seconds in copied.items()}


TILED = Form(
    "FLOPs a clock, tiles", {"flops_per_clock": 1220.0, "rows": 200.0, "tiles": 1.06, "attention_flops_per_clock": 350.0}, tiled,
    fixed=("attention_flops_per_clock",),
)  # fmt: skip
UNTILED = Form("FLOPs a clock", {"flops_per_clock": 190.0, "rows": 107.0, "attention_flops_per_clock": 50.0}, untiled)
OF_PEAK = Form("share of the peak", {"peak": 0.39, "rows": 101.0, "attention_peak": 0.05}, of_the_peak)
MLX_PROMPT = Form(
    "FLOPs a clock", {"flops_per_clock": 227.0, "rows": 44.0, "attention_flops_per_clock": 110.0}, untiled,
    fixed=("rows", "attention_flops_per_clock"),
)  # fmt: skip
CPU_PROMPT = Form("FLOPs a clock and core", {"flops_per_clock": 30.0}, cpu_prompt)

# --- the classes ------------------------------------------------------------------------------------------------------------


Fitted = tuple[str, Form, tuple[str, ...], form_fit.Key]  # name in constants.json, form, classes, what is left out


def model_key(row: Row) -> str:
    return row.model


def gpu_key(row: Row) -> str:
    return row.gpu


def host_name(row: Row) -> str:
    return row.host


def picked(rows: Iterable[Row], *kinds: str) -> list[Row]:
    """Rows of some classes that are fitted and judged."""
    return [row for row in rows if row.kind in kinds and not row.flagged]


ENGINES = {
    "llama_cpp_cpu.prompt": "llama.cpp",
    "ik_llama_cpp.cpu_prompt": "ik_llama.cpp",
    "ktransformers.cpu_prompt": "KTransformers",
}


def rows_of(fitted: Fitted, rows: Iterable[Row]) -> list[Row]:
    """What a family is fitted on."""
    name, _, kinds, _ = fitted
    mine = picked(rows, *kinds)
    return [row for row in mine if row.engine.split(" ")[0] == ENGINES[name]] if name in ENGINES else mine


def moe(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if not shapes.is_dense(row.model)]


FITTED: tuple[Fitted, ...] = (
    ("llama_cpp_cuda.decode", WITH_CAP, ("cuda decode",), gpu_key),
    ("llama_cpp_cuda.prompt", TILED, ("cuda prompt",), gpu_key),
    ("llama_cpp_vulkan.decode", NO_CAP, ("amd vulkan decode", "amd rocm decode"), gpu_key),
    ("llama_cpp_vulkan.prompt", UNTILED, ("amd vulkan prompt",), gpu_key),
    ("llama_cpp_rocm.prompt", OF_PEAK, ("amd rocm prompt",), gpu_key),
    ("llama_cpp_metal.decode", METAL_DECODE, ("metal decode",), gpu_key),
    ("llama_cpp_metal.prompt", UNTILED, ("metal prompt",), gpu_key),
    ("mlx.decode", MLX_DECODE, ("mlx decode",), model_key),
    ("mlx.prompt", MLX_PROMPT, ("mlx prompt",), model_key),
    ("cpu", HOSTED, ("cpu experts decode", "cpu only decode"), host_name),
    ("llama_cpp_cpu.prompt", CPU_PROMPT, ("cpu only prompt", "cpu experts prompt"), host_name),
    ("ik_llama_cpp.cpu_prompt", CPU_PROMPT, ("cpu only prompt", "cpu experts prompt"), host_name),
    ("ktransformers.cpu_prompt", CPU_PROMPT, ("cpu only prompt", "cpu experts prompt"), host_name),
)  # fmt: skip


def show(name: str, form: Form, rows: Sequence[Row], key: form_fit.Key) -> None:
    """In sample, then with one machine (or what `key` says) left out, all rows and those of Mixture-of-Experts models."""
    x = form_fit.fit(form, rows)
    within = {row.id: form.predict(x, row) for row in rows}
    outside = form_fit.left_out(form, rows, key)
    said = ", ".join(f"{one} {value:.4g}" for one, value in zip(form.start, x))
    print(f"{name}: {form.name}: {said}")
    print(f"    in sample        {summary(rows, within, key)}")
    print(f"    left out, all    {summary(rows, outside, key)}")
    print(f"    left out, MoE    {summary(moe(rows), outside, key)}")


def show_plainer(rows: Sequence[Row], key: form_fit.Key) -> None:
    few = moe(rows)
    print(f"    ideal, MoE       {summary(few, {row.id: ideal(row) for row in few}, key)}")
    for form in PLAINER:
        print(f"    {form.name:16} {summary(few, form_fit.left_out(form, rows, key), key)}")


def constants(rows: Sequence[Row]) -> dict[str, object]:
    """For each family the constants of all its rows, and those without each machine."""
    found: dict[str, object] = {}
    for fitted in FITTED:
        name, form, _, key = fitted
        mine = rows_of(fitted, rows)
        found[name] = {
            "fitted on": f"{len(mine)} rows, {len({key(row) for row in mine})} {'models' if key is model_key else 'machines'}",
            "all": named(form, form_fit.fit(form, mine)),
            "without": {one: named(form, x) for one, x in form_fit.without(form, mine, key).items()},
        }
    hosts = host_rates(moe(picked(rows, "cpu experts decode")), 100.0) | host_rates(
        moe(picked(rows, "cpu only decode")), 0.0
    )
    found["host rates"] = {name: float(f"{value:.4g}") for name, value in hosts.items()}
    links = link_rates(picked(rows, "offload prompt"))
    found["link rates"] = {name: float(f"{value:.4g}") for name, value in links.items()}
    return found


def named(form: Form, x: Floats) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in zip(form.start, x)}


def show_ranges(rows: Sequence[Row], seed: int) -> None:
    for fitted in FITTED:
        name, form, _, key = fitted
        found = form_fit.ranges(form, rows_of(fitted, rows), seed, key=key)
        print(f"{name}: " + ", ".join(f"{one} {low:.4g} to {high:.4g}" for one, (low, high) in zip(form.start, found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranges", action="store_true", help="also the range of each constant, machines resampled")
    parser.add_argument("--seed", type=int, default=1, help="of the resampling")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="only write the constants, of all rows and without each machine"
    )
    chosen = parser.parse_args()
    rows = table.read()
    if chosen.write:
        chosen.write.write_text(json.dumps(constants(rows), indent=1, sort_keys=True) + "\n")
        return
    for fitted in FITTED:
        name, form, _, key = fitted
        mine = rows_of(fitted, rows)
        show(name, form, mine, key)
        if name.endswith("decode"):
            show_plainer(mine, key)
    show_known(rows)
    if chosen.ranges:
        show_ranges(rows, chosen.seed)


def show_known(rows: Sequence[Row]) -> None:
    """What the form gives where the host's rate, or the link's, is known."""
    groups: tuple[tuple[str, str, Callable[[list[Row]], dict[str, float]]], ...] = (
        ("experts on the CPU, the host's rate known", "cpu experts decode", lambda mine: calibrated(mine, 100.0)),
        ("CPU only, the host's rate known", "cpu only decode", lambda mine: calibrated(mine, 0.0)),
        ("prompts with op offload, the link's rate known", "offload prompt", carried),
    )
    for name, kind, predict in groups:
        mine = moe(picked(rows, kind))
        found = predict(mine)
        print(f"{name:46} {summary([row for row in mine if row.id in found], found)}")


if __name__ == "__main__":
    main()
