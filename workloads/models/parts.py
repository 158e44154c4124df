"""A model as parts: the parameters that one launch reads together, and the real bytes of a file behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from simmoe.simulator.errors import UserError
from simmoe.workloads.models.reader import Count, Number, PositiveNumber, many, nested
from simmoe.workloads.models.roles import Role, roles, total


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Parameters of a part, by how a storage format treats them."""

    matrix_params: Count = 0  # quantised where the format covers the part
    router_params: Count = 0  # gates: small matrices that every format keeps in 16 bit
    vector_params: Count = 0  # norms and biases: no matrix product, kept in 16 bit
    stored_bytes: Count = 0  # real bytes of an imported file
    roles: Annotated[tuple[Role, ...], roles] = ()  # which matrices these are, where that is known

    def __post_init__(self) -> None:
        if total(self.roles) > self.matrix_params:
            raise UserError(
                f"roles name {total(self.roles)} parameters of {self.matrix_params} matrix_params; mend one of them"
            )
        if self.stored_bytes and not self.params:
            raise UserError(f"stored_bytes is {self.stored_bytes} without any parameters; add matrix_params")

    @property
    def params(self) -> int:
        return self.matrix_params + self.router_params + self.vector_params

    @property
    def by_role(self) -> dict[str, Role]:
        return {role.name: role for role in self.roles}


EMPTY = Weights()
Part = Annotated[Weights, nested(Weights)]


@dataclass(frozen=True, kw_only=True)
class LayerParts:
    """One layer: its parts, and what its attention keeps and computes for every position."""

    attention: Part  # attention, norms, router
    kv_elements_per_position: Count
    flops_per_position: Count
    ffn: Part = EMPTY  # dense FFN
    shared: Part = EMPTY  # all shared experts
    expert: Part = EMPTY  # ONE routed expert
    n_experts: Number = 0

    def __post_init__(self) -> None:
        if bool(self.n_experts) != bool(self.expert.params):
            raise UserError(f"n_experts is {self.n_experts} but expert has {self.expert.params} parameters; give both")
        if self.n_experts and self.ffn.params:
            raise UserError("a layer has a dense ffn and routed experts; count what every token uses as shared")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A whole model as parts."""

    top_k: PositiveNumber
    head: Part  # final norm and LM head
    embedding: Part = EMPTY  # look-up only; absent when the head holds it (tied)
    width: Count = 0  # numbers of a hidden state, which several devices hand to each other; 0 = not known
    layers: Annotated[tuple[LayerParts, ...], many(nested(LayerParts))]

    def __post_init__(self) -> None:
        fewest = min((layer.n_experts for layer in self.layers if layer.n_experts), default=0)
        if self.top_k > fewest:
            raise UserError(f"top_k is {self.top_k} but the fewest experts of a layer are {fewest}; lower top_k")

    def all_weights(self) -> list[Weights]:
        """Every distinct part once (one expert per layer)."""
        per_layer = [w for x in self.layers for w in (x.attention, x.ffn, x.shared, x.expert)]
        return [*per_layer, self.head, self.embedding]
