"""Where a parameter of a Hugging Face model stands says what it is for: routed expert, attention, head, ...

The names are those of the module tree of transformers' classes (modeling_<family>.py of https://github.com/huggingface/transformers) and of
the files on the model hubs, which differ a little. A matrix that no pattern knows is named and refused: counted as something else it
would change every answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from simmoe.simulator.errors import UserError
from simmoe.workloads.importers.tensors import Tensor


@dataclass(frozen=True)
class Named:
    """A parameter of a model class, or a tensor of its files."""

    name: str
    shape: tuple[int, ...]
    nbytes: int = 0
    params: int = -1  # where the shape is not that of the weights: packed ones

    @property
    def count(self) -> int:
        return math.prod(self.shape) if self.params < 0 else self.params


LAYER = re.compile(r"(?:.*?\.)?(?:layers|h|blocks?)\.(\d+)\.(.+)")
ELSEWHERE = re.compile(  # no part of the language model, or of one step of decoding
    r"(^|\.)(vision\w*|visual|vit|image\w*|audio\w*|multi_modal\w*|mm_\w*|aligner|connector|\w*projector|embed_(vision|audio)|mtp\w*|"
    r"nextn\w*|rotary_emb|view_seperator|sam_model|speech\w*|resampler\w*|patch_\w+)(\.|$)"
)
VECTOR = re.compile(
    r"(^|\.)(A_log|D|conv1d|dt_bias|position_bias|relative_attention_bias|\w*norm\w*)(\.|$)|bias$|_scale$"
)
EXPERT = re.compile(r"(^|\.)experts\.(?:expert_)?(?:(\d+)\.)?")
SHARED = re.compile(
    r"(^|\.)shared|(^|\.)share_expert|(^|\.)fc\d_latent_proj"
)  # or a projection before and behind all experts
ROUTER = re.compile(
    r"(^|\.)(gate|router|classifier|shared_expert_gate|shared_gate)(\.(gate|layer|proj|wg|classifier))?\.weight$"
)
BESIDE = re.compile(
    r"correction_bias|(^|\.)(gate|router|moe|moe_gate|experts?)\b.*(bias|statics|correction|scale)|expert_bias|router\."
)
ATTENTION = re.compile(
    r"(^|\.)(self_attn|attn|attention|self_attention|SelfAttention|EncDecAttention|norm_attn_norm)(\.|$)"
)
RECURRENT = re.compile(r"(^|\.)(linear_attn|mamba|conv|ssm|recurrent|in_proj|out_proj)(\.|$)")
OTHERS = re.compile(
    r"(^|\.)(per_layer_\w+|\w*hc\w*|laurel|altup|embed_norm|\w+_residual\w*)(\.|$)"
)  # read by every token
FFN = re.compile(
    r"(^|\.)(mlps?|feed_forward|ffn\w*|block_sparse_moe|moe|DenseReluDense|dense_mlp|residual_mlp)(\.|$)|^(gate|up|down)_proj\."
)
HEAD = re.compile(r"(^|\.)(lm_head|output|embed_out)\.")
TABLE = re.compile(
    r"(^|\.)(embed_tokens\w*|embeddings|wte|word_embeddings|tok_embeddings|shared|wpe|embed_positions)\.weight$"
)
OF_FFN = (  # llama.cpp's names for what a matrix is for, which decide its type in a mix such as Q4_K_M
    (re.compile(r"gate_up_proj|input_linear"), ("ffn_gate", "ffn_up")),
    (re.compile(r"(gate_proj|w1|wi_0)(\.|_|$)"), ("ffn_gate",)),
    (re.compile(r"(up_proj|w3|wi|wi_1|fc1)(\.|_|$)"), ("ffn_up",)),
    (re.compile(r"(down_proj|w2|wo|output_linear|fc2)(\.|_|$)"), ("ffn_down",)),
)
OF_ATTENTION = (
    (re.compile(r"\.(in_proj_qkv|qkv_proj|Wqkv|query_key_value)\."), "attn_qkv"),
    (re.compile(r"\.q_a_proj\."), "attn_q_a"),
    (re.compile(r"attn\.q_b_proj\."), "attn_q_b"),
    (re.compile(r"\.kv_a_proj_with_mqa\."), "attn_kv_a_mqa"),
    (re.compile(r"\.(q_proj|q)\."), "attn_q"),
    (re.compile(r"\.(k_proj|k)\."), "attn_k"),
    (re.compile(r"\.(v_proj|v)\."), "attn_v"),
    (re.compile(r"(\.(o_proj|o|dense)|[nN]\.out_proj)\."), "attn_output"),
    (re.compile(r"\.in_proj_z\."), "attn_gate"),
    (re.compile(r"\.in_proj_ba\."), "ssm_ba"),
    (re.compile(r"\.in_proj_a\."), "ssm_alpha"),
    (re.compile(r"\.in_proj_b\."), "ssm_beta"),
    (re.compile(r"\.(in_proj_qkvz|in_proj)\."), "ssm_in"),
    (re.compile(r"\.x_proj\."), "ssm_x"),
    (re.compile(r"\.dt_proj\."), "ssm_dt"),
    (re.compile(r"\.out_proj\."), "ssm_out"),
)


@dataclass(frozen=True)
class Around:
    """What the rest of a model says about a tensor."""

    where: str
    width: int
    tied: bool = False  # the embedding is the head
    latent: tuple[int, int] = (0, 0)  # widths of the keys without rotary positions and of the values of a head


def place(tensors: Iterable[Named], around: Around) -> list[Tensor]:
    """What each parameter is for; what belongs to other things than decoding (vision, further tokens) is left out."""
    return [_place(one, around) for one in tensors if not ELSEWHERE.search(one.name)]


def _place(one: Named, around: Around) -> Tensor:
    match = LAYER.match(one.name)
    if not match:
        return _outside(one, around)
    layer, rest = int(match[1]), match[2]
    kind = _kind(rest, one.shape)
    part = _part(rest, kind, one.shape)
    if not part:
        raise unknown(one, around.where)
    number = EXPERT.search(rest)
    index = int(number[2]) if part == "expert" and number and number[2] else -1
    experts = 0 if part != "expert" else 1 if index >= 0 else one.shape[0]
    return Tensor(part, kind, one.count, one.nbytes, layer, experts, index, _roles(rest, part, kind, one, around))


def _outside(one: Named, around: Around) -> Tensor:
    kind, row = _kind(one.name, one.shape), one.shape[-1] if one.shape else 1
    is_head = bool(HEAD.search(one.name))
    if kind == "matrix_params" and (is_head or TABLE.search(one.name)):
        in_head = is_head or (around.tied and not re.search(r"per_layer|wpe|positions", one.name))
        role = {"output" if in_head else "token_embd": (row, one.count)}
        return Tensor("head" if in_head else "embedding", kind, one.count, one.nbytes, roles=role)
    if kind == "matrix_params" and one.count and not OTHERS.search(one.name):
        raise unknown(one, around.where)
    return Tensor("head", kind, one.count, one.nbytes)


def _kind(name: str, shape: tuple[int, ...]) -> str:
    if (len([n for n in shape if n > 1]) <= 1 and not name.endswith("gate.weight")) or VECTOR.search(name):
        return "vector_params"
    return "router_params" if ROUTER.search(name) else "matrix_params"


def _part(rest: str, kind: str, shape: tuple[int, ...]) -> str:
    """The first that matches decides; empty = no pattern knows it."""
    if SHARED.search(rest):
        return "shared"
    if ATTENTION.search(rest):
        return "" if EXPERT.search(rest) else "attention"  # experts of attention: no timeline has them
    if kind == "router_params" or (BESIDE.search(rest) and kind == "vector_params" and not _of_experts(rest, shape)):
        return "attention"  # the router, and what stands beside it
    if EXPERT.search(rest) or _of_experts(rest, shape):
        return "expert"
    if RECURRENT.search(rest) or OTHERS.search(rest) or re.search(r"(^|\.)[qkvo]_proj\.", rest):
        return "attention"
    if FFN.search(rest.removeprefix("mixer.")):
        return "ffn"
    return "attention" if kind == "vector_params" else ""


def _of_experts(rest: str, shape: tuple[int, ...]) -> bool:
    """Fused experts: three dimensions, or the biases of such matrices."""
    if "conv" in rest:
        return False
    return len(shape) == 3 or (len(shape) == 2 and bool(re.search(r"experts\.\w+bias$", rest)))


def _roles(rest: str, part: str, kind: str, one: Named, around: Around) -> dict[str, tuple[int, int]]:
    """llama.cpp's names for what the matrix is, each with the length of its rows; empty = a name of no rule there."""
    if kind != "matrix_params" or not one.count:
        return {}
    if part == "attention":
        return _roles_of_attention(f".{rest}", one, around)
    names = next((names for pattern, names in OF_FFN if pattern.search(rest)), ())
    if not names:
        return {}
    each = one.count // len(names)
    number = one.shape[0] if len(one.shape) > 2 else 1  # fused experts; MXFP4 of gpt-oss packs rows as two dimensions
    return dict.fromkeys(names, (each // number // around.width if names == ("ffn_down",) else around.width, each))


def _roles_of_attention(rest: str, one: Named, around: Around) -> dict[str, tuple[int, int]]:
    keys, values = around.latent
    if (
        rest.endswith(".kv_b_proj.weight") and keys and one.shape[0] % (keys + values) == 0
    ):  # llama.cpp stores keys and values apart
        of_keys = one.count * keys // (keys + values)
        return {"attn_k_b": (keys, of_keys), "attn_v_b": (one.shape[-1], one.count - of_keys)}
    found = next((role for pattern, role in OF_ATTENTION if pattern.search(rest)), "")
    return {found: (one.shape[-1], one.count)} if found and "indexer" not in rest and "compressor" not in rest else {}


def unknown(one: Named, where: str) -> UserError:
    return UserError(
        f"{where}: no rule knows what {one.name} {list(one.shape)} is for, and counted as something else it would change every "
        "answer; docs/extending/model.md says where to add the rule"
    )
