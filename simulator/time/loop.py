"""Pass by pass: while the schedule names rows, what they ask is gathered, decided and lowered; an executor then serves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import numpy as np

from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.gather import Requests, Uses, played, requests_of
from simmoe.simulator.lower.durations import Loading
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.lower.pass_by_pass import Arrays, Lowered
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.simulator.pass_sizes import pass_sizes
from simmoe.simulator.time.deciding import Decided, Deciding
from simmoe.simulator.time.serving import Formed, Serving

Asked = Callable[[Trace, Requests], Guesses]  # what is wanted early in a pass
NONE = Uses(np.zeros(0, np.int64), None, None)


class Loop:
    """One clock-driven run. An executor calls `begin` at the end of every pass, and `end` before that."""

    def __init__(
        self, costs: Costs, serving: Serving, deciding: Deciding, asked: Asked, timeline: ModuleType, arrays: Arrays, *,
        with_cpu: bool, buffered: bool, cancel: bool, occupied: bool,
    ) -> None:  # fmt: skip
        """occupied: the executor models what memories hold. arrays: what its text reads."""
        self.trace, self.serving, self.deciding, self.asked = costs.trace, serving, deciding, asked
        self.costs, self.timeline = costs.pass_by_pass(), timeline
        self.buffered, self.cancel = buffered, cancel
        sizes, low = np.repeat(costs.decided_bytes, self.trace.n_experts), bool(costs.model.low)
        known = deciding.rooms, deciding.begins, sizes, buffered, low, deciding.group
        reserved = Occupancy.begun(*known) if occupied else None
        self.lowered = Lowered(self.costs, reserved, arrays, with_cpu=with_cpu)
        self.passes = 0
        self._formed: list[Formed] = []
        self._requests: list[Requests] = []  # without their occurrences: those of wide passes are many
        self._guesses: list[Guesses] = []

    def begin(self, now_ps: int) -> int | None:
        """Gather, decide and lower the pass behind `now_ps`; when it starts, or None when every request has ended."""
        following = self.serving.next(now_ps)
        if following is None:
            return None
        rows = following.rows
        trace = self.trace.taken(rows, np.array([0, len(rows)]), np.array([following.phase], np.int8))
        requests = requests_of(trace)
        guesses = self.asked(trace, requests)
        decided, loads = self.deciding.of_pass(requests, guesses)
        size = pass_sizes(trace, self.costs.spans)[0]
        self.costs.meet(size, trace)
        self.lowered.add(size, *decided, loads)
        self._formed.append(following)
        self._requests.append(replace(requests, occurrences=NONE, trace=None))
        self._guesses.append(guesses)
        return following.start_ps

    def end(self) -> None:
        """The pass has ended."""
        self.passes += 1
        self.serving.ended()

    def played(self) -> tuple[Trace, Requests]:
        """The rows in the order in which they were played, in the passes that were made of them, and what they asked for."""
        pass_ptr = np.cumsum([0, *(len(one.rows) for one in self._formed)])
        phase, rows = np.array([one.phase for one in self._formed], np.int8), [one.rows for one in self._formed]
        trace = self.trace.taken(np.concatenate(rows), pass_ptr, phase)
        reads = np.concatenate([one.reads & (one.phase == DECODE) for one in self._formed])
        if reads.any():
            trace = replace(trace, reads=reads)
        return trace, played(self._requests, trace)

    def decided(self, requests: Requests) -> tuple[Decided, Callable[[], Loading]]:
        """Of the whole run; `requests` are those of the trace as it was played."""
        counts = np.concatenate([np.diff(one.ptr) for one in self._guesses])
        ptr, obj = np.concatenate(([0], np.cumsum(counts))), np.concatenate([one.obj for one in self._guesses])
        return self.deciding.of_run(requests, Guesses(ptr, obj, self.buffered, self.cancel))
