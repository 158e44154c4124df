"""Requests of users while time goes on: which have arrived, which run, and what the schedule makes of them at the end of every pass.

The schedule is the one policy that reads the clock, and only here, between passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.blame import name_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.serving import Chunk, NextPass, Room, ServingLog
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time.answers import knows_rows
from simmoe.simulator.time.requests import OFTEN, Request, most_passes, most_rows, requests_in
from simmoe.simulator.time.scheduler import Scheduler, wrong


class Formed(NamedTuple):
    """A pass."""

    start_ps: int
    rows: Ints  # of the trace
    phase: int
    reads: Flags  # [rows] the row reads a prompt


class Serving:
    """The requests of a trace, from the arrival of the first to the end of the last. Where each of several devices serves sequences of
    its own, it has a scheduler of its own, and a pass is what all of them run."""

    def __init__(self, trace: Trace, arrival_ps: Ints, schedule: ModuleType, room: Room) -> None:
        """arrival_ps [sequences], rising: request i is the i-th sequence of the trace. room: of each scheduler; sequence s is of number s
        mod ranks."""
        self.schedule, self.room, self.knows_rows = schedule, room, knows_rows(schedule)
        self.requests = requests_in(trace, arrival_ps, whole_prompts=self.knows_rows)
        self.most_passes = most_passes(self.requests, min(room.max_tokens, room.microbatch) if self.knows_rows else 0)
        self.most_rows = most_rows(self.requests, room, self.knows_rows)
        self._ranks = [Scheduler(schedule, room) for _ in range(room.ranks)]
        self._arrived = 0  # requests
        self._running: Sequence[Chunk] = ()  # in the pass that runs now
        self._log: dict[str, list[Any]] = {name: [] for name in _LOGGED}
        self._again: list[Flags] = []

    def next(self, now_ps: int) -> Formed | None:
        """The pass behind `now_ps`, the end of the one before; None when every request has ended. Raises UserError."""
        waited = 0
        chunks: Sequence[Chunk] = ()
        while not chunks:
            self._arrive(max(now_ps, waited))
            if any(one.present for one in self._ranks):
                answer = self._asked(max(now_ps, waited))
                chunks = self._taken(answer)
                if answer.refused:
                    continue
            elif self._arrived == len(self.requests):
                self._require_some()
                return None
            if not chunks:
                waited = self.requests[self._arrived].arrival_ps
        self._log["waited_ps"].append(waited)
        self._running = sorted(chunks)
        return self._formed(max(now_ps, waited))

    def _require_some(self) -> None:
        """Raises UserError where no request has run."""
        if not self._log["left"]:
            raise UserError(
                f"schedule {name_of(self.schedule)} refuses every request: each needs more than {self.room.kv_blocks:,} blocks; "
                "raise --kv-blocks or --kv-memory, or ask for less with --prompt and --generate"
            )

    def ended(self) -> None:
        """The pass has ended: each of its requests has computed its rows, and leaves behind the last of them."""
        left = 0
        for number, rows, _ in self._running:
            one, rank = self.requests[number], self._of(number)
            turn = one.ran(rows) and not one.has_ended and one.begins_turn and self.knows_rows
            if one.has_ended:
                left += 1
                rank.leaves(number)
                continue
            if turn:
                self._give_up(one, "ended", len(self._log["left"]))
                rank.begins_turn(number)
            rank.show(one)
        self._log["left"].append(left)

    def log(self) -> ServingLog:
        sequence, arrival_ps = (
            np.array([getattr(one, name) for one in self.requests], np.int64) for name in ("sequence", "arrival_ps")
        )
        logged: dict[str, Any] = {
            name: np.array(found, np.int64).reshape(-1, *_LOGGED[name]) for name, found in self._log.items()
        }
        return ServingLog(sequence, arrival_ps, again=np.concatenate(self._again), rows=self.knows_rows, **logged)

    def _of(self, number: int) -> Scheduler:
        """Of a request."""
        return self._ranks[self.requests[number].sequence % len(self._ranks)]

    def _arrive(self, now_ps: int) -> None:
        while self._arrived < len(self.requests) and self.requests[self._arrived].arrival_ps <= now_ps:
            self._of(self._arrived).arrives(self.requests[self._arrived])
            self._arrived += 1

    def _give_up(self, one: Request, why: str, number: int) -> None:
        """A request has no KV cache any more, from pass `number` on."""
        self._log[why].append((number, one.number, one.computed))
        one.computed = 0

    def _asked(self, now_ps: int) -> NextPass:
        """What the schedulers answer that have requests. Raises UserError for an answer that no pass can be made of."""
        number, last = len(self._log["waited_ps"]), self._arrived == len(self.requests)
        answers, held = list[NextPass](), 0
        for rank, scheduler in enumerate(self._ranks):
            if scheduler.present:
                where = f" in pass {number}" + f" of device {rank}" * (len(self._ranks) > 1)
                answer, blocks = scheduler.asked(now_ps, where, lambda one: self.requests[one].done, last=last)
                answers, held = [*answers, answer], max(held, blocks)
        if number >= self.most_passes:
            most = f"another pass; {self.most_passes} are {OFTEN} times what the requests need one after the other"
            raise wrong(self.schedule, f" in pass {number}", most)
        whole = NextPass(*([one for part in parts for one in part] for parts in zip(*answers)))
        if whole.chunks:
            self._log["blocks"].append(held)
        return whole

    def _taken(self, answer: NextPass) -> Sequence[Chunk]:
        """What runs, when what is given up and refused has been."""
        for number in answer.preempted:
            self._give_up(self.requests[number], "preempted", len(self._log["waited_ps"]))
            self._of(number).show(self.requests[number])
        for number in answer.refused:
            self._log["refused"].append(number)
            self._of(number).leaves(number)
        return answer.chunks

    def _formed(self, start_ps: int) -> Formed:
        """The rows of the requests that run, in order of arrival."""
        rows, reads, again = list[Ints](), list[tuple[bool, int]](), list[tuple[bool, int]]()
        for number, count, cached in self._running:
            one = self.requests[number]
            one.computed += cached
            begin, end = one.computed, one.computed + count
            rows.append(one.rows[begin:end])
            decodes = max(end - max(begin, one.fresh), 0) if one.decodes[one.step] else 0
            reads += (True, count - decodes), (False, decodes)
            old = min(max(one.done - begin, 0), count)
            again += (True, old), (False, count - old)
            self._log["chunks"].append((len(self._log["waited_ps"]) - 1, number, count, cached))
        self._again.append(_flags(again))
        made = _flags(reads)
        return Formed(start_ps, np.concatenate(rows), PREFILL if made.all() else DECODE, made)


_LOGGED = {  # by name of ServingLog: columns of an entry
    "waited_ps": (), "left": (), "blocks": (), "chunks": (4,), "preempted": (3,), "ended": (3,), "refused": (),
}  # fmt: skip


def _flags(runs: list[tuple[bool, int]]) -> Flags:
    """Each value so many times."""
    values, counts = zip(*runs)
    return np.repeat(np.array(values), np.array(counts))
