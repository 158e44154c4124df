"""Which attention each layer of a config.json has, by the words of its family.

transformers 5 writes one word per layer, layer_types. Older files say it in a rule of their own; those rules stand here, as the
configuration_<family>.py of https://github.com/huggingface/transformers has them.
"""

from __future__ import annotations

import reprlib

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.caches import Limit
from simmoe.workloads.importers.config import Config

FULL, SLIDING, CHUNKED, LINEAR = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"
INDEXED = "indexed_attention"
SAME = {  # older words for the same
    "attention": FULL, "full": FULL, "global": FULL, "*": FULL, "hybrid": FULL, "sliding_window": SLIDING, "sliding": SLIDING,
    "local": SLIDING, "hybrid_sliding": SLIDING, "mamba": LINEAR, "mamba2": LINEAR, "M": LINEAR, "recurrent": LINEAR, "conv": LINEAR,
    "E": "moe", "-": "mlp",
}  # fmt: skip
LISTS = ("layer_types", "layers_block_type", "hybrid_override_pattern", "layer_type_list")
OLDER = ("attn_type_list", "attn_layer_period", "full_attention_interval")  # of models with recurrent layers
RATIOS = {0: SLIDING, 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
EVERY = {
    "gpt_oss": (SLIDING, 2),
    "gemma4": (SLIDING, 6),
    "gemma4_text": (SLIDING, 6),
    "llama4": (CHUNKED, 4),
    "llama4_text": (CHUNKED, 4),
}


def kinds(config: Config, layers: int) -> list[str]:
    """One word per layer."""
    for key in LISTS:
        said = config.fields.get(key)
        if said is not None and said != []:
            return _listed(said, layers, f"{config.where}: {key}")
    return _by_rule(config, layers)


def _listed(said: object, layers: int, where: str) -> list[str]:
    words = list(said) if isinstance(said, (list, str)) else []
    if len(words) < layers or not all(isinstance(word, str) for word in words):
        raise UserError(f"{where} is {reprlib.repr(said)}; it must be one word for each of {layers} layers")
    return [SAME.get(word, word) for word in words[:layers]]


def _by_rule(config: Config, layers: int) -> list[str]:
    family = str(config.fields.get("model_type"))
    if ropeless := config.listed(
        "no_rope_layers", layers, 1
    ):  # Llama-4: 0 = no rotary positions; such a layer sees everything
        return [CHUNKED if one else FULL for one in ropeless[:layers]]
    if family == "deepseek_v4":
        return _compressed(config, layers)
    if said := config.listed("attn_type_list", layers, 1):  # MiniMax: 1 = softmax attention
        return [FULL if one else LINEAR for one in said[:layers]]
    linear = Config(config.mapping("linear_attn_config"), f"{config.where}: linear_attn_config")
    if full := linear.listed("full_attn_layers", 0, layers):  # Kimi counts from 1
        return [FULL if i + 1 in full else LINEAR for i in range(layers)]
    if period := config.number("attn_layer_period", default=0):  # Jamba
        offset = config.offset("attn_layer_offset", period)
        return [FULL if i % period == offset else LINEAR for i in range(layers)]
    interval = config.number(
        "full_attention_interval", default=4 if family.startswith(("qwen3_next", "qwen3_5_moe")) else 0
    )
    if interval:
        return [LINEAR if (i + 1) % interval else FULL for i in range(layers)]
    return _by_window(config, family, layers)


def _compressed(config: Config, layers: int) -> list[str]:
    """DeepSeek-V4: how many positions become one, by layer; without it heavily compressed layers, every second one sparse after three."""
    if said := config.listed("compress_ratios", layers, max(RATIOS)):
        return [RATIOS.get(ratio, str(ratio)) for ratio in said[:layers]]
    return [RATIOS[4] if i > 2 and i % 2 else RATIOS[128] for i in range(layers)]


def _by_window(config: Config, family: str, layers: int) -> list[str]:
    word, every = EVERY.get(family, (SLIDING, 0))
    every = config.number("sliding_window_pattern", "no_rope_layer_interval", default=every)
    if every > 1:
        last = [FULL] if family.startswith("gemma4") else []  # its last layer always sees everything
        return ([word if (i + 1) % every else FULL for i in range(layers)])[: layers - len(last)] + last
    if config.number("index_topk", default=0):
        return [INDEXED] * layers
    if not config.number("sliding_window", default=0):
        return [FULL] * layers
    if family.startswith("qwen") or family == "dots1":
        first = (
            config.number("max_window_layers", default=0)
            if config.flag("use_sliding_window", family == "dots1")
            else layers
        )
        return [SLIDING if i >= first else FULL for i in range(layers)]
    return [SLIDING] * layers


def unknown(words: list[str]) -> list[str]:
    """Words that no rule here knows; such layers count as full attention where they have keys and values."""
    return sorted({*words} - {*SAME.values(), *RATIOS.values(), CHUNKED, INDEXED, "sparse", "dense"})


def known(config: Config, layers: int, *can: str) -> list[str]:
    """One word per layer, of those that blocks of a family `can` be. Another word is refused: its matrices are not known."""
    words = kinds(config, layers)
    if LINEAR in can and not any(config.fields.get(key) for key in (*LISTS, *OLDER)):
        raise UserError(
            f"{config.where}: it does not say which layers are recurrent; layer_types is missing: is the file complete?"
        )
    for word in words:
        if word not in can:
            raise UserError(
                f"{config.where}: it names layers of {reprlib.repr(word)}, of which this family has no block here; known: "
                f"{', '.join(can)}; docs/extending/model.md says where to add one"
            )
    return words


def limits(config: Config, words: list[str]) -> list[Limit]:
    """How far each layer sees."""
    window = config.number("sliding_window", "sliding_window_size", default=0)
    chunk = config.number("attention_chunk_size", default=0)
    each = {SLIDING: Limit(SLIDING, window), CHUNKED: Limit(CHUNKED, chunk, True) if chunk else Limit(CHUNKED)}
    if SLIDING in words and not window:
        raise UserError(
            f"{config.where}: it names layers of {SLIDING}, but sliding_window is 0 or missing; is the file complete?"
        )
    return [each.get(word, Limit(word)) for word in words]
