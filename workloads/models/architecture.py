"""Counts the parameters of each part of a decoder from its architecture, laid out as in the Hugging Face classes."""

from __future__ import annotations

from dataclasses import replace

from simmoe.workloads.models.attention import Attention, Indexer, LatentAttention
from simmoe.workloads.models.features import ordered
from simmoe.workloads.models.parts import EMPTY, CacheParts, LayerParts, Parts, Weights
from simmoe.workloads.models.roles import Role, matrices, total
from simmoe.workloads.models.schema import Architecture, Ffn


def expand(model: Architecture) -> Parts:
    """The model as parts; without stored bytes, since no file is behind it."""
    indices, kind_of = set(model.moe_indices), model.attention.kind_of
    kinds = [(kind_of(i), i in indices) for i in range(model.layers)]
    made = {kind: _layer(model, *kind) for kind in dict.fromkeys(kinds)}
    words, width = model.vocab, model.d_model
    tables = matrices(
        token_embd=(width, words * (not model.tied_embeddings)), position_embd=(width, model.learned_positions)
    )
    return Parts(
        top_k=model.ffn.top_k,
        head=Weights(matrix_params=words * width, vector_params=_norm(model), roles=matrices(output=(width, words))),
        embedding=Weights(matrix_params=total(tables), roles=tables),
        layers=tuple(made[kind] for kind in kinds),
        width=model.d_model,
    )


def _norm(model: Architecture) -> int:
    return model.d_model * (2 if model.norm == "layer" else 1)


def _layer(model: Architecture, kind: str, is_moe: bool) -> LayerParts:
    ffn, d_model, attention = model.ffn, model.d_model, model.attention
    recurrent = attention.recurrent if kind == "recurrent" else None
    found, vectors = _mixer_params(attention, kind, d_model)
    weights = Weights(
        matrix_params=total(found),
        roles=found,
        router_params=d_model * ffn.n_experts * is_moe,
        vector_params=vectors + _norms(model, kind) + ffn.n_experts * (ffn.router_bias and is_moe),
    )
    return LayerParts(
        attention=weights,
        caches=caches(attention, kind),
        state_elements=recurrent.state_elements if recurrent else 0,
        state_bits=recurrent.state_bits if recurrent else 32,
        ffn=EMPTY if is_moe else _ffn(ffn, d_model, ffn.dense_d_ff),
        shared=_shared(ffn, d_model) if is_moe else EMPTY,
        expert=_ffn(ffn, d_model, ffn.expert_d_ff) if is_moe else EMPTY,
        n_experts=ffn.n_experts * is_moe,
        features=ordered(
            word for word, there in (_of_mixer(attention, kind) | _of_ffn(model, is_moe)).items() if there
        ),
    )


def _norms(model: Architecture, kind: str) -> int:
    """One before the attention and one before the FFN, and with post_norm one behind each."""
    return (2 - (kind == "none")) * (1 + model.post_norm) * _norm(model)


def _of_mixer(a: Attention | LatentAttention, kind: str) -> dict[str, bool]:
    """Words of attention or of what stands in its place (simulator/nouns/model.py), and whether the layer has each."""
    if kind == "recurrent" and a.recurrent:
        return {a.recurrent.mixer: True}
    if kind == "none":
        return {"no_mixer": True}
    if isinstance(a, LatentAttention):
        return {"latent": True, "query_lora": a.q_lora_rank > 0, "indexer": a.indexer is not None and kind == "full"}
    normed = kind == "chunk" if a.qk_norm == "bare" else a.qk_norm != "none"
    return {"qk_norm": normed, "qkv_bias": a.qkv_bias, "output_gate": a.output_gate, "sinks": a.sinks}


def _of_ffn(model: Architecture, is_moe: bool) -> dict[str, bool]:
    ffn = model.ffn
    return {
        "post_norm": model.post_norm,
        "ungated": ffn.matrices == 2,
        "expert_bias": ffn.bias and is_moe,
        "router_bias": ffn.router_bias and is_moe,
        "shared_gate": ffn.shared_gate and ffn.shared_d_ff > 0 and is_moe,
    }


def _mixer_params(a: Attention | LatentAttention, kind: str, d_model: int) -> tuple[tuple[Role, ...], int]:
    """The matrices of attention or of what stands in its place, and the parameters of its vectors."""
    if kind == "none":
        return (), 0
    if kind == "recurrent" and a.recurrent:
        return a.recurrent.matrices, a.recurrent.vector_params
    return attention_params(a, d_model)


def caches(a: Attention | LatentAttention, kind: str) -> tuple[CacheParts, ...]:
    """What a layer of a kind keeps of each position."""
    if kind in ("recurrent", "none"):
        return ()
    indexer = a.indexer if isinstance(a, LatentAttention) and kind == "full" else None
    main = CacheParts(
        elements_per_position=kv_elements(a),
        flops_per_position=flops_per_position(a),
        kept={"window": a.window, "chunk": a.chunk}.get(kind, 0),
        read=indexer.topk if indexer else 0,
        chunked=kind == "chunk",
        heads=a.heads,
        kv_heads=kv_heads(a),
    )
    return (main, _indexed(indexer)) if indexer else (main,)


