"""Published models with values that their fields cannot have: one clear line, or a caution, and never a model of other sizes.

A value may do three things: be refused in one line (exit 2), mean what the absent field means, or leave the model as it is since nothing
reads it. Which values are sizes that a model can have stands here, not in the importers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.workloads import models
from simmoe.workloads.importers import config, described, gguf_file
from simmoe.workloads.importers.model import import_model
from tests.scenarios import examples
from tests.test_features import IN_GGUF, ONLY_IN_GGUF, gguf

PUBLISHED: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "published_models.yaml").read_text())
ABSURD = (-1, 0, 1.5, "8", "", [], [3], ["x"], {}, {"a": 1}, True, 10**12, "zzz", [[1]], [None])

# --- those that were accepted, through the command line ---------------------------------------------------------------

LINES: dict[str, tuple[str, dict[str, Any], str]] = {  # model, what its config.json says instead, the line
    "a kind of layer that no rule knows": ("mixtral-8x7b", {"layer_types": ["quantum_attention"] * 32},
                                            "it names layers of 'quantum_attention', of which this family has no block here; known: full_"),
    "a letter of no block": ("nemotron-3-nano-30b-a3b", {"hybrid_override_pattern": "MEMX" * 13}, "it names layers of 'X'"),
    "no list of kinds": ("granite-4.0-h-small", {"layer_types": None}, "it does not say which layers are recurrent"),
    "quantization": ("mixtral-8x7b", {"quantization_config": 5}, "quantization_config is 5; it must be an object {...}, or null"),
    "text": ("mixtral-8x7b", {"text_config": "x"}, "text_config is 'x'; it must be an object"),
    "number format": ("mixtral-8x7b", {"torch_dtype": 16}, "torch_dtype is 16; it must be a text such as bfloat16"),
    "heads": ("deepseek-v3", {"num_attention_heads": 0}, "num_attention_heads is 0; it must be a whole number from 1 to"),
    "latent row": ("deepseek-v3", {"kv_lora_rank": 0}, "kv_lora_rank is 0; latent attention needs a row of at least 1"),
    "no latent row": ("deepseek-v3", {"kv_lora_rank": None}, "kv_lora_rank is missing"),
    "experts: 0": ("deepseek-v3", {"n_routed_experts": 0}, "n_routed_experts is 0; it must be a whole number from 1 to"),
    "experts: -1": ("qwen3-30b-a3b", {"num_experts": -1}, "num_experts is -1; it must be a whole number from 1 to"),
    "experts: 1.5": ("qwen3-30b-a3b", {"num_experts": 1.5}, "num_experts is 1.5; it must be a whole number"),
    "experts: '8'": ("qwen3-30b-a3b", {"num_experts": "8"}, "num_experts is '8'; it must be a whole number"),
    "experts: null": ("qwen3-30b-a3b", {"num_experts": None}, "num_experts or num_local_experts or n_routed_experts or moe_num_exp"),
    "experts: [8]": ("qwen3-30b-a3b", {"num_experts": [8]}, "it must be a whole number, or a list of one for each of 48 layers, all alike"),
    "experts: two numbers": ("qwen3-30b-a3b", {"num_experts": [128] * 47 + [64]}, "a list of one for each of 48 layers, all alike"),
    "experts: true": ("qwen3-30b-a3b", {"num_experts": True}, "num_experts is True; it must be a whole number"),
    "a text as a flag": ("gpt-oss-20b", {"attention_bias": "false"}, "attention_bias is 'false'; it must be true or false"),
    "heads that do not share the width": ("mixtral-8x7b", {"num_attention_heads": 31, "num_key_value_heads": 31},
                                          "num_attention_heads is 31, which must divide hidden_size, 4096"),
    "a window of none": ("gpt-oss-20b", {"sliding_window": 0}, "it names layers of sliding_attention, but sliding_window is 0"),
    "an indexer without rows": ("deepseek-v3.2", {"q_lora_rank": None}, "q_lora_rank is 0 or missing; the indexer reads"),
    "an offset beyond its period": ("jamba-mini-1.6", {"attn_layer_offset": 8}, "attn_layer_offset is 8; it must be below the period, 8"),
    "a period of none": ("jamba-mini-1.6", {"expert_layer_period": 0}, "expert_layer_period is 0; it must be a whole number from 1"),
    "a step of none": ("qwen3-30b-a3b", {"decoder_sparse_step": 0}, "decoder_sparse_step is 0; it must be a whole number from 1"),
    "a list that is a text": ("qwen3-30b-a3b", {"mlp_only_layers": "012"}, "mlp_only_layers is '012'; it must be a list of whole numbers"),
    "kinds and a count that differ": ("nemotron-3-nano-30b-a3b", {"num_hidden_layers": 40}, "40, but 52 layers are listed by their kinds"),
    "a layer that is not there": ("gemma-4-26b-a4b", {"per_layer_config": {"40": {}}}, "per_layer_config names '40'; its keys are"),
    "more sparse layers than layers": ("switch-base-128", {"num_sparse_encoder_layers": 13}, "but the encoder has 12 layers"),
    "a compression of no rule": ("deepseek-v4-flash", {"compress_ratios": [64] * 43}, "it names layers of '64'"),
}  # fmt: skip


def changed(name: str, change: dict[str, Any]) -> dict[str, Any]:
    """The fields of a published model with others, put where the language model's stand."""
    fields = PUBLISHED[name]["fields"]
    if "text_config" in fields and not change.keys() & {"text_config", *config.OBJECTS}:
        return {**fields, "text_config": {**fields["text_config"], **change}}
    return {**fields, **change}


