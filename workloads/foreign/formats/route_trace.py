"""`# route_trace v1`: a row for each routed expert, with phase, position and slot, as BigMoeOnEdge writes it.

https://github.com/Helldez/BigMoeOnEdge, docs (route trace) and src/route_trace.cpp: a preamble of `#` lines with the facts of the run, a
heading, then rows of which `(turn, phase, step, layer, slot)` is unique. Columns are read by name, and more of them may follow. phase 0 =
prompt, 1 = decode; step = position in the context. In the last layer a prompt has its last token only. `weight` may be nan: unknown.
"""

from __future__ import annotations

import re

import numpy as np

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import Pass, Stated, trace
from simmoe.workloads.foreign.file import Array, File
from simmoe.workloads.foreign.table import whole_numbers

KEYS = ("turn", "phase", "step", "layer", "slot", "expert")
LINE, TURN, PHASE, STEP, LAYER, SLOT, EXPERT = range(7)


def recognises(file: File) -> bool:
    return file.first_line == "# route_trace v1"


def read(file: File, stated: Stated) -> Trace:
    lines = list(file.lines())
    facts = dict(pair for _, line in lines if line.startswith("# model=") for pair in re.findall(r"(\w+)=(\S+)", line))
    body = [(number, line) for number, line in lines if not line.startswith("#")]
    columns = body[0][1].split(",") if body else []
    if missing := [key for key in KEYS if key not in columns]:
        file.fail(
            f"column {missing[0]!r} is missing in the heading {','.join(columns)!r}; a route_trace has {','.join(KEYS)}"
        )
    table = whole_numbers(file, body[1:], columns, KEYS)
    weights = _weights(file, body[1:], columns)
    layers = np.unique(table[:, LAYER])
    top_k, experts = (_fact(file, facts, name) for name in ("n_expert_used", "n_expert"))
    top_k = top_k or int(table[:, SLOT].max()) + 1
    passes = _passes(file, table, weights, layers, top_k)
    return trace(file, stated, passes, layers=layers.tolist(), experts=experts, recorded_model=facts.get("model"))


def _fact(file: File, facts: dict[str, str], name: str) -> int | None:
    if name in facts and not re.fullmatch(r"[0-9]{1,6}", facts[name]):
        file.fail(f"{name}={facts[name][:40]} in the lines of # must be a whole number")
    return int(facts[name]) if name in facts else None


def _weights(file: File, body: list[tuple[int, str]], columns: list[str]) -> Array | None:
    if "weight" not in columns:
        return None
    place = columns.index("weight")
    try:
        found = np.array([float(line.split(",")[place]) for _, line in body])
    except ValueError as error:
        file.fail(f"column 'weight': {error}")
    return found if np.isfinite(found).all() else None


def _passes(file: File, table: Array, weights: Array | None, layers: Array, top_k: int) -> list[Pass]:
    """A turn reads its prompt in one pass and decodes a token in each of the others. A step that falls back begins a new context."""
    for name, column, most in (("phase", PHASE, 1), ("slot", SLOT, top_k - 1)):
        if (bad := np.flatnonzero((table[:, column] < 0) | (table[:, column] > most))).size:
            row = table[bad[0]]
            file.fail(f"line {row[LINE]}: {name} is {row[column]}; it must be 0 to {most}")
    order = np.lexsort((table[:, SLOT], table[:, LAYER], table[:, STEP], table[:, PHASE], table[:, TURN]))
    table, weights = table[order], None if weights is None else weights[order]
    if (twice := np.flatnonzero((table[1:, TURN:EXPERT] == table[:-1, TURN:EXPERT]).all(1))).size:
        file.fail(
            f"line {table[twice[0] + 1, LINE]}: this turn, phase, step, layer and slot stood in line {table[twice[0], LINE]} already"
        )
    tokens, row = np.unique(table[:, TURN : STEP + 1], axis=0, return_inverse=True)
    ids = np.full((len(tokens), len(layers), top_k), -1)
    gates = None if weights is None else np.zeros(ids.shape)
    at = row.reshape(-1), np.searchsorted(layers, table[:, LAYER]), table[:, SLOT]
    ids[at] = table[:, EXPERT]
    if gates is not None:
        gates[at] = weights
    return _split(tokens, ids, gates)


def _split(tokens: Array, ids: Array, gates: Array | None) -> list[Pass]:
    turn, phase, step = tokens.T
    sequence = np.cumsum(np.diff(step, prepend=step[0]) < 0)
    alone = phase == 1
    begins = np.flatnonzero(np.concatenate(([True], (np.diff(turn) != 0) | (np.diff(phase) != 0) | alone[1:])))
    return [
        Pass(int(phase[a]), sequence[a:b], step[a:b], ids[a:b], None if gates is None else gates[a:b])
        for a, b in zip(begins, [*begins[1:], len(tokens)])
    ]
