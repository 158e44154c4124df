"""Which constant of the engine, or which figure of the machine, explains the rows of one kind: one number each, fitted.

Of rows with everything on the device: the time of a small kernel (decode) and the rate of products (prompts). Of rows with experts on the
CPU: the share of its memory's rate (decode), and the link (prompts whose experts are copied over it). Of a machine without a GPU: the
share of its memory's rate, and the rate of products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp, log

from simmoe.explain.causes import (
    ALONE_DECODE,
    ALONE_PROMPT,
    CARRIED,
    CPU_DECODE,
    CPU_PROMPT,
    FASTER,
    RESIDENT_DECODE,
    RESIDENT_PROMPT,
    SLOWER,
)
from simmoe.explain.expected import Expected
from simmoe.explain.rows import DECODE, PROMPT
from simmoe.simulator.link_time import link_bytes_per_s
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.runtime_figures import CPU

FACTORS = (1 / 64, 64.0)
STEPS, EXACT = 20, 1e-4  # at most, and of the logarithm of a speed
LINK = "link.bandwidth"
MOST_ROWS = 5  # of a kind, spread evenly: each is played in every step
CONSTANTS = {  # of the engine, by kind: the first group that it has; those of a group are scaled together
    RESIDENT_DECODE: (("decode.kernel",), ("decode.layer",), ("decode.pass",)),
    CPU_DECODE: (("cpu.memory", "cpu.per_thread"),),
    RESIDENT_PROMPT: (("prompt.flops_per_clock",), ("prompt.peak",)),
    ALONE_DECODE: (("decode.memory", "decode.per_thread"),),
    ALONE_PROMPT: (("prompt.flops_per_clock",),),
}
SHARES = {  # constants that are a share of a peak, of which nothing reaches more than the whole
    "cpu.memory": (1.0, "the whole peak of the host's memory"),
    "decode.memory": (1.0, "the whole peak of the memory"),
    "prompt.peak": (1.0, "the whole FP16 peak of the device"),
}
OWN_RATE = "the machine's own rate of reading quantised weights holds"
NO_CLOCK = "the machine states no clock, by which the engine counts products (--set units.cpu.clock=4.5GHz says yours)"


@dataclass(frozen=True)
class Fit:
    """One number for the rows of a kind."""

    kind: str
    rows: int
    ratio: float  # simulated over measured, geometric mean, before
    paths: tuple[str, ...]  # of the constants, or LINK; empty: nothing was fitted
    factor: float | None  # on them, at which the mean is 1; None: no factor does that
    value: float | None  # of the first
    low: float | None  # the range of the engine's constant on other machines
    high: float | None
    expected: int = 0  # rows whose measured speed lies within the simulated range
    most: float | None = None  # that the value can be; None: no bound is known
    why: str = ""  # of that bound, or why nothing was fitted

    @property
    def possible(self) -> bool:
        return self.value is None or self.most is None or self.value <= self.most

    @property
    def inside(self) -> bool:
        return (
            self.value is not None
            and self.low is not None
            and self.high is not None
            and self.low <= self.value <= self.high
        )

    @property
    def cause(self) -> str:
        """What usually is behind rows outside the simulated range; empty where all are inside."""
        return "" if self.expected == self.rows else (SLOWER if self.ratio > 1 else FASTER)[self.kind]


def kind_of(one: Expected) -> str | None:
    """Which number the row tells about; None: a sum of prompt and decode, or no run."""
    if not one.runs or one.row.phase not in (PROMPT, DECODE):
        return None
    if runtime_of([one]).device == CPU:
        return ALONE_DECODE if one.row.phase == DECODE else ALONE_PROMPT
    if one.row.phase == DECODE:
        return CPU_DECODE if one.on_cpu else RESIDENT_DECODE
    if not one.on_cpu:
        return RESIDENT_PROMPT
    clocks = one.runs[0].clocks
    return CARRIED if int(clocks.stall_ps.sum()) > int(clocks.cpu_ps.sum()) else CPU_PROMPT


def fits(found: Sequence[Expected]) -> list[Fit]:
    """One for each kind that the rows have."""
    kinds: dict[str, list[Expected]] = {}
    for one in found:
        if kind := kind_of(one):
            kinds.setdefault(kind, []).append(one)
    fitted, runtime = list[Fit](), None
    for kind in (RESIDENT_DECODE, CPU_DECODE, RESIDENT_PROMPT, CARRIED, CPU_PROMPT, ALONE_DECODE, ALONE_PROMPT):
        if kind in kinds:  # small kernels first: they are part of what the others take
            fitted.append(_fit(kind, kinds[kind], runtime))
            runtime = _under(fitted[-1], runtime or runtime_of(kinds[kind]))
    return fitted


def runtime_of(rows: Sequence[Expected]) -> Runtime:
    runtime = rows[0].runs[0].workload.runtime
    assert runtime is not None
    return runtime


def _under(fit: Fit, runtime: Runtime) -> Runtime:
    """The engine with what was fitted; a constant that cannot be stays as it was."""
    return (
        runtime
        if fit.factor is None or LINK in fit.paths or not fit.possible
        else with_constants(runtime, fit.paths, fit.factor)
    )


def _fit(kind: str, rows: list[Expected], under: Runtime | None) -> Fit:
    """under: the engine with what was fitted before; None: as it is."""
    chosen = [rows[i * len(rows) // min(len(rows), MOST_ROWS)] for i in range(min(len(rows), MOST_ROWS))]
    runtime, hw = under or runtime_of(rows), rows[0].runs[0].workload.hw
    before, inside = _mean(rows, None, None), sum(one.inside for one in rows)
    if of_machine := _of_machine(kind, hw):
        return Fit(kind, len(rows), before, (), None, None, None, None, inside, why=of_machine)
    groups = [[path for path in group if runtime.of(path) is not None] for group in CONSTANTS.get(kind, ())]
    paths = next((group for group in groups if group), [])
    if paths:
        constant = runtime.constants[paths[0]]
        factor = _solved(lambda x: _mean(chosen, None, with_constants(runtime, paths, x)))
        value = None if factor is None else constant.value * factor
        most, why = SHARES.get(paths[0], (None, ""))
        return Fit(kind, len(rows), before, tuple(paths), factor, value, constant.low, constant.high, inside, most, why)
    if kind == CARRIED:
        factor = _solved(lambda x: _mean(chosen, _with_link(hw, x), under))
        memory = runtime_of(rows).host_memory
        rate = link_bytes_per_s(replace(hw, link=replace(hw.link, host_memory=memory)))
        value, peak = None if factor is None else rate * factor, hw.figures.get("peak.link_bandwidth")
        most, why = (None, "") if peak is None else (float(peak.value), "peak.link_bandwidth of the machine")
        return Fit(kind, len(rows), before, (LINK,), factor, value, None, None, inside, most, why)
    return Fit(kind, len(rows), before, (), None, None, None, None, inside)


def _of_machine(kind: str, hw: Hardware) -> str:
    """Why a figure of the machine holds in place of the engine's constant; empty where the constant does."""
    reader = hw.device if kind == ALONE_DECODE else hw.cpu if kind == CPU_DECODE else None
    if reader is not None and reader.quantised_bytes_per_s is not None:
        return OWN_RATE
    return NO_CLOCK if kind == ALONE_PROMPT and hw.device.clock_hz is None else ""


