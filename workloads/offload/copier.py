"""The link: one thread that copies experts into slots, first in first out, if wanted no faster than a stated bandwidth."""

from __future__ import annotations

import ctypes
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from simmoe.workloads.offload.layout import Bytes
from simmoe.workloads.offload.store import Store

TIMEOUT_S = 60.0  # nobody waits longer, so that a defect is an error and no hang
PR_SET_TIMERSLACK = 29


@dataclass
class Throttle:
    """A link of a stated rate, as a clock of its own: a load may not end before start + latency + bytes / rate.

    It starts when it was issued or when the link is free, whichever is later. Deadlines are absolute, so that neither a
    late wake-up of the copy thread nor the time of its own memcpy adds up.
    """

    bytes_per_s: int
    latency_ns: int = 0
    free_ns: int = 0  # when the link has sent all that was issued
    clock: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep

    def deadline(self, issued_ns: int, nbytes: int) -> int:
        start = max(issued_ns, self.free_ns)
        self.free_ns = start + self.latency_ns + -(-nbytes * 10**9 // self.bytes_per_s)
        return self.free_ns

    def hold(self, issued_ns: int, nbytes: int) -> int:
        """Sleep until the load of `nbytes` that was issued then would have arrived; when that was."""
        until = self.deadline(issued_ns, nbytes)
        while (left := until - self.clock()) > 0:
            self.sleep(left / 1e9)
        return until


class Ticket:
    """One load: when it was issued, when the copy started, when the link had sent it, and whether it is there."""

    def __init__(self, number: int, obj: int, slot: int) -> None:
        self.number, self.obj, self.slot = number, obj, slot
        self.issued_ns = time.perf_counter_ns()
        self.started_ns = self.ended_ns = 0
        self.arrived = False
        self.gate = threading.Lock()
        self.gate.acquire()


class Copier:
    """Copies experts from `store` into rows of `memory`. An error of the thread is raised by whoever waits or submits next."""

    def __init__(self, store: Store, memory: Bytes, throttle: Throttle | None = None, core: int | None = None) -> None:
        self.store, self.memory, self.throttle, self.core = store, memory, throttle, core
        self.submitted = 0
        self.error: BaseException | None = None
        self.queue: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="copier", daemon=True)
        self.thread.start()

    def submit(self, obj: int, slot: int) -> Ticket:
        """Queue a load."""
        self._check()
        ticket = Ticket(self.submitted, obj, slot)
        self.submitted += 1
        self.queue.put(ticket)
        return ticket

    def wait(self, ticket: Ticket, timeout_s: float = TIMEOUT_S) -> None:
        """Return when the load has arrived."""
        if not ticket.arrived:
            if not ticket.gate.acquire(timeout=timeout_s):
                raise TimeoutError(f"the load of expert {ticket.obj} has not arrived after {timeout_s} s")
            ticket.gate.release()
        if not ticket.arrived:
            self._check()

    def close(self) -> None:
        """Let the thread finish what is queued, and end it."""
        self.queue.put(None)
        self.thread.join(TIMEOUT_S)

    def _check(self) -> None:
        if self.error is not None:
            raise RuntimeError(f"the copy thread failed: {self.error}") from self.error

    def _run(self) -> None:
        _settle(self.core)
        while (ticket := self.queue.get()) is not None:
            try:
                if self.error is None:
                    self._copy(ticket)
            except BaseException as error:
                self.error = error
            ticket.gate.release()

    def _copy(self, ticket: Ticket) -> None:
        ticket.started_ns = time.perf_counter_ns()
        self.store.read(ticket.obj, self.memory[ticket.slot])
        if self.throttle is None:
            ticket.ended_ns = time.perf_counter_ns()
        else:
            ticket.ended_ns = self.throttle.hold(ticket.issued_ns, self.memory.shape[1])
        ticket.arrived = True


def _settle(core: int | None) -> None:
    """Pin the calling thread and let its sleeps end on time, where the platform can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})  # 0 is the calling thread
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
