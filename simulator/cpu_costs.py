"""What experts cost on the CPU of a machine: the laws of simulator/physics/cpu.py applied to its figures and a model's sizes."""

from __future__ import annotations

from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import link_bytes_per_s
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.physics.cpu import experts_ps, left_bytes_per_s, shared_bytes_per_s
from simmoe.simulator.physics.gemm import flops_ps
from simmoe.simulator.physics.unified import contended_rate

WAITS = 1  # byte per ms: next to nothing, so that no clock divides by zero


class CpuCosts:
    """The CPU of a machine: how fast it reads alone and beside transfers (whole bytes per ms), and what its experts take."""

    def __init__(self, hw: Hardware, model: ModelShape) -> None:
        """Raises UserError for a machine without a CPU."""
        if hw.cpu is None:
            raise UserError(
                f"{hw.name} states no CPU that could compute experts; add a second entry to units, such as cpu"
            )
        unit, memory, link = hw.cpu, hw.tiers[hw.cpu.memory].bytes_per_s, link_bytes_per_s(hw)
        self.hw, self.unit, self.flops_per_s = hw, unit, flops_per_s(hw, unit, model)
        self.experts = [model.layers[i].expert for i in model.moe_layers]
        self.shares_memory = hw.unified or hw.link.src == unit.memory  # with transfers
        self.rate = self.beside_loads = unit.bytes_per_s // 1000
        if hw.unified:
            self.beside_loads = (
                shared_bytes_per_s(unit.bytes_per_s, memory, hw.dram_bytes_per_loaded_byte * link) // 1000
            )
        elif self.shares_memory:
            self.beside_loads = max(left_bytes_per_s(unit.bytes_per_s, memory, link) // 1000, WAITS)

    def read_bytes(self, column: int, count: int) -> int:
        """Bytes of `count` experts of an MoE layer."""
        return count * self.experts[column].bytes

    def compute_ps(self, column: int, token_slots: int) -> int:
        """FLOP time of `token_slots` (token, slot) pairs."""
        return flops_ps(token_slots * self.experts[column].flops_per_token, self.flops_per_s)

    def ps(self, column: int, count: int, token_slots: int, rate: int) -> int:
        """Time of `count` experts, read at `rate` bytes per ms throughout."""
        part = self.experts[column]
        return experts_ps(
            count, part.bytes, token_slots, part.flops_per_token, rate * 1000, self.flops_per_s, self.unit.launch_ps
        )

    def gpu_rates(self, own: int) -> tuple[int, int, int]:
        """What a unified machine's unit of rate `own` reads while the CPU does; bytes per ms, WAITS = until the CPU is done.

        While the CPU reads as beside loads: outside a transfer and inside one; while it reads at its own rate, which it does only when
        there is no transfer.
        """
        hw, memory, load = self.hw, self.hw.device_memory.bytes_per_s // 1000, link_bytes_per_s(self.hw) // 1000
        left = memory - self.beside_loads
        inside = contended_rate(own, left, load, hw.dram_bytes_per_loaded_byte)
        outside, alone = min(own, left), min(own, memory - self.rate)
        return max(outside, WAITS), max(inside, WAITS), max(alone, WAITS)


def flops_per_s(hw: Hardware, unit: ComputeUnit, model: ModelShape) -> int:
    """FLOP rate of a unit in the format in which the model computes. Raises UserError where the machine states none."""
    rates = unit.flops_per_s
    if model.compute not in rates:
        raise UserError(
            f"{hw.name}: {unit.name} states no FLOP rate for {model.compute}, in which {model.name} at format {model.format} "
            f"computes; stated: {', '.join(rates)}; choose another --format or add units.{unit.name}.flops.{model.compute}"
        )
    return rates[model.compute]
