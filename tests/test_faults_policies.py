"""Faults of 0.1.0 about policies, traces, imported models and profiles, each with the right value.

Through the command line and the public functions only, so that every test can be played on that version.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main


def write_trace(
    path: Path,
    rows: Any,  # [tokens][moe_layers][top_k] experts
    n_experts: int,
    *,
    prompt: int = 0,  # rows of each sequence that are one prefill pass; the others are decode passes of one token
    sequences: int = 1,  # of equal length
    layers: Sequence[int] | None = None,  # of the model; from 0 unless given
    first_position: int = 0,
    **meta: Any,
) -> Path:
    """A trace of format v1, made by hand."""
    ids = np.asarray(rows, np.int16)
    tokens, columns, k = ids.shape
    each = tokens // sequences
    begin = np.arange(sequences) * each
    starts = [s + at for s in begin for at in ([0] if prompt else []) + list(range(prompt, each))]
    phase = [0 if prompt and s % each == 0 else 1 for s in starts]
    np.savez_compressed(
        path, expert_ids=ids, layer_index=np.array(layers or range(columns), np.int16), pass_ptr=np.array([*starts, tokens], np.int64),
        phase=np.array(phase, np.int8), sequence=np.repeat(np.arange(sequences), each).astype(np.int32),
        position=(first_position + np.tile(np.arange(each), sequences)).astype(np.int32),
        meta=np.array(json.dumps({"n_experts": n_experts, "top_k": k, **meta})),
    )  # fmt: skip
    return path


def said(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    """Exit code of a command, and all that it printed, as one line."""
    code = main(list(command))
    out, err = capsys.readouterr()
    return code, " ".join((out + err).split())


def answer(capsys: pytest.CaptureFixture[str], *command: str) -> Any:
    """The JSON that a command prints."""
    assert main([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- 7: lfu ------------------------------------------------------------------------------------------------------------


def test_fault_07_lfu_keeps_its_counts_over_evictions(tmp_path: Path) -> None:
    """Room for 2. Experts 0 and 1 have been in 5 and 4 events when 3 comes, 0 in only 2 of them since its last load: 1 leaves."""
    path = write_trace(tmp_path / "t.npz", [[[e]] for e in (0, 0, 0, 1, 1, 1, 1, 2, 0, 0, 3, 0)], 4)
    run = simmoe.replay(str(path), [1], 2, eviction="lfu")
    assert bool(run.hit[-1, 0, 0]) and (run.hits, run.misses) == (7, 5)


# --- 8: what is fitted to the text that it is scored on -------------------------------------------------------------------


MOE = (5, 11)  # layers of oracle-moe-2x4
TWO_LAYERS = [[[0], [2]]] * 10 + [[[3], [1]]] * 30  # the first quarter uses other experts than the rest


def popular(trace: Path, amount: str) -> list[str]:
    return [
        "run",
        "--hw",
        "rtx_4090",
        "--trace",
        str(trace),
        "--model",
        "oracle-moe-2x4",
        "--budget",
        "50%",
        "--placement",
        f"popular={amount}",
    ]


def on_cpu(capsys: pytest.CaptureFixture[str], trace: Path, amount: str) -> tuple[int, str]:
    """Requests in decode that the CPU served, and the notes of the result."""
    found = answer(capsys, *popular(trace, amount))
    return found["decode"]["on_cpu"], " ".join(found.get("notes", []))


@pytest.mark.slow
def test_fault_08_popular_on_the_scored_text_is_a_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = write_trace(tmp_path / "drifting.npz", TWO_LAYERS, 4, layers=MOE)
    cpu, notes = on_cpu(capsys, trace, "25%")  # one expert of four: the one that the later 30 tokens use
    assert cpu == 2 * 10 and "very text that it is scored on: a bound" in notes
    code, shown = said(capsys, *popular(trace, "25%"))
    assert code == 0 and "very text that it is scored on: a bound" in shown
    _, ladder = said(
        capsys, "run", "--hw", "rtx_4090", "--trace", "switch", "--tokens", "64", "--placement", "popular=50%"
    )
    assert "very text that it is scored on: a bound" in ladder


def test_fault_08_popular_counts_another_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = write_trace(tmp_path / "drifting.npz", TWO_LAYERS, 4, layers=MOE)
    head = write_trace(tmp_path / "head.npz", TWO_LAYERS[:10], 4, layers=MOE)
    cpu, notes = on_cpu(capsys, trace, f"25%:{head}")  # the other text knows only what the first ten tokens use
    assert cpu == 2 * 30 and "bound" not in notes
    assert str(tmp_path) not in json.dumps(answer(capsys, *popular(trace, f"25%:{head}")))
    assert "very text" in on_cpu(capsys, trace, f"25%:{trace}")[1]  # under another name it is still the same text
    code, line = said(capsys, *popular(trace, "25%:switch"))
    assert code == 2 and "switch has 9 layers of 24 experts, and the trace that is played has 2 layers of 4" in line
    assert "random counts no use of experts" in said(capsys, *popular(trace, "x")[:-1], "random=25%:switch")[1]


def test_fault_08_popular_counts_first_rows_and_plays_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = write_trace(tmp_path / "drifting.npz", TWO_LAYERS, 4, layers=MOE)
    rest = write_trace(tmp_path / "rest.npz", TWO_LAYERS[10:], 4, layers=MOE, first_position=10)
    head = write_trace(tmp_path / "head.npz", TWO_LAYERS[:10], 4, layers=MOE)
    cut = answer(capsys, *popular(trace, "25%:first=25%"))
    apart = answer(capsys, *popular(rest, f"25%:{head}"))
    same = ("decode", "tok_s", "total_ps", "hits", "misses", "decode_time_ps")
    assert {name: cut[name] for name in same} == {name: apart[name] for name in same}
    assert cut["decode"]["on_cpu"] == 2 * 30
    assert "counted the first 10 of 40 tokens, which are not played" in " ".join(cut["notes"])
    for amount, line in {"25%:first=0%": "above 0 and below 100%", "25%:first=99%": "leaves nothing to play"}.items():
        code, shown = said(capsys, *popular(trace, amount))
        assert code == 2 and line in shown


def test_fault_08_a_policy_that_looks_ahead_is_labelled(capsys: pytest.CaptureFixture[str]) -> None:
    line = "belady reads the future of the trace: a bound, not a policy that a machine can run"
    given = ("--hw", "rtx_4090", "--trace", "switch", "--tokens", "64", "--budget", "50%")
    assert line in answer(capsys, "run", *given, "--eviction", "belady")["notes"]
    assert line in said(capsys, "run", *given, "--eviction", "belady")[1]
    assert line in said(capsys, "compare", *given, "--eviction", "lru", "--eviction", "belady")[1]
    assert "reads the future" not in said(capsys, "run", *given)[1]


def test_fault_08_a_placement_of_the_users_that_counts_is_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '"""Mine."""\nUNIT = "layers"\ndef unit_of(use, amount, seed, cpu):\n    return (use * 0 + cpu * (use {sign}))\n'
    given = ("run", "--hw", "rtx_4090", "--trace", "switch", "--tokens", "64", "--budget", "50%", "--placement")
    for name, sign, labelled in (("busy", "< 90", True), ("fixed", "< 0", False)):
        (tmp_path / f"{name}.py").write_text(text.replace("{sign}", sign))
        notes = answer(capsys, *given, f"{tmp_path / name}.py=1").get("notes", [])
        assert ("very text" in " ".join(notes)) == labelled


def test_fault_08_a_saved_scenario_finds_the_counted_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = write_trace(tmp_path / "drifting.npz", TWO_LAYERS, 4, layers=MOE)
    head = write_trace(tmp_path / "head.npz", TWO_LAYERS[:10], 4, layers=MOE)
    (tmp_path / "below").mkdir()
    saved = str(tmp_path / "below" / "again.yaml")
    first = answer(capsys, *popular(trace, f"25%:{head}"), "--save", saved)
    assert "popular=25%:../head.npz" in Path(saved).read_text()
    assert answer(capsys, "run", saved) == first
    write_trace(tmp_path / "head.npz", TWO_LAYERS[5:15], 4, layers=MOE)
    code, line = said(capsys, "run", saved)
    assert code == 2 and "is not what it was when the file was written" in line


# --- 16 and 20: traces that no model has given ---------------------------------------------------------------------------------


def moving(tokens: int, layers: int = 24, k: int = 4, n_experts: int = 32, seed: int = 0) -> Any:
    """Routing without any memory, int [tokens, layers, k]."""
    return np.random.default_rng(seed).random((tokens, layers, n_experts)).argsort(2)[..., :k]


def stuck(tokens: int = 64, prompt: int = 24, **shape: int) -> Any:
    """Every decode pass repeats the routing of the first one."""
    ids = moving(tokens, **shape)
    ids[prompt:] = ids[prompt]
    return ids


def blank(tokens: int = 64, prompt: int = 24) -> Any:
    """Top-1; all prompt rows are expert 0."""
    ids = moving(tokens, k=1)
    ids[:prompt] = 0
    return ids


def copied(layers: int = 24, of: int = 24) -> Any:
    ids = moving(64, layers)
    ids[:, :of] = ids[:, :1]
    return ids


def blank_sequence() -> Any:
    """The second of two sequences names expert 7 only."""
    ids = moving(64, k=1)
    ids[32:] = 7
    return ids


def stuck_for_a_while() -> Any:
    ids = moving(96)
    ids[60:80] = ids[60]
    return ids


NOT_PLAUSIBLE = {
    "stuck": (stuck(), {"prompt": 24}, "39 decode passes on end repeat the same experts in every layer (sequence 0, from token 25)"),
    "stuck for a while": (stuck_for_a_while(), {"prompt": 24}, "19 decode passes on end repeat the same experts"),
    "stuck without a prompt": (stuck(prompt=0), {}, "63 decode passes on end repeat the same experts in every layer"),
    "stuck top-1": (stuck(k=1), {"prompt": 24}, "39 decode passes on end repeat the same experts in every layer"),
    "stuck prompt": (stuck(prompt=40)[::-1], {"prompt": 24}, "23 prompt rows on end repeat the same experts"),
    "blank prompt": (blank(), {"prompt": 24}, "all 24 prompt rows name one expert in every layer (expert 0, from token 0)"),
    "blank beginning": (blank(prompt=10), {"prompt": 24}, "10 of 64 rows name one expert in every layer"),
    "blank sequence": (blank_sequence(), {"prompt": 8, "sequences": 2}, "32 of 64 rows name one expert in every layer (expert 7, from"),
    "one layer": (copied(), {"prompt": 24}, "layers all 24: the same experts for every token"),
    "some layers": (copied(of=3), {"prompt": 24}, "layers 0, 1, 2: the same experts for every token"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_PLAUSIBLE)
def test_fault_16_a_trace_that_is_no_recording(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, how, line = NOT_PLAUSIBLE[name]
    trace = write_trace(tmp_path / "t.npz", rows, 32, **how)
    code, shown = said(capsys, "trace", "check", str(trace))
    assert code == 1 and shown.count("not plausible:") == 1 and line in shown
    assert line in " ".join(simmoe.replay(str(trace), [1] * 24, 100).notes)


@pytest.mark.slow
def test_fault_16_every_result_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = str(write_trace(tmp_path / "t.npz", stuck(), 32, prompt=24))
    given = ("--hw", "rtx_4090", "--trace", trace, "--model", "gpt-oss-20b")
    line = "The trace is not plausible: 39 decode passes on end repeat the same experts in every layer"
    shown = said(capsys, "run", *given, "--budget", "25%")[1]
    assert line in shown and shown.index(line) < shown.index("experts resident")
    assert answer(capsys, "run", *given, "--budget", "25%")["notes"][0].startswith(line)
    assert line in said(capsys, "run", *given)[1]
    assert line in said(capsys, "compare", *given, "--budget", "25%")[1]
    space = tmp_path / "space.yaml"
    space.write_text(f"schema: 1\nname: s\ntrace: {trace}\nmodel: gpt-oss-20b\nhw: rtx_4090\neviction: lru\nbudget: [25%]\n"
                     "objectives: {tok_s: maximize}\n")  # fmt: skip
    assert line in said(capsys, "sweep", str(space), "--trials", "1", "--sampler", "grid")[1]


@pytest.mark.slow
def test_fault_16_no_bundled_trace_is_questioned(capsys: pytest.CaptureFixture[str]) -> None:
    import simmoe.workloads

    names = sorted(path.stem for path in (Path(simmoe.workloads.__file__).parent / "traces").glob("*.npz"))
    assert len(names) > 50
    for name in names:
        assert said(capsys, "trace", "check", name)[0] == 0, name


@pytest.mark.slow
def test_fault_16_what_moves_or_is_too_short_to_tell_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = stuck(tokens=24 + 16)  # 15 repeats
    gates = np.random.default_rng(1).random((64, 24, 4)).astype(np.float16)
    passing = {
        "moving": (moving(64), {"prompt": 24}), "short": (short, {"prompt": 24}), "one layer": (moving(64, 1), {"prompt": 24}),
        "sticky": (stuck(prompt=0, k=1), {"prompt": 24}), "top-1 without a prompt": (stuck(prompt=0, k=1), {}),
        "gates": (stuck(), {"prompt": 24}),
    }  # fmt: skip
    for name, (rows, how) in passing.items():
        path = write_trace(tmp_path / f"{name}.npz", rows, 32, **how)
        if name == "gates":
            with np.load(path) as archive:
                np.savez_compressed(path, gate_weights=gates, **archive)
        assert said(capsys, "trace", "check", str(path))[0] == 0, name


# --- 11, 12 and 23: what a result says until the model of the thing is built ------------------------------------------


def gguf(path: Path, family: str, layers: int, expert_type: int = 8, **said: Any) -> Path:
    """The header of a small Mixture-of-Experts model: 2 heads of 32, width 64, 4 experts; 8 = Q8_0."""
    import struct

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def entry(key: str, value: Any) -> bytes:
        if isinstance(value, str):
            return text(key) + struct.pack("<I", 8) + text(value)
        if isinstance(value, list) and isinstance(value[0], bool):
            return text(key) + struct.pack("<IIQ", 9, 7, len(value)) + bytes(value)
        if isinstance(value, list):
            return text(key) + struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value)
        return text(key) + struct.pack("<II", 4, value)

    shape = {
        "block_count": layers,
        "embedding_length": 64,
        "expert_count": 4,
        "expert_used_count": 2,
        "context_length": 8192,
    }
    heads = {
        "attention.head_count": 2,
        "attention.head_count_kv": 2,
        "attention.key_length": 32,
        "attention.value_length": 32,
    }
    facts = {f"{family}.{key}": value for key, value in {**shape, **heads, **said}.items()}
    pairs = [entry("general.architecture", family), *(entry(key, value) for key, value in facts.items())]
    tensors = [("token_embd.weight", (64, 1024), 8), ("output_norm.weight", (64,), 0)]
    for i in range(layers):
        tensors += [(f"blk.{i}.attn_q.weight", (64, 64), 8), (f"blk.{i}.ffn_gate_inp.weight", (64, 4), 0),
                    *((f"blk.{i}.ffn_{m}_exps.weight", (64, 64, 4), expert_type) for m in ("gate", "up", "down"))]  # fmt: skip
        if rank := said.get("attention.kv_lora_rank"):
            tensors.append((f"blk.{i}.attn_kv_a_mqa.weight", (64, rank + said["rope.dimension_count"]), 8))
    infos = [text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, 0) for name, dims, kind in tensors]
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs + infos))
    return path


HEADERS = {  # family, keys -> the sentence; 128 elements for each position and layer. tests/test_faults_layers.py has what is counted
    "unknown pattern": ("other", {"attention.sliding_window": 128}, "does not say which layers have that window"),
    "intervals": ("qwen35moe", {"full_attention_interval": 4}, "the header names recurrent layers, of which the file has no tensors"),
    "recurrent": ("granitehybrid", {"ssm.state_size": 128}, "the header names recurrent layers"),
    "indexer": ("glm-dsa", {"attention.indexer.top_k": 2048}, "the header names an indexer"),
    "full": ("qwen3moe", {}, ""),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADERS)
def test_fault_11_a_gguf_header_that_names_other_attention(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    family, keys, line = HEADERS[name]
    model = str(tmp_path / "m.yaml")
    code, shown = said(capsys, "model", "import", str(gguf(tmp_path / "m.gguf", family, 4, **keys)), "--out", model)
    assert code == 0 and line in shown and bool(line) == ("counted" in shown)
    trace = str(write_trace(tmp_path / "t.npz", moving(8, 4, 2, 4), 4))
    given = ("run", "--hw", "rtx_3090", "--trace", trace, "--model", model, "--budget", "50%")
    assert line in said(capsys, *given)[1]
    notes = answer(capsys, *given).get("notes", [])
    assert any(line in note for note in notes) if line else notes == []


@pytest.mark.slow
def test_fault_11_a_refusal_for_memory_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    family, keys, line = HEADERS["intervals"]
    model = str(tmp_path / "m.yaml")
    assert main(["model", "import", str(gguf(tmp_path / "m.gguf", family, 4, **keys)), "--out", model]) == 0
    trace = str(write_trace(tmp_path / "t.npz", moving(8, 4, 2, 4), 4))
    code, shown = said(
        capsys,
        "run",
        "--hw",
        "rtx_3090",
        "--trace",
        trace,
        "--model",
        model,
        "--budget",
        "50%",
        "--context",
        "90000000",
    )
    assert code == 2 and "does not fit" in shown and line in shown


QWEN = {"model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 2,
        "head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "intermediate_size": 64,
        "vocab_size": 1024, "max_position_embeddings": 8192}  # fmt: skip
CONFIGS = {
    "windows in all layers": ({**QWEN, "sliding_window": 1024, "use_sliding_window": True}, ""),
    "switched off": ({**QWEN, "sliding_window": 1024, "use_sliding_window": False}, ""),
    "indexer": ({**QWEN, "index_topk": 2048}, "the file names an indexer that no rule here reads"),
    "full": (QWEN, ""),
}  # fmt: skip


def test_fault_11_a_word_of_no_rule_for_layers_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**QWEN, "layer_types": ["strange"] * 3 + ["full_attention"]}))
    code, shown = said(capsys, "model", "import", str(tmp_path / "config.json"), "--out", str(tmp_path / "m.yaml"))
    assert code == 2 and "it names layers of 'strange'" in shown and "known: full_attention" in shown


@pytest.mark.parametrize("name", CONFIGS)
def test_fault_11_a_config_that_names_other_attention(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, line = CONFIGS[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    code, shown = said(capsys, "model", "import", str(tmp_path / "config.json"), "--out", str(tmp_path / "m.yaml"))
    assert code == 0 and line in shown and bool(line) == ("counted" in shown)


def test_fault_11_words_of_no_rule_are_not_called_full_attention(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**QWEN, "layer_types": ["strange"] * 3 + ["full_attention"]}))
    code, shown = said(capsys, "model", "import", str(tmp_path / "config.json"), "--out", str(tmp_path / "m.yaml"))
    assert code == 2 and "it names layers of 'strange', of which this family has no block here" in shown


@pytest.mark.slow
def test_fault_12_prompts_on_the_cpu_are_said_to_take_too_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "engines send those of large passes over the link (llama.cpp from 32 tokens on): TTFT is too long here"
    trace = str(write_trace(tmp_path / "t.npz", moving(48), 32, prompt=40))
    given = ("run", "--hw", "rtx_4090", "--trace", trace, "--model", "gpt-oss-20b", "--budget", "50%")
    assert "of up to 40 tokens" in said(capsys, *given, "--placement", "n_cpu_moe=8")[1]
    assert line in said(capsys, *given, "--miss", "cpu")[1]
    assert line not in said(capsys, *given)[1] + said(capsys, *given, "--placement", "n_cpu_moe=0")[1]
    assert line not in said(capsys, *given, "--placement", "n_cpu_moe=8", "--prefill-chunk", "31")[1]


@pytest.mark.slow
def test_fault_23_more_pinned_than_half_of_the_host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = str(write_trace(tmp_path / "t.npz", moving(8), 32))
    given = (
        "run",
        "--hw",
        "rtx_4090",
        "--trace",
        trace,
        "--model",
        "gpt-oss-20b",
        "--format",
        "fp16",
        "--budget",
        "20%",
    )
    line = "All 38.2 GB of experts count as pinned, more than half of the 68.7 GB of host_dram"
    assert line in said(capsys, *given)[1]
    for other in (
        ["--format", "q4_k"],
        ["--set", "link.host_memory=pageable"],
        ["--set", "tiers.host_dram.capacity=96GB"],
        ["--placement", "n_cpu_moe=8"],
    ):
        assert "count as pinned" not in said(capsys, *given, *other)[1], other


# --- 24: profiles that are one machine under two names ----------------------------------------------------------------------


def figures(capsys: pytest.CaptureFixture[str], name: str) -> dict[str, Any]:
    """What a profile says, but for its name, its words, its price and where the figures come from."""
    shown = answer(capsys, "hw", "show", name)
    found = {figure["path"]: figure["value"] for figure in shown["figures"]}
    return {path: value for path, value in found.items() if path != "price" and not path.startswith("modes.")}


@pytest.mark.slow
def test_fault_24_no_two_profiles_are_one_machine(capsys: pytest.CaptureFixture[str]) -> None:
    import simmoe.hardware_profiles

    names = sorted(path.stem for path in Path(simmoe.hardware_profiles.__file__).parent.glob("*.yaml"))
    assert len(names) > 30
    seen: dict[str, str] = {}
    for name in names:
        all_figures = json.dumps(figures(capsys, name), sort_keys=True)
        assert seen.setdefault(all_figures, name) == name, f"{name} is {seen[all_figures]}"


def test_fault_24_the_super_kit_is_the_faster_one(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = (figures(capsys, name) for name in ("jetson_orin_nano", "jetson_orin_nano_super"))
    assert (old["peak.memory_bandwidth"], new["peak.memory_bandwidth"]) == ("68.3 GB/s", "102.4 GB/s")
    assert (old["units.gpu.flops.fp16"], new["units.gpu.flops.fp16"]) == ("10.2 TFLOP/s", "16.7 TFLOP/s")
    assert (old["power.max"], new["power.max"]) == ("15 W", "25 W")
    at_15 = figures(capsys, "jetson_orin_nano_super@15W")
    compute = ("tiers.dram.bandwidth", "units.gpu.bandwidth", "units.gpu.flops.fp16", "units.gpu.flops.int8")
    assert [at_15[path] for path in compute] == [old[path] for path in compute]
