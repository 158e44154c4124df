"""The layers of a model by kind: how many there are of each, what they keep, and their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from simmoe.simulator.nouns.model import Layer, ModelShape, Span

FEW = 4  # layers that are named before "…"


class Kind(NamedTuple):
    """What is alike in the layers of a kind; their bytes may differ, as in mixed quantisation."""

    features: tuple[str, ...]
    spans: tuple[Span, ...]  # how far each cache reaches
    has_state: bool
    has_ffn: bool
    has_shared: bool
    n_experts: int


def kind_of(layer: Layer) -> Kind:
    spans = tuple(cache.span for cache in layer.caches)
    return Kind(
        layer.features, spans, layer.state_bytes > 0, layer.ffn.params > 0, layer.shared.params > 0, layer.n_experts
    )


def by_kind(model: ModelShape) -> dict[Kind, list[int]]:
    """Numbers of the layers of each kind, in the order in which the kinds come."""
    found: dict[Kind, list[int]] = {}
    for number, layer in enumerate(model.layers):
        found.setdefault(kind_of(layer), []).append(number)
    return found


def line(kind: Kind, numbers: Sequence[int]) -> str:
    """One kind as a short line."""
    counted = f"{len(numbers)} layer{'s' * (len(numbers) > 1)} ({_numbers(numbers)})"
    return f"{counted}: {'; '.join([_kept(kind), _ffn(kind), *([', '.join(kind.features)] if kind.features else [])])}"


def as_json(kind: Kind, numbers: Sequence[int]) -> dict[str, Any]:
    """One kind for a program."""
    caches = [span._asdict() for span in kind.spans]
    return {"layers": list(numbers), "features": list(kind.features), "caches": caches, "state": kind.has_state,
            "ffn": kind.has_ffn, "shared": kind.has_shared, "experts": kind.n_experts}  # fmt: skip


def _numbers(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if len(numbers) > 2 and last - first + 1 == len(numbers):
        return f"{first}–{last}"
    return ", ".join([str(number) for number in numbers[:FEW]] + ["…"] * (len(numbers) > FEW))


def _kept(kind: Kind) -> str:
    said = [_span(span) for span in kind.spans] + ["a state"] * kind.has_state
    return f"keeps {' and '.join(dict.fromkeys(said))}" if said else "keeps nothing of a position"


def _span(span: Span) -> str:
    kept = f"{'a chunk' if span.chunked else 'a window'} of {span.kept:,} positions" if span.kept else "all positions"
    return f"{kept} and reads {span.read:,}" if span.read else kept


def _ffn(kind: Kind) -> str:
    if kind.n_experts:
        return f"{kind.n_experts} experts{' and a shared part' * kind.has_shared}"
    return "dense FFN" if kind.has_ffn else "no FFN"
