"""`simmoe.serve_curve`: the rate of requests that a box holds for a TTFT and a TPOT, for each budget.

All requests at once tell about how many a second it can serve. A geometric grid of rates is played around that, with the same draws at
each, and every border between rates that meet the targets and rates that do not is bisected to one per cent. With every figure of the
machine and of the engine at its slow and at its fast end the rate is looked for again, from there, and less closely.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from simmoe.play import arrival_file
from simmoe.play.calling import scenario_of, takes
from simmoe.play.cautions import cautions
from simmoe.play.devices import to_serve
from simmoe.play.load_words import WHOLE, rate_word
from simmoe.play.passes import clock_driven
from simmoe.play.plan import Plan, memory_of
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.slo import slo_of
from simmoe.play.traced import traced
from simmoe.play.workload import Workload
from simmoe.play.would_fit import told
from simmoe.policies.runtime import IDEAL
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import DoesNotFit, UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import Engine
from simmoe.sweeps import commands
from simmoe.sweeps.order import stretches
from simmoe.sweeps.serve_curve_result import Curve, Point, ServeCurve, point

SHARE = "90%"
BUDGETS = ("25%", "50%", "75%", "100%")
REQUESTS = 100  # of drawn routing and of lengths that are asked for, where nobody says how many
SCHEDULE = "continuous"
STEP, BELOW, ABOVE = 2, 4, 2  # steps that double a rate; those of the grid below and above the rate of all at once
MOST, LONGEST_S = 24, 10**6  # rates of a grid that grows upwards; what arrivals last at most while it grows downwards
CLOSE, CLOSE_AT_ENDS = 1.01, 1.05  # how close two rates are told apart
RUNS = 32  # of a budget, about: 16, and 8 at each end
Report = Callable[[str, int], None]  # label of a budget, rates that were played


@takes("rate")
def serve_curve(
    hw: str | Path | Hardware | None = None, trace: str | Path | Trace | None = None, *, budgets: Sequence[int | str] | None = None,
    share: str = SHARE, report: Report | None = None, **options: Any,
) -> ServeCurve:  # fmt: skip
    """Goodput against the rate of requests, and the highest rate at which `share` of the requests meet `ttft` and `tpot`.

    budgets: of memory for experts; without: a quarter, a half, three quarters and all of them, as far as the device holds so many.
    The options are those of `simmoe.run`; the schedule is continuous unless another is named. arrivals names a process without its rate:
    poisson (default), gamma:burstiness=0.5, … Raises UserError.
    """
    part, scenario = share_of(share), scenario_of_curve({**options, "hw": hw, "trace": trace})
    with told(scenario):
        opened = scenario if scenario.trace is None else replace(scenario, trace=traced(scenario.trace, scenario.model))
        workload = opened.workload()
        labels = _budgets(scenario, workload, budgets)
        plan = scenario.plan(workload) if not budgets else replace(scenario, budget=0, memory=None).plan(workload)
        slo = slo_of(plan)
        assert slo is not None
        engine = workload.engine(scenario.engine, runs=RUNS * len(labels))
        found = tuple(_Box(scenario, workload, engine, part, report).curve(label) for label in labels)
    requests = len(np.unique(workload.trace.sequence))
    return ServeCurve(to_serve(workload, plan), slo, part, requests, scenario.arrivals or "poisson", found)


def share_of(text: Any, where: str = "--share") -> Fraction:
    """A percentage of the requests. Raises UserError."""
    found = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*", text) if isinstance(text, str) else None
    if found is None or not 0 < Fraction(found[1]) <= 100:
        raise UserError(
            f"{where}: {reprlib.repr(text)} is no share of the requests; write it above 0% and up to 100%, like 99%"
        )
    return Fraction(found[1]) / 100


def scenario_of_curve(asked: dict[str, Any]) -> Scenario:
    """What is played at each rate, here at one a second. Raises UserError for what a curve over rates cannot be of."""
    options = {"schedule": SCHEDULE, **asked}
    if options.get("rate") is not None:
        raise UserError(f"--rate {options['rate']}: the rate is what is looked for; leave it out")
    if options.get("ttft") is None and options.get("tpot") is None:
        raise UserError(
            "nothing is asked for: give --ttft, such as --ttft 2s, or --tpot, such as --tpot 100ms, or both"
        )
    scenario = scenario_of({**options, "rate": "1/s"})  # refuses a process that says its rate
    lengths = [said for said in (scenario.prompt, scenario.generate) if said is not None]
    if scenario.requests is None and (scenario.trace is None or lengths):
        scenario = replace(scenario, requests=min([REQUESTS, *_in_files([scenario.arrivals, *lengths])]))
    if clock_driven(scenario.schedule) is None:
        raise UserError(
            f"--schedule {scenario.schedule} knows its passes beforehand, and no request arrives: name another, such as --schedule "
            f"{SCHEDULE}, or leave it out"
        )
    return scenario


def _in_files(load: Sequence[int | str | None]) -> Iterator[int]:
    """How many requests each file has. Raises UserError."""
    return (arrival_file.count(said, said) for said in load if isinstance(said, str) and arrival_file.is_file(said))


def _budgets(scenario: Scenario, workload: Workload, said: Sequence[int | str] | None) -> list[int | str | None]:
    """None: what the scenario says, or the device holds."""
    if said:
        for name in ("budget", "memory"):
            if getattr(scenario, name) is not None:
                raise UserError(f"give {OPTIONS[name].flag} or several budgets, not both")
        return list(dict.fromkeys(said))
    if len(workload.hw.devices) > 1 or not (tried := tried_budgets(scenario)):
        return [None]
    memory = memory_of(workload, scenario.plan(workload))
    held = [one for one in tried if Fraction(one[:-1]) / 100 * memory.left_bytes <= memory.holds_bytes]
    return [*held, *([] if tried[-1] in held else [None])]


def tried_budgets(scenario: Scenario) -> tuple[str, ...]:
    """Those that are tried where nobody names several; none where the run has a budget of its own."""
    stated = scenario.budget is not None or scenario.memory is not None
    streams = scenario.runtime == IDEAL or scenario.engine_of_runtime().streams
    return () if stated or not streams or scenario.eviction in BOUNDS else BUDGETS


@dataclass(frozen=True)
class _Box:
    scenario: Scenario  # with a rate, which is replaced
    workload: Workload
    engine: Engine
    share: Fraction
    report: Report | None

    def curve(self, budget: int | str | None) -> Curve:
        scenario = self.scenario if budget is None else replace(self.scenario, budget=budget, memory=None)
        try:
            plan = scenario.plan(self.workload)
            at_once = self._played(plan, 0)
        except DoesNotFit as error:
            return Curve(str(budget), 0, why_not=str(error))
        label = _label(self.workload, plan, budget)
        tick = self._ticks(label)
        at = _Rates(partial(self._played, plan, at_once_per_s=at_once.busiest.requests_per_s), tick)
        ranges = _held(_grid(at_once, at), at, between)
        held = ranges[0][1] if ranges else None
        known = at.known
        start = min(known) if held is None else held.rate
        at_ends = [0 if held is None else held.rate, *(one._about(plan, start, tick) for one in self._ends)]
        command = None if held is None else commands.command(replace(scenario, rate=held.word), plan)
        return Curve(
            label,
            plan.budget_bytes,
            at_once,
            tuple(known[rate] for rate in sorted(known)),
            ranges,
            (min(at_ends) / WHOLE, max(at_ends) / WHOLE),
            cautions=tuple(cautions(self.workload, plan)),
            command=command,
        )

    @cached_property
    def _ends(self) -> list[_Box]:
        """The box with every figure of machine and engine at its slow and at its fast end; none where it states no ranges."""
        own, ends = self.workload, self.workload.ends
        return [replace(self, workload=one) for one in ends if (one.hw, one.runtime) != (own.hw, own.runtime)]

    def _about(self, plan: Plan, start: int, tick: Callable[[], None]) -> int:
        """The rate that is held, as `curve` finds it, but about `start` only, and less closely; 0: none."""
        at_once_per_s = self._played(plan, 0).busiest.requests_per_s
        at = _Rates(partial(self._played, plan, at_once_per_s=at_once_per_s), tick)
        ranges = _held(_wide([start], at), at, partial(between, close=CLOSE_AT_ENDS))
        return ranges[0][1].rate if ranges else 0

    def _ticks(self, label: str) -> Callable[[], None]:
        """To be called at each rate that is played."""
        report, played = self.report, count(1)
        return (lambda: report(label, next(played))) if report else lambda: None

    def _played(self, plan: Plan, rate: int, at_once_per_s: float = 0.0) -> Point:
        """rate 0: all at once."""
        how = {"arrivals": None, "rate": None} if not rate else {"rate": rate_word(Fraction(rate, WHOLE))}
        return point(rate, play(self.workload, replace(plan, **how), self.engine), self.share, at_once_per_s)


class _Rates:
    """The points of rates, each played once."""

    def __init__(self, play: Callable[[int], Point], tick: Callable[[], None]) -> None:
        self._play, self._tick = play, tick
        self.known = dict[int, Point]()

    def __call__(self, rate: int) -> Point:
        if rate not in self.known:
            self.known[rate] = self._play(rate)
            self._tick()
        return self.known[rate]


def _label(workload: Workload, plan: Plan, budget: int | str | None) -> str:
    if isinstance(budget, str):
        return budget
    every = workload.model.all_expert_bytes
    return f"{plan.budget_bytes / every:.1%}" if every and plan.eviction not in BOUNDS else plan.eviction


def _grid(at_once: Point, at: _Rates) -> list[int]:
    """Rates around that at which all at once are served, which may be less than what a box holds whose cache they overrun."""
    capacity = at_once.numbers["requests_per_s"]
    assert capacity is not None
    return _wide([rounded(capacity * WHOLE * 2 ** (n / STEP)) for n in range(-BELOW, ABOVE + 1)], at)


def _wide(rates: list[int], at: _Rates) -> list[int]:
    """With lower ones until one meets the targets, and higher ones until one does not."""
    while not at(rates[0]).met and not at(rates[0]).alone and at(rates[0]).lasts_s < LONGEST_S:
        rates.insert(0, rounded(rates[0] / 4))
    while at(rates[-1]).met and len(rates) < MOST:
        rates.append(rounded(rates[-1] * 2 ** (1 / STEP)))
    return rates


def _held(rates: list[int], at: _Rates, between: Callable[[int, int], int | None]) -> tuple[tuple[Point, Point], ...]:
    """The lowest and the highest rate of each stretch that meets the targets."""
    found = stretches(lambda rate: at(rate).met, rates, between)
    return tuple((at(one.begin), at(one.end)) for one in found if one.state)


def between(low: int, high: int, close: float = CLOSE) -> int | None:
    """A rate about in the middle; None where both are as close as rates are told apart."""
    middle = rounded((low * high) ** 0.5)
    return middle if high > close * low and low < middle < high else None


def rounded(rate: float) -> int:
    """To four digits, as a person would write it."""
    return max(int(float(f"{rate:.3e}")), 1)
