"""Milliseconds of every decoded token of a phone that streams experts from flash, on the unified machine with its overlap.

Rows are the tokens of a recorded metrics file. The model is what the case gives: the file's bytes, of which the recorded
expert bytes are routed and the rest is read by every token, spread evenly over the layers. Two constants: the rate at which
the CPU works through weights, and that of the flash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simmoe import hardware_profiles
from simmoe.play.plan import Plan
from simmoe.play.workload import Workload
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.nouns.trace import Trace
from simmoe.sweeps.validation import recorded
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import Floats, least_squares
from simmoe.sweeps.validation.playing import play, start_of
from simmoe.workloads.format.trace import first_tokens

CPU, FLASH = "CPU through weights, GB/s", "flash, GB/s"
START = (15.0, 2.0)


def why_not(case: Case) -> str:
    return recorded.why_not(case.setting["trace"], case.setting["metrics"])


def rows(case: Case) -> list[Row]:
    found = recorded.table(case.setting["metrics"])
    return [
        Row(f"token {row['step']}", float(row["wall_ms"]), {"step": int(row["step"])})
        for row in found
        if row.get("wall_ms")
    ]


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    def times(x: Floats) -> Floats:
        return np.array(_ms(case, float(x[0]), float(x[1]), rows))

    cpu, flash = least_squares(times, [row.measured for row in rows], START, relative=False)
    return {CPU: float(cpu), FLASH: float(flash)}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return _ms(case, constants[CPU], constants[FLASH], rows)


def _ms(case: Case, cpu: float, flash: float, rows: Sequence[Row]) -> list[float]:
    """Simulated time of the tokens, played from the start up to the last of them."""
    trace = recorded.load(case.setting["trace"])
    prompt = int(trace.pass_ptr[1])
    played = first_tokens(trace, prompt + max(row.facts["step"] for row in rows))
    workload = Workload(machine(case, cpu, flash), played, model(case, trace))
    budget = int(number(case.setting, "budget_bytes", case.name))
    run = play(workload, Plan(budget, case.setting["policy"], start=start_of(case)))
    times = run.pass_ps[run.decode_passes]
    return [float(times[row.facts["step"] - 1]) / 1e9 for row in rows]


def machine(case: Case, cpu: float, flash: float) -> Hardware:
    """The phone's profile with the two rates; sizes and queue depths no longer matter, they are in the rate."""
    hw = hardware_profiles.load(case.setting["hw"])
    unit = replace(hw.device, bytes_per_s=round(cpu * 1e6) * 1000)
    link = replace(hw.link, bytes_per_s=round(flash * 1e6) * 1000, efficiency=())
    return replace(hw, units={**hw.units, hw.devices[0]: unit}, link=link, reserved_bytes=0)


def model(case: Case, trace: Trace) -> ModelShape:
    """Bytes as the case gives them; arithmetic is not modelled apart from them."""
    sizes = recorded.arrays(case.setting["trace"])["expert_bytes_per_layer"].tolist()
    dense = int(number(case.setting, "file_bytes", case.name)) - trace.n_experts * sum(sizes)
    part = Part(0, dense // len(sizes), 0)
    layers = tuple(Layer(part, expert=Part(0, int(size), 0), n_experts=trace.n_experts) for size in sizes)
    return ModelShape(case.name, "stored", "fp16", layers, trace.top_k, NO_PART, NO_PART)
