"""What llama.cpp and ik_llama.cpp let one set: N of -ncmoe, -ub, op offload and the format of the KV cache."""

from __future__ import annotations

from typing import Any, ClassVar

from simmoe.play.buffers import device_bytes, least_blocks
from simmoe.play.plan_fit import Fit, fitted
from simmoe.play.plan_setup import Setup
from simmoe.play.plan_space import MICROBATCHES, Space
from simmoe.policies.flags import ALL, Flags, written

PROGRAM = "llama-server"


class LlamaCpp(Space):
    kv_formats: ClassVar[tuple[str | None, ...]] = (None, "q8_0")
    unit: ClassVar[str] = "block"
    yours: ClassVar[str] = "YOUR.gguf"

    @property
    def most_away(self) -> int:
        return len(self.shapes[None].layers) if self.host_bytes is not None else 0

    def carries(self, setup: Setup) -> bool:
        """Whether large passes copy the experts of CPU blocks to the device."""
        return setup.op_offload and self.runtime.carries

    def device(self, setup: Setup) -> dict[str, int]:
        apart = self.host_bytes is not None
        return device_bytes(
            self.shapes[setup.kv_format], setup.away, self.context, setup.microbatch, self.carries(setup), apart
        )

    def host_held(self, setup: Setup) -> int:
        model = self.shapes[setup.kv_format]
        return sum(layer.expert_bytes for layer in model.layers[: setup.away]) + model.embedding.bytes

    def _found(self, microbatch: int, kv: str | None, offload: bool) -> int | None:
        carries = self.carries(Setup(microbatch, 0, kv, offload))
        apart = self.host_bytes is not None
        blocks = least_blocks(self.shapes[kv], self.room_bytes, self.context, microbatch, carries, apart)
        if not blocks:
            return blocks
        left = self.host_left(Setup(microbatch, blocks, kv, offload))
        return None if left is None or left < 0 else blocks

    def offloads(self) -> tuple[bool, ...]:
        return (True, False)

    def sensible(self, setup: Setup) -> bool:
        """Without op offload the CPU computes prompts at its own rate, whatever the size of a pass."""
        if not setup.op_offload and (not setup.away or setup.microbatch != MICROBATCHES[0]):
            return False
        if not setup.op_offload and self.goal == "decode":  # decodes alike: only a block more on the device would help
            carrying = self.least(setup.microbatch, setup.kv_format, True)
            if carrying is not None and carrying <= setup.away:
                return False
        return super().sensible(setup)

    def options(self, setup: Setup) -> dict[str, Any]:
        placement = f"n_cpu_moe={setup.away}" if setup.away else None
        return {"op_offload": setup.op_offload, "mmap": not setup.away, "placement": placement}

    def flags(self, setup: Setup, file: str) -> Flags:
        alone = self.hw.device.name == "cpu"  # nothing is offloaded
        cpu = self.hw.device if alone else self.hw.cpu if setup.away else None
        return Flags(
            self.runtime.engine, model=file, gpu_layers=0 if alone else ALL, cpu_moe_blocks=setup.away or None,
            mmap=False if setup.away else None, op_offload=None if setup.op_offload else False, batch=max(2048, setup.microbatch),
            microbatch=setup.microbatch, context=self.context, k_format=setup.kv_format, v_format=setup.kv_format, flash_attention=True,
            threads=cpu.processors if cpu else None,
        )  # fmt: skip

    def fitted(self, setup: Setup) -> Fit | None:
        if self.host_bytes is None or self.runtime.engine != "llama.cpp":
            return None
        model = self.shapes[setup.kv_format]
        return fitted(model, self.room_bytes, self.context, setup.microbatch, self.carries(setup))

    def command(self, flags: Flags) -> str:
        return f"{PROGRAM} {written(flags)}"
