"""Who reads a memory beside whom, in the discrete-event executor: what is read is planned again whenever that changes."""

from __future__ import annotations

from collections.abc import Callable

import simpy

from simmoe.simulator.costs import Costs
from simmoe.simulator.time.queues import Process, World


class Traffic:
    """What moves through the memories now, and the rates at which that lets the unit and the CPU read."""

    def __init__(self, env: World, costs: Costs, with_cpu: bool) -> None:
        """with_cpu: the CPU computes experts in this run."""
        self.env, self.costs = env, costs
        self.slow_cpu = with_cpu and not costs.contended and costs.cpu.shares_memory  # while bytes leave its memory
        self.pipelined = costs.hw.link.upstream is not None and costs.hw.link.upstream.pipelined
        self.under_way = 0  # transfers that have started, on whichever hop
        self.moving = 0  # transfers on the link
        self.leaving = 0  # transfers whose bytes leave the memory before the link now
        self.cpu_rate = "not"  # how the CPU reads unified memory: not, alone, as beside loads
        self.unit, self.cpu = Bus(env, self.unit_rate), Bus(env, self.cpu_left)

    def begin_move(self, reads_ps: int) -> None:
        """A transfer takes up the link; behind the latency, bytes leave the memory before the link for `reads_ps`."""
        self.moving += 1
        self.unit.changed()
        if self.slow_cpu:
            self.env.process(self.leave(reads_ps))

    def end_move(self) -> None:
        self.moving -= 1
        self.under_way -= 1
        self.unit.changed()

    def leave(self, reads_ps: int) -> Process:
        yield self.env.timeout(self.costs.hw.link.latency_ps)
        for change, lasts in ((+1, reads_ps), (-1, 0)):
            self.leaving += change
            self.cpu.changed()
            yield self.env.timeout(lasts)

    def cpu_reads(self, how: str) -> None:
        self.cpu_rate = how
        self.unit.changed()

    def unit_rate(self) -> int:
        """Bytes per ms that the unit of a unified machine reads now."""
        costs, loading = self.costs, self.moving > 0
        if self.cpu_rate == "not":
            return costs.slow_rate if loading else costs.rate
        outside, inside, fast = costs.cpu.gpu_rates(costs.rate)
        return fast if self.cpu_rate == "alone" else inside if loading else outside

    def cpu_left(self) -> int:
        """Bytes per ms that the CPU of a discrete machine reads now."""
        cpu = self.costs.cpu
        return cpu.beside_loads if self.leaving else cpu.rate


class Bus:
    """A memory, read at a rate that may change meanwhile."""

    def __init__(self, env: World, rate: Callable[[], int]) -> None:
        self.env, self.rate = env, rate  # bytes per ms now
        self.reader: simpy.Process | None = None  # that reads the memory now

    def changed(self) -> None:
        if self.reader is not None:
            reader, self.reader = self.reader, None
            reader.interrupt()

    def read(self, left: list[Left]) -> Process:
        """Launches that follow each other: a fixed time, then the longer of reading the bytes and computing. They are planned as if
        nothing changed, and planned again when something does."""
        env = self.env
        while left:
            start, rate = env.ps, self.rate()
            self.reader = env.active_process
            try:
                yield env.timeout(sum(_lasts(one, rate) for one in left))
                self.reader = None
                return
            except simpy.Interrupt:
                left = _rest(left, env.ps - start, rate)


Left = tuple[int, int, int]  # of a launch: time until it reads, work, FLOP time


def _lasts(one: Left, rate: int) -> int:
    launch_ps, work, flop_ps = one
    return launch_ps + max(-(-work // rate), flop_ps)


def _rest(left: list[Left], elapsed: int, rate: int) -> list[Left]:
    """What is left of launches that have run for `elapsed` at `rate`; whole rates times whole picoseconds leave nothing to round."""
    for number, one in enumerate(left):
        lasts = _lasts(one, rate)
        if elapsed < lasts:
            launch_ps, work, flop_ps = one
            reading = max(elapsed - launch_ps, 0)
            begun = (max(launch_ps - elapsed, 0), max(work - rate * reading, 0), max(flop_ps - reading, 0))
            return [begun, *left[number + 1 :]]
        elapsed -= lasts
    return []
