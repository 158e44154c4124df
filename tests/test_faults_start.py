"""Faults of 0.1.0 in how a run starts, each through the command line or the public API, with the value that is right."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main


def played(capsys, *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def routed(tmp_path):
    """Writes a trace of 32 prompt and so many decoded tokens, routed at random, one sequence."""

    def write(layers: int, experts: int, top_k: int, decoded: int) -> Path:
        rng, tokens = np.random.default_rng(0), 32 + decoded
        ids = np.array([[rng.permutation(experts)[:top_k] for _ in range(layers)] for _ in range(tokens)], np.int16)
        np.savez(
            tmp_path / "t.npz", expert_ids=ids, layer_index=np.arange(layers, dtype=np.int16),
            pass_ptr=np.array([0, *range(32, tokens + 1)]), phase=np.array([0] + [1] * decoded, np.int8),
            sequence=np.zeros(tokens, np.int32), position=np.arange(tokens, dtype=np.int32),
            meta=np.array(json.dumps({"schema_version": 1, "n_experts": experts, "top_k": top_k})),
        )  # fmt: skip
        return tmp_path / "t.npz"

    return write


def test_fault_03_a_model_that_fits_is_resident_before_the_run(capsys, routed):
    """gpt-oss-20b on a DGX Spark: nothing is read from flash, and prompt, tokens and band are those of a model that is loaded."""
    words = ("run", "--hw", "dgx_spark", "--trace", str(routed(24, 32, 4, 128)), "--model", "gpt-oss-20b", "--format", "mxfp4")  # fmt: skip
    run = played(capsys, *words, "--budget", "100%", "--band")
    bound = played(capsys, *words, "--eviction", "everything", "--band")
    assert run["bytes"] == run["misses"] == 0 and run["decode"]["hit_rate"] == 1
    assert run["decode_time_ps"]["waiting for experts"] == 0
    for same in ("tok_s", "ttft_s", "tpot_ms", "band", "total_ps"):
        assert run[same] == bound[same], same


def test_fault_03_what_n_cpu_moe_leaves_to_the_device_is_resident_before_the_run(capsys, routed):
    """gpt-oss-120b on a RTX 3090: with more layers on the CPU it gets slower, and no byte crosses the link."""
    words = ("run", "--hw", "rtx_3090", "--trace", str(routed(36, 128, 4, 25)), "--model", "gpt-oss-120b", "--format", "mxfp4",
             "--budget", "18.8GB")  # fmt: skip
    runs = [played(capsys, *words, "--placement", f"n_cpu_moe={n}") for n in (25, 28, 36)]
    assert [run["bytes"] for run in runs] == [0, 0, 0]
    assert all(more["tok_s"] > less["tok_s"] for more, less in pairwise(runs))


def test_fault_03_the_rows_of_a_ladder_start_alike(capsys):
    """Behind one warm-up, the row with all experts misses only what no earlier pass asked for; it is as fast as the bound."""
    ladder = played(capsys, "run", "--hw", "a100", "--trace", "switch", "--tokens", "2000")
    trace = simmoe.load_trace("switch")
    passes = int(np.searchsorted(trace.pass_ptr, 2000, side="right")) - 1
    decode = np.flatnonzero(trace.phase[:passes] == 1)
    cut = int(
        trace.pass_ptr[max(passes // 10, int(decode[63]) + 1)]
    )  # a tenth of the passes, and 64 decode passes at least
    met = {(layer, e) for row in trace.expert_ids[:cut] for layer, here in enumerate(row.tolist()) for e in here}
    later = trace.expert_ids[cut : int(trace.pass_ptr[passes])]
    new = {(layer, e) for row in later for layer, here in enumerate(row.tolist()) for e in here} - met - {(0, -1)}
    whole = ladder["rungs"][-1]["run"]
    assert whole["misses"] == len(new) and whole["start"] == f"warm-up of {cut} tokens"
    assert {row["run"]["start"] for row in ladder["rungs"]} == {whole["start"]}
    assert whole["tok_s"] == pytest.approx(ladder["bounds"]["everything"]["tok_s"], rel=0.01)
    assert ladder["bounds"]["everything"]["decode"]["tokens"] == whole["decode"]["tokens"]


def test_fault_03_a_clock_driven_run_and_one_over_two_devices_start_full_too(capsys, tmp_path):
    two = tmp_path / "two.yaml"
    two.write_text(TWO)
    words = ("run", "--trace", "switch", "--tokens", "400", "--budget", "100%")
    for more in (
        ("--hw", "a100", "--schedule", "continuous"),
        ("--hw", str(two), "--timeline", "distributed", "--placement", "layer_split=1/1"),
    ):
        run = played(capsys, *words, *more)
        assert (run["misses"], run["bytes"]) == (0, 0)


def test_fault_03_a_page_cache_that_holds_all_experts_is_full_before_the_run(capsys):
    """No load reads the store: the run is as long as on the machine whose experts live in host memory."""
    words = ("run", "--trace", "switch", "--tokens", "400", "--budget", "25%")
    stored = played(capsys, *words, "--hw", "rtx_4090_nvme", "--page-cache", "4GB")
    assert stored["total_ps"] == played(capsys, *words, "--hw", "rtx_4090")["total_ps"]


def test_fault_03_a_result_says_how_it_started(capsys):
    words = ("--hw", "a100", "--trace", "switch", "--tokens", "400")
    assert played(capsys, "run", *words, "--budget", "100%")["start"] == "warm"
    cold = played(capsys, "run", *words, "--budget", "100%", "--start", "cold")
    trace = simmoe.load_trace("switch").expert_ids
    asked = {(layer, e) for row in trace[:400] for layer, here in enumerate(row.tolist()) for e in here}
    assert (cold["start"], cold["cold_misses"]) == ("cold", len(asked))
    rows = played(capsys, "compare", *words, "--budget", "100%")["rows"]
    assert rows[0]["run"]["start"] == "warm" and rows[0]["run"]["cold_misses"] == 0


TWO = """
extends: a100
name: two
title: an a100 and a slower card
tiers:
  slow: {capacity: {value: 24 GiB, kind: nominal, source: test}, bandwidth: {value: 400 GB/s, kind: nominal, source: test}}
units:
  gpu1:
    memory: slow
    bandwidth: {value: 400 GB/s, kind: nominal, source: test}
    launch: {value: 4 us, kind: assumed, source: test}
    flops: {fp16: {value: 50 TFLOP/s, kind: assumed, source: test}}
links:
  gpu1:
    from: host_dram
    to: slow
    bandwidth: {value: 12 GB/s, kind: nominal, source: test}
    latency: {value: 8 us, kind: assumed, source: test}
devices: [gpu, gpu1]
fabric: {bandwidth: {value: 20 GB/s, kind: nominal, source: test}, latency: {value: 5 us, kind: assumed, source: test}}
"""
