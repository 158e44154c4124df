"""Requests of users while time goes on: which have arrived, which run, and what the schedule makes of them at the end of every pass.

The schedule is the one policy that reads the clock, and only here, between passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.blame import failed, name_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.serving import Chunk, NextPass, Room, ServingLog, UserRequest
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time.answers import Wrong, asked_of, check, knows_rows
from simmoe.simulator.time.requests import OFTEN, Request, most_passes, most_rows, requests_in


class Formed(NamedTuple):
    """A pass."""

    start_ps: int
    rows: Ints  # of the trace
    phase: int
    reads: Flags  # [rows] the row reads a prompt


class Serving:
    """The requests of a trace, from the arrival of the first to the end of the last."""

    def __init__(self, trace: Trace, arrival_ps: Ints, schedule: ModuleType, room: Room) -> None:
        """arrival_ps [sequences], rising: request i is the i-th sequence of the trace."""
        self.schedule, self.room, self.knows_rows = schedule, room, knows_rows(schedule)
        self.requests = requests_in(trace, arrival_ps, whole_prompts=self.knows_rows)
        self.most_passes = most_passes(self.requests, min(room.max_tokens, room.microbatch) if self.knows_rows else 0)
        self.most_rows = most_rows(self.requests, room, self.knows_rows)
        try:
            self._ask = asked_of(schedule, room)
        except (Exception, SystemExit) as error:  # a user's text may fail in any way
            raise failed(error, schedule, "Schedule") from error
        self._arrived = 0  # requests
        self._new: list[int] = []  # that have arrived since the schedule was asked
        self._turns: list[int] = []  # that begin a turn, with the end of the pass
        self._present: dict[int, UserRequest] = {}  # by number, in order of arrival
        self._holding: dict[int, UserRequest] = {}  # those that hold a KV cache
        self._running: Sequence[Chunk] = ()  # in the pass that runs now
        self._log: dict[str, list[Any]] = {name: [] for name in _LOGGED}
        self._again: list[Flags] = []

    def next(self, now_ps: int) -> Formed | None:
        """The pass behind `now_ps`, the end of the one before; None when every request has ended. Raises UserError."""
        waited = 0
        chunks: Sequence[Chunk] = ()
        while not chunks:
            self._arrive(max(now_ps, waited))
            if self._present:
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
                "raise --kv-blocks, or ask for less with --prompt and --generate"
            )

    def ended(self) -> None:
        """The pass has ended: each of its requests has computed its rows, and leaves behind the last of them."""
        left = 0
        for number, rows, _ in self._running:
            one = self.requests[number]
            turn = one.ran(rows) and not one.has_ended and one.begins_turn and self.knows_rows
            if one.has_ended:
                left += 1
                del self._present[number]
                self._holding.pop(number, None)
                continue
            if turn:
                self._give_up(one, "ended", len(self._log["left"]))
                self._turns.append(number)
            self._show(one)
        self._log["left"].append(left)

    def log(self) -> ServingLog:
        sequence, arrival_ps = (
            np.array([getattr(one, name) for one in self.requests], np.int64) for name in ("sequence", "arrival_ps")
        )
        logged: dict[str, Any] = {
            name: np.array(found, np.int64).reshape(-1, *_LOGGED[name]) for name, found in self._log.items()
        }
        return ServingLog(sequence, arrival_ps, again=np.concatenate(self._again), rows=self.knows_rows, **logged)

    def _arrive(self, now_ps: int) -> None:
        while self._arrived < len(self.requests) and self.requests[self._arrived].arrival_ps <= now_ps:
            self._present[self._arrived] = self.requests[self._arrived].view
            self._new.append(self._arrived)
            self._arrived += 1

    def _show(self, one: Request) -> None:
        """To the schedule, as it is now."""
        self._present[one.number] = seen = one.view
        if seen.started:
            self._holding[one.number] = seen
        else:
            self._holding.pop(one.number, None)

    def _give_up(self, one: Request, why: str, number: int) -> None:
        """A request has no KV cache any more, from pass `number` on."""
        self._log[why].append((number, one.number, one.computed))
        one.computed = 0

    def _asked(self, now_ps: int) -> NextPass:
        """What the schedule answers. Raises UserError for an answer that no pass can be made of."""
        where, arrived = f" in pass {len(self._log['waited_ps'])}", (*self._new, *self._turns)
        self._new, self._turns = [], []
        try:
            answer = self._ask(now_ps, MappingProxyType(self._present), arrived)
        except Wrong as error:
            raise self._wrong(error, where) from error
        except (Exception, SystemExit) as error:  # a user's text may fail in any way
            raise failed(error, self.schedule, "next_pass", where) from error
        try:
            last, done = self._arrived == len(self.requests), lambda number: self.requests[number].done
            blocks = check(answer, self._present, self._holding, done, self.room, last=last)
            if len(self._log["waited_ps"]) >= self.most_passes:
                raise Wrong(
                    f"another pass; {self.most_passes} are {OFTEN} times what the requests need one after the other"
                )
        except Wrong as error:
            raise self._wrong(error, where) from error
        if answer.chunks:
            self._log["blocks"].append(blocks)
        return answer

    def _wrong(self, error: Wrong, where: str) -> UserError:
        return UserError(f"schedule {name_of(self.schedule)}: next_pass(){where} returned {error}")

    def _taken(self, answer: NextPass) -> Sequence[Chunk]:
        """What runs, when what is given up and refused has been."""
        for number in answer.preempted:
            self._give_up(self.requests[number], "preempted", len(self._log["waited_ps"]))
            self._show(self.requests[number])
        for number in answer.refused:
            self._log["refused"].append(number)
            del self._present[number]
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
