"""`simmoe trace cut`, `join` and `stats`, through the command line: against rows that are written out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.simulator.nouns.trace import Trace
from tests.conftest import make_trace

# Two prompts of two rows, then three passes of one row each: [[layer 0], [layer 1]]
ROWS = [
    [[0, 1], [4, 5]],
    [[1, 2], [5, 6]],
    [[2, 3], [6, 7]],
    [[3, 0], [7, 4]],
    [[0, 2], [4, 6]],
    [[1, 3], [5, 7]],
    [[0, 1], [4, 5]],
]


@pytest.fixture
def small(tmp_trace: Callable[..., Path]) -> Path:
    """Sequence 0: rows 0, 1, 4, 6; sequence 1: rows 2, 3, 5. Model layers 3 and 9."""
    made = make_trace([ROWS[:2], ROWS[2:4], [ROWS[4]], [ROWS[5]], [ROWS[6]]], 8, phase=[0, 0, 1, 1, 1])
    arrays = {name: getattr(made, name) for name in ("expert_ids", "pass_ptr", "phase", "meta")}
    sequence, position = np.array([0, 0, 1, 1, 0, 1, 0], np.int32), np.array([0, 1, 0, 1, 2, 2, 3], np.int32)
    gates = (np.arange(28).reshape(7, 2, 2) / 32).astype(np.float16)
    return tmp_trace(
        Trace(
            **arrays, layer_index=np.array([3, 9], np.int16), sequence=sequence, position=position, gate_weights=gates
        )
    )


def call(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    return said.out if not code else f"{code}: {said.err}"


def test_cut_keeps_what_all_options_name(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, rows, pointer, phase in (
        (("--rows", "1-4"), [1, 2, 3, 4], [0, 1, 3, 4], [0, 0, 1]),
        (("--rows", "0,5-6"), [0, 5, 6], [0, 1, 2, 3], [0, 1, 1]),
        (("--passes", "1-3"), [2, 3, 4, 5], [0, 2, 3, 4], [0, 1, 1]),
        (("--sequences", "1"), [2, 3, 5], [0, 2, 3], [0, 1]),
        (("--sequences", "0", "--passes", "0,4"), [0, 1, 6], [0, 2, 3], [0, 1]),
    ):  # fmt: skip
        call(capsys, "trace", "cut", small, *options, "--out", tmp_path / "o.npz", "--force")
        part = simmoe.load_trace(tmp_path / "o.npz")
        assert part.expert_ids.tolist() == [ROWS[i] for i in rows], options
        assert (part.pass_ptr.tolist(), part.phase.tolist()) == (pointer, phase), options
        assert part.gate_weights is not None and part.gate_weights[:, 0, 0].tolist() == [i * 4 / 32 for i in rows]
    assert part.meta["cut"] == {"sequences": "0-0", "passes": "0-0,4-4"}


def test_cut_of_layers(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "trace", "cut", small, "--layers", "5-9", "--out", tmp_path / "o.npz")
    part = simmoe.load_trace(tmp_path / "o.npz")
    assert part.expert_ids.tolist() == [row[1:] for row in ROWS] and part.layer_index.tolist() == [9]
    assert part.gate_weights is not None and part.gate_weights[2].tolist() == [[10 / 32, 11 / 32]]


def test_join_puts_one_behind_the_other(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for which in ("0-1", "2-4"):
        call(capsys, "trace", "cut", small, "--passes", which, "--out", tmp_path / f"{which}.npz")
    call(capsys, "trace", "join", tmp_path / "0-1.npz", tmp_path / "2-4.npz", "--out", tmp_path / "o.npz")
    both = simmoe.load_trace(tmp_path / "o.npz")
    assert both.expert_ids.tolist() == ROWS and both.pass_ptr.tolist() == [0, 2, 4, 5, 6, 7]
    assert both.sequence.tolist() == [0, 0, 1, 1, 2, 3, 2] and both.position.tolist() == [0, 1, 0, 1, 2, 2, 3]
    assert both.meta["joined"] == ["0-1", "2-4"] and both.gate_weights is not None


def test_refused_in_one_line(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", tmp_path / "o.npz")
    for words, line in (
        (("cut", small), "say what stays: --rows"),
        (("cut", small, "--rows", "9-5"), "--rows '9-5': '9-5' is no number and no rising range"),
        (("cut", small, "--layers", "4-8"), "--layers 4-8: the trace has none of them; they go from 3 to 9"),
        (("cut", small, "--rows", "0-1", "--sequences", "1"), "nothing is left of the trace"),
        (("join", small, "switch"), "switch has experts 24, trace 8"),
    ):  # fmt: skip
        said = call(capsys, "trace", *words, *out)
        assert said.startswith("2: simmoe: ") and line in said and said.count("\n") == 1, said
        assert not (tmp_path / "o.npz").exists()


def test_stats_of_rows_that_can_be_counted(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sequence 0 of layer 0: {0,1} {1,2} {0,2} {0,1}; sequence 1: {2,3} {3,0} {1,3}. Layer 1 is layer 0 + 4."""
    found = json.loads(call(capsys, "trace", "stats", small, "--json"))
    assert (found["tokens"], found["passes"], found["sequences"], found["moe_layers"]) == (7, 5, 2, 2)
    assert found["shortest, median, longest sequence"] == [3, 3.5, 4]
    assert found["share of prefill tokens"] == pytest.approx(4 / 7)
    assert (found["rows per prefill pass"], found["rows per decode pass"]) == (2, 1)
    assert (found["experts per layer of a prefill pass"], found["experts per layer of a decode pass"]) == (3, 2)
    assert found["reuse after 1 rows"] == pytest.approx(5 / 10)  # 1, 1, 1 of sequence 0; 1, 1 of sequence 1; of 2 each
    assert found["reuse after 2 rows"] == pytest.approx(3 / 6)  # 1, 1; 1
    assert found["reuse after 4 rows"] is None
    assert found["experts used"] == 0.5 and found["share of the hottest 1 experts"] == pytest.approx(4 / 14)
    assert found["share of an expert by chance"] == 0.25
    assert found["share by popularity alone"] == pytest.approx(50 / 98)  # loads 4, 4, 3, 3 of 7 rows: Σ n² / (7 Σ n)


def test_reuse_after_some_rows_against_a_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "trace", "cut", "switch-4x8-k2", "--rows", "0-599", "--out", tmp_path / "o.npz")
    trace = simmoe.load_trace(tmp_path / "o.npz")
    found = json.loads(call(capsys, "trace", "stats", tmp_path / "o.npz", "--json"))
    of = {
        int(s): [row for row, one in zip(trace.expert_ids.tolist(), trace.sequence) if one == s]
        for s in set(trace.sequence)
    }
    for distance in (1, 4, 16):
        pairs = [(a, b) for rows in of.values() for a, b in zip(rows, rows[distance:])]
        shares = [len(set(one) & set(other)) / 2 for a, b in pairs for one, other in zip(a, b)]
        assert found[f"reuse after {distance} rows"] == pytest.approx(np.mean(shares)), distance
