"""A user's mistake gets one clear line and exit code 2: what is wrong, the value, the rule, the nearest fix."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.workloads import models
from simmoe.workloads.format.trace import arrays
from tests.conftest import make_trace

GOOD = make_trace([[[[0, 1]] * 2], [[[1, 2]] * 2], [[[2, 3]] * 2]], 4)


def write(path: Path, **changes) -> Path:
    """A trace file with some arrays replaced (None = left out)."""
    content = {**arrays(GOOD), "meta": np.array(json.dumps(dict(GOOD.meta))), **changes}
    with open(path, "wb") as stream:
        np.savez(stream, **{k: v for k, v in content.items() if v is not None})
    return path


def with_ids(value: int) -> np.ndarray:
    ids = GOOD.expert_ids.copy()
    ids[1, 0, 1] = value
    return ids


def meta(**changes) -> np.ndarray:
    return np.array(json.dumps({**GOOD.meta, **changes}))


NAN = np.full(GOOD.expert_ids.shape, np.nan, np.float16)
TRACES = {
    "id out of range": ({"expert_ids": with_ids(4)}, r"expert id 4 at token 1, layer 0, slot 1 is out of range; ids go from 0 to 3"),
    "id below -1": ({"expert_ids": with_ids(-2)}, r"expert id -2 .* is out of range"),
    "duplicate id": ({"expert_ids": with_ids(1)}, r"token 1 names expert 1 twice in layer 0; the slots of a token must differ"),
    "not recorded": ({"expert_ids": np.full((3, 2, 2), -1, np.int16)}, r"token 0 has no expert in layer 0; .*null_experts"),
    "NaN weight": ({"gate_weights": NAN}, r"gate weight at token 0, layer 0, slot 0 is nan; weights must be finite"),
    "missing array": ({"pass_ptr": None}, r"array 'pass_ptr' is missing; trace format v1 needs"),
    "missing meta": ({"meta": None}, r"array 'meta' is missing"),
    "wrong dtype": ({"expert_ids": GOOD.expert_ids.astype(np.int64)}, r"expert_ids has dtype int64; format v1 wants int16: use"),
    "meta no JSON": ({"meta": np.array("{")}, r"meta is not a plain JSON file: Expecting property name"),
    "meta a list": ({"meta": np.array("[]")}, r"meta is not a JSON object in a 0-d unicode array"),
    "meta an array": ({"meta": np.array(["{}"])}, r"meta is not a JSON object in a 0-d unicode array"),
    "no n_experts": ({"meta": meta(n_experts=None)}, r"meta.n_experts is None; it must be a whole number"),
    "another version": ({"meta": meta(schema_version=2)}, r"meta.schema_version is 2; this release reads version 1"),
    "another top_k": ({"meta": meta(top_k=3)}, r"meta.top_k is 3 but expert_ids has 2 slots per token"),
    "wrong digest": ({"meta": meta(digest="0" * 64)}, r"meta.digest 0{12}… is not the digest of the arrays .*; the file was changed"),
    "empty pass": ({"pass_ptr": np.array([0, 2, 2, 3])}, r"pass_ptr must rise from 0 to 3"),
    "pass_ptr short": ({"pass_ptr": np.array([0, 3])}, r"pass_ptr has shape \(2,\); .* it must be \(4,\)"),
    "phase 2": ({"phase": np.array([0, 1, 2], np.int8)}, r"phase holds \[0, 1, 2\]; 0 is prefill and 1 is decode"),
    "negative position": ({"position": np.array([-1, 0, 1], np.int32)}, r"position -1 is negative"),
    "layers in disorder": ({"layer_index": np.array([1, 0], np.int16)}, r"layer_index \[1, 0\] must rise"),
    "half of the predictions": ({"predict_lead": np.array([1], np.int16)}, r"predict_lead and predicted_ids come together"),
    "flat ids": ({"expert_ids": np.zeros((3, 2), np.int16)}, r"expert_ids has shape \(3, 2\); it must be \[tokens, moe_layers, top_k\]"),
}  # fmt: skip


def refused(capsys, arguments: list[str], line: str) -> None:
    """`simmoe arguments` exits with 2 and prints one line that matches."""
    assert main(arguments) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1, out.err
    assert re.search(line, out.err), out.err


@pytest.mark.parametrize("name", TRACES)
def test_bad_trace(name, tmp_path, capsys):
    changes, line = TRACES[name]
    refused(capsys, ["trace", "check", str(write(tmp_path / "bad.npz", **changes))], line)


def test_good_trace(tmp_path, capsys):
    assert main(["trace", "check", str(write(tmp_path / "good.npz"))]) == 0
    assert "3 tokens × 2 layers × top-2 of 4" in capsys.readouterr().out


def test_trace_file_that_is_no_trace(tmp_path, capsys):
    good = write(tmp_path / "good.npz").read_bytes()
    damaged = bytearray(good)
    damaged[good.index(GOOD.expert_ids.tobytes())] ^= 0xFF
    files = {
        "empty": (b"", "the file is empty; a trace is an npz archive"),
        "cut": (good[: len(good) // 2], "is it truncated|damaged"),
        "bits": (bytes(damaged), "Bad CRC-32"),
        "text": (b"hello", "is it truncated"),
    }
    for name, (content, line) in files.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        refused(capsys, ["trace", "check", str(tmp_path / f"{name}.npz")], line)


def test_pickled_trace_is_never_loaded(tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    path = tmp_path / "pickled.npz"
    with open(path, "wb") as stream:
        np.savez(stream, allow_pickle=True, expert_ids=np.array([Bomb()], dtype=object))
    refused(capsys, ["trace", "info", str(path)], "holds pickled Python objects, which are never loaded")
    assert not (tmp_path / "exploded").exists()


def test_missing_files_and_names(capsys, tmp_path):
    refused(
        capsys,
        ["run", "--hw", "a100", "--trace", "nope.npz"],
        r"unknown trace 'nope.npz': no such file or bundled name; nearest: .*simmoe trace make",
    )
    refused(capsys, ["run", "--hw", "a1000", "--trace", "oracle"], r"a10.*a100.*")
    refused(capsys, ["trace", "check", str(tmp_path)], "unknown trace")


@pytest.fixture
def run(tmp_path, capsys):
    """`simmoe run` on a small good trace is refused with a line."""

    def check(line: str, *arguments: str, hw: str = "a100", trace: Path | None = None) -> None:
        trace = trace or write(tmp_path / "good.npz")
        refused(capsys, ["run", "--hw", hw, "--trace", str(trace), *arguments], line)

    return check


def test_geometry_and_options(run, tmp_path):
    run("unknown model 'test'")
    run(
        r"the trace has 2 MoE layers but the model mixtral-8x7b has 32; name the model of the trace with --model",
        "--model",
        "mixtral-8x7b",
    )
    run(
        r"the trace has 4 experts per layer but layer 1 of the model",
        "--model",
        str(two_layer_model(tmp_path, experts=5)),
    )
    mine = ["--model", str(two_layer_model(tmp_path))]
    run(r"column 0 of the trace is model layer 0 but the MoE layer there of .* is 1", *mine)
    fitting = write(tmp_path / "fits.npz", layer_index=np.array([1, 2], np.int16))
    for options, line in {
        ("--eviction", "lruu"): r"unknown eviction policy 'lruu'.*did you mean 'lru'",
        ("--scope", "world"): r"--scope: unknown 'world'; choose one of global, layer",
        ("--budget", "2"): r"--budget: '2' is not a quantity with a unit",
        ("--budget", "2 QB"): r"--budget: unknown unit 'QB'",
        ("--budget", "1B"): r"the budget of 1 B of experts is below the least that works with scope global",
        ("--budget=-1GB",): r"--budget: '-1 GB' is negative",
        ("--memory", "1kB"): r"--memory 1kB is too small for .*: the least is",
        ("--tokens", "some"): r"--tokens 'some' is no number of tokens; give 1 or more, or all",
        ("--tokens", "0"): r"--tokens 0 is no number of tokens; give 1 or more, or all",
        ("--context", "0"): r"--context 0 is no number of positions; give 1 or more",
        ("--format", "fp17"): r"fp17.*fp16",
        ("--per-token", "x.csv"): r"--per-token shows one run: add --budget or --memory",
        (
            "--budget",
            "50%",
            "--per-token",
            str(tmp_path / "no" / "x.csv"),
        ): r"folder .* does not exist; create it first",
    }.items():
        run(line, *mine, *options, trace=fitting)


def two_layer_model(tmp_path: Path, experts: int = 4) -> Path:
    """An architecture with MoE layers 1 and 2 of 3."""
    text = (models.FOLDER / "oracle-moe-2x4.yaml").read_text()
    text = text.replace("moe_layers: [5, 11]", "moe_layers: [1, 2]").replace("  layers: 12", "  layers: 3")
    text = text.replace("n_experts: 4", f"n_experts: {experts}")
    path = tmp_path / f"small{experts}.yaml"
    path.write_text(text)
    return path


PROFILE = (hardware_profiles.FOLDER / "a100.yaml").read_text()
PROFILES = {
    "unknown unit": (PROFILE.replace("25.1 GB/s", "25.1 GX/s"), r"unknown unit 'GX/s' in '25.1 GX/s'; did you mean"),
    "bare number": (PROFILE.replace("25.1 GB/s", "25.1"), r"is not a quantity with a unit|bare number"),
    "negative bandwidth": (PROFILE.replace("25.1 GB/s", "-25.1 GB/s"), r"negative"),
    "Python tag": ("a: !!python/object/apply:os.system ['touch exploded']\n", r"Python|tag"),
    "empty": ("", r"empty"),
    "no YAML": ("a: [1\n", r"YAML"),
    "a list": ("- 1\n", r"mapping|list"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_bad_hardware(name, run, tmp_path):
    text, line = PROFILES[name]
    assert text != PROFILE
    (tmp_path / "box.yaml").write_text(text)
    run(line, hw=str(tmp_path / "box.yaml"))


@pytest.mark.slow
def test_a_model_that_does_not_fit(tmp_path, capsys):
    ids = np.zeros((1, 32, 2), np.int16)
    ids[..., 1] = 1
    mixtral = make_trace([[[[0, 1]] * 32]], 8, model="mixtral-8x7b")
    from simmoe.workloads.format.trace import save

    save(mixtral, tmp_path / "mixtral.npz")
    refused(
        capsys,
        ["run", "--hw", "jetson_orin", "--trace", str(tmp_path / "mixtral.npz"), "--budget", "100%"],
        r"90\.2 GB of experts do not fit on jetson_orin: short by .* GB of .* usable .*; what would fit: --budget \d+MB",
    )
    refused(
        capsys,
        [
            "run",
            "--hw",
            "jetson_xavier_nx",
            "--trace",
            str(tmp_path / "mixtral.npz"),
            "--format",
            "fp32",
            "--context",
            "100000",
        ],
        r"mixtral-8x7b at fp32 does not fit on jetson_xavier_nx: dense weights .* exceed the usable .* by .* GB; no other --format",
    )
