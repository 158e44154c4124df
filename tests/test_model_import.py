"""Importers: configurations, GGUF and safetensors headers from the formats' own libraries; bad files are one line."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from simmoe.simulator.errors import UserError
from simmoe.workloads import models
from simmoe.workloads.importers.ggml_types import GGML_TYPES
from simmoe.workloads.importers.model import import_model, write_shape
from simmoe.workloads.importers.places import Around, Named, place

gguf = pytest.importorskip("gguf", reason="gguf writes the headers that are read back")
transformers = pytest.importorskip("transformers", reason="transformers writes the config.json that is read back")
pytestmark = pytest.mark.real

# family: (config class, published values, parameters of its model class in transformers 5.23, published total)
CONFIGS: dict[str, tuple[str, dict[str, Any], int, float]] = {
    "mixtral-8x7b": (
        "MixtralConfig",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "vocab_size": 32000,
        },
        46_702_792_704,
        46.7e9,
    ),
    "olmoe-1b-7b": (
        "OlmoeConfig",
        {
            "hidden_size": 2048,
            "intermediate_size": 1024,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "num_experts": 64,
            "num_experts_per_tok": 8,
            "vocab_size": 50304,
        },
        6_919_161_856,
        6.92e9,
    ),
    "qwen3-30b-a3b": (
        "Qwen3MoeConfig",
        {
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "vocab_size": 151936,
        },
        30_532_122_624,
        30.5e9,
    ),
    "qwen1.5-moe-a2.7b": (
        "Qwen2MoeConfig",
        {
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "shared_expert_intermediate_size": 5632,
            "vocab_size": 151936,
        },
        14_315_784_192,
        14.3e9,
    ),
    "deepseek-v2-lite": (
        "DeepseekV2Config",
        {
            "hidden_size": 2048,
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "q_lora_rank": None,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "vocab_size": 102400,
        },
        15_706_484_224,
        15.7e9,
    ),
    "deepseek-v3": (
        "DeepseekV3Config",
        {
            "hidden_size": 7168,
            "intermediate_size": 18432,
            "moe_intermediate_size": 2048,
            "num_hidden_layers": 61,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "first_k_dense_replace": 3,
            "q_lora_rank": 1536,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "vocab_size": 129280,
        },
        671_026_419_200,
        671e9,
    ),
    "gpt-oss-20b": (
        "GptOssConfig",
        {
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_hidden_layers": 24,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "vocab_size": 201088,
        },
        20_914_757_184,
        20.9e9,
    ),
}
Q4, Q6, Q8, F16, F32, MX = "Q4_K", "Q6_K", "Q8_0", "F16", "F32", "MXFP4"


def save_config(folder: Path, name: str, **more: Any) -> Path:
    cls, fields, _, _ = CONFIGS[name]
    if not hasattr(transformers, cls):
        pytest.skip(f"this version of transformers has no {cls}")
    folder.mkdir(exist_ok=True)
    getattr(transformers, cls)(**{**fields, **more}).save_pretrained(folder)
    return folder / "config.json"


# --- config.json ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_gives_the_published_total(tmp_path: Path, name: str) -> None:
    data = import_model(save_config(tmp_path / name, name))
    model = models.shape(data, name)
    assert (model.name, model.format, model.total_params) == (name, "fp16", CONFIGS[name][2])
    assert model.total_params == pytest.approx(CONFIGS[name][3], rel=0.01)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name in models.available()])
def test_a_config_gives_the_bundled_model(tmp_path: Path, name: str) -> None:
    model, bundled = models.shape(import_model(save_config(tmp_path / name, name)), name), models.load(name, "fp16")
    assert (model.layers, model.head, model.embedding, model.top_k) == (
        bundled.layers,
        bundled.head,
        bundled.embedding,
        bundled.top_k,
    )


def test_dense_layers_of_a_qwen_config(tmp_path: Path) -> None:
    path = save_config(tmp_path / "q", "qwen3-30b-a3b", decoder_sparse_step=2, mlp_only_layers=[1, 47])
    model = models.shape(import_model(path), "q")
    assert model.moe_layers == tuple(range(3, 47, 2))
    assert model.layers[0].ffn.params == 3 * 2048 * 6144


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"model_type": "llama"},
            "config.json: no layer has routed experts; only Mixture-of-Experts models can be imported",
        ),
        ({"model_type": "llama7"}, "has no class for model_type 'llama7'; a newer one may have it"),
        ({"model_type": None}, "model_type is None; is it the config.json of a Hugging Face model?"),
        ({"hidden_size": None}, "config.json: hidden_size or d_model is missing; is the file complete"),
        (
            {"num_local_experts": None},
            "num_experts or num_local_experts or n_routed_experts or moe_num_experts is missing",
        ),
        ({"num_hidden_layers": "32"}, "num_hidden_layers is '32'; it must be a whole number"),
        ({"vocab_size": -1}, "vocab_size is -1; it must be a whole number"),
        ({"num_experts_per_tok": 9}, "top_k is 9 but the fewest experts of a layer are 8"),
        ({"num_key_value_heads": 5}, "num_key_value_heads is 5; it must divide num_attention_heads, 32"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; it must be a whole number from 1 to 1024"),
    ],
)
def test_a_bad_config_is_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = save_config(tmp_path / "m", "mixtral-8x7b")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert message in error_of(path)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("config.json", b"", "config.json is not a plain JSON file"),
        ("config.json", b'{"model_type": "mixtral"', "config.json is not a plain JSON file"),
        ("config.json", b"\xff\xfe", "config.json cannot be read as a JSON file"),
        ("config.json", b"[" * 200_000, "config.json is not a plain JSON file"),
        ("config.json", b"[1]", "config.json holds a list"),
        ("model.bin", b"x", "model.bin: cannot tell what it is; give config.json, *.gguf"),
        ("model.gguf", b"", "model.gguf is not a GGUF file: it starts with b''"),
        ("model.gguf", b"GGML" + bytes(100), "model.gguf is not a GGUF file: it starts with b'GGML'"),
        ("model.gguf", b"GGUF\x01\0\0\0" + bytes(100), "GGUF version 1; versions 2 and 3"),
        ("model.gguf", b"GGUF\0\0\0\x03" + bytes(100), "GGUF version 50331648; versions 2 and 3"),
        ("model.gguf", b"GGUF\x03\0\0\0" + b"\xff" * 16, "model.gguf is truncated or damaged"),
        ("model.safetensors", b"abc", "config.json is not beside model.safetensors"),
    ],
)
def test_a_file_of_the_wrong_kind_is_one_line(tmp_path: Path, name: str, text: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(text)
    assert message in error_of(tmp_path / name)


def test_a_folder_or_nothing_is_one_line(tmp_path: Path) -> None:
    assert "holds no config.json, *.gguf, *.safetensors or model.safetensors.index.json" in error_of(tmp_path)
    assert "does not exist; give a file or folder" in error_of(tmp_path / "config.json")


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        import_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- GGUF -----------------------------------------------------------------------------------------------------------

Tensors = list[tuple[str, tuple[int, ...], str]]  # name, shape as numpy has it, ggml type


def write_gguf(path: Path, arch: str, fields: dict[str, Any], tensors: Tensors, called: str = "a test") -> Path:
    """A header as llama.cpp's own writer makes it, without any tensor data."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(called)
    writer.add_token_list(["<s>", "a", "b"])  # arrays of strings and floats are skipped over
    writer.add_token_scores([0.0, -1.0, -2.0])
    for key, value in fields.items():
        (writer.add_array if isinstance(value, list) else writer.add_uint32)(f"{arch}.{key}", value)
    for name, shape, kind in tensors:
        size = gguf_bytes(shape, kind)
        writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path