def _indexed(a: Indexer) -> CacheParts:
    """The keys of an indexer, one for all its heads; each head scores each of them."""
    return CacheParts(elements_per_position=a.head_dim, flops_per_position=2 * a.heads * a.head_dim)


def _ffn(ffn: Ffn, d_model: int, d_ff: int) -> Weights:
    if not d_ff:
        return EMPTY
    biases = (ffn.matrices - 1) * d_ff + d_model  # one value per output row of each matrix
    gate = (d_model, d_ff * (ffn.matrices == 3))
    found = matrices(ffn_gate=gate, ffn_up=(d_model, d_ff), ffn_down=(d_ff, d_model))
    return Weights(matrix_params=total(found), vector_params=biases * ffn.bias, roles=found)


def _shared(ffn: Ffn, d_model: int) -> Weights:
    weights = _ffn(ffn, d_model, ffn.shared_d_ff)
    return replace(weights, router_params=d_model * ffn.shared_gate)


def attention_params(a: Attention | LatentAttention, d_model: int) -> tuple[tuple[Role, ...], int]:
    """The matrices, and the parameters of the biases, norms and sinks."""
    if isinstance(a, LatentAttention):
        return _latent_params(a, d_model)
    query, keys = a.heads * a.head_dim, a.cached_heads * a.head_dim
    asked = query * (1 + a.output_gate)  # llama.cpp and the published files keep the gate in the matrix of the query
    biases = (asked + 2 * keys) * a.qkv_bias + d_model * a.output_bias
    norms = {"none": 0, "bare": 0, "head": 2 * a.head_dim, "full": query + keys}[a.qk_norm]
    found = matrices(
        attn_q=(d_model, asked), attn_k=(d_model, keys), attn_v=(d_model, keys), attn_output=(query, d_model)
    )
    return found, biases + norms + a.heads * a.sinks


def _latent_params(a: LatentAttention, d_model: int) -> tuple[tuple[Role, ...], int]:
    query, rank = a.heads * (a.qk_nope + a.qk_rope), a.q_lora_rank
    queries = matrices(attn_q_a=(d_model, rank), attn_q_b=(rank, query)) or matrices(attn_q=(d_model, query))
    rest = matrices(
        attn_kv_a_mqa=(d_model, a.kv_lora_rank + a.qk_rope),
        attn_k_b=(a.qk_nope, a.heads * a.kv_lora_rank),
        attn_v_b=(a.kv_lora_rank, a.heads * a.v_head_dim),
        attn_output=(a.heads * a.v_head_dim, d_model),
    )
    found, vectors = _indexer_params(a, d_model)
    return queries + rest + found, a.kv_lora_rank + rank + vectors  # one norm on each compressed row


def _indexer_params(a: LatentAttention, d_model: int) -> tuple[tuple[Role, ...], int]:
    """Queries from the compressed row, one key and a weight for each head from the input; a LayerNorm on the key."""
    if a.indexer is None:
        return (), 0
    heads, width = a.indexer.heads, a.indexer.head_dim
    found = matrices(
        indexer_attn_q_b=(a.q_lora_rank or d_model, heads * width),
        indexer_attn_k=(d_model, width),
        indexer_proj=(d_model, heads),
    )
    return found, 2 * width


def kv_elements(a: Attention | LatentAttention) -> int:
    """Numbers that one layer caches for one position."""
    if isinstance(a, LatentAttention):
        return a.kv_lora_rank + a.qk_rope if a.latent_cache else a.heads * (a.qk_nope + a.qk_rope + a.v_head_dim)
    return 2 * a.cached_heads * a.head_dim


def kv_heads(a: Attention | LatentAttention) -> int:
    """Heads with keys and values of their own; 0 where all heads read one compressed row."""
    if isinstance(a, LatentAttention):
        return 0 if a.latent_cache else a.heads
    return a.cached_heads


def flops_per_position(a: Attention | LatentAttention) -> int:
    """Score and value products of one token with one attended position.

    Latent attention is counted as it runs on the compressed cache: the up-projections are absorbed into the query and
    the output (DeepSeek-V2, section 2.1.2), so both products run over the compressed row.
    """
    if isinstance(a, LatentAttention) and not a.latent_cache:
        return 2 * a.heads * (a.qk_nope + a.qk_rope + a.v_head_dim)
    if isinstance(a, LatentAttention):
        return latent_flops(a.heads, a.kv_lora_rank, a.qk_rope)
    return 2 * a.heads * (a.head_dim + a.head_dim)


def latent_flops(heads: int, kv_lora_rank: int, qk_rope: int) -> int:
    return 2 * heads * ((kv_lora_rank + qk_rope) + kv_lora_rank)
