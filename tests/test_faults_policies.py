"""Faults of 0.1.0 about policies, traces, imported models and profiles, each with the right value.

Through the command line and the public functions only, so that every test can be played on that version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main


def write_trace(
    path: Path,
    rows: Any,  # [tokens][moe_layers][top_k] experts
    n_experts: int,
    *,
    prompt: int = 0,  # rows of each sequence that are one prefill pass; the others are decode passes of one token
    sequences: int = 1,  # of equal length
    **meta: Any,
) -> Path:
    """A trace of format v1, made by hand."""
    ids = np.asarray(rows, np.int16)
    tokens, layers, k = ids.shape
    each = tokens // sequences
    begin = np.arange(sequences) * each
    starts = [s + at for s in begin for at in ([0] if prompt else []) + list(range(prompt, each))]
    phase = [0 if prompt and s % each == 0 else 1 for s in starts]
    np.savez_compressed(
        path, expert_ids=ids, layer_index=np.arange(layers, dtype=np.int16), pass_ptr=np.array([*starts, tokens], np.int64),
        phase=np.array(phase, np.int8), sequence=np.repeat(np.arange(sequences), each).astype(np.int32),
        position=np.tile(np.arange(each), sequences).astype(np.int32),
        meta=np.array(json.dumps({"n_experts": n_experts, "top_k": k, **meta})),
    )  # fmt: skip
    return path


def said(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str]:
    """Exit code of a command, and all that it printed, as one line."""
    code = main(list(command))
    out, err = capsys.readouterr()
    return code, " ".join((out + err).split())


def answer(capsys: pytest.CaptureFixture[str], *command: str) -> Any:
    """The JSON that a command prints."""
    assert main([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- 7: lfu ------------------------------------------------------------------------------------------------------------


def test_fault_07_lfu_keeps_its_counts_over_evictions(tmp_path: Path) -> None:
    """Room for 2. Experts 0 and 1 have been in 5 and 4 events when 3 comes, 0 in only 2 of them since its last load: 1 leaves."""
    path = write_trace(tmp_path / "t.npz", [[[e]] for e in (0, 0, 0, 1, 1, 1, 1, 2, 0, 0, 3, 0)], 4)
    run = simmoe.replay(str(path), [1], 2, eviction="lfu")
    assert bool(run.hit[-1, 0, 0]) and (run.hits, run.misses) == (7, 5)
