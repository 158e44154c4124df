"""What a newcomer's command meets at the door: notes that say what is true, runs that say how long they take, damaged files."""

from __future__ import annotations

import base64
import json
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import simmoe
from simmoe.cli.main import main
from simmoe.play import extent
from simmoe.workloads import models
from simmoe.workloads.format import trace as traces


def played(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- a budget below what fits ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_budget_that_leaves_out_what_fits_is_not_what_llama_cpp_would_refuse(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two cards of 32 GB as one: 91.7 % was named by hand, and all that n_cpu_moe=3 leaves to the device fits."""
    words = ("run", "--hw", "rtx_5090", "--set", "tiers.gddr.capacity=64GiB", "--model", "gpt-oss-120b", "--format", "mxfp4",
             "--placement", "n_cpu_moe=3", "--context", "131072", "--prompt", "8", "--generate", "2")  # fmt: skip
    whole = played(capsys, *words)
    left, rest = whole["memory_bytes"]["experts"], whole["memory_bytes"]["dense"] + whole["memory_bytes"]["kv"]
    assert not any("llama.cpp would" in note for note in whole["notes"])
    notes = played(capsys, *words, "--budget", "91.7%")["notes"]
    hw = simmoe.load_hardware("rtx_5090")
    room = 64 * 2**30 - hw.reserved_bytes - rest
    said = f"The budget leaves {left * 0.083 / 1e9:.3g} GB of {left / 1e9:.3g} GB of experts out though {room / 1e9:.3g} GB would fit"
    assert any(note.startswith(said) for note in notes), notes
    assert not any("refuse" in note for note in notes)


def test_what_does_not_fit_is_still_what_llama_cpp_would_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run", "--hw", "rtx_5090", "--model", "gpt-oss-120b", "--format", "mxfp4", "--placement", "n_cpu_moe=3",
             "--prompt", "8", "--generate", "2", "--budget", "20GB")  # fmt: skip
    notes = played(capsys, *words)["notes"]
    assert any("that llama.cpp would refuse" in note for note in notes) and not any("would fit:" in n for n in notes)


# --- runs that take long --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--generate", "8"], "run: 24 tokens in 9 passes, 16 layers × top-8, drawn 3 times, played 13 times: about"),
        (["run", "--generate", "8", "--json"], "run: 24 tokens in 9 passes, 16 layers × top-8, drawn 3 times, played 5 times: about"),
        (["run", "--generate", "8", "--batch", "3"], "run: 72 tokens in 11 passes, 16 layers × top-8, drawn 3 times"),
        (["compare", "--generate", "8", "--hw", "h100", "--eviction", "lfu"],
         "compare: 24 tokens in 9 passes, 16 layers × top-8, drawn once, played 6 times: about"),
    ],
)  # fmt: skip
def test_what_takes_long_is_said_before_it_begins(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [words[0], "--hw", "a100", "--model", "olmoe-1b-7b", "--prompt", "16", *words[1:]]
    assert main(command) == 0
    quick = capsys.readouterr()
    assert quick.err == ""
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    assert main(command) == 0
    slow = capsys.readouterr()
    assert slow.err.startswith(said) and slow.err.count("\n") == 1 and slow.out == quick.out


def test_a_ladder_says_how_often_it_plays(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    assert main(["run", "--hw", "a100", "--trace", "oracle-2x4", "--tokens", "200"]) == 0
    err = capsys.readouterr().err
    assert re.fullmatch(
        r"run: \d+ tokens in \d+ passes, 2 layers × top-1, played 11 times: about \d+ s of one core\n", err
    ), err


def test_a_sweep_says_what_its_longest_trials_would_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    space = {"schema": 1, "name": "s", "hw": "a100", "model": "olmoe-1b-7b", "prompt": [16, 4], "generate": 2, "budget": ["25%", "50%"],
             "objectives": {"tok_s": "maximize"}}  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(space))
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    assert main(["sweep", str(tmp_path / "s.yaml"), "--sampler", "grid"]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("sweep: 18 tokens in 3 passes, 16 layers × top-8, drawn once, played 4 times: about"), first


def test_what_cannot_fit_is_not_drawn_first(capsys: pytest.CaptureFixture[str]) -> None:
    """64 million tokens would be drawn for an hour; the cache of one sequence says it at once."""
    assert main(["run", "--hw", "a100", "--model", "oracle-moe-2x4", "--batch", "100000"]) == 2
    err = capsys.readouterr().err
    model, hw = models.load("oracle-moe-2x4"), simmoe.load_hardware("a100")
    one = 640 * model.kv_bytes_per_position
    room = hw.device_memory.capacity_bytes - hw.reserved_bytes - model.dense_bytes
    assert (
        err.count("\n") == 1
        and f"takes {100_000 * one / 1e12:.3g} TB" in err
        and f"{room // one:,} such sequences" in err
    )


@pytest.mark.parametrize(
    "words", [["--generate", "100000000"], ["--prompt", "1", "--generate", "1", "--batch", "2000000000"]]
)
def test_what_no_memory_holds_is_refused_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--hw", "a100", "--trace", "oracle-2x4", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "of memory to play, and this computer has" in err


# --- damaged files of other programs -----------------------------------------------------------------------------------------

ROUTES = (
    "# route_trace v1\n# model=m n_expert=16 n_expert_used=1\nturn,phase,step,layer,slot,expert,weight\n"
    "0,0,0,0,0,3,0.5\n0,0,0,1,0,4,0.5\n0,1,1,0,0,5,0.5\n0,1,1,1,0,6,0.5\n"
)
LAB = (
    '{"format": "moe-cache-lab.routing-jsonl", "format_version": 1, "num_experts": 16, "experts_per_token": 2}\n'
    '{"record_type": "routing_selection", "phase": "prompt", "token_position": 0, "layer": 0, "selected_experts": [1, 2], '
    '"selected_probabilities": [0.5, 0.25]}\n'
)
FLAT = base64.b64encode(np.arange(24, dtype="<i4").tobytes()).decode()  # 3 rows, 4 layers, top-2
NO_USAGE = json.dumps({"choices": [{"sgl_ext": {"routed_experts": FLAT}}], "usage": [1]})
COUNTS = json.dumps({"logical_count": [[2**42] * 16] * 4})
CSV = "layer,expert\n" + "".join(
    f"{layer},{expert}\n" for token in range(3) for layer in range(2) for expert in (token, token + 5)
)


def sglang(**usage: object) -> str:
    return json.dumps({"meta_info": {"routed_experts": FLAT, **usage}})


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        (CSV.replace("\n1,", "\n40000,"), (), "layer 40000 cannot be; a trace holds those from 0 to 32,767"),
        (ROUTES.replace(",1,0,", ",70000,0,"), (), "layer 70000 cannot be"),
        (ROUTES.replace("0,1,1,", "0,1,99999999999,"), (), "position 99999999999 cannot be; a trace holds those from 0 to 2,147,483,647"),
        (ROUTES.replace("0,1,1,", "0,1,-2,"), (), "position -2 cannot be"),
        (ROUTES.replace("n_expert_used=1", "n_expert_used=999"), (), "has 999 experts for each token, of 16 in a layer"),
        (CSV[:-4], (), "the file ends with a stretch of 1 experts of one layer, and every other one has at least 2; is it cut?"),
        ("", (), "the file is empty"),
        (LAB.replace("[0.5, 0.25]", '["a", "b"]'), (), "token 0, layer 0: selected_probabilities must be a list of numbers"),
        (LAB.replace("[0.5, 0.25]", "5"), (), "selected_probabilities must be a list of numbers"),
        (LAB.replace('version": 1', 'version": true'), (), "line 1: format_version must be 1 or 2"),
        (NO_USAGE, ("--top-k", "2"), "prompt_tokens and completion_tokens"),
        (sglang(prompt_tokens=True, completion_tokens=3), ("--top-k", "2"), "prompt_tokens"),
        (sglang(prompt_tokens=6, completion_tokens=-2), ("--top-k", "2"), "prompt_tokens"),
        (json.dumps({"logical_count": [[-1, 2]]}), ("--top-k", "2"), "r.json: logical_count holds numbers that are no counts"),
        (COUNTS, ("--top-k", "2", "--tokens", "2147483647"), "draws 17,179,869,176 ids, more than 67,108,864; draw fewer"),
        (CSV, ("--experts", "40000"), "--experts 40000 cannot be; give a whole number from 1 to 32,768"),
    ],
)  # fmt: skip
def test_values_that_no_trace_holds_are_one_line(
    text: str, options: tuple[str, ...], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.json").write_text(text)
    said = () if "--experts" in options or text.startswith(("#", '{"format"')) else ("--experts", "16")
    code = main(["trace", "import", str(tmp_path / "r.json"), "--out", str(tmp_path / "t.npz"), *said, *options])
    err = capsys.readouterr().err
    assert code == 2 and err.count("\n") == 1 and line in err and not (tmp_path / "t.npz").exists(), err


def test_an_answer_whose_usage_is_a_list_has_no_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"choices": [{"routed_experts": [[[1, 2], [3, 4]]] * 3}], "usage": [3]}
    (tmp_path / "r.json").write_text(json.dumps(answer))
    words = ["trace", "import", str(tmp_path / "r.json"), "--experts", "16", "--out", str(tmp_path / "t.npz")]
    assert main(words) in (0, 1)
    assert simmoe.load_trace(tmp_path / "t.npz").phase.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"phase": np.full(6, 7)}, "phase of sequence 0 is int64, [7, 7, 7] …; 0 is prompt and 1 is decode"),
        ({"phase": np.array(["a"] * 6)}, "0 is prompt and 1 is decode"),
        ({"weights": np.full((6, 4, 2), "x")}, "its weights are <U1; they must be numbers"),
        ({"meta": np.array('{"first_moe_layer": 40000}')}, "layer 40000 cannot be"),
    ],
)
def test_arrays_that_no_trace_holds_are_one_line(
    change: dict[str, Any], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = {"expert_ids": np.arange(48).reshape(6, 4, 2) % 16, "n_experts": 16, "seq_start": [0]}
    np.savez(tmp_path / "r.npz", **{**plain, **change})
    assert main(["trace", "import", str(tmp_path / "r.npz"), "--out", str(tmp_path / "t.npz")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and line in err, err


def test_weights_that_float16_does_not_hold_are_left_out_without_a_warning(tmp_path: Path) -> None:
    plain = {"expert_ids": np.arange(48).reshape(6, 4, 2) % 16, "n_experts": 16, "seq_start": [0]}
    np.savez(tmp_path / "r.npz", **plain, weights=np.full((6, 4, 2), 1e30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["trace", "import", str(tmp_path / "r.npz"), "--out", str(tmp_path / "t.npz")]) in (0, 1)
    assert simmoe.load_trace(tmp_path / "t.npz").gate_weights is None


def test_an_importer_that_ends_the_program_is_a_mistake_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.csv").write_text(CSV)
    (tmp_path / "mine.py").write_text("def read(file, stated):\n    raise SystemExit(0)\n")
    words = ["trace", "import", str(tmp_path / "r.csv"), "--format", str(tmp_path / "mine.py")]
    assert main([*words, "--out", str(tmp_path / "t.npz")]) == 2
    assert capsys.readouterr().err.startswith("simmoe: importer mine.py: SystemExit")


def test_a_trace_needs_no_import_and_a_pipe_needs_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = str(traces.find("oracle-2x4"))
    assert main(["trace", "import", own, "--out", str(tmp_path / "t.npz")]) == 2
    assert "is a trace already, which every command takes" in capsys.readouterr().err
    os.mkfifo(tmp_path / "pipe")
    for words in (["trace", "import"], ["trace", "check"], ["run", "--hw", "a100", "--trace"]):
        out = ["--out", str(tmp_path / "t.npz")] if "import" in words else []
        assert main([*words, str(tmp_path / "pipe"), *out]) == 2
        assert "to a file first" in capsys.readouterr().err


def test_sequences_of_joined_traces_stay_apart_whatever_their_numbers(tmp_path: Path) -> None:
    """0 of the one and −1 of the other would meet, and 2³¹ − 1 has no number behind it."""
    one = traces.first_tokens(traces.load("oracle-2x4"), 20)
    files = []
    for i, number in enumerate((0, -1, 2**31 - 1)):
        files.append(str(tmp_path / f"{i}.npz"))
        traces.save(replace(one, sequence=np.full(one.n_tokens, number, np.int32)), files[-1])
    assert main(["trace", "join", *files, "--out", str(tmp_path / "t.npz")]) in (0, 1)
    assert simmoe.load_trace(tmp_path / "t.npz").sequence.tolist() == np.repeat([0, 1, 2], one.n_tokens).tolist()


def test_the_heaviest_twin_that_a_file_may_hold_draws_numbers(tmp_path: Path) -> None:
    """All weights at their limits; a thousand tokens with a topic each are far beyond four deviations."""
    layer = {"popularity": [20.0] * 24, "stickiness": [20.0] * 3, "topic_spread": 10.0, "targets": list(range(12)),
             "partners": list(range(12, 24)), "lift": [20.0] * 12}  # fmt: skip
    data = {"name": "heavy", "source": "made", "experts_known": True, "n_experts": 24, "top_k": 2, "topic_tokens": 1,
            "depth_ends": [2, 8, 24], "layers": [{"layer": i, **layer} for i in range(9)]}  # fmt: skip
    (tmp_path / "twin.yaml").write_text(yaml.safe_dump(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words = [
            "trace",
            "synth",
            "--routing",
            str(tmp_path / "twin.yaml"),
            "--generate",
            "1000",
            "--out",
            str(tmp_path / "t.npz"),
        ]
        assert main(words) == 0


# --- a twin is a file of the user's -------------------------------------------------------------------------------------------


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    layer = {
        "popularity": [1.0, 0.0, 0.5, 0.0],
        "stickiness": [1.0, 0.0],
        "topic_spread": 0.5,
        "targets": [],
        "partners": [],
        "lift": [],
    }
    data = {"name": "mine", "source": "made", "experts_known": True, "n_experts": 4, "top_k": 1, "topic_tokens": 64,
            "depth_ends": [1, 4], "layers": [{"layer": i, **layer} for i in (5, 11)]}  # fmt: skip
    (tmp_path / "twin.yaml").write_text(yaml.safe_dump(data))
    return tmp_path / "twin.yaml"


@pytest.mark.slow
def test_a_twin_is_named_saved_and_guarded_like_every_other_file(
    twin: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "run",
        "--hw",
        "a100",
        "--model",
        "oracle-moe-2x4",
        "--routing",
        str(twin),
        "--prompt",
        "8",
        "--generate",
        "4",
    ]
    assert main(words) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"inputs: from {twin}; the others bundled" in out
    assert "drawn from twin.yaml, statistics of mine: no trace was given" in out
    (twin.parent / "inner").mkdir()
    saved = twin.parent / "inner" / "s.yaml"
    first = played(capsys, *words, "--save", str(saved))
    assert first["routing"]["routing"] == "twin.yaml"  # no folders: the same from everywhere
    monkeypatch.chdir(twin.parent / "inner")
    assert played(capsys, "run", "s.yaml") == first
    monkeypatch.chdir(twin.parent)
    assert main([*words, "--save", str(twin), "--force"]) == 2
    assert "would overwrite" in capsys.readouterr().err
    twin.write_text(twin.read_text().replace("- 0.5", "- 0.25"))
    assert main(["run", str(saved)]) == 2
    assert "is not what it was when the file was written" in capsys.readouterr().err


def test_a_twin_of_another_model_is_said_to_be_stretched(twin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "run",
        "--hw",
        "a100",
        "--model",
        "olmoe-1b-7b",
        "--routing",
        str(twin),
        "--prompt",
        "8",
        "--generate",
        "4",
    ]
    (note, *_) = played(capsys, *words)["notes"]
    assert "drawn from twin.yaml, statistics of mine (2 layers, top-1 of 4) that are stretched to this model" in note


def test_a_csv_of_a_prompt_alone_is_no_cut_one(tmp_path: Path) -> None:
    """In the last layer llama.cpp computes the last token only: its stretch is the shortest, and it is top-k."""
    lines = [
        f"{layer},{(token + slot * 5) % 16}"
        for layer in range(3)
        for token in range(4 if layer < 2 else 1)
        for slot in range(2)
    ]
    (tmp_path / "r.csv").write_text("\n".join(lines) + "\n")
    assert main(["trace", "import", str(tmp_path / "r.csv"), "--experts", "16", "--out", str(tmp_path / "t.npz")]) in (
        0,
        1,
    )
    trace = simmoe.load_trace(tmp_path / "t.npz")
    assert trace.expert_ids.shape == (4, 3, 2) and (trace.expert_ids[:3, 2] == -1).all()
