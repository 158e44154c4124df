"""simmoe plan: what fits on a card, and which command line is best. Its speeds are those that simmoe.run gives for the same options."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.play.buffers import BESIDE_BYTES, buffer_bytes, device_bytes, least_blocks
from simmoe.play.plan_search import Search
from simmoe.play.plan_setup import Setup
from simmoe.play.scenario import Scenario
from simmoe.play.usual_runtime import usual_runtime
from simmoe.policies.flags import read
from simmoe.simulator.nouns.model import Cache, Layer, ModelShape, Part
from simmoe.workloads import models

BOX = ["--gpu", "rtx_3090", "--host", "ddr5_6000_2ch"]


def test_compute_buffers_that_llama_cpp_prints():
    """gpt-oss at -ub 512: 398.38 MiB, logits of 201,088 words and hidden states of 2,880. Mistral 7B: 115.01 MiB, within 2 %."""
    for name in ("gpt-oss-20b", "gpt-oss-120b"):
        assert buffer_bytes(models.load(name), 512, 0, True) - BESIDE_BYTES == 398.375 * 2**20
    ffn = Part(3 * 4096 * 14336, 3 * 4096 * 14336, 1)
    layer = Layer(Part(1, 1, 1), (Cache(1, 1),), ffn=ffn)
    mistral = ModelShape(
        "mistral", "fp16", "fp16", (layer,), 1, Part(32000 * 4096 + 4096, 1, 1), Part(1, 1, 1), width=4096
    )
    assert (buffer_bytes(mistral, 512, 0, True) - BESIDE_BYTES) / 2**20 == pytest.approx(115.01, rel=0.02)


@pytest.mark.parametrize(
    ("microbatch", "measured", "ours"), [(256, 25, 25), (512, 26, 25), (2048, 25, 25), (4096, 26, 26), (8192, 28, 28)]
)
def test_least_blocks_on_a_3090(microbatch, measured, ours):
    """gpt-oss-120b with 16-bit dense weights and MXFP4 experts, as somebody ran it for each -ub; the context is the prompt."""
    hw, model = hardware_profiles.load("rtx_3090"), models.load("gpt-oss-120b", "mxfp4")
    room = hw.device_memory.capacity_bytes - hw.reserved_bytes
    found = least_blocks(model, room, max(4096, microbatch), microbatch, True)
    assert found == ours
    assert abs(found - measured) <= 1


def test_least_blocks_is_the_least_of_all_that_fit():
    model = models.load("gpt-oss-20b", "MXFP4_MOE")
    for room in range(2 * 10**9, 14 * 10**9, 7 * 10**8):
        fits = [n for n in range(25) if device_bytes(model, n, 8192, 1024, True)["total"] <= room]
        assert least_blocks(model, room, 8192, 1024, True) == (min(fits) if fits else None)


def test_experts_on_the_cpu_are_copied_through_the_buffer():
    """One matrix of all experts of a block: 128 of 2,880 x 2,880 in MXFP4, 564 MB; not without op offload."""
    model = models.load("gpt-oss-120b", "mxfp4")
    matrix = model.layers[0].expert_bytes // 3
    assert buffer_bytes(model, 256, 4, True) > matrix + BESIDE_BYTES > buffer_bytes(model, 256, 4, False)
    assert buffer_bytes(model, 256, 0, True) == buffer_bytes(model, 256, 0, False)


def planned(capsys, *words):
    assert main(["plan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["decode", "prompt", "both"])
def test_the_best_three_are_what_the_goal_says(capsys, goal):
    found = planned(capsys, "gpt-oss-120b", "--format", "mxfp4", *BOX, "--goal", goal)
    best = found["best"]
    assert 1 <= len(best) <= 3
    cost = {
        "decode": [1 / one["decode_tok_s"]["value"] for one in best],
        "prompt": [1 / one["prompt_tok_s"]["value"] for one in best],
        "both": [4096 / one["prompt_tok_s"]["value"] + 512 / one["decode_tok_s"]["value"] for one in best],
    }
    if goal == "both":
        assert cost["both"] == pytest.approx([one["seconds"] for one in best])
    for one, other in zip(range(3), range(1, 3)):
        assert cost[goal][one] <= cost[goal][other] * 1.01
    assert cost[goal][0] == pytest.approx(min(cost[goal]), rel=0.01)
    for one in best:
        for speed in (one["decode_tok_s"], one["prompt_tok_s"]):
            assert speed["low"] < speed["value"] < speed["high"]
        assert one["device_bytes"]["total"] == sum(
            size for name, size in one["device_bytes"].items() if name != "total"
        )
        assert one["device_bytes"]["total"] + one["device_left_bytes"] == 24 * 2**30 - 2**30
        assert one["device_left_bytes"] >= 0


@pytest.mark.slow
@pytest.mark.parametrize(("goal", "op_offload"), [("both", None), ("decode", False)])
def test_a_command_line_says_what_was_played(capsys, goal, op_offload):
    """Its flags, read back, are the setup; and simmoe.run gives its speeds for the same options."""
    best = planned(capsys, "gpt-oss-120b", "--format", "mxfp4", *BOX, "--goal", goal)["best"][0]
    program, _, flags = best["command"].partition(" ")
    said = read("llama.cpp", flags)
    assert program == "llama-server"
    assert (said.cpu_moe_blocks, said.microbatch, said.context, said.gpu_layers) == (
        best["n_cpu_moe"],
        best["microbatch"],
        8192,
        999,
    )
    assert (said.mmap, said.threads, said.flash_attention, said.op_offload) == (False, 24, True, op_offload)
    assert said.kv_formats == ((None, None) if best["kv_format"] == "f16" else ("q8_0", "q8_0"))
    assert flags.startswith("-m YOUR.gguf ")  # a bundled model is no file
    run = simmoe.run(
        gpu="rtx_3090", host="ddr5_6000_2ch", model="gpt-oss-120b", format="mxfp4", runtime="llama_cpp_cuda", prompt=4096,
        generate=16, flags=flags.removeprefix("-m YOUR.gguf "), eviction="everything",
    )  # fmt: skip
    assert run.tok_s == pytest.approx(best["decode_tok_s"]["value"], rel=1e-3)
    assert run.prompt_tok_s == pytest.approx(best["prompt_tok_s"]["value"], rel=5e-3)


@pytest.mark.slow
def test_prompts_in_passes_are_played_by_the_one_in_the_middle(capsys):
    found = planned(capsys, "gpt-oss-20b", "--format", "MXFP4_MOE", *BOX, "--goal", "decode")
    best = next(one for one in found["best"] if one["microbatch"] == 512)
    run = simmoe.run(
        gpu="rtx_3090", host="ddr5_6000_2ch", model="gpt-oss-20b", format="MXFP4_MOE", runtime="llama_cpp_cuda", prompt=4096, generate=16,
        microbatch=512, context=8192, eviction="everything",
    )  # fmt: skip
    assert (best["n_cpu_moe"], best["host_left_bytes"] > 0) == (0, True)
    assert "-ncmoe" not in best["command"] and "-lm" not in best["command"]
    assert run.prompt_tok_s == pytest.approx(best["prompt_tok_s"]["value"], rel=0.01)
    assert run.tok_s == pytest.approx(best["decode_tok_s"]["value"], rel=1e-3)


@pytest.mark.slow
def test_what_would_help_is_played(capsys):
    """A host memory twice as fast is worth what --set says; the speeds are those of the changed machine."""
    words = ("gpt-oss-20b", "--format", "MXFP4_MOE", "--gpu", "rtx_3060", "--host", "ddr4_3200_2ch", "--goal", "decode")
    found = planned(capsys, *words)
    assert found["best"][0]["n_cpu_moe"] > 0
    gain = next(one for one in found["gains"] if one["what"] == "a CPU memory twice as fast")
    faster = planned(capsys, *words, "--set", "tiers.host_dram.peak_bandwidth=102.4GB/s")
    assert faster["best"][0]["n_cpu_moe"] == found["best"][0]["n_cpu_moe"]
    ratio = faster["best"][0]["decode_tok_s"]["value"] / found["best"][0]["decode_tok_s"]["value"]
    assert gain["decode"] == pytest.approx(ratio, rel=1e-6)
    assert gain["decode"] > 1.1


@pytest.mark.slow
def test_the_table_and_the_lines_to_paste(capsys):
    assert main(["plan", "gpt-oss-120b", "--format", "mxfp4", *BOX, "--context", "16k"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Simulated: gpt-oss-120b at mxfp4 on GeForce RTX 3090")
    assert "llama-server -m YOUR.gguf -ngl 999 -ncmoe 26 -lm none -c 16384 -b 4096 -ub 4096 -fa on -t 24\n" in out
    assert "llama-fit-params at the same -ub 4096 would leave the experts of the last 27 blocks to the CPU" in out
    assert '\n-c 16384 -ngl 37 -ot "blk\\.9\\.ffn' in out
    assert "a CPU memory twice as fast: decode +" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gpt-oss-20b", *BOX, "--goal", "fast"], "--goal fast: known: decode, prompt, both"),
        (["gpt-oss-20b", *BOX, "--runtime", "fiddler"], "none are known to it: `simmoe run --runtime fiddler` plays one choice\n"),
        (["gpt-oss-20b", *BOX, "--runtime", "mixtral_offloading"], "such as a size of its expert cache (--budget 8GB)"),
        (["gpt-oss-20b", *BOX, "--runtime", "ideal"], "the ideal runtime has none: name one, such as --runtime llama_cpp_cuda"),
        (["gpt-oss-20b", *BOX, "--context", "9"], "give 256 or more positions"),
        (["gpt-oss-120b", "--hw", "rtx_3090", "--format", "fp16"], "does not fit on"),
        (["qwen3-235b-a22b", *BOX], "does not fit on rtx_3090+ddr5_6000_2ch with --context 8,192: the experts of the CPU need"),
        (["gpt-oss-20b"], "--hw is missing"),
    ],
)  # fmt: skip
def test_one_line_says_why_not(capsys, words, message):
    assert main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_of_equals_the_one_that_leaves_more_memory():
    """Scores within 1 % are equal; beyond that the faster one counts."""
    score = {512: 1.009, 1024: 1.0, 2048: 1.02, 4096: 1.5}
    free = {512: 8, 1024: 4, 2048: 2, 4096: 1}
    setups = [Setup(size, 0, None, True) for size in score]
    search = SimpleNamespace(
        candidates=lambda: list(setups), score=lambda one: score[one.microbatch],
        space=SimpleNamespace(free=lambda one: free[one.microbatch]),
        beats=lambda one, other: (one.microbatch, other.microbatch) in beaten,
    )  # fmt: skip
    beaten: set[tuple[int, int]] = set()
    assert [one.microbatch for one in Search.best(search)] == [512, 1024, 2048]
    assert Search.ties(search, setups) == 2
    beaten |= {(1024, 512), (512, 2048)}  # a tie that the other one beats does not stand first
    assert [one.microbatch for one in Search.best(search)] == [1024, 2048, 4096]
    beaten.add((1024, 2048))
    assert [one.microbatch for one in Search.best(search)] == [1024, 4096]


def test_candidates_are_few_and_sensible():
    """For each number of blocks the largest pass (decode: the smallest); 8 bits and no op offload only where they place a block more."""
    scenario = Scenario("rtx_3090+ddr5_6000_2ch", model="gpt-oss-120b", format="mxfp4", runtime="llama_cpp_cuda")
    found = {goal: Search(scenario, goal, 8192).candidates() for goal in ("decode", "both")}
    assert Setup(2048, 25, None, True) in found["both"] and Setup(512, 25, None, True) in found["decode"]
    assert Setup(4096, 26, None, True) in found["both"]
    assert all(one.away < 25 for one in found["both"] if one.kv_format)
    for setups in found.values():
        assert len(setups) <= 6
        assert all(one.microbatch == 512 for one in setups if not one.op_offload)
    resident = Search(replace(scenario, model="gpt-oss-20b", format="MXFP4_MOE"), "both", 8192).candidates()
    assert resident == [Setup(size, 0, None, True) for size in (512, 1024, 2048, 4096)]


@pytest.mark.parametrize(
    ("hw", "runtime"),
    [("rtx_3090", "llama_cpp_cuda"), ("h200", "llama_cpp_cuda"), ("m3_ultra", "llama_cpp_metal"), ("strix_halo", "llama_cpp_rocm"),
     ("mi300x", "llama_cpp_rocm"), ("r9700", "llama_cpp_rocm"), ("phone_ufs4", "llama_cpp_cpu"), ("dgx_spark", "llama_cpp_cuda")],
)  # fmt: skip
def test_the_usual_runtime_of_a_machine(hw, runtime):
    assert usual_runtime(hardware_profiles.load(hw)) == runtime
