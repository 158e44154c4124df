"""Another installed simmoe as a peer: it plays scenarios, or times jobs, as it is asked to on standard input.

Run by a Python of another environment (`python benchmarks/peer.py`), it answers a line of JSON for each line of JSON. It works with
0.1.0 and with this version, so that both can be compared in one run and neither knows of the other.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


@cache
def api() -> Any:
    """The functions of the installed version under one set of names."""
    from simmoe import policies

    with suppress(ImportError):
        from simmoe.simulator.arrays import small  # noqa: F401  (only this version has it)
        from simmoe.simulator.nouns import hardware, model, trace

        return _of_this_version(policies, SimpleNamespace(**{**vars(hardware), **vars(model), **vars(trace)}))
    from simmoe.simulator import decide, fast, loading, reference, requests, runlog, types
    from simmoe.simulator.costs import Costs

    def clocks(engine: str, costs: Any, asked: Any, decided: Any, guesses: Any, loads: Any, overlap: bool) -> Any:
        clock = reference if engine == "simpy" else fast
        return clock.simulate(costs, asked, decided, guesses, loads, overlap=overlap)

    return SimpleNamespace(
        nouns=types, Costs=Costs, policies=policies, requests_of=requests.requests_of, decide=decide.decide, count=runlog.count,
        first_events=decide.first_events, Guesses=decide.Guesses, loading=loading.loading, clocks=clocks,
        link_bytes_by_pass=runlog.link_bytes_by_pass, peak_buffer_bytes=runlog.peak_buffer_bytes,
        player=lambda engine: fast.CompiledPlayer() if engine == "fast" else decide.Player(),
        left_to_cpu=lambda requests, left: {"on_cpu": left[requests.obj]},
        workload="simmoe.workload", page_cache=lambda requests, decided, guesses, sizes, room: {"page_cache_bytes": room},
        ask=(),
    )  # fmt: skip


def _of_this_version(policies: Any, nouns: Any) -> Any:
    from simmoe.policies.prefetch import Ask
    from simmoe.simulator.costs import Costs
    from simmoe.simulator.decide import counts, decisions, gather
    from simmoe.simulator.decide.tiers import second_tier
    from simmoe.simulator.lower.durations import loading
    from simmoe.simulator.nouns.decisions import Guesses
    from simmoe.simulator.time.engines import named

    timelines = {True: policies.load("timeline", "overlapped"), False: policies.load("timeline", "serial")}

    def clocks(engine: str, costs: Any, asked: Any, decided: Any, guesses: Any, loads: Any, overlap: bool) -> Any:
        return named(engine).simulate(costs, asked, decided, guesses, loads, timelines[overlap])

    def page_cache(requests: Any, decided: Any, guesses: Any, sizes: Any, room: int) -> dict[str, Any]:
        lru = policies.load("eviction", "lru")
        return {"near": second_tier(requests, decided, guesses, sizes, room, lru) if room else None}

    return SimpleNamespace(
        nouns=nouns, Costs=Costs, policies=policies, requests_of=gather.requests_of, decide=decisions.decide, count=counts.count,
        first_events=decisions.first_events, Guesses=Guesses, loading=loading, clocks=clocks,
        link_bytes_by_pass=counts.link_bytes_by_pass, peak_buffer_bytes=counts.peak_buffer_bytes,
        left_to_cpu=lambda requests, left: {"unit_of": left.astype(np.int8)},
        player=lambda engine: named(engine).player, workload="simmoe.play.workload", page_cache=page_cache,
        ask=(Ask({}),),
    )  # fmt: skip


# --- a scenario as plain data ----------------------------------------------------------------------------------------


def built(said: dict[str, Any]) -> tuple[Any, Any, Any]:
    """(hardware, model, trace) of a scenario."""
    n = api().nouns

    def part(one: list[int] | None) -> Any:
        return n.NO_PART if one is None else n.Part(one[0], one[0], one[1])

    def layer(one: dict[str, Any]) -> Any:
        parts = {name: part(one[name]) for name in ("ffn", "shared", "expert")}
        of_positions = (one["kv"], one["score"])
        kept = (
            ((n.Cache(*of_positions),),) if hasattr(n, "Cache") else of_positions
        )  # 0.1.0 has one cache of all positions
        return n.Layer(part(one["attention"]), *kept, n_experts=one["n_experts"], **parts)

    def pairs(curve: list[list[float]]) -> tuple[tuple[int, float], ...]:
        return tuple((int(at), share) for at, share in curve)

    h = said["hw"]
    tiers = {name: n.Tier(name, 10**18, rate, pairs(queue)) for name, rate, queue in h["tiers"]}
    units = {one["name"]: n.ComputeUnit(**one) for one in h["units"]}
    link = dict(h["link"])
    link["efficiency"] = pairs(link["efficiency"])
    link["upstream"] = link["upstream"] and n.Upstream(*link["upstream"])
    link["managed"] = link["managed"] and n.Managed(*link["managed"])
    hw = n.Hardware("peer", "a machine", h["unified"], tiers, units, n.Link(**link), ("gpu",), 0, h["w"])
    m = said["model"]
    model = n.ModelShape("tiny", "fp16", "fp16", tuple(map(layer, m["layers"])), m["top_k"], part(m["head"]), n.NO_PART)
    t = said["trace"]
    ids = np.array(t["expert_ids"], np.int16).reshape(t["shape"])
    trace = n.Trace(
        expert_ids=ids, layer_index=np.array(t["layer_index"], np.int16), pass_ptr=np.array(t["pass_ptr"], np.int64),
        phase=np.array(t["phase"], np.int8), sequence=np.array(t["sequence"], np.int32), position=np.array(t["position"], np.int32),
        meta={"model": "tiny", "n_experts": t["n_experts"], "top_k": t["shape"][2], "null_experts": True},
    )  # fmt: skip
    return hw, model, trace


def played(said: dict[str, Any]) -> dict[str, Any]:
    """Every decision, count, byte and time of a scenario, or the line with which it is refused."""
    a, o, engine = api(), said["options"], said.get("engine", "simpy")
    hw, model, trace = built(said)
    try:
        costs = a.Costs(hw, model, trace, graphs=o["graphs"])
        requests, sizes = a.requests_of(trace), model.expert_bytes
        guesses = a.Guesses(np.array(o["guess_ptr"], np.int64), np.array(o["guess_obj"], np.int64), o["buffered"])
        left = None if o["cpu_seed"] is None else np.random.default_rng(o["cpu_seed"]).random(requests.n_objects) < 0.5
        decided = a.decide(
            requests, sizes, a.policies.load("eviction", o["eviction"]), o["budget_bytes"], scope=o["scope"], guesses=guesses,
            cold_at=a.first_events(trace, requests) if o["cold"] else None, seed=o["seed"], player=a.player(engine),
            **({} if left is None else a.left_to_cpu(requests, left)),
        )  # fmt: skip
        loads = a.loading(
            costs,
            requests,
            decided,
            guesses,
            **a.page_cache(requests, decided, guesses, sizes, o["page_cache"]),
            write_back=o["write_back"],
        )
        clocks = a.clocks(engine, costs, requests, decided, guesses, loads, o["overlap"])
    except ValueError as error:
        return {"refused": str(error)}
    found: dict[str, Any] = {name: list(map(int, getattr(clocks, name))) for name in CLOCKS}
    found |= {name: np.asarray(getattr(decided, name)).astype(int).tolist() for name in DECIDED}
    found["link_busy_ps"] = int(clocks.link_busy_ps)
    found["unused_bytes"] = int(decided.unused_bytes)
    for phase in (None, 0, 1):
        counts = a.count(trace, requests, decided, guesses, sizes, phase, o["write_back"])
        found[f"counts {phase}"] = {name: int(value) for name, value in vars(counts).items() if name not in NEWER}
    found["link bytes"] = a.link_bytes_by_pass(trace, requests, decided, guesses, sizes).tolist()
    found["buffers"] = a.peak_buffer_bytes(requests, decided, guesses, sizes)
    return found


def too_large(said: dict[str, Any]) -> bool:
    """Whether the compiled engine of this version refuses a scenario."""
    from simmoe.simulator.time.recurrence import why_not

    hw, model, trace = built(said)
    try:
        costs = api().Costs(hw, model, trace, graphs=said["options"]["graphs"])
    except ValueError:
        return False
    return why_not(costs, api().requests_of(trace)) is not None


NEWER = ("placed", "carried", "substituted", "dropped")  # counts that 0.1.0 does not have
CLOCKS = ("start_ps", "end_ps", "stall_ps", "slowed_ps", "cpu_ps")
DECIDED = ("hit", "wait", "issued", "loads", "cpu", "evicted", "evicted_for", "used")


# --- jobs to time ----------------------------------------------------------------------------------------------------


def real(folder: str, name: str) -> Any:
    """A routing trace of a public model out of a folder of recordings (tests/real_traces.py), in the installed version's own nouns."""
    with np.load(Path(folder) / f"{name}.npz") as file:
        raw = {key: file[key] for key in file.files}
    tokens, layers, top_k = raw["expert_ids"].shape
    starts, recorded = raw["seq_start"].astype(np.int64), json.loads(str(raw["meta"]))
    sequence = np.searchsorted(starts, np.arange(tokens), side="right") - 1
    prompt = int(np.count_nonzero(raw["phase"] == 0)) if "phase" in raw else 0
    ends = np.concatenate(([0, prompt][: 1 + (prompt > 0)], np.arange(prompt + 1, tokens + 1)))
    phase = np.ones(len(ends) - 1, np.int8)
    phase[: prompt > 0] = 0
    return api().nouns.Trace(
        expert_ids=np.ascontiguousarray(raw["expert_ids"], np.int16),
        layer_index=(np.arange(layers) + recorded.get("first_moe_layer", 0)).astype(np.int16), pass_ptr=ends.astype(np.int64),
        phase=phase, sequence=sequence.astype(np.int32), position=(np.arange(tokens) - starts[sequence]).astype(np.int32),
        meta={**recorded, "n_experts": int(raw["n_experts"]), "top_k": top_k},
    )  # fmt: skip


