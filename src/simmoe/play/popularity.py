"""Whose use a placement counts that leaves the most used experts to the device.

popular=50% counts the text that it is scored on, popular=50%:TRACE another one, popular=50%:first=20% the first rows, which are then not
played.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import PREFILL, Trace
from simmoe.workloads.foreign.building import Stated
from simmoe.workloads.format import trace as traces

FIRST = "first="


@dataclass(frozen=True)
class Counted:
    """The rows that are counted and not played."""

    use: Ints  # [layers, experts] tokens that chose it
    rows: int
    of_rows: int


def source(placement: str | None) -> str:
    """What stands behind the colon of a placement; empty where there is none."""
    return (placement or "").partition("=")[2].partition(":")[2]


def other_trace(placement: str | None) -> str | None:
    """The name or file of the trace that a placement counts, in place of the one that is played."""
    named = source(placement)
    return named if named and not named.startswith(FIRST) else None


def use_of(trace: Trace) -> Ints:
    """[layers, experts]: tokens that chose it."""
    found = np.zeros((trace.n_layers, trace.n_experts), np.int64)
    for layer, counts in enumerate(found):
        ids = trace.expert_ids[:, layer]
        counts += np.bincount(ids[ids >= 0], minlength=trace.n_experts)
    return found


def counted_trace(name: str, played: Trace) -> Trace:
    """Another trace of the model that is played, which says what a file of another program leaves open. Raises UserError."""
    return traces.load(name, Stated(experts=played.n_experts, top_k=played.top_k))


def use_of_other(name: str, placement: str, played: Trace) -> Ints:
    """The same, of another trace with as many layers and experts. Raises UserError."""
    counted = counted_trace(name, played)
    shapes = [f"{t.n_layers} layers of {t.n_experts} experts" for t in (counted, played)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"--placement {placement}: {Path(name).name} has {shapes[0]}, and the trace that is played has {shapes[1]}; name a trace of "
            "the same model"
        )
    return use_of(counted)


def use_for(placement: str, played: Trace, counted: Counted | None) -> Ints:
    """What the placement counts. Raises UserError."""
    if counted is not None:
        return counted.use
    other = other_trace(placement)
    return use_of(played) if other is None else use_of_other(other, placement, played)


def parted(trace: Trace, placement: str | None) -> tuple[Counted | None, Trace]:
    """What a placement such as popular=50%:first=20% counts, and the passes behind it, which are played. Raises UserError."""
    if not source(placement).startswith(FIRST):
        return None, trace
    share = _share(str(placement))
    passes = int(np.searchsorted(trace.pass_ptr, share * trace.n_tokens))  # no row fewer than asked
    while 0 < passes < trace.n_passes and _within_a_prompt(trace, passes):
        passes += 1
    if not 0 < passes < trace.n_passes:
        raise UserError(
            f"--placement {placement} leaves nothing to play of {trace.n_tokens:,} tokens in {trace.n_passes:,} passes; count a smaller "
            "share, or another trace"
        )
    row = int(trace.pass_ptr[passes])
    head = trace.taken(slice(row), trace.pass_ptr[: passes + 1], trace.phase[:passes])
    rest = trace.taken(slice(row, None), trace.pass_ptr[passes:] - row, trace.phase[passes:])
    return Counted(use_of(head), row, trace.n_tokens), rest


def _within_a_prompt(trace: Trace, number: int) -> bool:
    """Whether the pass reads on in a prompt that an earlier pass began: a part of a prompt has no time to first token."""
    row = int(trace.pass_ptr[number])
    return bool(trace.phase[number] == PREFILL and (trace.sequence[:row] == trace.sequence[row]).any())


def _share(placement: str) -> float:
    digits = source(placement).removeprefix(FIRST)
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,15})?%", digits) or not float(digits[:-1]):
        raise UserError(
            f"--placement {reprlib.repr(placement)[1:-1]}: {FIRST} takes a share of the rows above 0 and below 100%; write first=20%"
        )
    return float(digits[:-1]) / 100
