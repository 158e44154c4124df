"""What a model's own files say of attention by layer: windows and chunks, which a shape holds, and what no importer reads yet.

For layers without a growing cache, indexers and windows in layers that a file does not name, a function gives the sentence that every
result of the model then shows, with the factor by which the KV cache is wrong where it is known; an empty text where there is nothing
to say.

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


def config_windows(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Which layers of a config.json have a window or chunks, in the words of an architecture; empty where none has or it does not say."""
    named, limited = _windows(fields)
    if not any(limited):
        return {}
    kind = "chunk" if named == "attention_chunk_size" else "window"
    kinds = [kind if short else "full" for short in limited]
    period = next(n for n in range(1, len(kinds) + 1) if all(one == kinds[i % n] for i, one in enumerate(kinds)))
    return {kind: fields[named], "layers": kinds[:period]}


def _windows(fields: Mapping[str, Any]) -> tuple[str, list[bool]]:
    """The key with the positions of a window or chunk, empty = none; and which layers have it, empty = the file does not say."""
    named = next((key for key in WINDOWS if _whole(fields.get(key))), "")
    used = fields.get("use_sliding_window", not str(fields.get("model_type")).startswith("qwen"))
    if not named or not used:
        return "", []
    return named, [kind in LIMITED for kind in _kinds(fields)] or _by_rule(fields, _layers(fields))


def _kinds(fields: Mapping[str, Any]) -> list[Any]:
    kinds = fields.get("layer_types")
    return kinds if isinstance(kinds, list) and len(kinds) == _layers(fields) else []


def _layers(fields: Mapping[str, Any]) -> int:
    return _whole(fields.get("num_hidden_layers"))


def of_config(fields: Mapping[str, Any]) -> str:
    """Of a config.json, beside `config_windows`."""
    layers, kinds = _layers(fields), _kinds(fields)
    named, limited = _windows(fields)
    if named and not limited:
        return unlisted(f"{named} ({fields[named]:,})")
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


def gguf_window(fields: Mapping[str, Any], layers: int) -> tuple[int, bool, list[bool]]:
    """Of the metadata of a GGUF file: positions of a window or (True) of a chunk, and which layers have it. An empty list: the file does
    not say which; 0 positions: no window."""
    family, said = _under_family(fields)
    if family == "llama4":
        return CHUNK_OF_LLAMA4, True, _pattern(None, family, layers)
    window = _whole(said.get("attention.sliding_window"))
    return window, False, _pattern(said.get("attention.sliding_window_pattern"), family, layers) if window else []


def of_gguf(fields: Mapping[str, Any], layers: int, cached: bool) -> str:
    """Of the metadata of a GGUF file. cached: the shape counts a growing cache in every layer."""
    family, said = _under_family(fields)
    window, _, limited = gguf_window(fields, layers)
    if window and not limited:
        return unlisted(f"{family}.attention.sliding_window ({window:,})")
    interval = _whole(said.get("full_attention_interval"))
    if interval > 1 and cached:
        return without_cache(
            f"{family}.full_attention_interval ({interval})", [bool((i + 1) % interval) for i in range(layers)]
        )
    if any(key.startswith(("ssm.", "kda.", "wkv.")) for key in said) and cached:
        return unknown("the header names recurrent layers, which have a state in place of a growing cache")
    if any(key.startswith("attention.indexer.") for key in said):
        return unknown(
            "the header names an indexer: attention reads only what it picks, and the indexer has a cache of its own"
        )
    return ""


def _under_family(fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The model's family, and what stands under its name."""
    family = str(fields.get("general.architecture", ""))
    return family, {key.removeprefix(f"{family}."): value for key, value in fields.items()}


def _pattern(said: object, family: str, layers: int) -> list[bool]:
    """Which layers have a window; empty = the header does not say."""
    if isinstance(said, list) and len(said) >= layers:
        return [bool(one) for one in said[:layers]]
    every = _whole(said) or WITHOUT_PATTERN.get(family, 0)
    return [bool((i + 1) % every) for i in range(layers)] if every else []


def unlisted(named: str) -> str:
    """Windows of which a file does not say which layers have them."""
    return (
        f"{COUNTED}, but {named} in the file says that not all are; it does not say which: too much for longer contexts"
    )


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
