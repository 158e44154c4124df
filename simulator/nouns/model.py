"""The shape of a model: bytes and FLOPs of its parts, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simmoe.simulator.plain import plain


@dataclass(frozen=True)
class Part:
    """A group of weights that one launch reads: stored bytes, and FLOPs per token that passes through it."""

    params: int
    bytes: int
    flops_per_token: int


NO_PART = Part(0, 0, 0)


@dataclass(frozen=True)
class Layer:
    """One transformer layer. A dense layer has `ffn` and no experts; an MoE layer has `n_experts` > 0."""

    attention: Part  # attention, norms and router: timeline part (a)
    kv_bytes_per_position: int  # KV cache of one position of one sequence
    flops_per_position: int  # score and value products, for each (token, attended position)
    ffn: Part = NO_PART  # dense FFN
    shared: Part = NO_PART  # shared experts, all of them together
    expert: Part = NO_PART  # ONE routed expert
    n_experts: int = 0

    @property
    def expert_bytes(self) -> int:
        """All routed experts together."""
        return self.n_experts * self.expert.bytes


NO_LAYER = Layer(NO_PART, 0, 0)


@dataclass(frozen=True)
class ModelShape:
    """Bytes and FLOPs of each part of a model in one storage format."""

    name: str
    format: str  # storage format of the weights: fp32, fp16, ..., or "stored" for real file sizes
    compute: str  # number format of the arithmetic: a key of ComputeUnit.flops_per_s
    layers: tuple[Layer, ...]
    top_k: int
    head: Part  # final norm and LM head
    embedding: Part  # input embedding (zero when tied: counted in the head), resident, look-up free
    source: str = ""
    digest: str = ""
    width: int = 0  # numbers of a hidden state, which devices hand to each other; 0 = not known
    caution: str = ""  # what every result says of it; empty = nothing
    kv_format: str = "f16"  # storage format of the KV cache

    def __repr__(self) -> str:
        return plain(
            f"<ModelShape {self.name} at {self.format}: {self.total_params / 1e9:.3g} B parameters, {len(self.moe_layers)} MoE layers>"
        )

    @property
    def n_experts(self) -> int:
        """The most that a layer has."""
        return max(layer.n_experts for layer in self.layers)

    @property
    def moe_layers(self) -> tuple[int, ...]:
        return tuple(i for i, layer in enumerate(self.layers) if layer.n_experts)

    @property
    def expert_bytes(self) -> npt.NDArray[np.int64]:
        """int64 [moe_layers]: stored bytes of one expert of each MoE layer."""
        return np.array([self.layers[i].expert.bytes for i in self.moe_layers], np.int64)

    @property
    def all_expert_bytes(self) -> int:
        return sum(layer.expert_bytes for layer in self.layers)

    @property
    def dense_bytes(self) -> int:
        """Everything that is not a routed expert: always resident."""
        per_layer = sum(x.attention.bytes + x.ffn.bytes + x.shared.bytes for x in self.layers)
        return per_layer + self.head.bytes + self.embedding.bytes

    @property
    def total_params(self) -> int:
        per_layer = sum(
            x.attention.params + x.ffn.params + x.shared.params + x.n_experts * x.expert.params for x in self.layers
        )
        return per_layer + self.head.params + self.embedding.params

    @property
    def kv_bytes_per_position(self) -> int:
        return sum(layer.kv_bytes_per_position for layer in self.layers)
