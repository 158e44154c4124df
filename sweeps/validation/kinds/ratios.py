"""How times of routers, policies and budgets stand to each other, played by `simmoe.run` on bundled traces.

A row says `trace`, `eviction` and `memory` ("2 GB", or a share such as "50%" of all weights, dense ones counted) or the bound
`eviction: everything`. setting: hw, start, format, time (all: every pass; first_token: prefill passes), per (a trace: times are
multiples of its time with everything resident). One constant: the rate of the link. Memory that leaves less than one expert
per MoE layer is raised to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from simmoe.play.plan import Plan
from simmoe.play.workload import Workload
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.units import parse
from simmoe.sweeps.validation.case import Case, Row
from simmoe.sweeps.validation.fitting import Floats, least_squares
from simmoe.sweeps.validation.playing import play, start_of
from simmoe.workloads.format import trace as traces

LINK = "link, GB/s"


def why_not(case: Case) -> str:
    wanted = dict.fromkeys(str(row.facts["trace"]) for row in case.rows)
    missing = [name for name in wanted if name not in traces.names()]
    return f"trace not bundled: {', '.join(missing)}" if missing else ""


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    def times(x: Floats) -> Floats:
        return np.array([_time(case, row, float(x[0])) for row in rows])

    return {LINK: float(least_squares(times, [row.measured for row in rows], [10.0])[0])}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return [_time(case, row, constants[LINK]) for row in rows]


def _time(case: Case, row: Row, link: float) -> float:
    at_first = _workload(case.setting["hw"], row.facts["trace"], case.setting["format"])
    time = case.setting["time"]
    if row.facts["eviction"] == "everything":
        seconds = _resident(at_first, time)
    else:
        hw = replace(at_first.hw, link=replace(at_first.hw.link, bytes_per_s=round(link * 1e9), efficiency=()))
        budget = _budget(at_first.model, str(row.facts["memory"]))
        seconds = _seconds(at_first.on(hw), Plan(budget, row.facts["eviction"], start=start_of(case)), time)
    if "per" not in case.setting:
        return seconds
    return seconds / _resident(_workload(case.setting["hw"], case.setting["per"], case.setting["format"]), time)


@cache
def _workload(hw: str, trace: str, format: str) -> Workload:
    return Workload(hw, trace, format=format)


@cache
def _resident(workload: Workload, time: str) -> float:
    """With everything resident: the link plays no part."""
    return _seconds(workload, Plan(workload.model.all_expert_bytes, "everything"), time)


def _seconds(workload: Workload, plan: Plan, time: str) -> float:
    """Mean over the sequences of the trace."""
    run = play(workload, plan)
    chosen = run.pass_ps[~run.decode_passes] if time == "first_token" else run.pass_ps
    return float(chosen.sum()) / 1e12 / len(np.unique(workload.trace.sequence))


def _budget(model: ModelShape, memory: str) -> int:
    """Bytes of routed experts, dense weights taken off; KV cache is not counted, and at least one slot per layer stays."""
    whole = model.dense_bytes + model.all_expert_bytes
    wanted = float(memory.removesuffix("%")) / 100 * whole if memory.endswith("%") else parse(memory, "bytes", "memory")
    return min(max(int(wanted) - model.dense_bytes, int(model.expert_bytes.sum())), model.all_expert_bytes)
