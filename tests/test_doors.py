"""What a newcomer's command meets at the door: notes that say what is true, runs that say how long they take, damaged files."""

from __future__ import annotations

import json

import pytest

import simmoe
from simmoe.cli.main import main


def played(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- a budget below what fits ---------------------------------------------------------------------------------------------


def test_a_budget_that_leaves_out_what_fits_is_not_what_llama_cpp_would_refuse(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two cards of 32 GB as one: 91.7 % was named by hand, and all that n_cpu_moe=3 leaves to the device fits."""
    words = ("run", "--hw", "rtx_5090", "--set", "tiers.gddr.capacity=64GiB", "--model", "gpt-oss-120b", "--format", "mxfp4",
             "--placement", "n_cpu_moe=3", "--context", "131072", "--prompt", "8", "--generate", "2")  # fmt: skip
    whole = played(capsys, *words)
    left, rest = whole["memory_bytes"]["experts"], whole["memory_bytes"]["dense"] + whole["memory_bytes"]["kv"]
    assert not any("llama.cpp would" in note for note in whole["notes"])
    notes = played(capsys, *words, "--budget", "91.7%")["notes"]
    hw = simmoe.load_hardware("rtx_5090")
    room = 64 * 2**30 - hw.reserved_bytes - rest
    said = f"The budget leaves {left * 0.083 / 1e9:.3g} GB of {left / 1e9:.3g} GB of experts out though {room / 1e9:.3g} GB would fit"
    assert any(note.startswith(said) for note in notes), notes
    assert not any("refuse" in note for note in notes)


def test_what_does_not_fit_is_still_what_llama_cpp_would_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run", "--hw", "rtx_5090", "--model", "gpt-oss-120b", "--format", "mxfp4", "--placement", "n_cpu_moe=3",
             "--prompt", "8", "--generate", "2", "--budget", "20GB")  # fmt: skip
    notes = played(capsys, *words)["notes"]
    assert any("that llama.cpp would refuse" in note for note in notes) and not any("would fit:" in n for n in notes)


# --- a speed that was seen, of a run without a trace -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_without_a_trace_is_played_again_beside_a_speed_that_was_seen(
    capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    words = ["run", "--hw", "rtx_3060", "--model", "olmoe-1b-7b", "--prompt", "16", "--generate", "4", "--depth", "64"]
    assert main([*words, "--seed", "3", "--budget", "25%", "--json"]) == 0
    (tmp_path / "run.json").write_text(text := capsys.readouterr().out)
    assert main(["calibrate", "--observed", f"tok_s={json.loads(text)['tok_s']}", str(tmp_path / "run.json")]) == 0
    assert "× 1 explain it" in capsys.readouterr().out
