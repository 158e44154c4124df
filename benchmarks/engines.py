"""The compiled engine against the reference, an idiomatic SimPy model and libcachesim; equal results first, then times.

What is timed is a run with everything that depends on the trace alone already made (requests; for libcachesim its reader): decisions
and clock for the engines, the loop over all requests for libcachesim, which computes no time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import interleaved
from simmoe import load_hardware, policies
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import decide, no_guesses
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import Engine, named
from simmoe.workloads.format.trace import first_tokens
from tests import oracle_simpy
from tests.scenarios import shape_for

PEERS = {  # policies that libcachesim has too, and how it calls them
    "lru": "LRU", "fifo": "FIFO", "lfu_resident": "LFU", "belady": "Belady", "clock": "Clock", "sieve": "Sieve", "slru": "SLRU",
    "two_q": "TwoQ", "s3fifo": "S3FIFO", "gdsf": "GDSF", "arc": "ARC", "w_tinylfu": "WTinyLFU", "lfu": "LFU", "random": "Random",
}  # fmt: skip
OTHER_RULES = {"gdsf", "arc", "w_tinylfu", "lfu", "random"}  # of the same name: misses may differ (tests say how)
SIMPY, FAST = named("simpy"), named("fast")


def plain(hw: Hardware) -> Hardware:
    """With the hard roofline, the only one that the idiomatic model knows; the clocks do the same work either way."""
    return replace(hw, units={**hw.units, hw.device.name: replace(hw.device, softness=None)})


class Job:
    """One policy at 25 % on the A100 profile, decisions and clock."""

    def __init__(self, trace: Trace, model: ModelShape, eviction: str) -> None:
        self.workload = Workload(plain(load_hardware("a100")), trace, model)
        self.plan, self.module = Plan(model.all_expert_bytes // 4, eviction), policies.load("eviction", eviction)
        self.accesses = len(self.workload.requests.use_obj)

    def run(self, engine: Engine) -> object:
        w = self.workload
        decisions = decide(
            w.requests,
            w.model.expert_bytes,
            self.module,
            self.plan.budget_bytes,
            player=engine.player,
        )
        guesses, timeline = no_guesses(w.requests), policies.load("timeline", "overlapped")
        loads = loading(w.costs, w.requests, decisions, guesses)
        return decisions, engine.simulate(w.costs, w.requests, decisions, guesses, loads, timeline)


def against_simpy(trace: Trace, passes: int, rounds: int) -> dict[str, float]:
    """Accesses/s of the three engines that compute time, LRU at 25 %, on the first passes of a trace."""
    part = first_tokens(trace, int(trace.pass_ptr[passes]))
    job = Job(part, shape_for(part), "lru")
    w, plan = job.workload, job.plan
    slow, quick = play(w, plan, SIMPY), play(w, plan, FAST)
    oracle = oracle_simpy.simulate(w.hw, w.model, part, budget_bytes=plan.budget_bytes, eviction="lru")
    assert slow.clocks == quick.clocks and slow.pass_ps.tolist() == oracle.pass_ps and slow.misses == oracle.misses

    def many() -> None:
        for _ in range(20):
            job.run(FAST)

    seconds = interleaved(
        {
            "compiled": many,
            "SimPy executor": lambda: job.run(SIMPY),
            "idiomatic SimPy model": lambda: oracle_simpy.simulate(
                w.hw, w.model, part, budget_bytes=plan.budget_bytes, eviction="lru"
            ),
        },
        rounds,
    )
    seconds["compiled"] /= 20
    return {name: job.accesses / taken for name, taken in seconds.items()}


def against_libcachesim(trace: Trace, rounds: int, names: Sequence[str] = tuple(PEERS)) -> dict[str, dict[str, float]]:
    """ns per access: our event-atomic replay with clocks, and as one-expert events without; libcachesim on the same ids."""
    model = shape_for(trace)
    flat, path = requests_of(trace, "sequential"), oracle_general(trace)
    room = trace.n_layers * trace.n_experts // 16 * 4  # a quarter; libcachesim's segments are a quarter of that each
    found = {}
    for eviction in names:
        job, reader = Job(trace, model, eviction), reader_of(path)
        jobs = {
            "events + clock": partial(job.run, FAST),
            "one-expert events": partial(_sequential, flat, trace, job.module, room),
            "libcachesim": partial(libcachesim_misses, reader, eviction, room),
        }
        misses = int((~jobs["one-expert events"]().hit).sum())
        theirs = jobs["libcachesim"]()
        assert misses == theirs or eviction in OTHER_RULES, f"{eviction}: {misses} misses here, {theirs} in libcachesim"
        job.run(FAST)
        seconds = interleaved(jobs, rounds)
        found[eviction] = {name: 1e9 * taken / job.accesses for name, taken in seconds.items()}
    path.unlink()
    return found


def _sequential(flat: Requests, trace: Trace, module, room: int):  # type: ignore[no-untyped-def]
    sizes = np.ones(trace.n_layers, np.int64)
    return decide(flat, sizes, module, room, guesses=no_guesses(flat), player=FAST.player)


def oracle_general(trace: Trace) -> Path:
    """The flat ids as libcachesim's binary oracleGeneral file: u32 time, u64 id, u32 size, i64 index of the next access."""
    flat = requests_of(trace, "sequential")
    n = len(flat.obj)
    following = np.full(n, -1, np.int64)
    order = np.argsort(flat.obj, kind="stable")
    again = np.diff(flat.obj[order]) == 0
    following[order[:-1][again]] = order[1:][again] + 1
    rows = np.zeros(n, np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")]))
    rows["time"], rows["id"], rows["size"], rows["next"] = np.arange(n), flat.obj + 1, 1, following
    path = Path(tempfile.mkstemp(suffix=".oracleGeneral.bin")[1])
    rows.tofile(path)
    return path


def reader_of(path: Path) -> Any:
    import libcachesim as lcs

    return lcs.TraceReader(str(path), lcs.TraceType.ORACLE_GENERAL_TRACE, lcs.ReaderInitParam(ignore_obj_size=True))


def libcachesim_misses(reader: Any, eviction: str, room: int) -> int:
    """Misses of libcachesim over the file; its own loop, in C, with a hash table of the size that it is fastest with here."""
    import libcachesim as lcs

    cache = getattr(lcs, PEERS[eviction])(room, hashpower=12)
    reader.reset()
    ratio, _ = cache.process_trace(reader)
    return round(ratio * reader.get_num_of_req())
