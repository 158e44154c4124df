"""Which words (FEATURES of simulator/nouns/model.py) the layers of a published model have, by the names and shapes of their tensors.

`ungated` and `dense_beside` follow from the parts of a layer, whoever names them: tensors.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from simmoe.workloads.importers.places import ATTENTION, RECURRENT

Shapes = Mapping[str, tuple[int, ...]]

# --- transformers' classes and the files on the model hubs ----------------------------------------------------------

OF_NAMES = {  # a name in the layer that the pattern finds gives the word
    "latent": r"(^|\.)kv_a_proj_with_mqa\.|(^|\.)o_b_proj\.",  # the second: DeepSeek-V4, whose keys and values are one row
    "query_lora": r"(^|\.)q_a_proj\.",
    "indexer": r"(^|\.)indexer\.",
    "delta_net": r"(^|\.)linear_attn\.|(^|\.)forget_gate\.dt_bias$",
    "qk_norm": r"(?<!indexer\.)\b(q_norm|k_norm|qk_norm|query_layernorm|key_layernorm|q_layernorm|k_layernorm)\.",
    "qkv_bias": r"(^|\.)(q_proj|k_proj|v_proj|qkv_proj|Wqkv|query_key_value)\.bias$",
    "post_norm": r"(^|\.)post_(feedforward|mlp|moe|ffn|ffw|self_attn)_?\w*norm",
    "sinks": r"(^|\.)(sinks|attention_sink_bias)$",
    "expert_bias": r"(^|\.)experts\.(\d+\.)?(?!e_score)\w+[._]bias$",
    "ungated": r"(^|\.)ffn\.(experts\.expert_\d+\.)?fc1\.",  # NLLB; of other models the parts tell it
    "shared_gate": r"(^|\.)(shared_expert_gate|shared_gate)\.",
    "router_bias": r"correction_bias$|(^|\.)(gate|router)(\.(layer|proj|wg|classifier))?\.bias$|(^|\.)expert_bias$|moe_statics",
}
FOUND = {word: re.compile(pattern) for word, pattern in OF_NAMES.items()}
IN_FRONT = re.compile(r"(^|\.)(input_layernorm|norms)\.")
SEPARATE_GATE = re.compile(r"attn\.(g_proj|gate_proj|output_gate)\.")
MIXER = re.compile(rf"{ATTENTION.pattern}|{RECURRENT.pattern}|(^|\.)[qkvo]_proj\.")


def of_names(shapes: Shapes, linear: bool) -> set[str]:
    """Words of a layer of a Hugging Face model. linear: what mixes its positions has a state and no growing cache."""
    words = {word for word, pattern in FOUND.items() if any(pattern.search(name) for name in shapes)}
    if not any(IN_FRONT.search(name) for name in shapes):  # FlexOlmo: its two norms stand behind, none in front
        words.discard("post_norm")
    if not any(MIXER.search(name) for name in shapes):
        return words | {"no_mixer"}
    if "delta_net" not in words and "latent" not in words and (mixer := _mixer(shapes, linear)):
        return words | {mixer}
    rows = [_of(shapes, f"{one}_proj.weight", 0) for one in "qkv"]
    gated = any(SEPARATE_GATE.search(name) for name in shapes) or _wide_query(rows, _of(shapes, "o_proj.weight", 1))
    return words | ({"output_gate"} if gated and "delta_net" not in words else set())


def _mixer(shapes: Shapes, linear: bool) -> str:
    """What stands in place of attention; empty: attention itself."""
    if any(name.endswith("A_log") for name in shapes):
        return "mamba"
    if linear:
        return "short_conv" if any(re.search(r"(^|\.)conv\.", name) for name in shapes) else "lightning"
    return ""


def _of(shapes: Shapes, end: str, at: int) -> int:
    """Rows (0) or columns (1) of the matrix that is called so; 0 = there is none."""
    return next((shape[at] for name, shape in shapes.items() if name.endswith(f".{end}") and len(shape) > 1), 0)


def _wide_query(rows: Sequence[int], output: int) -> bool:
    """Whether the matrix of the query makes twice the numbers that attention gives: the second half is a gate.

    rows: of the matrices of query, key and value, of which keys and values may have widths of their own; without a matrix of values the
    keys are the values. output: numbers that attention gives.
    """
    query, key, value = rows
    return query * (value or key) == 2 * output * key > 0


# --- GGUF -----------------------------------------------------------------------------------------------------------

STATES = {
    "shortconv.": "short_conv",
    "time_mix_": "lightning",
    "ssm_": "mamba",
}  # tensors of a layer with a recurrent state
ATTENDS = ("attn_output", "attn_q", "attn_qkv", "attn_q_a", "attn_k", "attn_kv_a_mqa")
OF_GGUF = {  # any of these tensors in the layer gives the word
    "query_lora": ("attn_q_a",),
    "indexer": ("indexer.attn_k",),
    "qk_norm": ("attn_q_norm", "attn_k_norm"),
    "qkv_bias": ("attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_qkv.bias"),
    "sinks": ("attn_sinks",),
    "expert_bias": tuple(f"ffn_{one}_exps.bias" for one in ("gate", "up", "down", "gate_up")),
    "shared_gate": ("ffn_gate_inp_shexp",),
    "router_bias": ("exp_probs_b", "exp_probs_b.bias", "ffn_gate_inp.bias"),
}
BEHIND = ("post_ffw_norm", "attn_output_norm", "layer_output_norm")
DELTA = (
    "ssm_ba",
    "ssm_beta_alpha",
    "ssm_alpha",
    "ssm_beta",
    "ssm_conv1d_q",
)  # of a gated delta rule, beside what Mamba has too


def of_gguf(shapes: Shapes, attends: bool) -> set[str]:
    """Words of a layer of a GGUF file. attends: it has attention, perhaps beside a state."""
    words = {word for word, names in OF_GGUF.items() if any(name in shapes for name in names)}
    behind = (
        "post_attention_norm" in shapes and "ffn_norm" in shapes
    )  # without ffn_norm it is the norm in front of the experts
    if "attn_norm" in shapes and (behind or any(name in shapes for name in BEHIND)):
        words.add("post_norm")
    if "attn_kv_a_mqa" in shapes:
        words.add("latent")
    elif mixer := _state(shapes):
        words.add(mixer)
    elif not any(name in shapes for name in ATTENDS):
        words.add("no_mixer")
    if attends and ("attn_gate" in shapes or _wide_query(*_widths(shapes))):
        words.add("output_gate")
    return words


def _state(shapes: Shapes) -> str:
    """What keeps the state of a layer; empty: it has none."""
    if any(name in shapes for name in DELTA):
        return "delta_net"
    return next((word for start, word in STATES.items() if any(name.startswith(start) for name in shapes)), "")


def _widths(shapes: Shapes) -> tuple[list[int], int]:
    """Rows of query, key and value, and the numbers that the output takes."""
    pairs = (("attn_q", 1), ("attn_k", 1), ("attn_v", 1), ("attn_output", 0))
    *rows, output = (shapes[name][at] if len(shapes.get(name, ())) > 1 else 0 for name, at in pairs)
    return rows, output
