"""One quantity of a scenario as a row of numbered values: slots of a budget, or steps of 1 % of a rate of the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simmoe.play.memory import Memory
from simmoe.play.on_the_cpu import chooses, with_the_least
from simmoe.play.plan import memory_of
from simmoe.play.scenario import Scenario
from simmoe.play.what_if import Change, changed
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import nbytes, power_of_time, text

PERCENT = 1.01  # from a value to the next
DOUBLE = 70  # steps of 1 % that double: 1.01^70 = 2.007
REACH = 7  # times that a figure is halved and doubled at most
GRID = 32  # budgets that are tried first, spread evenly
SIZES = ("budget", "memory")
MEMORY_RATE, LINK_RATE = "memory.bandwidth", "link.bandwidth"


@dataclass(frozen=True)
class Axis:
    """Values by number, rising from `first` to `last`."""

    name: str
    step: str  # from one value to the next, in words
    first: int
    last: int
    grid: tuple[int, ...]  # numbers that are tried first
    options: Callable[[int], Mapping[str, Any]]  # of the scenario
    value: Callable[[int], int]  # in base units
    text: Callable[[int], str]
    stated: str = ""  # what the machine has

    def scenario(self, scenario: Scenario, number: int) -> Scenario:
        return changed(scenario, Change("", self.options(number)))


def axis_of(name: str, scenario: Scenario, workload: Workload) -> Axis:
    """The axis of that name: budget, memory, or a figure of the machine. Raises UserError."""
    if name in SIZES:
        return _slots(name, scenario, workload)
    hw = workload.hw
    rates = _rates(name, hw, workload)
    if not isinstance(scenario.hw, str):
        raise UserError(f"--least {name} changes a figure of a profile: name it, in place of loaded hardware")
    most = REACH * DOUBLE
    grid = range(-most, most + 1, DOUBLE // 2)
    main = next(iter(rates))

    def value(path: str, number: int) -> int:
        unit = 1000 if hw.figures[path].dimension == "bandwidth" else 1
        return max(round(hw.figures[path].value * PERCENT**number) // unit, 1) * unit

    def settings(number: int) -> Mapping[str, Any]:
        paths = [path for path, always in rates.items() if always or value(main, number) > hw.figures[path].value]
        return {
            "set": tuple(
                f"{path}={_said(value(main if not rates[path] else path, number), hw, path)}" for path in paths
            )
        }

    return Axis(
        name,
        "1 %",
        -most,
        most,
        tuple(grid),
        settings,
        lambda n: value(main, n),
        lambda n: text(value(main, n), hw.figures[main].dimension),
        hw.figures[main].text,
    )


def _said(value: int, hw: Hardware, path: str) -> str:
    return text(value, hw.figures[path].dimension).replace(" ", "")


def _rates(name: str, hw: Hardware, workload: Workload) -> dict[str, bool]:
    """Paths of the figures that rise together: True, in proportion; False, where the first would pass it."""
    unit, engine = f"units.{hw.device.name}", workload.runtime is not None
    if name == MEMORY_RATE and engine:
        return {"peak.memory_bandwidth": True}
    if name == MEMORY_RATE:
        paths = (f"tiers.{hw.device.memory}.bandwidth", f"{unit}.bandwidth", f"{unit}.grouped_bandwidth")
        return {path: True for path in paths if path in hw.figures}
    if name == LINK_RATE:
        used = workload.costs.hw.link.host_memory  # how the engine keeps what crosses
        slow = {"pageable": "link.pageable", "managed": "link.managed.bandwidth"}.get(used, "")
        queued = hw.link.queue_depth is not None and hw.link.upstream is None
        return {LINK_RATE: True, f"tiers.{hw.link.src}.bandwidth": queued} | dict.fromkeys(
            {slow} & set(hw.figures), True
        )
    figure = hw.figures.get(name)
    if figure is None:
        raise UserError(
            f"--least {name}: {among(name, [*SIZES, MEMORY_RATE, *hw.figures], 'one of', '`simmoe hw show`')}"
        )
    time = power_of_time(figure.dimension)
    if time >= 0 and figure.dimension != "size":
        why = "less of it is never worse" if time else "it is neither a rate nor a size"
        raise UserError(f"--least {name}: {why}; name a rate or a size, such as {LINK_RATE}")
    return {name: True}


def _slots(name: str, scenario: Scenario, workload: Workload) -> Axis:
    """Budgets of one slot, of the smallest expert, to all experts or to what the device holds."""
    if scenario.eviction in BOUNDS or len(workload.hw.devices) > 1:
        what = (
            f"the bound {scenario.eviction}"
            if scenario.eviction in BOUNDS
            else f"{workload.hw.name}, of several devices,"
        )
        raise UserError(f"--least {name}: {what} has no one budget; leave it out")
    plan = with_the_least(scenario, workload).plan(workload)
    memory, slot = memory_of(workload, plan), int(workload.model.expert_bytes.min())
    most = memory.holds_bytes
    last, beside = max(-(-most // slot) if most == memory.left_bytes else most // slot, 1), _beside(name, memory)

    def value(number: int) -> int:
        return min(number * slot, most) + beside

    def options(number: int) -> Mapping[str, Any]:
        return dict.fromkeys(SIZES) | {name: f"{value(number)}B"}

    first = 0 if chooses(scenario, workload) else 1  # the CPU may take all
    grid = sorted({first, 1, last, *(round(1 + i * (last - 1) / GRID) for i in range(GRID))})
    said = f"{nbytes(most + beside)}, {'all experts' if most == memory.model.all_expert_bytes else 'what the device holds'}"
    return Axis(
        name,
        "one slot",
        first,
        last,
        tuple(grid),
        options,
        value,
        lambda n: f"{value(n):,} B ({nbytes(value(n))})",
        said,
    )


def _beside(name: str, memory: Memory) -> int:
    """What --memory counts beside the budget."""
    return memory.usable_bytes - memory.room_bytes if name == "memory" else 0
