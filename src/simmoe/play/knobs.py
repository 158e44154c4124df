"""How an engine is told to run: its own options, in its own words."""

from __future__ import annotations

from typing import Any, NamedTuple

from simmoe.simulator.nouns.model import ModelShape


class Knobs(NamedTuple):
    """The options; what is not given is as the engine has it."""

    threads: int | None = None  # on the CPU
    batch_threads: int | None = None  # those of prompts
    op_offload: bool = True  # whether it may carry the CPU's experts over the link in large passes
    gpu_layers: int | None = None  # what of the model the GPU has
    kv_offload: bool = True  # whether the GPU has the KV cache
    mmap: bool = True  # whether its file is mapped, else what the CPU has lies in pinned memory
    tensor_split: str | None = (
        None  # in which proportions it deals layers to several cards (default: by their memories)
    )

    def cpu_blocks(self, model: ModelShape) -> int:
        """Of how many of the first layers the CPU has all: the output counts as one layer behind the last."""
        if self.gpu_layers is None:
            return 0
        layers = len(model.layers)
        return min(max(layers + 1 - self.gpu_layers, 0), layers)

    def facts(self) -> dict[str, Any]:
        """What was played, of those that have no usual value and were not given nothing."""
        maybe = ("batch_threads", "tensor_split")
        return {name: value for name, value in self._asdict().items() if name not in maybe or value is not None}