def gguf_bytes(shape: tuple[int, ...], kind: str) -> int:
    return math.prod(gguf.quant_shape_to_byte_shape(shape, gguf.GGMLQuantizationType[kind]))


def sums(tensors: Tensors) -> tuple[int, int]:
    """Parameters and bytes of the tensors."""
    return sum(math.prod(shape) for _, shape, _ in tensors), sum(gguf_bytes(shape, kind) for _, shape, kind in tensors)


def totals(model: Any) -> tuple[int, int]:
    return model.total_params, model.dense_bytes + model.all_expert_bytes


def gqa(i: int, d: int, q: int, kv: int, kind: str) -> Tensors:
    return [
        (f"blk.{i}.attn_norm.weight", (d,), F32),
        (f"blk.{i}.ffn_norm.weight", (d,), F32),
        (f"blk.{i}.attn_q.weight", (q, d), kind),
        (f"blk.{i}.attn_k.weight", (kv, d), kind),
        (f"blk.{i}.attn_v.weight", (kv, d), kind),
        (f"blk.{i}.attn_output.weight", (d, q), kind),
    ]


def experts(i: int, d: int, ff: int, n: int, kind: str, down: str) -> Tensors:
    matrices = {"gate": ((n, ff, d), kind), "up": ((n, ff, d), kind), "down": ((n, d, ff), down)}
    router: Tensors = [(f"blk.{i}.ffn_gate_inp.weight", (n, d), F32)]
    return router + [(f"blk.{i}.ffn_{name}_exps.weight", *matrix) for name, matrix in matrices.items()]


