"""What the README claims of the bundled traces."""

from __future__ import annotations

import pytest

import simmoe
from simmoe.simulator.time import compile as compiled
from tests.test_house import ROOT


@pytest.mark.skipif(compiled.missing(), reason="plays whole traces: needs numba (pip install 'simmoe[fast]')")
@pytest.mark.parametrize("hw", ["a100", "jetson_orin"])
def test_oracle_is_faster_than_switch_until_nearly_everything_is_resident(hw):
    oracle, switch = (simmoe.ladder(hw, trace) for trace in ("oracle", "switch"))
    readme = (ROOT / "README.md").read_text()
    for rung, (one, other) in enumerate(zip(oracle.runs, switch.runs), start=1):
        assert one.tok_s > (other.tok_s if rung <= 6 else 0.99 * other.tok_s)
        assert f" {one.tok_s:,.1f} | {other.tok_s:,.1f} | {one.tok_s / other.tok_s:.2f} |" in readme


def test_both_traces_play_the_same_text():
    oracle, switch = simmoe.load_trace("oracle"), simmoe.load_trace("switch")
    assert oracle.meta["text_tokens"] == switch.meta["text_tokens"]
    for name in ("pass_ptr", "phase", "sequence", "position", "layer_index"):
        assert (getattr(oracle, name) == getattr(switch, name)).all()
    assert (oracle.n_layers, oracle.n_experts, oracle.meta["router"]) == (9, 24, "oracle-ema")
