"""Runtimes, flags, plan and explain as a reader uses them who types what an engine would take, each with the value that is right."""

from __future__ import annotations

import json
import re

import pytest

from simmoe import load_hardware
from simmoe.cli.main import main
from simmoe.hardware_profiles.host import HOSTS
from simmoe.play.plan_parts import parts_for
from simmoe.workloads.models.formats import files_of

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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("between", [",", ",\n", ",\n  "])
def test_fault_explain_reads_a_json_list_however_its_lines_are_broken(played, tmp_path, between):
    records = [record(n_gen=128, avg_ts=18.0), record(n_prompt=512, avg_ts=290.0)]
    file = tmp_path / "bench.json"
    file.write_text("[" + between.join(map(json.dumps, records)) + "]\n")
    rows = played("explain", str(file), *BOX, *MODEL[:4])["rows"]
    assert [(row["phase"], row["measured_tok_s"]) for row in rows] == [("decode", 18.0), ("prompt", 290.0)]


@pytest.mark.slow
def test_fault_plan_lists_nothing_that_is_only_worse(played):
    """For decoding, --no-op-offload gives the same speed with the same blocks: it is no line of its own."""
    best = played("plan", *MODEL[1:4], *BOX, "--goal", "decode")["best"]
    speeds = [(one["n_cpu_moe"], one["kv_format"], one["microbatch"]) for one in best]
    assert len(set(speeds)) == len(best) == 3


@pytest.mark.parametrize("words", [(), ("--kv-offload", "none")])
def test_fault_the_cpu_engine_is_not_timed_on_a_gpu(refused, words):
    said = refused("run", "--hw", "gh200", *MODEL, "--runtime", "llama_cpp_cpu", *words)
    assert "computes on the CPU alone, and gh200 computes on its gpu" in said


