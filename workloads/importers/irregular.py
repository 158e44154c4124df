"""Families that are no plain decoder: blocks of one kind each, wide and narrow heads by turns, an encoder, experts in two banks."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers import blocks, compressed, kinds
from simmoe.workloads.importers.blocks import Shapes, dense, experts, linear, named, outside
from simmoe.workloads.importers.config import Config
from simmoe.workloads.importers.places import Named

DELTA = {
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "full_attention_interval": 4,
}  # fmt: skip
GEMMA = {"tie_word_embeddings": True, "global_head_dim": 512, "sliding_window": 512}
EXPERTS_OF_A_GROUP = 2  # of GroveMoE
DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma4": GEMMA,
    "deepseek_v4": {"sliding_window": 128},
    "switch_transformers": {"tie_word_embeddings": True},
}


def granite_mamba(c: Config) -> Shapes:
    """The Mamba-2 block of Granite 4."""
    heads, inner = c.number("mamba_n_heads"), c.number("mamba_expand", default=2) * c.width
    dim = inner // heads if c.fields.get("mamba_d_head") == "auto" else c.number("mamba_d_head")
    states, groups, kernel = (c.number(key) for key in ("mamba_d_state", "mamba_n_groups", "mamba_d_conv"))
    bias = c.flag("mamba_conv_bias", True), c.flag("mamba_proj_bias")
    return blocks.mamba2(c, "mamba", (heads, dim, states, groups, kernel), bias)


def nemotron(c: Config) -> list[Named]:
    """Nemotron-H: each block is attention, Mamba-2, a feed-forward network or experts, with one norm before it."""
    d, bias = c.width, c.flag("attention_bias")
    block = {
        kinds.LINEAR: lambda: _nemotron_mamba(c),
        kinds.FULL: lambda: blocks.grouped(c, qkv_bias=bias, output_bias=bias),
        "mlp": lambda: dense("mixer", d, c.number("intermediate_size"), 2, c.flag("mlp_bias")),
        "moe": lambda: _nemotron_experts(c),
    }
    layers: list[Shapes] = [{**block[word](), "norm.weight": (d,)} for word in kinds.known(c, c.layers, *block)]
    return named(layers, outside(c, d))


def _nemotron_mamba(c: Config) -> Shapes:
    sizes = [
        c.number(key) for key in ("mamba_num_heads", "mamba_head_dim", "ssm_state_size", "n_groups", "conv_kernel")
    ]
    return blocks.mamba2(c, "mixer", sizes, (c.flag("use_conv_bias", True), c.flag("use_bias")))


def _nemotron_experts(c: Config) -> Shapes:
    d, number, low = c.width, c.number("n_routed_experts"), c.number("moe_latent_size", default=0)
    shared = c.number("moe_shared_expert_intermediate_size") * c.number("n_shared_experts", default=1)
    latent = {**linear("mixer.fc1_latent_proj", low, d), **linear("mixer.fc2_latent_proj", d, low)} if low else {}
    return {
        **experts("mixer.experts", number, low or d, c.number("moe_intermediate_size"), 2),
        **linear("mixer.gate", number, d),
        "mixer.gate.e_score_correction_bias": (number,),
        **dense("mixer.shared_experts", d, shared, 2),
        **latent,
    }


def gemma(c: Config) -> list[Named]:
    """Gemma-4: where a layer sees everything its heads are wider and fewer, and values are keys; a dense FFN beside the experts."""
    d, layers = c.width, []
    number, per_layer = c.number("num_experts"), c.number("hidden_size_per_layer_input", default=0)
    for i, word in enumerate(kinds.known(c, c.layers, kinds.FULL, kinds.SLIDING)):
        layers.append(
            {
                **_gemma_attention(c, word == kinds.FULL, i),
                **dense("mlp", d, c.number("intermediate_size")),
                **experts("experts", number, d, c.number("moe_intermediate_size")),
                **linear("router.proj", number, d),
                "router.scale": (d + number,),
                "post_feedforward_layernorm.weight": (d,),
                "norms.weight": ((6 + bool(per_layer)) * d,),
                **(_gemma_inputs(d, per_layer) if per_layer else {}),
            }
        )
    return named(layers, {**outside(c, d), **(_gemma_tables(c, per_layer) if per_layer else {})})


def _gemma_attention(c: Config, full: bool, i: int) -> Shapes:
    """transformers 5 writes the widths of single layers as per_layer_config; the published files have two fields for all of them."""
    same = c.flag("attention_k_eq_v") and full
    written = Config(c.mapping("per_layer_config"), f"{c.where}: per_layer_config")
    for name in written.fields:
        if not name.isdecimal() or int(name) >= c.layers:
            raise UserError(
                f"{written.where} names {reprlib.repr(name)}; its keys are the numbers of layers, 0 to {c.layers - 1}"
            )
    own = Config({**c.fields, **written.mapping(f"{i:02}"), **written.mapping(str(i))}, c.where)
    heads, dim = (
        c.number("num_attention_heads"),
        c.number("global_head_dim") if full and not written.fields else own.number("head_dim"),
    )
    kv_heads = own.number(*["num_global_key_value_heads"] * same, "num_key_value_heads")
    key = dim * kv_heads
    value = {} if same else linear("self_attn.v_proj", key, c.width)
    return {
        **linear("self_attn.q_proj", heads * dim, c.width),
        **linear("self_attn.k_proj", key, c.width),
        **value,
        **linear("self_attn.o_proj", c.width, heads * dim),
        "self_attn.qk_norm.weight": (2 * dim,),
    }


def _gemma_inputs(d: int, per_layer: int) -> Shapes:
    return {**linear("per_layer_input_gate", per_layer, d), **linear("per_layer_projection", d, per_layer)}


def _gemma_tables(c: Config, per_layer: int) -> Shapes:
    rows = c.number("vocab_size_per_layer_input", "vocab_size")
    return {
        "model.embed_tokens_per_layer.weight": (rows, c.layers * per_layer),
        "model.per_layer_model_projection.weight": (c.layers * per_layer, c.width),
    }


def switch(c: Config) -> list[Named]:
    """Switch Transformers: an encoder and a decoder of T5."""
    layers = c.number("num_layers")
    encoder, decoder = (
        _t5(c, "encoder", layers, 1),
        _t5(c, "decoder", c.number("num_decoder_layers", default=layers), 2),
    )
    table = Named("shared.weight", (c.number("vocab_size"), c.width))
    return [*encoder, *decoder, table, Named("norms.weight", (2 * c.width,))]


def _t5(c: Config, stack: str, layers: int, attentions: int) -> list[Named]:
    """One stack: every so many layers with experts, beginning with the second. Its first layer has the biases by distance of all."""
    sparse, found = c.number(f"num_sparse_{stack}_layers"), []
    if sparse > layers:
        raise UserError(
            f"{c.where}: num_sparse_{stack}_layers is {sparse}, but the {stack} has {layers} layers; lower it"
        )
    step = layers // sparse if sparse else layers
    buckets = c.number("relative_attention_num_buckets", default=32), c.number("num_heads")
    for i in range(layers):
        shapes = {
            **_t5_attention(c, attentions),
            **_switch_ffn(c, c.width, c.number("d_ff"), step == 1 or i % step == 1),
        }
        shapes |= {} if i else {"relative_attention_bias.weight": buckets}
        found += [Named(f"{stack}.block.{i}.{name}", shape) for name, shape in shapes.items()]
    return found


def _t5_attention(c: Config, attentions: int) -> Shapes:
    """Of its own positions, and in a decoder of those of the encoder."""
    d, heads = c.width, c.number("num_heads") * c.number("d_kv")
    names = [f"layer.{i}.{name}" for i, name in enumerate(("SelfAttention", "EncDecAttention")[:attentions])]
    shapes: Shapes = {f"{name}.{m}.weight": (d, heads) if m == "o" else (heads, d) for name in names for m in "qkvo"}
    return {**shapes, "norms.weight": ((attentions + 1) * d,)}


def _switch_ffn(c: Config, d: int, inner: int, moe: bool) -> Shapes:
    if not moe:
        return {"mlp.wi.weight": (inner, d), "mlp.wo.weight": (d, inner)}
    number = c.number("num_experts")
    return {
        "mlp.experts.wi": (number, inner, d),
        "mlp.experts.wo": (number, d, inner),
        "mlp.router.classifier.weight": (number, d),
    }


def grove(c: Config) -> list[Named]:
    """GroveMoE: Qwen3-MoE, with one small expert more for each group of experts, counted half and half with the two of its group."""
    d, number, inner = c.width, c.number("num_experts"), c.number("moe_intermediate_size")
    small = (
        c.number("head_dim", default=128) // EXPERTS_OF_A_GROUP
    )  # no field says its width; llama.cpp's converter takes the head's
    layer = {
        **blocks.grouped(c, qkv_bias=c.flag("attention_bias"), output_bias=c.flag("attention_bias"), qk_norm="head"),
        **experts("mlp.experts", number, d, inner + small),
        **linear("mlp.gate", number, d),
        "norms.weight": (2 * d,),
    }
    kinds.known(c, c.layers, kinds.FULL)
    return named([layer] * c.layers, outside(c, d))


FAMILIES: dict[str, Callable[[Config], list[Named]]] = {
    "nemotron_h": nemotron,
    "gemma4": gemma,
    "switch_transformers": switch,
    "deepseek_v4": compressed.deepseek_v4,
    "grove_moe": grove,
}
