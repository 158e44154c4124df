"""From what a file says, and what its user says beside it, to a trace of format v1."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.foreign.file import Array, File

MOST_EXPERTS = 2**15  # ids of trace format v1 are int16
MOST_LAYER, MOST_POSITION = 2**15 - 1, 2**31 - 1  # int16 and int32 there
show = reprlib.repr
TELL = "--model M tells, or"


@dataclass(frozen=True)
class Stated:
    """What the user says of a file; None = not said, the file must say it itself."""

    experts: int | None = None  # routed experts of a MoE layer
    top_k: int | None = None
    layers: tuple[int, ...] | None = None  # model layers that have experts
    all_layers: int | None = None  # of the model, with and without experts
    prompt: int | None = None  # rows of each sequence that are its prompt, where the file does not tell
    tokens: int | None = None  # rows to draw from counts
    seed: int = 0
    model: str | None = None


def told_by(shape: ModelShape) -> Stated:
    """What a model says of each trace of it."""
    return Stated(
        experts=shape.n_experts, top_k=shape.top_k, layers=tuple(shape.moe_layers), all_layers=len(shape.layers), model=shape.name
    )  # fmt: skip


class Pass(NamedTuple):
    """Rows of one forward pass."""

    phase: int
    sequence: Array  # [rows]
    position: Array  # [rows]
    ids: Array  # [rows, columns, top_k], -1 = no expert
    weights: Array | None = None  # the same shape


def request(number: int, ids: Array, prompt: int, weights: Array | None = None, begin: int = 0) -> list[Pass]:
    """The passes of one sequence: its prompt together, then each row alone. begin: position of its first row."""
    edges = [0, *range(max(prompt, 1), len(ids) + 1)] if prompt else list(range(len(ids) + 1))
    passes = []
    for first, end in pairwise(edges):
        gates = None if weights is None else weights[first:end]
        phase, position = PREFILL if end <= prompt else DECODE, np.arange(begin + first, begin + end)
        passes.append(Pass(phase, np.full(end - first, number), position, ids[first:end], gates))
    return passes


def trace(
    file: File, stated: Stated, passes: Sequence[Pass], *, layers: Sequence[int] | None = None, experts: int | None = None,
    notes: Sequence[str] = (), **meta: Any,
) -> Trace:  # fmt: skip
    """layers: the model layer of each column, None where the file does not say it. experts: of a layer, if the file says it.
    notes: what a reader of the trace must know of how it was read. Raises UserError."""
    if not passes:
        file.fail("holds no rows")
    for one in passes:
        if one.ids.shape[1:] != passes[0].ids.shape[1:]:
            file.fail(
                f"sequence {one.sequence[0]} has [layers, top_k] {one.ids.shape[1:]}, the first one {passes[0].ids.shape[1:]}"
            )
    ids = np.concatenate([one.ids for one in passes]).astype(np.int64)
    if stated.top_k not in (None, ids.shape[2]):
        file.fail(f"has {ids.shape[2]} experts for each token and layer; you said top-{stated.top_k}")
    columns, index = _columns(file, stated, ids, layers)
    ids = ids[:, columns]
    n_experts = _experts(file, stated, ids, experts)
    if ids.shape[2] > n_experts:
        file.fail(f"has {ids.shape[2]} experts for each token, of {n_experts} in a layer; no token uses one twice")
    position, sequence = (np.concatenate([getattr(one, name) for one in passes]) for name in ("position", "sequence"))
    for what, numbers, most in (("layer", np.array(index), MOST_LAYER), ("position", position, MOST_POSITION)):
        if len(wrong := numbers[(numbers < 0) | (numbers > most)]):
            file.fail(f"{what} {wrong[0]} cannot be; a trace holds those from 0 to {most:,}")
    said = {"n_experts": n_experts, "top_k": ids.shape[2], "source_file": file.path.name, **meta}
    model = stated.model or meta.get("model")
    said |= {"model": model} if model else {}
    said |= {"import_notes": list(notes)} if notes else {}
    said |= {"null_experts": True} if (ids < 0).all(2).any() else {}
    return Trace(
        expert_ids=ids.astype(np.int16), layer_index=np.array(index, np.int16),
        pass_ptr=np.cumsum([0, *(len(one.ids) for one in passes)]).astype(np.int64),
        phase=np.array([one.phase for one in passes], np.int8),
        sequence=sequence.astype(np.int32), position=position.astype(np.int32),
        meta=said, gate_weights=_weights(file, passes, columns),
    )  # fmt: skip


def _weights(file: File, passes: Sequence[Pass], columns: Array) -> Array | None:
    """Of every slot; None where a pass has none, or where one is not known (nan) or more than float16 holds."""
    given = [one.weights for one in passes if one.weights is not None]
    if len(given) < len(passes):
        return None
    gates = np.concatenate(given)[:, columns]
    if gates.dtype.kind not in "iuf":
        file.fail(f"its weights are {gates.dtype}; they must be numbers")
    with np.errstate(over="ignore"):
        gates = gates.astype(np.float16)
    return gates if np.isfinite(gates).all() else None


def _experts(file: File, stated: Stated, ids: Array, said: int | None) -> int:
    if said is not None and stated.experts not in (None, said):
        file.fail(f"says {show(said)} experts in a layer; you said {stated.experts}")
    experts = said if said is not None else stated.experts
    if experts is None:
        file.fail(f"does not say how many experts a layer has; {TELL} --experts N (the largest id here is {ids.max()})")
    if type(experts) is not int or not 1 <= experts <= MOST_EXPERTS:
        file.fail(
            f"{show(experts)} experts in a layer cannot be; a trace holds a whole number from 1 to {MOST_EXPERTS:,}"
        )
    if (bad := np.argwhere((ids >= experts) | (ids < -1))).size:
        row, column, slot = (int(i) for i in bad[0])
        file.fail(
            f"expert {ids[row, column, slot]} of row {row}, layer column {column} is not one of {experts}: ids go from 0 to {experts - 1}"
        )
    return experts


def _columns(file: File, stated: Stated, ids: Array, said: Sequence[int] | None) -> tuple[Array, list[int]]:
    """Which columns are MoE layers, and the model layer of each."""
    every, width = np.arange(ids.shape[1]), ids.shape[1]
    if stated.layers is not None:
        if width == len(stated.layers):
            return every, list(stated.layers)
        if said is None and width == stated.all_layers:
            return np.array(stated.layers), list(stated.layers)
        file.fail(f"has {width} layers; the model has {len(stated.layers)} with experts, of {stated.all_layers}")
    if said is not None:
        return every, list(said)
    used = every[~_dense(ids)]
    if not len(used):
        file.fail("names the same expert in every slot of every row: nothing was recorded")
    return used, used.tolist()


def _dense(ids: Array) -> Array:
    """[columns]: one value in all slots of all rows, as engines leave the layers that have no experts."""
    first = ids[:1, :, :1]
    alone: Array = (ids == first).all((0, 2)) & ((first[0, :, 0] < 0) | (ids.shape[2] > 1))
    return alone


def prompt_rows(file: File, stated: Stated, rows: int, said: int | None = None) -> tuple[int, list[str]]:
    """How many of the first rows of a sequence are its prompt, and what is to be noted where nobody says it."""
    prompt = stated.prompt if said is None else said
    if prompt is None:
        return 0, [NO_PROMPT]
    if not 0 <= prompt <= rows:
        file.fail(f"a prompt of {prompt} rows, but a sequence has only {rows}; give --prompt 0 to {rows}")
    return prompt, []


NO_PROMPT = "the file does not tell the prompt from what was generated: every row is taken as a decode pass (--prompt N says it)"
