"""Engines beside llama.cpp: weights that every pass takes over the link, experts on the CPU of a Python engine, a phone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from simmoe.cli.main import main
from simmoe.hardware_profiles import load
from simmoe.workloads import models

BOX = ("--gpu", "rtx_3090", "--host", "ddr4_3200_2ch")
MODEL = ("--model", "qwen3-30b-a3b", "--format", "awq", "--routing", "uniform")
DECODE = ("--prompt", "1", "--generate", "2")


def played(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["run", *words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], line: str, *words: str) -> None:
    assert main(["run", *words]) == 2
    said = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("run: ")]  # what it will take
    assert len(said) == 1 and re.search(line, said[0]), said


def test_vllm_takes_its_layers_and_its_bytes_by_hand(capsys):
    found = played(capsys, *BOX, *MODEL, *DECODE, "--depth", "2048", "--runtime", "vllm")
    model = models.load("qwen3-30b-a3b", "awq")
    cache = 48 * 2 * 4 * 128 * 2 * 2049  # keys and values of 4 heads of 128, 2 bytes, behind one token of the prompt
    read = model.head.bytes + cache + sum(one.attention.bytes + 8 * one.expert.bytes for one in model.layers)
    assert found["tok_s"] == pytest.approx(1 / (48 * 70e-6 + read / (0.8 * 936e9)), rel=1e-3)


@pytest.mark.parametrize(("gigabytes", "layers"), [(1, 3), (4, 13), (8, 27)])
def test_what_vllm_offloads_is_touched_over_the_link_in_every_pass(gigabytes, layers, capsys):
    words = (*BOX, *MODEL, *DECODE, "--depth", "2048", "--runtime", "vllm")
    resident, found = played(capsys, *words), played(capsys, *words, "--flags", f"--cpu-offload-gb {gigabytes}")
    model, link = models.load("qwen3-30b-a3b", "awq"), load("rtx_3090+ddr4_3200_2ch").link
    layer = model.layers[0]
    whole = layer.attention.bytes + layer.expert_bytes
    assert abs(layers * whole - gigabytes * 2**30) <= whole / 2  # the nearest number of whole layers
    assert found["scenario"]["gpu_layers"] == 48 + 1 - layers
    crossed = layers * (layer.attention.bytes + 8 * layer.expert.bytes)
    more = 1 / found["tok_s"] - 1 / resident["tok_s"]
    assert more == pytest.approx(crossed / link.bytes_per_s + layers * link.latency_ps / 1e12, rel=0.02)
    held = found["other_memory_bytes"]["host_dram"]
    assert held["experts of the CPU"] == layers * layer.expert_bytes and "KV" not in held  # which the GPU keeps
    assert found["memory_bytes"]["kv"] == 48 * 2 * 4 * 128 * 2 * 2051  # of 2,048, 1 and 2 tokens


def test_a_prompt_too_takes_what_is_offloaded_over_the_link(capsys):
    words = (*BOX, *MODEL, "--prompt", "512", "--generate", "1", "--runtime", "vllm")
    resident, found = played(capsys, *words), played(capsys, *words, "--flags", "--cpu-offload-gb 8")
    layer, link = models.load("qwen3-30b-a3b", "awq").layers[0], load("rtx_3090+ddr4_3200_2ch").link
    more = 512 / found["prompt_tok_s"] - 512 / resident["prompt_tok_s"]
    assert more == pytest.approx(
        27 * (layer.attention.bytes + layer.expert_bytes) / link.bytes_per_s, rel=0.02
    )  # all experts


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--runtime", "sglang", "--flags", "--cpu-offload-gb 4"), "cpu offload bytes is not simulated under this runtime"),
        (("--runtime", "vllm", "--op-offload", "none", "--placement", "n_cpu_moe=4"), "vllm computes nothing on the CPU"),
        (("--runtime", "big_moe_on_edge"), "computes on the CPU alone, and rtx_3090"),
    ],
)  # fmt: skip
def test_what_these_engines_do_not_do_is_refused(words, line, capsys):
    refused(capsys, line, *BOX, *MODEL, *DECODE, *words)


def test_fiddler_reads_what_is_missing_at_the_share_of_the_hosts_memory(capsys):
    words = ("--gpu", "rtx_6000_ada", "--host", "ddr5_4800_8ch", "--set", "tiers.host_dram.capacity=512GiB", "--set")
    words = (
        *words,
        "tiers.gddr.capacity=100GiB",
        "--model",
        "mixtral-8x7b",
        "--format",
        "fp16",
        "--routing",
        "uniform",
        *DECODE,
    )
    fast, slow = (
        played(capsys, *words, "--runtime", "fiddler", *more) for more in ((), ("--placement", "n_cpu_moe=32"))
    )
    experts, dense = 32 * 2 * models.load("mixtral-8x7b", "fp16").layers[0].expert.bytes, 0.8 * 960e9
    more = 1 / slow["tok_s"] - 1 / fast["tok_s"]
    assert more == pytest.approx(experts / (0.36 * 307.2e9) + 32 * 200e-6 - experts / dense, rel=0.02)


def test_a_phone_streams_experts_from_its_flash_and_reads_at_its_share(capsys):
    words = (
        "--hw",
        "phone_ufs4",
        "--model",
        "olmoe-1b-7b",
        "--format",
        "Q4_K_M",
        *DECODE,
        "--runtime",
        "big_moe_on_edge",
    )
    every = played(capsys, *words, "--routing", "uniform", "--set", "tiers.dram.capacity=24GiB")
    model = models.load("olmoe-1b-7b", "Q4_K_M")
    read = model.head.bytes + sum(
        one.attention.bytes + one.ffn.bytes + one.shared.bytes + model.top_k * one.expert.bytes for one in model.layers
    )
    assert every["tok_s"] == pytest.approx(1 / (16 * 100e-6 + read / (0.19 * 85.3e9)), rel=0.01)
    none = played(capsys, *words, "--routing", "uniform", "--eviction", "nothing")
    loaded = 16 * model.top_k * model.layers[0].expert.bytes / 2.579e9
    assert 1 / none["tok_s"] > loaded and none["decode"]["misses"] == 2 * 16 * model.top_k
