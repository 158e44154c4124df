"""config.json of every family: rules against transformers' own classes and against what the makers of a model publish."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.workloads import models
from simmoe.workloads.importers import described, families, kinds
from simmoe.workloads.importers.config import Config
from simmoe.workloads.importers.model import import_model

PUBLISHED: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "published_models.yaml").read_text())
NO_CLASS = {"grovemoe-inst"}  # in transformers
ROUNDED = {
    "qwen3.5-35b-a3b",
    "glm-4.5",
    "glm-4.5-air",
    "minimax-m2",
    "granite-4.0-h-small",
    "dots.llm1",
}  # see the file's comments


def parts(fields: dict[str, Any], where: str, by_class: bool = False) -> dict[str, Any]:
    return described.parts(described.describe(fields, where, by_class), where)


def shape(of: dict[str, Any], where: str = "x") -> ModelShape:
    return models.shape({"schema": 1, "name": "x", "title": "x", "sources": {"parts": "x"}, "parts": of}, where)


def billions_per_token(model: ModelShape, counted: str) -> float:
    idle = sum((layer.n_experts - model.top_k) * layer.expert.params for layer in model.layers if layer.n_experts)
    looked_up = model.embedding.params * (counted != "all")
    return (model.total_params - idle - looked_up - model.head.params * (counted == "bare")) / 1e9


# --- rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_fault_21_a_config_gives_what_is_published(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED[name]["fields"]))
    model, said = models.load(tmp_path / "config.json"), PUBLISHED[name]["published"]
    total, digits = float(said["total"]), said["active"].partition(".")[2]
    assert model.total_params / 1e9 == pytest.approx(total, rel=0.01 if name in ROUNDED else 0.005)
    per_token = billions_per_token(model, said["counted"])
    assert per_token == pytest.approx(float(said["active"]), abs=10.0 ** -len(digits))  # a unit of the last digit
    assert model.format == "fp16" and model.width


def test_published_models_are_of_twenty_families() -> None:
    exact = {PUBLISHED[name]["fields"]["model_type"] for name in PUBLISHED.keys() - ROUNDED}
    assert len(exact) >= 20
    used = {described.family_of(entry["fields"], "x") for entry in PUBLISHED.values()}
    assert families.known() == sorted(
        used | {"glm4v_moe", "qwen3_vl_moe"}
    )  # those two are their plain family with a tower


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name in models.available()])
def test_a_config_keeps_what_the_bundled_model_keeps(name: str) -> None:
    model, bundled = shape(parts(PUBLISHED[name]["fields"], name)), models.load(name)
    assert [layer.caches for layer in model.layers] == [layer.caches for layer in bundled.layers]
    assert model.total_params == pytest.approx(bundled.total_params, rel=1e-6)
    for format in ("q4_k_m", "mxfp4_moe", "fp8_block"):  # roles: each matrix its own type
        ours = models.shape(_file(name), name, format)
        assert ours.all_expert_bytes == models.load(name, format).all_expert_bytes
        assert ours.dense_bytes == pytest.approx(models.load(name, format).dense_bytes, rel=1e-4)


def _file(name: str) -> dict[str, Any]:
    of = parts(PUBLISHED[name]["fields"], name)
    return {"schema": 1, "name": "x", "title": "x", "sources": {"parts": "x"}, "parts": of}


KEPT = {  # layers with a cache, with a window, with a state; elements that all layers keep of a position
    "qwen3.5-35b-a3b": (10, 0, 30, 10 * 1024),
    "qwen3-next-80b-a3b": (12, 0, 36, 12 * 1024),
    "jamba-mini-1.6": (4, 0, 28, 4 * 2048),
    "minimax-text-01": (10, 0, 70, 10 * 2048),
    "nemotron-3-nano-30b-a3b": (6, 0, 23, 6 * 512),
    "granite-4.0-h-small": (4, 0, 36, 4 * 2048),
    "gpt-oss-20b": (24, 12, 0, 24 * 1024),
    "gemma-4-26b-a4b": (30, 25, 0, 25 * 4096 + 5 * 2048),
    "llama-4-maverick": (48, 36, 0, 48 * 2048),
    "kimi-k2": (61, 0, 0, 61 * 576),
    "glm-5": (78, 0, 0, 78 * (576 + 128)),  # a latent row, and the indexer's key
    "deepseek-v4-flash": (43, 43, 0, 43 * 512 + 23 * 4 + 20 * (128 + 32)),
    "phi-3.5-moe": (32, 32, 0, 32 * 2048),
    "switch-base-128": (12, 0, 0, 12 * 1536),  # the decoder's
}


@pytest.mark.parametrize("name", KEPT)
def test_fault_11_a_config_says_what_each_layer_keeps(name: str) -> None:
    model = shape(parts(PUBLISHED[name]["fields"], name))
    caches = sum(bool(layer.caches) for layer in model.layers)
    windows = sum(any(cache.kept for cache in layer.caches) for layer in model.layers)
    states = sum(bool(layer.state_bytes) for layer in model.layers)
    assert (caches, windows, states, model.kv_bytes_per_position // 2) == KEPT[name]


def test_what_attention_reads_and_computes() -> None:
    glm, flash = (shape(parts(PUBLISHED[name]["fields"], name)).layers for name in ("glm-5", "deepseek-v4-flash"))
    latent, indexer = glm[3].caches
    assert (latent.read, indexer.read) == (2048, 0)
    assert (latent.flops_per_position, indexer.flops_per_position) == (2 * 64 * (576 + 512), 2 * 32 * 128)
    near, far, keys = flash[3].caches  # every fourth position beyond a window of 128, of which 512 are picked
    assert (near.kept, far.read, keys.read) == (128, 4 * 512, 0)
    assert (near.flops_per_position, far.flops_per_position) == (4 * 64 * 512, 64 * 512)
    qwen = shape(parts(PUBLISHED["qwen3-next-80b-a3b"]["fields"], "q")).layers
    assert qwen[0].state_bytes == 4 * (
        32 * 128 * 128 + 3 * 8192
    )  # a matrix for each value head; three steps of the convolution
    assert qwen[3].caches[0].flops_per_position == 2 * 16 * (256 + 256)  # the gate beside the queries takes no part
    chunk = shape(parts(PUBLISHED["llama-4-maverick"]["fields"], "l")).layers[0].caches[0]
    assert (chunk.kept, chunk.chunked) == (8192, True)


STATES = {  # numbers of the state and of what the convolution looks back at
    "jamba-mini-1.6": 8192 * 16 + 3 * 8192,
    "granite-4.0-h-small": 128 * 64 * 128 + 3 * (8192 + 2 * 128),
    "nemotron-3-nano-30b-a3b": 64 * 64 * 128 + 3 * (4096 + 2 * 8 * 128),
    "minimax-text-01": 64 * 128 * 128,
}


@pytest.mark.parametrize("name", STATES)
def test_fault_11_the_state_of_a_recurrent_layer(name: str) -> None:
    assert shape(parts(PUBLISHED[name]["fields"], name)).layers[0].state_bytes == 4 * STATES[name]


OLD_WORDS = {  # fields -> the layers that are no full attention, of eight
    "hybrid_override_pattern": ({"hybrid_override_pattern": "M*E-M*E-"}, kinds.LINEAR, {0, 4}),
    "attn_type_list": ({"attn_type_list": [0, 0, 1, 0, 0, 0, 1, 0]}, kinds.LINEAR, {0, 1, 3, 4, 5, 7}),
    "no_rope_layers": ({"no_rope_layers": [1, 1, 0, 1, 1, 1, 0, 1]}, kinds.CHUNKED, {0, 1, 3, 4, 5, 7}),
    "linear_attn_config": ({"linear_attn_config": {"full_attn_layers": [4, 8]}}, kinds.LINEAR, {0, 1, 2, 4, 5, 6}),
    "attn_layer_period": ({"attn_layer_period": 4, "attn_layer_offset": 2}, kinds.LINEAR, {0, 1, 3, 4, 5, 7}),
    "full_attention_interval": ({"full_attention_interval": 4}, kinds.LINEAR, {0, 1, 2, 4, 5, 6}),
    "gpt_oss": ({"model_type": "gpt_oss", "sliding_window": 128}, kinds.SLIDING, {0, 2, 4, 6}),
    "gemma4_text": ({"model_type": "gemma4_text", "sliding_window": 128}, kinds.SLIDING, {0, 1, 2, 3, 4, 6}),
    "mixtral": ({"model_type": "mixtral", "sliding_window": 128}, kinds.SLIDING, set(range(8))),
    "qwen from a layer on": ({"model_type": "qwen2_moe", "sliding_window": 9, "use_sliding_window": True, "max_window_layers": 6},
                             kinds.SLIDING, {6, 7}),
    "qwen without": ({"model_type": "qwen2_moe", "sliding_window": 9, "max_window_layers": 6}, kinds.SLIDING, set()),
    "compress_ratios": ({"model_type": "deepseek_v4", "compress_ratios": [0, 0, 4, 128, 4, 128, 4, 0]}, "compressed_sparse_attention",
                        {2, 4, 6}),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD_WORDS)
def test_words_of_older_files(name: str) -> None:
    fields, word, layers = OLD_WORDS[name]
    words = kinds.kinds(Config(fields, "config.json"), 8)
    assert len(words) == 8 and {i for i, one in enumerate(words) if one == word} == layers


MOE_LAYERS = {  # fields -> MoE layers of six
    "none said": ({}, [0, 1, 2, 3, 4, 5]),
    "leading": ({"first_k_dense_replace": 2}, [2, 3, 4, 5]),
    "frequency": ({"first_k_dense_replace": 1, "moe_layer_freq": 2}, [2, 4]),
    "listed frequency": ({"moe_layer_freq": [0, 1, 1, 0, 1, 1]}, [1, 2, 4, 5]),
    "step": ({"decoder_sparse_step": 2, "mlp_only_layers": [3]}, [1, 5]),
    "interleaved": ({"interleave_moe_layer_step": 3}, [2, 5]),
    "listed": ({"moe_layers": [1, 4]}, [1, 4]),
    "words": ({"mlp_layer_types": ["dense", "sparse"] * 3}, [1, 3, 5]),
    "period": ({"expert_layer_period": 3, "expert_layer_offset": 1}, [1, 4]),
    "from to": ({"moe_layer_start_index": 1, "moe_layer_end_index": 3, "moe_layer_interval": 1}, [1, 2, 3]),
}


@pytest.mark.parametrize("name", MOE_LAYERS)
def test_which_layers_have_experts(name: str) -> None:
    said, layers = MOE_LAYERS[name]
    fields = {"model_type": "mixtral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 2,
              "num_local_experts": 4, "num_experts_per_tok": 2, "vocab_size": 128, **said}  # fmt: skip
    assert list(shape(parts(fields, name)).moe_layers) == layers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"layer_types": ["linear_attention"] * 32},
            "it names layers of 'linear_attention', of which this family has no block",
        ),
        (
            {"layer_types": ["full_attention"]},
            "layer_types is ['full_attention']; it must be one word for each of 32 layers",
        ),
        ({"model_type": 5}, "model_type is 5; is it the config.json of a Hugging Face model?"),
        ({"mlp_only_layers": 3}, "mlp_only_layers is 3; it must be a list of whole numbers from 0 to 31"),
    ],
)
def test_a_config_that_no_rule_fits_is_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parts({**PUBLISHED["mixtral-8x7b"]["fields"], **change}, "config.json")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_without_transformers_an_unknown_family_names_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simmoe.workloads.importers.classes.available", lambda: False)
    with pytest.raises(
        UserError, match=r"'zaya' is no family with rules here.*pip install 'simmoe\[hf\]'; known without: deepseek_v2"
    ):
        parts({"model_type": "zaya"}, "config.json")


def test_cautions_say_what_is_counted_otherwise(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED["switch-base-128"]["fields"]))
    assert "an encoder and a decoder are counted as one stack" in import_model(tmp_path / "config.json")["caution"]
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED["deepseek-v3"]["fields"]))
    data = import_model(tmp_path / "config.json")
    assert "caution" not in data and data["notes"] == "1 layers that predict further tokens left out."


# --- the classes of transformers --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="its classes are the oracle", minversion="5.0")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLISHED.keys() - NO_CLASS))
def test_rules_give_what_the_class_has(transformers: Any, name: str) -> None:
    """Every matrix of every layer by kind, what it is for, and what each layer keeps."""
    pytest.importorskip("torch")
    fields = PUBLISHED[name]["fields"]
    try:
        by_class = parts(fields, name, by_class=True)
    except UserError as missing:
        if "has no class" in str(missing):
            pytest.skip(str(missing))
        raise
    assert parts(fields, name) == by_class
    total = float(PUBLISHED[name]["published"]["total"])
    assert shape(by_class).total_params / 1e9 == pytest.approx(total, rel=0.01 if name in ROUNDED else 0.005)


EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
NEEDED = {  # fields without which the defaults of a class are no whole model
    "deepseek_v2": {"num_experts_per_tok": 6},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
}
REASONS = {  # of those that are refused; the test prints them
    "has no class that writes text": "part of another model, or one that reads only",
    "cannot be built from it": "its defaults are no whole model",
    "no rule knows what": "a matrix, or a bank of experts, of no pattern",
    "experts; all its tensors must hold the same number": "experts of several kinds in a layer",
    "no layer has routed experts": "experts that are no feed-forward networks",
}


def moe_classes(transformers: Any) -> Iterator[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    for name in sorted(CONFIG_MAPPING.keys()):
        try:
            fields = CONFIG_MAPPING[name]().get_text_config(decoder=True).to_dict()
        except Exception:  # some cannot be made without arguments
            continue
        if any(fields.get(key) for key in EXPERTS):
            yield name


@pytest.mark.real
@pytest.mark.slow
def test_fault_21_the_classes_of_transformers_import(transformers: Any) -> None:
    pytest.importorskip("torch")
    found, refused = {}, {}
    for name in moe_classes(transformers):
        try:
            found[name] = shape(parts({"model_type": name, **NEEDED.get(name, {})}, name, by_class=True), name)
        except UserError as error:
            refused[name] = next((why for words, why in REASONS.items() if words in str(error)), str(error))
    print(f"{len(found)} of {len(found) + len(refused)} import; refused:", *refused.items(), sep="\n")
    assert len(found) >= 30 and not set(refused.values()) - set(REASONS.values())
    assert all(model.moe_layers and model.total_params for model in found.values())


@pytest.mark.real
@pytest.mark.slow
def test_a_class_that_fits_no_fields_is_one_line(transformers: Any) -> None:
    pytest.importorskip("torch")
    with pytest.raises(UserError, match="the class of mixtral in transformers cannot be built from it: ") as caught:
        parts({**PUBLISHED["mixtral-8x7b"]["fields"], "hidden_size": "wide"}, "config.json", by_class=True)
    assert "\n" not in str(caught.value)
