"""Storage formats by the names that people use: block types, which matrix gets which, and the sizes of published files."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.workloads import models
from simmoe.workloads.models import mixes
from simmoe.workloads.models.architecture import expand
from simmoe.workloads.models.blocks import BLOCKS, FALLBACK, fitting
from simmoe.workloads.models.formats import FORMATS, KV_FORMATS, known, known_kv, kv_bytes
from simmoe.workloads.models.mixes import MIXES, Place, block_of
from simmoe.workloads.models.reader import read
from simmoe.workloads.models.schema import ModelFile

PUBLISHED = yaml.safe_load((Path(__file__).parent / "published_sizes.yaml").read_text("utf-8"))
SIZES = [
    (entry["model"], name, size * unit, entry["source"])
    for entry in PUBLISHED
    for key, unit in (("gb", 10**9), ("gib", 2**30))
    for name, size in entry.get(key, {}).items()
]
LARGER_MIXTRAL = {  # Mixtral-8x22B-v0.1, by its config.json
    "layers": 56, "d_model": 6144, "attention": {"heads": 48}, "ffn": {"expert_d_ff": 16384},
}  # fmt: skip


@cache
def load(name: str, format: str) -> ModelShape:
    if name != "mixtral-8x22b":
        return models.load(name, format)
    data = yaml.safe_load((models.FOLDER / "mixtral-8x7b.yaml").read_text("utf-8"))
    data["name"] = name
    for key, value in LARGER_MIXTRAL.items():
        data["architecture"][key] = data["architecture"][key] | value if isinstance(value, dict) else value
    return models.shape(data, name, format)


def total(model: ModelShape) -> int:
    return model.dense_bytes + model.all_expert_bytes


# --- published files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, format, size, source", SIZES, ids=lambda value: str(value)[:40])
def test_a_file_has_its_published_size_within_one_percent(name: str, format: str, size: float, source: str) -> None:
    assert total(load(name, format)) == pytest.approx(size, rel=0.01), source


def test_enough_files_formats_and_models_are_compared() -> None:
    assert len(SIZES) >= 75 and len({name for name, *_ in SIZES}) >= 7
    assert {known(format) for _, format, *_ in SIZES} >= {
        "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_0", "Q4_K_S", "Q4_K_M", "Q5_0", "Q5_K_S", "Q5_K_M", "q6_k", "q8_0", "IQ1_S", "IQ1_M",
        "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS", "MXFP4_MOE", "mxfp4", "nvfp4",
        "fp8", "awq", "gptq", "fp16",
    }  # fmt: skip


# --- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_that_of_the_gguf_package(name: str) -> None:
    gguf = pytest.importorskip("gguf", reason="gguf is not installed, or lacks what it needs itself")
    assert tuple(BLOCKS[name]) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]


@pytest.mark.parametrize(
    "block, columns, expected",
    [("Q4_K", 2048, "Q4_K"), ("Q4_K", 1408, "Q5_0"), ("Q5_K", 1408, "Q5_1"), ("Q6_K", 2880, "Q8_0"), ("Q2_K", 1408, "Q4_0"),
     ("Q3_K", 1408, "Q4_0"), ("IQ1_M", 1408, "IQ4_NL"), ("IQ4_XS", 1408, "IQ4_NL"), ("TQ1_0", 2880, "Q4_0"), ("Q4_K", 100, "F16"),
     ("Q4_K", 0, "Q4_K"), ("MXFP4", 2880, "MXFP4"), ("F16", 7, "F16")],
)  # fmt: skip
def test_a_row_that_is_no_whole_block_falls_back(block: str, columns: int, expected: str) -> None:
    assert fitting(block, columns) == expected


def test_a_row_without_a_fallback_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"rows of 2860 weights are no whole MXFP4 blocks of 32.*choose a format of 16 bit"
    ):
        fitting("MXFP4", 2860)
    assert all(BLOCKS[block].weights == 256 and BLOCKS[other].weights == 32 for block, other in FALLBACK.items())


# --- which matrix gets which type -----------------------------------------------------------------------------------

QWEN = {"n_layers": 48, "n_values": 48, "n_experts": 128, "grouped": 8}
MIXTRAL = {"n_layers": 32, "n_values": 32, "n_experts": 8, "grouped": 4}
ALONE = {"n_layers": 16, "n_values": 16, "n_experts": 64, "grouped": 1}


@pytest.mark.parametrize(
    "mix, role, layers, facts, expected",
    [
        ("Q4_K_M", "ffn_down", (0, 5, 8, 11, 41, 42, 47), QWEN, "Q6_K"),  # the first and last eighth, and every third between
        ("Q4_K_M", "ffn_down", (6, 7, 9, 10, 40), QWEN, "Q4_K"),
        ("Q4_K_M", "attn_v", (0, 8, 47), QWEN, "Q6_K"),
        ("Q4_K_M", "attn_v", (6, 7), QWEN, "Q4_K"),
        ("Q4_K_M", "attn_k", (0,), QWEN, "Q4_K"),
        ("Q5_K_M", "ffn_down", (0,), QWEN, "Q6_K"),
        ("Q4_K_S", "attn_v", (0, 3), QWEN, "Q5_K"),
        ("Q4_K_S", "attn_v", (4,), QWEN, "Q4_K"),
        ("Q4_K_S", "ffn_down", (5,), QWEN, "Q5_K"),
        ("Q4_K_S", "ffn_down", (6,), QWEN, "Q4_K"),
        ("Q3_K_M", "ffn_down", (2,), QWEN, "Q5_K"),
        ("Q3_K_M", "ffn_down", (3,), QWEN, "Q4_K"),
        ("Q3_K_M", "attn_v", (1,), QWEN, "Q5_K"),
        ("Q3_K_M", "attn_v", (2,), QWEN, "Q4_K"),
        ("Q3_K_M", "attn_output", (0,), QWEN, "Q4_K"),
        ("Q3_K_L", "ffn_down", (30,), QWEN, "Q5_K"),
        ("Q2_K", "ffn_down", (30,), QWEN, "Q3_K"),
        ("Q2_K", "attn_v", (0,), QWEN, "Q4_K"),
        ("Q2_K", "attn_v", (0,), ALONE, "Q3_K"),
        ("Q2_K_S", "ffn_down", (5,), QWEN, "Q4_K"),
        ("Q2_K_S", "ffn_down", (6,), QWEN, "Q2_K"),
        ("Q5_0", "ffn_down", (0,), QWEN, "Q5_0"),
        ("Q4_K_M", "attn_v", (8,), MIXTRAL, "Q8_0"),  # eight experts: keys and values in 8 bit
        ("Q4_K_M", "attn_k", (8,), MIXTRAL, "Q8_0"),
        ("Q4_K_M", "attn_output", (8,), MIXTRAL, "Q5_K"),
        ("Q5_K_M", "attn_output", (8,), MIXTRAL, "Q5_K"),
        ("Q4_0", "attn_output", (8,), MIXTRAL, "Q4_0"),
        ("IQ2_XXS", "attn_k", (8,), MIXTRAL, "Q4_K"),
        ("IQ3_XXS", "attn_q", (0,), QWEN, "IQ2_S"),
        ("IQ3_XXS", "attn_output", (0,), QWEN, "IQ3_S"),
        ("IQ3_XS", "ffn_up", (5, 42), QWEN, "IQ3_S"),
        ("IQ3_XS", "ffn_gate", (6, 41), QWEN, "IQ3_XXS"),
        ("IQ3_M", "ffn_down", (5,), QWEN, "Q4_K"),
        ("IQ3_M", "ffn_down", (6, 8), QWEN, "IQ3_S"),
        ("IQ3_M", "ffn_down", (6,), MIXTRAL, "Q4_K"),
        ("IQ4_XS", "attn_v", (0,), QWEN, "Q5_K"),
        ("IQ4_XS", "attn_v", (0,), ALONE, "IQ4_XS"),
        ("IQ2_S", "ffn_up", (0,), QWEN, "IQ2_XS"),
        ("IQ2_M", "attn_output", (0,), QWEN, "IQ3_S"),
        ("IQ1_S", "attn_output", (0,), QWEN, "IQ2_XXS"),
        ("TQ2_0", "ffn_up", (0,), QWEN, "TQ2_0"),
        ("NVFP4_GGUF", "ffn_up", (0,), QWEN, "NVFP4"),
        ("MXFP4_MOE", "attn_q", (0,), QWEN, "Q8_0"),
        ("MXFP4_MOE", "attn_k_b", (0,), QWEN, "MXFP4"),  # stacked by heads, which the quantiser takes for experts
        ("MXFP4_MOE", "ffn_up", (0,), {**QWEN, "routed": True}, "MXFP4"),
        ("MXFP4_MOE", "ffn_up", (0,), QWEN, "Q8_0"),
        ("Q4_K_M", "position_embd", (0,), QWEN, "F32"),
    ],
)  # fmt: skip
def test_the_type_of_a_matrix(
    mix: str, role: str, layers: tuple[int, ...], facts: dict[str, Any], expected: str
) -> None:
    found = [block_of(mix, role, 2048, Place(layer=i, values=i, downs=i, **facts)) for i in layers]
    assert found == [expected] * len(layers)


@pytest.mark.parametrize(
    "mix, output, embedding",
    [("Q4_K_M", "Q6_K", "Q4_K"), ("Q2_K", "Q6_K", "Q2_K"), ("IQ1_S", "Q5_K", "Q2_K"), ("IQ2_S", "Q5_K", "IQ3_S"),
     ("IQ3_XXS", "Q5_K", "IQ3_S"), ("IQ3_S", "Q6_K", "IQ3_S"), ("IQ4_NL", "Q6_K", "IQ4_NL"), ("TQ1_0", "Q6_K", "Q4_K"),
     ("MXFP4_MOE", "Q8_0", "Q8_0"), ("NVFP4_GGUF", "Q6_K", "NVFP4")],
)  # fmt: skip
def test_the_types_of_head_and_embedding(mix: str, output: str, embedding: str) -> None:
    assert block_of(mix, "output", 2048, mixes.OUTSIDE) == output
    assert block_of(mix, "token_embd", 2048, mixes.OUTSIDE) == embedding
    assert block_of(mix, "output", 2880, mixes.OUTSIDE) == "Q8_0"  # 45 blocks of 64, but no whole blocks of 256


@pytest.mark.parametrize(
    "name, n_values, grouped, n_experts, downs",
    [
        ("qwen3-30b-a3b", 48, 8, 128, [0, 1, 2]),
        ("olmoe-1b-7b", 16, 1, 64, [0, 1, 2]),
        ("mixtral-8x7b", 32, 4, 8, [0, 1, 2]),
        (
            "deepseek-v2-lite",
            0,
            1,
            64,
            [0, 1, 3],
        ),  # a dense layer, then routed and shared experts; no attn_v of its own
    ],
)
def test_where_a_layer_stands(name: str, n_values: int, grouped: int, n_experts: int, downs: list[int]) -> None:
    data = yaml.safe_load((models.FOLDER / f"{name}.yaml").read_text("utf-8"))
    found = mixes.places(expand(read(ModelFile, data, name).architecture))
    assert {(at.n_values, at.grouped, at.n_experts, at.n_layers) for at in found} == {
        (n_values, grouped, n_experts, len(found))
    }
    assert [at.downs for at in found[:3]] == downs and [at.layer for at in found] == list(range(len(found)))
    assert [at.values for at in found] == (list(range(n_values)) or [0] * len(found))


def test_bytes_of_a_layer_follow_its_matrices() -> None:
    """DeepSeek-V2-Lite, whose experts have rows of 2,048 (up and gate) and 1,408 weights (down), no multiple of 256."""
    matrix = 2048 * 1408
    finer, coarser = (
        2 * matrix * 4.5 / 8 + matrix * bits / 8 for bits in (8.5, 5.5)
    )  # Q6_K and Q4_K fall back to Q8_0 and Q5_0
    found = [layer.expert.bytes for layer in load("deepseek-v2-lite", "Q4_K_M").layers]
    assert found[:8] == [
        0,
        finer,
        finer,
        coarser,
        coarser,
        finer,
        coarser,
        coarser,
    ]  # the first is dense; an eighth is three layers
    attention = load("qwen3-30b-a3b", "Q4_K_M").layers[6].attention
    assert attention.bytes == (2 * 4096 + 2 * 512) * 2048 * 4.5 / 8 + 4 * (
        128 * 2048 + 2 * 2048 + 2 * 128
    )  # the rest in 32 bit


def test_layers_of_a_mix_are_of_few_kinds() -> None:
    """Costs are counted once for each kind of layer."""
    counts = {mix: len(set(load("qwen3-30b-a3b", mix).layers)) for mix in MIXES}
    assert counts["Q4_K_M"] == 2 and counts["Q4_0"] == 1 and max(counts.values()) <= 4


def test_a_mix_is_finer_than_the_pure_format_and_coarser_than_the_next() -> None:
    sizes = [
        total(load("qwen3-30b-a3b", name))
        for name in ("Q3_K_L", "q4_k", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "q6_k", "q8_0")
    ]
    assert sizes == sorted(set(sizes))


def test_scales_and_indices_of_the_hub_formats() -> None:
    """One expert of Qwen3-30B: gate and up have 768 rows of 2,048 weights, down has 2,048 rows of 768."""
    matrix = 2048 * 768
    assert load("qwen3-30b-a3b", "awq").layers[0].expert.bytes == 3 * (matrix / 2 + matrix / 128 * 2.5)
    assert load("qwen3-30b-a3b", "gptq").layers[0].expert.bytes == 3 * (matrix / 2 + matrix / 128 * 2.5) + 4 * (
        2048 + 2048 + 768
    )
    assert load("qwen3-30b-a3b", "nvfp4").layers[0].expert.bytes == 3 * (matrix / 2 + matrix / 16)
    assert load("qwen3-30b-a3b", "fp8_block").layers[0].expert.bytes == 3 * (matrix + matrix / 128**2 * 4)
    for name in ("awq", "gptq", "nvfp4", "fp8_block"):
        assert load("qwen3-30b-a3b", name).head.bytes == load("qwen3-30b-a3b", "bf16").head.bytes


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written, name",
    [("q4_k_m", "Q4_K_M"), ("Q4-K-M", "Q4_K_M"), ("q4_K_M", "Q4_K_M"), ("iq2_xxs", "IQ2_XXS"), ("MXFP4", "mxfp4"),
     ("mxfp4-moe", "MXFP4_MOE"), ("Q8_0", "q8_0"), ("Q6_K", "q6_k"), ("F16", "fp16"),
     ("BF16", "bf16"), ("F32", "fp32"), ("FP8-block", "fp8_block"), ("AWQ", "awq"),
     ("Stored", "stored")],
)  # fmt: skip
def test_a_name_is_matched_without_regard_to_case_and_hyphens(written: str, name: str) -> None:
    assert known(written) == name


def test_no_two_formats_have_one_name() -> None:
    assert len({name.lower() for name in FORMATS}) == len(FORMATS)


def test_an_unknown_name_gets_the_nearest_and_a_mix_of_its_maker_an_import() -> None:
    with pytest.raises(UserError, match=r"unknown format 'Q4_K_X'; did you mean 'Q4_K_S'\? known: fp32"):
        known("Q4_K_X")
    for name in ("UD-Q4_K_XL", "Q2_K_XL", "ud-iq1_s"):
        with pytest.raises(
            UserError, match="follow no rule but a list of their own for each file; import the GGUF file"
        ):
            known(name)
    with pytest.raises(UserError, match=r"unknown KV format 'q8_1'; did you mean 'q8_0'\? known: f32, f16"):
        known_kv("q8_1")
    assert (known_kv("FP16"), known_kv("Q8-0"), known_kv("bf16")) == ("f16", "q8_0", "bf16")


# --- roles of a model file ------------------------------------------------------------------------------------------

PARTS: dict[str, Any] = {
    "schema": 1, "name": "file", "title": "two layers of a file", "sources": {"parts": "made up for a test"},
    "parts": {
        "top_k": 1,
        "head": {"matrix_params": 25600, "stored_bytes": 21000, "roles": {"output": [256, 25600]}},
        "layers": [{
            "attention": {"matrix_params": 2048, "router_params": 8, "stored_bytes": 1700,
                          "roles": {"attn_v": [256, 512], "attn_output": [256, 1024]}},
            "kv_elements_per_position": 64, "flops_per_position": 16,
            "expert": {"matrix_params": 512, "stored_bytes": 288, "roles": {"ffn_down": [256, 512]}}, "n_experts": 4,
        }] * 2,
    },
}  # fmt: skip


def test_parts_with_roles_take_a_mix() -> None:
    model = models.shape(PARTS, "file.yaml", "Q4_K_M")
    # attn_v of layer 1 of 2 is in the last eighth: Q6_K; attn_output and what no role names: Q4_K; the router in 32 bit
    assert model.layers[1].attention.bytes == 2 * 210 + 4 * 144 + 2 * 144 + 8 * 4
    assert (model.layers[1].expert.bytes, model.head.bytes) == (2 * 210, 100 * 210)


@pytest.mark.parametrize(
    "change, line",
    [
        ({}, r"format Q4_K_M sizes each kind of matrix in its own way, but parts\.\S+ does not say which it holds \(roles"),
        ({"ffn_dwon": [256, 512]}, r"unknown role 'ffn_dwon'; did you mean 'ffn_down'\?"),
        ({"ffn_down": [256]}, r"roles\.ffn_down is \[256\]; it must be \[columns, params\]"),
        ({"ffn_down": [100, 512]}, r"roles\.ffn_down is \[100, 512\]; it must be \[columns, params\]"),
        ({"ffn_down": [256, 512], "ffn_up": [256, 512]}, r"roles name 1024 parameters of 512 matrix_params"),
        ("ffn_down", r"roles is 'ffn_down'; it must be a mapping"),
    ],
)  # fmt: skip
def test_wrong_roles_are_one_line(change: Any, line: str) -> None:
    data = copy.deepcopy(PARTS)
    data["parts"]["layers"][1]["expert"]["roles"] = change
    with pytest.raises(UserError, match=line):
        models.shape(data, "file.yaml", "Q4_K_M")


def test_a_mix_sizes_an_indexer_and_what_stands_in_place_of_attention() -> None:
    """Every kind of layer says its matrices: rows of an indexer by their length, those of a recurrent layer as the type of the rest."""
    data = yaml.safe_load((models.FOLDER / "deepseek-v2-lite.yaml").read_text("utf-8"))
    data["architecture"]["attention"]["indexer"] = {"topk": 64, "heads": 4, "head_dim": 128}
    plain, picked = models.load("deepseek-v2-lite", "Q4_K_M"), models.shape(data, "picked", "Q4_K_M")
    more = picked.layers[5].attention.bytes - plain.layers[5].attention.bytes
    assert more == 2048 * (4 * 128 + 128 + 4) * 4.5 / 8 + 2 * 128 * 4
    data = yaml.safe_load((models.FOLDER / "qwen3-30b-a3b.yaml").read_text("utf-8"))
    recurrent = {"matrix_params": 2**20, "state_elements": 1024}
    data["architecture"]["attention"] |= {
        "layers": ["recurrent", "recurrent", "recurrent", "full"],
        "recurrent": recurrent,
    }
    mixed = models.shape(data, "mixed", "Q4_K_M")
    assert mixed.layers[0].attention.bytes == 2**20 * 4.5 / 8 + 4 * (128 * 2048 + 2 * 2048)
    values = [
        layer.attention.bytes for layer in mixed.layers[3::4]
    ]  # 12 layers have values: the first is finer, the second is not
    assert values[0] > values[1] == plain_attention(data)


def plain_attention(data: dict[str, Any]) -> float:
    """Bytes of the attention of Qwen3-30B with every matrix in Q4_K."""
    a = data["architecture"]["attention"]
    heads = a["head_dim"] * (2 * a["heads"] + 2 * a["kv_heads"])
    return 2048 * heads * 4.5 / 8 + 4 * (128 * 2048 + 2 * 2048 + 2 * a["head_dim"])


# --- the KV cache ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kv, bytes_of_1024",
    [("f32", 4096), ("f16", 2048), ("bf16", 2048), ("fp8", 1024), ("q8_0", 1088), ("q5_1", 768), ("q5_0", 704), ("q4_1", 640),
     ("q4_0", 576), ("iq4_nl", 576)],
)  # fmt: skip
def test_bytes_of_the_kv_cache(kv: str, bytes_of_1024: int) -> None:
    """Qwen3-30B keeps 4 heads of 128 keys and values, 1,024 numbers of each position, in each of 48 layers."""
    assert kv_bytes(1024, kv) == bytes_of_1024
    model = models.load("qwen3-30b-a3b", "Q4_K_M", kv)
    assert (model.kv_format, model.kv_bytes_per_position) == (kv, 48 * bytes_of_1024)


def test_every_kv_format_is_tried_above_and_the_usual_one_keeps_the_digest() -> None:
    assert len(KV_FORMATS) == 10
    plain, said, other = (models.load("olmoe-1b-7b", "fp16", kv) for kv in (None, "f16", "q8_0"))
    assert plain == said and plain.digest != other.digest and plain.kv_format == "f16"
    assert models.load("olmoe-1b-7b", "fp32").kv_format == "f32"


def test_a_layer_that_keeps_no_whole_blocks_is_refused() -> None:
    with pytest.raises(
        UserError, match="KV format q8_0 stores blocks of 32, but a layer keeps 40 numbers of each position; choose f16"
    ):
        kv_bytes(40, "q8_0")
