"""What no recording holds is said at import and by `trace check`: stuck, blank, copied, dummy and shuffled files. Commands only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main

LAYERS, K, EXPERTS, ROWS, PROMPT = 12, 2, 16, 64, 24


def moving(rows: int = ROWS, k: int = K) -> np.ndarray[Any, Any]:
    """Rows that share experts with the row before: one expert of each layer moves at a time."""
    draw = np.random.default_rng(3)
    ids = np.array([draw.permutation(EXPERTS)[:k] for _ in range(LAYERS)])
    found = []
    for _ in range(rows):
        for layer in range(LAYERS):
            free = np.setdiff1d(np.arange(EXPERTS), ids[layer])
            ids[layer, draw.integers(k)] = draw.choice(free)
        found.append(ids.copy())
    return np.array(found, np.int16)


def stuck(phase: str) -> np.ndarray[Any, Any]:
    rows = moving()
    if phase in ("decode", "both"):
        rows[PROMPT:] = rows[PROMPT]
    if phase in ("prompt", "both"):
        rows[:PROMPT] = rows[0]
    return rows


def dummy_between() -> np.ndarray[Any, Any]:
    """Every second decode pass is the same one, which a rank runs that has no work."""
    rows = moving()
    rows[PROMPT::2] = moving(1)[0, ::-1]
    return rows


def with_rows(rows: np.ndarray[Any, Any], at: slice, value: Any) -> np.ndarray[Any, Any]:
    rows[at] = value
    return rows


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    assert not said.err, said.err
    return code, said.out


def written(path: Path, rows: np.ndarray[Any, Any]) -> Path:
    """As an npz of sequences: a file of another program."""
    phase = np.array([0] * PROMPT + [1] * (len(rows) - PROMPT), np.int8)
    np.savez(path, expert_ids=rows, n_experts=np.int32(EXPERTS), seq_start=np.array([0]), phase=phase)
    return path


FAULTS = {
    "stuck decode": (stuck("decode"), "39 decode passes on end repeat the same experts in every layer (sequence 0, from token 25)"),
    "stuck prompt": (stuck("prompt"), "23 prompt rows on end repeat the same experts in every layer"),
    "blank": (with_rows(moving(k=1), slice(PROMPT), 0), "all 24 prompt rows name one expert in every layer (expert 0, from token 0)"),
    "copied": (np.repeat(moving()[:, :1], LAYERS, 1), "layers all 12: the same experts for every token, slot by slot"),
    "one layer copied": (with_rows(moving().swapaxes(0, 1), slice(3, 4), moving()[:, 7]).swapaxes(0, 1), "layers 3, 7: the same experts"),
    "dummy": (with_rows(moving(), slice(30, 31), [0, 1]), "1 of 64 rows name the same 2 experts in every layer (from token 30,"),
    "dummy between": (dummy_between(), "one row comes 20 times in sequence 0, the same experts in every layer (first as token 24)"),
    "shuffled": (np.random.default_rng(1).permutation(moving(400)), "the rows are in no order, as if shuffled"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_16_no_recording_holds_it(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, line = FAULTS[name]
    file, out = written(tmp_path / "r.npz", rows), tmp_path / "out.npz"
    for words in (("trace", "import", file, "--out", out), ("trace", "check", file), ("trace", "check", out)):
        code, shown = call(capsys, *words)
        assert code == 1 and shown.count("not plausible:") == 1 and line in shown, (words, shown)


def test_fault_16_both_phases_are_stuck(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = call(capsys, "trace", "check", written(tmp_path / "r.npz", stuck("both")))
    assert code == 1 and shown.count("not plausible:") == 2
    assert "23 prompt rows on end" in shown and "39 decode passes on end" in shown


@pytest.mark.slow
def test_fault_16_what_moves_is_plausible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows in order; too few without; a dummy row of too few experts; a beginning that many sequences share."""
    few = np.random.default_rng(1).permutation(moving(200))
    for rows in (moving(400), few):
        assert call(capsys, "trace", "check", written(tmp_path / "r.npz", rows))[0] == 0
    narrow = with_rows(moving() % 3, slice(0, 0), 0)
    narrow[:, :, 1] = (narrow[:, :, 0] + 1 + moving()[:, :, 1] % 2) % 3
    np.savez(
        tmp_path / "r.npz",
        expert_ids=with_rows(narrow, slice(30, 31), [0, 1]),
        n_experts=np.int32(3),
        seq_start=np.array([0]),
    )
    assert call(capsys, "trace", "check", tmp_path / "r.npz")[0] == 0
    many = np.concatenate(
        [np.concatenate([moving()[:4], moving()[4 * i : 4 * i + 4]]) for i in range(1, 16)] + [moving()[:4]] * 5
    )
    starts = np.array([*range(0, 120, 8), *range(120, 140, 4)])
    np.savez(tmp_path / "r.npz", expert_ids=many, n_experts=np.int32(EXPERTS), seq_start=starts)
    assert call(capsys, "trace", "check", tmp_path / "r.npz")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["switch", "oracle-12x64"])
def test_fault_16_a_bundled_trace_that_was_shuffled(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within each of its sequences; as it is, it is not questioned."""
    trace = simmoe.load_trace(name)
    draw = np.random.default_rng(0)
    ids = trace.expert_ids.copy()
    for sequence in np.unique(trace.sequence):
        rows = np.flatnonzero(trace.sequence == sequence)
        ids[rows] = ids[draw.permutation(rows)]
    simmoe.save_trace(
        type(trace)(
            ids, *(getattr(trace, n) for n in ("layer_index", "pass_ptr", "phase", "sequence", "position", "meta"))
        ),
        tmp_path / "t.npz",
    )
    assert "as if shuffled" in call(capsys, "trace", "check", tmp_path / "t.npz")[1]
    assert call(capsys, "trace", "check", name)[0] == 0


@pytest.mark.slow
def test_a_result_says_that_a_trace_was_shuffled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.random.default_rng(1).permutation(moving(400))[:, :4]
    np.savez(
        tmp_path / "r.npz",
        expert_ids=rows,
        n_experts=np.int32(EXPERTS),
        seq_start=np.array([0]),
        phase=np.ones(400, np.int8),
    )
    call(capsys, "trace", "import", tmp_path / "r.npz", "--model", "oracle-moe-4x16-k2", "--out", tmp_path / "t.npz")
    code, shown = call(capsys, "run", "--hw", "a100", "--trace", tmp_path / "t.npz", "--budget", "50%", "--json")
    assert code == 0 and any("as if shuffled" in note for note in json.loads(shown)["notes"])
