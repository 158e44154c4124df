"""What each layer of a GGUF file keeps, by its metadata and tensors; bytes of ggml types. Whole files: test_model_import.py."""

from __future__ import annotations

from typing import Any

import pytest

from simmoe.workloads.importers import attention_gguf
from simmoe.workloads.importers.ggml_types import GGML_TYPES, nbytes
from simmoe.workloads.importers.gguf_header import TensorInfo
from simmoe.workloads.importers.metadata_gguf import Metadata

GQA = {
    "attention.head_count": 16,
    "attention.head_count_kv": 2,
    "attention.key_length": 64,
    "attention.value_length": 64,
}
MLA = {"attention.head_count": 8, "attention.head_count_kv": 1, "attention.kv_lora_rank": 512, "rope.dimension_count": 64,
       "attention.key_length": 576, "attention.value_length": 512, "attention.key_length_mla": 192,
       "attention.value_length_mla": 128}  # fmt: skip
ATTENTION = {"attn_q": (512, 1024), "attn_k": (512, 128), "attn_v": (512, 128), "attn_output": (1024, 512)}
LATENT = {"attn_q_b": (96, 1536), "attn_kv_a_mqa": (512, 576), "attn_output": (1024, 512)}


def kept(
    family: str, fields: dict[str, Any], *layers: dict[str, tuple[int, ...]]
) -> list[tuple[list[tuple[int, ...]], int]]:
    """(elements, flops, kept, read, chunked) of each cache, and elements of the state, by layer."""
    said = {"general.architecture": family, **{f"{family}.{key}": value for key, value in fields.items()}}
    metadata = Metadata({**said, f"{family}.block_count": len(layers), f"{family}.embedding_length": 512}, "m.gguf")
    tensors = [
        TensorInfo(f"blk.{i}.{name}.weight", dims, 0, 0)
        for i, layer in enumerate(layers)
        for name, dims in layer.items()
    ]
    keys = ("elements_per_position", "flops_per_position", "kept", "read", "chunked")
    return [([tuple(int(one.get(key, 0)) for key in keys) for one in fact.caches], fact.state_elements)
            for fact in attention_gguf.kept(metadata, tensors)]  # fmt: skip


def test_grouped_keys_and_values() -> None:
    assert kept("qwen3moe", GQA, ATTENTION) == [([(2 * 128, 2 * 16 * 128, 0, 0, 0)], 0)]


def test_windows_by_the_pattern_of_llama_cpp() -> None:
    oss = kept("gpt-oss", {**GQA, "attention.sliding_window": 128}, *[ATTENTION] * 4)
    assert [caches[0][2] for caches, _ in oss] == [128, 0, 128, 0]
    llama = kept("llama4", GQA, *[ATTENTION] * 8)
    assert [(caches[0][2], caches[0][4]) for caches, _ in llama] == [(8192, 1), (8192, 1), (8192, 1), (0, 0)] * 2
    first = kept("smallthinker", {**GQA, "attention.sliding_window": 64}, *[ATTENTION] * 4)
    assert [caches[0][2] for caches, _ in first] == [0, 64, 64, 64]
    said = kept(
        "other", {**GQA, "attention.sliding_window": 64, "attention.sliding_window_pattern": 3}, *[ATTENTION] * 4
    )
    assert [caches[0][2] for caches, _ in said] == [64, 64, 0, 64]
    assert kept("mixtral", {**GQA, "attention.sliding_window": 64}, ATTENTION)[0][0][0][2] == 0


def test_latent_rows_and_an_indexer() -> None:
    assert kept("deepseek2", MLA, LATENT) == [([(576, 2 * 8 * (576 + 512), 0, 0, 0)], 0)]
    picks = {"attention.indexer.top_k": 2048, "attention.indexer.head_count": 4, "attention.indexer.key_length": 128}
    with_indexer = {**LATENT, "indexer.attn_k": (512, 128)}
    row, keys = kept("glm-dsa", {**MLA, **picks}, with_indexer)[0][0]
    assert (row[0], row[3]) == (576, 2048) and keys == (128, 2 * 4 * 128, 0, 0, 0)
    assert kept("glm-dsa", {**MLA, **picks}, LATENT)[0][0][0][3] == 0  # a file without its matrices: nothing picks


