"""What vLLM, SGLang and KTransformers let one set. Their memory beside weights and KV cache is assumed to be what llama.cpp needs for
a pass of as many tokens (play/buffers.py)."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any, ClassVar

from simmoe.play.flagged import layer_bytes
from simmoe.play.plan_setup import Setup
from simmoe.play.plan_space import Space, summed
from simmoe.policies.flags import Flags, written

STEP_BYTES = 2**26  # --cpu-offload-gb is printed in sixteenths, which are far less than a layer


class Vllm(Space):
    """--cpu-offload-gb (whole first layers here), --max-num-batched-tokens, the format of the KV cache; of the card's memory all that the
    profile does not reserve."""

    unit: ClassVar[str] = "layer"

    @property
    def most_away(self) -> int:
        return len(self.shapes[None].layers) if self.host_bytes is not None and self.runtime.only_stores else 0

    @property
    def share(self) -> float:
        """--gpu-memory-utilization, --mem-fraction-static."""
        return self.room_bytes * 100 // self.hw.device_memory.capacity_bytes / 100

    def device(self, setup: Setup) -> dict[str, int]:
        model = self.shapes[setup.kv_format]
        gone = model.layers[: setup.away]
        experts = sum(layer.expert_bytes for layer in gone)
        return summed(
            {
                "dense": model.dense_bytes - sum(map(layer_bytes, gone)) + experts,
                "kv": model.kv_bytes(self.context, setup.microbatch),
                "experts": model.all_expert_bytes - experts,
                "compute": self.activations(setup),
            }
        )

    def host_held(self, setup: Setup) -> int:
        return sum(map(layer_bytes, self.shapes[setup.kv_format].layers[: setup.away]))

    def options(self, setup: Setup) -> dict[str, Any]:
        return {"gpu_layers": len(self.shapes[None].layers) + 1 - setup.away if setup.away else None}

    def flags(self, setup: Setup, file: str) -> Flags:
        stored = ceil(self.host_held(setup) / STEP_BYTES) * STEP_BYTES
        return Flags(
            self.runtime.engine, model=file, cpu_offload_bytes=stored or None, microbatch=setup.microbatch, context=self.context,
            k_format=setup.kv_format, v_format=setup.kv_format, gpu_memory_share=self.share,
        )  # fmt: skip

    def command(self, flags: Flags) -> str:
        return f"vllm serve {flags.model} {written(replace(flags, model=None))}"


class Sglang(Vllm):
    """As vLLM, but everything resident: its --cpu-offload-gb copies whole layers and is not simulated."""

    def command(self, flags: Flags) -> str:
        return f"python -m sglang.launch_server {written(flags)}"


class KTransformers(Space):
    """--kt-num-gpu-experts of each layer, at random as its uniform placement, --chunked-prefill-size, the format of the KV cache."""

    unit: ClassVar[str] = "expert"

    @property
    def _experts(self) -> int:
        """Of a layer."""
        return max(layer.n_experts for layer in self.shapes[None].layers)

    @property
    def most_away(self) -> int:
        return self._experts if self.host_bytes is not None else 0

    def device(self, setup: Setup) -> dict[str, int]:
        model = self.shapes[setup.kv_format]
        return summed(
            {
                "dense": model.dense_bytes,
                "kv": model.kv_bytes(self.context, setup.microbatch),
                "experts": model.all_expert_bytes - self.host_held(setup),
                "compute": self.activations(setup),
            }
        )

    def host_held(self, setup: Setup) -> int:
        return self.shapes[setup.kv_format].all_expert_bytes * setup.away // self._experts

    def options(self, setup: Setup) -> dict[str, Any]:
        share = f"{100 * (self._experts - setup.away) / self._experts:.15g}"
        return {"placement": f"random={share}%" if setup.away else None}

    def flags(self, setup: Setup, file: str) -> Flags:
        cpu = self.hw.cpu
        weights = self.device(setup)
        static = ceil(100 * (weights["total"] - weights["compute"]) / self.hw.device_memory.capacity_bytes) / 100
        return Flags(
            self.runtime.engine, model=file, gpu_experts=self._experts - setup.away, threads=cpu.processors if cpu else None,
            microbatch=setup.microbatch, context=self.context, k_format=setup.kv_format, v_format=setup.kv_format,
            gpu_memory_share=static,
        )  # fmt: skip

    def command(self, flags: Flags) -> str:
        return f"python -m sglang.launch_server {written(flags)} --kt-weight-path YOUR_WEIGHTS"
