"""Recorded traces of real models: files outside the project, in the folder that SIMMOE_TRACES names.

npz with expert_ids int16 [tokens, layers, top_k], n_experts, seq_start and meta; `phase` marks a prompt, one prefill pass.
"""

from __future__ import annotations

import csv
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace


def why_not(*files: str) -> str:
    """ "" when the files are there."""
    folder = os.environ.get("SIMMOE_TRACES")
    missing = [name for name in files if not folder or not (Path(folder) / name).is_file()]
    return f"trace not at hand: {', '.join(missing)}; set SIMMOE_TRACES to the folder that holds it" if missing else ""


def path(name: str) -> Path:
    return Path(os.environ["SIMMOE_TRACES"]) / name


def arrays(name: str) -> dict[str, npt.NDArray[Any]]:
    return _arrays(path(name))


@cache
def _arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(file) as data:
        return {key: data[key] for key in data.files}


def table(name: str) -> list[dict[str, str]]:
    with open(path(name), encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@cache
def column(name: str, layer: int) -> Trace:
    """One layer of the trace."""
    return load(name, slice(layer, layer + 1))


def load(name: str, columns: slice = slice(None)) -> Trace:
    """The trace, or a slice of its layer columns: one prefill pass for a prompt, then one decode pass per token."""
    raw = arrays(name)
    tokens, layers, top_k = raw["expert_ids"].shape
    starts = raw["seq_start"].astype(np.int64)
    sequence = np.searchsorted(starts, np.arange(tokens), side="right") - 1
    prompt = int(np.count_nonzero(raw["phase"] == PREFILL)) if "phase" in raw else 0
    ends = np.concatenate([[prompt] if prompt else [], np.arange(prompt + 1, tokens + 1)])
    phase = np.full(len(ends), DECODE, np.int8)
    phase[: int(prompt > 0)] = PREFILL
    return Trace(
        expert_ids=np.ascontiguousarray(raw["expert_ids"][:, columns], np.int16),
        layer_index=np.arange(layers)[columns].astype(np.int16),
        pass_ptr=np.concatenate([[0], ends]).astype(np.int64), phase=phase, sequence=sequence.astype(np.int32),
        position=(np.arange(tokens) - starts[sequence]).astype(np.int32),
        meta={"n_experts": int(raw["n_experts"]), "top_k": top_k, "model": json.loads(str(raw["meta"])).get("model")},
    )  # fmt: skip
