"""Requests of users while time goes on: which have arrived, which run, and what the schedule makes of them at the end of every pass.

The schedule is the one policy that reads the clock, and only here, between passes.
"""

from __future__ import annotations

import reprlib
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.blame import failed, name_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.serving import ServingLog, UserRequest
from simmoe.simulator.nouns.trace import PREFILL, Trace

HOW = "return requests out of those that it is given, a list (docs/extending/schedule.md)"


class Step(NamedTuple):
    """What a request runs in one pass."""

    rows: Ints  # of the trace
    phase: int


class NextPass(NamedTuple):
    """What runs next."""

    start_ps: int
    rows: Ints
    phase: int


class Serving:
    """The requests of a trace, from the arrival of the first to the end of the last."""

    def __init__(self, trace: Trace, arrival_ps: Ints, schedule: ModuleType, max_batch: int) -> None:
        """arrival_ps [sequences], rising: request i is the i-th sequence of the trace. max_batch: so many may hold a KV cache."""
        self.schedule, self.max_batch = schedule, max_batch
        self._steps = steps_of(trace)
        self._sequence = [int(trace.sequence[steps[0].rows[0]]) for steps in self._steps]
        self._arrival = arrival_ps.tolist()
        self._arrived = 0  # requests
        self._present: dict[int, UserRequest] = {}  # by number, in order of arrival
        self._running: list[UserRequest] = []  # in the pass that runs now
        self._waited: list[int] = []
        self._left: list[int] = []

    def next(self, now_ps: int) -> NextPass | None:
        """The pass behind `now_ps`, the end of the one before; None when every request has ended. Raises UserError."""
        waited, chosen = 0, list[UserRequest]()
        while not chosen:
            self._arrive(max(now_ps, waited))
            if self._present:
                chosen = self._asked(max(now_ps, waited))
            elif self._arrived == len(self._arrival):
                return None
            if not chosen:
                waited = self._arrival[self._arrived]
        steps = [self._next_step(one) for one in chosen]
        self._running = chosen
        self._waited.append(waited)
        return NextPass(max(now_ps, waited), np.concatenate([step.rows for step in steps]), steps[0].phase)

    def ended(self) -> None:
        """The pass has ended: each of its requests has run a step, and leaves behind its last one."""
        for one in self._running:
            if one.steps_left == 1:
                del self._present[one.number]
            else:
                self._present[one.number] = self._view(one.number, one.steps_left - 1)
        self._left.append(sum(one.steps_left == 1 for one in self._running))

    def log(self) -> ServingLog:
        return ServingLog(
            *(np.array(one, np.int64) for one in (self._sequence, self._arrival, self._waited, self._left))
        )

    def _arrive(self, now_ps: int) -> None:
        while self._arrived < len(self._arrival) and self._arrival[self._arrived] <= now_ps:
            number = self._arrived
            self._present[number] = replace(self._view(number, len(self._steps[number])), started=False)
            self._arrived += 1

    def _view(self, number: int, left: int) -> UserRequest:
        step = self._steps[number][-left]
        prompt = step.phase == PREFILL
        return UserRequest(
            number, self._sequence[number], self._arrival[number], True, prompt, len(step.rows), left
        )  # fmt: skip

    def _next_step(self, one: UserRequest) -> Step:
        return self._steps[one.number][-one.steps_left]

    def _asked(self, now_ps: int) -> list[UserRequest]:
        """What the schedule answers, in order of arrival. Raises UserError for an answer that no pass can be made of."""
        present = tuple(self._present.values())
        try:
            answer = self.schedule.next_pass(now_ps, present, self.max_batch)
        except (Exception, SystemExit) as error:  # a user's text may fail in any way
            raise failed(error, self.schedule, "next_pass", f" in pass {len(self._waited)}") from error
        if wrong := self._wrong(answer, present):
            where = f"schedule {name_of(self.schedule)}: next_pass() in pass {len(self._waited)}"
            raise UserError(f"{where} returned {wrong}")
        return sorted(answer, key=lambda one: one.number)

    def _wrong(self, answer: Any, present: tuple[UserRequest, ...]) -> str | None:
        if not isinstance(answer, list | tuple):
            return f"{reprlib.repr(answer)}, which is no list; {HOW}"
        for one in answer:
            if not isinstance(one, UserRequest) or self._present.get(one.number) != one:
                return f"{reprlib.repr(one)}, which is none of the {len(present)} requests that are there; {HOW}"
        numbers = [one.number for one in answer]
        if len(set(numbers)) < len(numbers):
            twice = next(number for number in numbers if numbers.count(number) > 1)
            return f"request {twice} twice; a request runs one step in a pass"
        if len({one.reads_prompt for one in answer}) > 1:
            return "requests that read prompts beside others that decode; a pass does one or the other"
        if not answer and self._arrived == len(self._arrival):
            return f"no request, although {len(present)} have not ended and none will arrive; {HOW}"
        holding = len({one.number for one in present if one.started} | set(numbers))
        if holding > self.max_batch:
            return f"requests of which {holding} would hold a KV cache; --max-batch allows {self.max_batch}"
        return None


def steps_of(trace: Trace) -> list[list[Step]]:
    """The steps of every sequence, in order of first appearance."""
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    _, first, inverse = np.unique(trace.sequence, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse.reshape(-1)]
    order = np.lexsort((number, rank))
    cuts = np.flatnonzero((np.diff(rank[order]) != 0) | (np.diff(number[order]) != 0)) + 1
    found: list[list[Step]] = [[] for _ in first]
    for rows in np.split(order, cuts):
        found[rank[rows[0]]].append(Step(rows, int(trace.phase[number[rows[0]]])))
    return found
