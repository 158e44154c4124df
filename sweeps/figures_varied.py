"""The figures of a machine and the constants of an engine, each a little larger or smaller, and a workload with one of them changed.

A machine with a changed figure is made as its slow and fast ends are (hardware_profiles/ranges.py), so that every figure is varied that
anything reads, those too that `--set` refuses because something else stands in their way.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from simmoe.hardware_profiles.ranges import with_figures
from simmoe.play.workload import Workload
from simmoe.policies.runtime import SECTIONS
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.runtime import Runtime
from simmoe.simulator.physics.kernels import FLOOR_CLOCK_HZ
from simmoe.simulator.units import power_of_time, text

STEP = 1000  # a figure is varied by a thousandth of it
COARSE = 8  # what cannot be varied by an eighth of it or less is left out: a number of few processors
GRANULE = {"bandwidth": 1000}  # base units in which a figure is whole; others in ones
NOT_OF_TIME = ("modes.", "power.", "thermal.", "price")  # figures of other modes, of energy, of money
KERNEL, KERNEL_CLOCK = "decode.kernel", "decode.kernel.clock"


@dataclass(frozen=True)
class Varied:
    """A figure with a lower and a higher value, in its base unit."""

    path: str  # of an engine's constant behind `runtime.`
    text: str  # its value, as its file writes it
    kind: str
    source: str
    dimension: str
    value: float
    lower: float
    higher: float

    @property
    def power(self) -> int:
        """Of time in its unit: 1 a time, -1 a rate, 0 neither."""
        return power_of_time(self.dimension)


def of_machine(hw: Hardware) -> Iterator[Varied]:
    """Its figures that can be varied by a little, but for those that no time depends on."""
    for path, figure in hw.figures.items():
        unit = GRANULE.get(figure.dimension, 1)
        step = max(figure.value // STEP // unit, 1) * unit
        if not path.startswith(NOT_OF_TIME) and figure.value >= COARSE * step:
            ends = figure.value - step, figure.value + step
            yield Varied(path, figure.text, figure.kind, figure.source, figure.dimension, figure.value, *ends)


def of_runtime(runtime: Runtime) -> Iterator[Varied]:
    """Its constants; and the clock at which it states the time of a kernel, a rate that multiplies that time."""
    dimensions = {
        f"{section}.{name.rstrip('?')}": what for section, of in SECTIONS.items() for name, what in of.items()
    }
    for path, one in runtime.constants.items():
        ends = one.value * (1 - 1 / STEP), one.value * (1 + 1 / STEP)
        yield Varied(f"runtime.{path}", one.text, one.kind, one.source, dimensions[path], one.value, *ends)
        if path == KERNEL:
            clock, ends = FLOOR_CLOCK_HZ, (FLOOR_CLOCK_HZ * (1 - 1 / STEP), FLOOR_CLOCK_HZ * (1 + 1 / STEP))
            said, source = (
                text(int(clock), "frequency"),
                "the clock at which an engine's file states the time of a kernel",
            )
            yield Varied(f"runtime.{KERNEL_CLOCK}", said, "read", source, "frequency", clock, *ends)


def with_value(workload: Workload, varied: Varied, value: float) -> Workload:
    """The same workload where that figure has another value."""
    where, _, path = varied.path.partition(".")
    if where == "runtime":
        assert workload.runtime is not None  # its constants were varied
        other = copy.copy(workload)
        other.runtime = _with_constant(workload.runtime, path, value)
        return other.on(workload.hw)
    figure = workload.hw.figures[varied.path]
    now = replace(figure, value=int(value), text=text(int(value), figure.dimension))
    return workload.on(with_figures(workload.hw, {varied.path: now}, f"{varied.path} = {now.text}"))


def _with_constant(runtime: Runtime, path: str, value: float) -> Runtime:
    if path == KERNEL_CLOCK:  # a kernel takes so many cycles: the time at one clock times that clock
        path, value = KERNEL, runtime.known(KERNEL) * value / FLOOR_CLOCK_HZ
    return replace(runtime, constants={**runtime.constants, path: replace(runtime.constants[path], value=value)})