def test_a_file_older_than_latent_caches_keeps_every_head() -> None:
    old = {**MLA, "attention.head_count_kv": 8, "attention.key_length": 192, "attention.value_length": 128}
    del old["attention.key_length_mla"], old["attention.value_length_mla"]
    assert kept("deepseek2", old, LATENT) == [([(8 * 320, 2 * 8 * 320, 0, 0, 0)], 0)]


RECURRENT = {  # family: (metadata, tensors of the layer, elements of its state)
    "delta network (Qwen3-Next)": ("qwen3next", {"ssm.state_size": 128}, {"attn_qkv": (512, 1024), "attn_gate": (512, 512),
                                   "ssm_a": (4,), "ssm_conv1d": (4, 1024), "ssm_out": (512, 512)}, 512 * 128 + 3 * 1024),
    "Mamba (Jamba)": ("jamba", {"ssm.state_size": 16}, {"ssm_in": (512, 2048), "ssm_a": (16, 1024), "ssm_conv1d": (4, 1024),
                      "ssm_out": (1024, 512)}, 16 * 1024 + 3 * 1024),
    "Mamba-2": ("granitehybrid", {"ssm.state_size": 128}, {"ssm_in": (512, 3000), "ssm_a": (1, 16), "ssm_conv1d": (4, 1280),
                "ssm_out": (1024, 512)}, 1024 * 128 + 3 * 1280),
    "Kimi's delta attention": ("kimi-linear", {"kda.head_dim": 128}, {**ATTENTION, "ssm_a": (1, 4), "ssm_conv1d_q": (4, 1, 512),
                               "ssm_conv1d_k": (4, 1, 512), "ssm_conv1d_v": (4, 1, 512)}, 512 * 128 + 3 * 3 * 512),
    "short convolution (LFM2)": ("lfm2moe", {}, {"shortconv.conv": (3, 512), "shortconv.in_proj": (512, 1536)}, 2 * 512),
}  # fmt: skip


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_layer_keeps_a_state_and_no_cache(name: str) -> None:
    family, fields, tensors, state = RECURRENT[name]
    layers = kept(family, {**GQA, **fields}, tensors, ATTENTION)
    assert layers == [([], state), ([(256, 4096, 0, 0, 0)], 0)]


def test_attention_beside_a_state() -> None:
    """Falcon-H1: both in one layer."""
    both = {**ATTENTION, "ssm_in": (512, 3000), "ssm_a": (1, 16), "ssm_conv1d": (4, 1280), "ssm_out": (1024, 512)}
    assert kept("falcon-h1", {**GQA, "ssm.state_size": 128}, both) == [([(256, 4096, 0, 0, 0)], 1024 * 128 + 3 * 1280)]


def test_a_block_without_kv_heads_keeps_nothing() -> None:
    fields = {**GQA, "attention.head_count": [0, 16], "attention.head_count_kv": [0, 2]}
    assert [len(caches) for caches, _ in kept("nemotron_h_moe", fields, {"ffn_up_exps": (512, 96, 8)}, ATTENTION)] == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    ("name", "row", "nbytes_of_a_row"),
    [  # from the fork's ggml.c: type_size * row / blck_size + row_meta_size
        ("IQ4_KS", 256, 136 + 4), ("IQ2_KS", 512, 2 * 70 + 2), ("IQ4_KSS", 1024, 4 * 128 + 4), ("IQ3_KT", 256, 100 + 4),
        ("IQ2_KL", 256, 86 + 2), ("IQ4_KS_R4", 256, 136 + 4), ("Q4_K_R4", 256, 144), ("IQ1_M_R4", 64, 14 + 2), ("MXFP4_R8", 64, 34),
        ("Q8_KV", 32, 32 + 8), ("NVFP4", 128, 72),
    ],
)  # fmt: skip
def test_bytes_of_a_row(name: str, row: int, nbytes_of_a_row: int) -> None:
    number = next(number for number, (known, *_) in GGML_TYPES.items() if known == name)
    assert nbytes(number, (row, 3, 2)) == 6 * nbytes_of_a_row


def test_no_two_types_have_one_name() -> None:
    assert len({name for name, *_ in GGML_TYPES.values()}) == len(GGML_TYPES)
