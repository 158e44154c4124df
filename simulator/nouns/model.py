"""The shape of a model: bytes and FLOPs of its parts, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

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


class Span(NamedTuple):
    """Which positions a token attends to in a cache; simulator/physics/attention.py has the laws."""

    kept: int  # the last so many, or with `chunked` those of its own chunk of so many; 0 = all
    read: int  # of these at most so many; 0 = all
    chunked: bool


@dataclass(frozen=True)
class Cache:
    """What a layer keeps of each position of a sequence, such as its keys and values; it grows up to `kept` positions."""

    bytes_per_position: int
    flops_per_position: int  # score and value products, for each (token, attended position)
    kept: int = 0
    read: int = 0
    chunked: bool = False
    heads: int = 0  # that read it, of which a tensor split gives each device a part; 0 = each computes all
    kv_heads: int = 0  # that have rows of their own; 0 = one row for all

    @property
    def span(self) -> Span:
        return Span(self.kept, self.read, self.chunked)

    def nbytes(self, context: int, microbatch: int) -> int:
        """Reserved for one sequence of `context` positions; a window also holds the positions of the pass that is running."""
        return self.bytes_per_position * (min(context, self.kept + microbatch) if self.kept else context)


FEATURES = {  # of a layer, beside what Layer counts: parts for which an engine launches kernels of their own. Full attention has no word
    "latent": "multi-head latent attention (MLA): keys and values of all heads from one compressed row",
    "query_lora": "the query comes from a compressed row of its own, through two matrices",
    "indexer": "a small attention beside the large one picks the positions that it reads",
    "delta_net": "a gated delta rule in place of attention",
    "mamba": "a state-space mixer in place of attention, or beside it where the layer has a cache too",
    "lightning": "linear attention with one state for each head, in place of attention",
    "short_conv": "a gated short convolution in place of attention",
    "no_mixer": "neither attention nor a state: a feed-forward network or experts alone",
    "qk_norm": "a norm on queries and keys",
    "qkv_bias": "biases on queries, keys or values",
    "output_gate": "a gate on the output of attention",
    "post_norm": "norms behind attention or the feed-forward network, beside those in front",
    "sinks": "a learned logit for each head in the softmax of attention",
    "expert_bias": "biases on the matrices of the routed experts",
    "ungated": "experts or a feed-forward network of two matrices, without a gate",
    "shared_gate": "a gate on the shared experts",
    "router_bias": "a bias, or a correction of the scores, for each expert in the router",
    "dense_beside": "a dense feed-forward network that every token passes beside the routed experts",
}
MIXERS = ("latent", "delta_net", "mamba", "lightning", "short_conv")  # words that say what mixes positions


@dataclass(frozen=True)
class Layer:
    """One transformer layer. A dense layer has `ffn` and no experts; an MoE layer has `n_experts` > 0; a layer may have neither."""

    attention: Part  # attention or what stands in its place, norms and router: timeline part (a)
    caches: tuple[Cache, ...] = ()  # none in a layer without attention, and in a recurrent one
    state_bytes: int = 0  # of a recurrent layer, for each sequence; a pass reads and writes it once
    ffn: Part = NO_PART  # dense FFN
    shared: Part = NO_PART  # shared experts, all of them together
    expert: Part = NO_PART  # ONE routed expert
    n_experts: int = 0
    features: tuple[str, ...] = ()  # words of FEATURES, sorted
    common: Part = NO_PART  # of attention, what each device of a tensor split has whole: norms, router, compressed rows
    keys: Part = NO_PART  # of attention, the projections of keys and values, which belong to KV heads

    @property
    def expert_bytes(self) -> int:
        """All routed experts together."""
        return self.n_experts * self.expert.bytes

    def kv_bytes(self, context: int, microbatch: int) -> int:
        """Caches and state of one sequence."""
        return sum(cache.nbytes(context, microbatch) for cache in self.caches) + self.state_bytes


NO_LAYER = Layer(NO_PART)


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
    title: str = ""  # as its file calls it
    low: tuple[
        Part, ...
    ] = ()  # one routed expert of each MoE layer in a second, smaller format; empty = there are none
    low_format: str = ""  # that format

    def __repr__(self) -> str:
        return plain(
            f"<ModelShape {self.name} at {self.format}: {self.total_params / 1e9:.3g} B parameters, {len(self.moe_layers)} MoE layers>"
        )

    @property
    def n_experts(self) -> int:
        """The most that a layer has."""
        return max(layer.n_experts for layer in self.layers)

    @cached_property
    def moe_layers(self) -> tuple[int, ...]:
        return tuple(i for i, layer in enumerate(self.layers) if layer.n_experts)

    @property
    def expert_bytes(self) -> npt.NDArray[np.int64]:
        """int64 [moe_layers]: stored bytes of one expert of each MoE layer."""
        return np.array([self.layers[i].expert.bytes for i in self.moe_layers], np.int64)

    @property
    def version_bytes(self) -> npt.NDArray[np.int64]:
        """int64 [versions * moe_layers]: the same, then those of the low copies where there are some."""
        return np.array([*self.expert_bytes.tolist(), *(part.bytes for part in self.low)], np.int64)

    @cached_property
    def all_expert_bytes(self) -> int:
        return sum(layer.expert_bytes for layer in self.layers)

    @cached_property
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
        """Of one position while every cache keeps it."""
        return sum(cache.bytes_per_position for layer in self.layers for cache in layer.caches)

    @cached_property
    def has_windows(self) -> bool:
        """Whether a cache keeps less than all positions, so that the microbatch matters."""
        return any(cache.kept for layer in self.layers for cache in layer.caches)

    def kv_bytes(self, context: int, microbatch: int) -> int:
        """KV cache and recurrent state to reserve for one sequence of `context` positions that is read `microbatch` tokens at a time."""
        return sum(layer.kv_bytes(context, microbatch) for layer in self.layers)
