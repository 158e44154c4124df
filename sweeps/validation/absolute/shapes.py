"""The shape of a measured model, with the bytes of the file that was measured.

`format` of a row is a storage format of simmoe (a mix of llama.cpp too), or one of:
  size               every weight takes the file's size over its parameters (dense controls)
  ud2026, ud2025     all but the routed experts at 8.5 or 6.56 bits, the experts take the rest of the file
  bits:D/E/H         bits of a weight of the dense part, of experts, of head and embedding
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import NO_PART, Cache, Layer, ModelShape, Part
from simmoe.simulator.reading import read_yaml
from simmoe.sweeps.validation.absolute.rows import Row
from simmoe.workloads import models
from simmoe.workloads.importers import described

MODELS = Path(__file__).parent / "models.yaml"
REST_BITS = {"ud2026": 8.5, "ud2025": 6.5625}  # of everything but the routed experts
OWN = ("size", "bits:", *REST_BITS)


@cache
def known() -> dict[str, dict[str, Any]]:
    """Name: what models.yaml says of it, its section among it."""
    data: Any = read_yaml(MODELS)
    return {name: {"section": section, **said} for section, entries in data.items() for name, said in entries.items()}


@cache
def shape(model: str, format: str, file_bytes: int, kv: str = "", top_k: int = 0) -> ModelShape:
    """The model as it lay in memory."""
    own = format.startswith(OWN)
    base = _base(model, "fp16" if own else format, kv or None)
    sized = _sized(base, format, file_bytes) if own else base
    return replace(sized, top_k=top_k) if top_k else sized


def of(row: Row) -> ModelShape:
    return shape(row.model, row.format, row.file_bytes, row.kv, row.top_k)


def _base(model: str, format: str, kv: str | None) -> ModelShape:
    said = known().get(model)
    if said is None:
        return models.load(model, format, kv)
    if said["section"] == "dense":
        return dense(model, said, format)
    parts = described.parts(described.describe(said["fields"], model), model)
    data = {"schema": 1, "name": model, "title": model, "sources": {"parts": "models.yaml"}, "parts": parts}
    return models.shape(data, model, format, kv)


def is_dense(model: str) -> bool:
    return known().get(model, {}).get("section") == "dense"


# --- bytes of a file of which only the size is known --------------------------------------------------------------------


def _sized(base: ModelShape, format: str, file_bytes: int) -> ModelShape:
    experts = sum(layer.n_experts * layer.expert.params for layer in base.layers)
    others = base.total_params - experts
    if format.startswith("bits:"):
        rest, expert, outside = (float(bits) for bits in format.removeprefix("bits:").split("/"))
        return with_bits(base, rest, expert, outside)
    if format == "size":
        bits = file_bytes * 8 / base.total_params
        return with_bits(base, bits, bits, bits)
    bits = REST_BITS[format]
    left = file_bytes * 8 - others * bits
    if not 0 < left < 16.5 * experts:
        raise UserError(f"{base.name}: {file_bytes} bytes leave {left / experts:.2f} bits for each weight of an expert")
    return with_bits(base, bits, left / experts, bits)


def with_bits(base: ModelShape, rest: float, expert: float, outside: float) -> ModelShape:
    """The shape with so many bits for each parameter of its parts."""

    def part(of: Part, bits: float) -> Part:
        return replace(of, bytes=round(of.params * bits / 8))

    layers = tuple(
        replace(
            one,
            attention=part(one.attention, rest),
            ffn=part(one.ffn, rest),
            shared=part(one.shared, rest),
            expert=part(one.expert, expert),
        )
        for one in base.layers
    )
    return replace(
        base, layers=layers, head=part(base.head, outside), embedding=part(base.embedding, outside), format="stored"
    )


# --- dense controls, which model files cannot say -------------------------------------------------------------------------


def dense(name: str, said: dict[str, Any], format: str) -> ModelShape:
    """A decoder without experts, in 16 bits."""
    if format not in ("fp16", "bf16"):
        raise UserError(f"{name} is a dense control; give its file's size, fp16 or bf16, not {format}")
    width, heads, dim = said["width"], said["heads"], said["head_dim"]
    keys = said["kv_heads"] * dim
    attention = _part(width * heads * dim * 2 + width * keys * 2)
    ffn = _part(3 * width * said["ffn"])
    window, every = said.get("window", (0, 1))
    words = tuple(said.get("words", ()))
    layers = tuple(
        Layer(
            attention,
            (Cache(4 * keys, 4 * heads * dim, 0 if (i + 1) % every == 0 else window),),
            ffn=ffn,
            features=words,
        )
        for i in range(said["layers"])
    )
    table = _part(said["vocab"] * width)
    embedding = NO_PART if said.get("tied") else replace(table, flops_per_token=0)
    return ModelShape(name, format, "fp16", layers, 1, table, embedding, width=width)


def _part(params: int) -> Part:
    return Part(params, 2 * params, 2 * params)