def qwen3(layers: int = 48, head: bool = True) -> tuple[dict[str, Any], Tensors]:
    """Qwen3-30B-A3B as Q4_K_M: half of the layers keep their down-projections in Q6_K."""
    fields = {
        "block_count": layers,
        "embedding_length": 2048,
        "expert_count": 128,
        "expert_used_count": 8,
        "attention.head_count": 32,
        "attention.head_count_kv": 4,
        "attention.key_length": 128,
        "attention.value_length": 128,
    }
    tensors: Tensors = [("token_embd.weight", (151936, 2048), Q4), ("output_norm.weight", (2048,), F32)]
    tensors += [("output.weight", (151936, 2048), Q6)] if head else []
    for i in range(layers):
        tensors += gqa(i, 2048, 4096, 512, Q4) + experts(i, 2048, 768, 128, Q4, Q6 if i % 2 else Q4)
        tensors += [(f"blk.{i}.attn_q_norm.weight", (128,), F32), (f"blk.{i}.attn_k_norm.weight", (128,), F32)]
    return fields, tensors


def gpt_oss() -> tuple[dict[str, Any], Tensors]:
    fields = {
        "block_count": 24,
        "embedding_length": 2880,
        "expert_count": 32,
        "expert_used_count": 4,
        "attention.head_count": 64,
        "attention.head_count_kv": 8,
        "attention.key_length": 64,
        "attention.value_length": 64,
        "attention.sliding_window": 128,
    }
    tensors: Tensors = [
        ("token_embd.weight", (201088, 2880), Q8),
        ("output.weight", (201088, 2880), Q8),
        ("output_norm.weight", (2880,), F32),
    ]
    for i in range(24):
        tensors += gqa(i, 2880, 4096, 512, Q8) + experts(i, 2880, 2880, 32, MX, MX)
        biases = {
            "attn_q": (4096,),
            "attn_k": (512,),
            "attn_v": (512,),
            "attn_output": (2880,),
            "ffn_gate_inp": (32,),
            "ffn_gate_exps": (32, 2880),
            "ffn_up_exps": (32, 2880),
            "ffn_down_exps": (32, 2880),
        }
        tensors += [(f"blk.{i}.{name}.bias", shape, F32) for name, shape in biases.items()]
        tensors += [(f"blk.{i}.attn_sinks.weight", (64,), F32)]
    return fields, tensors


def deepseek(mtp: int = 0) -> tuple[dict[str, Any], Tensors]:
    """DeepSeek-V2-Lite, the first layer dense; `mtp` further layers only predict further tokens."""
    fields = {
        "block_count": 27 + mtp,
        "embedding_length": 2048,
        "expert_count": 64,
        "expert_used_count": 6,
        "attention.head_count": 16,
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
        "attention.value_length": 512,
        "attention.key_length_mla": 192,  # made with a latent cache
        "attention.kv_lora_rank": 512,
        "rope.dimension_count": 64,
        "nextn_predict_layers": mtp,
    }
    tensors: Tensors = [
        ("token_embd.weight", (102400, 2048), Q8),
        ("output.weight", (102400, 2048), Q8),
        ("output_norm.weight", (2048,), F32),
    ]
    for i in range(27 + mtp):
        shapes = {
            "attn_q": (3072, 2048),
            "attn_kv_a_mqa": (576, 2048),
            "attn_kv_b": (4096, 512),
            "attn_output": (2048, 2048),
        }
        tensors += [(f"blk.{i}.{name}.weight", shape, Q8) for name, shape in shapes.items()]
        norms = {"attn_norm": 2048, "ffn_norm": 2048, "attn_kv_a_norm": 512}
        tensors += [(f"blk.{i}.{name}.weight", (n,), F32) for name, n in norms.items()]
        suffix, ff = ("", 10944) if i == 0 else ("_shexp", 2816)
        tensors += [(f"blk.{i}.ffn_{name}{suffix}.weight", (ff, 2048), Q8) for name in ("gate", "up")]
        tensors += [(f"blk.{i}.ffn_down{suffix}.weight", (2048, ff), Q8)]
        tensors += experts(i, 2048, 1408, 64, Q8, Q8) if i else []
    return fields, tensors


