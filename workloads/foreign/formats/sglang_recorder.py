"""What SGLang's recorder of expert distribution writes with `--expert-distribution-recorder-mode per_token`: `.pt`, a record for each pass.

https://github.com/sgl-project/sglang, python/sglang/srt/eplb/expert_distribution.py (`_DetailSinglePassGatherer`, `_DetailAccumulator`):
`records`, each with `topk_ids_of_layer` [layers, tokens, 8] (−1 = not used), `positions`, `extend_seq_lens`, `forward_mode` (1 = extend,
2 = decode, 4 = idle; forward_batch_info.py), and `last_physical_to_logical_map` [layers, physical experts]. Requests are not named: a row
goes on with the sequence that its position follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.foreign.building import Pass, Stated, trace
from simmoe.workloads.foreign.file import Array, File
from simmoe.workloads.foreign.torch_file import contents, is_torch

EXTEND, DECODES, IDLE = 1, 2, 4
NOTE = "requests are not named in the file: rows were joined to sequences by their positions"


def recognises(file: File) -> bool:
    if not is_torch(file):
        return False
    said = contents(file)
    return isinstance(said, dict) and "records" in said


def read(file: File, stated: Stated) -> Trace:
    said = contents(file)
    if not isinstance(said, dict) or not isinstance(said.get("records"), list):
        file.fail("has no list 'records'; record with --expert-distribution-recorder-mode per_token")
    logical = said.get("last_physical_to_logical_map")
    ahead: dict[int, int] = {}
    passes = [
        one for i, record in enumerate(said["records"]) if (one := _pass(file, f"record {i}", record, logical, ahead))
    ]
    used = np.flatnonzero(np.any([(one.ids >= 0).any((0, 2)) for one in passes], 0)) if passes else np.zeros(0, int)
    slots = max((int((one.ids >= 0).sum(2).max()) for one in passes), default=0)
    passes = [one._replace(ids=one.ids[:, used, :slots]) for one in passes]
    experts = int(np.max(logical)) + 1 if isinstance(logical, np.ndarray) and logical.size else None
    return trace(file, stated, passes, layers=used.tolist(), experts=experts, notes=[NOTE])


def _pass(file: File, where: str, record: Any, logical: Any, ahead: dict[int, int]) -> Pass | None:
    """ahead: the next position of each sequence so far."""
    if not isinstance(record, dict) or not {"topk_ids_of_layer", "positions", "forward_mode"} <= record.keys():
        file.fail(f"{where} must have topk_ids_of_layer, positions and forward_mode; mode per_token writes them")
    mode, position = record["forward_mode"], np.array(record["positions"])
    if mode == IDLE or not len(position):
        return None
    if mode not in (EXTEND, DECODES):
        file.fail(
            f"{where}: forward_mode is {mode}; 1 (extend), 2 (decode) and 4 (idle) are read: record without mixed or verify passes"
        )
    ids = np.asarray(record["topk_ids_of_layer"])
    if ids.ndim != 3 or ids.shape[1] != len(position):
        file.fail(
            f"{where}: topk_ids_of_layer has shape {ids.shape}; with {len(position)} positions it must be [layers, {len(position)}, k]"
        )
    if isinstance(logical, np.ndarray):
        if ids.max() >= logical.shape[1]:
            file.fail(f"{where}: expert {ids.max()} is not one of {logical.shape[1]} physical experts")
        ids = np.where(
            ids < 0, -1, np.take_along_axis(logical, np.maximum(ids.reshape(len(ids), -1), 0), 1).reshape(ids.shape)
        )
    lengths = record.get("extend_seq_lens") if mode == EXTEND else [1] * len(position)
    if not isinstance(lengths, list) or sum(lengths) != len(position):
        file.fail(f"{where}: extend_seq_lens must add up to {len(position)}, its tokens")
    return Pass(
        PREFILL if mode == EXTEND else DECODE, _sequences(position, lengths, ahead), position, ids.swapaxes(0, 1)
    )


def _sequences(position: Array, lengths: list[int], ahead: dict[int, int]) -> Array:
    found, taken, begin = [], set[int](), 0
    for length in lengths:
        first = int(position[begin])
        number = (
            next((n for n, due in ahead.items() if due == first and n not in taken), len(ahead))
            if first
            else len(ahead)
        )
        taken.add(number)
        ahead[number] = first + length
        found += [number] * length
        begin += length
    return np.array(found)
