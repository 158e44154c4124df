"""simmoe explain with what the rows themselves say, ranges beside each row, and proposals at the rows' own lengths; simmoe plan's lines."""

from __future__ import annotations

import json
import math

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.explain.told import format_of
from tests.test_faults_policies import gguf

QWEN = "qwen3moe 30B.A3B Q4_K - Medium"
BOX = ["--gpu", "rtx_4090", "--host", "ddr5_6000_2ch"]
MODEL = ["--model", "qwen3-30b-a3b", "--format", "Q4_K_M"]
ALL_MISSING = (
    "add --gpu NAME --host NAME (or --hw; `simmoe hw list`), --model NAME|FILE (`simmoe model list`), --format NAME"
)
RECORD = {
    "build_commit": "8cf427ff", "build_number": 5163, "cpu_info": "AMD Ryzen 9 7950X 16-Core Processor",
    "gpu_info": "NVIDIA GeForce RTX 4090", "backends": "CUDA", "model_filename": "models/q.gguf", "model_type": QWEN,
    "model_size": 18554258719, "model_n_params": 30532122624, "n_ubatch": 512, "n_gpu_layers": 99, "n_prompt": 0, "n_gen": 128,
    "n_depth": 0, "avg_ts": 190.0, "stddev_ts": 1.0,
}  # fmt: skip


def bench(tmp_path, *rows):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([RECORD | row for row in rows or ({},)], indent=2))
    return str(path)


def explained(capsys, *words):
    assert main(["explain", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words):
    assert main(["explain", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("words", "format"),
    [
        (QWEN, "Q4_K_M"), ("llama 8x7B Q5_K - Small", "Q5_K_S"), ("qwen3moe ?B Q3_K - Large", "Q3_K_L"), ("x Q2_K - Medium", "Q2_K"),
        ("x Q2_K - Small", "Q2_K_S"), ("x Q6_K", "q6_k"), ("x Q8_0", "q8_0"), ("x Q4_0", "Q4_0"), ("x Q5_1", "Q5_1"), ("x F16", "fp16"),
        ("x BF16", "bf16"), ("x all F32", "fp32"), ("gpt-oss 20B MXFP4 MoE", "MXFP4_MOE"), ("x IQ2_XXS - 2.0625 bpw", "IQ2_XXS"),
        ("x IQ4_NL - 4.5 bpw", "IQ4_NL"), ("x IQ3_S mix - 3.66 bpw", "IQ3_M"), ("x IQ3_S - 3.4375 bpw", "IQ3_S"),
        ("x TQ1_0 - 1.69 bpw ternary", "TQ1_0"), ("deepseek2 671B Q2_K_R4", None), ("gpt-oss", None), ("", None),
    ],
)  # fmt: skip
def test_formats_in_the_words_of_llama_bench(words, format):
    assert format_of(words) == format


@pytest.mark.slow
def test_the_format_is_that_of_the_output(capsys, tmp_path):
    """As simmoe.run has it for Q4_K_M: no line of a run at fp16, 108 tok/s."""
    found = explained(capsys, bench(tmp_path), *BOX, *MODEL[:2])
    there = simmoe.run(
        gpu="rtx_4090", host="ddr5_6000_2ch", model="qwen3-30b-a3b", format="Q4_K_M", runtime="llama_cpp_cuda", prompt=0, generate=16,
        depth=56, eviction="everything",
    )  # fmt: skip
    assert found["rows"][0]["simulated_tok_s"] == pytest.approx(there.tok_s, rel=1e-6)
    assert found["notes"] == [f"Taken from the output: --format Q4_K_M ({QWEN})."]
    assert found["cautions"] == []


@pytest.mark.slow
def test_the_file_alone_is_enough(capsys, tmp_path):
    found = explained(capsys, bench(tmp_path))
    assert found["hardware"] == "rtx_4090+ddr5_5200_2ch_7950x"
    (note,) = found["notes"]
    assert "--gpu rtx_4090 (NVIDIA GeForce RTX 4090)" in note and "--model qwen3-30b-a3b" in note
    assert "not known: its memory modules" in note


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ({"gpu_info": "NVIDIA GeForce RTX 9999", "cpu_info": "Z80"}, "add --gpu NAME --host NAME (or --hw; `simmoe hw list`)"),
        ({"cpu_info": ""}, "add --host NAME"),
        ({"model_type": "newmoe 30B Q4_K - Medium"}, "add --model NAME"),
        ({"model_n_params": 20 * 10**9}, "add --model NAME"),
        ({"model_type": "qwen3moe 30B.A3B Q4_K_R4"}, "add --format NAME"),
        ({"model_type": "newmoe", "gpu_info": "", "cpu_info": ""}, ALL_MISSING),
    ],
)  # fmt: skip
def test_what_is_missing_is_asked_for_in_one_line(capsys, tmp_path, row, missing):
    assert missing in refused(capsys, bench(tmp_path, row))