@pytest.mark.parametrize(
    "arch, made, params, published, gib",
    [
        ("qwen3moe", qwen3(), 30_532_122_624, 30.5e9, None),
        ("gpt-oss", gpt_oss(), 20_914_757_184, 20.91e9, 11.27),  # as llama.cpp reports the file
        ("deepseek2", deepseek(), 15_706_484_224, 15.7e9, None),
    ],
)
def test_a_gguf_header_gives_the_published_total_and_its_real_bytes(
    tmp_path: Path, arch: str, made: Any, params: int, published: float, gib: float | None
) -> None:
    model = models.shape(import_model(write_gguf(tmp_path / "m.gguf", arch, *made)), arch)
    assert model.format == "stored"
    assert totals(model) == (params, sums(made[1])[1])
    assert model.total_params == pytest.approx(published, rel=0.01)
    assert gib is None or totals(model)[1] / 2**30 == pytest.approx(gib, rel=0.01)


@pytest.mark.parametrize(
    "arch, made, name",
    [
        ("qwen3moe", qwen3(), "qwen3-30b-a3b"),
        ("gpt-oss", gpt_oss(), "gpt-oss-20b"),
        ("deepseek2", deepseek(), "deepseek-v2-lite"),
    ],
)
def test_a_gguf_model_agrees_with_the_bundled_one_in_a_common_format(
    tmp_path: Path, arch: str, made: Any, name: str
) -> None:
    model = models.shape(import_model(write_gguf(tmp_path / "m.gguf", arch, *made)), arch, "fp16")
    bundled = models.load(name, "fp16")
    assert (model.layers, model.head, model.embedding, model.top_k) == (
        bundled.layers,
        bundled.head,
        bundled.embedding,
        bundled.top_k,
    )


def test_unequal_experts_of_a_mixed_quantisation_keep_their_sizes(tmp_path: Path) -> None:
    model = models.shape(import_model(write_gguf(tmp_path / "m.gguf", "qwen3moe", *qwen3(4))), "m")
    matrix = 2048 * 768 // 256
    assert model.expert_bytes.tolist() == [matrix * (144 * 3), matrix * (144 * 2 + 210)] * 2


def test_tied_embeddings_of_a_gguf_file_are_the_head(tmp_path: Path) -> None:
    model = models.shape(import_model(write_gguf(tmp_path / "m.gguf", "qwen3moe", *qwen3(2, head=False))), "m")
    assert (model.embedding.bytes, model.head.params) == (0, 151936 * 2048 + 2048)


def test_fused_gate_and_up_and_an_ffn_beside_the_experts(tmp_path: Path) -> None:
    fields, tensors = qwen3(1)
    fused = [t for t in tensors if "gate_exps" not in t[0] and "up_exps" not in t[0]]
    fused += [("blk.0.ffn_gate_up_exps.weight", (128, 1536, 2048), Q4), ("blk.0.ffn_up.weight", (512, 2048), Q4)]
    layer = models.shape(import_model(write_gguf(tmp_path / "m.gguf", "qwen3moe", fields, fused)), "m").layers[0]
    assert (layer.expert.params, layer.shared.params, layer.ffn.params) == (3 * 2048 * 768, 512 * 2048, 0)


def test_layers_that_predict_further_tokens_are_left_out(tmp_path: Path) -> None:
    model = models.shape(import_model(write_gguf(tmp_path / "m.gguf", "deepseek2", *deepseek(mtp=1))), "m")
    assert (len(model.layers), model.total_params) == (27, 15_706_484_224)


