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
    if logical is not None and (not isinstance(logical, np.ndarray) or logical.ndim != 2 or not logical.size):
        file.fail("last_physical_to_logical_map is no tensor [layers, physical experts]")
    ahead: dict[int, int] = {}
    passes = [
        one for i, record in enumerate(said["records"]) if (one := _pass(file, f"record {i}", record, logical, ahead))
    ]
    used = np.flatnonzero(np.any([(one.ids >= 0).any((0, 2)) for one in passes], 0)) if passes else np.zeros(0, int)
    slots = max((int((one.ids >= 0).sum(2).max()) for one in passes), default=0)
    passes = [one._replace(ids=one.ids[:, used, :slots]) for one in passes]
    experts = None if logical is None else int(logical.max()) + 1
    return trace(file, stated, passes, layers=used.tolist(), experts=experts, notes=[NOTE])


def _pass(file: File, where: str, record: Any, logical: Array | None, ahead: dict[int, int]) -> Pass | None:
    """ahead: the next position of each sequence so far."""
    if not isinstance(record, dict) or not {"topk_ids_of_layer", "positions", "forward_mode"} <= record.keys():
        file.fail(f"{where} must have topk_ids_of_layer, positions and forward_mode; mode per_token writes them")
    mode, position = (
        record["forward_mode"],
        np.array(_whole(file, f"{where}: positions", record["positions"], 0), np.int64),
    )
    if mode == IDLE or not len(position):
        return None
    if mode not in (EXTEND, DECODES):
        file.fail(
            f"{where}: forward_mode is {mode}; 1, 2 and 4 (extend, decode, idle) are read: record without mixed or verify passes"
        )
    lengths = [1] * len(position)
    if mode == EXTEND:
        lengths = _whole(file, f"{where}: extend_seq_lens", record.get("extend_seq_lens"), 1)
    if sum(lengths) != len(position):
        file.fail(f"{where}: extend_seq_lens must add up to {len(position)}, its tokens")
    ids = _ids(file, where, record["topk_ids_of_layer"], len(position), logical)
    return Pass(PREFILL if mode == EXTEND else DECODE, _sequences(position, lengths, ahead), position, ids)


def _whole(file: File, what: str, values: Any, least: int) -> list[int]:
    if not isinstance(values, list) or any(type(one) is not int or not least <= one < 2**31 for one in values):
        file.fail(f"{what} must be a list of whole numbers from {least}")
    return values


def _ids(file: File, where: str, physical: Any, tokens: int, logical: Array | None) -> Array:
    """[tokens, layers, k] of experts, which the file names by the places that hold them."""
    if (
        not isinstance(physical, np.ndarray)
        or physical.ndim != 3
        or physical.shape[1] != tokens
        or physical.dtype.kind not in "iu"
    ):
        file.fail(
            f"{where}: topk_ids_of_layer is no tensor [layers, {tokens}, k] of whole numbers; it has {tokens} positions"
        )
    if logical is None:
        return physical.swapaxes(0, 1)
    if len(logical) != len(physical) or physical.max() >= logical.shape[1]:
        file.fail(
            f"{where}: {len(physical)} layers and expert {physical.max()} are none of last_physical_to_logical_map {logical.shape}"
        )
    flat = physical.reshape(len(physical), -1)
    found: Array = np.where(flat < 0, -1, np.take_along_axis(logical, np.maximum(flat, 0), 1))
    return found.reshape(physical.shape).swapaxes(0, 1)


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
