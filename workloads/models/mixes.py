"""Which matrix gets which block type in a GGUF file of a given name (Q4_K_M, IQ3_XS, ...), as llama.cpp's quantiser decides.

Source: llama_tensor_get_type_impl and llama_ftype_get_default_type in src/llama-quant.cpp of https://github.com/ggml-org/llama.cpp,
commit 007dbbf3. Files named IQ* are made with an importance matrix, as nearly all published ones are; the others without.
Not taken over: the rules for Falcon and for dense models of 70B.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from simmoe.workloads.models.blocks import BLOCKS, fitting
from simmoe.workloads.models.parts import LayerParts, Parts, Weights

# name of the file's format: the type of what no rule names
MIXES = {
    "Q2_K": "Q2_K", "Q2_K_S": "Q2_K", "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K", "Q4_0": "Q4_0", "Q4_1": "Q4_1",
    "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K", "Q5_0": "Q5_0", "Q5_1": "Q5_1", "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K",
    "IQ1_S": "IQ1_S", "IQ1_M": "IQ1_M", "IQ2_XXS": "IQ2_XXS", "IQ2_XS": "IQ2_XS", "IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S",
    "IQ3_XXS": "IQ3_XXS", "IQ3_XS": "IQ3_S", "IQ3_S": "IQ3_S", "IQ3_M": "IQ3_S", "IQ4_NL": "IQ4_NL", "IQ4_XS": "IQ4_XS",
    "TQ1_0": "TQ1_0", "TQ2_0": "TQ2_0", "MXFP4_MOE": "MXFP4", "NVFP4_GGUF": "NVFP4",
}  # fmt: skip
LOWEST = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")  # formats with rules of their own
VALUES = ("attn_v", "attn_qkv", "attn_kv_b")  # matrices that hold the values of attention
STACKED = ("attn_k_b", "attn_v_b")  # one matrix for each head, which llama.cpp takes for experts in MXFP4_MOE
SPARED_OF_EIGHT = (  # formats with a finer attn_output in models of eight experts
    "Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS",
)  # fmt: skip
REST_BITS = 32  # norms, biases and routers


@dataclass(frozen=True)
class Place:
    """Where a matrix stands in its model, as far as a rule asks."""

    layer: int = 0
    n_layers: int = 1
    values: int = 0  # layers before this one that have value weights
    n_values: int = 1
    downs: int = 0  # matrices called ffn_down in the layers before this one
    n_experts: int = 0  # routed experts of a layer
    grouped: int = 1  # query heads for each key head
    routed: bool = False  # the matrix belongs to a routed expert


OUTSIDE = Place()  # embedding and head


def places(parts: Parts) -> list[Place]:
    """One for each layer."""
    found, values, downs = list[Place](), 0, 0
    n_values = sum(_has_values(layer) for layer in parts.layers)
    n_experts, grouped = max(layer.n_experts for layer in parts.layers), _grouped(parts)
    for index, layer in enumerate(parts.layers):
        found.append(Place(index, len(parts.layers), values, n_values, downs, n_experts, grouped))
        values += _has_values(layer)
        downs += sum("ffn_down" in part.by_role for part in (layer.ffn, layer.expert, layer.shared))
    return found


def _has_values(layer: LayerParts) -> bool:
    return any(role in layer.attention.by_role for role in VALUES)


def _grouped(parts: Parts) -> int:
    """Of the first layer that tells: attn_output has a column for each query head, attn_v a row for each key head."""
    for layer in parts.layers:
        roles = layer.attention.by_role
        if "attn_v" in roles and "attn_output" in roles:
            return roles["attn_output"].params // roles["attn_v"].params
    return 1


def nbytes(weights: Weights, mix: str, at: Place) -> int:
    """Bytes of a part, matrix by matrix."""
    named = sum(role.params for role in weights.roles)
    bits = Fraction((weights.router_params + weights.vector_params) * REST_BITS)
    for name, columns, params in (*weights.roles, ("other", 0, weights.matrix_params - named)):
        block = BLOCKS[block_of(mix, name, columns, at)]
        bits += Fraction(params * block.bytes * 8, block.weights)
    return -(-bits // 8)


def block_of(mix: str, role: str, columns: int, at: Place) -> str:
    """The type of one matrix."""
    if role == "position_embd":
        return "F32"  # never quantised
    if role == "output":
        return fitting(_head(mix, columns), columns)
    if mix == "MXFP4_MOE":
        return fitting("MXFP4" if at.routed or role in STACKED else "Q8_0", columns)
    return fitting(_rule(mix, role, at) or MIXES[mix], columns)


def _head(mix: str, columns: int) -> str:
    """The LM head, and an embedding that is also the head."""
    if mix == "MXFP4_MOE" or columns % BLOCKS[MIXES[mix]].weights:
        return "Q8_0"
    return "Q5_K" if mix in (*LOWEST, "IQ3_XXS") else "Q6_K"


def _rule(mix: str, role: str, at: Place) -> str:
    """The type that a rule names for a matrix; empty where none does."""
    if role == "token_embd":
        return _embedding(mix)
    if mix in LOWEST:
        return _of_the_lowest(mix, role, at)
    if role in VALUES:
        return "Q8_0" if at.n_experts == 8 else _values(mix, at)
    if role == "attn_k" and at.n_experts == 8:
        return "Q8_0"
    if role in ("attn_q", "attn_k"):
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix, "")
    if role == "attn_output":
        return _output(mix, at)
    if role == "ffn_down":
        return _down(mix, at)
    middle = at.n_layers // 8 <= at.layer < 7 * at.n_layers // 8
    return "IQ3_XXS" if mix == "IQ3_XS" and role in ("ffn_gate", "ffn_up") and middle else ""


def _embedding(mix: str) -> str:
    return {
        **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"), "Q2_K"),
        **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S"),
        **dict.fromkeys(("TQ1_0", "TQ2_0"), "Q4_K"),
    }.get(mix, "")


def _of_the_lowest(mix: str, role: str, at: Place) -> str:
    """Formats of at most 2.7 bits: attention is spared, and the first FFN-down matrices."""
    low, upper = mix in ("IQ1_S", "IQ1_M"), mix in ("IQ2_S", "IQ2_M")
    if role in VALUES:
        return "Q4_K" if at.grouped >= 4 or at.n_experts >= 4 else "IQ3_S" if upper else "Q2_K"
    if role == "attn_k" and at.n_experts == 8:
        return "Q4_K"
    if role == "ffn_down" and at.downs < at.n_layers // 8:
        return "IQ3_S" if upper else "Q2_K"
    if role == "attn_output":
        return "Q5_K" if at.n_experts == 8 else "IQ2_XXS" if low else "IQ3_S" if upper else ""
    return ""


def _more_bits(index: int, count: int) -> bool:
    """The first and last eighth, and every third between them."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