def test_kv_heads_by_layer(tmp_path: Path) -> None:
    fields, tensors = qwen3(2)
    fields["attention.head_count_kv"] = [4, 2]
    narrow = {"blk.1.attn_k.weight", "blk.1.attn_v.weight"}
    tensors = [(name, (256, 2048) if name in narrow else shape, kind) for name, shape, kind in tensors]
    model = models.shape(import_model(write_gguf(tmp_path / "m.gguf", "qwen3moe", fields, tensors)), "m")
    assert [layer.caches[0].bytes_per_position for layer in model.layers] == [2048, 1024]


def test_a_split_model_needs_all_its_files(tmp_path: Path) -> None:
    fields, tensors = qwen3(2)
    names = [f"big-0000{i}-of-00002.gguf" for i in (1, 2)]
    write_gguf(tmp_path / names[0], "qwen3moe", {**fields}, tensors[:9])
    assert f"{names[1]} is not beside {names[0]}; all 2 files" in error_of(tmp_path / names[0])
    write_gguf(tmp_path / names[1], "qwen3moe", {}, tensors[9:])
    for name in names:
        data = import_model(tmp_path / name)
        assert (data["name"], totals(models.shape(data, name))) == ("big", sums(tensors))


@pytest.mark.parametrize(
    "fields, drop, message",
    [
        ({"expert_count": 0}, "nothing", "m.gguf: expert_count is 0 or missing; only Mixture-of-Experts"),
        ({}, "_exps.", "no layer has routed experts; only Mixture-of-Experts models"),
        ({}, "1.ffn_", "layer 1 has no feed-forward tensors; is a file missing?"),
        ({}, "blk.1.", "layer 1 has no attention and no feed-forward tensors"),
        ({"block_count": 0}, "nothing", "0 layers; a model has 1 to 1024"),
        ({"expert_used_count": 200}, "nothing", "top_k is 200 but the fewest experts of a layer are 128"),
        (
            {"attention.head_count_kv": [4]},
            "nothing",
            "head_count_kv is [4]; it must be a whole number, or a list of 2",
        ),
    ],
)
def test_an_incomplete_gguf_file(tmp_path: Path, fields: dict[str, Any], drop: str, message: str) -> None:
    standard, tensors = qwen3(2)
    kept = [t for t in tensors if drop not in t[0]]
    assert message in error_of(write_gguf(tmp_path / "m.gguf", "qwen3moe", {**standard, **fields}, kept))


def test_a_gguf_file_without_embedding_and_head(tmp_path: Path) -> None:
    fields, tensors = qwen3(2)
    path = write_gguf(tmp_path / "m.gguf", "qwen3moe", fields, [t for t in tensors if t[0].startswith("blk")])
    assert "no token embedding and no LM head among its tensors" in error_of(path)


def test_tensors_of_a_layer_must_hold_the_same_number_of_experts(tmp_path: Path) -> None:
    fields, tensors = qwen3(1)
    tensors[-3] = ("blk.0.ffn_down_exps.weight", (64, 2048, 768), Q4)
    path = write_gguf(tmp_path / "m.gguf", "qwen3moe", fields, tensors)
    assert "layer 0 has tensors for [64, 128] experts" in error_of(path)


def test_the_table_of_ggml_types_is_that_of_gguf() -> None:
    for kind, sizes in gguf.GGML_QUANT_SIZES.items():
        assert GGML_TYPES[kind] == (kind.name, *sizes, 0)
    assert set(range(97)) & GGML_TYPES.keys() - {31, 32, 33} == {int(kind) for kind in gguf.GGML_QUANT_SIZES}


def test_a_truncated_gguf_header_is_one_line_wherever_it_ends(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf", "qwen3moe", *qwen3(1)).read_bytes()
    end = whole.index(b"blk.0.attn_k_norm.weight") + 24 + 4 + 8 + 4 + 8
    for length in range(0, end, 7):
        (tmp_path / "cut.gguf").write_bytes(whole[:length])
        message = error_of(tmp_path / "cut.gguf")
        assert message.startswith("cut.gguf is ")


def test_a_damaged_gguf_header_never_crashes(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf", "qwen3moe", *qwen3(1)).read_bytes()
    generator = random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(whole))] = generator.randrange(256)
        (tmp_path / "bad.gguf").write_bytes(damaged)
        try:
            import_model(tmp_path / "bad.gguf")
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


# --- safetensors ----------------------------------------------------------------------------------------------------

ITEM = {"BF16": 2, "F32": 4, "F8_E4M3": 1, "U8": 1, "I32": 4}
Stored = dict[str, tuple[str, tuple[int, ...]]]  # name: (type, shape)


