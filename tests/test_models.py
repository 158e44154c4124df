"""Model shapes: bundled models add up to their published sizes; formats, FLOPs, KV cache; every mistake is one line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import NO_PART, ModelShape, Part
from simmoe.workloads import models
from simmoe.workloads.models import available, load, shape
from simmoe.workloads.models.formats import FORMATS
from tests.conftest import for_each

NAMES = available()  # a model that is added to the folder is checked without being listed here
SHIPPED = [
    "deepseek-v2-lite",
    "gpt-oss-20b",
    "mixtral-8x7b",
    "olmoe-1b-7b",
    "oracle-moe-2x4",
    "oracle-moe-4x8",
    "oracle-moe-8x16",
    "oracle-moe-9x24",
    "qwen3-30b-a3b",
]
# Counted over the parameters of the model classes of transformers 5.23, built from the published configurations.
EXACT = {
    "deepseek-v2-lite": 15_706_484_224,
    "deepseek-v3": 671_026_419_200,
    "glm-4.5": 352_797_829_024,
    "kimi-k2": 1_026_408_232_448,
    "mixtral-8x22b": 140_620_634_112,
    "qwen3-coder-480b-a35b": 480_154_875_392,
    "qwen3-next-80b-a3b": 79_674_391_296,
    "gpt-oss-20b": 20_914_757_184,
    "mixtral-8x7b": 46_702_792_704,
    "olmoe-1b-7b": 6_919_161_856,
    "qwen3-30b-a3b": 30_532_122_624,
}

TINY: dict[str, Any] = {
    "schema": 1,
    "name": "tiny",
    "title": "a model whose sums fit on a line",
    "sources": {"architecture": "made up for a test"},
    "architecture": {
        "layers": 2,
        "moe_layers": [1],
        "d_model": 4,
        "vocab": 10,
        "tied_embeddings": False,
        "attention": {"kind": "gqa", "heads": 4, "kv_heads": 2, "head_dim": 2},
        "ffn": {"matrices": 3, "n_experts": 8, "top_k": 2, "expert_d_ff": 6, "shared_d_ff": 5, "dense_d_ff": 12},
    },
}
STORED: dict[str, Any] = {
    "schema": 1,
    "name": "file",
    "title": "two layers of a file",
    "sources": {"parts": "made up for a test"},
    "parts": {
        "top_k": 1,
        "head": {"matrix_params": 40, "vector_params": 4, "stored_bytes": 61},
        "layers": [
            {
                "attention": {"matrix_params": 64, "router_params": 8, "stored_bytes": 100},
                "kv_elements_per_position": 8,
                "flops_per_position": 16,
                "expert": {"matrix_params": 256, "stored_bytes": size},
                "n_experts": 4,
            }
            for size in (144, 210)
        ],
    },
}


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `base` with one key set, or removed for None."""
    data = copy.deepcopy(base)
    *parents, last = path.split(".")
    target: Any = data
    for key in parents:
        target = target[int(key)] if isinstance(target, list) else target[key]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return data


def total_bytes(model: ModelShape) -> int:
    return model.dense_bytes + model.all_expert_bytes


# --- the bundled models ---------------------------------------------------------------------------------------------


PUBLISHED = {
    name: size
    for name in NAMES
    if (size := yaml.safe_load((models.FOLDER / f"{name}.yaml").read_text("utf-8")).get("published_params")) is not None
}


def test_the_models_of_the_release_are_there() -> None:
    assert set(SHIPPED) <= set(PUBLISHED)


def test_a_model_that_extends_another_differs_in_what_it_says(tmp_path: Path) -> None:
    base, wide = load("oracle-moe-4x8"), load("oracle-moe-4x32")
    assert wide.dense_bytes - base.dense_bytes == 4 * 24 * 768 * 2  # router rows of 24 more experts in 4 layers, fp16
    assert wide.all_expert_bytes == 4 * base.all_expert_bytes
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: oracle-moe-4x8\nname: mine\narchitecture: {ffn: {top_k: 3}}\n")
    assert load(str(mine)).top_k == 3
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(UserError, match=r"b\.yaml: extends: a -> b -> a is a loop"):
        load(str(tmp_path / "a.yaml"))


