"""Faults of 0.1.0 in how a run starts, each through the command line or the public API, with the value that is right."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main
from tests.machines import TWO


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


@pytest.mark.slow
def test_fault_03_a_model_that_fits_is_resident_before_the_run(capsys, routed):
    """gpt-oss-20b on a DGX Spark: nothing is read from flash, and prompt, tokens and band are those of a model that is loaded."""
    words = ("run", "--hw", "dgx_spark", "--trace", str(routed(24, 32, 4, 128)), "--model", "gpt-oss-20b", "--format", "mxfp4")  # fmt: skip
    run = played(capsys, *words, "--budget", "100%", "--band")
    bound = played(capsys, *words, "--eviction", "everything", "--band")
    assert run["bytes"] == run["misses"] == 0 and run["decode"]["hit_rate"] == 1
    assert run["decode_time_ps"]["waiting for experts"] == 0
    for same in ("tok_s", "ttft_s", "tpot_ms", "band", "total_ps"):
        assert run[same] == bound[same], same


@pytest.mark.slow
def test_fault_03_what_n_cpu_moe_leaves_to_the_device_is_resident_before_the_run(capsys, routed):
    """gpt-oss-120b on a RTX 3090: with more layers on the CPU it gets slower, and no byte crosses the link."""
    words = ("run", "--hw", "rtx_3090", "--trace", str(routed(36, 128, 4, 25)), "--model", "gpt-oss-120b", "--format", "mxfp4",
             "--budget", "18.8GB")  # fmt: skip
    runs = [played(capsys, *words, "--placement", f"n_cpu_moe={n}") for n in (25, 28, 36)]
    assert [run["bytes"] for run in runs] == [0, 0, 0]
    assert all(more["tok_s"] > less["tok_s"] for more, less in pairwise(runs))


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_fault_03_a_result_says_how_it_started(capsys):
    words = ("--hw", "a100", "--trace", "switch", "--tokens", "400")
    assert played(capsys, "run", *words, "--budget", "100%")["start"] == "warm"
    cold = played(capsys, "run", *words, "--budget", "100%", "--start", "cold")
    trace = simmoe.load_trace("switch").expert_ids
    asked = {(layer, e) for row in trace[:400] for layer, here in enumerate(row.tolist()) for e in here}
    assert (cold["start"], cold["cold_misses"]) == ("cold", len(asked))
    rows = played(capsys, "compare", *words, "--budget", "100%")["rows"]
    assert rows[0]["run"]["start"] == "warm" and rows[0]["run"]["cold_misses"] == 0


PAGED = ("run", "--hw", "rtx_4090_nvme", "--trace", "oracle-4x8", "--tokens", "300")
FULL_CACHE = "The page cache holds all experts that may be loaded, 302 MB, before the run, so nvme is not read"


def test_fault_03_the_rungs_of_a_ladder_and_the_bound_below_them_start_with_the_same_page_cache(capsys):
    """The bound `nothing` met a full page cache where every rung met an empty one: its first token was the sooner of the two."""
    words = (*PAGED, "--page-cache", "1GB", "--start", "cold")
    ladder, alone = played(capsys, *words), played(capsys, *words, "--eviction", "nothing")
    nothing, least = ladder["bounds"]["nothing"], ladder["rungs"][0]["run"]
    for same in ("tok_s", "ttft_s", "link_busy_ps", "total_ps"):
        assert nothing[same] == alone[same], same
    assert nothing["ttft_s"]["first"] >= least["ttft_s"]["first"] and nothing["tok_s"] < least["tok_s"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "words", "full"),
    [
        ("1GB", ("--budget", "25%"), True),
        ("1GB", ("--eviction", "nothing"), True),
        ("1GB", ("--budget", "25%", "--warm-up", "100"), True),
        ("1GB", ("--budget", "25%", "--start", "cold"), False),
        ("1GB", ("--budget", "25%", "--cold-per-sequence"), False),
        ("300MB", ("--budget", "25%"), False),
        ("1GB", ("--budget", "100%"), False),  # nothing is loaded
    ],
)
def test_fault_03_a_page_cache_that_is_full_before_the_run_is_named(capsys, size, words, full):
    """Such a run starts cold by its slots alone, and takes the time of a machine whose experts live in host memory."""
    run = played(capsys, *PAGED, "--page-cache", size, *words)
    notes = [note for note in run.get("notes", ()) if "page cache" in note]
    assert notes == [f"{FULL_CACHE}; with --start cold it starts empty"] * full
    host = played(capsys, *PAGED[:2], "rtx_4090", *PAGED[3:], *words)
    assert (run["total_ps"] == host["total_ps"]) == (full or "100%" in words)


@pytest.mark.slow
def test_fault_03_a_ladder_whose_page_cache_starts_empty_names_no_full_one(capsys):
    """On a device that does not hold all experts, so that its last rung loads too."""
    assert main([*PAGED, "--page-cache", "1GB", "--set", "tiers.gddr.capacity=1.5GB"]) == 0
    table = capsys.readouterr().out
    assert "device holds" in table and "100 % = device holds" not in table and FULL_CACHE not in " ".join(table.split())


def test_fault_03_a_page_cache_below_one_expert_is_refused(capsys):
    """It kept nothing, and the run was the same as without it, without a word."""
    assert main([*PAGED, "--budget", "25%", "--page-cache", "9444863B"]) == 2
    assert capsys.readouterr().err.startswith("simmoe: --page-cache 9444863B is below one expert, 9,444,864 B")
    assert played(capsys, *PAGED, "--budget", "25%", "--page-cache", "9444864B")["hits"] > 0