@pytest.mark.parametrize("case", LINES)
def test_nonsense_in_a_config_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, change, line = LINES[case]
    (tmp_path / "config.json").write_text(json.dumps(changed(name, change)))
    assert main(["model", "import", str(tmp_path / "config.json"), "--out", str(tmp_path / "m.yaml")]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1


def test_a_number_format_of_no_name_is_a_caution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """PyTorch gains one now and then, and no size follows from it."""
    for said, unknown in (
        ("float99", True),
        ("bfloat16", False),
        ("torch.float8_e4m3fn", False),
        ("float4_e2m1fn_x2", False),
    ):
        (tmp_path / "config.json").write_text(json.dumps(changed("mixtral-8x7b", {"torch_dtype": said})))
        data = import_model(tmp_path / "config.json")
        assert ("its weights are in 'float99', of which nothing is known here" in data.get("caution", "")) == unknown
        assert data["parts"] == described.parts(described.describe(PUBLISHED["mixtral-8x7b"]["fields"], "x"), "x")


def test_words_of_a_class_without_rules_are_a_caution() -> None:
    """Its matrices are known from the class, so that only what such layers keep is assumed."""
    fields = PUBLISHED["mixtral-8x7b"]["fields"]
    by_rules = described.describe(fields, "x")
    said = replace(
        by_rules, family="new", config=config.Config({**fields, "layer_types": ["quantum_attention"] * 32}, "x")
    )
    assert (
        described.caution(said)
        == "layers of quantum_attention are counted as full attention, since no rule here knows them"
    )
    assert described.parts(said, "x") == described.parts(by_rules, "x")


IN_HEADERS: dict[str, tuple[str, dict[str, Any], str]] = {  # model, what its header says instead, the line
    "no heads": ("qwen3-30b-a3b", {"attention.head_count": 0}, "attention.head_count is 0; it must be at least 1"),
    "no KV heads": ("qwen3-30b-a3b", {"attention.head_count_kv": 0}, "head_count_kv is 0; 0 in a layer that has tensors of attention"),
    "more KV heads": ("qwen3-30b-a3b", {"attention.head_count_kv": 4}, "attn_k is for 32 numbers of all heads, where the metadata of"),
    "other heads": ("qwen3-30b-a3b", {"attention.head_count": 6}, "attn_output is for 64 numbers of all heads"),
    "no width": ("qwen3-30b-a3b", {"attention.key_length": 0}, "attention.key_length is 0; it must be at least 1"),
    "a latent row that no tensor has": ("qwen3-30b-a3b", {"attention.kv_lora_rank": 512}, "no attn_kv_a_mqa for it"),
    "no latent row": ("deepseek-v3", {"attention.kv_lora_rank": 0}, "with rope.dimension_count it must be the 40 rows of attn_kv_a_mqa"),
    "heads of latent attention": ("deepseek-v3", {"attention.head_count": 8}, "attention.head_count is 8; attn_k_b has 4 heads"),
    "an indexer's heads": ("deepseek-v3.2", {"attention.indexer.head_count": 8}, "indexer.proj has 4 heads"),
    "an indexer that picks none": ("deepseek-v3.2", {"attention.indexer.top_k": 0}, "attention.indexer.top_k is 0; it must be at least"),
    "states": ("granite-4.0-h-small", {"ssm.state_size": 3}, "the 16 outer channels of ssm_conv1d must be two rows of it"),
    "no states": ("qwen3-next-80b-a3b", {"ssm.state_size": 0}, "ssm.state_size is 0; it must be at least 1"),
    "which layers have a window": ("gpt-oss-20b", {"attention.sliding_window_pattern": "odd"}, "it must be a number of layers, or true or"),
    "several numbers": ("glm-4.5", {"expert_used_count": [2, 4]}, "it must be one whole number, or a list of one for each layer, all"),
}  # fmt: skip


def header_of(path: Path, name: str, change: dict[str, Any]) -> Any:
    """The header of a tiny file of the family of a model, with other values."""
    family, layers, *_ = {**IN_GGUF, **ONLY_IN_GGUF}[name]
    header = gguf_file.read_header(gguf(path, family, layers))
    header.metadata.update({f"{family}.{key}": value for key, value in change.items()})
    return header


@pytest.mark.parametrize("case", IN_HEADERS)
def test_nonsense_in_a_gguf_header_is_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, change, line = IN_HEADERS[case]
    header = header_of(tmp_path / "m.gguf", name, change)
    monkeypatch.setattr(gguf_file, "read_header", lambda path: header)
    assert main(["model", "import", str(tmp_path / "m.gguf"), "--out", str(tmp_path / "m.yaml")]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1


def test_a_tensor_with_other_bytes_than_its_shape_is_one_line(tmp_path: Path) -> None:
    info = {"w": {"dtype": "BF16", "shape": [4, 4], "data_offsets": [0, 31]}}
    text = json.dumps(info).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(31))
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED["mixtral-8x7b"]["fields"]))
    with pytest.raises(UserError, match="tensor 'w' has 31 bytes where its shape and type make 32"):
        import_model(tmp_path / "model.safetensors")