ROUNDED = {  # what differs by more than .5 %, and why
    "oracle-moe-9x24": 0.04,  # the paper prints 2.06B, and its stated shape gives 2.144B
    "oracle-moe-2x4": 0.007,  # printed as 192M and as 195M
    "glm-4.5": 0.007,  # the card counts a layer for further tokens
    "glm-4.5-air": 0.009,  # printed without a head
    "qwen3.5-35b-a3b": 0.01,  # the card counts the image encoder, .45B
    "minimax-m2": 0.006,  # 228.7B, printed as 230B
}


@for_each("name", list(PUBLISHED))
def test_a_model_adds_up_to_its_published_size(name: str) -> None:
    published, total = PUBLISHED[name], load(name).total_params
    assert abs(published - total) <= ROUNDED.get(name, 0.005) * total


@pytest.mark.parametrize(
    "name",
    [
        "DeepSeek-V3",
        "deepseek-r1",
        "kimi-k2",
        "glm-4.5",
        "mixtral-8x22b",
        "qwen3-next-80b-a3b",
        "qwen3-coder-480b-a35b",
    ],
)
def test_the_models_that_most_people_ask_for_are_bundled(name: str) -> None:
    model = load(name, "q4_k_m")
    assert model.name == name.lower() and model.format == "Q4_K_M"
    bits = 8 * total_bytes(model) / model.total_params
    assert 4.75 < bits < 5.05  # as published files of that mix have


@for_each("name", list(EXACT))
def test_a_model_has_exactly_the_parameters_of_its_model_class(name: str) -> None:
    assert load(name).total_params == EXACT[name]


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@for_each("name", NAMES)
def test_every_model_loads_in_every_format(name: str, format: str) -> None:
    model = load(name, format)
    assert (model.name, model.format, model.compute) == (name, format, "fp32" if format == "fp32" else "fp16")
    assert model.moe_layers and model.source
    assert all(0 < model.top_k <= model.layers[i].n_experts for i in model.moe_layers)
    assert total_bytes(model) <= total_bytes(load(name, "fp32"))


@pytest.mark.parametrize(
    "name, layers, heads, positions, moe, expert_params",
    [
        ("oracle-moe-2x4", 12, 12, 256, (5, 11), 4_722_432),
        ("oracle-moe-4x8", 12, 12, 256, (2, 5, 8, 11), 4_722_432),
        ("oracle-moe-8x16", 12, 12, 512, (1, 2, 4, 5, 7, 8, 10, 11), 4_722_432),
        ("oracle-moe-9x24", 24, 16, 1024, (1, 4, 7, 9, 12, 15, 17, 20, 23), 8_393_728),
    ],
)
def test_oracle_moe(
    name: str, layers: int, heads: int, positions: int, moe: tuple[int, ...], expert_params: int
) -> None:
    model = load(name, "fp32")
    d_model = 64 * heads
    assert (len(model.layers), model.moe_layers, model.top_k) == (layers, moe, 1)
    assert model.layers[moe[0]].n_experts == int(name.split("x")[1])
    assert model.layers[moe[0]].expert == Part(expert_params, 4 * expert_params, 2 * 8 * d_model * d_model)
    assert model.layers[0].ffn == model.layers[moe[0]].expert  # an expert is a GPT-2 FFN
    assert model.embedding == Part((50257 + positions) * d_model, 4 * (50257 + positions) * d_model, 0)
    assert model.layers[0].caches[0].bytes_per_position == 2 * 4 * d_model


@pytest.mark.parametrize(
    "name, kv_bytes",
    [
        ("mixtral-8x7b", 4096),
        ("olmoe-1b-7b", 8192),
        ("qwen3-30b-a3b", 2048),
        ("deepseek-v2-lite", 1152),
        ("gpt-oss-20b", 2048),
        ("deepseek-v3", 1152),
        ("kimi-k2", 1152),
        ("glm-4.5", 4096),
    ],
)
def test_kv_cache_of_one_layer_and_position(name: str, kv_bytes: int) -> None:
    assert load(name).layers[0].caches[0].bytes_per_position == kv_bytes
    assert load(name, "int4").layers[0].caches[0].bytes_per_position == kv_bytes  # the cache keeps 16 bit
    assert load(name, "fp32").layers[0].caches[0].bytes_per_position == 2 * kv_bytes


