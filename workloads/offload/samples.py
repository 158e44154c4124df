"""Reference operations, measured within a run after every token: what the machine can do while this run plays.

A machine's speed drifts from run to run by more than the error that a simulation should have. So what the simulator is
given to predict a run are averages of single operations from the same minutes, and never a time of a whole pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import cycle

import numpy as np
from torch import Tensor

from simmoe.workloads.offload.runtime import Runtime


class Sampler:
    """Takes one set of samples at each call; every operation is the very code that the run uses."""

    def __init__(self, runtime: Runtime, seed: int) -> None:
        self.runtime, self.rng = runtime, np.random.default_rng(seed)
        self.samples = runtime.log.samples
        self.spare = cycle(range(runtime.slots.count, len(runtime.memory)))
        self.held = runtime.options.bytes_per_s is not None  # the link's clock runs from when a load is issued

    def __call__(self, dense: Callable[[int], None], x: Tensor) -> None:
        """`dense(layer)` repeats the dense work of a layer; x (N, d) is the input that experts get."""
        ids = self.runtime.log.ids[-1]
        for layer in self.rng.integers(len(ids), size=2).tolist():
            self.samples.dense.append(_timed(partial(dense, layer)))
            self.samples.expert.append(self._expert(self._any_slot(), x))
        copied = self._round_trip()
        self.samples.fresh.append(self._expert(copied, x))
        if self.held:
            return  # most of such a load is sleep, which slows nobody down
        ticket = self.runtime.copier.submit(self._any_object(), next(self.spare))
        self.samples.beside.append(self._expert(self._any_slot(), x))
        self.runtime.copier.wait(ticket)

    def _round_trip(self) -> int:
        """One load into a spare row, which is returned."""
        ticket = self.runtime.copier.submit(self._any_object(), next(self.spare))
        self.runtime.copier.wait(ticket)
        now = time.perf_counter_ns()
        self.samples.copy.append(ticket.ended_ns - (ticket.issued_ns if self.held else ticket.started_ns))
        self.samples.wake.append(now - ticket.issued_ns - self.samples.copy[-1])
        return ticket.slot

    def _expert(self, slot: int, x: Tensor) -> int:
        """Time of one expert on as many rows as some expert of the last pass had."""
        ids = self.runtime.log.ids[-1][int(self.rng.integers(len(self.runtime.log.ids[-1])))]
        used, counts = np.unique(ids[ids >= 0], return_counts=True)
        rows = int(counts[self.rng.integers(len(used))]) if len(used) else 1
        k, y = ids.shape[1], x.new_zeros(ids.size, x.shape[1])
        places = list(range(0, rows * k, k))
        return _timed(partial(self.runtime.expert, slot, x, places, k, y))

    def _any_slot(self) -> int:
        return int(self.rng.choice(list(self.runtime.slots.slot_of.values())))

    def _any_object(self) -> int:
        return int(self.rng.integers(self.runtime.log.n_experts * len(self.runtime.log.ids[-1])))


def _timed(action: Callable[[], None]) -> int:
    began = time.perf_counter_ns()
    action()
    return time.perf_counter_ns() - began
