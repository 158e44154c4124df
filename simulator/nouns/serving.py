"""Requests of users: what a schedule is shown of them, what it answers, and what a clock-driven run leaves behind. A sequence of the trace
is a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints

BLOCK = 16  # positions of a block of the KV cache, as in vLLM


@dataclass(frozen=True)
class UserRequest:
    """A request that has arrived and has not ended. A step ends with a token, or with the rows of one recorded pass."""

    number: int  # in order of arrival, from 0
    sequence: int  # of the trace
    arrival_ps: int
    started: bool  # it holds a KV cache
    reads_prompt: bool  # it reads a prompt next, or again what it has given up; else it decodes
    rows: int  # of its next step, that are left to run
    steps_left: int  # the next one included
    computed: int = 0  # rows whose KV it holds
    done: int = 0  # rows that it has computed at some time
    before: int = 0  # positions that it held before its first row
    most: int = 0  # positions that it holds at its end
    together: int = 0  # the last so many rows of its next step run in one pass: what decodes is not cut

    def within(self, budget: int) -> int:
        """How many of its next rows a pass takes that has room for so many."""
        return self.rows if budget >= self.rows else min(budget, self.rows - self.together)

    def blocks(self, more: int = 0) -> int:
        """Blocks of KV cache with so many rows more than it has computed."""
        return -(-(self.before + self.computed + more) // BLOCK)

    @property
    def most_blocks(self) -> int:
        """Blocks of KV cache that it holds at its end."""
        return -(-self.most // BLOCK)


class Room(NamedTuple):
    """What a schedule may use."""

    max_batch: int  # sequences that hold a KV cache
    max_tokens: int  # rows of a pass
    kv_blocks: int  # of all sequences together
    prefix_cache: bool
    microbatch: int  # rows that the engine computes at a time
    ranks: int = 1  # devices that serve sequences of their own, each with a scheduler of its own that may use so much


class Chunk(NamedTuple):
    """What a request runs in a pass: so many of its next rows, behind those whose KV a prefix cache still has."""

    request: int
    rows: int
    cached: int = 0


class NextPass(NamedTuple):
    """What a schedule answers. Preempted requests give up their KV cache, refused ones will never run."""

    chunks: Sequence[Chunk]
    preempted: Sequence[int] = ()
    refused: Sequence[int] = ()


def no_rows(columns: int = 1) -> Ints:
    return np.zeros((0, columns) if columns > 1 else 0, np.int64)


@dataclass(frozen=True, eq=False)
class ServingLog:
    """What the schedule did."""

    sequence: Ints  # [requests] of the trace, in order of arrival
    arrival_ps: Ints  # [requests]
    waited_ps: Ints  # [passes] the arrival that the schedule waited for before the pass; 0 = for none
    left: Ints  # [passes] requests that ended with the pass
    blocks: Ints = field(default_factory=no_rows)  # [passes] of KV cache, while the pass runs
    chunks: Ints = field(
        default_factory=lambda: no_rows(4)
    )  # [chunks, 4] pass, request, rows, rows of the prefix cache before them
    preempted: Ints = field(
        default_factory=lambda: no_rows(3)
    )  # [n, 3] pass before which, request, rows whose KV it gave up
    ended: Ints = field(
        default_factory=lambda: no_rows(3)
    )  # [n, 3] the same of requests that begin another turn: pass with which
    refused: Ints = field(default_factory=no_rows)  # requests
    again: Ints = field(default_factory=no_rows)  # [rows that were played] 1 = the row was computed before

    rows: bool = False  # the schedule says how many rows of a request run

    @property
    def served(self) -> Ints:
        """[requests] that were not refused."""
        return np.setdiff1d(np.arange(len(self.sequence)), self.refused)

    @property
    def recomputed(self) -> int:
        """Rows that were computed before."""
        return int(self.again.sum())

    @property
    def cached(self) -> int:
        """Rows whose KV a prefix cache had."""
        return int(self.chunks[:, 3].sum())