def test_gpt_oss_in_mxfp4_has_the_size_of_its_checkpoint() -> None:
    """12.8 GiB in the model card: MXFP4 experts, everything else in 16 bit."""
    assert total_bytes(load("gpt-oss-20b", "mxfp4")) / 2**30 == pytest.approx(12.8, rel=0.01)


def test_latent_attention_works_on_the_compressed_row() -> None:
    layer = load("deepseek-v2-lite").layers[5]
    assert layer.caches[0].flops_per_position == 2 * 16 * (512 + 64 + 512)
    assert layer.shared.params == 2 * 3 * 2048 * 1408
    assert load("deepseek-v2-lite").layers[0].ffn.params == 3 * 2048 * 10944


# --- sums by hand ---------------------------------------------------------------------------------------------------


def test_the_parts_of_a_tiny_model() -> None:
    model = shape(TINY, "tiny.yaml")
    attention = 4 * 8 + 2 * (4 * 4) + 8 * 4  # query, key and value, output
    dense, moe = model.layers
    assert dense.attention == Part(attention + 8, 2 * (attention + 8), 2 * attention)  # two norms of 4
    assert moe.attention == Part(attention + 8 + 32, 2 * (attention + 8 + 32), 2 * (attention + 32))  # and a router
    assert (dense.ffn, dense.expert, dense.shared) == (Part(144, 288, 288), NO_PART, NO_PART)
    assert (moe.ffn, moe.expert, moe.shared) == (NO_PART, Part(72, 144, 144), Part(60, 120, 120))
    assert (dense.caches[0].bytes_per_position, dense.caches[0].flops_per_position) == (2 * 2 * 2 * 2, 2 * 4 * (2 + 2))
    assert (model.head, model.embedding) == (Part(44, 88, 80), Part(40, 80, 0))
    assert (model.top_k, moe.n_experts, model.all_expert_bytes) == (2, 8, 8 * 144)


def test_tied_embeddings_are_counted_once_and_learned_positions_apart() -> None:
    data = changed(changed(TINY, "architecture.tied_embeddings", True), "architecture.learned_positions", 3)
    model = shape(data, "tiny.yaml")
    assert (model.head.params, model.embedding) == (44, Part(12, 24, 0))


@pytest.mark.parametrize(
    "key, value, more",
    [
        ("attention.qkv_bias", True, 8 + 4 + 4),
        ("attention.output_bias", True, 4),
        ("attention.sinks", True, 4),
        ("attention.qk_norm", "head", 2 + 2),
        ("attention.qk_norm", "full", 8 + 4),
        ("norm", "layer", 2 * 4),
        ("ffn.router_bias", True, 8),
        ("ffn.shared_gate", True, 4),
        ("ffn.bias", True, (6 + 6 + 4) * 8 + 5 + 5 + 4),
    ],
)
def test_options_of_a_layer(key: str, value: Any, more: int) -> None:
    def params(data: dict[str, Any]) -> int:
        layer = shape(data, "tiny.yaml").layers[1]
        return layer.attention.params + layer.shared.params + layer.n_experts * layer.expert.params

    assert params(changed(TINY, f"architecture.{key}", value)) - params(TINY) == more


@pytest.mark.parametrize(
    "rule, layers",
    [
        ("all", (0, 1, 2, 3, 4)),
        ({"first": 1}, (1, 2, 3, 4)),
        ({"first": 1, "every": 2}, (1, 3)),
        ([4, 0], (0, 4)),
    ],
)
def test_which_layers_are_moe(rule: Any, layers: tuple[int, ...]) -> None:
    data = changed(changed(TINY, "architecture.layers", 5), "architecture.moe_layers", rule)
    assert shape(data, "tiny.yaml").moe_layers == layers


