"""The parts of the discrete-event executor: a clock of whole picoseconds, operations, and the queue of a resource."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any

import simpy

Process = Generator[simpy.Event, Any, None]


class World(simpy.Environment):
    """Simulated time is a whole number of picoseconds."""

    @property
    def ps(self) -> int:
        now = self.now
        assert isinstance(now, int), "a float or a NumPy scalar has leaked into the clock"
        return now

    def last(self) -> Process:
        """Waits until everything else of this picosecond has happened."""
        while self.peek() == self.now:
            yield self.timeout(0)


class Op:
    """An operation in a queue."""

    __slots__ = ("after", "came", "ended", "ends_ps", "event", "kind", "other", "skipped", "what")

    def __init__(self, kind: int, after: Op | None, what: tuple[Any, ...], other: Op | None) -> None:
        self.kind, self.after, self.what = kind, after, what
        self.other = other  # the transfer of a ONE, what a WAIT waits for, the first hop of a MOVE
        self.came: simpy.Event | None = None  # the first bytes of a first hop
        self.ends_ps = 0  # when a first hop ends, once it has started
        self.ended = False
        self.skipped = False  # its resource passes it over
        self.event: simpy.Event | None = None  # its end, made when somebody waits

    def wait(self, env: World) -> simpy.Event:
        if self.event is None:
            self.event = env.event()
        return self.event

    def end(self) -> None:
        self.ended = True
        if self.event is not None:
            self.event.succeed()


class Queue:
    """What a resource still has to serve; empty, its process sleeps."""

    def __init__(self, env: World) -> None:
        self.env, self.ops, self.awake = env, deque[Any](), env.event()

    def put(self, op: Any) -> None:
        self.ops.append(op)
        if not self.awake.triggered:
            self.awake.succeed()

    def sleep(self) -> simpy.Event:
        self.awake = self.env.event()
        return self.awake
