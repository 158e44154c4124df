"""Runtimes, flags, plan and explain as a reader uses them who types what an engine would take, each with the value that is right."""

from __future__ import annotations

import json

import pytest

from simmoe.cli.main import main

MODEL = ("--model", "qwen3-30b-a3b", "--format", "Q4_K_M", "--prompt", "64", "--generate", "2")
BOX = ("--gpu", "rtx_3060", "--host", "ddr4_3200_2ch")
CUDA = ("run", *BOX, *MODEL, "--runtime", "llama_cpp_cuda")
PARTS = ("tok_s", "ttft_s", "prompt_tok_s", "bytes", "memory_bytes")


@pytest.fixture
def played(capsys):
    def play(*words: str) -> dict:
        assert main([*words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return play


@pytest.fixture
def refused(capsys):
    def refuse(*words: str) -> str:
        assert main([*words]) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("simmoe: ") and "\n" not in said
        return said

    return refuse


def same(one: dict, other: dict) -> bool:
    return all(one[part] == other[part] for part in PARTS)


def test_fault_b_below_ub_is_the_size_of_a_pass(played):
    """llama.cpp makes no pass larger than what it is handed at once."""
    small = played(*CUDA, "--flags", "-ncmoe 32 -b 16 -ub 512")
    assert small["scenario"]["microbatch"] == 16
    assert same(small, played(*CUDA, "--flags", "-ncmoe 32 -ub 16"))
    assert played(*CUDA, "--flags", "-ncmoe 32 -b 2048")["scenario"]["microbatch"] == 512


@pytest.mark.parametrize("flag", ["-lm none", "--no-mmap", "-mmp 0"])
def test_fault_weights_that_are_not_mapped_cross_the_link_as_pinned_memory(played, flag):
    mapped, pinned = (played(*CUDA, "--flags", f"-ncmoe 32 {more}") for more in ("", flag))
    assert (mapped["scenario"]["mmap"], pinned["scenario"]["mmap"]) == (True, False)
    assert pinned["bytes"] == mapped["bytes"] and pinned["tok_s"] == mapped["tok_s"]
    assert pinned["prompt_tok_s"] > 1.5 * mapped["prompt_tok_s"]
    assert same(pinned, played(*CUDA, "--placement", "n_cpu_moe=32", "--mmap", "none"))


def test_fault_c_is_of_all_sequences_together(played):
    four = played(*CUDA, "--flags", "-ncmoe 34 -np 4 -c 8192")
    one = played(*CUDA, "--flags", "-ncmoe 34 -c 8192")
    assert (four["scenario"]["context"], one["scenario"]["context"]) == (2048, 8192)
    assert four["memory_bytes"]["kv"] == one["memory_bytes"]["kv"]


def test_fault_ctk_f16_is_what_holds_without_it(played):
    assert same(played(*CUDA, "--flags", "-ncmoe 32 -ctk f16"), played(*CUDA, "--flags", "-ncmoe 32"))


@pytest.mark.parametrize(
    ("flag", "beside", "value"),
    [("-ncmoe 0", "--placement", "n_cpu_moe=32"), ("-np 1", "--batch", "2"), ("-kvo", "--kv-offload", "none"),
     ("-mmp 1", "--mmap", "none")],
)  # fmt: skip
def test_fault_a_flag_for_what_holds_by_itself_is_not_overruled_in_silence(refused, flag, beside, value):
    assert f"--flags say the opposite of {beside} {value}" in refused(*CUDA, "--flags", flag, beside, value)


def test_fault_quantised_values_need_flash_attention(refused):
    said = refused(*CUDA, "--flags", "-ncmoe 32 -ctk q8_0 -ctv q8_0 -fa off")
    assert "values in q8_0 need flash attention" in said


def test_fault_with_ngl_0_the_output_is_read_by_the_cpu(played):
    """-ngl 1 moves the output to the card: a decoded token is shorter by what the CPU takes longer to read it."""
    none, output = (played(*CUDA, "--gpu-layers", n) for n in ("0", "1"))
    head_bytes = output["memory_bytes"]["dense"]  # all that the card has of the model
    assert none["memory_bytes"]["dense"] == 0 and head_bytes > 100e6
    cpu_bytes_per_s = 0.46 * 51.2e9
    card_bytes_per_s = 0.84 * 360e9
    longer = 1 / none["tok_s"] - 1 / output["tok_s"]
    assert (
        head_bytes / cpu_bytes_per_s - head_bytes / 200e9
        < longer
        < head_bytes / cpu_bytes_per_s - head_bytes / card_bytes_per_s
    )


@pytest.mark.parametrize("runtime", ["mlx", "llama_cpp_metal"])
@pytest.mark.parametrize("words", [("--kv-offload", "none"), ("--gpu-layers", "0")])
def test_fault_an_engine_without_a_cpu_part_says_so(refused, runtime, words):
    said = refused("run", "--hw", "strix_halo", *MODEL, "--runtime", runtime, *words)
    assert f"the runtime {runtime} computes nothing on the CPU" in said


@pytest.mark.parametrize("words", [("--gpu-layers", "0"), ("--kv-offload", "none"), ()])
def test_fault_one_memory_has_all_of_the_model(played, words):
    """On a machine with one memory, what the CPU has of the model lies where the rest lies, and counts there."""
    run = played("run", "--hw", "strix_halo", *MODEL, "--runtime", "llama_cpp_vulkan", *words)
    held, all_bytes = run["memory_bytes"], 998e6 + 17.56e9
    assert held["dense"] + held["experts"] + held.get("experts of the CPU", 0) == pytest.approx(all_bytes, rel=0.003)
    assert held["kv"] == 66 * 98304 and not any(
        "layers of the CPU" in tier for tier in run["other_memory_bytes"].values()
    )


def test_fault_a_pass_of_no_tokens(refused):
    assert "--microbatch 0" in refused(*CUDA, "--placement", "n_cpu_moe=32", "--microbatch", "0")


def test_fault_buffers_are_of_the_largest_pass(played):
    chunks = [
        played(*CUDA, "--placement", "n_cpu_moe=48", *w)
        for w in (("--microbatch", "2048"), ("--prefill-chunk", "2048"))
    ]
    chunks = [one["memory_bytes"]["buffers"] for one in chunks]
    assert chunks[0] > chunks[1]  # 64 tokens are played: no pass of 2,048
    long = ["2048" if word == "64" else word for word in CUDA]
    found = [
        played(*long, "--placement", "n_cpu_moe=48", *w)
        for w in (("--microbatch", "2048"), ("--prefill-chunk", "2048"))
    ]
    assert found[0]["memory_bytes"] == found[1]["memory_bytes"]


@pytest.mark.parametrize("path", ["decode", "cpu"])
def test_fault_a_share_of_next_to_nothing(refused, tmp_path, path):
    file = tmp_path / "tiny.yaml"
    file.write_text(
        f"extends: llama_cpp_cuda\nname: tiny\n{path}: {{memory: {{value: 1.0e-300, range: [1.0e-300, 1], kind: assumed, source: x}}}}\n"
    )
    assert f"{path}.memory.value: 1e-300 is no share" in refused("runtime", "show", str(file))


@pytest.mark.parametrize("flag", ["-cmoe", "--cpu-moe"])
def test_fault_one_flag_alone_is_a_command_line(played, flag):
    assert same(played(*CUDA, "--flags", flag), played(*CUDA, "--placement", "n_cpu_moe=48"))


@pytest.mark.parametrize("words", [("--start", "cold"), ("--cold-per-sequence",)])
def test_fault_an_engine_that_loads_nothing_does_not_start_cold(refused, words):
    assert "llama_cpp_cuda loads no experts while it runs" in refused(*CUDA, "--placement", "n_cpu_moe=32", *words)


def record(**fields) -> dict:
    said = {
        "build_commit": "0c1e57098",
        "build_number": 7000,
        "model_filename": "q.gguf",
        "n_batch": 2048,
        "n_ubatch": 512,
    }
    return {**said, "n_gpu_layers": 99, "n_cpu_moe": 32, "n_prompt": 0, "n_gen": 0, "samples_ts": [18.0], **fields}


@pytest.mark.parametrize("between", [",", ",\n", ",\n  "])
def test_fault_explain_reads_a_json_list_however_its_lines_are_broken(played, tmp_path, between):
    records = [record(n_gen=128, avg_ts=18.0), record(n_prompt=512, avg_ts=290.0)]
    file = tmp_path / "bench.json"
    file.write_text("[" + between.join(map(json.dumps, records)) + "]\n")
    rows = played("explain", str(file), *BOX, *MODEL[:4])["rows"]
    assert [(row["phase"], row["measured_tok_s"]) for row in rows] == [("decode", 18.0), ("prompt", 290.0)]


def test_fault_plan_lists_nothing_that_is_only_worse(played):
    """For decoding, --no-op-offload gives the same speed with the same blocks: it is no line of its own."""
    best = played("plan", *MODEL[1:4], *BOX, "--goal", "decode")["best"]
    speeds = [(one["n_cpu_moe"], one["kv_format"], one["microbatch"]) for one in best]
    assert len(set(speeds)) == len(best) == 3


@pytest.mark.parametrize("words", [(), ("--kv-offload", "none")])
def test_fault_the_cpu_engine_is_not_timed_on_a_gpu(refused, words):
    said = refused("run", "--hw", "gh200", *MODEL, "--runtime", "llama_cpp_cpu", *words)
    assert "computes on the CPU alone, and gh200 computes on its gpu" in said


def test_fault_explain_says_that_the_flags_do_not_fit_the_card(capsys):
    """17.6 GB of experts on a card of 12 GB: the flags of the measurement are missing."""
    assert main(["explain", "tok_s=18", *BOX, *MODEL[:4]]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the model does not fit on the device with these flags" in said and "-ncmoe" in said
    assert main(["explain", "tok_s=18", *BOX, *MODEL[:4], "--flags", "-ncmoe 32"]) == 0
    assert "does not fit" not in capsys.readouterr().out


@pytest.mark.parametrize("machine", [("--hw", "strix_halo"), BOX])
def test_fault_plan_counts_the_memory_that_run_counts(played, machine):
    """One law of memory for both commands, on machines of one memory too."""
    line = played("plan", *MODEL[1:4], *machine, "--runtime", "llama_cpp_vulkan", "--context", "4k")["best"][0]
    flags = line["command"].removeprefix("llama-server ").replace("-m qwen3-30b-a3b", "")
    held = played("run", *machine, *MODEL, "--runtime", "llama_cpp_vulkan", "--flags", flags)["memory_bytes"]
    planned = line["device_bytes"]
    for part, name in (
        ("dense", "dense"),
        ("kv", "kv"),
        ("experts", "experts"),
        ("compute", "buffers"),
        ("total", "total"),
    ):
        assert planned[part] == held[name], part


def test_fault_what_plan_prints_is_what_run_plays(played):
    """The prompt speed of a line that plan prints is that of the passes which run plays under its flags."""
    line = played("plan", *MODEL[1:4], *BOX, "--context", "8k", "--goal", "prompt")["best"][0]
    flags = line["command"].removeprefix("llama-server ").replace("-m qwen3-30b-a3b", "")
    run = played(
        "run", *BOX, *MODEL[:4], "--prompt", "4096", "--generate", "2", "--runtime", "llama_cpp_cuda", "--flags", flags
    )
    assert run["prompt_tok_s"] == pytest.approx(line["prompt_tok_s"]["value"], rel=0.02)


@pytest.mark.parametrize(
    ("kernels", "said"), [("attention: -100", "kernels.attention is -100"), ("ungated: -20", "with ungated -20")]
)
def test_fault_less_than_no_kernels(refused, tmp_path, kernels, said):
    file = tmp_path / "few.yaml"
    file.write_text(f"extends: llama_cpp_cuda\nname: few\nkernels: {{{kernels}}}\n")
    assert said in refused("runtime", "show", str(file))
