"""What a model's own files say of attention that a shape does not hold yet: windows, layers without a growing cache, other caches.

A shape counts KV and attention as full attention in every layer. Each function gives the sentence that every result of the model then
shows, with the factor by which that is wrong at the longest context of the model; an empty text where full attention is what the files say.

Keys: configuration_<family>.py of https://github.com/huggingface/transformers, and gguf-py/gguf/constants.py of
https://github.com/ggml-org/llama.cpp. Its src/llama-model.cpp has the patterns that some headers leave out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COUNTED = "KV cache and attention are counted as full attention in every layer"
WITHOUT_PATTERN = {
    "gpt-oss": 2,
    "llama4": 4,
    "gpt_oss": 2,
}  # every so many layers one is full, where a file does not say which
LIMITED = ("sliding_attention", "chunked_attention")  # of layer_types
CHUNK_OF_LLAMA4 = 8192  # its header does not say it
WINDOWS = ("sliding_window", "attention_chunk_size", "sliding_window_size")
NO_CACHE = ("linear_num_key_heads", "linear_key_head_dim", "mamba_d_state", "ssm_state_size", "linear_attn_config")
INDEXER = ("index_topk", "index_n_heads", "indexer_types")


def of_config(fields: Mapping[str, Any]) -> str:
    """Of a config.json."""
    layers, context = _whole(fields.get("num_hidden_layers")), _whole(fields.get("max_position_embeddings"))
    kinds = fields.get("layer_types")
    kinds = kinds if isinstance(kinds, list) and len(kinds) == layers else []
    named = next((key for key in WINDOWS if _whole(fields.get(key))), None)
    used = fields.get("use_sliding_window", not str(fields.get("model_type")).startswith("qwen"))
    if named and used and not (kinds and all(kind == "full_attention" for kind in kinds)):
        window = _whole(fields[named])
        limited = [kind in LIMITED for kind in kinds] or _by_rule(fields, layers)
        return windows(f"{named} ({window:,})", limited, [1] * layers, [1] * layers, window, context)
    interval = _whole(fields.get("full_attention_interval"))
    if interval > 1:
        return without_cache(f"full_attention_interval ({interval})", [bool((i + 1) % interval) for i in range(layers)])
    if any(kind not in ("full_attention", *LIMITED) for kind in kinds):
        return without_cache("layer_types", [kind != "full_attention" for kind in kinds])
    if key := next((key for key in NO_CACHE if fields.get(key)), None):
        return unknown(f"{key} in the file names layers without a growing cache")
    if key := next((key for key in INDEXER if fields.get(key)), None):
        return unknown(
            f"{key} in the file names an indexer: attention reads only what it picks, and the indexer has a cache of its own"
        )
    return ""


def _by_rule(fields: Mapping[str, Any], layers: int) -> list[bool]:
    """Which layers are limited, where the file lists no types; empty = it does not say."""
    every = _whole(fields.get("sliding_window_pattern")) or WITHOUT_PATTERN.get(str(fields.get("model_type")), 0)
    if every:
        return [bool((i + 1) % every) for i in range(layers)]
    if "max_window_layers" in fields:  # Qwen: the layers from there on
        return [i >= _whole(fields["max_window_layers"]) for i in range(layers)]
    return [True] * layers if fields.get("model_type") == "mixtral" else []


def of_gguf(fields: Mapping[str, Any], layers: int, heads: Sequence[int], kv: Sequence[int]) -> str:
    """Of the metadata of a GGUF file; kv: elements for each position that the shape counts in each layer."""
    family = str(fields.get("general.architecture", ""))
    said = {key.removeprefix(f"{family}."): value for key, value in fields.items()}
    context = _whole(said.get("context_length"))
    window = _whole(said.get("attention.sliding_window")) or CHUNK_OF_LLAMA4 * (family == "llama4")
    if window:
        named = (
            f"{family}.attention.sliding_window ({window:,})"
            if "attention.sliding_window" in said
            else f"{family} (chunks of {window:,})"
        )
        limited = _pattern(said.get("attention.sliding_window_pattern"), family, layers)
        true = [_swa(said, n) if short else n for n, short in zip(kv, limited)] if limited else list(kv)
        return windows(named, limited, kv, true, window, context)
    interval = _whole(said.get("full_attention_interval"))
    if interval > 1 and all(kv):
        return without_cache(
            f"{family}.full_attention_interval ({interval})", [bool((i + 1) % interval) for i in range(layers)]
        )
    if any(key.startswith(("ssm.", "kda.", "wkv.")) for key in said) and all(kv):
        return unknown("the header names recurrent layers, which have a state in place of a growing cache")
    if any(key.startswith("attention.indexer.") for key in said):
        return unknown(
            "the header names an indexer: attention reads only what it picks, and the indexer has a cache of its own"
        )
    if (
        said.get("attention.kv_lora_rank")
        and not said.get("attention.key_length_mla")
        and said.get("attention.key_length")
    ):
        return _old_latent(said, heads, kv)
    return ""


def _pattern(said: object, family: str, layers: int) -> list[bool]:
    """Which layers have a window; empty = the header does not say."""
    if isinstance(said, list) and len(said) >= layers:
        return [bool(one) for one in said[:layers]]
    every = _whole(said) or WITHOUT_PATTERN.get(family, 0)
    return [bool((i + 1) % every) for i in range(layers)] if every else []


def _swa(said: Mapping[str, Any], counted: int) -> int:
    """Elements for each position of a layer with a window, whose heads may have widths of their own."""
    full, short = (
        _whole(said.get(f"attention.key_length{end}")) + _whole(said.get(f"attention.value_length{end}"))
        for end in ("", "_swa")
    )
    return counted * short // full if short and full else counted


def _old_latent(said: Mapping[str, Any], heads: Sequence[int], kv: Sequence[int]) -> str:
    """A file made before latent caches: llama.cpp keeps keys and values of every head for it."""
    true = heads[0] * (_whole(said.get("attention.key_length")) + _whole(said.get("attention.value_length")))
    if true <= kv[0]:
        return ""
    return (
        "KV cache is counted as latent, but the header has no attention.key_length_mla: for such a file llama.cpp caches the keys and "
        f"values of every head, and the cache counted here is too small by {true / kv[0]:.1f} times. Convert the model again"
    )


def windows(
    named: str, limited: Sequence[bool], counted: Sequence[int], true: Sequence[int], window: int, context: int
) -> str:
    """Layers that attend to so many positions at most."""
    if not limited:
        return f"{COUNTED}, but {named} in the file says that not all are; it does not say which: too much for longer contexts"
    if not any(limited) or (context and context <= window):
        return ""
    which = f"{COUNTED}, but {named} in the file limits {sum(limited)} of {len(limited)} layers"
    if not context:
        return f"{which}: too much for longer contexts"
    factor = (
        sum(counted)
        * context
        / sum(n * (min(window, context) if short else context) for n, short in zip(true, limited))
    )
    return f"{which}: too much by up to {factor:.1f} times (at {context:,} positions)"


def without_cache(named: str, limited: Sequence[bool]) -> str:
    """Layers with a state of fixed size in place of a cache."""
    full = len(limited) - sum(limited)
    times = f"too much by up to {len(limited) / full:.1f} times" if full else "all of the cache is too much"
    return f"{COUNTED}, but {named} in the file gives {sum(limited)} of {len(limited)} layers a state in place of a growing cache: {times}"


def unknown(reason: str) -> str:
    return f"{COUNTED}, but {reason}: what is counted is not what an engine keeps"


def _whole(value: object) -> int:
    """A whole number above 0, else 0."""
    return value if type(value) is int and value > 0 else 0
