"""Sums the tensors of a published file into the parts of a model: what one launch reads, with its real bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.models.parts import CacheParts


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file, or the block scales that belong to one (no parameters)."""

    part: str  # attention | ffn | shared | expert | head | embedding
    kind: str  # matrix_params | router_params | vector_params
    params: int
    nbytes: int
    layer: int = -1  # -1: outside the layers
    n_experts: int = 0  # experts of the layer, for the tensors of routed experts


@dataclass(frozen=True)
class LayerFacts:
    """What a layer's attention keeps and computes; tensors alone do not say it."""

    caches: tuple[CacheParts, ...]


def collect(
    tensors: Iterable[Tensor], facts: Sequence[LayerFacts], top_k: int, width: int, where: str
) -> dict[str, Any]:
    """The `parts` of a model file. Tensors of layers beyond `facts` (multi-token prediction) are left out."""
    groups: dict[tuple[int, str], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        groups[tensor.layer, tensor.part].append(tensor)
    if not any(part == "expert" for _, part in groups):
        raise UserError(f"{where}: no layer has routed experts; only Mixture-of-Experts models can be imported")
    head, embedding = _weights(groups[-1, "head"]), _weights(groups[-1, "embedding"])
    if "matrix_params" not in head:
        raise UserError(f"{where}: no token embedding and no LM head among its tensors; is the set of files complete?")
    outside = {"head": head, "embedding": embedding} if embedding else {"head": head}
    return {
        "top_k": top_k,
        "width": width,
        **outside,
        "layers": [_layer(groups, i, fact, where) for i, fact in enumerate(facts)],
    }


def _layer(groups: dict[tuple[int, str], list[Tensor]], i: int, fact: LayerFacts, where: str) -> dict[str, Any]:
    attention, experts = groups[i, "attention"], groups[i, "expert"]
    if not attention or not (experts or groups[i, "ffn"]):
        raise UserError(f"{where}: layer {i} has no attention or no feed-forward tensors; is a file missing?")
    layer: dict[str, Any] = {
        "attention": _weights(attention),
        **_kept(fact.caches),
    }
    if not experts:
        return {**layer, "ffn": _weights(groups[i, "ffn"])}
    if always := groups[i, "shared"] + groups[i, "ffn"]:  # an FFN beside the experts runs for every token too
        layer["shared"] = _weights(always)
    return {**layer, "expert": _one_expert(experts, f"{where}: layer {i}"), "n_experts": experts[0].n_experts}


def _kept(caches: tuple[CacheParts, ...]) -> dict[str, Any]:
    """The caches of a layer as a file says them, in the short form where it can."""
    if len(caches) == 1 and not caches[0].kept and not caches[0].read:
        (one,) = caches
        return {"kv_elements_per_position": one.elements_per_position, "flops_per_position": one.flops_per_position}
    return {"caches": [_cache(one) for one in caches]}


def _cache(one: CacheParts) -> dict[str, Any]:
    limits = {name: value for name in ("kept", "read", "chunked") if (value := getattr(one, name))}
    return {"elements_per_position": one.elements_per_position, "flops_per_position": one.flops_per_position, **limits}


def _weights(tensors: Iterable[Tensor]) -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for tensor in tensors:
        if tensor.params:
            sums[tensor.kind] += tensor.params
        sums["stored_bytes"] += tensor.nbytes
    return dict(sorted(sums.items()))


def _one_expert(tensors: Sequence[Tensor], where: str) -> dict[str, int]:
    counts = {tensor.n_experts for tensor in tensors}
    if len(counts) > 1 or 0 in counts:
        raise UserError(f"{where} has tensors for {sorted(counts)} experts; all its tensors must hold the same number")
    number, sums = counts.pop(), _weights(tensors)
    for name, total in sums.items():
        if total % number:
            raise UserError(f"{where}: {total} {name} do not divide by {number} experts; is the set of files complete?")
    return {name: total // number for name, total in sums.items()}
