"""Faults of importing models, through the command line and the public names: each gave a wrong answer in 0.1.0."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main
from tests.test_faults_policies import answer, moving, said, write_trace

Tensors = list[tuple[str, tuple[int, ...], int]]  # name, dimensions (the length of a row first), ggml type
F32, Q8, NVFP4, IQ4_KSS, UNKNOWN = 0, 8, 40, 146, 77


def write_gguf(path: Path, family: str, fields: dict[str, Any], tensors: Tensors, data: int = 0, step: int = 0) -> Path:
    """A header; with `data` bytes behind it, and offsets a `step` apart for a type that nobody knows."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def entry(key: str, value: Any) -> bytes:
        if isinstance(value, str):
            return text(key) + struct.pack("<I", 8) + text(value)
        if isinstance(value, list):
            return text(key) + struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)
        return text(key) + struct.pack("<II", 4, value)

    pairs = [entry("general.architecture", family), *(entry(f"{family}.{key}", value) for key, value in fields.items())]
    infos = [
        text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, i * step)
        for i, (name, dims, kind) in enumerate(tensors)
    ]
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs + infos)
    path.write_bytes(header)
    if data:  # a hole: no bytes on the disk
        with path.open("r+b") as stream:
            stream.truncate(-(-len(header) // 32) * 32 + data)
    return path


def imported(capsys: pytest.CaptureFixture[str], file: Path, out: Path) -> Any:
    """The shape that `model import` writes."""
    assert main(["model", "import", str(file), "--out", str(out), "--force"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    return simmoe.load_model(str(out))


# --- 21: config.json of current families --------------------------------------------------------------------------------

MLA = {"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}
FAMILIES: dict[str, tuple[dict[str, Any], tuple[int, int, int, float, int]]] = {
    # layers, MoE layers, experts, billions of parameters, bytes that the KV cache keeps of a position at 16 bit
    "kimi": ({"model_type": "kimi_k2", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
              "num_hidden_layers": 61, "num_attention_heads": 64, "num_key_value_heads": 64, "n_routed_experts": 384, "n_shared_experts": 1,
              "num_experts_per_tok": 8, "first_k_dense_replace": 1, "moe_layer_freq": 1, **MLA, "vocab_size": 163840},
             (61, 60, 384, 1026.4, 70_272)),
    "glm-4.5-air": ({"model_type": "glm4_moe", "hidden_size": 4096, "intermediate_size": 10944, "moe_intermediate_size": 1408,
              "num_hidden_layers": 46, "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "n_routed_experts": 128,
              "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 1, "vocab_size": 151552, "attention_bias": True,
              "use_qk_norm": False, "num_nextn_predict_layers": 1}, (46, 45, 128, 106.9, 46 * 4096)),
    "maverick": ({"model_type": "llama4", "text_config": {"model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192,
              "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
              "num_local_experts": 128, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2, "vocab_size": 202048}},
              (48, 24, 128, 400.7, 48 * 4096)),
    "qwen3.5": ({"model_type": "qwen3_5_moe", "text_config": {"model_type": "qwen3_5_moe_text", "hidden_size": 2048,
              "num_hidden_layers": 40, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "num_experts": 256,
              "num_experts_per_tok": 8, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "vocab_size": 248320,
              "full_attention_interval": 4}}, (40, 40, 256, 34.7, 10 * 2048)),
}  # fmt: skip


def config(folder: Path, fields: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    return folder / "config.json"


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_fault_21_a_config_of_a_current_family(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields, (layers, moe, experts, billions, kv) = FAMILIES[name]
    model = imported(capsys, config(tmp_path / name, fields), tmp_path / "m.yaml")
    assert (len(model.layers), len(model.moe_layers), model.n_experts) == (layers, moe, experts)
    assert model.total_params / 1e9 == pytest.approx(billions, abs=0.05)
    assert model.kv_bytes_per_position == kv


@pytest.mark.slow
def test_fault_21_the_shape_of_glm_is_the_bundled_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = imported(capsys, config(tmp_path / "glm", FAMILIES["glm-4.5-air"][0]), tmp_path / "m.yaml")
    bundled = simmoe.load_model("glm-4.5-air")
    assert model.total_params == pytest.approx(bundled.total_params, rel=1e-6)
    assert (model.expert_bytes == bundled.expert_bytes).all()


# --- 11: layers of one kind each ----------------------------------------------------------------------------------------

PATTERN = "MEME*EM"


def hybrid(path: Path) -> Path:
    """Blocks that are each a state-space block (M), attention (*) or experts (E), as Nemotron-H has them."""
    heads = {
        f"attention.head_count{kind}": [many * (one == "*") for one in PATTERN] for kind, many in (("", 4), ("_kv", 2))
    }
    fields = {"block_count": len(PATTERN), "embedding_length": 256, "expert_count": 8, "expert_used_count": 2, **heads,
              "attention.key_length": 64, "attention.value_length": 64}  # fmt: skip
    of: dict[str, Tensors] = {
        "M": [("ssm_in.weight", (256, 1416), Q8), ("ssm_conv1d.weight", (4, 896), F32), ("ssm_dt.bias", (8,), F32), ("ssm_a", (1, 8), F32),
              ("ssm_d", (1, 8), F32), ("ssm_norm.weight", (128, 4), F32), ("ssm_out.weight", (512, 256), Q8)],
        "*": [("attn_q.weight", (256, 256), Q8), ("attn_k.weight", (256, 128), Q8), ("attn_v.weight", (256, 128), Q8),
              ("attn_output.weight", (256, 256), Q8)],
        "E": [("ffn_gate_inp.weight", (256, 8), F32), ("exp_probs_b.bias", (8,), F32), ("ffn_up_exps.weight", (256, 96, 8), Q8),
              ("ffn_down_exps.weight", (96, 256, 8), Q8), ("ffn_up_shexp.weight", (256, 192), Q8),
              ("ffn_down_shexp.weight", (192, 256), Q8)],
    }  # fmt: skip
    tensors: Tensors = [
        ("token_embd.weight", (256, 1000), Q8),
        ("output.weight", (256, 1000), Q8),
        ("output_norm.weight", (256,), F32),
    ]
    for i, one in enumerate(PATTERN):
        tensors += [(f"blk.{i}.attn_norm.weight", (256,), F32)] + [
            (f"blk.{i}.{name}", dims, kind) for name, dims, kind in of[one]
        ]
    return write_gguf(path, "nemotron_h_moe", fields, tensors)


def test_fault_11_layers_of_one_kind_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """23 of 52 blocks in the public model; here three experts, one attention, three state-space blocks."""
    model = imported(capsys, hybrid(tmp_path / "nemo.gguf"), tmp_path / "m.yaml")
    assert (model.moe_layers, model.n_experts, model.top_k) == ((1, 3, 5), 8, 2)
    assert model.kv_bytes_per_position == 2 * 2 * (64 + 64)
    states = 4 * (
        512 * (896 - 512) // 2 // 4 + 3 * 896
    )  # of 32 bit: 48 states for each inner channel, three steps of the convolution
    assert [layer.state_bytes for layer in model.layers] == [states * (one == "M") for one in PATTERN]
    trace = str(write_trace(tmp_path / "t.npz", moving(12, 3, 2, 8), 8, layers=(1, 3, 5)))
    run = answer(
        capsys, "run", "--hw", "rtx_3060", "--trace", trace, "--model", str(tmp_path / "m.yaml"), "--budget", "50%"
    )
    assert run["decode"]["requests"] == 12 * 3 * 2 and run["tok_s"] > 0


# --- 13: types of newer files -------------------------------------------------------------------------------------------

SMALL = {"block_count": 1, "embedding_length": 2048, "expert_count": 32, "expert_used_count": 4, "attention.head_count": 16,
         "attention.head_count_kv": 4, "attention.key_length": 128, "attention.value_length": 128}  # fmt: skip


def small(kind: int) -> Tensors:
    """One layer of 32 experts of 2,048 by 768."""
    return [("token_embd.weight", (2048, 1024), Q8), ("output_norm.weight", (2048,), F32), ("blk.0.attn_norm.weight", (2048,), F32),
            ("blk.0.attn_q.weight", (2048, 2048), Q8), ("blk.0.attn_k.weight", (2048, 512), Q8), ("blk.0.attn_v.weight", (2048, 512), Q8),
            ("blk.0.attn_output.weight", (2048, 2048), Q8), ("blk.0.ffn_gate_inp.weight", (2048, 32), F32),
            ("blk.0.ffn_gate_exps.weight", (2048, 768, 32), kind), ("blk.0.ffn_up_exps.weight", (2048, 768, 32), kind),
            ("blk.0.ffn_down_exps.weight", (768, 2048, 32), kind)]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "nbytes"),
    [
        (NVFP4, 3 * 2048 * 768 * 36 // 64),
        (IQ4_KSS, 3 * 2048 * 768 * 128 // 256 + (768 + 768 + 2048) * 4),
        (Q8, 3 * 2048 * 768 * 34 // 32),
    ],
)
def test_fault_13_bytes_of_newer_block_types(
    kind: int, nbytes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = imported(capsys, write_gguf(tmp_path / "small.gguf", "qwen3moe", SMALL, small(kind)), tmp_path / "m.yaml")
    assert model.layers[0].expert.bytes == nbytes


def test_fault_13_a_type_that_nobody_knows_has_the_bytes_between_its_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = 32 * 1_000_000  # a million bytes for each matrix of an expert; the last one ends where the file does
    file = write_gguf(tmp_path / "new.gguf", "qwen3moe", SMALL, small(UNKNOWN), data=11 * step, step=step)
    model = imported(capsys, file, tmp_path / "m.yaml")
    assert model.layers[0].expert.bytes == 3_000_000
    assert "Bytes of ggml type 77 are the distances between tensors" in (tmp_path / "m.yaml").read_text().replace(
        "\n ", ""
    )
    code, line = said(
        capsys, "model", "import", str(write_gguf(tmp_path / "head.gguf", "qwen3moe", SMALL, small(UNKNOWN)))
    )
    assert code == 2 and "has the ggml type 77, whose block size is not known here" in line


# --- 14: what no rule knows is no attention -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dims"),
    [("blk.0.ffn_up_chexps.weight", (2048, 128, 16)), ("blk.0.strange.weight", (2048, 512)), ("blk.0.ffn_up_newexps.weight", (2048, 8, 32)),
     ("strange.weight", (2048, 99))],
)  # fmt: skip
def test_fault_14_an_unknown_tensor_is_named(
    name: str, dims: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = [*small(Q8), (name, dims, Q8)]
    file, out = write_gguf(tmp_path / "m.gguf", "qwen3moe", SMALL, tensors), tmp_path / "m.yaml"
    code, line = said(capsys, "model", "import", str(file), "--out", str(out))
    assert code == 2 and f"no rule knows what {name} {list(dims)} is for" in line and not out.exists()


def test_fault_14_the_second_bank_of_grovemoe_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One small expert for two experts: its weights are counted with theirs, and nothing is read for every token."""
    bank: Tensors = [(f"blk.0.ffn_{m}_chexps.weight", dims, Q8) for m, dims in
                     {"gate": (2048, 128, 16), "up": (2048, 128, 16), "down": (128, 2048, 16)}.items()]  # fmt: skip
    model = imported(
        capsys, write_gguf(tmp_path / "m.gguf", "grovemoe", SMALL, [*small(Q8), *bank]), tmp_path / "m.yaml"
    )
    plain = imported(capsys, write_gguf(tmp_path / "p.gguf", "qwen3moe", SMALL, small(Q8)), tmp_path / "p.yaml")
    assert model.layers[0].attention == plain.layers[0].attention
    assert model.layers[0].expert.params - plain.layers[0].expert.params == 3 * 2048 * 128 * 16 // 32
    assert "small expert of each group" in model.caution and not plain.caution


def test_fault_14_a_config_with_an_unknown_matrix_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = {"model.layers.0.mlp.other_experts.0.w1.weight": {"dtype": "BF16", "shape": [64, 64], "data_offsets": [0, 8192]},
              "model.layers.0.strange.weight": {"dtype": "BF16", "shape": [64, 64], "data_offsets": [8192, 16384]}}  # fmt: skip
    text = json.dumps(header).encode()
    path = config(tmp_path / "m", MIXTRAL).with_name("model.safetensors")
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    code, line = said(capsys, "model", "import", str(path))
    assert code == 2 and "no rule knows what model.layers.0.strange.weight [64, 64] is for" in line


# --- 20: --model takes what a model is published as -----------------------------------------------------------------------

MIXTRAL = {"model_type": "mixtral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
           "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 128}  # fmt: skip


def folder_of_config(path: Path) -> Path:
    config(path / "model", MIXTRAL)
    return path / "model"


def file_of_config(path: Path) -> Path:
    return config(path / "model", MIXTRAL)


def folder_of_gguf(path: Path) -> Path:
    (path / "folder").mkdir()
    hybrid(path / "folder" / "nemo.gguf")
    return path / "folder"


def split_gguf(path: Path) -> Path:
    whole = [*small(Q8)]
    write_gguf(path / "big-00002-of-00002.gguf", "qwen3moe", {}, whole[6:])
    return write_gguf(path / "big-00001-of-00002.gguf", "qwen3moe", SMALL, whole[:6])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "layers", "k", "experts"),
    [(folder_of_config, (0, 1), 2, 8), (file_of_config, (0, 1), 2, 8), (folder_of_gguf, (1, 3, 5), 2, 8), (split_gguf, (0,), 4, 32)],
)  # fmt: skip
def test_fault_20_a_run_takes_a_published_model(
    make: Callable[[Path], Path], layers: tuple[int, ...], k: int, experts: int, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The same answer as that of its imported shape, the second time from what was kept, and again when that was damaged."""
    model = make(tmp_path)
    trace = str(write_trace(tmp_path / "t.npz", moving(12, len(layers), k, experts), experts, layers=layers))
    given = ("run", "--hw", "rtx_3060", "--trace", trace, "--budget", "50%")
    file = model if model.is_file() else next(iter([*model.glob("*.gguf"), *model.glob("config.json")]))
    assert main(["model", "import", str(file), "--out", str(tmp_path / "m.yaml")]) == 0
    capsys.readouterr()
    due = answer(capsys, *given, "--model", str(tmp_path / "m.yaml"))
    kept = kept_in(tmp_path, monkeypatch)
    found = [answer(capsys, *given, "--model", str(model)) for _ in range(2)]
    assert len(kept()) == 1
    whole = kept()[0].read_text()
    for damaged in (whole[:-9], whole.replace('"name": "', '"name": "other'), ""):
        kept()[0].write_text(damaged)
        found.append(answer(capsys, *given, "--model", str(model)))
    assert found == [due] * 5 and kept()[0].read_text() == whole


def kept_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Path]]:
    """The imported models that are kept, in a folder of this test alone."""
    (path / "cache").mkdir()
    monkeypatch.setenv("SIMMOE_CACHE", str(path / "cache"))
    forget_cache_folder()
    return lambda: sorted((path / "cache" / "models").glob("*.json"))


def forget_cache_folder() -> None:
    from simmoe.simulator import files

    getattr(getattr(files, "cache_folder", None), "cache_clear", list)()  # 0.1.0 has none


@pytest.fixture(autouse=True)
def usual_cache_folder() -> Iterator[None]:
    yield
    forget_cache_folder()


def test_fault_20_a_changed_file_is_another_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_in(tmp_path, monkeypatch)
    path = tmp_path / "config.json"
    for before, layers in (
        ("", 2),
        ("", 3),
        (" " * 70_000, 2),
        (" " * 70_000, 3),
    ):  # also behind what the digest reads, at the same size
        path.write_text(before + json.dumps({**MIXTRAL, "num_hidden_layers": layers}))
        assert len(simmoe.load_model(str(path)).layers) == layers
    assert len(kept()) == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "holds no config.json, *.gguf, *.safetensors or model.safetensors.index.json"),
     (("a.gguf", "b.gguf"), "holds 2 GGUF models, a.gguf and others; name one of them")],
)  # fmt: skip
def test_a_folder_without_one_model_is_one_line(
    names: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = str(write_trace(tmp_path / "t.npz", np.zeros((2, 1, 1)), 2))
    (tmp_path / "model").mkdir()
    for name in names:
        hybrid(tmp_path / "model" / name)
    code, line = said(
        capsys, "run", "--hw", "rtx_3060", "--trace", trace, "--model", str(tmp_path / "model"), "--budget", "50%"
    )
    assert code == 2 and message in line


TINY_MIXTRAL = {
    "model_type": "mixtral", "num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 100, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "num_local_experts": 4, "num_experts_per_tok": 2,
}  # fmt: skip


# --- what contradicts itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "more", "message"),
    [
        ({}, [("blk.0.attn_q.weight", (2048, 2048), Q8)], "tensor 'blk.0.attn_q.weight' is there 2 times"),
        ({}, [("blk.1.attn_q.weight", (2048, 2048), Q8)], "tensor 'blk.1.attn_q.weight' is beyond the 1 blocks"),
        ({"expert_count": 64}, [], "expert_count is 64, but its tensors hold 32 experts"),
        ({"embedding_length": 64}, [], "embedding_length is 64, but a row of token_embd.weight has"),
    ],
)
def test_a_gguf_file_that_contradicts_itself_is_refused(
    fields: dict[str, Any], more: Tensors, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_gguf(tmp_path / "m.gguf", "qwen3moe", {**SMALL, **fields}, [*small(Q8), *more])
    assert main(["model", "import", str(file), "--out", str(tmp_path / "m.yaml")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize("change", [{"hidden_size": 0}, {"num_attention_heads": 10**9}])
def test_heads_without_width_are_one_line(
    change: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**TINY_MIXTRAL, **change}))
    assert main(["model", "import", str(file), "--out", str(tmp_path / "m.yaml")]) == 2
    said = capsys.readouterr().err
    ((name, value),) = change.items()
    assert f"{name} is {value}; it must be a whole number from 1 to" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"moe_layer_freq": [1]}, "moe_layer_freq is [1]; it must be a list of 2 whole numbers from 0 to 1"),
        ({"num_hidden_layers": 32_767}, "num_hidden_layers is 32767; it must be a whole number from 1 to 1024"),
    ],
)
def test_lists_and_counts_of_layers_are_bounded(
    change: dict[str, Any], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**TINY_MIXTRAL, **change}))
    assert main(["model", "import", str(file), "--out", str(tmp_path / "m.yaml")]) == 2
    assert line in capsys.readouterr().err


def test_a_report_that_never_ends_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "detect", "--from", "/dev/null"]) == 2
    assert "/dev/null is neither a file nor a folder" in capsys.readouterr().err
