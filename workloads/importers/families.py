"""Families of config.json that are imported without transformers: how each differs from a plain decoder, a row for each.

A row says which blocks its layers have and the defaults that its files leave out; blocks.py holds the blocks, irregular.py the families
that are built otherwise. docs/extending/model.md says how to add one; a test compares each with the class of transformers.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers import blocks, irregular, kinds
from simmoe.workloads.importers.blocks import Shapes
from simmoe.workloads.importers.config import Config
from simmoe.workloads.importers.places import Named


@dataclass(frozen=True)
class Family:
    """A decoder of one kind of attention, or of two by turns, with one kind of experts."""

    qkv_bias: str = "attention_bias"  # the field that gives these projections a bias
    output_bias: str = "attention_bias"
    qk_norm: str = ""  # head | full
    gated: bool = False
    sinks: bool = False
    recurrent: Callable[[Config], Shapes] | None = None  # the block of its layers without a growing cache
    expert_bias: bool = False
    router_bias: bool = False  # also the correction of scores that DeepSeek-V3 began with
    shared_gate: bool = False
    latent: bool = False  # multi-head latent attention, whatever the file says
    norms: int = 2  # vectors of the width for each layer
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of the class, for fields that files leave out


ATTENTION = (
    kinds.FULL,
    kinds.SLIDING,
    kinds.CHUNKED,
    kinds.INDEXED,
)  # kinds of attention, which have the same matrices
QWEN = {"decoder_sparse_step": 1}
FAMILIES: dict[str, Family] = {
    "mixtral": Family(),
    "olmoe": Family(qk_norm="full"),
    "qwen2_moe": Family("qkv_bias", "", shared_gate=True, defaults={**QWEN, "qkv_bias": True, "max_window_layers": 28}),
    "qwen3_moe": Family(qk_norm="head", defaults=QWEN),
    "qwen3_vl_moe": Family(qk_norm="head", defaults=QWEN),
    "qwen3_next": Family(
        qk_norm="head", gated=True, recurrent=blocks.delta, shared_gate=True, defaults=irregular.DELTA
    ),
    "qwen3_5_moe": Family(
        qk_norm="head", gated=True, recurrent=blocks.delta, shared_gate=True, defaults=irregular.DELTA
    ),
    "deepseek_v2": Family(latent=True),
    "deepseek_v3": Family(latent=True, router_bias=True),
    "deepseek_v32": Family(
        latent=True, router_bias=True, defaults={"index_topk": 2048, "index_n_heads": 64, "index_head_dim": 128}
    ),
    "glm4_moe_lite": Family(latent=True, router_bias=True),
    "glm_moe_dsa": Family(
        latent=True, router_bias=True, defaults={"index_topk": 2048, "index_n_heads": 32, "index_head_dim": 128}
    ),
    "glm4_moe": Family(output_bias="", router_bias=True),
    "glm4v_moe": Family(output_bias="", router_bias=True),
    "gpt_oss": Family(
        sinks=True, expert_bias=True, router_bias=True, defaults={"attention_bias": True, "sliding_window": 128}
    ),
    "minimax": Family(recurrent=blocks.lightning),
    "minimax_m2": Family(qk_norm="full", router_bias=True),
    "granitemoe": Family(),
    "granitemoehybrid": Family(recurrent=irregular.granite_mamba, defaults={"mamba_d_head": "auto"}),
    "phimoe": Family(norms=4, defaults={"attention_bias": True, "lm_head_bias": True}),
    "jamba": Family(recurrent=blocks.mamba),
    "ernie4_5_moe": Family("use_bias", "use_bias", router_bias=True, defaults={"tie_word_embeddings": True}),
    "hunyuan_v1_moe": Family(qk_norm="head", defaults={"num_shared_expert": 1}),
    "dots1": Family(qk_norm="head", router_bias=True),
    "llama4": Family(defaults={"attention_chunk_size": 8192, "use_qk_norm": True}),
}


def known() -> list[str]:
    return sorted({*FAMILIES, *irregular.FAMILIES})


def with_defaults(family: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a file, and what its class takes for those that it leaves out."""
    given = {key: value for key, value in fields.items() if value is not None}
    rule = FAMILIES.get(family)
    defaults: Mapping[str, Any] = rule.defaults if rule else irregular.DEFAULTS.get(family, {})
    return {**defaults, **given}


