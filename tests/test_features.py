"""The words of a layer: what the config.json, the GGUF file and the shape of one model say must be the same, and right."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import simmoe
from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import FEATURES, ModelShape
from simmoe.workloads import models
from simmoe.workloads.importers import described, features
from simmoe.workloads.importers.model import import_model
from tests.test_faults_models import write_gguf

PUBLISHED: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "published_models.yaml").read_text())
Kinds = dict[tuple[bool, str], int]  # (has experts, words): layers

# What is known of each model, from its paper or its class: not from what an importer makes of it.
DENSE, MOE = False, True
KNOWN: dict[str, Kinds] = {
    "mixtral-8x7b": {(MOE, ""): 32},
    "qwen3-30b-a3b": {(MOE, "qk_norm"): 48},
    "olmoe-1b-7b": {(MOE, "qk_norm"): 16},
    "qwen2-57b-a14b": {(MOE, "qkv_bias shared_gate"): 28},
    "gpt-oss-20b": {(MOE, "expert_bias qkv_bias router_bias sinks"): 24},
    "deepseek-v2-lite": {(DENSE, "latent"): 1, (MOE, "latent"): 26},
    "deepseek-v3": {(DENSE, "latent query_lora"): 3, (MOE, "latent query_lora router_bias"): 58},
    "deepseek-v3.2": {(DENSE, "indexer latent query_lora"): 3, (MOE, "indexer latent query_lora router_bias"): 58},
    "glm-4.7-flash": {(DENSE, "latent query_lora"): 1, (MOE, "latent query_lora router_bias"): 46},
    "glm-4.5": {(DENSE, "qk_norm qkv_bias"): 3, (MOE, "qk_norm qkv_bias router_bias"): 89},
    "glm-4.5-air": {(DENSE, "qkv_bias"): 1, (MOE, "qkv_bias router_bias"): 45},
    "qwen3-next-80b-a3b": {(MOE, "delta_net shared_gate"): 36, (MOE, "output_gate qk_norm shared_gate"): 12},
    "qwen3.5-35b-a3b": {(MOE, "delta_net shared_gate"): 30, (MOE, "output_gate qk_norm shared_gate"): 10},
    "gemma-4-26b-a4b": {(MOE, "dense_beside post_norm qk_norm"): 30},
    "granite-4.0-h-small": {(MOE, "mamba"): 36, (MOE, ""): 4},
    "jamba-mini-1.6": {(DENSE, "mamba"): 12, (MOE, "mamba"): 16, (DENSE, ""): 4},
    "nemotron-3-nano-30b-a3b": {(DENSE, "mamba"): 23, (MOE, "no_mixer router_bias ungated"): 23, (DENSE, ""): 6},
    "minimax-text-01": {(MOE, "lightning"): 70, (MOE, ""): 10},
    "minimax-m2": {(MOE, "qk_norm router_bias"): 62},
    "llama-4-maverick": {(DENSE, "qk_norm"): 24, (MOE, "qk_norm"): 12, (MOE, ""): 12},
    "switch-base-128": {(DENSE, "ungated"): 12, (MOE, "ungated"): 12},
}


def kinds(model: ModelShape) -> Kinds:
    return dict(Counter((layer.n_experts > 0, " ".join(layer.features)) for layer in model.layers))


def of_parts(parts: dict[str, Any]) -> ModelShape:
    return models.shape({"schema": 1, "name": "x", "title": "x", "sources": {"parts": "x"}, "parts": parts}, "x")


# --- config.json ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN)
def test_a_config_says_the_words_of_each_layer(name: str) -> None:
    assert kinds(of_parts(described.parts(described.describe(PUBLISHED[name]["fields"], name), name))) == KNOWN[name]


def test_norms_without_weights_follow_the_config() -> None:
    """Llama 4 Maverick as it is published says use_qk_norm: false, which no tensor shows; Scout leaves it at true."""
    fields = PUBLISHED["llama-4-maverick"]["fields"]
    fields = {**fields, "text_config": {**fields["text_config"], "use_qk_norm": False}}
    assert kinds(of_parts(described.parts(described.describe(fields, "x"), "x"))) == {(DENSE, ""): 24, (MOE, ""): 24}


NAMES: dict[str, tuple[str, bool, set[str]]] = {  # names in a layer of a class of transformers, whether it has a state: words
    "FlexOlmo: norms behind alone": (("self_attn.q_norm.weight self_attn.q_proj.weight post_attention_layernorm.weight "
                                     "post_feedforward_layernorm.weight"), False, {"qk_norm"}),
    "NLLB": ("self_attn.q_proj.bias ffn.experts.expert_0.fc1.weight ffn.experts.expert_0.fc2.weight", False, {"qkv_bias", "ungated"}),
    "Ling hybrid: a gate beside latent rows": ("self_attn.kv_a_proj_with_mqa.weight self_attn.g_proj.weight", False,
                                               {"latent", "output_gate"}),
    "Kimi's delta attention": ("self_attn.forget_gate.A_log self_attn.forget_gate.dt_bias self_attn.g_proj.weight self_attn.q_proj.weight",
                               True, {"delta_net"}),
    "LFM2": ("conv.conv.weight conv.in_proj.weight conv.out_proj.weight feed_forward.expert_bias", True, {"short_conv", "router_bias"}),
    "a correction in the module of the experts": ("self_attn.q_proj.weight mlp.experts.e_score_correction_bias", False, {"router_bias"}),
    "an indexer has norms of its own": ("self_attn.q_a_proj.weight self_attn.indexer.k_norm.weight", False, {"query_lora", "indexer"}),
    "experts alone": ("mixer.gate.weight mixer.experts.up_proj mixer.fc1_latent_proj.weight", False, {"no_mixer"}),
    "ERNIE": ("self_attn.q_proj.weight mlp.moe_statics.e_score_correction_bias", False, {"router_bias"}),
    "MiMo: wide keys are no gate": (("self_attn.q_proj.weight[12288] self_attn.k_proj.weight[768] self_attn.v_proj.weight[512] "
                                    "self_attn.o_proj.weight[8192]"), False, set()),
    "keys wider than values, and a gate": (("self_attn.q_proj.weight[24576] self_attn.k_proj.weight[768] self_attn.v_proj.weight[512] "
                                           "self_attn.o_proj.weight[8192]"), False, {"output_gate"}),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_words_of_names_of_other_classes(case: str) -> None:
    names, has_state, words = NAMES[case]
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names.split():
        bare, _, size = name.partition("[")
        shapes[bare] = (int(size.strip("]") or 8),) * 2
    assert features.of_names(shapes, has_state) == words


# --- GGUF: the tensors that llama.cpp's converter writes for an architecture (gguf-py/gguf/tensor_mapping.py, src/models) ---

ATTENTION = {"attn_q": (64, 64), "attn_k": (64, 32), "attn_v": (64, 32), "attn_output": (64, 64)}
GATED = {**ATTENTION, "attn_q": (64, 128)}
QK_NORM = {"attn_q_norm": (16,), "attn_k_norm": (16,)}
QKV_BIAS = {"attn_q.bias": (64,), "attn_k.bias": (32,), "attn_v.bias": (32,)}
LATENT = {
    "attn_kv_a_mqa": (64, 40),
    "attn_kv_a_norm": (32,),
    "attn_k_b": (24, 32, 4),
    "attn_v_b": (32, 16, 4),
    "attn_output": (64, 64),
}
QUERY = {"attn_q_a": (64, 32), "attn_q_a_norm": (32,), "attn_q_b": (32, 128)}
INDEXER = {"indexer.attn_k": (64, 32), "indexer.k_norm": (32,), "indexer.k_norm.bias": (32,), "indexer.proj": (64, 4),
           "indexer.attn_q_b": (32, 128)}  # fmt: skip
EXPERTS = {
    "ffn_gate_inp": (64, 4),
    "ffn_gate_exps": (64, 32, 4),
    "ffn_up_exps": (64, 32, 4),
    "ffn_down_exps": (32, 64, 4),
}
SHARED = {"ffn_gate_shexp": (64, 32), "ffn_up_shexp": (64, 32), "ffn_down_shexp": (32, 64)}
FFN = {"ffn_gate": (64, 96), "ffn_up": (64, 96), "ffn_down": (96, 64)}
CORRECTED = {"exp_probs_b.bias": (4,)}
NORMS = {"attn_norm": (64,), "ffn_norm": (64,)}
ONE_NORM = {"attn_norm": (64,), "post_attention_norm": (64,)}  # the second stands in front of the experts
GATED_SHARED = {**SHARED, "ffn_gate_inp_shexp": (64,)}
DELTA = {"attn_qkv": (64, 128), "attn_gate": (64, 64), "ssm_conv1d": (4, 128), "ssm_dt.bias": (4,), "ssm_a": (4,), "ssm_norm": (16,),
         "ssm_out": (64, 64)}  # fmt: skip
MAMBA2 = {"ssm_in": (64, 280), "ssm_conv1d": (4, 144), "ssm_conv1d.bias": (144,), "ssm_dt.bias": (8,), "ssm_a": (1, 8), "ssm_d": (1, 8),
          "ssm_norm": (128, 1), "ssm_out": (128, 64)}  # fmt: skip
MAMBA1 = {"ssm_in": (64, 256), "ssm_conv1d": (4, 128), "ssm_conv1d.bias": (128,), "ssm_x": (128, 24), "ssm_dt": (8, 128),
          "ssm_dt.bias": (128,), "ssm_dt_norm": (8,), "ssm_b_norm": (8,), "ssm_c_norm": (8,), "ssm_a": (8, 128), "ssm_d": (128,),
          "ssm_out": (128, 64)}  # fmt: skip
TWO = {
    "ffn_gate_inp": (64, 4),
    "ffn_up_exps": (64, 32, 4),
    "ffn_down_exps": (32, 64, 4),
    "ffn_up_shexp": (64, 32),
    "ffn_down_shexp": (32, 64),
}
GPT_OSS = {**ONE_NORM, **ATTENTION, **QKV_BIAS, "attn_output.bias": (64,), "attn_sinks": (4,), **EXPERTS, "ffn_gate_inp.bias": (4,),
           "ffn_gate_exps.bias": (32, 4), "ffn_up_exps.bias": (32, 4), "ffn_down_exps.bias": (64, 4)}  # fmt: skip
GEMMA = {**NORMS, **ATTENTION, **QK_NORM, **FFN, "ffn_gate_inp": (64, 4), "ffn_gate_inp.scale": (64,), "ffn_gate_up_exps": (64, 64, 4),
         "ffn_down_exps": (32, 64, 4), "ffn_down_exps.scale": (4,), "post_attention_norm": (64,), "post_ffw_norm": (64,),
         "post_ffw_norm_1": (64,), "post_ffw_norm_2": (64,), "pre_ffw_norm_2": (64,), "layer_output_scale": (1,)}  # fmt: skip
AFMOE = {
    **NORMS,
    **ATTENTION,
    **QK_NORM,
    "attn_gate": (64, 64),
    "post_attention_norm": (64,),
    "post_ffw_norm": (64,),
    **EXPERTS,
    **CORRECTED,
}
KDA = {"attn_q": (64, 64), "attn_k": (64, 64), "attn_v": (64, 64), "attn_output": (64, 64), "ssm_conv1d_q": (4, 1, 64), "ssm_a": (1, 4),
       "ssm_conv1d_k": (4, 1, 64), "ssm_conv1d_v": (4, 1, 64), "ssm_f_a": (64, 16), "ssm_f_b": (16, 64), "ssm_beta": (64, 4),
       "ssm_g_a": (64, 16), "ssm_g_b": (16, 64), "ssm_norm": (16,), "ssm_dt.bias": (64,)}  # fmt: skip
SHORT = {"shortconv.conv": (3, 64), "shortconv.in_proj": (64, 192), "shortconv.out_proj": (64, 64)}
IN_GGUF: dict[str, tuple[str, list[dict[str, tuple[int, ...]]]]] = {  # model: (architecture, its kinds of layers)
    "mixtral-8x7b": ("llama", [NORMS | ATTENTION | EXPERTS]),
    "qwen3-30b-a3b": ("qwen3moe", [NORMS | ATTENTION | QK_NORM | EXPERTS]),
    "olmoe-1b-7b": ("olmoe", [NORMS | ATTENTION | QK_NORM | EXPERTS]),
    "qwen2-57b-a14b": ("qwen2moe", [NORMS | ATTENTION | QKV_BIAS | EXPERTS | GATED_SHARED]),
    "gpt-oss-20b": ("gpt-oss", [GPT_OSS]),
    "deepseek-v2-lite": ("deepseek2", [NORMS | LATENT | {"attn_q": (64, 128)} | one for one in (FFN, EXPERTS | SHARED)]),
    "deepseek-v3": ("deepseek2", [NORMS | LATENT | QUERY | one for one in (FFN, EXPERTS | SHARED | CORRECTED)]),
    "deepseek-v3.2": ("deepseek32", [NORMS | LATENT | QUERY | INDEXER | one for one in (FFN, EXPERTS | SHARED | CORRECTED)]),
    "glm-4.7-flash": ("deepseek2", [NORMS | LATENT | QUERY | one for one in (FFN, EXPERTS | SHARED | CORRECTED)]),
    "glm-4.5": ("glm4moe", [ONE_NORM | ATTENTION | QK_NORM | QKV_BIAS | one for one in (FFN, EXPERTS | SHARED | CORRECTED)]),
    "glm-4.5-air": ("glm4moe", [ONE_NORM | ATTENTION | QKV_BIAS | one for one in (FFN, EXPERTS | SHARED | CORRECTED)]),
    "qwen3-next-80b-a3b": ("qwen3next", [ONE_NORM | one | EXPERTS | GATED_SHARED
                           for one in (DELTA | {"ssm_ba": (64, 8)}, GATED | QK_NORM)]),
    "qwen3.5-35b-a3b": ("qwen35moe", [ONE_NORM | one | EXPERTS | GATED_SHARED
                        for one in (DELTA | {"ssm_alpha": (64, 4), "ssm_beta": (64, 4)}, GATED | QK_NORM)]),
    "gemma-4-26b-a4b": ("gemma4", [GEMMA]),
    "granite-4.0-h-small": ("granitehybrid", [NORMS | one | EXPERTS | SHARED for one in (MAMBA2, ATTENTION)]),
    "jamba-mini-1.6": ("jamba", [NORMS | MAMBA1 | FFN, NORMS | MAMBA1 | EXPERTS, NORMS | ATTENTION | FFN]),
    "nemotron-3-nano-30b-a3b": ("nemotron_h_moe", [{"attn_norm": (64,)} | one for one in (MAMBA2, TWO | CORRECTED, ATTENTION)]),
    "minimax-m2": ("minimax-m2", [NORMS | ATTENTION | QK_NORM | EXPERTS | CORRECTED]),
}  # fmt: skip
ONLY_IN_GGUF: dict[str, tuple[str, list[dict[str, tuple[int, ...]]], Kinds]] = {
    "a gate in a matrix of its own, norms on both sides": ("afmoe", [AFMOE], {(MOE, "output_gate post_norm qk_norm router_bias"): 1}),
    "Kimi's delta attention beside latent rows": ("kimi-linear", [NORMS | one | EXPERTS | SHARED | CORRECTED for one in (KDA, LATENT)],
                                                   {(MOE, "delta_net router_bias"): 1, (MOE, "latent router_bias"): 1}),
    "a short convolution": ("lfm2moe", [NORMS | one | EXPERTS | CORRECTED for one in (SHORT, ATTENTION | QK_NORM)],
                            {(MOE, "router_bias short_conv"): 1, (MOE, "qk_norm router_bias"): 1}),
    "norms behind alone": ("olmoe", [ATTENTION | QK_NORM | EXPERTS | {"post_attention_norm": (64,), "post_ffw_norm": (64,)}],
                           {(MOE, "qk_norm"): 1}),
    "norms without weights": ("llama4", [NORMS | ATTENTION | EXPERTS | SHARED] * 4, {(MOE, "qk_norm"): 3, (MOE, ""): 1}),
    "an indexer without tensors": ("deepseek32", [NORMS | LATENT | QUERY | EXPERTS], {(MOE, "latent query_lora"): 1}),
}  # fmt: skip
FIELDS = {"embedding_length": 64, "expert_count": 4, "expert_used_count": 2, "attention.head_count": 4, "attention.head_count_kv": 2,
          "attention.key_length": 16, "attention.value_length": 16, "ssm.state_size": 8}  # fmt: skip
ROWS = {"attention.kv_lora_rank": 32, "rope.dimension_count": 8, "attention.key_length_mla": 32, "attention.value_length_mla": 16,
        "attention.indexer.top_k": 16, "attention.indexer.head_count": 4, "attention.indexer.key_length": 32,
        "attention.head_count_kv": 1, "kda.head_dim": 16}  # fmt: skip


def gguf(path: Path, family: str, layers: list[dict[str, tuple[int, ...]]]) -> Path:
    fields = FIELDS | (ROWS if any("attn_kv_a_mqa" in layer for layer in layers) else {}) | {"block_count": len(layers)}
    tensors = [
        (
            f"blk.{i}.{name}" if name.endswith((".bias", ".scale")) or name == "ssm_a" else f"blk.{i}.{name}.weight",
            dims,
            0,
        )
        for i, layer in enumerate(layers)
        for name, dims in layer.items()
    ]
    outside = [("token_embd.weight", (64, 100), 0), ("output.weight", (64, 100), 0), ("output_norm.weight", (64,), 0)]
    return write_gguf(path, family, fields, outside + tensors)


@pytest.mark.parametrize("name", IN_GGUF)
def test_a_gguf_file_says_the_same_words_as_the_config(name: str, tmp_path: Path) -> None:
    model = models.load(gguf(tmp_path / "m.gguf", *IN_GGUF[name]))
    assert kinds(model).keys() == KNOWN[name].keys()


@pytest.mark.parametrize("name", ONLY_IN_GGUF)
def test_words_of_other_gguf_files(name: str, tmp_path: Path) -> None:
    family, layers, known = ONLY_IN_GGUF[name]
    assert kinds(models.load(gguf(tmp_path / "m.gguf", family, layers))) == known


# --- architecture ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in KNOWN if name in models.available()])
def test_a_bundled_shape_says_the_same_words_as_the_config(name: str) -> None:
    assert kinds(models.load(name)) == KNOWN[name]


def test_words_of_bundled_shapes_without_a_config() -> None:
    assert kinds(models.load("llama-4-scout")) == {
        (MOE, "qk_norm"): 36,
        (MOE, ""): 12,
    }  # every fourth without rotary positions
    assert kinds(models.load("oracle-moe-4x8")) == {
        (DENSE, "qkv_bias ungated"): 8,
        (MOE, "expert_bias qkv_bias ungated"): 4,
    }


RECURRENT = {"matrix_params": 6000, "state_elements": 500}
MLA = {
    "kind": "mla",
    "heads": 20,
    "kv_lora_rank": 512,
    "q_lora_rank": 768,
    "qk_nope": 192,
    "qk_rope": 64,
    "v_head_dim": 256,
}
GQA = {"kind": "gqa", "heads": 16, "kv_heads": 2, "head_dim": 256}
NEXT = {**GQA, "qk_norm": "head", "output_gate": True, "layers": ["recurrent", "recurrent", "recurrent", "full"],
        "recurrent": {**RECURRENT, "mixer": "delta_net"}}  # fmt: skip
PERIOD = ["recurrent"] * 4 + ["full"] + ["recurrent"] * 3
WORDS_OF: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {  # model: attention, ffn, the rest
    "qwen3-next-80b-a3b": (NEXT, {"shared_d_ff": 512, "shared_gate": True}, {"layers": 48}),
    "glm-4.7-flash": (MLA, {"shared_d_ff": 1536, "router_bias": True, "dense_d_ff": 10240}, {"layers": 47, "moe_layers": {"first": 1}}),
    "deepseek-v3.2": ({**MLA, "indexer": {"topk": 2048, "heads": 64, "head_dim": 128}},
                      {"shared_d_ff": 2048, "router_bias": True, "dense_d_ff": 18432}, {"layers": 61, "moe_layers": {"first": 3}}),
    "jamba-mini-1.6": ({**GQA, "layers": PERIOD, "recurrent": RECURRENT}, {"dense_d_ff": 14336},
                       {"layers": 32, "moe_layers": {"first": 1, "every": 2}}),
    "minimax-text-01": ({**GQA, "layers": ["recurrent"] * 7 + ["full"], "recurrent": {**RECURRENT, "mixer": "lightning"}}, {},
                        {"layers": 80}),
}  # fmt: skip


def architecture(attention: dict[str, Any], ffn: dict[str, Any], **rest: Any) -> dict[str, Any]:
    ffn = {"matrices": 3, "n_experts": 16, "top_k": 2, "expert_d_ff": 512, **ffn}
    whole = {
        "layers": 4,
        "moe_layers": "all",
        "d_model": 2048,
        "vocab": 1000,
        "attention": attention,
        "ffn": ffn,
        **rest,
    }
    return {"schema": 1, "name": "x", "title": "x", "sources": {"architecture": "x"}, "architecture": whole}


@pytest.mark.parametrize("name", WORDS_OF)
def test_an_architecture_says_the_same_words_as_the_config(name: str) -> None:
    attention, ffn, rest = WORDS_OF[name]
    assert kinds(models.shape(architecture(attention, ffn, **rest), "x")) == KNOWN[name]


def test_an_output_gate_has_the_parameters_of_the_config() -> None:
    fields = PUBLISHED["qwen3-next-80b-a3b"]["fields"]
    imported = of_parts(described.parts(described.describe(fields, "x"), "x")).layers[3]
    written = models.shape(architecture(NEXT, {"n_experts": 512, "top_k": 10}), "x").layers[3]
    assert written.attention == imported.attention and written.caches == imported.caches


def test_norms_behind_attention_and_ffn_are_two_more() -> None:
    plain, normed = (models.shape(architecture(GQA, {}, **rest), "x").layers[0] for rest in ({}, {"post_norm": True}))
    assert normed.features == ("post_norm",) and plain.features == ()
    assert normed.attention.params - plain.attention.params == 2 * 2048


# --- what a file may say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, message",
    [
        (["qk_norms"], "features: unknown word 'qk_norms'; did you mean 'qk_norm'? known: latent, query_lora, "),
        ("qk_norm", "features is 'qk_norm'; it must be a list of words such as [qk_norm], [] for none"),
        ([1], "features: unknown word 1; "),
        (["no_mixer", "mamba"], "features names no_mixer and mamba; "),
    ],
)
def test_a_wrong_word_is_one_line(words: Any, message: str) -> None:
    layer = {
        "attention": {"matrix_params": 4},
        "caches": [],
        "expert": {"matrix_params": 4},
        "n_experts": 4,
        "features": words,
    }
    with pytest.raises(UserError) as caught:
        of_parts({"top_k": 1, "head": {"matrix_params": 4}, "layers": [layer]})
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_words_of_experts_need_experts() -> None:
    layer = {"attention": {"matrix_params": 4}, "caches": []}
    moe = {**layer, "expert": {"matrix_params": 4}, "n_experts": 4, "features": ["router_bias", "qk_norm", "qk_norm"]}
    assert of_parts({"top_k": 1, "head": {"matrix_params": 4}, "layers": [moe]}).layers[0].features == (
        "qk_norm",
        "router_bias",
    )
    with pytest.raises(UserError, match="features names router_bias but n_experts is 0"):
        of_parts({"top_k": 1, "head": {"matrix_params": 4}, "layers": [moe, {**layer, "features": ["router_bias"]}]})


def test_every_word_is_said_by_some_model() -> None:
    said = {word for known in KNOWN.values() for _, words in known for word in words.split()}
    said |= {word for *_, known in ONLY_IN_GGUF.values() for _, words in known for word in words.split()}
    assert said == {*FEATURES}


# --- shown, and kept ------------------------------------------------------------------------------------------------


def test_model_show_names_each_kind_of_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "show", "llama-4-scout"]) == 0
    text = capsys.readouterr().out
    assert (
        "  36 layers (0, 1, 2, 4, …): keeps a chunk of 8,192 positions; 16 experts and a shared part; qk_norm\n" in text
    )
    assert "  12 layers (3, 7, 11, 15, …): keeps all positions; 16 experts and a shared part\n" in text
    assert "qk_norm: a norm on queries and keys\n" in text


def test_model_show_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "show", "deepseek-v2-lite", "--format", "q8_0", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(one["layers"], one["features"], one["experts"]) for one in said["kinds"]] == [
        ([0], ["latent"], 0),
        ([*range(1, 27)], ["latent"], 64),
    ]
    assert said["format"] == "q8_0" and said["expert_bytes"] == 26 * 64 * (3 * 2048 * 1408 * 34 // 32)


def test_a_model_kept_by_an_older_version_is_imported_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is found by the importers' own text too, so that a shape without words is never served."""
    from simmoe.workloads.importers import kept

    file, cache = gguf(tmp_path / "m.gguf", *IN_GGUF["qwen3-30b-a3b"]), tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(kept, "cache_folder", lambda: cache)
    with monkeypatch.context() as older:
        older.setattr(kept, "_own_text", lambda: "an older importer")
        wordless = import_model(file)
        for layer in wordless["parts"]["layers"]:
            del layer["features"]
        older.setattr(kept, "import_model", lambda path: wordless)
        assert kept.content(file) == wordless
    assert simmoe.load_model(str(file)).layers[0].features == ("qk_norm",)
