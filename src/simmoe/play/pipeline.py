"""Prompts over several cards: llama.cpp has several passes of a prompt on its cards at once where nothing is the CPU's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from simmoe.play.plan import Plan, loadable
from simmoe.play.workload import Workload
from simmoe.simulator.arrays import Ints
from simmoe.simulator.card_costs import CardCosts
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.nouns.trace import PREFILL
from simmoe.simulator.pipeline import ends_ps

COPIES = "prompt.copies"  # of the inputs of a pass (GGML_SCHED_MAX_COPIES): so many passes may be under way


def copies(workload: Workload, plan: Plan) -> int:
    """How many passes of a prompt may be on the cards at once: llama_context.cpp asks for several devices, all layers, the output and the
    cache on them, and no tensor that is placed apart."""
    runtime = workload.runtime
    if runtime is None or not workload.owners or not workload.knobs.kv_offload or workload.cpu_blocks:
        return 1
    if workload.clock_driven is not None:  # a pass is formed when the one before has ended
        return 1
    if plan.timeline != runtime.timeline or not loadable(workload.begun, plan).all():
        return 1
    return int(runtime.of(COPIES) or 1)


def prompts(workload: Workload) -> list[tuple[int, int]]:
    """(first pass, behind the last) of each prompt that is read in several passes."""
    trace = workload.trace
    first, last = trace.sequence[trace.pass_ptr[:-1]], trace.sequence[trace.pass_ptr[1:] - 1]
    reads = trace.phase == PREFILL
    goes_on = reads[1:] & reads[:-1] & (first[1:] == last[:-1])
    edges = [0, *(np.flatnonzero(~goes_on) + 1).tolist(), trace.n_passes]
    return [(begin, end) for begin, end in pairwise(edges) if end - begin > 1]


def overlapped(workload: Workload, plan: Plan, clocks: Clocks) -> Clocks:
    """The times of passes that were played one after the other, where those of a prompt overlap on the cards."""
    under_way, groups = copies(workload, plan), prompts(workload)
    if under_way < 2 or not groups:
        return clocks
    lasts = clocks.end_ps - clocks.start_ps
    shorter = np.zeros_like(lasts)
    for begin, end in groups:
        shorter[begin:end] = lasts[begin:end] - np.diff(_ends_ps(workload, under_way, begin, end), prepend=0)
    saved = np.cumsum(shorter)
    return replace(
        clocks, start_ps=clocks.start_ps - saved + shorter, end_ps=clocks.end_ps - saved, overlapped_ps=shorter
    )


def refuse_spans(workload: Workload, plan: Plan) -> None:
    """Raises UserError where launches would not follow each other."""
    if copies(workload, plan) > 1 and prompts(workload):
        raise UserError(
            f"--perfetto draws one launch after the other, and {workload.hw.name} has several passes of a prompt on its cards at once: "
            "leave it out, or read the prompt in one pass with --microbatch"
        )


def _ends_ps(workload: Workload, copies: int, begin: int, end: int) -> Ints:
    costs, requests, layers = workload.costs, workload.requests, workload.trace.n_layers
    assert isinstance(costs, CardCosts) and workload.hw.fabric is not None
    counts, slots = (np.diff(ptr).reshape(-1, layers) for ptr in (requests.ptr, requests.use_ptr))
    parts = [list(costs.parts_of_cards(number, counts[number], slots[number]).values()) for number in range(begin, end)]
    messages = [costs.message_ps(costs.sizes[number].tokens) for number in range(begin, end)]
    return ends_ps(np.array(parts, np.int64), np.array(messages, np.int64), copies, workload.hw.fabric.peer)
