"""llama-server's slots: a request has a slot to itself, and every batch holds a token of each slot that answers, then prompts up to -b
tokens (server_context::update_slots; -np slots, 4 by default).

A batch is computed -ub tokens at a time, each time in a pass of its own, and nothing enters or leaves before all of it is done. A request
takes the slot that was left longest ago, of slots that nobody has had the last one. With a prompt cache its next turn takes the slot that
still holds the one before, and computes only what is new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from simmoe.simulator.nouns.serving import Chunk, NextPass, Room, UserRequest

TAKES = ("max_tokens", "prefix_cache", "microbatch")
NOBODY = -1


def usual(memory_bytes: int, device: str) -> tuple[int, int]:
    """-np and -b."""
    return 4, 2048


class Schedule:
    """The server of one run."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.slots = [NOBODY] * room.max_batch  # the request of each
        self.holds = [NOBODY] * room.max_batch  # whose KV is in each
        self.left = [0] * room.max_batch  # when each was left, counted in requests
        self.waiting: deque[int] = deque()
        self.batch: deque[Chunk] = deque()  # what is left of it

    def next_pass(self, now_ps: int, requests: Mapping[int, UserRequest], arrived: Sequence[int]) -> NextPass:
        """The next tokens of the batch; behind its last ones another batch."""
        self.waiting.extend(arrived)
        if not self.batch:
            self._leave(requests)
            self._enter()
            self.batch.extend(self._batched(requests))
        return NextPass(list(self._next(requests)))

    def _leave(self, requests: Mapping[int, UserRequest]) -> None:
        """Slots whose requests have ended, or begin another turn, become free."""
        for slot, number in enumerate(self.slots):
            if number != NOBODY and (number not in requests or number in self.waiting):
                self.slots[slot], self.left[slot] = NOBODY, max(self.left) + 1

    def _enter(self) -> None:
        while self.waiting and NOBODY in self.slots:
            number = self.waiting.popleft()
            free = [slot for slot, whose in enumerate(self.slots) if whose == NOBODY]
            mine = [slot for slot in free if self.holds[slot] == number and self.room.prefix_cache]
            slot = mine[0] if mine else min(free, key=lambda slot: (self.left[slot], -slot))
            self.slots[slot] = number
            self.holds[slot] = number if mine else NOBODY

    def _batched(self, requests: Mapping[int, UserRequest]) -> Iterator[Chunk]:
        """A token of each slot that answers, then prompts, slot by slot."""
        budget, taken = (
            self.room.max_tokens,
            [(slot, number) for slot, number in enumerate(self.slots) if number != NOBODY],
        )
        for reads in (False, True):
            for slot, number in taken:
                request = requests[number]
                if request.reads_prompt != reads:
                    continue
                there = 0 if request.started or self.holds[slot] != number else min(request.done, request.rows - 1)
                rows = request.within(budget + there) - there
                if rows > 0:
                    yield Chunk(number, rows, there)
                    budget -= rows
                    self.holds[slot] = number

    def _next(self, requests: Mapping[int, UserRequest]) -> Iterator[Chunk]:
        """What one pass takes from the batch."""
        room = whole = self.room.microbatch
        while self.batch and room:
            number, rows, cached = self.batch[0]
            now = min(rows, requests[number].within(room + cached) - cached)
            if now < 1 and room < whole:  # what it decodes together has room in a pass of its own
                return
            now = rows if now < 1 else now
            yield Chunk(number, now, cached)
            room = max(room - now, 0)
            self.batch.popleft()
            if now < rows:
                self.batch.appendleft(Chunk(number, rows - now))
