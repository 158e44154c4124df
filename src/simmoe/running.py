"""`simmoe.run`: one scenario, a workload on a machine under a residency plan, played with time."""

from __future__ import annotations

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simmoe import __version__, hardware_profiles
from simmoe.energy import energy
from simmoe.memory import Memory, budget_of, kv_bytes, page_cache_of
from simmoe.planning import guesses_of, on_cpu_of, policy_identity
from simmoe.replaying import decide_named, one_of
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide import BOUNDS, SCOPES, Decisions, Guesses
from simmoe.simulator.engines import Engine, engine
from simmoe.simulator.errors import UserError
from simmoe.simulator.loading import loading
from simmoe.simulator.requests import Ints, Requests, requests_of
from simmoe.simulator.runlog import (
    Clocks,
    Counts,
    Spans,
    check,
    check_occupancy,
    count,
    hit_flags,
    link_bytes_by_pass,
    peak_buffer_bytes,
)
from simmoe.simulator.types import DECODE, PREFILL, Hardware, ModelShape, Trace
from simmoe.workloads import models
from simmoe.workloads import trace as traces
from simmoe.workloads.regroup import regrouped


class Workload:
    """A model and a trace on a machine: everything that does not depend on the residency plan, computed once."""

    def __init__(
        self,
        hw: str | Path | Hardware,
        trace: str | Path | Trace,
        model: str | Path | ModelShape | None = None,
        *,
        format: str | None = None,
        tokens: int | None = None,
        context: int | None = None,
        graphs: bool = False,
        prefill_chunk: int | None = None,
        batch: int | None = None,
    ) -> None:
        """tokens: play the first so many (whole passes). context: positions to reserve KV memory for. graphs: launches come
        from CUDA graphs. prefill_chunk, batch: other passes than recorded (workloads/regroup.py). Raises UserError."""
        self.hw = hw if isinstance(hw, Hardware) else hardware_profiles.load(hw)
        self._recorded = traces.given(trace)
        whole = regrouped(self._recorded, prefill_chunk, batch)
        self.trace, self.all_tokens = first_tokens(whole, tokens), whole.n_tokens
        self.prefill_chunk, self.batch = prefill_chunk, batch
        self.model = model if isinstance(model, ModelShape) else _model_of(whole, model, format)
        self.context = int(whole.position.max()) + 1 if context is None else context
        self.kv_bytes = kv_bytes(self.model, whole, self.context)
        self.memory = Memory(self.hw, self.model, self.kv_bytes)
        self.graphs = graphs

    @cached_property
    def trace_digest(self) -> str:
        return self._recorded.meta.get("digest") or traces.digest(self._recorded)

    @cached_property
    def requests(self) -> Requests:
        return requests_of(self.trace)

    @cached_property
    def costs(self) -> Costs:
        return Costs(self.hw, self.model, self.trace, graphs=self.graphs)

    def engine(self, wish: str = "auto", *, spans: bool = False, runs: int = 1) -> Engine:
        """The engine that plays `runs` runs of this workload; see simulator/engines.py."""
        return engine(wish, self.costs, self.requests, spans=spans, runs=runs)

    def on(self, hw: Hardware) -> Workload:
        """The same workload on another machine."""
        return Workload(hw, self.trace, self.model, context=self.context, graphs=self.graphs)

    def facts(self) -> dict[str, Any]:
        """What was played, by name and digest."""
        meta = self.trace.meta
        return {
            "hardware": {"name": self.hw.name, "digest": self.hw.digest},
            "model": {"name": self.model.name, "format": self.model.format, "digest": self.model.digest},
            "trace": {"model": meta.get("model"), "router": meta.get("router"), "digest": self.trace_digest,
                      "tokens": self.trace.n_tokens, "of_tokens": self.all_tokens,
                      "prefill_chunk": self.prefill_chunk, "batch": self.batch},
            "context": self.context, "graphs": self.graphs,
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Which experts may stay resident, and how they get there."""

    budget_bytes: int
    eviction: str = "lru"
    scope: str = "global"
    overlap: bool = True
    cold_per_sequence: bool = False
    seed: int = 0
    prefetch: str | None = None
    miss: str = "fetch"
    placement: str | None = None  # such as n_cpu_moe=4, popular=50%
    prefetch_into: str = "cache"
    write_back: bool = False
    page_cache_bytes: int = 0


@dataclass(frozen=True)
class Run:
    """One simulated run. Every time and rate is simulated; counts and bytes are exact for the trace."""

    workload: Workload
    plan: Plan
    engine: str
    counts: Counts  # prefill and decode together
    prefill: Counts
    decode: Counts
    clocks: Clocks
    pass_ps: Ints  # [passes]
    link_bytes: Ints  # [passes] bytes of the transfers that the pass issued
    decisions: Decisions
    guesses: Guesses

    hits = property(lambda self: self.counts.hits)
    misses = property(lambda self: self.counts.misses)
    evictions = property(lambda self: self.counts.evictions)
    bytes = property(lambda self: self.counts.bytes)

    @property
    def memory_bytes(self) -> dict[str, int]:
        """Device memory by what it is for, and in all."""
        return self.workload.memory.split(self.plan.budget_bytes, self.buffer_bytes)

    @property
    def buffer_bytes(self) -> int:
        """The most that prefetch buffers hold at once, beside the budget."""
        return peak_buffer_bytes(self.workload.requests, self.decisions, self.guesses, self.workload.model.expert_bytes)

    @property
    def hit(self) -> npt.NDArray[np.bool_]:
        """bool [tokens, layers, k]: the expert of each occurrence was resident when its event started."""
        return hit_flags(self.workload.trace, self.workload.requests, self.decisions)

    @property
    def decode_passes(self) -> npt.NDArray[np.bool_]:
        mine: npt.NDArray[np.bool_] = self.workload.trace.phase == DECODE
        return mine

    @property
    def tok_s(self) -> float | None:
        """Decode tokens per second of decode-pass time; null for a trace without decode."""
        total = int(self.pass_ps[self.decode_passes].sum())
        return self.decode.tokens * 1e12 / total if total else None

    @property
    def ttft_s(self) -> dict[str, float | None]:
        """Time to first token, the prefill passes of a sequence: the first sequence (cold), median of the others (warm)."""
        times = list(self._prefill_by_sequence().values())
        warm = float(np.median(times[1:])) / 1e12 if len(times) > 1 else None
        return {"cold": times[0] / 1e12 if times else None, "warm": warm}

    def _prefill_by_sequence(self) -> dict[int, int]:
        trace, total = self.workload.trace, dict[int, int]()
        for number in np.flatnonzero(trace.phase == PREFILL).tolist():
            for sequence in dict.fromkeys(trace.sequence[trace.pass_ptr[number] : trace.pass_ptr[number + 1]].tolist()):
                total[sequence] = total.get(sequence, 0) + int(self.pass_ps[number])
        return total

    def tpot_ms(self, percent: float) -> float | None:
        """Time per output token: that percentile (nearest rank) of the decode-pass times."""
        times = self.pass_ps[self.decode_passes]
        return float(np.percentile(times, percent, method="inverted_cdf")) / 1e9 if len(times) else None

    @property
    def bytes_per_token(self) -> float | None:
        return self.decode.bytes / self.decode.tokens if self.decode.tokens else None

    def where_ps(self) -> dict[str, int]:
        """Decode time by what it was spent on; the parts add up to all of it."""
        mine = self.decode_passes
        parts = dict.fromkeys(("attention", "ffn", "shared", "experts", "head"), 0)
        sizes = Counter(self.workload.costs.sizes[number] for number in np.flatnonzero(mine).tolist())
        for size, passes in sizes.items():
            for name, ps in self.workload.costs.parts_ps(size).items():
                parts[name] += passes * ps
        parts["waiting for experts"] = int(np.array(self.clocks.stall_ps)[mine].sum())
        parts["waiting for the CPU"] = int(np.array(self.clocks.cpu_ps)[mine].sum())
        parts["slowed by loads"] = int(np.array(self.clocks.slowed_ps)[mine].sum())
        parts["experts"] = int(self.pass_ps[mine].sum()) - sum(parts.values())
        return parts

    def to_json(self) -> dict[str, Any]:
        """The result as plain data: no wall-clock time, path or host name; the same inputs give the same bytes."""
        where = self.where_ps()
        return {
            "schema": 1, "kind": "simulated", "engine": self.engine, "versions": versions(), "scenario": self.scenario(),
            "digest": self.digest, "hits": self.hits, "misses": self.misses, "evictions": self.evictions, "bytes": self.bytes,
            "prefill": {**asdict(self.prefill), "hit_rate": self.prefill.hit_rate},
            "decode": {**asdict(self.decode), "hit_rate": self.decode.hit_rate},
            "tok_s": self.tok_s, "ttft_s": self.ttft_s, "tpot_ms": {f"p{p}": self.tpot_ms(p) for p in (50, 95, 99)},
            "bytes_per_token": self.bytes_per_token, "decode_time_ps": where, "total_ps": int(self.pass_ps.sum()),
            "link_busy_ps": self.clocks.link_busy_ps, "memory_bytes": self.memory_bytes,
            "energy": energy(self),
            "unused_budget_bytes": self.decisions.unused_bytes, "peak_resident_bytes": int(self.decisions.used.max(initial=0)),
        }  # fmt: skip

    def scenario(self) -> dict[str, Any]:
        plan = asdict(self.plan)
        plan["eviction"] = eviction_identity(self.plan.eviction)
        plan["miss"] = policy_identity("miss", self.plan.miss)
        if self.plan.prefetch is not None:
            plan["prefetch"] = policy_identity("prefetch", self.plan.prefetch)
        return {**self.workload.facts(), "plan": plan}

    @property
    def digest(self) -> str:
        """sha256 of the scenario: what was played, on what, how."""
        return hashlib.sha256(json.dumps(self.scenario(), sort_keys=True).encode()).hexdigest()


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
    if not bound and not plan.cold_per_sequence and not guesses.buffered:
        check_occupancy(requests, decisions, guesses, sizes)
    pass_ps = np.array(clocks.end_ps, np.int64) - np.array(clocks.start_ps, np.int64)
    link_bytes = link_bytes_by_pass(trace, requests, decisions, guesses, sizes)
    made = Run(workload, plan, engine.name, both, prefill, decode, clocks, pass_ps, link_bytes, decisions, guesses)
    if not bound:
        workload.memory.require_buffers(plan.budget_bytes, made.buffer_bytes)
    return made


def eviction_identity(eviction: str) -> str:
    """A bundled policy by its name, a file by its stem and content: a result never holds a path."""
    if eviction in BOUNDS:
        return eviction
    return policy_identity("eviction", eviction)


def first_tokens(trace: Trace, tokens: int | None) -> Trace:
    """The passes that fit into the first `tokens` tokens; at least one pass."""
    if tokens is None or tokens >= trace.n_tokens:
        return trace
    if tokens < 1:
        raise UserError(f"--tokens {tokens} plays nothing; give 1 or more, or all")
    passes = max(int(np.searchsorted(trace.pass_ptr, tokens, side="right")) - 1, 1)
    end = int(trace.pass_ptr[passes])
    cut: Mapping[str, Any] = {
        name: getattr(trace, name)[:end] for name in ("expert_ids", "sequence", "position", "gate_weights")
        if getattr(trace, name) is not None
    }  # fmt: skip
    guesses = None if trace.predicted_ids is None else trace.predicted_ids[:, :end]
    meta = {key: value for key, value in trace.meta.items() if key != "digest"}  # it was that of the whole
    return replace(
        trace,
        **cut,
        pass_ptr=trace.pass_ptr[: passes + 1],
        phase=trace.phase[:passes],
        predicted_ids=guesses,
        meta=meta,
    )


def _model_of(trace: Trace, model: str | Path | None, format: str | None) -> ModelShape:
    name = model or trace.meta.get("model")
    if not name:
        raise UserError(
            f"the trace does not say its model; name a shape with --model, one of {', '.join(models.available())}"
        )
    return models.load(name, format)


def versions() -> dict[str, str]:
    """What made the result."""
    return {
        "simmoe": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "simpy": version("simpy"),
    }
