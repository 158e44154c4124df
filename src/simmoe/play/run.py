"""`simmoe.run`: one scenario, a workload on a machine under a residency plan, played with time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simmoe.play.memory import budget_of, page_cache_of
from simmoe.play.plan import Plan, guesses_of, on_cpu_of
from simmoe.play.replay import decide_named, one_of
from simmoe.play.result import Run
from simmoe.play.workload import Workload
from simmoe.simulator.decide.counts import count, link_bytes_by_pass
from simmoe.simulator.decide.decisions import BOUNDS, SCOPES
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.run import Spans
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time.engines import Engine
from simmoe.simulator.time.laws import check


def run(
    hw: str | Path | Hardware,
    trace: str | Path | Trace,
    *,
    model: str | Path | ModelShape | None = None,
    budget: int | str | None = None,
    memory: int | str | None = None,
    eviction: str | Path = "lru",
    scope: str = "global",
    format: str | None = None,
    context: int | None = None,
    tokens: int | None = None,
    overlap: bool = True,
    cold_per_sequence: bool = False,
    prefetch: str | None = None,
    prefetch_into: str = "cache",
    miss: str = "fetch",
    placement: str | None = None,
    write_back: bool = False,
    page_cache: int | str = 0,
    graphs: bool = False,
    prefill_chunk: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    engine: str = "auto",
) -> Run:
    """Simulate one scenario.

    budget: bytes of routed experts that may be resident ("2 GB", "25%" of all of them, or an int). memory: the same from the other
    side: dense weights + KV cache + experts. Neither: what the device holds. tokens: the first so many (default all).
    prefetch: "next_layer" (the trace's guesses), "whole_layer" or none. prefetch_into: "cache", or "buffers" beside it, from where what
    is used moves into the cache. miss: "fetch", "cpu" (computed there) or "cheaper" of the two.
    placement: experts left to the CPU for good, "n_cpu_moe=4", "popular=50%", "random=50%" (the share that the GPU may have). graphs:
    launches come from CUDA graphs. write_back: an evicted expert is copied back over the link. page_cache: host memory before the
    link that keeps what was read from the store behind it ("48 GB"), on machines with link.upstream. prefill_chunk: prompts in passes
    of at most so many tokens. batch: so many sequences decoded together; tok_s is then that of all of them.
    engine: "simpy" (the reference), "fast" (compiled, needs numba) or "auto". Both give the same result to the bit.
    Raises UserError with one line for any input that cannot be simulated.
    """
    workload = Workload(
        hw, trace, model, format=format, tokens=tokens, context=context, graphs=graphs, prefill_chunk=prefill_chunk, batch=batch
    )  # fmt: skip
    budget_bytes = budget_of(workload.memory, budget, memory)
    plan = Plan(
        budget_bytes, str(eviction), scope, overlap, cold_per_sequence, seed, prefetch, miss, placement, prefetch_into,
        write_back, page_cache_of(workload.hw, page_cache),
    )  # fmt: skip
    return play(workload, plan, workload.engine(engine))


def play(workload: Workload, plan: Plan, engine: Engine | None = None, spans: Spans | None = None) -> Run:
    """Decide, then time; without `engine` by the one that pays."""
    engine = engine or workload.engine(spans=spans is not None)
    one_of("scope", plan.scope, SCOPES)
    bound = plan.eviction in BOUNDS
    if not bound:
        workload.memory.require(plan.budget_bytes)
    requests, sizes, trace = workload.requests, workload.model.expert_bytes, workload.trace
    costs, guesses = workload.costs, guesses_of(workload, plan)
    decisions = decide_named(
        trace,
        requests,
        sizes,
        plan.eviction,
        plan.budget_bytes,
        plan.scope,
        plan.cold_per_sequence,
        plan.seed,
        engine.player,
        guesses,
        on_cpu_of(workload, plan),
    )
    loads = loading(
        costs, requests, decisions, guesses, page_cache_bytes=plan.page_cache_bytes, write_back=plan.write_back
    )
    clocks = engine.simulate(costs, requests, decisions, guesses, plan.overlap, spans, loads)
    both, prefill, decode = (
        count(trace, requests, decisions, guesses, sizes, phase, plan.write_back) for phase in (None, PREFILL, DECODE)
    )
    check(costs, decisions, clocks, both, None if bound else plan.budget_bytes)
    pass_ps = np.array(clocks.end_ps, np.int64) - np.array(clocks.start_ps, np.int64)
    link_bytes = link_bytes_by_pass(trace, requests, decisions, guesses, sizes)
    made = Run(workload, plan, engine.name, both, prefill, decode, clocks, pass_ps, link_bytes, decisions, guesses)
    if not bound:
        workload.memory.require_buffers(plan.budget_bytes, made.buffer_bytes)
    return made