def shape_for(trace: Any) -> Any:
    """A model of the trace's geometry: Qwen3's layers, with as many MoE layers and experts as the trace has."""
    from simmoe import load_model

    qwen = load_model("qwen3-30b-a3b")
    layer = replace(qwen.layers[0], n_experts=trace.n_experts)
    dense = replace(layer, n_experts=0, expert=api().nouns.NO_PART, ffn=layer.expert)
    layers = [dense] * (int(trace.layer_index[-1]) + 1)
    for index in trace.layer_index.tolist():
        layers[index] = layer
    return replace(qwen, layers=tuple(layers))


class Job:
    """Decisions, loads and clock of one policy at a share of the experts, with everything that the trace alone decides ready made."""

    def __init__(self, asked: dict[str, Any], plain: bool = True) -> None:
        """plain: with the hard roofline."""
        from importlib import import_module

        from simmoe import load_hardware

        a = self.api = api()
        hw = load_hardware(asked["hw"])
        if plain:
            hw = replace(hw, units={**hw.units, hw.device.name: replace(hw.device, softness=None)})
        trace, model = asked["trace"], None
        if trace.endswith(".real"):
            trace = real(asked["folder"], trace.removesuffix(".real"))
            model = shape_for(trace)
        w = import_module(a.workload).Workload(hw, trace, model)
        self.costs, self.requests, self.sizes = w.costs, w.requests, w.model.expert_bytes
        self.module, self.budget = (
            a.policies.load("eviction", asked["eviction"]),
            w.model.all_expert_bytes // asked["part"],
        )
        self.guesses = a.Guesses(*self._wanted(w.trace, asked.get("prefetch")))
        self.accesses = len(w.requests.use_obj)

    def _wanted(self, trace: Any, name: str | None) -> tuple[Any, Any]:
        if name is None:
            return np.zeros(self.requests.n_events + 1, np.int64), np.zeros(0, np.int64)
        event, obj = self.api.policies.load("prefetch", name).wanted(trace, *self.api.ask)
        return np.concatenate(([0], np.cumsum(np.bincount(event, minlength=self.requests.n_events)))), obj

    def run(self, engine: str) -> Any:
        a = self.api
        decided = a.decide(
            self.requests, self.sizes, self.module, self.budget, guesses=self.guesses, player=a.player(engine)
        )
        loads = a.loading(self.costs, self.requests, decided, self.guesses)
        return a.clocks(engine, self.costs, self.requests, decided, self.guesses, loads, True)