def _values(mix: str, at: Place) -> str:
    if mix in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if _more_bits(at.values, at.n_values) else ""
    if mix in ("IQ4_NL", "IQ4_XS", "Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_S"):
        return "" if at.grouped < 4 else "Q5_K" if mix.startswith("IQ4") else "Q4_K"
    return {
        "Q2_K": "Q4_K" if at.grouped >= 4 else "Q3_K",
        "IQ3_M": "Q4_K",
        "Q3_K_M": "Q5_K" if at.values < 2 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "Q4_K_S": "Q5_K" if at.values < 4 else "",
    }.get(mix, "")


def _output(mix: str, at: Place) -> str:
    if at.n_experts == 8:
        return "Q5_K" if mix in SPARED_OF_EIGHT else ""
    return {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}.get(mix, "")


def _down(mix: str, at: Place) -> str:
    """FFN-down matrices, of dense FFNs and experts alike."""
    first, more = at.layer < at.n_layers // 8, _more_bits(at.layer, at.n_layers)
    return {
        "Q2_K": "Q3_K",
        "Q2_K_S": "Q4_K" if first else "",
        "Q3_K_M": "Q5_K" if at.layer < at.n_layers // 16 else "Q4_K",
        "Q3_K_L": "Q5_K",
        "IQ3_M": "Q4_K" if first or (at.n_experts == 8 and more) else "",
        "Q4_K_S": "Q5_K" if first else "",
        "Q4_K_M": "Q6_K" if more else "",
        "Q5_K_M": "Q6_K" if more else "",
    }.get(mix, "")