@pytest.mark.slow
def test_fault_explain_says_that_the_flags_do_not_fit_the_card(capsys):
    """17.6 GB of experts on a card of 12 GB: the flags of the measurement are missing."""
    assert main(["explain", "tok_s=18", *BOX, *MODEL[:4]]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the model does not fit on the device with these flags" in said and "-ncmoe" in said
    assert main(["explain", "tok_s=18", *BOX, *MODEL[:4], "--flags", "-ncmoe 32"]) == 0
    assert "does not fit" not in capsys.readouterr().out


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "format", "flags"),
    [("ktransformers", "Q4_K_M", "--kt-num-gpu-experts 32"), ("vllm", "awq", "--cpu-offload-gb 4")],
)
def test_fault_explain_plays_the_flags_that_run_plays(played, runtime, format, flags):
    """They depend on the model's layers: explain refused them as not simulated, though plan prints them."""
    words = (*BOX, "--model", "qwen3-30b-a3b", "--format", format, "--runtime", runtime, "--flags", flags)
    run = played("run", *words, "--prompt", "0", "--generate", "16", "--eviction", "everything")
    (row,) = played("explain", "tok_s=20 generate=16", *words)["rows"]
    assert row["simulated_tok_s"] == pytest.approx(run["tok_s"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "flags"),
    [
        ("ktransformers", "--kt-num-gpu-experts"),
        ("vllm", "--cpu-offload-gb"),
        ("llama_cpp_cuda", "-ncmoe"),
        ("sglang", ""),
    ],
)
def test_fault_explain_names_flags_of_the_engine_that_was_measured(capsys, runtime, flags):
    assert (
        main(["explain", "tok_s=20", *BOX, "--model", "qwen3-30b-a3b", "--format", "fp16", "--runtime", runtime]) == 0
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "the model does not fit" in said
    assert (f"such as --flags '{flags}" in said) if flags else ("such as" not in said)


def test_fault_what_would_hold_the_experts_is_in_the_words_of_the_engine(refused, played):
    """It said --placement n_cpu_moe=N, which sglang and mlx refuse, and which KTransformers does not have."""
    words = ("run", *BOX, "--model", "qwen3-30b-a3b", "--format", "Q4_K_M", "--prompt", "16", "--generate", "2")
    said = refused(*words, "--runtime", "sglang")
    assert "n_cpu_moe" not in said and "choose a smaller --format" in said
    found = re.search(r"--flags '(--kt-num-gpu-experts (\d+))'", refused(*words, "--runtime", "ktransformers"))
    assert found
    played(*words, "--runtime", "ktransformers", "--flags", found[1])
    refused(*words, "--runtime", "ktransformers", "--flags", f"--kt-num-gpu-experts {int(found[2]) + 1}")


@pytest.mark.slow
def test_fault_a_line_for_sglang_has_a_cache_format_that_it_takes(played):
    """Its --kv-cache-dtype takes fp8_e4m3 and fp8_e5m2; plan printed fp8."""
    words = (
        "glm-4.5-air",
        "--format",
        "Q4_K_M",
        "--gpu",
        "rtx_3060",
        "--host",
        "ddr5_4800_8ch",
        "--runtime",
        "ktransformers",
    )
    lines = [one["command"] for one in played("plan", *words, "--context", "2048")["best"]]
    cached = [line for line in lines if "--kv-cache-dtype" in line]
    assert cached and all("--kv-cache-dtype fp8_e4m3 " in line for line in cached)


def test_fault_plan_tells_that_the_constants_are_of_another_maker(capsys, played):
    words = ("plan", "oracle-moe-2x4", "--hw", "m1", "--runtime", "ktransformers", "--context", "512")
    note = "ktransformers has the constants of nvidia devices, and this one is of apple: llama_cpp_metal is usual there"
    assert played(*words)["notes"] == [note]
    assert main([*words]) == 0
    assert note in " ".join(capsys.readouterr().out.split())
    assert played("plan", "oracle-moe-2x4", "--hw", "m1", "--context", "512")["notes"] == []


def test_fault_a_part_whose_cpu_has_other_instructions_says_so():
    """More memory channels made prompts 70 % slower without a word: the CPU beside them has no AMX."""
    there = {
        part.machine: part.what for part in parts_for("rtx_3090+ddr5_4800_8ch", load_hardware("rtx_3090+ddr5_4800_8ch"))
    }
    assert (
        there["rtx_3090+ddr5_4800_12ch"]
        == "12 channels of DDR5-4800 in place of 8, whose CPU has AVX512 in place of AMX"
    )
    same = {
        part.machine: part.what for part in parts_for("rtx_3090+ddr4_3200_2ch", load_hardware("rtx_3090+ddr4_3200_2ch"))
    }
    assert same["rtx_3090+ddr4_3200_4ch"] == "4 channels of DDR4-3200 in place of 2"


@pytest.mark.parametrize(
    ("runtime", "model", "hw", "format", "kind"),
    [("llama_cpp_cuda", "glm-4.5-air", "jetson_orin", "Q4_K_M", "gguf"), ("sglang", "qwen3-30b-a3b", "rtx_3090", "fp8", "safetensors"),
     ("vllm", "glm-4.5-air", "jetson_orin", "fp8", "safetensors")],
)  # fmt: skip
def test_fault_what_would_fit_is_a_format_that_the_engine_reads(refused, runtime, model, hw, format, kind):
    said = refused("plan", model, "--hw", hw, "--format", format, "--runtime", runtime)
    found = re.search(r"--format (\w+)", said)
    assert found and kind in files_of(found[1])


def test_files_of_a_format():
    assert [files_of(one) for one in ("bf16", "Q4_K_M", "q8_0", "awq", "nvfp4", "NVFP4_GGUF")] == [
        ("gguf", "safetensors"), ("gguf",), ("gguf",), ("safetensors",), ("safetensors",), ("gguf",),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["first=20%", "oracle"])
@pytest.mark.parametrize("rule", ["cpu", "fetch", "balanced"])
def test_fault_a_miss_rule_counts_no_text(refused, rule, text):
    """What stood behind the colon was dropped, and the rows that it named were not played."""
    said = refused("run", *BOX, "--trace", "oracle", "--budget", "25%", "--miss", f"{rule}:{text}")
    assert said == f"simmoe: --miss {rule}:{text}: {rule}.py counts no use of experts; leave :{text} out"


def test_fault_threads_of_no_cpu_are_named(capsys):
    """--batch-threads stood nowhere in the output."""
    words = ["--model", "oracle-moe-2x4", "--prompt", "16", "--generate", "2"]
    assert main(["run", "--hw", "m3_max", *words, "--runtime", "mlx", "--batch-threads", "4"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "No time depends on --batch-threads 4: m3_max states no CPU beside the device" in said
    assert main(["run", *BOX, *words, "--runtime", "llama_cpp_cuda", "--flags", "-t 2 -tb 4"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "llama_cpp_cuda, 2 threads, 4 threads in large passes" in said and "No time depends" not in said


@pytest.mark.parametrize(("threads", "rated", "noted"), [(1, False, True), (8, False, False), (1, True, False)])
def test_fault_threads_of_which_nobody_states_a_rate_are_named(threads, rated, noted, tmp_path, capsys):
    """-t 1 gave the speed of all cores, without a word."""
    host, rate = tmp_path / "host.yaml", "{value: 9 GB/s, kind: measured, source: me}"
    rates = f"  thread_bandwidth: {rate}\n  quantised_bandwidth: {rate.replace('9', '30')}\n" if rated else ""
    host.write_text((HOSTS / "ddr4_3200_2ch.yaml").read_text("utf-8").replace("cpu:\n", f"cpu:\n{rates}"), "utf-8")
    words = [
        "--gpu",
        "rtx_3060",
        "--host",
        str(host),
        "--model",
        "gpt-oss-20b",
        "--format",
        "MXFP4_MOE",
        "--prompt",
        "16",
    ]
    words += ["--generate", "2", "--runtime", "llama_cpp_cuda", "--placement", "n_cpu_moe=24", "--json"]
    found = []
    for said in ([], ["--threads", str(threads)]):
        assert main(["run", *words, *said]) == 0, capsys.readouterr().err
        found.append(json.loads(capsys.readouterr().out))
    assert any("states what one thread reads" in note for note in found[1]["notes"]) == noted
    assert (found[1]["tok_s"] < found[0]["tok_s"]) == rated


def test_fault_an_engine_of_the_cpu_beside_a_gpu_is_told_so(refused):
    said = refused("run", *BOX, *MODEL, "--runtime", "llama_cpp_cpu")
    assert "n_cpu_moe" not in said and "computes on the CPU alone; name a machine without a GPU" in said
