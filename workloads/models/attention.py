"""The attention of an architecture in the model's own words: heads and widths, and which layers have a window, chunks or none of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from simmoe.simulator.errors import UserError
from simmoe.workloads.models.reader import Count, Flag, Positive, many, nested, one_of, read
from simmoe.workloads.models.roles import Role, roles, total

KINDS = ("full", "window", "chunk", "recurrent", "none")


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """What stands in place of attention in layers of kind recurrent, such as a gated delta rule or Mamba: it keeps a state."""

    matrix_params: Positive
    roles: Annotated[tuple[Role, ...], roles] = ()  # which matrices these are, where that is known
    vector_params: Count = 0
    state_elements: Positive  # numbers that a layer keeps of a sequence, its convolution's too
    state_bits: Positive = 32
    mixer: Annotated[str, one_of("delta_net", "mamba", "lightning", "short_conv")] = "mamba"

    def __post_init__(self) -> None:
        if self.roles and total(self.roles) != self.matrix_params:
            raise UserError(
                f"roles name {total(self.roles)} parameters of {self.matrix_params} matrix_params; mend one of them"
            )

    @property
    def matrices(self) -> tuple[Role, ...]:
        """Without roles one matrix with rows of several lengths."""
        return self.roles or (Role("other", 0, self.matrix_params),)


@dataclass(frozen=True, kw_only=True)
class ByLayer:
    """Kinds of attention by layer, and their sizes."""

    layers: Annotated[tuple[str, ...], many(one_of(*KINDS))] = ("full",)  # repeated to the last layer
    window: Count = 0  # positions, its own too, that a token of a layer of kind window attends to
    chunk: Count = 0  # positions of a chunk; a token of a layer of kind chunk attends within its own
    recurrent: Annotated[Recurrent | None, nested(Recurrent)] = None

    def __post_init__(self) -> None:
        for kind, size in (("window", self.window), ("chunk", self.chunk), ("recurrent", self.recurrent)):
            if (kind in self.layers) != bool(size):
                found = "not given" if kind in self.layers else "given"
                raise UserError(
                    f"layers names {', '.join(dict.fromkeys(self.layers))} but {kind} is {found}; give both or neither"
                )

    def kind_of(self, layer: int) -> str:
        return self.layers[layer % len(self.layers)]


@dataclass(frozen=True, kw_only=True)
class Attention(ByLayer):
    """Multi-head (mha) or grouped-query (gqa) attention; the cache holds one key and one value per KV head."""

    kind: Annotated[str, one_of("mha", "gqa", "mla")]
    heads: Positive
    kv_heads: Positive = 0  # gqa only
    head_dim: Positive
    qkv_bias: Flag = False
    output_bias: Flag = False
    # a norm for all heads, or over the whole row; bare: without weights, in layers of kind chunk only (Llama 4: where positions are rotary)
    qk_norm: Annotated[str, one_of("none", "head", "full", "bare")] = "none"
    sinks: Flag = False  # one learned logit per head (gpt-oss)
    output_gate: Flag = False  # a gate beside each query, as many numbers, on the output (Qwen3-Next)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "mha" and self.kv_heads:
            raise UserError(f"kv_heads is {self.kv_heads} but kind is mha, one per head; drop it, or write kind: gqa")
        if self.kind == "gqa" and (not self.kv_heads or self.heads % self.kv_heads):
            raise UserError(f"kv_heads is {self.kv_heads or 'missing'}; gqa needs a divisor of heads, {self.heads}")

    @property
    def cached_heads(self) -> int:
        return self.kv_heads or self.heads


@dataclass(frozen=True, kw_only=True)
class Indexer:
    """A small attention that picks the positions which the large one reads (DeepSeek-V3.2); its keys are cached beside."""

    topk: Positive  # positions that are read at most
    heads: Positive
    head_dim: Positive


@dataclass(frozen=True, kw_only=True)
class LatentAttention(ByLayer):
    """Multi-head latent attention (mla, DeepSeek-V2): the cache holds one compressed row and one rotary key."""

    kind: Annotated[str, one_of("mha", "gqa", "mla")]
    heads: Positive
    kv_lora_rank: Positive
    q_lora_rank: Count  # 0: the query is projected directly
    qk_nope: Positive
    qk_rope: Positive
    v_head_dim: Positive
    latent_cache: Flag = True  # false: an engine that keeps keys and values of every head
    indexer: Annotated[Indexer | None, nested(Indexer)] = None  # of layers of kind full

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.indexer and "full" not in self.layers:
            raise UserError(
                f"an indexer picks in layers of kind full, but layers names {', '.join(self.layers)}; add full, or drop it"
            )


def attention(data: object, where: str) -> Attention | LatentAttention:
    """The attention block of an architecture."""
    latent = isinstance(data, dict) and data.get("kind") == "mla"
    return read(LatentAttention, data, where) if latent else read(Attention, data, where)
