"""What an engine's kernels reach on a CPU: as the device of a box without a GPU, and beside one."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.physics import PS_PER_S
from simmoe.simulator.physics.kernels import clocked_per_s, cpu_bytes_per_s


def as_device_bytes_per_s(hw: Hardware, runtime: Runtime, processors: int) -> float:
    """What the memory of a CPU that is the device gives its kernels, or what their threads take in. Where only the rate of all threads
    was measured, one of them takes in no less than its part of it."""
    unit, share, each = hw.device, runtime.known("decode.memory"), runtime.of("decode.per_thread")
    if unit.quantised_bytes_per_s is None:
        return cpu_bytes_per_s(float(hw.device_memory.peak_bytes_per_s or 0), share, processors, each)
    every = float(unit.quantised_bytes_per_s)
    if unit.thread_bytes_per_s is not None:
        return cpu_bytes_per_s(every, 1.0, processors, float(unit.thread_bytes_per_s))
    return cpu_bytes_per_s(every, 1.0, processors, each and max(each, every / max(unit.processors or 1, 1)))


def beside_a_device(
    hw: Hardware, runtime: Runtime, compute: str, threads: int | None, batch_threads: int | None
) -> ComputeUnit:
    """The machine's CPU as the engine uses it: a layer's fixed time, and its kernels' own rates. Raises UserError where the engine
    computes nothing there or the machine lacks a figure."""
    unit, share = hw.cpu, runtime.of("cpu.memory")
    if unit is None or share is None:
        raise UserError(
            f"the runtime {runtime.name} computes nothing on the CPU; leave --placement, --miss, --gpu-layers and --kv-offload out"
        )
    rate = _beside_bytes_per_s(hw, unit, runtime, share, threads or unit.processors or 1)
    fixed = ceil(runtime.known("cpu.layer") * PS_PER_S)
    unit = replace(unit, bytes_per_s=int(rate) // 1000 * 1000, launch_ps=fixed)
    each = runtime.of("cpu.flops_per_clock")
    if each is None or not unit.clock_hz:
        return unit
    cores = min(batch_threads or unit.processors or 1, unit.processors or 1)
    flops = int(clocked_per_s(each, cores, float(unit.clock_hz)))
    return replace(unit, flops_per_s={**unit.flops_per_s, compute: flops})


def _beside_bytes_per_s(hw: Hardware, unit: ComputeUnit, runtime: Runtime, share: float, threads: int) -> float:
    """As it was measured with all threads, and no faster than so many that were measured one by one; of a host of which no more is known
    than its memory, a share of that."""
    if unit.quantised_bytes_per_s is not None:
        each = unit.thread_bytes_per_s
        return cpu_bytes_per_s(float(unit.quantised_bytes_per_s), 1.0, threads, None if each is None else float(each))
    peak = hw.tiers[unit.memory].peak_bytes_per_s
    if peak is None:
        raise UserError(
            f"--runtime {runtime.name}: {hw.name} states no tiers.{unit.memory}.peak_bandwidth, of which cpu.memory is a share; name the "
            "box in parts (--gpu, --host), or add the figure to the profile"
        )
    return cpu_bytes_per_s(float(peak), share, threads, runtime.of("cpu.per_thread"))
