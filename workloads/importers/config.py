"""Reads the config.json of a Hugging Face model by field name; each family's model class says what the fields mean.

Families: Mixtral, OLMoE, Qwen2-MoE, Qwen3-MoE, DeepSeek-V2 and V3, gpt-oss (modeling_<family>.py in
https://github.com/huggingface/transformers). Layers for multi-token prediction are left out: they do not run in
plain decoding, and published totals leave them out too.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simmoe.simulator import reading
from simmoe.simulator.errors import UserError
from simmoe.workloads.importers import attention

Described = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Typed look-ups in a config.json; null counts as absent."""

    fields: Mapping[str, Any]
    where: str

    def number(self, *names: str, default: int | None = None) -> int:
        """The first of `names` that is there."""
        for name in names:
            value = self.fields.get(name)
            if value is not None:
                if type(value) is not int or value < 0:
                    raise UserError(f"{self.where}: {name} is {reprlib.repr(value)}; it must be a whole number")
                return value
        if default is None:
            raise UserError(f"{self.where}: {' or '.join(names)} is missing; is the file complete?")
        return default

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.fields.get(name)
        return default if value is None else bool(value)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or one line that says why the file is none."""
    content = reading.read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path.name} holds a {type(content).__name__}; a config.json or an index is an object {{...}}")
    return content


def import_config(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """A model file with an architecture."""
    family = content.get("model_type")
    data = {
        "schema": 1,
        "name": name_of(path.resolve().parent.name),
        "title": f"{family} model, imported from {path.name}",
        "sources": {"architecture": f"imported from {path.name}"},
        "architecture": architecture(content, path.name),
    }
    caution = attention.of_config(content)
    return {**data, "caution": caution} if caution else data


def name_of(text: str) -> str:
    """A model name out of a file or folder name."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-._") or "imported"


def architecture(content: Mapping[str, Any], where: str) -> Described:
    """The architecture block of a model file."""
    family = content.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise UserError(
            f"{where}: model_type {reprlib.repr(family)} is not a known Mixture-of-Experts family; known: "
            f"{', '.join(FAMILIES)}; others can be written by hand (docs/models.md)"
        )
    config = Config(content, where)
    found = FAMILIES[family](config)
    return {
        "layers": config.number("num_hidden_layers"),
        "d_model": config.number("hidden_size"),
        "vocab": config.number("vocab_size"),
        "tied_embeddings": config.flag("tie_word_embeddings"),
        **found,
        "attention": {**found["attention"], **attention.config_windows(content)},
    }


def _heads(config: Config, **more: Any) -> Described:
    heads = config.number("num_attention_heads")
    kv_heads = config.number("num_key_value_heads", default=heads)
    shared = {"kind": "mha"} if kv_heads == heads else {"kind": "gqa", "kv_heads": kv_heads}
    head_dim = config.number("head_dim", default=config.number("hidden_size") // max(heads, 1))
    return {**shared, "heads": heads, "head_dim": head_dim, **more}


def _experts(config: Config, d_ff: str, **more: Any) -> Described:
    return {
        "matrices": 3,
        "n_experts": config.number("num_local_experts", "num_experts", "n_routed_experts"),
        "top_k": config.number("num_experts_per_tok"),
        "expert_d_ff": config.number(d_ff),
        **more,
    }


def _mixtral(config: Config) -> Described:
    return {"moe_layers": "all", "attention": _heads(config), "ffn": _experts(config, "intermediate_size")}


def _olmoe(config: Config) -> Described:
    bias = config.flag("attention_bias")
    attention = _heads(config, qkv_bias=bias, output_bias=bias, qk_norm="full")
    return {"moe_layers": "all", "attention": attention, "ffn": _experts(config, "intermediate_size")}


def _gpt_oss(config: Config) -> Described:
    bias = config.flag("attention_bias", default=True)
    attention = _heads(config, qkv_bias=bias, output_bias=bias, sinks=True)
    ffn = _experts(config, "intermediate_size", bias=True, router_bias=True)
    return {"moe_layers": "all", "attention": attention, "ffn": ffn}


def _listed(moe: list[int], config: Config) -> list[int] | str:
    return "all" if len(moe) == _layers(config) else moe


def _sparse_layers(config: Config) -> list[int] | str:
    """Qwen: every decoder_sparse_step-th layer is MoE, save those listed in mlp_only_layers."""
    step = max(config.number("decoder_sparse_step", default=1), 1)
    dense = config.fields.get("mlp_only_layers") or []
    if not isinstance(dense, list):
        raise UserError(f"{config.where}: mlp_only_layers is {reprlib.repr(dense)}; it must be a list")
    return _listed([i for i in range(_layers(config)) if i not in dense and (i + 1) % step == 0], config)


def _layers(config: Config) -> int:
    """Number of layers; bounded before any list is made of it."""
    layers = config.number("num_hidden_layers")
    if layers > 32_767:
        raise UserError(f"{config.where}: num_hidden_layers is {layers}; at most 32767")
    return layers


def _qwen2_moe(config: Config) -> Described:
    shared = config.number("shared_expert_intermediate_size", default=0)
    ffn = _experts(
        config,
        "moe_intermediate_size",
        dense_d_ff=config.number("intermediate_size"),
        shared_d_ff=shared,
        shared_gate=shared > 0,
    )
    attention = _heads(config, qkv_bias=config.flag("qkv_bias", default=True))
    return {"moe_layers": _sparse_layers(config), "attention": attention, "ffn": ffn}


def _qwen3_moe(config: Config) -> Described:
    bias = config.flag("attention_bias")
    attention = _heads(config, qkv_bias=bias, output_bias=bias, qk_norm="head")
    ffn = _experts(config, "moe_intermediate_size", dense_d_ff=config.number("intermediate_size"))
    return {"moe_layers": _sparse_layers(config), "attention": attention, "ffn": ffn}


def _deepseek(config: Config) -> Described:
    first, every = config.number("first_k_dense_replace"), max(config.number("moe_layer_freq", default=1), 1)
    d_ff = config.number("moe_intermediate_size")
    ffn = _experts(
        config,
        "moe_intermediate_size",
        dense_d_ff=config.number("intermediate_size"),
        shared_d_ff=d_ff * config.number("n_shared_experts", default=0),
        router_bias=config.fields.get("model_type") == "deepseek_v3",
    )
    attention = {
        "kind": "mla",
        "heads": config.number("num_attention_heads"),
        "kv_lora_rank": config.number("kv_lora_rank"),
        "q_lora_rank": config.number("q_lora_rank", default=0),
        "qk_nope": config.number("qk_nope_head_dim"),
        "qk_rope": config.number("qk_rope_head_dim"),
        "v_head_dim": config.number("v_head_dim"),
    }
    moe = _listed([i for i in range(first, _layers(config)) if i % every == 0], config)
    return {"moe_layers": moe, "attention": attention, "ffn": ffn}


FAMILIES = {
    "mixtral": _mixtral,
    "olmoe": _olmoe,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "gpt_oss": _gpt_oss,
}
