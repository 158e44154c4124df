"""Makes a model file from the tensors of a GGUF file, layer by layer, so that mixed quantisation keeps its real sizes.

Tensor names and metadata keys: gguf-py/gguf/constants.py of https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers import attention
from simmoe.workloads.importers.config import name_of
from simmoe.workloads.importers.gguf_header import Header, TensorInfo, read_header
from simmoe.workloads.importers.tensors import LayerFacts, Tensor, collect
from simmoe.workloads.models.architecture import latent_flops
from simmoe.workloads.models.parts import CacheParts

LAYER = re.compile(r"blk\.(\d+)\.(.+)")
SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
PART_OF = (  # the first pattern that matches decides; what is left of a layer is attention, norms and router
    (re.compile(r"ffn_(gate|up|down|gate_up)_exps\."), "expert"),
    (re.compile(r"ffn_(gate|up|down|gate_inp)_shexp\."), "shared"),
    (re.compile(r"ffn_(gate|up|down)\."), "ffn"),
)


@dataclass(frozen=True)
class Metadata:
    """Typed look-ups under the model's architecture prefix."""

    fields: dict[str, Any]
    where: str

    def numbers(self, key: str, count: int, default: int | None = None) -> list[int]:
        """One value per layer; most files give a single one for all."""
        prefix = self.fields.get("general.architecture", "")
        value = self.fields.get(f"{prefix}.{key}", default)
        values: list[Any] = value if isinstance(value, list) else [value] * count
        if len(values) < count or not all(type(x) is int and 0 <= x < 2**32 for x in values):
            raise UserError(
                f"{self.where}: metadata {prefix}.{key} is {str(value)[:80]}; it must be a whole number, "
                f"or a list of {count}"
            )
        return values[:count]

    def number(self, key: str, default: int | None = None) -> int:
        return self.numbers(key, 1, default)[0]


def import_gguf(path: Path) -> dict[str, Any]:
    """A model file with parts."""
    header = _with_siblings(path)
    metadata = Metadata(header.metadata, path.name)
    if not metadata.number("expert_count", default=0):
        raise UserError(f"{path.name}: expert_count is 0 or missing; only Mixture-of-Experts models can be imported")
    tied = all(info.name != "output.weight" for info in header.tensors)
    tensors = [_tensor(info, tied) for info in header.tensors]
    match = SPLIT.fullmatch(path.name)
    stem = match[1] if match else path.stem
    facts = _facts(metadata)
    caution = attention.of_gguf(header.metadata, len(facts), all(fact.caches for fact in facts))
    return {
        "schema": 1,
        "name": name_of(stem),
        "title": str(header.metadata.get("general.name") or stem),
        "sources": {"parts": f"tensor infos in the header of {path.name}"},
        "parts": collect(
            tensors,
            facts,
            metadata.number("expert_used_count"),
            metadata.number("embedding_length"),
            path.name,
        ),
        **({"caution": caution} if caution else {}),
    }


def _with_siblings(path: Path) -> Header:
    """The header; for a split model, the tensors of all its files (the first one holds the metadata)."""
    match = SPLIT.fullmatch(path.name)
    if not match or not int(match[3]):
        header = read_header(path)
        count = header.metadata.get("split.count", 1)
        if count not in (0, 1):
            raise UserError(
                f"{path.name} is one of {count} files of a split model; give all of them names such as "
                "NAME-00001-of-00002.gguf"
            )
        return header
    paths = [path.with_name(f"{match[1]}-{i:05}-of-{match[3]}.gguf") for i in range(1, int(match[3]) + 1)]
    if missing := [p.name for p in paths if not p.is_file()]:
        raise UserError(f"{missing[0]} is not beside {path.name}; all {len(paths)} files of a split model are needed")
    headers = [read_header(p) for p in paths]
    return Header(headers[0].metadata, [info for header in headers for info in header.tensors])


def _facts(metadata: Metadata) -> Sequence[LayerFacts]:
    """Per layer that runs in plain decoding: the last ones of some models only predict further tokens."""
    count = metadata.number("block_count") - metadata.number("nextn_predict_layers", default=0)
    if not 0 < count <= 32_767:
        raise UserError(f"{metadata.where}: {count} layers; a model has 1 to 32767")
    heads = metadata.numbers("attention.head_count", count)
    if (rank := metadata.number("attention.kv_lora_rank", default=0)) and not _old_latent(metadata):
        rope = metadata.number("rope.dimension_count")
        return [_fact(rank + rope, latent_flops(n, rank, rope)) for n in heads]
    kv_heads = metadata.numbers("attention.head_count_kv", count, default=heads[0])
    window, chunked, limited = attention.gguf_window(metadata.fields, count)
    facts = []
    for n, kv, short in zip(heads, kv_heads, limited or [False] * count):
        widths = sum(_length(metadata, name, heads[0], short and not chunked) for name in ("key", "value"))
        facts.append(_fact(kv * widths, 2 * n * widths, window * short, chunked and short))
    return facts


def _old_latent(metadata: Metadata) -> bool:
    """Whether the file was made before latent caches: llama.cpp keeps keys and values of every head for it."""
    return bool(metadata.number("attention.key_length", default=0)) and not metadata.number(
        "attention.key_length_mla", default=0
    )


def _length(metadata: Metadata, name: str, heads: int, short: bool) -> int:
    """Width of a key or a value; heads of layers with a window may have one of their own."""
    even = metadata.number("embedding_length") // max(heads, 1)
    full = metadata.number(f"attention.{name}_length", default=even)
    return metadata.number(f"attention.{name}_length_swa", default=full) if short else full


def _fact(elements: int, flops: int, kept: int = 0, chunked: bool = False) -> LayerFacts:
    """Of a layer with one cache, or with none where it has no KV heads."""
    one = CacheParts(elements_per_position=elements, flops_per_position=flops, kept=kept, chunked=chunked)
    return LayerFacts((one,) if elements else ())


def _tensor(info: TensorInfo, tied: bool) -> Tensor:
    match = LAYER.match(info.name)
    if not match:
        in_head = info.name.startswith("output") or (tied and info.name.startswith("token_embd."))
        return Tensor("head" if in_head else "embedding", _kind(info), info.params, info.nbytes)
    part = next((part for pattern, part in PART_OF if pattern.match(match[2])), "attention")
    n_experts = info.dims[-1] if part == "expert" else 0
    return Tensor(part, _kind(info), info.params, info.nbytes, int(match[1]), n_experts)


def _kind(info: TensorInfo) -> str:
    if "ffn_gate_inp" in info.name and info.name.endswith(".weight"):
        return "router_params"
    if len(info.dims) == 1 or info.name.endswith(".bias"):  # the biases of experts have two dimensions
        return "vector_params"
    return "matrix_params"