def with_constants(runtime: Runtime, paths: Sequence[str], factor: float) -> Runtime:
    """The engine with constants times `factor`."""
    changed = {path: replace(runtime.constants[path], value=runtime.constants[path].value * factor) for path in paths}
    return replace(runtime, constants={**runtime.constants, **changed})


def _with_link(hw: Hardware, factor: float) -> Hardware:
    """The rate of copies times `factor`, of pinned and of pageable memory."""

    def scaled(rate: int) -> int:
        return max(1000, int(rate * factor) // 1000 * 1000)

    link = hw.link
    pageable = None if link.pageable_bytes_per_s is None else scaled(link.pageable_bytes_per_s)
    return replace(hw, link=replace(link, bytes_per_s=scaled(link.bytes_per_s), pageable_bytes_per_s=pageable))


def _mean(rows: Sequence[Expected], hw: Hardware | None, runtime: Runtime | None) -> float:
    """Geometric mean of simulated over measured."""
    return exp(sum(log(one.on(hw, runtime) / one.row.tok_s) for one in rows) / len(rows))


def _solved(mean: Callable[[float], float]) -> float | None:
    """The factor at which the mean is 1, which rises or falls with the factor throughout: false position in logarithms, where an end that
    stays is halved (Illinois)."""
    ends = [(log(factor), log(mean(factor))) for factor in FACTORS]
    if ends[0][1] * ends[1][1] > 0:
        return None
    (x0, y0), (x1, y1) = ends
    for _ in range(STEPS):
        x2 = x1 - y1 * (x1 - x0) / (y1 - y0)
        y2 = log(mean(exp(x2)))
        if y2 * y1 < 0:
            x0, y0 = x1, y1
        else:
            y0 /= 2
        x1, y1 = x2, y2
        if abs(y2) < EXACT:
            break
    return exp(x1)


def layer_s(found: Sequence[Expected], fit: Fit) -> float | None:
    """What a layer costs beside its bytes in decode: the time that the fitted small kernels take, over the layers."""
    rows = [one for one in found if kind_of(one) == fit.kind]
    if fit.kind != RESIDENT_DECODE or fit.paths != ("decode.kernel",) or fit.factor is None:
        return None
    runtime, layers = runtime_of(rows), rows[0].runs[0].workload.model.layers
    times = [1 / rows[0].on(None, with_constants(runtime, fit.paths, x)) for x in (fit.factor, fit.factor * 1e-6)]
    return (times[0] - times[1]) / len(layers)