def write_set(folder: Path, tensors: Stored, files: int = 2) -> Path:
    """The headers of a model in several files and their index, without any tensor data."""
    names = [f"model-{i + 1:05}-of-{files:05}.safetensors" for i in range(files)]
    parts: list[Stored] = [dict(list(tensors.items())[i::files]) for i in range(files)]
    for name, part in zip(names, parts):
        (folder / name).write_bytes(header_of(part))
    weight_map = {tensor: name for name, part in zip(names, parts) for tensor in part}
    total = sum(stored_bytes(tensors[name]) for name in tensors)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return path


def stored_bytes(tensor: tuple[str, tuple[int, ...]]) -> int:
    return ITEM[tensor[0]] * math.prod(tensor[1])


def header_of(tensors: Stored) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + stored_bytes(tensor)
        entries[name] = {"dtype": tensor[0], "shape": list(tensor[1]), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def outside(d: int, vocab: int) -> Stored:
    return {
        "model.embed_tokens.weight": ("BF16", (vocab, d)),
        "lm_head.weight": ("BF16", (vocab, d)),
        "model.norm.weight": ("BF16", (d,)),
    }


def projections(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> Stored:
    return {f"{prefix}.{name}.weight": ("BF16", shape) for name, shape in shapes.items()}


def mixtral_tensors() -> Stored:
    tensors = outside(4096, 32000)
    for i in range(32):
        layer = f"model.layers.{i}"
        tensors |= projections(
            f"{layer}.self_attn",
            {
                "q_proj": (4096, 4096),
                "k_proj": (1024, 4096),
                "v_proj": (1024, 4096),
                "o_proj": (4096, 4096),
            },
        )
        tensors |= projections(layer, {"input_layernorm": (4096,), "post_attention_layernorm": (4096,)})
        tensors |= projections(f"{layer}.block_sparse_moe", {"gate": (8, 4096)})
        for e in range(8):
            tensors |= projections(
                f"{layer}.block_sparse_moe.experts.{e}",
                {
                    "w1": (14336, 4096),
                    "w2": (4096, 14336),
                    "w3": (14336, 4096),
                },
            )
    return tensors


def deepseek_tensors() -> Stored:
    """DeepSeek-V2-Lite with its experts in FP8, one scale per block of 128 by 128."""
    tensors = outside(2048, 102400)
    for i in range(27):
        layer = f"model.layers.{i}"
        tensors |= projections(
            f"{layer}.self_attn",
            {
                "q_proj": (3072, 2048),
                "kv_a_proj_with_mqa": (576, 2048),
                "kv_a_layernorm": (512,),
                "kv_b_proj": (4096, 512),
                "o_proj": (2048, 2048),
            },
        )
        tensors |= projections(layer, {"input_layernorm": (2048,), "post_attention_layernorm": (2048,)})
        swiglu = {"gate_proj": (10944, 2048), "up_proj": (10944, 2048), "down_proj": (2048, 10944)}
        tensors |= projections(f"{layer}.mlp", swiglu if i == 0 else {"gate": (64, 2048)})
        if i:
            shapes = {"gate_proj": (2816, 2048), "up_proj": (2816, 2048), "down_proj": (2048, 2816)}
            tensors |= projections(f"{layer}.mlp.shared_experts", shapes)
        for e in range(64) if i else ():
            prefix = f"{layer}.mlp.experts.{e}"
            for name, shape in {"gate_proj": (1408, 2048), "up_proj": (1408, 2048), "down_proj": (2048, 1408)}.items():
                tensors[f"{prefix}.{name}.weight"] = ("F8_E4M3", shape)
                tensors[f"{prefix}.{name}.weight_scale_inv"] = ("F32", (shape[0] // 128, shape[1] // 128))
    return tensors


def gpt_oss_tensors() -> Stored:
    """gpt-oss-20b as published: fused experts in MXFP4 blocks of 32 weights (16 bytes) and their scales."""
    tensors = outside(2880, 201088)
    for i in range(24):
        layer = f"model.layers.{i}"
        for name, rows, columns in (("q", 4096, 2880), ("k", 512, 2880), ("v", 512, 2880), ("o", 2880, 4096)):
            tensors[f"{layer}.self_attn.{name}_proj.weight"] = ("BF16", (rows, columns))
            tensors[f"{layer}.self_attn.{name}_proj.bias"] = ("BF16", (rows,))
        tensors |= projections(layer, {"input_layernorm": (2880,), "post_attention_layernorm": (2880,)})
        tensors |= {f"{layer}.self_attn.sinks": ("BF16", (64,)), f"{layer}.mlp.router.bias": ("BF16", (32,))}
        tensors |= projections(f"{layer}.mlp", {"router": (32, 2880)})
        for name, rows in (("gate_up_proj", 5760), ("down_proj", 2880)):
            prefix = f"{layer}.mlp.experts.{name}"
            tensors[f"{prefix}_blocks"] = ("U8", (32, rows, 90, 16))
            tensors[f"{prefix}_scales"] = ("U8", (32, rows, 90))
            tensors[f"{prefix}_bias"] = ("BF16", (32, rows))
    return tensors


SETS = {"mixtral-8x7b": mixtral_tensors, "deepseek-v2-lite": deepseek_tensors, "gpt-oss-20b": gpt_oss_tensors}


@pytest.mark.parametrize("name", SETS)
def test_a_safetensors_set_gives_the_published_total_and_its_real_bytes(tmp_path: Path, name: str) -> None:
    tensors = SETS[name]()
    save_config(tmp_path / name, name)
    data = import_model(write_set(tmp_path / name, tensors))
    model = models.shape(data, name)
    assert totals(model) == (CONFIGS[name][2], sum(stored_bytes(t) for t in tensors.values()))
    bundled = models.load(name, "fp16")
    assert models.shape(data, name, "fp16").layers == bundled.layers
    assert (model.name, model.format, model.top_k) == (name, "stored", bundled.top_k)
    for mix in ("Q4_K_M", "Q2_K", "IQ2_XS", "gptq"):  # the files say what each matrix is for, in rows of its length
        assert models.shape(data, name, mix).layers == models.load(name, mix).layers, mix


def test_matrices_that_are_called_fc1_and_fc2_take_a_mix() -> None:
    """NLLB-MoE, in its dense layers and its experts."""
    around = Around("config.json", 1024)
    for where in ("ffn", "ffn.experts.expert_3"):
        up, down = (
            place([Named(f"model.decoder.layers.1.{where}.{name}.weight", shape)], around)[0]
            for name, shape in (("fc1", (8192, 1024)), ("fc2", (1024, 8192)))
        )
        assert up.roles == {"ffn_up": (1024, 8_388_608)} and down.roles == {"ffn_down": (8192, 8_388_608)}


def test_a_layer_that_predicts_further_tokens_is_left_out(tmp_path: Path) -> None:
    """DeepSeek-V3 and GLM-4.5 publish it as a layer behind the last one, with matrices of its own kinds."""
    tensors = deepseek_tensors()
    further = {name.replace("layers.26.", "layers.27."): one for name, one in tensors.items() if "layers.26." in name}
    further |= projections(
        "model.layers.27", {"eh_proj": (2048, 4096), "enorm": (2048,), "shared_head.head": (102400, 2048)}
    )
    save_config(tmp_path / "m", "deepseek-v2-lite")
    data = import_model(write_set(tmp_path / "m", {**tensors, **further}))
    assert totals(models.shape(data, "m")) == (15_706_484_224, sum(stored_bytes(one) for one in tensors.values()))


def test_one_file_without_an_index(tmp_path: Path) -> None:
    save_config(tmp_path / "m", "mixtral-8x7b")
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(header_of(mixtral_tensors()))
    assert models.shape(import_model(path), "m").total_params == 46_702_792_704


def test_an_index_alone_falls_back_to_config_json(tmp_path: Path) -> None:
    save_config(tmp_path / "m", "mixtral-8x7b")
    path = write_set(tmp_path / "m", mixtral_tensors())
    for shard in (tmp_path / "m").glob("*.safetensors"):
        shard.unlink()
    data = import_model(path)
    assert "93405585408 bytes" in data["notes"]
    assert (models.shape(data, "m").total_params, models.shape(data, "m").format) == (46_702_792_704, "fp16")
    (tmp_path / "m" / "config.json").unlink()
    assert "names tensors but not their sizes; put its safetensors files beside it, or config.json" in error_of(path)


def damaged_sets() -> Iterator[tuple[str, Any, str]]:
    first = "model-00001-of-00002.safetensors"
    index = "model.safetensors.index.json"
    yield "no config", lambda f: (f / "config.json").unlink(), f"config.json is not beside {index}"
    yield "a file is missing", lambda f: (f / first).unlink(), f"{first} is not beside {index} though other files"
    yield "cut length", lambda f: (f / first).write_bytes(b"\1\2"), f"{first} is truncated or no safetensors file"
    yield "cut header", lambda f: (f / first).write_bytes((f / first).read_bytes()[:999]), f"{first} is truncated"
    yield (
        "no JSON",
        lambda f: (f / first).write_bytes(b"\4" + bytes(7) + b"oops"),
        f"the header of {first} is not a plain JSON file",
    )
    yield "a list", lambda f: (f / first).write_bytes(b"\2" + bytes(7) + b"[]"), f"{first} has a damaged header"
    packed = header_of({"model.layers.0.mlp.experts.0.w1.qweight": ("I32", (8, 8))})
    yield "packed", lambda f: (f / first).write_bytes(packed), "has the type I32, whose weights cannot be counted"
    odd = packed.replace(b"[0, 256]", b"[9, -25]")
    yield "offsets", lambda f: (f / first).write_bytes(odd), f"{first} has a damaged header: ValueError"
    half = "attention of layer 0 has 21008384 parameters where config.json makes 41984000"
    yield "empty", lambda f: (f / first).write_bytes(header_of({})), half
    yield "map", lambda f: (f / index).write_text('{"weight_map": {"a": 1}}'), "weight_map must map the name"


@pytest.mark.parametrize("damage, message", [pytest.param(d, m, id=name) for name, d, m in damaged_sets()])
def test_a_damaged_safetensors_set_is_one_line(tmp_path: Path, damage: Any, message: str) -> None:
    save_config(tmp_path / "m", "mixtral-8x7b")
    path = write_set(tmp_path / "m", mixtral_tensors())
    damage(tmp_path / "m")
    assert message in error_of(path)


def test_an_expert_that_is_missing_is_noticed(tmp_path: Path) -> None:
    save_config(tmp_path / "m", "mixtral-8x7b")
    tensors = mixtral_tensors()
    del tensors["model.layers.3.block_sparse_moe.experts.7.w1.weight"]
    message = error_of(write_set(tmp_path / "m", tensors))
    due = 3 * 4096 * 14336
    assert f"expert of layer 3 has {due - 4096 * 14336 // 8} parameters where config.json makes {due}" in message


def test_files_of_another_model_are_noticed(tmp_path: Path) -> None:
    save_config(tmp_path / "m", "mixtral-8x7b")
    tensors = {name.replace("k_proj", "k_other"): tensor for name, tensor in mixtral_tensors().items()}
    tensors["model.layers.0.self_attn.k_other.weight"] = ("BF16", (4096, 4096))
    assert "attention of layer 0 has 54566912 parameters" in error_of(write_set(tmp_path / "m", tensors))


# --- writing --------------------------------------------------------------------------------------------------------


def test_a_written_model_is_the_imported_one(tmp_path: Path) -> None:
    data = import_model(write_gguf(tmp_path / "m.gguf", "gpt-oss", *gpt_oss()))
    write_shape(data, tmp_path / "m.yaml")
    assert models.load(str(tmp_path / "m.yaml")) == models.shape(data, "m")
    text = (tmp_path / "m.yaml").read_text()
    assert text.startswith("# A simmoe model shape.") and yaml.safe_load(text) == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "m.yaml"]


def test_writing_refuses_to_overwrite_and_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = import_model(save_config(tmp_path / "m", "mixtral-8x7b"))
    out = tmp_path / "m.yaml"
    out.write_text("mine")
    with pytest.raises(UserError, match=r"m\.yaml exists; choose another name or overwrite it with --force"):
        write_shape(data, out)
    with pytest.raises(UserError, match="the key 'name' is missing"):
        write_shape({k: v for k, v in data.items() if k != "name"}, out, force=True)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match=r"cannot write .*: No space left on device"):
        write_shape(data, out, force=True)
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.yaml"]
    monkeypatch.undo()
    write_shape(data, out, force=True)
    assert models.load(str(out)).total_params == 46_702_792_704
    with pytest.raises(UserError, match=r"cannot write .*: folder .* does not exist"):
        write_shape(data, tmp_path / "no" / "m.yaml")
