"""What a newcomer's command meets at the door: notes that say what is true, runs that say how long they take, damaged files."""

from __future__ import annotations

import json
import re

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.play import extent
from simmoe.workloads import models


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


# --- runs that take long --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--generate", "8"], "run: 24 tokens in 9 passes, 16 layers × top-8, drawn 3 times, played 13 times: about"),
        (["run", "--generate", "8", "--json"], "run: 24 tokens in 9 passes, 16 layers × top-8, drawn 3 times, played 5 times: about"),
        (["run", "--generate", "8", "--batch", "3"], "run: 72 tokens in 11 passes, 16 layers × top-8, drawn 3 times"),
        (["compare", "--generate", "8", "--hw", "h100", "--eviction", "lfu"],
         "compare: 24 tokens in 9 passes, 16 layers × top-8, drawn once, played 2 times: about"),
    ],
)  # fmt: skip
def test_what_takes_long_is_said_before_it_begins(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [words[0], "--hw", "a100", "--model", "olmoe-1b-7b", "--prompt", "16", *words[1:]]
    assert main(command) == 0
    quick = capsys.readouterr()
    assert quick.err == ""
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    assert main(command) == 0
    slow = capsys.readouterr()
    assert slow.err.startswith(said) and slow.err.count("\n") == 1 and slow.out == quick.out


def test_a_ladder_says_how_often_it_plays(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extent, "LONG_S", 0.0)
    assert main(["run", "--hw", "a100", "--trace", "oracle-2x4", "--tokens", "200"]) == 0
    err = capsys.readouterr().err
    assert re.fullmatch(
        r"run: \d+ tokens in \d+ passes, 2 layers × top-1, played 11 times: about \d+ s of one core\n", err
    ), err


def test_what_cannot_fit_is_not_drawn_first(capsys: pytest.CaptureFixture[str]) -> None:
    """64 million tokens would be drawn for an hour; the cache of one sequence says it at once."""
    assert main(["run", "--hw", "a100", "--model", "oracle-moe-2x4", "--batch", "100000"]) == 2
    err = capsys.readouterr().err
    model, hw = models.load("oracle-moe-2x4"), simmoe.load_hardware("a100")
    one = 640 * model.kv_bytes_per_position
    room = hw.device_memory.capacity_bytes - hw.reserved_bytes - model.dense_bytes
    assert (
        err.count("\n") == 1
        and f"takes {100_000 * one / 1e12:.3g} TB" in err
        and f"{room // one:,} such sequences" in err
    )


@pytest.mark.parametrize(
    "words", [["--generate", "100000000"], ["--prompt", "1", "--generate", "1", "--batch", "2000000000"]]
)
def test_what_no_memory_holds_is_refused_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--hw", "a100", "--trace", "oracle-2x4", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "of memory to play, and this computer has" in err
