"""Faults of storage formats, each by its number, through the public functions and the command alone.

No other module of the tests is imported, so that the file can be played on an older release.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import simmoe

GB = 10**9


def file_bytes(name: str, format: str) -> int:
    model = simmoe.load_model(name, format)
    return model.dense_bytes + model.all_expert_bytes


@pytest.mark.parametrize(
    "name, format, published",
    [
        ("gpt-oss-20b", "MXFP4_MOE", 11.27 * 2**30),  # llama-bench of github.com/ggml-org/llama.cpp/pull/16991
        ("qwen3-30b-a3b", "Q4_K_M", 18.6 * GB),  # prithivMLmods/Qwen3-Coder-30B-A3B-Instruct-GGUF
        ("olmoe-1b-7b", "Q5_K_M", 4.93 * GB),  # bartowski/OLMoE-1B-7B-0924-Instruct-GGUF
        ("olmoe-1b-7b", "Q3_K_M", 3.34 * GB),
        ("olmoe-1b-7b", "Q2_K", 2.56 * GB),
        ("deepseek-v2-lite", "Q4_0", 8.91 * GB),  # second-state/DeepSeek-V2-Lite-Chat-GGUF
        ("mixtral-8x7b", "IQ2_XXS", 12.6 * GB),  # mradermacher/Mixtral-8x7b-v0.1-sft-i1-GGUF
        ("qwen3-30b-a3b", "nvfp4", 18.1 * GB),
        ("mixtral-8x7b", "awq", 24.65 * GB),  # TheBloke/mixtral-8x7b-v0.1-AWQ
    ],
)
def test_fault_13_a_format_by_its_name_has_the_size_of_the_published_file(name: str, format: str, published: float):
    assert file_bytes(name, format) == pytest.approx(published, rel=0.01)


def test_fault_13_rows_that_do_not_fit_a_block_take_a_larger_type():
    """The experts of DeepSeek-V2-Lite have rows of 1,408 weights: mradermacher's Q6_K has 14.1 GB, pure blocks would make 12.9."""
    assert file_bytes("deepseek-v2-lite", "q6_k") == pytest.approx(14.1 * GB, rel=0.01)


@pytest.mark.slow
def test_fault_13_the_kv_cache_has_a_format_of_its_own():
    words = [
        "run",
        "--hw",
        "a100",
        "--trace",
        "oracle",
        "--budget",
        "50%",
        "--tokens",
        "64",
        "--engine",
        "plain",
        "--json",
    ]
    kv = {}
    for format in ("f16", "q8_0"):
        answer = subprocess.run(
            [sys.executable, "-m", "simmoe", *words, "--kv-format", format], capture_output=True, text=True
        )
        assert answer.returncode == 0, answer.stderr
        kv[format] = json.loads(answer.stdout)["memory_bytes"]["kv"]
    assert kv["q8_0"] * 64 == kv["f16"] * 34