@pytest.mark.parametrize(
    "format, expert, attention, head",
    [
        ("fp32", 32, 32, 32),
        ("fp16", 16, 16, 16),
        ("bf16", 16, 16, 16),
        ("fp8", 8, 8, 16),
        ("int8", 8, 8, 16),
        ("int4", 4, 4, 16),
        ("q8_0", 8.5, 8.5, 8.5),
        ("q6_k", 6.5625, 6.5625, 6.5625),
        ("q4_k", 4.5, 4.5, 4.5),
        ("mxfp4", 4.25, 16, 16),
    ],
)
def test_bits_of_a_matrix_by_format(format: str, expert: float, attention: float, head: float) -> None:
    """Mixtral's matrices are whole blocks of every format; norms and routers stay in 16 bit (32 in fp32)."""
    model, rest = load("mixtral-8x7b", format), 4 if format == "fp32" else 2
    layer = model.layers[0]
    assert layer.expert.bytes == 3 * 4096 * 14336 * expert / 8
    assert layer.attention.bytes == 4096 * (2 * 4096 + 2 * 1024) * attention / 8 + (2 * 4096 + 8 * 4096) * rest
    assert model.head.bytes == 32000 * 4096 * head / 8 + 4096 * rest
    assert model.embedding.bytes == 32000 * 4096 * head / 8


def test_bytes_are_rounded_up() -> None:
    assert shape(TINY, "tiny.yaml", "q4_k").layers[1].expert.bytes == 41  # 72 weights of 4.5 bit: 40.5


def test_stored_bytes_are_the_default_of_a_file_that_has_them() -> None:
    model = shape(STORED, "file.yaml")
    assert (model.format, model.compute) == ("stored", "fp16")
    assert [layer.expert.bytes for layer in model.layers] == [144, 210]
    assert (model.head, model.embedding) == (Part(44, 61, 80), NO_PART)
    assert model.layers[0].attention == Part(72, 100, 144)
    assert shape(STORED, "file.yaml", "q4_k").layers[1].expert.bytes == 144


def test_the_digest_follows_content_and_format() -> None:
    digests = [
        shape(TINY, "a.yaml").digest,
        shape(TINY, "a.yaml", "int8").digest,
        shape(changed(TINY, "architecture.vocab", 11), "a.yaml").digest,
    ]
    assert len(set(digests)) == 3
    assert shape(dict(reversed(TINY.items())), "b.yaml", "fp16").digest == digests[0]
    assert len(digests[0]) == 64


# --- names and paths ------------------------------------------------------------------------------------------------


def test_the_suffix_is_optional() -> None:
    assert load("oracle-moe-9x24.yaml") == load("oracle-moe-9x24")


def test_a_path_that_exists_wins_over_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixtral-8x7b").write_text(yaml.safe_dump(TINY))
    assert load("mixtral-8x7b").name == "tiny"


def test_a_folder_of_that_name_does_not_hide_a_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixtral-8x7b").mkdir()
    assert load("mixtral-8x7b").name == "mixtral-8x7b"


def test_an_unknown_name_lists_what_exists_and_where_to_add_one() -> None:
    with pytest.raises(UserError, match=r"unknown model 'mixtral': .*did you mean 'mixtral-8x7b'\?") as caught:
        load("mixtral")
    assert f"`simmoe model list` lists all {len(NAMES)}" in str(caught.value)
    assert "docs/models.md" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "model", "format"),
    [
        ("deepseek-v3-q4_k_m", "deepseek-v3", "Q4_K_M"),
        ("Qwen3-30B-A3B-Q4_K_M", "qwen3-30b-a3b", "Q4_K_M"),
        ("kimi_k2.iq2_xxs", "kimi-k2", "IQ2_XXS"),
        ("gpt-oss-120b-mxfp4", "gpt-oss-120b", "mxfp4"),
    ],
)
def test_a_name_that_ends_in_a_format_is_told_the_option(name: str, model: str, format: str) -> None:
    with pytest.raises(UserError, match="unknown model") as caught:
        load(name)
    assert f"the format is an option of its own: --model {model} --format {format}" in str(caught.value)
    assert (load(model, format).name, load(model, format).format) == (model, format)