def whole(asked: dict[str, Any]) -> dict[str, str]:
    """sha256 of each field of the decisions and the clocks of a job: too long to be sent."""
    job = Job(asked["job"], asked.get("plain", True))
    a = job.api
    decided = a.decide(
        job.requests, job.sizes, job.module, job.budget, scope=asked["scope"], guesses=job.guesses, player=a.player(asked["engine"])
    )  # fmt: skip
    loads = a.loading(job.costs, job.requests, decided, job.guesses)
    clocks = a.clocks(asked["engine"], job.costs, job.requests, decided, job.guesses, loads, asked["overlap"])
    fields = {name: getattr(clocks, name) for name in (*CLOCKS, "link_busy_ps")} | {
        name: getattr(decided, name) for name in DECIDED
    }
    return {
        name: hashlib.sha256(np.asarray(value).astype(np.int64).tobytes()).hexdigest() for name, value in fields.items()
    }


JOBS: dict[str, Job] = {}


def timed(asked: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds of a job: run often enough to be measured, behind a run that warms caches."""
    key = json.dumps(asked["job"], sort_keys=True)
    job = JOBS.get(key) or JOBS.setdefault(key, Job(asked["job"]))
    clocks = job.run(asked["engine"])
    gc.collect()
    start = time.process_time()
    for _ in range(asked["times"]):
        job.run(asked["engine"])
    seconds = (time.process_time() - start) / asked["times"]
    return {
        "seconds": seconds,
        "accesses": job.accesses,
        "end_ps": int(clocks.end_ps[-1]),
        "busy_ps": int(clocks.link_busy_ps),
    }


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        answer = whole(asked) if "scope" in asked else timed(asked) if "job" in asked else played(asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
