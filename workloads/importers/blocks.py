"""The matrices of a decoder layer by kind of block, named as transformers' classes name them, from the fields of a config.json.

modeling_<family>.py of https://github.com/huggingface/transformers is the source of each; a test builds the classes and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.config import Config
from simmoe.workloads.importers.places import Named

Shapes = dict[str, tuple[int, ...]]
Described = dict[str, Any]
FIRST = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def linear(name: str, out: int, into: int, bias: bool = False) -> Shapes:
    """One matrix, with its bias."""
    return {f"{name}.weight": (out, into), **({f"{name}.bias": (out,)} if bias else {})}


def grouped(
    c: Config, *, qkv_bias: bool, output_bias: bool, qk_norm: str = "", gated: bool = False, sinks: bool = False
) -> Shapes:
    """Grouped-query attention. qk_norm: "" | head (one norm for all) | full (over the whole row); gated: a gate beside each query."""
    d, heads = c.width, c.number("num_attention_heads")
    kv_heads, dim = c.number("num_key_value_heads", default=heads), head_dim(c, heads)
    if heads % kv_heads:
        raise UserError(f"{c.where}: num_key_value_heads is {kv_heads}; it must divide num_attention_heads, {heads}")
    query, key = heads * dim, kv_heads * dim
    norms: dict[str, tuple[int, int]] = {"": (0, 0), "head": (dim, dim), "full": (query, key)}
    q_norm, k_norm = norms[qk_norm]
    return {
        **linear("self_attn.q_proj", query * (1 + gated), d, qkv_bias),
        **linear("self_attn.k_proj", key, d, qkv_bias),
        **linear("self_attn.v_proj", key, d, qkv_bias),
        **linear("self_attn.o_proj", d, query, output_bias),
        **({"self_attn.q_norm.weight": (q_norm,), "self_attn.k_norm.weight": (k_norm,)} if qk_norm else {}),
        **({"self_attn.sinks": (heads,)} if sinks else {}),
    }


def head_dim(c: Config, heads: int) -> int:
    """Width of a head; where the file does not say it, heads share the width of the model."""
    if c.fields.get("head_dim") is None and c.width % heads:
        raise UserError(
            f"{c.where}: num_attention_heads is {heads}, which must divide hidden_size, {c.width}, where head_dim is not given"
        )
    return c.number("head_dim", default=c.width // heads)


def latent(c: Config) -> Shapes:
    """Multi-head latent attention, and the indexer beside it where the file has one."""
    d, heads, rank, query_rank = (
        c.width,
        c.number("num_attention_heads"),
        c.number("kv_lora_rank"),
        c.number("q_lora_rank", default=0),
    )
    nope, rope, value = (c.number(key) for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    if not rank:
        raise UserError(f"{c.where}: kv_lora_rank is 0; latent attention needs a row of at least 1 number")
    query = heads * (nope + rope)
    bias = c.flag("attention_bias")
    direct = linear("self_attn.q_proj", query, d)
    low = {**linear("self_attn.q_a_proj", query_rank, d, bias), "self_attn.q_a_layernorm.weight": (query_rank,),
           **linear("self_attn.q_b_proj", query, query_rank)}  # fmt: skip
    return {
        **(low if query_rank else direct),
        **linear("self_attn.kv_a_proj_with_mqa", rank + rope, d, bias),
        "self_attn.kv_a_layernorm.weight": (rank,),
        **linear("self_attn.kv_b_proj", heads * (nope + value), rank),
        **linear("self_attn.o_proj", d, heads * value, bias),
        **(_indexer(c, query_rank) if c.number("index_topk", default=0) else {}),
    }


def _indexer(c: Config, query_rank: int) -> Shapes:
    """DeepSeek-V3.2: scores every position with keys of its own, and picks index_topk of them."""
    heads, dim = c.number("index_n_heads"), c.number("index_head_dim")
    if not query_rank:
        raise UserError(f"{c.where}: q_lora_rank is 0 or missing; the indexer reads the query's compressed row")
    return {
        **linear("self_attn.indexer.wq_b", heads * dim, query_rank),
        **linear("self_attn.indexer.wk", dim, c.width),
        "self_attn.indexer.k_norm.weight": (dim,),
        "self_attn.indexer.k_norm.bias": (dim,),
        **linear("self_attn.indexer.weights_proj", heads, c.width),
    }


def delta(c: Config) -> Shapes:
    """Gated delta network (Qwen3-Next): a convolution over queries, keys and values, then a state."""
    keys = c.number("linear_num_key_heads") * c.number("linear_key_head_dim")
    heads, value = c.number("linear_num_value_heads"), c.number("linear_value_head_dim")
    values = heads * value
    return {
        **_delta_inputs(c, 2 * keys + values, values, heads),
        "linear_attn.conv1d.weight": (2 * keys + values, 1, c.number("linear_conv_kernel_dim", default=4)),
        "linear_attn.A_log": (heads,),
        "linear_attn.dt_bias": (heads,),
        "linear_attn.norm.weight": (value,),
        **linear("linear_attn.out_proj", c.width, values),
    }


def _delta_inputs(c: Config, convolved: int, gate: int, heads: int) -> Shapes:
    if c.fields.get("model_type") == "qwen3_next":
        return {
            **linear("linear_attn.in_proj_qkvz", convolved + gate, c.width),
            **linear("linear_attn.in_proj_ba", 2 * heads, c.width),
        }
    outs = {"qkv": convolved, "z": gate, "a": heads, "b": heads}
    return {
        key: shape
        for leaf, out in outs.items()
        for key, shape in linear(f"linear_attn.in_proj_{leaf}", out, c.width).items()
    }


def lightning(c: Config) -> Shapes:
    """Lightning attention (MiniMax): linear attention with one state for each head."""
    inner = c.number("num_attention_heads") * c.number("head_dim")
    return {
        **linear("self_attn.qkv_proj", 3 * inner, c.width),
        **linear("self_attn.output_gate", inner, c.width),
        **linear("self_attn.out_proj", c.width, inner),
        "self_attn.norm.weight": (inner,),
    }


def mamba(c: Config) -> Shapes:
    """Mamba with one decay for each channel and state (Jamba)."""
    inner, states = c.number("mamba_expand") * c.width, c.number("mamba_d_state")
    rank = c.fields.get("mamba_dt_rank", "auto")
    rank = -(-c.width // 16) if rank == "auto" else c.number("mamba_dt_rank")
    bias = c.flag("mamba_proj_bias")
    return {
        "mamba.A_log": (inner, states),
        "mamba.D": (inner,),
        **_convolution("mamba.conv1d", inner, c.number("mamba_d_conv"), c.flag("mamba_conv_bias", True)),
        **linear("mamba.in_proj", 2 * inner, c.width, bias),
        **linear("mamba.x_proj", rank + 2 * states, inner),
        **linear("mamba.dt_proj", inner, rank, True),
        **linear("mamba.out_proj", c.width, inner, bias),
        "mamba.dt_layernorm.weight": (rank,),
        "mamba.b_layernorm.weight": (states,),
        "mamba.c_layernorm.weight": (states,),
    }


def mamba2(c: Config, prefix: str, sizes: Sequence[int], bias: tuple[bool, bool]) -> Shapes:
    """Mamba-2 with one decay for each head (Granite, Nemotron-H). sizes: heads, their width, states, groups, kernel of the convolution.

    bias: of the convolution, of the projections.
    """
    heads, dim, states, groups, kernel = sizes
    inner, convolved = heads * dim, heads * dim + 2 * groups * states
    return {
        f"{prefix}.A_log": (heads,),
        f"{prefix}.D": (heads,),
        f"{prefix}.dt_bias": (heads,),
        **_convolution(f"{prefix}.conv1d", convolved, kernel, bias[0]),
        **linear(f"{prefix}.in_proj", inner + convolved + heads, c.width, bias[1]),
        **linear(f"{prefix}.out_proj", c.width, inner, bias[1]),
        f"{prefix}.norm.weight": (inner,),
    }


def _convolution(name: str, channels: int, kernel: int, bias: bool) -> Shapes:
    return {f"{name}.weight": (channels, 1, kernel), **({f"{name}.bias": (channels,)} if bias else {})}


def dense(name: str, d: int, inner: int, matrices: int = 3, bias: bool = False) -> Shapes:
    """A feed-forward network that every token passes."""
    names = (("gate_proj", inner, d), ("up_proj", inner, d), ("down_proj", d, inner))[3 - matrices :]
    return {key: shape for leaf, out, into in names for key, shape in linear(f"{name}.{leaf}", out, into, bias).items()}


def experts(name: str, number: int, d: int, inner: int, matrices: int = 3, bias: bool = False) -> Shapes:
    """Routed experts, all of a layer in one tensor for each matrix."""
    up, wide = ("gate_up_proj", 2 * inner) if matrices == 3 else ("up_proj", inner)
    biases = {f"{name}.{up}_bias": (number, wide), f"{name}.down_proj_bias": (number, d)}
    return {f"{name}.{up}": (number, wide, d), f"{name}.down_proj": (number, d, inner), **(biases if bias else {})}


def named(layers: Sequence[Shapes], outside: Shapes) -> list[Named]:
    inside = [
        Named(f"model.layers.{i}.{name}", shape) for i, shapes in enumerate(layers) for name, shape in shapes.items()
    ]
    return [*inside, *(Named(name, shape) for name, shape in outside.items())]


def outside(c: Config, norm: int) -> Shapes:
    """Embedding, last norm and head."""
    table = (c.number("vocab_size"), c.width)
    head = {} if c.flag("tie_word_embeddings") else {"lm_head.weight": table}
    return {"model.embed_tokens.weight": table, "model.norm.weight": (norm,), **head}
