"""What run and compare say beside their numbers: waits of every kind, ranges, changes that are tried, and how long it takes."""

from __future__ import annotations

import json
import re
from time import process_time

import pytest

import simmoe
from simmoe.cli import patience
from simmoe.cli.main import main
from simmoe.play import advice, extent, what_if
from simmoe.play.run import play
from simmoe.show import tables as show
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import named
from simmoe.workloads.format import trace as traces

bundled = pytest.mark.skipif("oracle" not in traces.names(), reason="the bundled traces are not made yet")

BOX = (
    "--gpu",
    "rtx_4090",
    "--host",
    "ddr5_6000_2ch",
    "--model",
    "qwen3-30b-a3b",
    "--format",
    "Q4_K_M",
    "--runtime",
    "llama_cpp_cuda",
)
SHORT = ("--prompt", "32", "--generate", "8")
ON_CPU = ("--placement", "n_cpu_moe=20")


def printed(capsys, *words):
    assert main(list(words)) == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_the_column_of_waits_is_that_of_the_sentence(capsys):
    """Nothing is loaded, and the device waits for the CPU: the column, the list of times and the sentence say one number."""
    out = printed(capsys, "run", *BOX, *SHORT, *ON_CPU)
    share = out.partition("A token's time: ")[2].partition("%")[0]
    assert f" 0 B {share}% TTFT:" in out and float(share) > 50  # the last cells: loaded/token, waiting
    assert f"Bound by the CPU: {float(share):.0f}% of decode time waits for the experts that it computes" in out
    row = simmoe.compare(
        gpu="rtx_4090", host="ddr5_6000_2ch", model="qwen3-30b-a3b", format="Q4_K_M", runtime="llama_cpp_cuda", prompt=32, generate=8,
        placement="n_cpu_moe=20",
    ).rows[0]  # fmt: skip
    assert row.waiting == pytest.approx(float(share) / 100, abs=6e-4)


@pytest.mark.slow
def test_compare_shows_the_range_that_run_prints(capsys):
    assert main(["run", *BOX, *SHORT, *ON_CPU, "--json"]) == 0
    low, high = json.loads(capsys.readouterr().out)["band"]["hardware"]
    words = ("compare", *BOX, "--gpu", "rtx_3090", *SHORT, *ON_CPU)
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["range_tok_s"] == [low, high] and low < rows[0]["run"]["tok_s"] < high
    out = printed(capsys, *words)
    assert f" {rows[0]['run']['tok_s']:.1f} {low:.1f}–{high:.1f} " in out and "range: tok/s at the ends of" in out


def test_a_comparison_without_ranges_has_no_column_of_them(capsys):
    words = ("compare", "--hw", "a100", "--hw", "jetson_orin", "--trace", "oracle", "--budget", "25%", "--tokens", "64")
    assert "range" not in printed(capsys, *words)


SERVED = [
    "--hw",
    "a100",
    "--trace",
    "oracle",
    "--tokens",
    "520",
    "--schedule",
    "vllm",
    "--rate",
    "40/s",
    "--max-batch",
    "2",
]


@pytest.mark.slow
@bundled
def test_a_ladder_says_what_requests_wait_for_and_how_many_meet_the_targets(capsys):
    out = printed(capsys, "run", *SERVED, "--ttft", "20ms")
    assert (
        "requests/s request TTFT p95 request TPOT p95 goodput meet it bound: nothing" in out and "TTFT first" not in out
    )
    assert main(["run", *SERVED, "--ttft", "20ms", "--budget", "50%", "--start", "cold", "--json"]) == 0
    good = json.loads(capsys.readouterr().out)["requests"]["goodput"]
    assert f" {show.number(good['requests_per_s'])}/s {good['share']:.1%} 62.5 %" in out
    assert "goodput" not in printed(capsys, "run", *SERVED)
    alone = printed(capsys, "run", *SERVED, "--budget", "50%")
    assert (
        "TTFT first" not in alone
        and "tok/s: tokens decoded a second of the passes that decode, waits left out" in alone
    )


