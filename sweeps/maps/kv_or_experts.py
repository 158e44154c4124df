"""One device memory keeps the KV cache and fewer experts, or the CPU has the KV cache and its attention while more experts stay on the
device: by that memory and by the positions that a sequence holds. What does not fit is the CPU's, in whole blocks (n_cpu_moe)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from simmoe.play.memory import Memory
from simmoe.play.scenario import Scenario
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.sweeps.question import Options, Question, Stop

DEPTHS = (1, 4, 8, 16, 32, 64, 128)  # thousands of positions
EIGHTHS = range(2, 9)


def question(scenario: Scenario, workload: Workload) -> Question:
    """Raises UserError where there is no engine that leaves a KV cache to the CPU."""
    runtime = workload.runtime
    if runtime is None or runtime.streams or runtime.of("cpu.memory") is None:
        raise UserError(
            "this map plays an engine that keeps experts on device and CPU for good: name one, such as --runtime llama_cpp_cuda"
        )
    if workload.hw.cpu is None or workload.hw.unified:
        raise UserError(
            f"{workload.hw.name} has no memory beside the device's for a CPU to compute in; name a --gpu in a --host"
        )

    @cache
    def memory(depth: int, on_device: bool) -> Memory:
        return replace(scenario, depth=depth, kv_offload=on_device).workload().memory

    def ways(x: Stop, y: Stop) -> tuple[Options, Options]:
        kept, moved = (
            _fitting(memory(x.options["depth"], on_device), int(y.options["memory"].removesuffix("B")))
            for on_device in (True, False)
        )
        return kept, {**moved, "kv_offload": False}

    usable = workload.memory.usable_bytes
    sizes = tuple(Stop(f"{usable * eighth / 8e9:.3g}", {"memory": f"{usable * eighth // 8}B"}) for eighth in EIGHTHS)
    depths = tuple(Stop(f"{thousands}k", {"depth": 1024 * thousands}) for thousands in DEPTHS)
    return Question(
        "one device memory: the KV cache in it (A), or the CPU has that, and the device more experts (B)", ("kv", "experts"),
        "positions held", "memory GB", depths, sizes, ways, ("placement", "budget", "memory", "depth", "context", "kv_offload"),
    )  # fmt: skip


def _fitting(memory: Memory, size: int) -> Options:
    """The fewest blocks on the CPU with which the rest fits; without any that does, the engine says so."""
    blocks = memory.least_blocks(memory.room_bytes - (memory.usable_bytes - size))
    return {} if blocks is None else {"placement": f"n_cpu_moe={blocks}"}
