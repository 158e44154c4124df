"""What the attention of each layer of a GGUF file keeps: windows, latent rows, the keys of an indexer, recurrent states.

Keys: gguf-py/gguf/constants.py of https://github.com/ggml-org/llama.cpp. Some headers name a window and not which layers have it; then
llama.cpp's own pattern for the architecture holds (src/llama-model.cpp and src/models/ there).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from simmoe.workloads.importers.agree_gguf import agree, agree_kda, agree_latent, agree_states, rank_of
from simmoe.workloads.importers.features import ATTENDS, STATES, of_gguf
from simmoe.workloads.importers.gguf_header import TensorInfo
from simmoe.workloads.importers.metadata_gguf import Metadata
from simmoe.workloads.importers.tensors import Kept, cache
from simmoe.workloads.models.architecture import latent_flops

EVERY = {
    "gpt-oss": 2,
    "llama4": 4,
    "afmoe": 4,
    "exaone-moe": 4,
    "smallthinker": 4,
}  # one of so many layers sees everything
FULL_FIRST = ("smallthinker",)  # the first of them, not the last
CHUNK_OF_LLAMA4 = 8192  # its header does not say it
BARE_BUT_FOR = 128  # experts of the Llama 4 whose queries and keys have no norms
COUNTED = "KV cache and attention are counted as full attention in every such layer"
OWN_WIDTHS = "_swa"  # end of the keys for the layers with a window

Shapes = Mapping[
    str, tuple[int, ...]
]  # dimensions by the name in the layer, without .weight; the length of a row first


def kept(metadata: Metadata, tensors: Sequence[TensorInfo]) -> list[Kept]:
    """What each layer keeps."""
    count = metadata.layers
    heads = metadata.numbers("attention.head_count", count)
    kv_heads = metadata.numbers("attention.head_count_kv", count, default=max(heads))
    limited = windowed(metadata, count)
    shapes = _by_layer(tensors, count)
    found = [_kept(metadata, *facts) for facts in zip(shapes, heads, kv_heads, limited)]
    return [replace(fact, features=_features(metadata, one, limit)) for fact, one, limit in zip(found, shapes, limited)]


def _features(metadata: Metadata, shapes: Shapes, limited: bool) -> frozenset[str]:
    """Words of a layer. Llama 4, but for the one of 128 experts, has norms without weights where it has rotary positions."""
    bare = metadata.family == "llama4" and limited and metadata.number("expert_count", default=0) != BARE_BUT_FOR
    return frozenset(of_gguf(shapes, _attends(shapes)) | ({"qk_norm"} if bare else set()))


def caution(metadata: Metadata, tensors: Sequence[TensorInfo]) -> str:
    """What the header says and nothing that is counted answers; empty = nothing."""
    names = {name for shapes in _by_layer(tensors, metadata.layers) for name in shapes}
    lacks = f"of which the file has no tensors: {COUNTED}"
    found = [_unlisted(metadata)]
    recurrent = metadata.number("full_attention_interval", default=0) > 1 or any(
        map(metadata.has, ("ssm.", "kda.", "wkv."))
    )
    if recurrent and not any(name.startswith(tuple(STATES)) for name in names):
        found.append(f"the header names recurrent layers, {lacks}")
    if metadata.has("attention.indexer.") and "indexer.attn_k" not in names:
        found.append(f"the header names an indexer, {lacks}")
    return "; ".join(text for text in found if text)


def _unlisted(metadata: Metadata) -> str:
    """A window of which no one says which layers have it."""
    window = metadata.number("attention.sliding_window", default=0)
    if not window or metadata.said("attention.sliding_window_pattern") or metadata.family in EVERY:
        return ""
    if (context := metadata.number("context_length", default=0)) and context <= window:
        return ""
    return (
        f"{metadata.family}.attention.sliding_window ({window:,}) in the file does not say which layers have that window, and llama.cpp "
        f"has no pattern for them: {COUNTED}"
    )


def windowed(metadata: Metadata, count: int) -> list[bool]:
    """Which layers see only a window or a chunk."""
    said = metadata.said("attention.sliding_window_pattern")
    if isinstance(said, list) and len(said) >= count and all(one in (0, 1) for one in said):
        return [bool(one) for one in said[:count]]
    if not (said is None or (type(said) is int and 0 <= said <= count)):
        raise metadata.wrong(
            "attention.sliding_window_pattern", f"it must be a number of layers, or true or false for each of {count}"
        )
    every = said if type(said) is int and said > 1 else EVERY.get(metadata.family, 0)
    if not every or not _window(metadata):
        return [False] * count
    full = 0 if metadata.family in FULL_FIRST else every - 1
    return [i % every != full for i in range(count)]


def _window(metadata: Metadata) -> int:
    return metadata.number("attention.sliding_window", default=CHUNK_OF_LLAMA4 if metadata.family == "llama4" else 0)


def _kept(metadata: Metadata, shapes: Shapes, heads: int, kv_heads: int, limited: bool) -> Kept:
    state = _state(metadata, shapes)
    if not _attends(shapes):
        return Kept((), state)
    if not heads or not kv_heads:
        raise metadata.wrong(
            f"attention.head_count{'_kv' * bool(heads)}",
            "0 in a layer that has tensors of attention: the two must agree",
        )
    window, rank = _window(metadata) * limited, rank_of(metadata, shapes)
    if rank:
        return Kept(tuple(_latent(metadata, shapes, heads, kv_heads, rank)), state)
    end = OWN_WIDTHS if limited else ""
    even = metadata.number("embedding_length") // max(heads, 1)
    key, value = (_width(metadata, name, end, even) for name in ("key", "value"))
    agree(metadata, shapes, {"attn_k": kv_heads * key, "attn_v": kv_heads * value, "attn_output": heads * value})
    elements, flops = kv_heads * (key + value), 2 * heads * (key + value)
    one = cache(elements, flops, window, 0, bool(window) and metadata.family == "llama4", heads, kv_heads)
    return Kept((one,), state)


def _attends(shapes: Shapes) -> bool:
    """A recurrent layer may have tensors that are called attn_qkv or attn_q; with attention beside its state it has an output too."""
    if any(name.startswith(tuple(STATES)) for name in shapes):
        return "attn_output" in shapes and "ssm_conv1d_q" not in shapes
    return any(name in shapes for name in ATTENDS)


def _width(metadata: Metadata, name: str, end: str, even: int) -> int:
    """Width of a head; the layers with a window may have one of their own."""
    whole = metadata.number(f"attention.{name}_length", default=even)
    return metadata.number(f"attention.{name}_length{end}", default=whole)


def _latent(metadata: Metadata, shapes: Shapes, heads: int, kv_heads: int, rank: int) -> list[dict[str, object]]:
    """A compressed row; in a file made before latent caches, keys and values of every head."""
    rope = metadata.number("rope.dimension_count")
    if kv_heads > 1 and not metadata.said("attention.key_length_mla"):
        widths = metadata.number("attention.key_length") + metadata.number("attention.value_length")
        return [cache(heads * widths, 2 * heads * widths, heads=heads, kv_heads=heads)]
    agree_latent(metadata, shapes, heads)
    keys = shapes.get("indexer.attn_k")
    read = metadata.number("attention.indexer.top_k") if keys else 0
    row = cache(rank + rope, latent_flops(heads, rank, rope), 0, read, heads=heads)
    if not keys:
        return [row]
    return [row, cache(keys[1], 2 * metadata.number("attention.indexer.head_count") * keys[1])]


def _state(metadata: Metadata, shapes: Shapes) -> int:
    """Elements of a recurrent state with its convolution; 0 = none."""
    convolved = [
        dims for name, dims in shapes.items() if name.startswith(("ssm_conv1d", "shortconv.conv")) and len(dims) > 1
    ]
    rows = sum((dims[0] - 1) * math.prod(dims[1:]) for dims in convolved)
    decay = shapes.get("ssm_a")
    if not decay:
        return rows
    if len(decay) == 2 and min(decay) > 1:  # Mamba: one for each channel and state
        return rows + math.prod(decay)
    if "ssm_conv1d_q" in shapes:  # Kimi's delta attention: a matrix for each head
        inner, width = math.prod(shapes["ssm_conv1d_q"][1:]), metadata.number("kda.head_dim")
        agree_kda(metadata, math.prod(decay), width, inner)
        return rows + inner * width
    inner = shapes["ssm_out"][0] if "ssm_out" in shapes else metadata.number("ssm.inner_size")
    states = metadata.number("ssm.state_size", default=_states(shapes, inner))
    agree_states(metadata, math.prod(shapes.get("ssm_conv1d", (0, inner))[1:]) - inner, states)
    return rows + inner * states


def _states(shapes: Shapes, inner: int) -> int:
    """Mamba-2 of a header that does not say it: channels beyond the inner ones are two rows of states for each group of its norm."""
    groups = shapes.get("ssm_norm", (inner, 1))
    return (math.prod(shapes["ssm_conv1d"][1:]) - inner) // 2 // (groups[1] if len(groups) > 1 else 1)


def _by_layer(tensors: Sequence[TensorInfo], count: int) -> list[dict[str, tuple[int, ...]]]:
    found: list[dict[str, tuple[int, ...]]] = [{} for _ in range(count)]
    for info in tensors:
        head, _, rest = info.name.partition(".")
        number, _, name = rest.partition(".")
        if head == "blk" and number.isdigit() and int(number) < count:
            found[int(number)][name.removesuffix(".weight")] = info.dims
    return found