def test_rows_of_two_formats_are_refused(capsys, tmp_path):
    path = bench(tmp_path, {}, {"model_type": "qwen3moe 30B.A3B Q8_0"})
    assert "the rows are of 2 models or formats" in refused(capsys, path, *BOX)


@pytest.mark.slow
def test_a_format_and_a_card_that_contradict_are_said(capsys, tmp_path):
    found = explained(capsys, bench(tmp_path), "--gpu", "rtx_3090", *BOX[2:], *MODEL[:2], "--format", "q8_0")
    assert found["notes"] == [
        f"--format q8_0 is played, and the rows are of Q4_K_M ({QWEN}).",
        "--gpu rtx_3090 is played, and the rows were measured on NVIDIA GeForce RTX 4090 (rtx_4090).",
    ]
    assert "The rows' model takes 18.55 GB, and qwen3-30b-a3b at q8_0 32.45 GB (+75%)" in " ".join(found["cautions"])
    assert explained(capsys, bench(tmp_path), *BOX, "--format", "q4_k_m")["notes"] == [
        f"Taken from the output: --model qwen3-30b-a3b ({QWEN})."
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("share", "said"), [(1.025, 0), (1.04, 1), (0.96, 1)])
def test_bytes_within_three_percent_are_those_of_the_format(capsys, tmp_path, share, said):
    """18,550,716,416 bytes of the shape, and 1/share of them in the file."""
    found = explained(capsys, bench(tmp_path, {"model_size": round(18550716416 / share)}), *BOX)
    assert len(found["cautions"]) == said


