"""What the requests of a clock-driven run waited for: time to first token, time per output token, time in the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.nouns.serving import ServingLog
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace

Floats = npt.NDArray[np.float64]
PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, eq=False)
class Served:
    """By request, in order of arrival; int64, picoseconds."""

    sequence: Ints  # of the trace
    arrival_ps: Ints
    start_ps: Ints  # of its first pass
    first_ps: Ints  # end of the pass that gives its first token; -1 = it gives none
    finish_ps: Ints  # end of its last pass
    tokens: Ints  # that it gives, the first one included
    idle_ps: int  # nothing ran, between the first pass and the last
    mean_batch: float | None  # sequences of a decode pass; None without one

    @property
    def ttft_ps(self) -> Ints:
        """Of the requests that give a token."""
        return (self.first_ps - self.arrival_ps)[self.first_ps >= 0]

    @property
    def tpot_ps(self) -> Floats:
        """Time for each token behind the first, of the requests that give one."""
        several = self.tokens > 1
        return np.asarray((self.finish_ps - self.first_ps)[several] / (self.tokens[several] - 1))

    @property
    def makespan_ps(self) -> int:
        """From the first arrival to the end of the last pass."""
        return int(self.finish_ps.max()) - int(self.arrival_ps.min())

    @property
    def mean_in_system(self) -> float:
        """Requests that have arrived and not ended, over the makespan: their stays, divided by it (Little)."""
        stays: list[int] = (self.finish_ps - self.arrival_ps).tolist()
        return sum(stays) / self.makespan_ps

    def to_json(self) -> dict[str, Any]:
        a_second = 1e12 / self.makespan_ps
        return {
            "n": len(self.sequence), "tokens": int(self.tokens.sum()), "ttft_ms": _spread(self.ttft_ps), "tpot_ms": _spread(self.tpot_ps),
            "e2e_ms": _spread(self.finish_ps - self.arrival_ps), "queue_ms": _spread(self.start_ps - self.arrival_ps),
            "tokens_per_s": int(self.tokens.sum()) * a_second, "requests_per_s": len(self.sequence) * a_second,
            "makespan_ps": self.makespan_ps, "idle_ps": self.idle_ps, "mean_batch": self.mean_batch,
            "mean_in_system": self.mean_in_system,
        }  # fmt: skip


def _spread(times_ps: Ints | Floats) -> dict[str, float] | None:
    """Percentiles by nearest rank, and the mean, in milliseconds; None of no times."""
    if not len(times_ps):
        return None
    ranks = {f"p{p}": float(np.percentile(times_ps, p, method="inverted_cdf")) / 1e9 for p in PERCENTILES}
    return {**ranks, "mean": float(np.mean(times_ps)) / 1e9}


def served(trace: Trace, clocks: Clocks, log: ServingLog) -> Served:
    """From the trace as it was played."""
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    found = [
        _one(trace, number[rows], rows) for rows in (np.flatnonzero(trace.sequence == one) for one in log.sequence)
    ]
    begin, first, last, tokens = (np.array(column, np.int64) for column in zip(*found))
    first_ps = np.where(first < 0, -1, clocks.end_ps[first])
    decode = trace.phase == DECODE
    together = np.unique(np.stack((number, trace.sequence))[:, decode[number]], axis=1).shape[1]
    idle = int((clocks.start_ps[1:] - clocks.end_ps[:-1]).sum())
    return Served(
        log.sequence, log.arrival_ps, clocks.start_ps[begin], first_ps, clocks.end_ps[last], tokens, idle,
        together / int(decode.sum()) if decode.any() else None,
    )  # fmt: skip


def _one(trace: Trace, number: Ints, rows: Ints) -> tuple[int, int, int, int]:
    """(first pass, pass of the first token or -1, last pass, tokens) of a sequence with these rows in these passes.

    A prompt gives a token at its end, and so does each row of a decode pass whose token was kept.
    """
    decode = trace.phase[number] == DECODE
    gives = decode & trace.kept[rows]
    gives[:-1] |= ~decode[:-1] & decode[1:]  # the last row of a prompt
    gives[-1] |= trace.phase[number[-1]] == PREFILL
    passes = number[gives]
    return int(number[0]), int(passes[0]) if len(passes) else -1, int(number[-1]), len(passes)
