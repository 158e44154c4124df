"""What docs/results.md and the README claim."""

from __future__ import annotations

import re

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.simulator.time import compile as compiled
from tests.test_house import ROOT


@pytest.mark.skipif(compiled.missing(), reason="plays whole traces: needs numba (pip install 'simmoe[fast]')")
@pytest.mark.parametrize("hw", ["a100", "jetson_orin"])
def test_oracle_is_faster_than_switch_until_nearly_everything_is_resident(hw):
    oracle, switch = (simmoe.ladder(hw, trace) for trace in ("oracle", "switch"))
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    for rung, (one, other) in enumerate(zip(oracle.runs, switch.runs), start=1):
        assert one.tok_s > (other.tok_s if rung <= 6 else 0.99 * other.tok_s)
        assert f" {one.tok_s:,.1f} | {other.tok_s:,.1f} | {one.tok_s / other.tok_s:.2f} |" in page


def test_both_traces_play_the_same_text():
    oracle, switch = simmoe.load_trace("oracle"), simmoe.load_trace("switch")
    assert oracle.meta["text_tokens"] == switch.meta["text_tokens"]
    for name in ("pass_ptr", "phase", "sequence", "position", "layer_index"):
        assert (getattr(oracle, name) == getattr(switch, name)).all()
    assert (oracle.n_layers, oracle.n_experts, oracle.meta["router"]) == (9, 24, "oracle-ema")


def test_the_first_output_of_the_readme_is_what_its_command_prints(capsys, monkeypatch):
    readme = (ROOT / "README.md").read_text("utf-8")
    command = re.search(r"^python3 -m venv .* && \.venv/bin/simmoe (run .*)$", readme, re.M)[1]
    monkeypatch.setattr(compiled, "missing", lambda: True)  # that command installs no numba
    assert main(command.split()) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert re.search(r"^```text\n(.*?)^```$", readme, re.M | re.S)[1].splitlines() == lines


def test_the_readme_tells_the_figures_of_validation():
    readme, page = (" ".join((ROOT / name).read_text("utf-8").split()) for name in ("README.md", "docs/validation.md"))
    rows, error = re.search(
        r"whole runs: (\d+) predictions in \d+ cases, none of them fitted: mean \|error\| ([\d.]+)%", page
    ).groups()
    assert f"Over {rows} predictions of whole runs that nothing was fitted to, the mean error is {error} %" in readme
    assert f"; {re.search('([0-9]+ of [0-9]+) cases reach their bar', page)[1]} cases of" in readme
