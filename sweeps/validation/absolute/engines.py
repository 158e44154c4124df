"""The engine of a row: a bundled runtime with constants that were fitted without the row's machine.

constants.json holds them, for each family the ones of all rows and those without each device, host or model; `python -m benchmarks.forms
--write` makes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from simmoe.policies import runtime as runtimes
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.runtime import Constant, Runtime
from simmoe.sweeps.validation.absolute.rows import Row

CONSTANTS = Path(__file__).parent / "constants.json"
RUNTIMES = {  # family and backend of a row: the bundled runtime
    "llama.cpp CUDA": "llama_cpp_cuda", "llama.cpp Vulkan": "llama_cpp_vulkan", "llama.cpp ROCm": "llama_cpp_rocm",
    "llama.cpp Metal": "llama_cpp_metal", "ik_llama.cpp Metal": "llama_cpp_metal", "llama.cpp CPU": "llama_cpp_cpu",
    "ik_llama.cpp CUDA": "ik_llama_cpp", "ik_llama.cpp CPU": "llama_cpp_cpu", "KTransformers": "ktransformers", "MLX": "mlx",
    "mixtral-offloading": "mixtral_offloading",
}  # fmt: skip
FAMILIES = {  # runtime: whose constants of decoding and of prompts it takes from constants.json
    "llama_cpp_cuda": ("llama_cpp_cuda", "llama_cpp_cuda"), "ik_llama_cpp": ("llama_cpp_cuda", "llama_cpp_cuda"),
    "ktransformers": ("llama_cpp_cuda", "llama_cpp_cuda"), "llama_cpp_vulkan": ("llama_cpp_vulkan", "llama_cpp_vulkan"),
    "llama_cpp_rocm": ("llama_cpp_vulkan", "llama_cpp_rocm"), "llama_cpp_metal": ("llama_cpp_metal", "llama_cpp_metal"),
    "mlx": ("mlx", "mlx"),
}  # fmt: skip
CPU_PROMPTS = {
    "llama.cpp": "llama_cpp_cpu.prompt",
    "ik_llama.cpp": "ik_llama_cpp.cpu_prompt",
    "KTransformers": "ktransformers.cpu_prompt",
}
OLDER: Mapping[str, int] = {
    "qkv_bias": 4,
    "delta_net": 52,
    "mamba": 40,
    "ffn": 9,
    "experts": 17,
    "expert_bias": 4,
    "shared": 8,
}
OLDER_EACH_PICK = 1  # beside 17 kernels of experts, for each expert that a token picks
FUSED_SINCE = {
    True: 6840,
    False: 7600,
}  # CUDA: ggml-org/llama.cpp pull request 16715, 2025-10-26; else the first build of 2026
MICROSECONDS = ("kernel", "layer")  # constants that constants.json has in us


def is_fused(build: str, cuda: bool) -> bool:
    """Whether a build launches the fused kernels that runtimes count: by llama.cpp's number, or by its date."""
    if number := re.search(r"build (\d+)|\((\d+)\)", build):
        return int(number[1] or number[2]) > FUSED_SINCE[cuda]
    return not build.startswith(("2024", "2025", "early 2025", "main 2025"))


def older_kernels(kernels: Mapping[str, int], top_k: int) -> dict[str, int]:
    """What builds before the fused ones launch."""
    return {**kernels, **OLDER, "experts": OLDER["experts"] + OLDER_EACH_PICK * top_k}


@cache
def constants() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(CONSTANTS.read_text("utf-8"))
    return found


def without(family: str, name: str) -> dict[str, float]:
    """Constants of a family that no row of `name` entered; those of all its rows where it has none."""
    found: dict[str, float] = constants()[family]["without"].get(name, constants()[family]["all"])
    return found


def of(row: Row, shape: ModelShape) -> Runtime:
    """Raises UserError for an engine that no bundled runtime stands for."""
    name = RUNTIMES[row.engine]
    found = runtimes.load(name)
    for section, family in zip(("decode", "prompt"), FAMILIES.get(name, ())):
        left = row.model if name == "mlx" else row.gpu
        found = _with(found, section, without(f"{family}.{section}", left))
    if row.host:
        found = _of_host(found, row)
    if not is_fused(row.build, "CUDA" in row.engine) and found.kernels:
        found = replace(found, kernels=older_kernels(found.kernels, shape.top_k))
    found = replace(found, host_memory="pinned") if "pinned" in row.assumed else found
    return _copying_from_32_tokens(found) if row.kind == "offload prompt" else found


def _of_host(runtime: Runtime, row: Row) -> Runtime:
    """With the CPU's constants without the row's host; of a CPU alone they are the device's."""
    reads = without("cpu", row.host)
    computes = without(CPU_PROMPTS[row.engine.split(" ")[0]], row.host)["flops_per_clock"]
    if row.gpu:
        return _with(runtime, "cpu", {**reads, "flops_per_clock": computes})
    found = _with(runtime, "decode", {"memory": reads["memory"]})
    return _with(found, "prompt", {"flops_per_clock": computes, "attention_flops_per_clock": computes})


def _copying_from_32_tokens(runtime: Runtime) -> Runtime:
    """In rows of prompts over the link the engine did copy: ik_llama.cpp before its pull request 520 did so from 32 tokens on."""
    bare = {path: one for path, one in runtime.constants.items() if not path.startswith("link.offload")}
    return replace(
        runtime, constants=bare | {"link.offload_tokens": Constant(32.0, 32.0, 32.0, "read", "ggml-cuda.cu", "32")}
    )


def _with(runtime: Runtime, section: str, values: Mapping[str, float]) -> Runtime:
    """The runtime with other values of one section's constants; a range moves so that it encloses its value."""
    changed = dict(runtime.constants)
    for name, value in values.items():
        path = f"{section}.{name}"
        if path in changed:
            si, old = value * (1e-6 if name in MICROSECONDS else 1.0), changed[path]
            changed[path] = replace(old, value=si, low=min(old.low, si), high=max(old.high, si), text=f"{value:g}")
    return replace(runtime, constants=changed)
