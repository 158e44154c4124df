"""`layer,expert`: one row for each expert that llama.cpp chose, as its routing loggers write it.

Such loggers read the tensor `ffn_moe_topk` in an eval callback (ggml-org/llama.cpp, examples/eval-callback, tools/imatrix): in each pass
layer by layer, in each layer token by token, the experts of a token one after the other. A layer that falls back begins the next pass. In
the last layer llama.cpp computes only the tokens whose logits were asked for (`inp_out_ids`), of a prompt the last one.

The file says neither top-k, nor the number of experts, nor which tokens are the prompt. The shortest stretch of one layer is top-k. A
pass of several tokens is a prompt, one of a single token is decoded: a prompt that was read token by token, or a batch, cannot be told
apart.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.foreign.building import Pass, Stated, trace
from simmoe.workloads.foreign.file import Array, File
from simmoe.workloads.foreign.table import whole_numbers

COLUMNS = ("layer", "expert")
NOTE = "a pass of one token counts as decode, a longer one as a prompt: the file does not tell them apart"


def recognises(file: File) -> bool:
    return bool(re.fullmatch(r"layer *, *expert|\d+ *, *\d+", file.first_line))


def read(file: File, stated: Stated) -> Trace:
    lines = [
        (n, line) for n, line in file.lines() if not (n == 1 and not line[0].isdigit()) and not line.startswith("#")
    ]
    table = whole_numbers(file, lines, COLUMNS, COLUMNS)
    layers = np.unique(table[:, 1])
    runs = _runs(table, single=len(layers) == 1, top_k=stated.top_k)
    top_k = stated.top_k or _shortest(file, table, runs)
    passes, position = [], 0
    for first, end in _passes(runs):
        ids = _ids(file, table, runs[first:end], layers, top_k)
        rows = position + np.arange(len(ids))
        passes.append(Pass(PREFILL if len(ids) > 1 else DECODE, np.zeros(len(ids), int), rows, ids))
        position += len(ids)
    return trace(file, stated, _with_prompt(file, passes, stated.prompt), layers=layers.tolist(), notes=[NOTE])


def _shortest(file: File, table: Array, runs: list[Run]) -> int:
    """Experts of the shortest stretch; one that is short only at the end of the file tells that the file was cut there."""
    lengths = [run.end - run.begin for run in runs]
    of_layer = [
        length for run, length in zip(runs[:-1], lengths) if run.layer == runs[-1].layer
    ]  # in the passes before
    if of_layer and lengths[-1] < min(lengths[:-1]):
        file.fail(
            f"line {table[runs[-1].begin, 0]}: the file ends with a stretch of {lengths[-1]} experts of one layer, and every other one has "
            f"at least {min(lengths[:-1])}; is it cut? if not, give --top-k"
        )
    return min(lengths)


class Run(NamedTuple):
    """Rows on end of one layer."""

    layer: int
    begin: int
    end: int


def _runs(table: Array, single: bool, top_k: int | None) -> list[Run]:
    """single: the model has one MoE layer, so that no other one ends a stretch: each token is a pass of its own."""
    if single:
        edges = list(range(0, len(table), top_k or len(table)))
    else:
        edges = [0, *(np.flatnonzero(np.diff(table[:, 1])) + 1).tolist()]
    return [Run(int(table[a, 1]), a, b) for a, b in zip(edges, [*edges[1:], len(table)])]


def _passes(runs: list[Run]) -> list[tuple[int, int]]:
    begins = [0, *(i for i in range(1, len(runs)) if runs[i].layer <= runs[i - 1].layer)]
    return list(zip(begins, [*begins[1:], len(runs)]))


def _ids(file: File, table: Array, runs: list[Run], layers: Array, top_k: int) -> Array:
    """[tokens, layers, top_k] of one pass; −1 where the last layer leaves out all but the last tokens."""
    line = int(table[runs[0].begin, 0])
    for run in runs:
        if (run.end - run.begin) % top_k:
            file.fail(
                f"line {table[run.begin, 0]}: layer {run.layer} names {run.end - run.begin} experts on end, no multiple of top-{top_k}; "
                "if top-k is another, give --top-k"
            )
    if [run.layer for run in runs] != layers.tolist():
        file.fail(
            f"line {line}: the pass that begins here has layers {[run.layer for run in runs]}; the file has {layers.tolist()}"
        )
    counts = [(run.end - run.begin) // top_k for run in runs]
    tokens = counts[0]
    for run, count in zip(runs, counts):
        if count != tokens and not (run is runs[-1] and count < tokens):
            file.fail(
                f"line {table[run.begin, 0]}: layer {run.layer} has {count} tokens, the layers of this pass before it {tokens}"
            )
    ids = np.full((tokens, len(layers), top_k), -1)
    for column, (run, count) in enumerate(zip(runs, counts)):
        ids[tokens - count :, column] = table[run.begin : run.end, 2].reshape(count, top_k)
    return ids


def _with_prompt(file: File, passes: list[Pass], prompt: int | None) -> list[Pass]:
    """The first `prompt` rows in one pass, if the user says so many."""
    if not prompt:
        return passes
    edges = np.cumsum([len(one.ids) for one in passes])
    if prompt not in edges:
        file.fail(
            f"a prompt of {prompt} rows does not end with a pass; there are {edges[-1]} rows, and passes end at {edges[:4].tolist()} …"
        )
    of_it = passes[: int(np.searchsorted(edges, prompt)) + 1]
    sequence, position, ids = (
        np.concatenate([getattr(one, name) for one in of_it]) for name in ("sequence", "position", "ids")
    )
    return [Pass(PREFILL, sequence, position, ids), *passes[len(of_it) :]]