def tensors(family: str, c: Config) -> list[Named]:
    """All parameters of the model, as its class names them."""
    if family in irregular.FAMILIES:
        return irregular.FAMILIES[family](c)
    rule, d = FAMILIES[family], c.width
    words = kinds.known(c, c.layers, *ATTENTION, *([kinds.LINEAR] if rule.recurrent else []))
    layers = [
        {**_attention(rule, c, word), **_ffn(rule, c, i), "norms.weight": (rule.norms * d,)}
        for i, word in enumerate(words)
    ]
    outside = blocks.outside(c, 2 * d if rule.norms == 4 else d)
    if c.flag("lm_head_bias"):
        outside["lm_head.bias"] = (c.number("vocab_size"),)
    return blocks.named(layers, outside)


def _attention(rule: Family, c: Config, word: str) -> Shapes:
    if word == kinds.LINEAR and rule.recurrent:
        return rule.recurrent(c)
    if rule.latent or c.number("kv_lora_rank", default=0):
        return blocks.latent(c)
    qkv, output = (c.flag(name) if name else False for name in (rule.qkv_bias, rule.output_bias))
    norm = (
        "head"
        if c.flag("use_qk_norm") and not rule.qk_norm and "glm" in str(c.fields.get("model_type"))
        else rule.qk_norm
    )
    return blocks.grouped(c, qkv_bias=qkv, output_bias=output, qk_norm=norm, gated=rule.gated, sinks=rule.sinks)


def _ffn(rule: Family, c: Config, i: int) -> Shapes:
    d = c.width
    inner = c.number("moe_intermediate_size", "intermediate_size")
    if not _is_moe(c, i):
        return blocks.dense("mlp", d, c.number("intermediate_size_mlp", "intermediate_size"))
    number = c.number(*blocks.FIRST)
    bias: Shapes = {"mlp.gate.e_score_correction_bias": (number,)} if rule.router_bias else {}
    shared = _shared(c, inner)
    return {
        **blocks.experts("mlp.experts", number, d, inner, bias=rule.expert_bias),
        **blocks.linear("mlp.gate", number, d),
        **bias,
        **(blocks.dense("mlp.shared_experts", d, shared) if shared else {}),
        **(blocks.linear("mlp.shared_expert_gate", 1, d) if shared and rule.shared_gate else {}),
    }


def _shared(c: Config, inner: int) -> int:
    """Inner width of all shared experts together."""
    if str(c.fields.get("model_type")).startswith("llama4"):
        return inner
    each = c.number("n_shared_experts", "moe_num_shared_experts", "num_shared_expert", default=0)
    return c.number("shared_expert_intermediate_size", "shared_intermediate_size", default=each * inner)


def _is_moe(c: Config, i: int) -> bool:
    """Each family says in fields of its own which layers have experts; without any all have."""
    if words := _mlp_words(c):
        return words[i] != "dense"
    if (listed := c.listed("moe_layers", 0, c.layers - 1)) is not None:
        return i in listed
    if period := c.number("expert_layer_period", default=0):
        return i % period == c.offset("expert_layer_offset", period)
    if "moe_layer_start_index" in c.fields:
        first, last = c.number("moe_layer_start_index"), c.number("moe_layer_end_index", default=c.layers)
        return first <= i <= last and (i + 1) % c.number("moe_layer_interval", default=1) == 0
    if isinstance(c.fields.get("moe_layer_freq"), list) and (frequency := c.listed("moe_layer_freq", c.layers, 1)):
        return bool(frequency[i])
    step = c.number("decoder_sparse_step", "interleave_moe_layer_step", default=1)
    dense = c.listed("mlp_only_layers", 0, c.layers - 1) or []
    first, every = c.number("first_k_dense_replace", default=0), c.number("moe_layer_freq", default=1)
    return i >= first and i % every == 0 and (i + 1) % step == 0 and i not in dense


def _mlp_words(c: Config) -> list[str]:
    """dense or sparse for each layer; empty where the file does not say it."""
    words = c.fields.get("mlp_layer_types")
    if words is not None and (
        not isinstance(words, list) or len(words) < c.layers or {*map(str, words)} - {"dense", "sparse"}
    ):
        raise UserError(
            f"{c.where}: mlp_layer_types is {reprlib.repr(words)}; it must be dense or sparse for each of {c.layers} layers"
        )
    return words or []
