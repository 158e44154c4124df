"""Milliseconds per token of this project's offload runtime on a GPU, from parts of it that were timed alone on the same machine.

setting: hw, model, layers (the first so many), format, runs and parts (files beside the case), runs_of (the model's name in both), traces
{name in the runs: bundled trace, or a file in the folder that SIMMOE_TRACES names}. A run's decisions follow from its trace, its slots and
its warm-up, and must give the hits and misses that were counted. Nothing of a run enters its time: that is the runtime's constants, with
those of a layer and of a pass from the model's own parts, on the machine's profile. Its mode is a timeline, or experts on the CPU.
Beside it: the same decisions under the ideal runtime.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from simmoe import hardware_profiles
from simmoe.play.plan import Plan
from simmoe.play.workload import Workload
from simmoe.policies import runtime as runtimes
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.simulator.physics import PS_PER_S
from simmoe.simulator.reading import read_json
from simmoe.sweeps.validation import recorded
from simmoe.sweeps.validation.case import Case, Row
from simmoe.sweeps.validation.playing import play
from simmoe.workloads import models
from simmoe.workloads.format import trace as traces

RUNTIME = "offload_runtime"
TIMELINES = {"graph": "overlapped", "serial": "serial", "sync": "sync", "cpu": "overlapped", "eager": "overlapped"}
CONFIGURATION = ("trace", "budget_percent", "slots", "mode", "overlap", "n_cpu_moe", "resident")
COUNTED = ("warm_tokens_not_played", "tokens", "ctx", "hits", "misses")
EAGER = "launches without graphs were not timed alone"
BESIDE = "ideal runtime"
PS_PER_MS, PS_PER_US = 10**9, 10**6


def why_not(case: Case) -> str:
    return recorded.why_not(*(name for name in case.setting["traces"].values() if name.endswith(".npz")))


def rows(case: Case) -> list[Row]:
    """One for each configuration that was run: the median of its repeats."""
    found = dict[tuple[str, ...], list[dict[str, str]]]()
    with open(case.folder / case.setting["runs"], encoding="utf-8", newline="") as stream:
        for run in csv.DictReader(stream):
            if run["model"] == case.setting["runs_of"]:
                found.setdefault(tuple(run[key] for key in CONFIGURATION), []).append(run)
    return [_row(repeats) for repeats in found.values()]


def _row(repeats: Sequence[dict[str, str]]) -> Row:
    one, times = repeats[0], [float(run["ms_per_token_mean"]) for run in repeats]
    mode = "serial" if one["mode"] == "graph" and one["overlap"] == "False" else one["mode"]
    held = "resident" if one["resident"] == "True" else f"{one['budget_percent']} %"
    beside = f", {one['n_cpu_moe']} layers on the CPU" if mode == "cpu" else ""
    facts: dict[str, Any] = {key: int(one[key]) for key in (*COUNTED, "slots", "n_cpu_moe")}
    facts |= {"trace": one["trace"], "mode": mode, "resident": one["resident"] == "True"}
    facts["note"] = f"{len(times)} run{'s' * (len(times) > 1)}, {min(times):.4g} to {max(times):.4g}"
    if mode == "eager":
        facts["doubt"] = EAGER
    return Row(f"{mode}, {one['trace']}, {held}{beside}", median(times), facts)


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return [_ms(case, row, _under_engine) for row in rows]


def beside(case: Case, rows: Sequence[Row]) -> list[float]:
    return [_ms(case, row, _ideal) for row in rows]


def _ms(case: Case, row: Row, workload_of: Callable[[Case, Trace], Workload]) -> float:
    """Simulated time of the timed tokens. Raises UserError where the decisions are not those of the run."""
    facts = row.facts
    trace = _played(case, facts["trace"], facts["warm_tokens_not_played"] + facts["tokens"], facts["ctx"])
    workload = workload_of(case, trace)
    run = play(workload, _plan(facts, workload.model))
    counts = run.decode.hits, run.decode.misses
    if counts != (facts["hits"], facts["misses"]):
        raise UserError(
            f"case {case.name}: {row.id}: {counts[0]} hits and {counts[1]} misses are simulated where the run counted {facts['hits']} and "
            f"{facts['misses']}: this is not the trace that was played"
        )
    return float(run.pass_ps.sum()) / PS_PER_MS / int(facts["tokens"])


def _plan(facts: Mapping[str, Any], model: ModelShape) -> Plan:
    expert, on_cpu = model.layers[model.moe_layers[0]].expert, facts["n_cpu_moe"]
    return Plan(
        model.all_expert_bytes if facts["resident"] else facts["slots"] * expert.bytes,
        timeline=TIMELINES[facts["mode"]],
        start="warm" if facts["resident"] else "cold",
        warm_up=facts["warm_tokens_not_played"],
        placement=f"n_cpu_moe={model.moe_layers[on_cpu - 1] + 1}" if on_cpu else None,
    )


def _ideal(case: Case, trace: Trace) -> Workload:
    return Workload(hardware_profiles.load(case.setting["hw"]), trace, shape(case), graphs=True)


def _under_engine(case: Case, trace: Trace) -> Workload:
    model, parts = shape(case), parts_of(case)
    hw = machine(case, parts, model)
    return Workload(hw, trace, model, runtime=engine(parts, hw, model, trace))


# --- what is played -----------------------------------------------------------------------------------------------------


def shape(case: Case) -> ModelShape:
    """The first layers of a bundled model."""
    whole = models.load(case.setting["model"], case.setting["format"])
    return replace(whole, layers=whole.layers[: case.setting["layers"]])


def _played(case: Case, name: str, tokens: int, context: int) -> Trace:
    """The first rows of a trace, one decode pass each, every one at the same length of the KV cache."""
    whole = _decoded(case.setting["traces"][name])
    rows = np.arange(tokens)
    trace = whole.taken(rows, np.arange(tokens + 1), np.full(tokens, DECODE, np.int8))
    return replace(trace, sequence=rows.astype(np.int32), position=np.full(tokens, context - 1, np.int32))


@cache
def _decoded(name: str) -> Trace:
    whole = traces.load(recorded.path(name) if name.endswith(".npz") else name)
    rows = np.flatnonzero(np.repeat(whole.phase, np.diff(whole.pass_ptr)) == DECODE)
    return whole.taken(rows, np.arange(len(rows) + 1), np.full(len(rows), DECODE, np.int8))


# --- what it costs ------------------------------------------------------------------------------------------------------


def parts_of(case: Case) -> dict[str, float]:
    """Of the case's model and of the machine."""
    data = _read(case.folder / case.setting["parts"])
    return {**data["machine"], **data["models"][case.setting["runs_of"]]}


