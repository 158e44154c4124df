"""The text whose use of experts a policy counts: what stands behind the colon of its name.

popular=50% counts the text that it is scored on, popular=50%:TRACE another one, popular=50%:first=20% the first rows, which are then not
played. Placements, eviction policies, prefetchers and fitted quotas name texts in this way.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.naming import named
from simmoe.simulator.nouns.trace import PREFILL, Trace
from simmoe.workloads.foreign.building import Stated
from simmoe.workloads.format import trace as traces

FIRST = "first="
COUNTING = ("placement", "eviction", "prefetch", "miss", "scope")  # options whose values may name a text


@dataclass(frozen=True)
class Counted:
    """The rows that are counted and not played."""

    head: Trace
    of_rows: int

    @property
    def rows(self) -> int:
        return self.head.n_tokens

    @property
    def use(self) -> Ints:
        """[layers, experts] tokens that chose it."""
        return use_of(self.head)


class Unplayed(NamedTuple):
    """The share of the rows that is counted and not played, and which option says so."""

    share: float
    said: str


def source(value: str | None) -> str:
    """What stands behind the colon of a policy's name; empty where there is none."""
    return named(value).text if value else ""


def other_trace(value: str | None) -> str | None:
    """The name or file of the trace that a policy counts, in place of the one that is played."""
    text = source(value)
    return text if text and not text.startswith(FIRST) else None


def counts_first(value: str | None) -> bool:
    """Whether it counts the first rows of the trace that is played."""
    return source(value).startswith(FIRST)


def unplayed(values: Mapping[str, Any]) -> Unplayed | None:
    """What the options of a scenario say. Raises UserError where two of them cut at different places."""
    found = [
        Unplayed(_share(option, str(value)), said)
        for option in COUNTING
        if isinstance(value := values.get(option), str) and counts_first(value)
        for said in [f"--{option} {value}"]
    ]
    for one in found[1:]:
        if one.share != found[0].share:
            raise UserError(f"{found[0].said} and {one.said} count different first rows; count the same share")
    return found[0] if found else None


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


def of_other(name: str, said: str, played: Trace) -> Trace:
    """Another trace with as many layers and experts. Raises UserError; `said` is the option and its value."""
    counted = counted_trace(name, played)
    shapes = [f"{t.n_layers} layers of {t.n_experts} experts" for t in (counted, played)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{said}: {Path(name).name} has {shapes[0]}, and the trace that is played has {shapes[1]}; name a trace of the same model"
        )
    return counted


def text_for(option: str, value: str, played: Trace, counted: Counted | None) -> Trace | None:
    """The text that a policy counts in place of the one that is played; None where it names none. Raises UserError."""
    if counts_first(value):
        return counted.head if counted else None
    other = other_trace(value)
    return None if other is None else of_other(other, f"--{option} {value}", played)


def use_for(option: str, value: str, played: Trace, counted: Counted | None) -> Ints:
    """[layers, experts] tokens of the text that it counts, which is the one that is played where it names none. Raises UserError."""
    return use_of(text_for(option, value, played, counted) or played)


def parted(trace: Trace, cut: Unplayed | None) -> tuple[Counted | None, Trace]:
    """The rows that are counted, and the passes behind them, which are played. Raises UserError."""
    if cut is None:
        return None, trace
    passes = int(np.searchsorted(trace.pass_ptr, cut.share * trace.n_tokens))  # no row fewer than asked
    while 0 < passes < trace.n_passes and _within_a_prompt(trace, passes):
        passes += 1
    if not 0 < passes < trace.n_passes:
        raise UserError(
            f"{cut.said} leaves nothing to play of {trace.n_tokens:,} tokens in {trace.n_passes:,} passes; count a smaller share, or "
            "another trace"
        )
    row = int(trace.pass_ptr[passes])
    head = trace.taken(slice(row), trace.pass_ptr[: passes + 1], trace.phase[:passes])
    rest = trace.taken(slice(row, None), trace.pass_ptr[passes:] - row, trace.phase[passes:])
    return Counted(head, trace.n_tokens), rest


def _within_a_prompt(trace: Trace, number: int) -> bool:
    """Whether the pass reads on in a prompt that an earlier pass began: a part of a prompt has no time to first token."""
    row = int(trace.pass_ptr[number])
    return bool(trace.phase[number] == PREFILL and (trace.sequence[:row] == trace.sequence[row]).any())


def _share(option: str, value: str) -> float:
    digits = source(value).removeprefix(FIRST)
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,15})?%", digits) or not float(digits[:-1]):
        raise UserError(
            f"--{option} {reprlib.repr(value)[1:-1]}: {FIRST} takes a share of the rows above 0 and below 100%; write first=20%"
        )
    return float(digits[:-1]) / 100
