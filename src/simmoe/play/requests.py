"""What the requests of a clock-driven run waited for: time to first token, time per output token, time in the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe.play.slo import Goodput, Slo
from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.nouns.serving import ServingLog
from simmoe.simulator.nouns.trace import DECODE, Trace

Floats = npt.NDArray[np.float64]
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, eq=False, repr=False)
class Served:
    """By request, in order of arrival; int64, picoseconds."""

    sequence: Ints  # of the trace
    arrival_ps: Ints
    start_ps: Ints  # of its first pass
    first_ps: Ints  # end of the pass that gives its first token; -1 = it gives none
    finish_ps: Ints  # end of its last pass
    tokens: Ints  # that it gives, the first one included
    idle_ps: int  # nothing ran, between the first pass and the last
    mean_batch: float | None  # sequences that decode in a decode pass; None without one
    log: ServingLog  # of the schedule
    experts: tuple[float | None, float | None] = (None, None)  # of mean_experts()
    slo: Slo | None = None  # what counts as goodput

    def __repr__(self) -> str:
        """What they waited for, in place of all arrays."""
        times = (("TTFT", self.ttft_ps), ("TPOT", self.tpot_ps), ("in all", self.finish_ps - self.arrival_ps))
        said = [
            f"{name} p50 {spread['p50']:.4g} ms, p99 {spread['p99']:.4g} ms"
            for name, ps in times
            if (spread := _spread(ps))
        ]
        return f"Served({len(self.sequence):,} requests, {int(self.tokens.sum()):,} tokens; {'; '.join(said)})"

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

    @property
    def mean_in_queue(self) -> float:
        """Requests that have arrived and whose first pass has not begun, over the makespan."""
        waits: list[int] = (self.start_ps - self.arrival_ps).tolist()
        return sum(waits) / self.makespan_ps

    @property
    def arrivals_per_s(self) -> float | None:
        """Gaps a second between the arrivals, refused requests too: of few that are drawn it is not the rate that was asked for. None where
        all come at once."""
        span = int(self.log.arrival_ps.max()) - int(self.log.arrival_ps.min())
        return (len(self.log.arrival_ps) - 1) * (1e12 / span) if span else None

    @property
    def goodput(self) -> Goodput | None:
        """The requests that were served as quickly as was asked for; None where nothing was."""
        if self.slo is None:
            return None
        first, others = self.slo.late(self.arrival_ps, self.first_ps, self.finish_ps, self.tokens)
        met, of = int((~first & ~others).sum()), len(self.sequence) + len(self.log.refused)
        return Goodput(self.slo, met, of, int(first.sum()), int(others.sum()), met * (1e12 / self.makespan_ps))

    def to_json(self) -> dict[str, Any]:
        a_second, good = 1e12 / self.makespan_ps, self.goodput
        return {
            "n": len(self.sequence), "tokens": int(self.tokens.sum()), "ttft_ms": _spread(self.ttft_ps), "tpot_ms": _spread(self.tpot_ps),
            "e2e_ms": _spread(self.finish_ps - self.arrival_ps), "queue_ms": _spread(self.start_ps - self.arrival_ps),
            "tokens_per_s": int(self.tokens.sum()) * a_second, "requests_per_s": len(self.sequence) * a_second,
            "arrivals_per_s": self.arrivals_per_s, "makespan_ps": self.makespan_ps, "idle_ps": self.idle_ps, "mean_batch": self.mean_batch,
            "mean_in_system": self.mean_in_system, "mean_in_queue": self.mean_in_queue,
            "mean_experts": dict(zip(("prefill", "decode"), self.experts)),
            **({} if good is None else {"goodput": good.to_json()}), **(self.given_up if self.log.rows else {}),
        }  # fmt: skip

    @property
    def given_up(self) -> dict[str, int]:
        """What a schedule that counts rows and blocks refused, gave up and computed again."""
        log = self.log
        return {
            "refused": len(log.refused), "preemptions": len(log.preempted), "recomputed_tokens": log.recomputed,
            "prefix_cached_tokens": log.cached, "most_kv_blocks": int(log.blocks.max()),
        }  # fmt: skip


def _spread(times_ps: Ints | Floats) -> dict[str, float] | None:
    """Percentiles by nearest rank, and the mean, in milliseconds; None of no times."""
    if not len(times_ps):
        return None
    ranks = {f"p{p}": float(np.percentile(times_ps, p, method="inverted_cdf")) / 1e9 for p in PERCENTILES}
    return {**ranks, "mean": float(np.mean(times_ps)) / 1e9}


def columns(found: Served | None) -> dict[str, float | None]:
    """Of a table of runs, in which some may have no requests."""
    block, good = ({}, None) if found is None else (found.to_json(), found.goodput)
    times = {
        f"request_{name}_p{p}_ms": (block.get(f"{name}_ms") or {}).get(f"p{p}")
        for name in ("ttft", "tpot", "e2e", "queue")
        for p in PERCENTILES
    }
    return {
        "requests_per_s": block.get("requests_per_s"), "goodput_per_s": good and good.per_s, "slo_share": good and good.share, **times,
        "mean_batch": block.get("mean_batch"), "experts_per_pass": None if found is None else found.experts[1],
    }  # fmt: skip


def mean_experts(trace: Trace, requests: Requests) -> tuple[float | None, float | None]:
    """Mean number of distinct experts that the rows of a pass ask for together in an MoE layer: of passes that read prompts alone, and of
    those in which something decodes."""
    asked = trace.n_passes * trace.n_layers  # of several devices an event is as many
    each, decodes = (
        np.diff(requests.ptr).reshape(asked, -1).sum(axis=1),
        np.repeat(trace.phase, trace.n_layers) == DECODE,
    )
    reading, decoding = (float(mine.mean()) if len(mine) else None for mine in (each[~decodes], each[decodes]))
    return reading, decoding


def served(trace: Trace, clocks: Clocks, log: ServingLog) -> Served:
    """From the trace as it was played. A prompt gives a token at its end, and so does each row that decodes whose token was kept; what is
    computed again gives none."""
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    rows = np.flatnonzero(log.again == 0)
    rows = rows[np.argsort(trace.sequence[rows], kind="stable")]
    inner = np.flatnonzero(np.diff(trace.sequence[rows])) + 1
    cuts = np.concatenate(([0], inner, [len(rows)]))  # where the rows of a sequence begin, and the end
    begin, last = cuts[:-1], cuts[1:] - 1
    decodes, given = trace.decodes[rows], np.concatenate(([0], np.cumsum(_gives(trace, rows, last))))
    tokens, none = given[cuts[1:]] - given[begin], len(rows)
    first = np.append(np.flatnonzero(np.diff(given)), none)[given[begin]]  # the row that gives the first token
    first_ps = np.where(tokens > 0, np.append(clocks.end_ps[number[rows]], -1)[first], -1)
    at = np.searchsorted(trace.sequence[rows[begin]], log.sequence[log.served])  # in order of arrival
    whose = np.repeat(np.arange(len(begin)), np.diff(cuts))
    together = len(np.unique((number[rows] * len(begin) + whose)[decodes]))
    idle, passes = int((clocks.start_ps[1:] - clocks.end_ps[:-1]).sum()), int((trace.phase == DECODE).sum())
    return Served(
        log.sequence[log.served], log.arrival_ps[log.served], clocks.start_ps[number[rows[begin[at]]]], first_ps[at],
        clocks.end_ps[number[rows[last[at]]]], tokens[at], idle, together / passes if passes else None, log,
    )  # fmt: skip


def _gives(trace: Trace, rows: Ints, last: Ints) -> Flags:
    """[rows] whether each gives a token. last: where the rows of a sequence end."""
    decodes = trace.decodes[rows]
    ends = np.append(decodes[1:], True)  # a prompt ends before a row that decodes, and with its sequence
    ends[last] = True
    gives: Flags = np.where(decodes, trace.kept[rows], ends)
    return gives
