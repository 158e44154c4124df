"""The least of one quantity with which a machine meets targets: a grid is played first, then each border is bisected to one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from simmoe.play import confidence as bands
from simmoe.play.calling import scenario_of
from simmoe.play.lanes import Lanes
from simmoe.play.money import price_of
from simmoe.play.on_the_cpu import chosen, with_the_least
from simmoe.play.result import Run, versions
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.play.tabular import Record, Tabular
from simmoe.play.traced import traced
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps import commands
from simmoe.sweeps.axis import SIZES, Axis, axis_of
from simmoe.sweeps.targets import Check, Targets, checks, met, missed, ttft_s, whole, worst


@dataclass(frozen=True)
class Point:
    """A value of the axis, played. `run` is None where it cannot be."""

    number: int
    text: str
    command: str
    run: Run | None
    checks: tuple[Check, ...]
    why_not: str = ""
    placement: str | None = None  # chosen here: the fewest experts that the CPU has to take; None: as the options say

    @property
    def met(self) -> bool:
        return self.run is not None and met(self.checks)

    @property
    def said(self) -> str:
        return self.why_not or ", ".join(one.said for one in self.checks)

    def to_json(self) -> dict[str, Any]:
        run = self.run
        return {
            "value": self.text, "command": self.command, "placement": self.placement, "met": self.met,
            "tok_s": run and run.tok_s, "why_not": self.why_not or None,
            "targets": {one.name: one.value for one in self.checks}, "digest": run and run.digest,
        }  # fmt: skip

    def record(self) -> Record:
        """One row of a table, but for the value in base units."""
        run = self.run
        return {
            "value": self.text, "meets": self.met, "tok_s": run and run.tok_s, "ttft_s": run and ttft_s(run),
            "watts": run and run.energy and run.energy["decode_watts"], "memory_bytes": run and run.memory_bytes["total"],
            "placement": self.placement, "why_not": self.why_not or (None if self.met else self.said), "command": self.command,
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class Least(Tabular):
    """The least value that meets the targets, and the next smaller one, which does not (None: there is none). Neither where none does:
    `best` is the one that comes nearest. As a table: all values that were played."""

    brief = ("value", "meets", "tok_s", "ttft_s", "watts", "memory_bytes", "placement", "why_not")
    targets: Targets
    axis: Axis
    machine: str
    least: Point | None
    below: Point | None
    best: Point
    above: Point | None  # the next value behind the first stretch that meets them
    ranges: tuple[
        tuple[Point, Point], ...
    ]  # lowest and highest value of each stretch; of more than one: it is not monotone
    band: bands.Band | None
    points: tuple[Point, ...]  # all that were played, the smallest first

    def title(self) -> str:
        found = f"{self.least.text}, played {len(self.points)} values" if self.least else f"none does, {self.because}"
        return f"Simulated: least {self.axis.name} on {self.machine} for {self.targets}: {found}"

    def records(self) -> list[Record]:
        """A row for each value that was played; in base units: bytes, bytes a second, FLOPs a second, …"""
        return [{**one.record(), "in_base_units": self.axis.value(one.number)} for one in self.points]

    @cached_property
    def whole(self) -> bool | None:
        """Whether the whole band of the least value meets the targets."""
        if self.least is None or self.least.run is None:
            return None
        return whole(checks(self.targets, self.least.run, price_of(self.least.run.workload.hw), self.band))

    @property
    def because(self) -> str:
        """Why no value does."""
        return self.best.why_not or missed(self.best.checks, self.best.run)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": RESULT_SCHEMA, "kind": "simulated", "versions": versions(), "targets": self.targets.to_json(),
            "machine": self.machine,
            "axis": self.axis.name, "step": self.axis.step, "stated": self.axis.stated, "least": self.least and self.least.to_json(),
            "below": self.below and self.below.to_json(), "above": self.above and self.above.to_json(), "best": self.best.to_json(),
            "because": None if self.least else self.because, "range_tok_s": self.band and list(self.band.hardware),
            "whole_range": self.whole, "ranges": [[low.text, high.text] for low, high in self.ranges],
        }  # fmt: skip


class _Search:
    """Points of the axis, each played once."""

    def __init__(self, targets: Targets, scenario: Scenario, name: str) -> None:
        """scenario: of names; its trace is opened here. Raises UserError."""
        self.targets, self.scenario, self.lanes = targets, scenario, Lanes()
        self.text = None if scenario.trace is None else traced(scenario.trace, scenario.model)
        free = replace(scenario, budget=None, memory=None) if name in SIZES else scenario
        self.workload = self._workload(free)
        self.axis = axis_of(name, free, self.workload)
        self.free = free
        if name not in SIZES:
            self.axis.scenario(free, 0)  # a figure that a runtime does not read is refused here
        self._points: dict[int, Point] = {}

    def _workload(self, scenario: Scenario) -> Workload:
        return replace(scenario, hw=scenario.machine(), set=(), trace=self.text).workload()

    def at(self, number: int) -> Point:
        if number not in self._points:
            self._points[number] = self._played(number)
        return self._points[number]

    def _played(self, number: int) -> Point:
        text, said, placement = self.axis.text(number), "", None
        try:
            scenario = self.axis.scenario(self.free, number)
            said = commands.command(scenario)
            workload = self.workload if self.axis.name in SIZES else self._workload(scenario)
            asked, scenario = scenario, with_the_least(scenario, workload)
            workload = workload.split(scenario.tensor_split)
            said, placement = commands.command(scenario), chosen(asked, scenario)
            plan = scenario.plan(workload)
            said = commands.command(scenario, plan)
            run = play(workload, plan, workload.engine(scenario.engine, runs=len(self.axis.grid)), lanes=self.lanes)
        except UserError as error:
            return Point(number, text, said, None, (), str(error), placement)
        return Point(number, text, said, run, checks(self.targets, run, price_of(workload.hw)), placement=placement)

    @property
    def points(self) -> tuple[Point, ...]:
        """All that were played, the smallest first."""
        return tuple(point for _, point in sorted(self._points.items()))

    def border(self, low: int, high: int) -> tuple[int, int]:
        """Two neighbours between these, of which one meets the targets and the other does not, as these two."""
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.at(middle).met == self.at(low).met else (low, middle)
        return low, high

    def ranges(self) -> list[tuple[Point, Point]]:
        """Each stretch of values that meet the targets, as far as the grid shows."""
        found, begin = list[tuple[Point, Point]](), None
        grid = self.axis.grid
        if self.at(grid[0]).met:
            begin = grid[0]
        for low, high in pairwise(grid):
            if self.at(low).met == self.at(high).met:
                continue
            last, first = self.border(low, high)
            if begin is None:
                begin = first
            else:
                found.append((self.at(begin), self.at(last)))
                begin = None
        return found if begin is None else [*found, (self.at(begin), self.at(grid[-1]))]


def _refuse_what_is_looked_for(name: str, scenario: Scenario) -> None:
    """Raises UserError for a size of the memory that is stated beside one that is looked for: it would be dropped."""
    for stated in SIZES if name in SIZES else ():
        if (value := getattr(scenario, stated)) is not None:
            size = value if isinstance(value, str) else f"{value}B"
            raise UserError(
                f"--least {name} beside --{stated} {size}: the size is what is looked for; leave --{stated} out"
            )


def least(targets: Targets, name: str, machine: Any, options: Mapping[str, Any]) -> Least:
    """The least budget, memory or figure of one machine. Raises UserError."""
    scenario = scenario_of({**options, "hw": machine})
    _refuse_what_is_looked_for(name, scenario)
    search = _Search(targets, scenario, name)
    ranges, named = search.ranges(), commands.named(scenario.hw)
    played = [search.at(number) for number in search.axis.grid]
    best = min(played, key=lambda one: (one.run is None, *worst(one.checks), 0 if name in SIZES else abs(one.number)))
    if not ranges:
        return Least(targets, search.axis, named, None, None, best, None, (), None, search.points)
    first = ranges[0][0]
    below = search.at(first.number - 1) if first.number > search.axis.first else None
    above = search.at(top.number + 1) if (top := ranges[0][1]).number < search.axis.last else None
    band = bands.band(first.run) if first.run else None
    return Least(targets, search.axis, named, first, below, best, above, tuple(ranges), band, search.points)
