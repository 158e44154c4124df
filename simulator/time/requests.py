"""The rows of each request of a clock-driven run, cut into steps, and how far it has come."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.serving import Room, UserRequest
from simmoe.simulator.nouns.trace import PREFILL, Trace

OFTEN = 2  # times the passes that the requests need one after the other: no schedule runs more


class Request:
    """One request."""

    __slots__ = ("arrival_ps", "before", "computed", "decodes", "done", "ends", "number", "rows", "sequence", "step")

    def __init__(
        self, number: int, sequence: int, arrival_ps: int, rows: Ints, ends: list[int], decodes: list[bool], before: int
    ) -> None:
        """rows: of the trace. ends, decodes: of each step, the rows behind which it ends, and whether it decodes."""
        self.number, self.sequence, self.arrival_ps, self.before = number, sequence, arrival_ps, before
        self.rows, self.ends, self.decodes = rows, ends, decodes
        self.step = self.computed = self.done = 0  # done: rows that were computed at some time

    @property
    def fresh(self) -> int:
        """Where the rows of its next step begin."""
        return self.ends[self.step - 1] if self.step else 0

    @property
    def view(self) -> UserRequest:
        """What a schedule is shown."""
        step, end, computed = self.step, self.ends[self.step], self.computed
        decodes, begin = self.decodes[step], self.fresh
        return UserRequest(
            self.number, self.sequence, self.arrival_ps, computed > 0, not decodes or computed < begin, end - computed,
            len(self.ends) - step, computed, self.done, self.before, self.before + self.ends[-1], end - begin if decodes else 0,
        )  # fmt: skip

    def ran(self, rows: int) -> bool:
        """So many rows more are computed; whether that ends its step."""
        self.computed += rows
        self.done = max(self.done, self.computed)
        ends = self.computed == self.ends[self.step]
        self.step += ends
        return ends

    @property
    def has_ended(self) -> bool:
        return self.step == len(self.ends)

    @property
    def turns(self) -> int:
        """Prompts with the answers to them."""
        return 1 + sum(before and not after for before, after in pairwise(self.decodes))

    @property
    def begins_turn(self) -> bool:
        """Its next step reads a prompt behind an answer."""
        return self.step > 0 and self.decodes[self.step - 1] and not self.decodes[self.step]


def requests_in(trace: Trace, arrival_ps: Ints, *, whole_prompts: bool) -> list[Request]:
    """The sequences of a trace in order of first appearance, of which request i arrives at arrival_ps[i]. A step is the rows of a sequence
    in one recorded pass or, of whole prompts, in all passes that read one prompt."""
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    _, first, inverse = np.unique(trace.sequence, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse.reshape(-1)]
    order = np.lexsort((number, rank))
    rank, number, phase = rank[order], number[order], trace.phase[number[order]]
    other = np.diff(rank) != 0
    cut = other | (np.diff(number) != 0)
    if whole_prompts:
        cut &= other | (phase[:-1] != PREFILL) | (phase[1:] != PREFILL)
    ends = np.append(np.flatnonzero(cut), len(order) - 1)  # last row of each step
    begin = np.flatnonzero(np.concatenate(([True], other)))
    steps = np.searchsorted(ends, begin).tolist()
    decodes, of_step = (phase[ends] != PREFILL).tolist(), (ends + 1 - begin[rank[ends]]).tolist()
    before, sequence = trace.position[order[begin]].tolist(), trace.sequence[order[begin]].tolist()
    cuts = [*begin.tolist(), len(order)]
    return [
        Request(
            i, sequence[i], int(arrival_ps[i]), order[cuts[i] : cuts[i + 1]], of_step[at:to], decodes[at:to], before[i]
        )
        for i, (at, to) in enumerate(zip(steps, [*steps[1:], len(ends)]))
    ]


def most_passes(requests: list[Request], rows: int) -> int:
    """No run has more passes. rows: of a pass that reads one prompt, where prompts are cut; 0 = a pass runs a step at least."""
    steps = sum(len(one.ends) for one in requests)
    if not rows:
        return steps
    return OFTEN * (steps + sum(one.turns * -(-one.ends[-1] // rows) for one in requests))


def most_rows(requests: list[Request], room: Room, cut: bool) -> int:
    """No pass has more rows. cut: a pass may run a part of a step."""
    if cut:
        return min(room.max_tokens * room.ranks, sum(one.ends[-1] for one in requests))
    widest = sorted(max(end - begin for begin, end in pairwise((0, *one.ends))) for one in requests)
    return sum(widest[-room.max_batch * room.ranks :])
