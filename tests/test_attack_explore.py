"""Options that were dropped, and sentences that misled: of low copies, the usual runtime, and what `require` looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from simmoe.cli.main import main
from simmoe.workloads.format.trace import names

pytestmark = pytest.mark.skipif("oracle-4x8" not in names(), reason="the bundled traces are not made yet")
SMALL = ("--hw", "jetson_orin", "--trace", "oracle-4x8", "--tokens", "256")
HOBBIT = ("run", *SMALL, "--miss", "hobbit", "--budget")
SPACE = """schema: 1
name: low
trace: oracle-4x8
tokens: 256
hw: jetson_orin
budget: [25%, 50%]
miss: [fetch, hobbit]
low_format: [Q2_K, Q4_0]
low_budget: [20%, 10MB]
objectives: {tok_s: maximize, memory_bytes: minimize}
"""


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("looked_for", ["budget", "memory"])
@pytest.mark.parametrize("stated", [("--budget", "25%"), ("--memory", "400MB")])
def test_a_size_beside_the_one_that_is_looked_for_is_not_dropped(looked_for, stated, capsys):
    said = refused(capsys, "require", *SMALL, "--tok-s", "300", "--least", looked_for, *stated)
    assert f"--least {looked_for} beside {stated[0]}" in said and f"leave {stated[0]} out" in said


def test_a_budget_beside_a_figure_that_is_looked_for_is_played(capsys):
    assert main(["require", *SMALL, "--tok-s", "300", "--least", "link.bandwidth", "--budget", "25%"]) == 0
    assert "--budget 25%" in capsys.readouterr().out


@pytest.mark.parametrize("pool", ["100%", "99GB", "95%"])
def test_a_pool_that_leaves_no_slot_is_what_the_message_is_about(pool, capsys):
    said = refused(capsys, *HOBBIT, "25%", "--low-budget", pool)
    assert f"--low-budget {pool}" in said and "75,558,912 B for experts" in said and "lower --low-budget" in said
    assert "raise --budget" not in said  # no budget is enough for a pool of all of it


def test_a_warm_start_beside_a_pool_has_no_budget_to_offer(capsys):
    """All experts never fit beside a pool of the same budget, whatever the budget."""
    for budget in ("25%", "302235648B"):
        said = refused(capsys, *HOBBIT, budget, "--low-budget", "20%", "--start", "warm")
        assert "--low-budget 20%" in said and "would fit" not in said


def test_a_sweep_tells_of_all_its_low_copies_and_of_no_slots(tmp_path: Path, capsys):
    space = tmp_path / "low.yaml"
    space.write_text(SPACE)
    assert main(["sweep", str(space), "--sampler", "grid"]) == 0
    said = capsys.readouterr().out
    for low_format in ("Q2_K", "Q4_0"):
        for room in ("20%", "10 MB"):
            assert f"Low copies in {low_format}, " in said and f"stay in a pool, {room} of the budget" in said
    assert "forgotten" not in said and "--slots" not in said


def test_the_usual_runtime_is_not_said_to_be_unknown(capsys):
    said = refused(capsys, "runtime", "show", "usual")
    assert "unknown" not in said and "llama_cpp_metal" in said and "llama_cpp_cuda" in said


@pytest.mark.slow
def test_a_kept_run_of_the_usual_runtime_knows_its_constants(tmp_path: Path, capsys):
    """Where they are others than when it was kept, the run is not played as if it were the same."""
    kept = tmp_path / "usual.yaml"
    model = ("--model", "qwen3-30b-a3b", "--format", "Q4_K_M", "--generate", "4")
    assert main(["run", "--hw", "rtx_3090", *model, "--runtime", "usual", "--save", str(kept)]) == 0
    first = capsys.readouterr().out
    assert main(["run", str(kept)]) == 0
    assert capsys.readouterr().out == first
    text = kept.read_text()
    digest = text.partition("  runtime: ")[2].split()[0]
    kept.write_text(text.replace(digest, "0" * 63 + "a"))
    assert "runtime usual is not what it was" in refused(capsys, "run", str(kept))


def test_another_study_is_named_with_no_option_that_the_command_lacks(tmp_path: Path, capsys):
    optuna = pytest.importorskip("optuna")
    where = f"sqlite:///{tmp_path}/other.db"
    optuna.create_study(storage=where, study_name="other")
    said = refused(capsys, "report", where, "--out", str(tmp_path / "page.html"))
    assert "that simmoe did not make; name another study" in said and "--study" not in said