def test_the_matrices_of_a_recurrent_layer_add_up() -> None:
    recurrent = {"matrix_params": 48, "roles": {"ssm_in": [4, 32], "attn_output": [8, 16]}, "state_elements": 9}
    attention = {**TINY["architecture"]["attention"], "layers": ["recurrent", "full"], "recurrent": recurrent}
    data = changed(TINY, "architecture.attention", attention)
    assert shape(data, "tiny", "fp32").layers[0].attention.params == 48 + 2 * 4
    with pytest.raises(UserError, match="roles name 48 parameters of 50 matrix_params; mend one of them"):
        shape(changed(data, "architecture.attention.recurrent.matrix_params", 50), "tiny")


def test_an_unknown_format_lists_what_exists() -> None:
    with pytest.raises(UserError, match=r"unknown format 'q4_1_m'; did you mean 'Q4_K_M'\? known: fp32, .*stored"):
        load("mixtral-8x7b", "q4_1_m")
    with pytest.raises(UserError, match="format 'stored' needs the real bytes of a file; choose one of fp32"):
        load("mixtral-8x7b", "stored")


# --- mistakes -------------------------------------------------------------------------------------------------------

A = "architecture"
MISTAKES = [
    (TINY, "schema", 2, "schema is 2; it must be a whole number from 1 to 1"),
    (TINY, "name", None, "the key 'name' is missing"),
    (TINY, "name", "a/b", "name is 'a/b'; use letters"),
    (TINY, "title", 7, "title is 7; it must be a text"),
    (TINY, "sources", {}, "sources is {}; it must be a mapping of texts"),
    (TINY, "sources", {"paper": "x"}, "sources has no 'architecture'"),
    (TINY, "sources.architecture", 3, "sources.architecture is 3; it must be a text"),
    (TINY, "published_params", 5, "sources has no 'published_params'"),
    (TINY, "colour", "red", "unknown key 'colour'; known: schema, name"),
    (TINY, A, None, "either an architecture or parts"),
    (TINY, "parts", STORED["parts"], "either an architecture or parts"),
    (TINY, A, [1], r"architecture is \[1\]; it must be a mapping with the keys layers"),
    (TINY, f"{A}.d_modle", 4, "architecture: unknown key 'd_modle'; did you mean 'd_model'?"),
    (TINY, f"{A}.vocab", None, "architecture: the key 'vocab' is missing"),
    (TINY, f"{A}.d_model", -4, "architecture.d_model is -4; it must be a whole number from 1"),
    (TINY, f"{A}.d_model", 4.0, "architecture.d_model is 4.0; it must be a whole number"),
    (TINY, f"{A}.d_model", True, "architecture.d_model is True; it must be a whole number"),
    (TINY, f"{A}.d_model", "4 KB", "architecture.d_model is '4 KB'; it must be a whole number"),
    (TINY, f"{A}.layers", 10**12, "architecture.layers is 1000000000000; it must be a whole number from 1 to 32767"),
    (TINY, f"{A}.tied_embeddings", "no", "architecture.tied_embeddings is 'no'; it must be true or false"),
    (TINY, f"{A}.norm", "batch", "architecture.norm is 'batch'; it must be one of rms, layer"),
    (TINY, f"{A}.moe_layers", "some", "architecture.moe_layers is 'some'; it must be all, a list"),
    (TINY, f"{A}.moe_layers", [], r"architecture.moe_layers is \[\]; it must be a list with at least one entry"),
    (TINY, f"{A}.moe_layers", [2], r"moe_layers names \[2\]; it needs different layers from 0 to 1"),
    (TINY, f"{A}.moe_layers", [1, 1], r"moe_layers names \[1, 1\]; it needs different layers"),
    (TINY, f"{A}.moe_layers", {"first": 2}, r"moe_layers names \[\]; it needs different layers"),
    (TINY, f"{A}.ffn.dense_d_ff", None, "ffn.dense_d_ff is 0 but only 1 of 2 layers are MoE"),
    (TINY, f"{A}.ffn.top_k", 9, "architecture.ffn: top_k is 9 but n_experts is 8; lower top_k"),
    (TINY, f"{A}.ffn.matrices", 4, "architecture.ffn.matrices is 4; it must be a whole number from 2 to 3"),
    (TINY, f"{A}.attention.kind", "linear", "attention.kind is 'linear'; it must be one of mha, gqa, mla"),
    (TINY, f"{A}.attention.kind", "mha", "attention: kv_heads is 2 but kind is mha"),
    (TINY, f"{A}.attention.kind", "mla", "attention: unknown key 'kv_heads'"),
    (TINY, f"{A}.attention.kv_heads", 3, "attention: kv_heads is 3; gqa needs a divisor of heads, 4"),
    (TINY, f"{A}.attention.kv_heads", None, "attention: kv_heads is missing; gqa needs a divisor"),
    (TINY, f"{A}.d_model", 2**53, "sums above 4611686018427387904 do not fit"),
    (STORED, "parts.top_k", 5, "parts: top_k is 5 but the fewest experts of a layer are 4"),
    (STORED, "parts.layers", [], r"parts.layers is \[\]; it must be a list"),
    (STORED, "parts.layers.1.n_experts", None, r"parts.layers\[1\]: n_experts is 0 but expert has 256 parameters"),
    (STORED, "parts.layers.0.ffn", {"matrix_params": 1, "stored_bytes": 2}, r"layers\[0\]: a layer has a dense ffn"),
    (STORED, "parts.layers.1.expert.stored_bytes", -1, r"layers\[1\].expert.stored_bytes is -1; it must be"),
    (STORED, "parts.layers.1.expert.stored_bytes", None, "some parts have stored_bytes and some"),
    (STORED, "parts.embedding", {"stored_bytes": 8}, "parts.embedding: stored_bytes is 8 without any parameters"),
    (STORED, "parts.layers.1.expert.stored_bytes", 2**53, "do not fit"),
]


