"""Files that show a run in detail: one CSV row per forward pass, and a timeline that opens in Perfetto (ui.perfetto.dev)."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.play.result import Run
from simmoe.play.tokens import kept_by_pass
from simmoe.simulator.decide.counts import event_of_cause
from simmoe.simulator.files import atomic
from simmoe.simulator.nouns.run import Spans
from simmoe.simulator.nouns.trace import Trace

PER_TOKEN = (
    "pass",
    "phase",
    "sequence",
    "position",
    "tokens",
    "emitted",
    "ms",
    "waiting_ms",
    "requests",
    "hits",
    "misses",
    "loaded_bytes",
    "resident_bytes",
)


def write_per_token(run: Run, path: Path) -> None:
    """One row per forward pass: a decoded token (or batch), or a prefill chunk."""
    trace, requests = run.workload.trace, run.workload.requests
    number = requests.event_pass[requests.event_of_request]
    asked, hits, of_device = (
        np.bincount(number, weights, trace.n_passes).astype(int).tolist()
        for weights in (None, run.decisions.hit, run.of_device)
    )
    resident = run.decisions.used[np.searchsorted(requests.event_pass, np.arange(trace.n_passes), "right") - 1].tolist()
    kept = kept_by_pass(trace).tolist()
    with atomic(path) as stream:
        rows = csv.writer(stream)
        rows.writerow(PER_TOKEN)
        for p, last in enumerate((trace.pass_ptr[1:] - 1).tolist()):
            tokens = int(trace.pass_ptr[p + 1] - trace.pass_ptr[p])
            rows.writerow((
                p, _phase(trace, p), trace.sequence[last], trace.position[last], tokens, kept[p],
                f"{run.pass_ps[p] / 1e9:.6f}", f"{run.clocks.stall_ps[p] / 1e9:.6f}", asked[p], hits[p], of_device[p] - hits[p],
                run.link_bytes[p], resident[p],
            ))  # fmt: skip


def _phase(trace: Trace, number: int) -> str:
    """Of a pass: what its rows do."""
    rows = slice(trace.pass_ptr[number], trace.pass_ptr[number + 1])
    both = trace.reads is not None and trace.reads[rows].any()
    return "mixed" if both else ("prefill", "decode")[trace.phase[number]]


def write_perfetto(run: Run, spans: Spans, path: Path) -> None:
    """Chrome trace events: a lane for the compute unit, one for the link, counters for resident bytes, and cache events."""
    hw, trace = run.workload.hw, run.workload.trace
    lanes = {1: hw.device.name, 2: f"link {hw.link.src} → {hw.link.dst}", 3: "forward passes", 4: "cache"}
    events: list[dict[str, Any]] = [_meta("process_name", 0, f"simmoe, simulated: {hw.title}")]
    events += [_meta("thread_name", lane, name) for lane, name in lanes.items()]
    events += [_span(1, name, start, lasts) for name, start, lasts in spans.launches]
    events += [_span(2, _expert(run, obj), start, lasts) for obj, start, lasts in spans.transfers]
    layers, layer_of = trace.layer_index, run.workload.requests.event_layer
    events += [
        _span(2, f"L{layers[layer_of[event]]}, for one pass", start, lasts) for event, start, lasts in spans.carried
    ]
    for p, start in enumerate(run.clocks.start_ps.tolist()):
        phase = _phase(trace, p)
        events.append(
            _span(3, f"{phase} {p}", start, int(run.pass_ps[p]), sequence=int(trace.sequence[trace.pass_ptr[p]]))
        )
    events += _cache_events(run, spans)
    with atomic(path) as stream:
        json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, stream)


def _cache_events(run: Run, spans: Spans) -> list[dict[str, Any]]:
    """Per event, when its decisions are made: hits and misses as one instant, evictions by name, resident bytes as a counter."""
    requests, decided = run.workload.requests, spans.decisions
    starts, hit, of_device = requests.ptr.tolist(), run.decisions.hit, run.of_device
    cause = event_of_cause(requests, run.guesses, run.decisions.evicted_for).tolist()
    events: list[dict[str, Any]] = []
    for event, at in enumerate(decided):
        first, last = starts[event], starts[event + 1]
        hits, mine = int(hit[first:last].sum()), int(of_device[first:last].sum())
        layer = int(run.workload.trace.layer_index[requests.event_layer[event]])
        args = {"layer": layer, "experts": requests.obj[first:last].tolist()}
        for name, n in (("hit", hits), ("miss", mine - hits), ("on the CPU", last - first - mine)):
            if n:
                events.append(
                    {"ph": "i", "s": "t", "pid": 0, "tid": 4, "name": f"{name} ×{n}", "ts": at / 1e6, "args": args}
                )
        events.append(
            {
                "ph": "C",
                "pid": 0,
                "name": "resident MB",
                "ts": at / 1e6,
                "args": {"MB": int(run.decisions.used[event]) / 1e6},
            }
        )
    for obj, event in zip(run.decisions.evicted.tolist(), cause):
        events.append(
            {"ph": "i", "s": "t", "pid": 0, "tid": 4, "name": f"evict {_expert(run, obj)}", "ts": decided[event] / 1e6}
        )
    return events


def _expert(run: Run, obj: int) -> str:
    low, of = divmod(obj, run.workload.requests.n_objects)  # a low copy is numbered behind all experts
    column, expert = divmod(of, run.workload.trace.n_experts)
    return f"L{run.workload.trace.layer_index[column]} E{expert}" + " low copy" * low


def _meta(kind: str, lane: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": 0, "tid": lane, "name": kind, "args": {"name": name}}


def _span(lane: int, name: str, start_ps: int, lasts_ps: int, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "pid": 0, "tid": lane, "name": name, "ts": start_ps / 1e6, "dur": lasts_ps / 1e6, "args": args}