@bundled
def test_the_range_of_what_requests_wait_for_is_that_of_runs_at_the_ends(capsys):
    words = ["run", *SERVED, "--ttft", "20ms", "--budget", "50%", "--band"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    options = {"tokens": 520, "schedule": "vllm", "rate": "40/s", "max_batch": 2, "ttft": "20ms", "budget": "50%"}
    run = simmoe.run("a100", "oracle", **options)
    ends = [play(end, run.plan, named("plain")).requests.to_json() for end in run.workload.begun.ends]
    every = [found["requests"], *ends]
    for name, of in {
        "request_ttft_p95_ms": lambda one: one["ttft_ms"]["p95"], "request_tpot_p95_ms": lambda one: one["tpot_ms"]["p95"],
        "requests_per_s": lambda one: one["requests_per_s"], "slo_share": lambda one: one["goodput"]["share"],
    }.items():  # fmt: skip
        assert found["band"]["requests"][name] == [min(map(of, every)), max(map(of, every))]
    low, high = found["band"]["requests"]["request_ttft_p95_ms"]
    assert low < high and f"TTFT p95 {low:.3g} ms to {high:.3g} ms" in printed(capsys, *words)


@pytest.mark.slow
def test_no_change_is_tried_where_requests_arrive(capsys, monkeypatch):
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    monkeypatch.setattr(what_if, "tried", lambda *_: pytest.fail("a change is played"))
    words = [*BOX, "--schedule", "continuous", "--requests", "3", "--max-batch", "2", *SHORT]
    assert main(["run", *words]) == 0
    said = capsys.readouterr()
    assert "changes are not tried where requests arrive, as each would play all of them again" in " ".join(
        said.out.split()
    )
    assert " gives +" not in said.out
    assert "played 5 times" in said.err  # the run, two ends of its ranges, two of routing


@pytest.mark.parametrize(
    ("machine", "bound"),
    [
        ("m4_max", "the rate of llama_cpp_metal's kernels"),  # they take in 339 GB/s where the memory gives 519
        ("strix_halo", "memory bandwidth"),
    ],
)
def test_what_bounds_is_not_the_memory_where_kernels_take_in_less(machine, bound):
    """Twice the memory would give the former 4 %."""
    options = {"model": "gpt-oss-120b", "format": "mxfp4", "prompt": 16, "generate": 4}
    run = simmoe.run(machine, runtime="llama_cpp_metal" if machine == "m4_max" else "llama_cpp_vulkan", **options)
    assert advice.bound_by(run).startswith(f"bound by {bound}: ")


@pytest.mark.parametrize(
    ("lengths", "told"), [({}, False), ({"prompt": 256, "generate": 2, "batch": 600}, True)], ids=["usual", "long"]
)
def test_only_long_runs_are_announced(capsys, lengths, told):
    """A run without a trace draws three times and plays thirteen: about 5 s of a core for the usual 512 + 128 tokens."""
    scenario = simmoe.Scenario(hw="rtx_4090", model="qwen3-30b-a3b", format="Q4_K_M", **lengths)
    patience.told(scenario, "run", 5, 3, 8)
    found = capsys.readouterr()
    assert found.out == "" and ("of one core" in found.err) == told


def test_requests_that_arrive_take_longer_than_the_same_rows_together(capsys, monkeypatch):
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    monkeypatch.setattr(patience, "_in_words", str)
    lengths = {"model": "olmoe-1b-7b", "prompt": 64, "generate": 30, "requests": 20}
    patience.told(simmoe.Scenario(hw="a100", schedule="vllm", rate="2/s", **lengths), "serve-curve", 96, opens=1)
    told = float(re.findall("about ([0-9.]+) of one core", capsys.readouterr().err)[-1])
    assert told > 96 * 20 * 30 / extent.TOGETHER * extent.FORMED_S


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="the rates are those of the compiled engine")
@pytest.mark.parametrize("axis", ["budget", "link.bandwidth=10GB/s..40GB/s", "batch=1..64"])
def test_what_is_said_of_a_comparison_along_an_axis_is_about_what_it_takes(axis, capsys, monkeypatch):
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    monkeypatch.setattr(patience, "_in_words", str)
    words = ("compare", "--hw", "a100", "--hw", "rtx_4090", "--trace", "switch", "--budget", "25%", "--over", axis)
    assert main([*words, "--tokens", "100"]) == 0  # kernels are compiled, or found
    check_told(words, capsys)


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="the rates are those of the compiled engine")
@pytest.mark.parametrize(
    "words",
    [
        (
            "--model",
            "olmoe-1b-7b",
            "--prompt",
            "16",
            "--generate",
            "2",
            "--over",
            "prompt=64..1k",
        ),  # each value is drawn
        (
            "--trace",
            "switch",
            "--tokens",
            "400",
            "--schedule",
            "continuous",
            "--max-batch",
            "2",
            "--over",
            "rate=1/s,2/s,4/s",
        ),
    ],
    ids=["lengths", "rates"],
)
def test_so_it_is_along_lengths_and_rates(words, capsys, monkeypatch):
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    monkeypatch.setattr(patience, "_in_words", str)
    words = ("compare", "--hw", "a100", "--hw", "rtx_4090", "--budget", "25%", *words)
    assert main(words[: words.index("--over")]) == 0
    capsys.readouterr()
    check_told(words, capsys)


