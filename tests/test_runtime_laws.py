"""Laws of an engine: kernels of what stands in place of attention, buffers of a pass, the law of each pass in every executor."""

from __future__ import annotations

import json

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.policies import runtime as runtimes
from simmoe.simulator.runtime_costs import RuntimeCosts
from tests.conftest import COMPILED
from tests.test_runtime import RTX, box, content, number


def costs_of(model: str, kernels: dict[str, int]) -> RuntimeCosts:
    """Of one decoded token on 10 processors at 1 GHz, where a kernel of 1 us at 2 GHz takes 2."""
    scenario = simmoe.Scenario(hw="h200", model=model, format="Q4_K_M", prompt=0, generate=1, routing="uniform")
    workload = scenario.workload()
    data = content(kernels=kernels, decode={"kernel": number("1 us"), "memory": number(0.5)})
    return RuntimeCosts(box(workload.hw), workload.model, workload.trace, runtimes.runtime(data, "round.yaml"))


@pytest.mark.parametrize(
    ("model", "kernels", "launches"),
    [
        # 36 of 48 layers have a delta rule, the other 12 attention; all have experts, shared ones, and their gate
        ("qwen3-next-80b-a3b", {"delta_net": 7}, 36 * 7),
        ("qwen3-next-80b-a3b", {"attention": 5}, 12 * 5),
        ("qwen3-next-80b-a3b", {"attention": 5, "qk_norm": 2, "output_gate": 1}, 12 * 8),
        ("deepseek-v3", {"latent": 9, "query_lora": 4, "attention": 5}, 61 * 13),
        ("deepseek-v3", {"latent": 9, "experts": 6, "ffn": 3, "end": 2}, 61 * 9 + 58 * 6 + 3 * 3 + 2),
    ],
)
def test_each_layer_pays_the_kernels_of_what_stands_in_place_of_attention(model, kernels, launches):
    costs = costs_of(model, kernels)
    assert costs.fixed_ps(costs.sizes[0]) == pytest.approx(launches * 2_000_000, abs=len(costs.model.layers))
    dense = [int(one.dense_ps.sum()) for one in (costs, costs_of(model, {}))]
    paid = launches - 58 * kernels.get("experts", 0)  # those of experts are no part of the dense launches
    assert dense[0] - dense[1] == pytest.approx(paid * 2_000_000, abs=100)


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "buffer"), [(512, 398.38), (2048, 4 * 398.38)])
def test_the_buffers_of_a_run_are_those_of_its_largest_pass(capsys, tokens, buffer):
    """llama.cpp prints 398.38 MiB for gpt-oss-20b and 512 tokens, which are its logits: as many times more for more tokens. 512 MiB are
    what the driver keeps beside."""
    words = [
        "--gpu",
        "rtx_3090",
        "--host",
        "ddr4_3200_2ch",
        "--model",
        "gpt-oss-20b",
        "--format",
        "mxfp4",
        "--runtime",
        "llama_cpp_cuda",
    ]
    assert main(["run", *words, "--prompt", str(tokens), "--generate", "1", "--flags", f"-ub {tokens}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["memory_bytes"]
    assert found["buffers"] / 2**20 == pytest.approx(buffer + 512, rel=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", pytest.param("fast", marks=COMPILED)])
def test_a_prompt_is_timed_by_its_own_law_in_every_executor(capsys, name):
    """A pass of 512 tokens gives an expert 32 rows, one of 64 tokens four, which are two laws of one run: the oracle plays both."""
    words = [
        "run",
        *RTX,
        "--runtime",
        "llama_cpp_cuda",
        "--placement",
        "n_cpu_moe=20",
        "--prompt",
        "576",
        "--generate",
        "2",
    ]
    found = []
    for engine in ("simpy", name):
        assert main([*words, "--prefill-chunk", "512", "--engine", engine, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["ttft_s"] == found[1]["ttft_s"] and found[0]["tok_s"] == found[1]["tok_s"]
    assert [one["engine"] for one in found] == ["simpy", name]


def test_experts_beside_a_gpu_are_read_no_faster_than_their_threads_were_measured():
    """60 GB/s with all threads, 5 GB/s with one: two take in 10, twenty are held by the memory."""
    both = ["units.cpu.quantised_bandwidth=60GB/s", "units.cpu.thread_bandwidth=5GB/s"]

    def rate(threads, changes):
        scenario = simmoe.Scenario(
            "rtx_3090+ddr4_3200_2ch", set=changes, model="gpt-oss-20b", format="MXFP4_MOE", runtime="llama_cpp_cuda",
            threads=threads, placement="n_cpu_moe=24", prompt=1, generate=1, routing="uniform",
        )  # fmt: skip
        return scenario.workload().costs.cpu.rate * 1000

    assert [rate(threads, both) for threads in (2, 8, 20)] == [10e9, 40e9, 60e9]
    assert rate(2, both[:1]) == 60e9
