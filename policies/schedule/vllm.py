"""vLLM's V1 scheduler: prompts in chunks beside the requests that decode, KV memory in blocks, and preemption of the last request where
blocks run out (vllm/v1/core/sched/scheduler.py, first come first served).

In every step the running requests come first, in order, each with all that it has to compute, as far as the token budget goes. One that
needs a block when none is free takes those of the last running request, which computes all anew later, at the head of the queue; such a
step admits nobody. Else waiting requests enter in order, while budget, sequences and blocks last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from simmoe.policies.kv_blocks import Blocks
from simmoe.simulator.nouns.serving import Chunk, NextPass, Room, UserRequest

TAKES = ("max_tokens", "kv_blocks", "prefix_cache")
LARGE_BYTES = 70 * 2**30  # of a GPU's memory


def usual(memory_bytes: int, device: str) -> tuple[int, int]:
    """What vllm serve takes for max_num_seqs and max_num_batched_tokens on such a GPU (EngineArgs.get_batch_defaults)."""
    large = memory_bytes >= LARGE_BYTES and "a100" not in device.lower()
    return (1024, 8192) if large else (256, 2048)


class Schedule:
    """The scheduler of one run."""

    def __init__(self, room: Room) -> None:
        self.room, self.blocks = room, Blocks(room.kv_blocks, room.prefix_cache)
        self.running: list[int] = []
        self.waiting: deque[int] = deque()

    def next_pass(self, now_ps: int, requests: Mapping[int, UserRequest], arrived: Sequence[int]) -> NextPass:
        """What runs from `now_ps` on. A request that has arrived again, with its next turn, has ended the one before."""
        for number in [one for one in self.running if one not in requests or one in arrived]:
            self.running.remove(number)
            self.blocks.free(number)
        refused = [one for one in arrived if requests[one].most_blocks > self.room.kv_blocks]
        self.waiting.extend(one for one in arrived if one not in refused)
        chunks, preempted = self._run(requests)
        if not preempted:
            chunks += self._admit(requests, self.room.max_tokens - sum(one.rows for one in chunks))
        return NextPass(chunks, preempted, refused)

    def _run(self, requests: Mapping[int, UserRequest]) -> tuple[list[Chunk], list[int]]:
        """What the running requests run, and who of them is preempted for it."""
        chunks, preempted, budget, at = list[Chunk](), list[int](), self.room.max_tokens, 0
        while at < len(self.running) and budget:
            number = self.running[at]
            request = requests[number]
            rows, at = request.within(budget), at + 1
            if not rows:  # what it decodes together is more than what is left
                continue
            while not self.blocks.take(number, request.before + request.computed + rows):
                last = self.running.pop()
                self.blocks.free(last)
                self.waiting.appendleft(last)
                preempted.append(last)
                if last == number:
                    return chunks, preempted
            chunks.append(Chunk(number, rows))
            budget -= rows
        return chunks, preempted

    def _admit(self, requests: Mapping[int, UserRequest], budget: int) -> list[Chunk]:
        """What waiting requests run."""
        chunks = list[Chunk]()
        while self.waiting and budget and len(self.running) < self.room.max_batch:
            request = requests[number := self.waiting[0]]
            there = self.blocks.cached(number, request.before + request.rows)
            cached = max(there - request.before, 0)
            rows = request.within(budget + cached) - cached
            if rows < 1 or not self.blocks.take(number, request.before + cached + rows, there):
                break
            self.running.append(self.waiting.popleft())
            chunks.append(Chunk(number, rows, cached))
            budget -= rows
        return chunks