def check_told(words, capsys):
    before = process_time()
    assert main(words) == 0
    took = process_time() - before
    told = float(re.findall("about ([0-9.]+) of one core", capsys.readouterr().err)[-1])
    assert took / 3 < told < 5 * took  # another computer is slower or faster, and this one may be busy


@pytest.mark.parametrize(
    ("runtime", "format", "line"),
    [
        (
            "llama_cpp_cuda",
            None,
            "llama.cpp opens GGUF files, and mxfp4 is a format of safetensors: --format MXFP4_MOE has about as many bits",
        ),
        (
            "vllm",
            "MXFP4_MOE",
            "vllm opens safetensors files, and MXFP4_MOE is a format of GGUF: --format mxfp4 has about as many bits",
        ),
        ("llama_cpp_cuda", "MXFP4_MOE", ""),
        ("vllm", None, ""),
        ("ideal", None, ""),
    ],
)
def test_a_format_that_no_file_of_the_engine_has(runtime, format, line):
    notes = simmoe.run("rtx_3090", model="gpt-oss-20b", runtime=runtime, format=format, prompt=4, generate=2).notes
    assert [note for note in notes if " opens " in note] == [line] * bool(line)


@pytest.mark.parametrize(("runtime", "format", "host"), [("llama_cpp_cuda", "Q4_K_M", True), ("sglang", "awq", False)])
def test_the_input_embedding_stays_with_llama_cpp_alone(runtime, format, host):
    """llama.cpp keeps it in host memory; SGLang and vLLM on the card."""
    run = simmoe.run(
        "rtx_3090+ddr4_3200_2ch", model="olmoe-1b-7b", format=format, runtime=runtime, prompt=4, generate=2
    )
    embedding = run.workload.model.embedding.bytes
    held = run.other_memory_bytes.get("host_dram", {}).get("layers of the CPU", 0)
    assert held == embedding * host
    assert run.memory_bytes["dense"] == run.workload.model.dense_bytes - embedding * host


def test_the_verdict_names_what_waits_as_long_as_the_device_works():
    """Layers of vLLM in host memory: the device waits 45 % of the time for experts, longer than any part of its own work takes."""
    options = {"model": "glm-4.5-air", "format": "awq", "runtime": "vllm", "flags": "--cpu-offload-gb 48"}
    run = simmoe.run("rtx_3060+ddr5_6000_2ch", prompt=4, generate=2, **options)
    parts = dict(advice.shares(run))
    waits = parts.pop("waiting for host_dram")
    assert max(parts.values()) < waits < 0.5
    works = f"in {1 - waits:.0%} of decode time the device works, {waits:.0%} waits for experts"
    assert advice.bound_by(run) == f"bound by memory bandwidth and by host_dram: {works}"


@pytest.mark.slow
def test_a_model_that_just_fits_has_a_range_where_requests_arrive(capsys):
    """At the slow end what an engine keeps beside its buffers stays, as capacities do."""
    words = [
        "run",
        "--hw",
        "rtx_3060",
        "--model",
        "gpt-oss-120b",
        "--format",
        "MXFP4_MOE",
        "--placement",
        "n_cpu_moe=31",
    ]
    words += [
        "--runtime",
        "llama_cpp_cuda",
        "--schedule",
        "continuous",
        "--arrivals",
        "poisson:0.2/s",
        "--requests",
        "2",
    ]
    assert main([*words, "--prompt", "16", "--generate", "4"]) == 0, capsys.readouterr().err
    assert " at the ends of the profile's ranges" in capsys.readouterr().out