@pytest.mark.parametrize("base, path, value, message", MISTAKES)
def test_a_mistake_is_one_clear_line(base: dict[str, Any], path: str, value: Any, message: str) -> None:
    data = changed(base, path, value)
    if message == "do not fit":  # one expert may be that large, not thousands
        data = changed(data, "parts.layers.1.n_experts", 32767)
    with pytest.raises(UserError, match=message) as caught:
        shape(data, "m.yaml")
    assert str(caught.value).startswith("m.yaml: ") and "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "m.yaml is empty"),
        (b"# only a comment\n", "m.yaml is empty"),
        (b"- 1\n", r"m.yaml is \[1\]; it must be a mapping"),
        (b"just words", "m.yaml is 'just words'; it must be a mapping"),
        (b"a: [1", "m.yaml: line 1: not valid YAML"),
        (
            b"a: !!python/object/apply:os.system ['touch hacked']",
            "m.yaml: line 1: the tag .* is not read, only plain YAML: remove it",
        ),
        (b"a: \xff\xfe", "m.yaml cannot be read as a YAML file: byte 3 is no UTF-8"),
        (b"a: 2024-13-45", "m.yaml: not valid YAML: month must be in 1..12"),
        (b"[" * 5000, "m.yaml: line 1: more than 50 levels"),
        (b"1: 2", "m.yaml: unknown key 1; known"),
    ],
)
def test_a_file_that_is_no_model(tmp_path: Path, text: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_bytes(text)
    with pytest.raises(UserError, match=message) as caught:
        load(str(tmp_path / "m.yaml"))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.yaml"]  # the tag did not run


@pytest.mark.parametrize(
    ("name", "format"),
    [("gpt-oss-120b", "mxfp4"), ("deepseek-r1", "fp8_block"), ("kimi-k2", "fp8_block"), ("qwen3-30b-a3b", "fp16")],
)
def test_weights_are_those_that_were_released(name: str, format: str) -> None:
    assert models.load(name).digest == models.load(name, format).digest
    assert models.load(name, "fp16").format == "fp16"


def test_a_release_needs_its_source() -> None:
    data = yaml.safe_load(models.find("qwen3-30b-a3b").read_text())
    with pytest.raises(UserError, match="sources has no 'released'"):
        models.shape({**data, "released": "fp8"}, "x")
    told = {**data, "released": "fp8", "sources": {**data["sources"], "released": "told"}}
    assert models.shape(told, "x").format == "fp8"
