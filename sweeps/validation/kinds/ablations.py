"""Tokens per second of an offloading engine with its parts switched off one by one, played by `simmoe.run`.

A row says `bits` (a key of setting.expert_bytes) and `ablation`: full (LRU and guesses for the next layer), lru,
on_demand (nothing resident) or naive (every expert of every layer copied in, the next layer's while one computes). Of
the engine's own copies only guesses overlap with computing: demand copies are on the stream that computes
(dvmazur/mixtral-offloading@0d3c605:src/expert_cache.py). Guesses wait in buffers beside the cache. No trace of the
model is at hand: routing is drawn (synthetic.py) from setting.reuse and setting.recall. Two constants: the rate of the
arithmetic (unpacking the weights included, which costs the same for 2 and 3 bits) and that of the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from simmoe import hardware_profiles
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.physics.streaming import streamed_ps
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import Floats, least_squares
from simmoe.sweeps.validation.playing import play, start_of
from simmoe.sweeps.validation.synthetic import routing
from simmoe.workloads import models

ARITHMETIC, LINK = "arithmetic with unpacking, GFLOP/s", "link, GB/s"
START = (60.0, 10.0)
PLANS = {  # eviction, prefetch, whether loads overlap with computing
    "full": ("lru", "next_layer", False),
    "lru": ("lru", None, False),
    "on_demand": ("nothing", None, False),
    "naive": ("everything", None, True),
}


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    def speeds(x: Floats) -> Floats:
        return np.array([_tok_s(case, row, float(x[0]), float(x[1])) for row in rows])

    arithmetic, link = least_squares(speeds, [row.measured for row in rows], START)
    return {ARITHMETIC: float(arithmetic), LINK: float(link)}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return [_tok_s(case, row, constants[ARITHMETIC], constants[LINK]) for row in rows]


def _tok_s(case: Case, row: Row, gflops: float, link: float) -> float:
    run = _run(case, row, machine(case, gflops, link))
    assert run.tok_s is not None
    if row.facts["ablation"] != "naive":
        return run.tok_s
    costs, layers = run.workload.costs, run.workload.trace.n_layers
    copy = costs.transfer_ps[0] * run.workload.trace.n_experts
    compute = int(1e12 / run.tok_s) // layers
    return 1e12 / streamed_ps([copy] * layers, [compute] * layers)


def _run(case: Case, row: Row, hw: Hardware) -> Run:
    ablation, bits = row.facts.get("ablation"), row.facts.get("bits")
    if ablation not in PLANS or bits not in case.setting["expert_bytes"]:
        raise UserError(f"case {case.name}: row {row.id!r} has ablation {ablation!r} and bits {bits!r}; known: {', '.join(PLANS)} "
                        f"and {', '.join(map(str, case.setting['expert_bytes']))}")  # fmt: skip
    shape = quantised(case.setting["model"], case.setting["format"], int(case.setting["expert_bytes"][bits]))
    trace = _trace(shape, *(number(case.setting, key, case.name) for key in ("tokens", "reuse", "recall")))
    eviction, prefetch, overlap = PLANS[str(ablation)]
    budget = int(number(case.setting, "experts_per_layer", case.name)) * int(shape.expert_bytes.sum())
    timeline = "overlapped" if overlap else "serial"
    plan = Plan(budget, eviction, "layer", timeline, prefetch=prefetch, prefetch_into="buffers", start=start_of(case))
    return play(Workload(hw, trace, shape), plan)


def machine(case: Case, gflops: float, link: float) -> Hardware:
    hw = hardware_profiles.load(case.setting["hw"])
    unit = replace(hw.device, flops_per_s={"fp16": round(gflops * 1e9)}, softness=None)
    there = replace(hw.link, bytes_per_s=round(link * 1e9), efficiency=())
    return replace(hw, units={**hw.units, hw.devices[0]: unit}, link=there)


def quantised(model: str, format: str, expert_bytes: int) -> ModelShape:
    """The model with experts of a stated size."""
    shape = models.load(model, format)
    layers = tuple(
        replace(one, expert=replace(one.expert, bytes=expert_bytes)) if one.n_experts else one for one in shape.layers
    )
    return replace(shape, layers=layers)


@cache
def _trace(shape: ModelShape, tokens: float, reuse: float, recall: float) -> Trace:
    return routing(shape, int(tokens), reuse, recall)
