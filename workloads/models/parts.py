"""A model as parts: the parameters that one launch reads together, and the real bytes of a file behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from simmoe.simulator.errors import UserError
from simmoe.workloads.models.features import contradiction, features
from simmoe.workloads.models.reader import Count, Flag, Number, Positive, PositiveNumber, many, nested, several, whole
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

    def only(self, names: tuple[str, ...], rest: bool) -> Weights:
        """The matrices of these roles, and with `rest` what is no matrix. Bytes of a file by parameters."""
        roles = tuple(role for role in self.roles if role.name in names)
        found = Weights(
            matrix_params=total(roles),
            router_params=self.router_params * rest,
            vector_params=self.vector_params * rest,
            roles=roles,
        )
        share = self.stored_bytes * found.params // max(self.params, 1)
        return replace(found, stored_bytes=share if found.params else 0)


EMPTY = Weights()
Part = Annotated[Weights, nested(Weights)]


@dataclass(frozen=True, kw_only=True)
class CacheParts:
    """What a layer keeps of each position, and what attention computes with it."""

    elements_per_position: Count
    flops_per_position: Count  # of one token with one attended position
    kept: Count = 0  # positions that are kept at most; 0 = all
    read: Count = 0  # positions that attention reads at most; 0 = all that are kept
    chunked: Flag = False  # a token attends within its own chunk of `kept` positions, not to the last `kept` ones
    heads: Count = 0  # query heads; 0 = not known, or an indexer
    kv_heads: Count = 0  # with rows of their own; 0 = one row for all

    def __post_init__(self) -> None:
        if self.chunked and not self.kept:
            raise UserError("chunked is true but kept is 0; give the positions of a chunk as kept")
        if self.kept and self.read > self.kept:
            raise UserError(f"read is {self.read} but only {self.kept} positions are kept; lower read, or leave it out")


@dataclass(frozen=True, kw_only=True)
class LayerParts:
    """One layer: its parts, and what its attention keeps and computes for every position."""

    attention: Part  # attention or what stands in its place, norms, router
    caches: Annotated[tuple[CacheParts, ...] | None, several(nested(CacheParts))] = None
    kv_elements_per_position: Annotated[int | None, whole(0)] = None  # with the next key: one cache that keeps all
    flops_per_position: Annotated[int | None, whole(0)] = None
    state_elements: Count = 0  # of a recurrent layer, for each sequence
    state_bits: Positive = 32  # of one of them
    ffn: Part = EMPTY  # dense FFN
    shared: Part = EMPTY  # all shared experts
    expert: Part = EMPTY  # ONE routed expert
    n_experts: Number = 0
    features: Annotated[tuple[str, ...], features] = ()  # what an engine launches kernels of their own for, sorted

    def __post_init__(self) -> None:
        if text := contradiction(self.features, self.n_experts):
            raise UserError(text)
        short = [self.kv_elements_per_position, self.flops_per_position]
        if short.count(None) != (2 if self.caches is not None else 0):
            raise UserError(
                "a layer has either caches (a list, [] for none) or kv_elements_per_position and flops_per_position for one cache of all "
                "positions; give one of the two"
            )
        if bool(self.n_experts) != bool(self.expert.params):
            raise UserError(f"n_experts is {self.n_experts} but expert has {self.expert.params} parameters; give both")
        if self.n_experts and self.ffn.params:
            raise UserError("a layer has a dense ffn and routed experts; count what every token uses as shared")

    @property
    def all_caches(self) -> tuple[CacheParts, ...]:
        """The caches, the short form spelled out."""
        if self.caches is not None:
            return self.caches
        elements, flops = self.kv_elements_per_position or 0, self.flops_per_position or 0
        return (CacheParts(elements_per_position=elements, flops_per_position=flops),) if elements or flops else ()


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