# --- every field that an importer reads, with every value that it cannot have -------------------------------------------


class Watched(dict[str, Any]):
    """The fields of a config.json that remember which of them were read."""

    read: ClassVar[set[str]] = set()

    def get(self, key: str, default: Any = None) -> Any:
        Watched.read.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        Watched.read.add(str(key))
        return super().__contains__(key)


def small(name: str) -> dict[str, Any]:
    """A published model with eight layers, which is quick to build."""

    def cut(fields: dict[str, Any]) -> dict[str, Any]:
        short: dict[str, Any] = {"num_hidden_layers": 8, "moe_layer_end_index": 7, "hybrid_override_pattern": "MEM*EMEM", "num_layers": 4,
                 "num_decoder_layers": 4, "num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 2}  # fmt: skip
        listed = {"layer_types": fields["layer_types"][:8]} if "layer_types" in fields else {}
        inner = {"text_config": cut(fields["text_config"])} if "text_config" in fields else {}
        return {**fields, **{key: value for key, value in short.items() if key in fields}, **listed, **inner}

    return cut(PUBLISHED[name]["fields"])


def built(fields: dict[str, Any]) -> models.ModelShape:
    said = described.describe(fields, "config.json")
    content = {"schema": 1, "name": "x", "title": "x", "sources": {"parts": "x"}, "parts": described.parts(said, "x")}
    return models.shape({**content, "caution": described.caution(said) or "none"}, "x")


def sizes(model: models.ModelShape) -> object:
    return model.layers, model.head, model.embedding, model.top_k, model.width


def fields_read(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Watched.read = set()
    begin = config.Config.__init__
    with monkeypatch.context() as watching:
        watching.setattr(config.Config, "__init__", lambda self, fields, where: begin(self, Watched(fields), where))
        built(small(name))
    return sorted(
        Watched.read - {"model_type", *Watched.read.intersection(kind for kind in ("compressed_sparse_attention",))}
    )


OF_EACH_FAMILY = {str(entry["fields"]["model_type"]): name for name, entry in PUBLISHED.items()}.values()
WHOLE = (  # which read every kind of field; values are drawn for all others too
    "mixtral-8x7b", "qwen3-next-80b-a3b", "deepseek-v3.2", "deepseek-v4-flash", "gpt-oss-20b", "jamba-mini-1.6", "nemotron-3-nano-30b-a3b",
    "ernie-4.5-300b-a47b", "switch-base-128",
)  # fmt: skip
NONE_OF_IT = {  # fields in which 0 says that a model has none of it: another model, and a right one
    "moe_layer_start_index", "moe_num_shared_experts", "n_shared_experts", "num_hash_layers", "num_shared_expert",
    "num_sparse_decoder_layers", "num_sparse_encoder_layers", "qk_rope_head_dim", "shared_expert_intermediate_size",
    "shared_intermediate_size",
}  # fmt: skip
FLAGS = {"attention_bias", "attention_k_eq_v", "lm_head_bias", "mamba_conv_bias", "mamba_proj_bias", "mlp_bias", "qkv_bias",
         "tie_word_embeddings", "use_bias", "use_conv_bias", "use_qk_norm", "use_sliding_window"}  # fmt: skip
A_LIST = {"mlp_only_layers", "moe_layers"}  # of any layers


def may_change(field: str, value: object) -> bool:
    """Whether another model, and a right one, follows from a value."""
    if type(value) is bool:
        return field in FLAGS
    return (type(value) is int and value == 0 and field in NONE_OF_IT) or (isinstance(value, list) and field in A_LIST)


def wrong(name: str, field: str, value: Any) -> str:
    """What is wrong with the answer to a value in a field; empty = nothing."""
    fields = small(name)
    inner = "text_config" in fields and field not in config.OBJECTS
    there = dict(fields["text_config"] if inner else fields)
    other = [{**there, field: value}, {key: item for key, item in there.items() if key != field}, there]
    given_one, absent, before = ({**fields, "text_config": one} if inner else one for one in other)
    try:
        found = built(given_one)
    except UserError as error:
        return "several lines" if "\n" in str(error) else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if (
        sizes(found) == sizes(built(before))
        or may_change(field, value)
        or (not value and sizes(found) == sizes(built(absent)))
    ):
        return ""
    return "" if field in found.caution else "a model of other sizes without a word"


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_no_value_of_a_config_is_a_traceback_or_another_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    every = [*fields_read(name, monkeypatch), *config.OBJECTS, *config.NUMBER_FORMAT]
    found = {(field, str(value)): why for field in every for value in ABSURD if (why := wrong(name, field, value))}
    assert not found


def values() -> st.SearchStrategy[Any]:
    plain = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 0)
        | st.integers(2**33, 2**70)
        | st.floats(allow_nan=False)
        | st.text(max_size=5)
    )
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    )


