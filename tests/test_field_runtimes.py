"""Boxes of users whose speeds are known and nothing was fitted on: each lies inside the range that a run prints.

facts of two reports: a 32 GB card that reads GLM-4.5-Air with all experts in host memory, and an RTX 2080 beside a Core i9-10900X.
"""

from __future__ import annotations

import json

import pytest

from simmoe.cli.main import main


def played(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["run", *words, "--runtime", "llama_cpp_cuda", "--routing", "uniform", "--json"]) == 0
    found: dict = json.loads(capsys.readouterr().out)
    return found


GLM = (
    "--gpu", "rtx_5090", "--host", "ddr5_6000_2ch", "--set", "tiers.host_dram.capacity=128GB", "--model", "glm-4.5-air",
    "--format", "Q4_K_M", "--generate", "1",
)  # fmt: skip
RTX_2080 = ("--gpu", "rtx_2080", "--host", "ddr4_2933_4ch", "--generate", "8", "--format", "Q4_K_M")


@pytest.mark.slow
@pytest.mark.parametrize(("microbatch", "measured"), [(512, 175), (2048, 535)])
def test_fault_02_a_prompt_with_all_experts_in_host_memory_reads_as_fast_as_measured(microbatch, measured, capsys):
    """0.1.0: 80 tok/s for both sizes of pass. Weights are memory-mapped, so one core copies them into the driver's buffers."""
    flags = ("--prompt", str(microbatch), "--flags", f"-ngl 99 --n-cpu-moe 99 -b {microbatch} -ub {microbatch}")
    found = played(capsys, *GLM, *flags)
    low, high = found["band"]["prompt"]
    assert low < measured < high
    assert found["prompt_tok_s"] == pytest.approx(measured, rel=0.2)


@pytest.mark.slow
def test_fault_02_a_pass_of_four_times_the_tokens_reads_three_times_as_fast_and_pinned_weights_faster_still(capsys):
    few, many, pinned = (
        played(capsys, *GLM, "--prompt", "2048", "--flags", f"-ngl 99 --n-cpu-moe 99 -b 2048 -ub {ub}{more}")[
            "prompt_tok_s"
        ]
        for ub, more in ((512, ""), (2048, ""), (2048, " --no-mmap"))
    )
    assert 2.5 < many / few < 4 and 1.5 < pinned / many < 3


@pytest.mark.slow
@pytest.mark.parametrize(("model", "blocks", "measured"), [("qwen3-30b-a3b", 36, 36.7), ("deepseek-v2-lite", 16, 49.6)])
def test_fault_07_experts_on_the_cpu_beside_an_rtx_2080_decode_as_fast_as_measured(model, blocks, measured, capsys):
    """0.1.0: 81 and 138.5 tok/s."""
    found = played(capsys, *RTX_2080, "--model", model, "--flags", f"-ngl 99 --n-cpu-moe {blocks}")
    low, high = found["band"]["hardware"]
    assert low < measured < high
    assert found["tok_s"] == pytest.approx(measured, rel=0.2)
