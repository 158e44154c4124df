"""Model shapes: bytes and FLOPs of each part of a Mixture-of-Experts model, from one YAML file per model.

A file in this folder is known by its name; a path that exists wins over it. docs/models.md describes the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from simmoe.simulator import files
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import NO_PART, Cache, Layer, ModelShape, Part
from simmoe.simulator.reading import extended, read_yaml
from simmoe.workloads.models.architecture import expand
from simmoe.workloads.models.formats import (
    DEFAULT,
    FORMATS,
    STORED,
    Scope,
    check_roles,
    known,
    known_kv,
    kv_bytes,
    kv_default,
    nbytes,
)
from simmoe.workloads.models.mixes import OUTSIDE, Place, places
from simmoe.workloads.models.parts import CacheParts, LayerParts, Parts, Weights
from simmoe.workloads.models.reader import read
from simmoe.workloads.models.schema import ModelFile

FOLDER = Path(__file__).parent
LARGEST_SUM = 2**62
KEYS = ("attn_k", "attn_v")  # matrices that belong to KV heads
COMMON = ("attn_q_a", "attn_kv_a_mqa", "indexer_attn_q_b", "indexer_attn_k", "indexer_proj")  # and to no head
STATE_FLOPS = (
    5  # per token, of each number of a recurrent state: decayed, a product added, a product with the query summed
)


def available() -> list[str]:
    """Names of the bundled models."""
    return files.available(FOLDER, ".yaml")


def find(name_or_path: str | Path) -> Path:
    """The file behind a path or a bundled name; of a folder, the file in it that says most of the model."""
    from simmoe.workloads.importers.model import holds_model, main_file

    add = "in place of a name stands a GGUF file, a config.json, or a YAML file of your own (docs/models.md)"
    with contextlib.suppress(OSError):  # a name that is too long, a folder that may not be entered
        if Path(name_or_path).is_dir() and (holds_model(Path(name_or_path)) or str(name_or_path) not in available()):
            return main_file(Path(name_or_path))
    return files.resolve(
        name_or_path, FOLDER, ".yaml", "model", _with_format(str(name_or_path)) or add, "`simmoe model list`"
    )


def _with_format(name: str) -> str:
    """Of a name such as qwen3-30b-a3b-Q4_K_M: the two options that it means; empty for any other."""
    bundled, formats = ({files.bare(one): one for one in names} for names in (available(), FORMATS))
    for cut in range(1, len(name)):
        model, format = bundled.get(files.bare(name[:cut].rstrip(".:"))), formats.get(files.bare(name[cut:]))
        if model and format:
            return f"the format is an option of its own: --model {model} --format {format}"
    return ""


def load(name_or_path: str | Path, format: str | None = None, kv: str | None = None) -> ModelShape:
    """A bundled model or a file of your own, its weights stored in `format` and its KV cache in `kv`.

    Without `format`: the real bytes of an imported file where it has them, else the format that it was released in (fp16 unless the
    file says another). Without `kv`: f16, and f32 beside fp32 weights.
    """
    path = find(name_or_path)
    return _bundled(path, format, kv) if path.parent == FOLDER else _read(path, format, kv)


@cache
def _bundled(path: Path, format: str | None, kv: str | None) -> ModelShape:
    """A model of this package: a sweep asks for the same one again and again."""
    return _read(path, format, kv)


def _read(path: Path, format: str | None, kv: str | None) -> ModelShape:
    return shape(extended(path, _content, find, "model"), path.name, format, kv)


def _content(path: Path) -> object:
    """What a shape says; a published model is imported."""
    from simmoe.workloads.importers import kept, model

    return kept.content(path) if model.is_published(path) else read_yaml(path)


def text(name_or_path: str | Path) -> bytes:
    """What stands behind a name, to tell one model from another: of a published model its shape, not the weights."""
    path = find(name_or_path)
    return path.read_bytes() if path.suffix == ".yaml" else json.dumps(_content(path), sort_keys=True).encode()


def shape(data: object, where: str, format: str | None = None, kv: str | None = None) -> ModelShape:
    """The model that `data` describes (a model file as Python data); `where` names it in error messages."""
    if data is None:
        raise UserError(f"{where} is empty; copy one of workloads/models/*.yaml and change it")
    file = read(ModelFile, data, where)
    parts = _parts(file)
    chosen = known(format or (STORED if file.has_bytes else file.released or DEFAULT))
    if chosen == STORED and not file.has_bytes:
        raise UserError(f"{where}: format 'stored' needs the real bytes of a file; choose one of {', '.join(FORMATS)}")
    check_roles(parts, chosen, where)
    usual = kv_default(chosen)
    cache = known_kv(kv or usual)
    result = ModelShape(
        name=file.name,
        format=chosen,
        compute="fp32" if chosen == "fp32" else "fp16",
        layers=tuple(_layer(layer, chosen, cache, at) for layer, at in zip(parts.layers, places(parts))),
        top_k=parts.top_k,
        head=_part(parts.head, chosen, Scope.ALL),
        embedding=_part(parts.embedding, chosen, Scope.ALL, free=True),
        source="; ".join(f"{figure}: {source}" for figure, source in file.sources.items()),
        digest=_digest(data, chosen, cache if cache != usual else ""),
        width=parts.width,
        caution=file.caution,
        kv_format=cache,
        title=file.title,
    )
    return _checked(result, where)


def _parts(file: ModelFile) -> Parts:
    if file.parts is not None:
        return file.parts
    assert file.architecture is not None  # a model file has one of the two
    return expand(file.architecture)


def _layer(layer: LayerParts, format: str, kv: str, at: Place) -> Layer:
    attention = _part(layer.attention, format, Scope.LAYERS, at)
    flops = attention.flops_per_token + STATE_FLOPS * layer.state_elements
    keys = KEYS if any(cache.kv_heads for cache in layer.all_caches) else ()
    return Layer(
        attention=replace(attention, flops_per_token=flops),
        caches=tuple(_cache(cache, kv) for cache in layer.all_caches),
        state_bytes=-(-layer.state_elements * layer.state_bits // 8),
        ffn=_part(layer.ffn, format, Scope.LAYERS, at),
        shared=_part(layer.shared, format, Scope.LAYERS, at),
        expert=_part(layer.expert, format, Scope.EXPERTS, replace(at, routed=True)),
        n_experts=layer.n_experts,
        features=layer.features,
        common=_part(layer.attention.only(COMMON, True), format, Scope.LAYERS, at),
        keys=_part(layer.attention.only(keys, False), format, Scope.LAYERS, at),
    )


def _cache(cache: CacheParts, kv: str) -> Cache:
    count_bytes = kv_bytes(cache.elements_per_position, kv)
    return Cache(
        count_bytes, cache.flops_per_position, cache.kept, cache.read, cache.chunked, cache.heads, cache.kv_heads
    )


def _part(weights: Weights, format: str, scope: Scope, at: Place = OUTSIDE, free: bool = False) -> Part:
    """`free`: a table that is looked up, never multiplied."""
    if not weights.params:
        return NO_PART
    flops = 0 if free else 2 * (weights.matrix_params + weights.router_params)
    return Part(weights.params, nbytes(weights, format, scope, at), flops)


def _checked(model: ModelShape, where: str) -> ModelShape:
    """The model, once its sums are known to fit into int64 with room for a factor of two."""
    total_bytes = model.dense_bytes + model.all_expert_bytes
    caches = [cache for layer in model.layers for cache in layer.caches]
    kv = sum(max(cache.bytes_per_position, cache.flops_per_position) for cache in caches)
    state = sum(max(layer.state_bytes, layer.attention.flops_per_token) for layer in model.layers)
    largest = max(total_bytes, 2 * model.total_params, kv, state)
    if largest > LARGEST_SUM:
        raise UserError(f"{where}: the model has {model.total_params} parameters; sums above {LARGEST_SUM} do not fit")
    return model


def _digest(data: object, format: str, kv: str) -> str:
    """`kv`: empty where the KV cache is in the usual format."""
    said = {"content": data, "format": format} | ({"kv": kv} if kv else {})
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
