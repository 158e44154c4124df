"""What the attention of a layer keeps of each position, from the shapes of its matrices and the fields of a config.json.

A window, a chunk, a latent row, the keys of an indexer, a recurrent state: docs/models.md says how each is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.config import Config
from simmoe.workloads.importers.places import ELSEWHERE, LAYER, Named
from simmoe.workloads.importers.tensors import Kept, cache
from simmoe.workloads.models.architecture import latent_flops

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Limit:
    """How far the attention of a layer sees; kind: as layer_types names it."""

    kind: str = "full_attention"
    kept: int = 0
    chunked: bool = False


def by_layer(tensors: Sequence[Named], layers: int) -> list[dict[str, tuple[int, ...]]]:
    """Shapes of the matrices of each layer, by their names in it."""
    found: list[dict[str, tuple[int, ...]]] = [{} for _ in range(layers)]
    for one in tensors:
        match = LAYER.match(one.name)
        if match and int(match[1]) < layers and not ELSEWHERE.search(one.name):  # a vision tower counts its layers too
            found[int(match[1])][match[2]] = one.shape
    return found


def kept(shapes: Shapes, limit: Limit, config: Config) -> Kept:
    """What one layer keeps."""
    if latent := _all(shapes, "kv_a_proj_with_mqa.weight"):
        return Kept(_latent(shapes, latent, limit, config))
    if _first(shapes, "self_attn.o_b_proj.weight"):
        return Kept(_compressed(shapes, config))
    if state := _state(shapes, limit, config):
        return Kept((), state)
    heads = config.number("num_attention_heads", "n_heads", default=0)
    return Kept(tuple(_keys_and_values(shapes, limit, heads, config)))


def _keys_and_values(shapes: Shapes, limit: Limit, heads: int, config: Config) -> list[dict[str, Any]]:
    output = _first(
        shapes, "o_proj.weight", "self_attn.out_proj.weight", "SelfAttention.o.weight", "attn.out_proj.weight"
    )
    if not output:
        return []
    keys, values = (
        _first(shapes, "k_proj.weight", "SelfAttention.k.weight"),
        _first(shapes, "v_proj.weight", "SelfAttention.v.weight"),
    )
    if _first(shapes, "qkv_proj.weight", "Wqkv.weight"):
        kv_heads = config.number("num_key_value_heads", default=heads)
        keys = values = (kv_heads * output[1] // max(heads, 1),)
    if not keys:  # the layer reads the cache of another one
        return [cache(0, 4 * output[1], limit.kept, 0, limit.chunked, heads)]
    value = values[0] if values else keys[0]  # without a projection of its own the value is the key
    if not value:
        raise UserError(
            f"{config.where}: the head width is 0; hidden_size or head_dim is too small for num_attention_heads"
        )
    score = output[1] * keys[0] // value
    picked = _first(shapes, "indexer.wk.weight", "indexer.k_proj.weight")
    read = config.number("index_topk", "index_top_k", default=0) if picked else 0
    owned = value * heads // output[1] if output[1] else 0
    whole = cache(keys[0] + value, 2 * (score + output[1]), limit.kept, read, limit.chunked, heads, owned)
    return [whole, *_indexer(picked, config)]


def _indexer(keys: tuple[int, ...], config: Config) -> list[dict[str, Any]]:
    """The keys with which an indexer scores every position."""
    return [cache(keys[0], 2 * config.number("index_n_heads") * keys[0])] if keys else []


def _latent(
    shapes: Shapes, rows: Sequence[tuple[int, ...]], limit: Limit, config: Config
) -> tuple[dict[str, Any], ...]:
    """A compressed row with a rotary key; with an indexer its keys too, and only the rows that it picks are read."""
    rope, heads = config.number("qk_rope_head_dim"), config.number("num_attention_heads")
    read = config.number("index_topk", default=0)
    latent = [
        cache(row[0], latent_flops(heads, row[0] - rope, rope), limit.kept, read, limit.chunked, heads) for row in rows
    ]
    return (*latent, *_indexer(_first(shapes, "indexer.wk.weight"), config))


def _compressed(shapes: Shapes, config: Config) -> tuple[dict[str, Any], ...]:
    """DeepSeek-V4: a window of whole rows, and one row for every so many positions beyond it, of which an indexer may pick."""
    width = _width(shapes, "self_attn.kv_proj.weight")
    every = _width(shapes, "self_attn.compressor.position_bias")  # rows of the bias: positions that become one
    picks = config.number("index_topk", default=0) * every if _first(shapes, "indexer.kv_proj.weight") else 0
    heads = config.number("num_attention_heads")
    flops = 4 * heads * width  # keys and values are one row
    window = config.number("sliding_window")
    if not window:
        raise UserError(
            f"{config.where}: sliding_window is 0; compressed attention needs a window of at least 1 position"
        )
    near = cache(width, flops, window, heads=heads)
    if not _first(shapes, "compressor.kv_proj.weight"):
        return (near,)
    far = cache(width // every, flops // every, 0, picks, heads=heads)
    if not picks:
        return near, far
    keys = config.number("index_head_dim")
    return near, far, cache(keys // every, 2 * config.number("index_n_heads") * keys // every)


def _state(shapes: Shapes, limit: Limit, config: Config) -> int:
    """Elements of a recurrent state with its convolution; 0 = the layer has none."""
    convolved = [shape for name, shape in shapes.items() if re.search(r"conv\w*\.weight$", name) and len(shape) == 3]
    rows = sum(shape[0] * (shape[2] - 1) for shape in convolved)
    out = _first(shapes, "out_proj.weight")
    decay = _first(shapes, "A_log")
    if _first(shapes, "forget_gate.dt_bias") and (heads := _first(shapes, "b_proj.weight")):  # Kimi's delta attention
        return rows + _width(shapes, "k_proj.weight") * _width(shapes, "v_proj.weight") // heads[0]
    if config.number("linear_num_value_heads", default=0) and decay:  # gated delta network
        return rows + decay[0] * config.number("linear_key_head_dim") * config.number("linear_value_head_dim")
    if decay and out:  # Mamba: so many states for each inner channel
        states = config.number("mamba_d_state", "ssm_state_size", "state_size", default=0)
        return rows + out[1] * states
    if out and limit.kind == "linear_attention":  # lightning attention: a matrix for each head
        return rows + out[1] * (out[1] // config.number("num_attention_heads"))
    return rows if not _first(shapes, "k_proj.weight") else 0


def _all(shapes: Shapes, *ends: str) -> list[tuple[int, ...]]:
    return [shape for end in ends for name, shape in shapes.items() if name == end or name.endswith(f".{end}")]


def _first(shapes: Shapes, *ends: str) -> tuple[int, ...]:
    return next(iter(_all(shapes, *ends)), ())


def _width(shapes: Shapes, end: str) -> int:
    shape = _first(shapes, end)
    return shape[0] if shape else 1
