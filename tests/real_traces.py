"""Adapter: routing traces of real public models -> simmoe's Trace. The files are test data and not part of the project.

The folder comes from the environment variable SIMMOE_TRACES, by default `../shared/traces` beside the repository; its
README.md names sources and licences. Every function skips the running test, with a reason, where a file is absent.
Recorded decode and teacher-forced rows become decode passes of one token; a recorded prompt becomes one prefill pass.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace

NAMES = ("gptoss20b_gpqa", "gptoss20b_mmlupro", "dsv2lite_intent", "qwen3_30b_general", "phone_gemma4_26b")
PHONE = "phone_gemma4_26b"
ROOT = Path(__file__).resolve().parent.parent


def folder() -> Path:
    return Path(os.environ.get("SIMMOE_TRACES") or ROOT / ".." / "shared" / "traces")


def path(name: str) -> Path:
    """The npz file of a trace, or another file of the folder when the name has a suffix."""
    file = folder() / (name if Path(name).suffix else f"{name}.npz")
    if not file.is_file():
        pytest.skip(f"real trace {file.name} is not in {folder()}: set SIMMOE_TRACES to the folder that holds it")
    return file


def arrays(name: str) -> dict[str, npt.NDArray[Any]]:
    with np.load(path(name)) as file:
        return {key: file[key] for key in file.files}


def load(name: str, columns: slice = slice(None)) -> Trace:
    """The whole trace, or a slice of its MoE layer columns."""
    raw = arrays(name)
    recorded = json.loads(str(raw["meta"]))
    tokens, layers, top_k = raw["expert_ids"].shape
    starts = raw["seq_start"].astype(np.int64)
    sequence = np.searchsorted(starts, np.arange(tokens), side="right") - 1
    n_prompt = int(np.count_nonzero(raw["phase"] == 0)) if "phase" in raw else 0
    pass_ptr, phase = _passes(tokens, n_prompt)
    meta = {**recorded, "n_experts": int(raw["n_experts"]), "top_k": top_k}
    layer_index = np.arange(layers) + recorded.get("first_moe_layer", 0)
    weights = raw["weights"].astype(np.float16)[:, columns] if "weights" in raw else None
    return Trace(
        expert_ids=np.ascontiguousarray(raw["expert_ids"][:, columns], np.int16),
        layer_index=layer_index[columns].astype(np.int16),
        pass_ptr=pass_ptr,
        phase=phase,
        sequence=sequence.astype(np.int32),
        position=(np.arange(tokens) - starts[sequence]).astype(np.int32),
        meta=meta,
        gate_weights=weights,
    )


def _passes(tokens: int, n_prompt: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """One prefill pass of n_prompt rows, if any, then one decode pass for each other row."""
    decode_ends = np.arange(n_prompt + 1, tokens + 1)
    ends = np.concatenate([[n_prompt], decode_ends]) if n_prompt else decode_ends
    phase = np.full(len(ends), DECODE, np.int8)
    if n_prompt:
        phase[0] = PREFILL
    return np.concatenate([[0], ends]).astype(np.int64), phase


def expert_bytes(name: str = PHONE) -> npt.NDArray[np.int64]:
    """int64 [moe_layers]: stored bytes of one expert. Only the phone trace records them."""
    return arrays(name)["expert_bytes_per_layer"].astype(np.int64)


def recorded_hits(name: str = PHONE) -> npt.NDArray[np.bool_]:
    """bool [tokens, layers, k]: what the phone's own cache answered."""
    hits: npt.NDArray[np.bool_] = arrays(name)["residency"] == 1
    return hits