@pytest.mark.slow
@given(st.data())
@settings(max_examples=examples(300), deadline=None)
def test_drawn_values_of_a_config_are_neither(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        name = data.draw(st.sampled_from(sorted(OF_EACH_FAMILY)))
        field = data.draw(st.sampled_from(fields_read(name, patch)))
    value = data.draw(values())
    assert not wrong(name, field, value), (name, field, value)


IN_ANY_HEADER = {"expert_used_count", "nextn_predict_layers", "attention.sliding_window", "attention.sliding_window_pattern",
                 "attention.indexer.top_k"}  # fmt: skip


def headers(path: Path, name: str) -> Iterator[tuple[str, object, str]]:
    """Key, value and what is wrong with the answer, for each key of the header."""
    base = models.shape(gguf_file.import_gguf(path), "m")
    family, header = {**IN_GGUF, **ONLY_IN_GGUF}[name][0], gguf_file.read_header(path)
    keys = [key.removeprefix(f"{family}.") for key in header.metadata if key.startswith(family)]
    for key in (*keys, "attention.sliding_window_pattern", "nextn_predict_layers", "attention.kv_lora_rank"):
        for value in (*ABSURD, 2**31, [0], [1, 2]):
            other = header_of(path, name, {key: value})
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gguf_file, "read_header", lambda _, other=other: other)
                try:
                    found = models.shape(gguf_file.import_gguf(path), "m")
                    silent = sizes(found) != sizes(base) and key not in IN_ANY_HEADER
                    yield key, value, "a model of other sizes without a word" if silent else ""
                except UserError as error:
                    yield key, value, "several lines" if "\n" in str(error) else ""


@pytest.mark.slow
@pytest.mark.parametrize("name", [*IN_GGUF, *ONLY_IN_GGUF])
def test_no_value_of_a_gguf_header_is_a_traceback_or_another_model(name: str, tmp_path: Path) -> None:
    path = gguf(tmp_path / "m.gguf", *{**IN_GGUF, **ONLY_IN_GGUF}[name][:2])
    assert not {(key, str(value)): why for key, value, why in headers(path, name) if why}