@pytest.mark.slow
def test_inside_the_range_of_the_run(capsys, tmp_path):
    """190 tok/s lies in what a run of the machine says: its ends, 192 to 242, and 14 % that the laws leave. No cause is named."""
    path = bench(tmp_path)
    found = explained(capsys, path, *BOX)
    low, high = found["rows"][0]["range_tok_s"]
    speed = found["rows"][0]["simulated_tok_s"]
    assert speed / low == pytest.approx(math.exp(math.hypot(math.log(speed / 191.8), 0.14)), rel=0.005)
    assert high / speed == pytest.approx(math.exp(math.hypot(math.log(242.7 / speed), 0.14)), rel=0.005)
    assert found["rows"][0]["inside"] and found["fits"][0]["expected"] == 1 and found["fits"][0]["cause"] is None
    assert main(["explain", path, *BOX]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 measured row beside qwen3-30b-a3b at Q4_K_M" in out
    assert "simulated 1.23 × measured; inside what is expected" in out
    assert "Usual causes" not in out and "outside" not in out
    slow = explained(capsys, bench(tmp_path, {"avg_ts": 150.0}), *BOX)
    assert not slow["rows"][0]["inside"] and "power limit" in slow["fits"][0]["cause"]


@pytest.mark.slow
def test_a_link_above_its_peak_is_no_explanation(capsys):
    """PCIe 4.0 x16 carries 31.5 GB/s, and these prompts would ask for 34."""
    words = ("prompt_tok_s=3800", "prompt=2048", *BOX, *MODEL, "--flags", "-ngl 99 -ncmoe 40 -ub 2048 -lm none")
    (fit,) = explained(capsys, *words)["fits"]
    assert fit["value"] == pytest.approx(34.3e9, rel=0.01) and fit["most"] == 31.508e9 and not fit["possible"]
    assert main(["explain", *words]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "would explain it and cannot be: the most is 31.5 GB/s, peak.link_bandwidth of the machine" in out
    assert "not all experts of a layer are copied" in out and "explains it" not in out


@pytest.mark.slow
def test_a_share_of_memory_above_one_is_not_written(capsys, tmp_path):
    """1.18 of the peak of the host's memory is no constant of the engine."""
    words = ("tok_s=60", *BOX, *MODEL, "--flags", "-ngl 99 -ncmoe 48")
    (fit,) = explained(capsys, *words)["fits"]
    assert fit["paths"][0] == "cpu.memory" and fit["value"] == pytest.approx(1.18, rel=0.02) and not fit["possible"]
    error = refused(capsys, *words, "--out", str(tmp_path / "mine.yaml"))
    assert "no constant of the engine could be fitted" in error


@pytest.mark.slow
def test_a_proposal_is_played_at_the_lengths_of_the_rows(capsys, tmp_path):
    """Everything is on the card already: a longer prompt and another depth are no gain, and a slower decode is not faster."""
    assert (
        explained(capsys, bench(tmp_path, {"n_prompt": 512, "n_gen": 0, "avg_ts": 6000.0}, {}), *BOX)["faster"] is None
    )
    words = ("tok_s=60", "depth=4096", *BOX, *MODEL, "--flags", "-ngl 99 -ncmoe 24")
    found = explained(capsys, *words)
    both = {
        "gpu": "rtx_4090",
        "host": "ddr5_6000_2ch",
        "model": "qwen3-30b-a3b",
        "format": "Q4_K_M",
        "runtime": "llama_cpp_cuda",
    }
    speeds = [
        simmoe.run(**both, prompt=0, generate=16, depth=4096, eviction="everything", placement=placement).tok_s
        for placement in (None, "n_cpu_moe=24")
    ]
    assert found["faster"]["decode"] == pytest.approx(speeds[0] / speeds[1], rel=0.01)
    assert "prompt" not in found["faster"] and "-ncmoe" not in found["faster"]["command"]
    assert found["faster"]["command"].startswith("llama-server -m YOUR.gguf -ngl 999 ")


@pytest.mark.slow
def test_several_words_are_one_speed(capsys, tmp_path):
    found = explained(capsys, "tok_s=190", "prompt_tok_s=6000", *BOX, *MODEL)
    assert [(one["phase"], one["measured_tok_s"]) for one in found["rows"]] == [("decode", 190), ("prompt", 6000)]
    assert "'b.json' stands beside other words" in refused(capsys, "tok_s=190", "b.json", *BOX, *MODEL)


def planned(capsys, *words):
    assert main(["plan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


SMALL = ["qwen3-30b-a3b", "--format", "Q4_K_M", "--gpu", "rtx_3060", "--host", "ddr5_6000_2ch"]


@pytest.mark.slow
def test_no_line_of_plan_is_beaten_by_another(capsys):
    """Slower at prompts and at decode than another line that is printed: left out. Times are those of the speeds, with their ends."""
    best = planned(capsys, *SMALL)["best"]
    speeds = [(one["decode_tok_s"]["value"], one["prompt_tok_s"]["value"]) for one in best]
    ratios = [(a[0] / b[0], a[1] / b[1]) for a in speeds for b in speeds]
    assert not any(min(pair) > 1 and max(pair) > 1.01 for pair in ratios)
    for one in best:
        decode, prompt = one["decode_tok_s"], one["prompt_tok_s"]
        assert one["seconds"] == pytest.approx(4096 / prompt["value"] + 512 / decode["value"])
        assert one["range_s"] == pytest.approx(
            [4096 / prompt["high"] + 512 / decode["high"], 4096 / prompt["low"] + 512 / decode["low"]]
        )
        assert one["ttft_range_s"][0] == pytest.approx(4096 / prompt["high"] + 1 / decode["high"])
        assert one["ttft_range_s"][0] < one["ttft_s"] < one["ttft_range_s"][1]


@pytest.mark.slow
def test_what_plan_prints(capsys):
    assert main(["plan", *SMALL]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "llama-server -m YOUR.gguf -ngl 999" in out and "-m qwen3" not in out
    assert "Host memory: 64 GiB, as the profile says (--set tiers.host_dram.capacity=128GiB)." in out
    assert "what CUDA keeps beside its buffers" in out
    assert (
        "A KV cache in q8_0 costs precision; without, the best has decode 40.5, prompt 1,726 tok/s: llama-server -m YOUR.gguf -ngl 999 "
        "-ncmoe 26 -lm none -c 8192 -b 2048 -ub 2048 -fa on -t 24" in out
    )
    larger = planned(capsys, *SMALL, "--set", "tiers.host_dram.capacity=128GiB")
    smaller = planned(capsys, *SMALL)
    assert larger["best"][0]["host_left_bytes"] - smaller["best"][0]["host_left_bytes"] == 64 * 2**30


@pytest.mark.slow
def test_a_tie_is_said_and_other_drivers_are_not_cuda(capsys):
    """Everything is on the card: all sizes of a pass decode alike, and the smallest leaves most of the card free."""
    assert main(["plan", *SMALL[:3], "--gpu", "rx_7900_xtx", *SMALL[5:], "--goal", "decode"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1., 2. and 3. are equal within 1%; the one that leaves more of the card's memory stands first." in out
    assert "what the driver keeps beside its buffers" in out and "CUDA" not in out


@pytest.mark.slow
def test_plan_names_the_file_that_was_given(capsys, tmp_path):
    path = gguf(tmp_path / "mine.gguf", "qwen3moe", 2)
    best = planned(capsys, str(path), *SMALL[3:])["best"]
    assert best[0]["command"].startswith(f"llama-server -m {path} -ngl 999 ")


CPU_BOX = ["--host", "ddr5_4800_8ch", "--set", "units.cpu.clock=3GHz", *MODEL]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["llama_cpp_cpu", "ik_llama_cpp_cpu"])
@pytest.mark.parametrize(("decode", "prompt"), [(7, 20), (400, 20000)])
def test_a_box_without_a_gpu_has_causes_of_its_own(capsys, runtime, decode, prompt):
    """Its decode is its memory's share, and its prompts are its cores' products: no graphs, no card, no link."""
    words = (f"tok_s={decode}", f"prompt_tok_s={prompt}", *CPU_BOX, "--runtime", runtime)
    found = explained(capsys, *words)
    paths = {fit["kind"]: fit["paths"] for fit in found["fits"]}
    assert paths == {
        "decode, all on the CPU": ["decode.memory", "decode.per_thread"],
        "prompts, all on the CPU": ["prompt.flops_per_clock"],
    }
    assert main(["explain", *words]) == 0
    out = capsys.readouterr().out.partition("decode, all on the CPU")[2]
    assert not any(
        word in out for word in ("CUDA", "graphs", "PCIe", " card", "lanes", "flash attention", "tensor cores")
    )
    assert ("memory channels" in out) == (decode == 7)
    slow = next(fit for fit in found["fits"] if fit["kind"].startswith("decode"))
    assert slow["possible"] == (decode == 7)  # 400 tok/s would be more than the memory's peak


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "kind", "why", "causes"),
    [
        (
            "units.cpu.quantised_bandwidth=30GB/s",
            "decode",
            "the machine's own rate of reading quantised weights holds",
            2,
        ),
        (
            "peak.memory_bandwidth=90GB/s",
            "prompts",
            "the machine states no clock, by which the engine counts products",
            1,
        ),
    ],
)
def test_a_figure_of_the_machine_that_holds_is_named(capsys, setting, kind, why, causes):
    words = (
        "tok_s=95",
        "prompt_tok_s=9000",
        "--host",
        "ddr5_6000_2ch",
        "--set",
        setting,
        *MODEL,
        "--runtime",
        "llama_cpp_cpu",
    )
    fit = next(fit for fit in explained(capsys, *words)["fits"] if fit["kind"].startswith(kind))
    assert fit["paths"] == [] and fit["why"].startswith(why)
    assert main(["explain", *words]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"no constant is fitted: {why}" in out and out.count("Usual causes") == causes