@cache
def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path)
    return found


def machine(case: Case, parts: Mapping[str, float], model: ModelShape) -> Hardware:
    """The profile with the host of the runs. What a copy and the expert behind it take beside the bytes and the expert alone is the
    latency of the link: the copy's own, and the hand-over between the streams."""
    hw = hardware_profiles.load(case.setting["hw"])
    assert hw.cpu is not None
    expert, memory = model.layers[model.moe_layers[0]].expert, hw.cpu.memory
    latency_us = parts["copy_then_expert_us"] - parts["expert_us"] - expert.bytes / hw.link.bytes_per_s * 1e6
    host = round(parts["host_bytes_per_s"] / 1000) * 1000
    tier = replace(hw.tiers[memory], bytes_per_s=host, peak_bytes_per_s=host)
    link = replace(hw.link, latency_ps=round(latency_us * PS_PER_US))
    return replace(hw, tiers={**hw.tiers, memory: tier}, link=link)


def engine(parts: Mapping[str, float], hw: Hardware, model: ModelShape, trace: Trace) -> Runtime:
    """The runtime with the fixed time of a layer and of a pass that the model's static parts leave beside their bytes."""
    runtime = runtimes.load(RUNTIME)
    costs = Workload(hw, trace, model, runtime=_with(runtime, {"decode.layer": 0.0, "decode.pass": 0.0})).costs
    read_ps = dict(costs.parts_ps(costs.sizes[0]))
    end_ps = parts["end_us"] * PS_PER_US - read_ps.pop("head")
    layers_ps = parts["static_us"] * PS_PER_US - sum(read_ps.values())
    return _with(runtime, {"decode.layer": layers_ps / len(model.layers) / PS_PER_S, "decode.pass": end_ps / PS_PER_S})


def _with(runtime: Runtime, values: Mapping[str, float]) -> Runtime:
    changed = {path: replace(runtime.constants[path], value=value) for path, value in values.items()}
    return replace(runtime, constants={**runtime.constants, **changed})
