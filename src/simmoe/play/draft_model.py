"""What a draft takes that is a model: its own passes on the device of the run, with everything resident."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simmoe.play.speculation import redecoded
from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Costs
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace

MadeCosts = Callable[
    [ModelShape, Trace], Costs
]  # of that model and trace, on the machine and under the engine of the run


def draft_model_ps(costs_of: MadeCosts, model: ModelShape, trace: Trace) -> Ints:
    """int64 [passes]: it reads the rows of every prompt pass, and before each verify pass guesses token by token: one pass of one row at
    the position of every row of the verify pass but the last. What runs again needs no guesses."""
    asked = np.repeat((trace.phase == DECODE) & ~redecoded(trace), np.diff(trace.pass_ptr))
    asked[trace.pass_ptr[1:][trace.phase == DECODE] - 1] = False
    position, each = np.unique(trace.position[asked], return_inverse=True)
    prompts = np.flatnonzero(trace.phase == PREFILL)
    rows = (
        np.concatenate([np.arange(trace.pass_ptr[n], trace.pass_ptr[n + 1]) for n in prompts])
        if len(prompts)
        else position[:0]
    )
    steps = np.diff(trace.pass_ptr)[prompts].tolist() + [1] * len(position)
    if not steps:
        return np.zeros(trace.n_passes, np.int64)
    played = _trace(
        model, steps, [PREFILL] * len(prompts) + [DECODE] * len(position),
        np.concatenate((trace.sequence[rows], np.zeros(len(position), np.int32))), np.concatenate((trace.position[rows], position)),
    )  # fmt: skip
    took = _took_ps(costs_of(model, played), played)
    found = np.zeros(trace.n_passes, np.int64)
    found[prompts] = took[: len(prompts)]
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))[asked]
    np.add.at(found, number, took[len(prompts) :][each.reshape(-1)])
    return found


def _trace(model: ModelShape, steps: list[int], phase: list[int], sequence: Ints, position: Ints) -> Trace:
    """Rows that take turns with the experts, since nobody knows what a draft routes: as many are read as rows can ask for."""
    layers, rows, experts = len(model.moe_layers), len(position), model.n_experts
    turn = (np.arange(rows)[:, None] * model.top_k + np.arange(model.top_k)) % experts
    ids = np.repeat(turn[:, None], layers, axis=1).astype(np.int16)
    pass_ptr, kinds = np.cumsum([0, *steps]).astype(np.int64), np.array(phase, np.int8)
    at = sequence.astype(np.int32), position.astype(np.int32)
    return Trace(
        ids, np.array(model.moe_layers, np.int16), pass_ptr, kinds, *at, {"n_experts": experts, "model": model.name}
    )


def _took_ps(costs: Costs, trace: Trace) -> Ints:
    """int64 [passes]: launches one after the other, while nothing slows them."""
    found = costs.dense_ps.copy()
    for number, (size, rows) in enumerate(zip(costs.sizes, np.diff(trace.pass_ptr).tolist())):
        slots, law = rows * trace.top_k, costs.law(size)
        count = min(trace.n_experts, slots)
        found[number] += sum(costs.experts(place, count, slots, law).ps for place in range(trace.n_layers))
    return found
