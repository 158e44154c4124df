"""Decoded tokens per second with every expert resident: bytes / (bandwidth x one efficiency constant), played by `simmoe.run`.

A row says `model`, `format` and `resident_mib`, the memory that the run took: the shape's bytes are scaled to it, since a
file's formats are mixed. Routing does not matter, so it is drawn at random. Beside it: the roofline, efficiency 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from simmoe import hardware_profiles
from simmoe.play.plan import Plan
from simmoe.play.workload import Workload
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import Layer, ModelShape, Part
from simmoe.simulator.nouns.trace import Trace
from simmoe.sweeps.validation.case import Case, Row, number
from simmoe.sweeps.validation.fitting import Floats, least_squares
from simmoe.sweeps.validation.playing import play
from simmoe.sweeps.validation.synthetic import routing
from simmoe.workloads import models

BESIDE = "roofline"
EFFICIENCY = "efficiency of the bandwidth"
MIB = 2**20


def fit(case: Case, rows: Sequence[Row]) -> dict[str, float]:
    def speeds(x: Floats) -> Floats:
        return np.array([_tok_s(case, row, float(x[0])) for row in rows])

    return {EFFICIENCY: float(least_squares(speeds, [row.measured for row in rows], [0.8])[0])}


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return [_tok_s(case, row, constants[EFFICIENCY]) for row in rows]


def beside(case: Case, rows: Sequence[Row]) -> list[float]:
    return [_tok_s(case, row, 1.0) for row in rows]


def _tok_s(case: Case, row: Row, efficiency: float) -> float:
    hw = _machine(case.setting["hw"])
    unit = replace(hw.device, bytes_per_s=round(hw.device.bytes_per_s * efficiency))
    shape = _shape(row.facts["model"], row.facts["format"])
    whole = shape.dense_bytes + shape.all_expert_bytes
    model = scaled(shape, number(row.facts, "resident_mib", row.id) * MIB / whole)
    trace = _trace(shape, int(number(case.setting, "tokens", case.name)))
    workload = Workload(replace(hw, units={**hw.units, hw.devices[0]: unit}), trace, model)
    run = play(workload, Plan(model.all_expert_bytes, "everything"))
    assert run.tok_s is not None
    return run.tok_s


@cache
def _machine(name: str) -> Hardware:
    return hardware_profiles.load(name)


@cache
def _shape(name: str, format: str) -> ModelShape:
    return models.load(name, format)


@cache
def _trace(model: ModelShape, tokens: int) -> Trace:
    return routing(model, tokens, reuse=None)


def scaled(model: ModelShape, factor: float) -> ModelShape:
    """The shape with every part's bytes times `factor`; FLOPs and KV cache stay."""

    def part(one: Part) -> Part:
        return replace(one, bytes=round(one.bytes * factor))

    def layer(one: Layer) -> Layer:
        return replace(
            one, attention=part(one.attention), ffn=part(one.ffn), shared=part(one.shared), expert=part(one.expert)
        )

    layers = tuple(layer(one) for one in model.layers)
    return replace(model, layers=layers, head=part(model.head), embedding=part(model.embedding))
