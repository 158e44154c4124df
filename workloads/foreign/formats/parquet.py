"""A parquet table with a row for each token and layer, or for each expert of them. Reading it needs pyarrow.

Columns by name: `layer`, and `expert` (a number) or `experts` (a list); `token` or `position`; optional `sequence` and `phase` (0 or
"prefill", 1 or "decode"). https://parquet.apache.org/docs/file-format; no engine writes one layout of its own, so the names are those that
collections on the Hugging Face hub use most. Slots stand in the order of the rows.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from simmoe.simulator.decide.blame import one_line
from simmoe.simulator.errors import Missing
from simmoe.simulator.nouns.trace import PREFILL, Trace
from simmoe.workloads.foreign.building import Pass, Stated, prompt_rows, request, trace
from simmoe.workloads.foreign.file import Array, File

PHASES = {0: 0, 1: 1, "prefill": 0, "prompt": 0, "decode": 1, "generated": 1}


def recognises(file: File) -> bool:
    return file.head.startswith(b"PAR1")


def read(file: File, stated: Stated) -> Trace:
    columns = _columns(file)
    names = {"layer": ("layer",), "token": ("token", "position"), "experts": ("experts", "expert")}
    found = {key: next((name for name in wanted if name in columns), None) for key, wanted in names.items()}
    if missing := [key for key, name in found.items() if name is None]:
        file.fail(f"column {names[missing[0]][0]!r} is missing; it has {', '.join(columns)}")
    layer, token = (_numbers(file, name, columns[name]) for name in (str(found["layer"]), str(found["token"])))
    sequence = _numbers(file, "sequence", columns["sequence"]) if "sequence" in columns else np.zeros(len(layer), int)
    phase = [PHASES.get(value, -1) for value in columns["phase"]] if "phase" in columns else None
    if phase and -1 in phase:
        file.fail(
            f"row {phase.index(-1)}: phase is {columns['phase'][phase.index(-1)]!r}; it must be 0, 1, prefill or decode"
        )
    experts = columns[str(found["experts"])]
    lists = [one if isinstance(one, list) else [one] for one in experts]
    return _trace(file, stated, layer, token, sequence, lists, None if phase is None else np.array(phase))


def _columns(file: File) -> dict[str, list[Any]]:
    try:
        parquet: Any = import_module("pyarrow.parquet")  # by name: it is in no extra, so checkers do not find it
    except ImportError:
        raise Missing(f"{file.path}: reading parquet needs pyarrow: pip install pyarrow") from None
    try:
        table: dict[str, list[Any]] = parquet.read_table(file.path).to_pydict()
    except Exception as error:  # of Arrow, or of the text and numbers of a damaged file
        file.fail(f"is no parquet file that can be read: {one_line(error)}")
    return table


def _numbers(file: File, name: str, values: list[Any]) -> Array:
    for row, value in enumerate(values):
        if type(value) is not int or not 0 <= value < 2**31:
            file.fail(f"row {row}: {name} is {value!r}; it must be a whole number from 0")
    return np.array(values, np.int64)


def _trace(
    file: File, stated: Stated, layer: Array, token: Array, sequence: Array, lists: list[list[Any]], phase: Array | None
) -> Trace:
    keys, row = np.unique(np.stack([sequence, token], 1), axis=0, return_inverse=True)
    layers, column = np.unique(layer, return_inverse=True)
    slots: dict[tuple[int, int], list[int]] = {}
    for i, at in enumerate(zip(row.reshape(-1).tolist(), column.tolist())):
        slots.setdefault(at, []).extend(_numbers(file, "expert", lists[i]).tolist())
    ids = np.full((len(keys), len(layers), max(map(len, slots.values()), default=0)), -1)
    for at, experts in slots.items():
        ids[at][: len(experts)] = experts
    prompts = np.zeros(len(keys), bool)
    if phase is not None:
        prompts[row.reshape(-1)[phase == PREFILL]] = True
    passes, notes = list[Pass](), set[str]()
    for number in np.unique(keys[:, 0]).tolist():
        of_it = keys[:, 0] == number
        said = None if phase is None else int(prompts[of_it].sum())
        rows, noted = prompt_rows(file, stated, int(of_it.sum()), said)
        notes |= set(noted)
        passes += request(number, ids[of_it], rows, begin=int(keys[of_it, 1][0]))
    return trace(file, stated, passes, layers=layers.tolist(), notes=sorted(notes))
