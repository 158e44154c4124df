"""Sums the tensors of a model into its parts: what one launch reads, with its real bytes where a file gives them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simmoe.simulator.errors import UserError


@dataclass(frozen=True)
class Tensor:
    """One tensor, or the block scales that belong to one (no parameters)."""

    part: str  # attention | ffn | shared | expert | head | embedding
    kind: str  # matrix_params | router_params | vector_params
    params: int
    nbytes: int = 0
    layer: int = -1  # -1: outside the layers
    n_experts: int = 0  # experts whose weights this tensor holds
    expert: int = -1  # which expert, where each has tensors of its own
    roles: Mapping[str, tuple[int, int]] = field(
        default_factory=dict
    )  # llama.cpp's name of the matrix: length of a row, parameters


@dataclass(frozen=True)
class Kept:
    """What the attention of a layer keeps and computes for every position; tensors alone do not say it."""

    caches: tuple[dict[str, Any], ...] = ()
    state_elements: int = 0
    features: frozenset[str] = frozenset()  # words that names of tensors say (features.py)


def cache(
    elements: int, flops: int, kept: int = 0, read: int = 0, chunked: bool = False, heads: int = 0, kv_heads: int = 0
) -> dict[str, Any]:
    """One cache of a layer as a model file says it; what is not limited is left out."""
    limits = {"kept": kept, "read": read if not kept or read < kept else 0, "chunked": chunked}
    said = {key: value for key, value in (*limits.items(), ("heads", heads), ("kv_heads", kv_heads)) if value}
    return {"elements_per_position": elements, "flops_per_position": flops, **said}


def collect(tensors: Iterable[Tensor], facts: Sequence[Kept], top_k: int, width: int, where: str) -> dict[str, Any]:
    """The `parts` of a model file. Tensors of layers beyond `facts` (multi-token prediction) are left out."""
    groups: dict[tuple[int, str], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        groups[tensor.layer, tensor.part].append(tensor)
    if not any(part == "expert" for _, part in groups):
        raise UserError(f"{where}: no layer has routed experts; only Mixture-of-Experts models can be imported")
    head, embedding = weights(groups[-1, "head"]), weights(groups[-1, "embedding"])
    if "matrix_params" not in head:
        raise UserError(f"{where}: no token embedding and no LM head among its tensors; is the set of files complete?")
    outside = {"head": head, "embedding": embedding} if embedding else {"head": head}
    _complete(groups, len(facts), where)
    layers = [_layer(groups, i, fact, where) for i, fact in enumerate(facts)]
    return {"top_k": top_k, "width": width, **outside, "layers": layers}


def _complete(groups: Mapping[tuple[int, str], list[Tensor]], count: int, where: str) -> None:
    """Raises UserError for a layer that lacks what others have: a file is missing. In some models each layer is of one kind only."""
    has = [
        [_matrices(groups, i, *parts) for parts in (("attention",), ("ffn", "shared", "expert"))] for i in range(count)
    ]
    for i, kinds in enumerate(has):
        lacking = [what for what, there in zip(("attention", "feed-forward"), kinds) if not there]
        if len(lacking) == 2 or (lacking and [True, True] in has):
            raise UserError(f"{where}: layer {i} has no {' and no '.join(lacking)} tensors; is a file missing?")


def _matrices(groups: Mapping[tuple[int, str], list[Tensor]], i: int, *parts: str) -> bool:
    return any(tensor.kind == "matrix_params" for part in parts for tensor in groups.get((i, part), ()))


def _layer(groups: Mapping[tuple[int, str], list[Tensor]], i: int, fact: Kept, where: str) -> dict[str, Any]:
    attention, ffn, shared, experts = (groups.get((i, part), []) for part in ("attention", "ffn", "shared", "expert"))
    layer: dict[str, Any] = {"attention": weights(attention), "caches": list(fact.caches)}
    if fact.state_elements:
        layer["state_elements"] = fact.state_elements
    words = fact.features | _words(ffn, shared, experts)
    layer |= {"features": sorted(words)} if words else {}
    if not experts:
        return {**layer, "ffn": weights([*ffn, *shared])} if ffn or shared else layer
    if always := [*shared, *ffn]:  # an FFN beside the experts runs for every token too
        layer["shared"] = weights(always)
    number = _number(experts, f"{where}: layer {i}")
    return {**layer, "expert": _one(experts, number, f"{where}: layer {i}"), "n_experts": number}


def _words(ffn: Sequence[Tensor], shared: Sequence[Tensor], experts: Sequence[Tensor]) -> set[str]:
    """Words of a layer that its parts say."""
    roles = {role for tensor in (*ffn, *shared, *experts) for role in tensor.roles}
    ungated = {"ungated"} if "ffn_up" in roles and "ffn_gate" not in roles else set()
    beside = experts and any(tensor.kind == "matrix_params" for tensor in ffn)
    return ungated | ({"dense_beside"} if beside else set())


def weights(tensors: Iterable[Tensor]) -> dict[str, Any]:
    """One part of a model file: parameters by kind, bytes where they are known, and what its matrices are for."""
    sums: dict[str, int] = defaultdict(int)
    roles: dict[str, list[int]] = {}
    for tensor in tensors:
        if tensor.params:
            sums[tensor.kind] += tensor.params
        sums["stored_bytes"] += tensor.nbytes
        for role, (columns, params) in tensor.roles.items():
            before = roles.get(role, [columns, 0])
            roles[role] = [math.gcd(before[0], columns), before[1] + params]
    part: dict[str, Any] = {key: value for key, value in sorted(sums.items()) if value}
    return {**part, "roles": roles} if roles else part


def _number(tensors: Sequence[Tensor], where: str) -> int:
    """Experts of a layer, on which all of its tensors agree."""
    single = {tensor.expert for tensor in tensors} - {-1}
    counts = {tensor.n_experts for tensor in tensors if tensor.expert < 0} | ({len(single)} if single else set())
    if len(counts) > 1 or 0 in counts:
        raise UserError(f"{where} has tensors for {sorted(counts)} experts; all its tensors must hold the same number")
    return counts.pop()


def _one(tensors: Sequence[Tensor], number: int, where: str) -> dict[str, Any]:
    """ONE expert of a layer, which are all alike."""
    whole = weights(tensors)
    roles = whole.pop("roles", {})
    for name, total in (*whole.items(), *((role, params) for role, (_, params) in roles.items())):
        if total % number:
            raise UserError(f"{where}: {total} {name} do not divide by {number} experts; is the set of files complete?")
    part: dict[str, Any] = {name: total // number for name, total in whole.items()}
    one = {role: [columns, params // number] for role, (columns, params) in roles.items()}
    return {**part, "roles": one} if one else part
