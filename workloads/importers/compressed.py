"""DeepSeek-V4: attention over rows that stand for many positions, and residual streams in several copies."""

from __future__ import annotations

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers import kinds
from simmoe.workloads.importers.blocks import Shapes, dense, experts, linear, named, outside
from simmoe.workloads.importers.config import Config
from simmoe.workloads.importers.places import Named

SPARSE, HEAVY = kinds.RATIOS[4], kinds.RATIOS[128]
RATES = {SPARSE: 4, HEAVY: 128}


def deepseek_v4(c: Config) -> list[Named]:
    """DeepSeek-V4: one row for keys and values, compressed beyond a window; residual streams in several copies."""
    d, copies = c.width, c.number("hc_mult")
    number, inner = c.number("n_routed_experts"), c.number("moe_intermediate_size")
    mixed = (2 + copies) * copies
    streams = {
        f"{at}_hc.{k}": v
        for at in ("attn", "ffn")
        for k, v in {"base": (mixed,), "fn": (mixed, copies * d), "scale": (3,)}.items()
    }
    rest = {
        **streams,
        **experts("mlp.experts", number, d, inner),
        **linear("mlp.gate", number, d),
        **dense("mlp.shared_experts", d, inner * c.number("n_shared_experts")),
        "norms.weight": (2 * d,),
    }
    corrected = {"mlp.gate.e_score_correction_bias": (number,)}
    hashed = c.number("num_hash_layers", default=3)
    layers = [
        {**rest, **_v4_attention(c, word), **({} if i < hashed else corrected)}
        for i, word in enumerate(kinds.known(c, c.layers, *kinds.RATIOS.values()))
    ]
    ends = {
        "model.hc_head.hc_fn": (copies, copies * d),
        "model.hc_head.hc_base": (copies,),
        "model.hc_head.hc_scale": (1,),
    }
    return named(layers, {**outside(c, d), **ends})


def _v4_attention(c: Config, word: str) -> Shapes:
    d, row, heads, rank = c.width, c.number("head_dim"), c.number("num_attention_heads"), c.number("q_lora_rank")
    if not rank:
        raise UserError(f"{c.where}: q_lora_rank is 0; the query comes from a row of at least 1 number")
    groups, out = c.number("o_groups"), c.number("o_lora_rank")
    rates = Config(c.mapping("compress_rates") or RATES, f"{c.where}: compress_rates")
    shapes = {
        **linear("self_attn.q_a_proj", rank, d),
        **linear("self_attn.q_b_proj", heads * row, rank),
        **linear("self_attn.kv_proj", row, d),
        "self_attn.o_a_proj.weight": (groups * out, heads * row // groups),
        **linear("self_attn.o_b_proj", d, groups * out),
        "self_attn.sinks": (heads,),
        "self_attn.qkv_norm.weight": (rank + row,),
    }
    if word == kinds.SLIDING:
        return shapes
    sparse, rate = word == SPARSE, rates.number(word)
    shapes |= _compressor("self_attn.compressor", d, row, (1 + sparse) * row, rate)
    if sparse:
        index, picks = c.number("index_head_dim"), c.number("index_n_heads")
        shapes |= _compressor("self_attn.compressor.indexer", d, index, 2 * index, rate)
        shapes |= linear("self_attn.compressor.indexer.q_b_proj", picks * index, rank)
        shapes |= linear("self_attn.compressor.indexer.scorer.weights_proj", picks, d)
    return shapes


def _compressor(name: str, d: int, row: int, wide: int, every: int) -> Shapes:
    return {
        **linear(f"{name}.kv_proj", wide, d),
        **linear(f"{name}.gate_proj", wide, d),
        f"{name}.position_bias": (every, wide),
        f"{name}.kv_norm.weight": (row,),
    }
