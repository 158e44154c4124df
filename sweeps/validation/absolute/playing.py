"""Plays a row: the speed that simmoe predicts, the same with the ideal runtime, and the band around it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from simmoe.play.result import Run
from simmoe.play.run import play as timed
from simmoe.play.run import run as simulate
from simmoe.policies.runtime import IDEAL, LEAVES
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.sweeps.validation.absolute import engines, machines, shapes
from simmoe.sweeps.validation.absolute.rows import Row

PLAYED = 8  # tokens of a decode run, around its middle
OF_A_BAND = 12  # layers of the shorter model on which a band is played: what a constant moves is the same share of it


@dataclass(frozen=True)
class Outcome:
    """A row and what was predicted for it in tok/s; `why_not` says why it was not played."""

    row: Row
    predicted: float = 0.0
    low: float = 0.0  # the band
    high: float = 0.0
    ideal: float = 0.0
    why_not: str = ""

    @property
    def error(self) -> float:
        return self.predicted / self.row.measured - 1

    @property
    def judged(self) -> bool:
        return not self.why_not and not self.row.flagged

    @property
    def inside(self) -> bool:
        return self.low <= self.row.measured <= self.high


def play(row: Row, known: bool = False) -> Outcome:
    """known: the rate of its host, or of its link, is taken from other rows of the same machine."""
    if why := why_not(row):
        return Outcome(row, why_not=why)
    try:
        shape = shapes.of(row)
        runtime, hw = engines.of(row, shape), machines.of(row, known)
        run = _run(row, shape, hw, runtime)
    except UserError as error:
        return Outcome(row, why_not=str(error))
    speed = _speed(run, row)
    low, high = _band(row, shape, hw, runtime)
    return Outcome(row, speed, speed * low, speed * high, _speed(_run(row, shape, hw, IDEAL), row))


def play_all(rows: Iterable[Row]) -> tuple[list[Outcome], list[Outcome]]:
    """Every row; and those with experts on the CPU once more, with the rate of the host where other rows of it show one."""
    chosen, known = list(rows), engines.constants()["host rates"]
    again = [row for row in chosen if row.kind == "cpu experts decode" and row.id in known]
    return [play(row) for row in chosen], [play(row, known=True) for row in again]


def why_not(row: Row) -> str:
    """What no run of simmoe can say yet."""
    if shapes.is_dense(row.model):
        return "a dense model: a control of the fits, which are not played"
    if row.cpu_share < 1:
        return "part of each expert on the CPU"
    if row.misses:
        return "a cache over the link: see V3"
    return ""


def _run(row: Row, shape: ModelShape, hw: Hardware, runtime: Runtime | str) -> Run:
    options: dict[str, Any] = {**_lengths(row), "eviction": "fifo"}  # nothing is evicted: the cheapest policy
    if "near-uniform routing" in row.assumed:
        options["routing"] = "uniform"
    if runtime != IDEAL:
        options |= {"threads": row.threads or None, "op_offload": offloads(row), **_elsewhere(row)}
    if row.gpu and row.on_cpu:
        blocks = len(shape.layers)
        options["placement"] = f"n_cpu_moe={blocks if row.on_cpu >= len(shape.moe_layers) else row.on_cpu}"
    return simulate(
        hw=hw, model=shape, runtime=runtime, **{key: value for key, value in options.items() if value is not None}
    )


def _elsewhere(row: Row) -> dict[str, Any]:
    """Whole layers, or all of the cache, that the flags leave to the CPU."""
    if row.kind == "kv on cpu decode":
        return {"kv_offload": False}
    layers = re.search(r"-ngl (\d+)", row.flags) if row.kind == "layers on cpu decode" else None
    return {"gpu_layers": int(layers[1])} if layers else {}


def offloads(row: Row) -> bool:
    """Whether a large pass carries the CPU's experts over the link: by its flags, or since repacked weights stay on the CPU."""
    return row.kind != "cpu experts prompt"


def _lengths(row: Row) -> dict[str, int | None]:
    """Of a decode run the tokens in its middle, of a prompt the pass in its middle."""
    if row.phase == "decode":
        return {"prompt": 1, "generate": PLAYED, "depth": max(int(row.mean_depth) - PLAYED // 2, 0) or None}
    return {
        "prompt": row.pass_tokens, "generate": 1, "depth": row.depth + (row.tokens - row.pass_tokens) // 2 or None,
        "prefill_chunk": row.pass_tokens,
    }  # fmt: skip


def _speed(run: Run, row: Row) -> float:
    found = run.tok_s if row.phase == "decode" else run.prompt_tok_s
    assert found
    return float(found)


def _band(row: Row, shape: ModelShape, hw: Hardware, runtime: Runtime) -> tuple[float, float]:
    """Shares of the speed with each constant of the runtime at either end of its range, and what the laws leave, as independent errors."""
    few = min(OF_A_BAND, len(shape.layers))
    short = replace(row, on_cpu=math.ceil(row.on_cpu * few / len(shape.layers)))
    run = _run(short, replace(shape, layers=shape.layers[:few]), hw, runtime)
    at = math.log(_speed(run, row))
    down = up = LEAVES[row.phase] ** 2
    for path, one in runtime.constants.items():
        if one.low < one.high and path.split(".")[0] in SECTIONS[row.phase]:
            changed = [_with_constant(runtime, path, end) for end in (one.low, one.high)]
            ends = [math.log(_speed(timed(run.workload.on(hw, other), run.plan), row)) - at for other in changed]
            down, up = down + min(*ends, 0.0) ** 2, up + max(*ends, 0.0) ** 2
    return math.exp(-math.sqrt(down)), math.exp(math.sqrt(up))


SECTIONS = {"decode": ("decode", "cpu"), "prompt": ("prompt", "cpu")}  # of constants that decide a phase


def _with_constant(runtime: Runtime, path: str, value: float) -> Runtime:
    return replace(runtime, constants={**runtime.constants, path: replace(runtime.constants[path], value=value)})
