"""What a model file may say: a model in its own words (architecture), or the real bytes of its parts (parts).

docs/models.md describes every key. The numbers follow the configuration files and papers that each model file names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from simmoe.simulator.errors import UserError
from simmoe.workloads.models.attention import Attention, LatentAttention, attention
from simmoe.workloads.models.parts import Parts, Weights
from simmoe.workloads.models.reader import (
    MOST,
    Count,
    Flag,
    Positive,
    PositiveNumber,
    Text,
    many,
    nested,
    one_of,
    read,
    texts,
    whole,
)

# --- architecture: the model's own words ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ffn:
    """The feed-forward parts: experts of MoE layers, shared experts beside them, and the FFN of dense layers."""

    matrices: Annotated[int, whole(2, 3)]  # 2: up, down; 3: gate, up, down
    bias: Flag = False
    n_experts: PositiveNumber
    top_k: PositiveNumber
    expert_d_ff: Positive
    shared_d_ff: Count = 0  # of all shared experts together
    shared_gate: Flag = False  # a sigmoid gate on the shared expert (Qwen2-MoE)
    dense_d_ff: Count = 0
    router_bias: Flag = False

    def __post_init__(self) -> None:
        if self.top_k > self.n_experts:
            raise UserError(f"top_k is {self.top_k} but n_experts is {self.n_experts}; lower top_k")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """MoE layers are first, first + every, ... to the last layer."""

    first: Annotated[int, whole(0, MOST)] = 0
    every: PositiveNumber = 1


def _moe_layers(data: object, where: str) -> Rule | tuple[int, ...]:
    if data == "all":
        return Rule()
    if isinstance(data, dict):
        return read(Rule, data, where)
    if isinstance(data, list):
        listed: tuple[int, ...] = many(whole(0, MOST))(data, where)
        return listed
    raise UserError(f"{where} is {data!r}; it must be all, a list such as [1, 3], or a rule such as {{first: 1}}")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A decoder whose layers have attention of one width, or something in its place, and one of two kinds of FFN."""

    layers: PositiveNumber
    moe_layers: Annotated[Rule | tuple[int, ...], _moe_layers]
    d_model: Positive
    vocab: Positive
    tied_embeddings: Flag = False
    learned_positions: Count = 0
    norm: Annotated[str, one_of("rms", "layer")] = "rms"  # layer: LayerNorm, which has a bias
    post_norm: Flag = False  # two norms more for each layer, behind attention and behind the FFN or the experts
    attention: Annotated[Attention | LatentAttention, attention]
    ffn: Annotated[Ffn, nested(Ffn)]

    def __post_init__(self) -> None:
        moe = self.moe_indices
        if not moe or max(moe) >= self.layers or len(set(moe)) < len(moe):
            raise UserError(f"moe_layers names {list(moe)}; it needs different layers from 0 to {self.layers - 1}")
        if len(self.attention.layers) > self.layers:
            raise UserError(
                f"attention.layers names {len(self.attention.layers)} layers but there are {self.layers}; give the kinds that repeat, or "
                "one for each layer"
            )
        if len(moe) < self.layers and not self.ffn.dense_d_ff:
            raise UserError(f"ffn.dense_d_ff is 0 but only {len(moe)} of {self.layers} layers are MoE; add it")

    @property
    def moe_indices(self) -> tuple[int, ...]:
        if isinstance(self.moe_layers, Rule):
            return tuple(range(self.moe_layers.first, self.layers, self.moe_layers.every))
        return self.moe_layers


# --- the file -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A model file: who says what, and either an architecture or parts."""

    schema: Annotated[int, whole(1, 1)]  # version of this format
    name: Text
    title: Text
    sources: Annotated[Mapping[str, str], texts]  # where each figure comes from, by key
    published_params: Positive = 0
    notes: Text = ""  # what the file leaves out or simplifies
    caution: Text = ""  # what every result of the model says: counted otherwise than the model does it
    released: Text = ""  # storage format of the published weights, which is played unless one is named; fp16 without it
    architecture: Annotated[Architecture | None, nested(Architecture)] = None
    parts: Annotated[Parts | None, nested(Parts)] = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise UserError(f"name is {self.name!r}; use letters, digits, dots, hyphens and underscores")
        if (self.architecture is None) == (self.parts is None):
            raise UserError("a model has either an architecture or parts; keep one of the two")
        needed = ["parts" if self.parts else "architecture"]
        needed += [figure for figure in ("published_params", "released") if getattr(self, figure)]
        for figure in needed:
            if figure not in self.sources:
                raise UserError(f"sources has no {figure!r}; say where its figures come from")
        if self.has_bytes and any(w.params and not w.stored_bytes for w in self._weights):
            raise UserError(
                "some parts have stored_bytes and some with parameters have none; give them to all parts or to none"
            )

    @property
    def _weights(self) -> list[Weights]:
        return self.parts.all_weights() if self.parts else []

    @property
    def has_bytes(self) -> bool:
        """Whether it carries the real bytes of a file; else a format gives them."""
        return any(w.stored_bytes for w in self._weights)
