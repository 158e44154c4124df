"""`moe-cache-lab.routing-jsonl`, versions 1 and 2: a line of metadata, then one for each token and layer.

https://github.com/birkansit/moe-cache-lab, TRACE_FORMAT.md: records `routing_selection` with `phase`, `token_position`, `layer`,
`selected_experts` and `selected_probabilities`. Version 2 adds `routing_stage`: of an encoder-decoder the decoder's rows are read, and a
row that capacity left without an expert (`assignment_state: unassigned`) is kept as one without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import MOST_EXPERTS, Stated, request, show, trace
from simmoe.workloads.foreign.file import Array, File

FORMAT = "moe-cache-lab.routing-jsonl"
PROMPTS, ANSWERS = ("prompt", "decoder_prompt"), ("generated", "decoder_generated")
KEYS = ("phase", "token_position", "layer", "selected_experts")


def recognises(file: File) -> bool:
    try:
        first = json.loads(file.first_line)
    except ValueError:
        return False
    return isinstance(first, dict) and first.get("format") == FORMAT


def read(file: File, stated: Stated) -> Trace:
    (_, about), *records = file.records
    if not isinstance(about, dict) or type(version := about.get("format_version")) is not int or version not in (1, 2):
        file.fail("line 1: format_version must be 1 or 2")
    profile = _profile(file, about)
    rows, prompts = _rows(file, records)
    layers = sorted({layer for row in rows.values() for layer in row})
    widest = max(len(one["selected_experts"]) for row in rows.values() for one in row.values())
    k = profile.get("experts_per_token")
    if k is not None and (type(k) is not int or not 1 <= k <= MOST_EXPERTS):
        file.fail(f"line 1: experts_per_token is {show(k)}; it must be a whole number from 1")
    ids, gates = _arrays(file, rows, layers, k or widest)
    passes = request(0, ids, prompts, gates, begin=min(rows))
    return trace(
        file, stated, passes, layers=layers, experts=profile.get("num_experts"), recorded_model=about.get("model_id"),
        captured=about.get("capture_method"),
    )  # fmt: skip


Rows = dict[int, dict[int, Mapping[str, Any]]]  # record by token position and layer


def _rows(file: File, records: Sequence[tuple[str, Any]]) -> tuple[Rows, int]:
    """The records of a decoder, and how many positions are its prompt."""
    rows, prompts = Rows(), set[int]()
    for where, one in records:
        if (checked := _checked(file, where, one)) is None:
            continue
        position, layer = checked["token_position"], checked["layer"]
        if layer in rows.setdefault(position, {}):
            file.fail(f"{where}: token {position} stood in layer {layer} already")
        rows[position][layer] = checked
        if checked["phase"] in PROMPTS:
            prompts.add(position)
    if not rows:
        file.fail("holds no routing_selection of a decoder")
    return rows, len(prompts)


def _arrays(file: File, rows: Rows, layers: list[int], k: int) -> tuple[Array, Array | None]:
    """(ids, weights) [tokens, layers, k] in order of positions; no weights where a record leaves them out."""
    ids, gates, weighted = np.full((len(rows), len(layers), k), -1), np.zeros((len(rows), len(layers), k)), True
    for i, position in enumerate(sorted(rows)):
        for layer, one in rows[position].items():
            experts, weights = one["selected_experts"], one.get("selected_probabilities") or []
            if not isinstance(weights, list) or any(type(w) not in (int, float) for w in weights):
                file.fail(f"token {position}, layer {layer}: selected_probabilities must be a list of numbers")
            if len(experts) > k:
                file.fail(f"token {position}, layer {layer} selects {len(experts)} experts; experts_per_token is {k}")
            at = i, layers.index(layer)
            ids[at][: len(experts)] = experts
            if len(weights) == len(experts):
                gates[at][: len(experts)] = weights
            else:
                weighted = False
    return ids, gates if weighted else None


def _profile(file: File, about: Mapping[str, Any]) -> dict[str, Any]:
    if about["format_version"] == 1:
        return {name: about.get(name) for name in ("num_experts", "experts_per_token")}
    stages = about.get("routing_stages")
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, dict) and stage.get("routing_stage") == "decoder":
            return {
                "num_experts": stage.get("num_experts"),
                "experts_per_token": stage.get("assigned_experts_per_token"),
            }
    file.fail("line 1: routing_stages names no decoder; only a decoder's routing is read")


def _checked(file: File, where: str, one: Any) -> Mapping[str, Any] | None:
    """The record; None for one of an encoder."""
    if not isinstance(one, dict) or one.get("record_type") != "routing_selection":
        file.fail(f"{where}: record_type must be routing_selection")
    if missing := [key for key in KEYS if key not in one]:
        file.fail(f"{where}: key {missing[0]!r} is missing")
    if one.get("routing_stage") == "encoder":
        return None
    if one["phase"] not in PROMPTS + ANSWERS:
        file.fail(f"{where}: phase is {one['phase']!r}; it must be one of {', '.join(PROMPTS + ANSWERS)}")
    numbers = [
        one["token_position"],
        one["layer"],
        *(one["selected_experts"] if isinstance(one["selected_experts"], list) else [None]),
    ]
    if any(type(value) is not int or not 0 <= value < 2**31 for value in numbers):
        file.fail(f"{where}: token_position, layer and selected_experts must be whole numbers from 0")
    return one
