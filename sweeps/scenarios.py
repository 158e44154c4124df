"""The scenarios of a space: planned and played as `simmoe run` does, each with the command that reproduces it."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from simmoe import policies
from simmoe.play import popularity
from simmoe.play.calling import scenario_of
from simmoe.play.kinds import OFF
from simmoe.play.lanes import Lanes
from simmoe.play.money import price_of
from simmoe.play.options import Declared
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import Scenario, workload_options
from simmoe.play.workload import Workload
from simmoe.simulator.decide.missing import loads_low
from simmoe.simulator.errors import UserError
from simmoe.simulator.time.engines import Engine
from simmoe.sweeps import constraints, metrics
from simmoe.sweeps.inputs import Inputs
from simmoe.sweeps.space import AXES, Point, Space, options_of

INPUTS = ("hw", "trace", "model", "format", "kv_format")  # opened once, and known by their content
LOW = ("low_format", "low_budget")  # options of copies that a miss rule may ask for
SAME = "scenario_digest"  # fact of a trial: two with the same one mean the same


class Outcome(NamedTuple):
    """What a trial keeps. `values` is None where the scenario cannot run; `facts` then says why."""

    values: list[float] | None
    facts: dict[str, Any]
    constraints: Mapping[str, float] = MappingProxyType({})  # by which share of its limit each is broken, or kept: <= 0


class Scenarios:
    """What a space can play: its inputs are opened once, and what is the same for several scenarios is made once."""

    def __init__(self, space: Space, runs: int) -> None:
        """runs: how many will be played about, which decides whether the compiled engine pays. Raises UserError."""
        self.inputs, self.runs = Inputs(space), runs
        self.space, self.bounds = self.inputs.space, self.inputs.bounds
        self._made_of = workload_options()
        self._workloads: dict[str, Workload] = {}
        self._engines: dict[str, Engine] = {}
        self._lanes = Lanes()
        self._measured: dict[str, dict[str, Any]] = {}  # by the digest of a scenario

    @property
    def digest(self) -> str:
        return self.inputs.digest

    def outcome(self, point: Point) -> Outcome:
        """Play one scenario and keep what a report needs. Scenarios that mean the same are played once, however they are written."""
        trained = self.space.trained.get(point.get("trace", ""))
        facts: dict[str, Any] = {"point": point, **(trained._asdict() if trained else {})}
        point = _asked(point)
        facts["command"] = self.command(point)
        try:
            plan = self.scenario(point).plan(self.workload(point))
            same = hashlib.sha256(f"{self._inputs(point)} {plan}".encode()).hexdigest()
            run = None if same in self._measured else self.play(point, plan)
        except UserError as error:
            return Outcome(None, {**facts, "why_not": str(error)})
        if run:  # a metric that fails is no scenario that cannot run
            self._measured[same] = {**self._facts(run), SAME: same}
        facts |= self._measured[same]
        null = [name for name in self.space.objectives if facts[name] is None]
        if null:
            why = "" if facts["tok_s"] else ": no decode pass is played"
            return Outcome(None, {**facts, "why_not": f"a run of {_trace_of(point)} has no {null[0]}{why}"})
        broken = constraints.broken_by(self.space.constraints, facts)
        values = [metrics.told(self.inputs.judges[name], float(facts[name] or 0)) for name in self.space.objectives]
        return Outcome(values, {**facts, **({"constraints": broken} if broken else {})}, broken)

    def remember(self, facts: Mapping[str, Any]) -> None:
        """A trial that another process played: what means the same is not played again, however it is written."""
        if SAME in facts:
            of_the_run = (*self.inputs.judges, "currency", "budget_bytes", "engine", "digest", SAME)
            self._measured[facts[SAME]] = {name: facts[name] for name in of_the_run if name in facts}

    def _facts(self, run: Run) -> dict[str, Any]:
        assumed = self.inputs.assumed
        found: dict[str, Any] = {
            name: metrics.measured(name, one, run, assumed) for name, one in self.inputs.judges.items()
        }
        if price := price_of(run.workload.hw):
            found["currency"] = assumed.currency or price.currency
        return {**found, "budget_bytes": run.plan.budget_bytes, "engine": run.engine, "digest": run.digest}

    def play(self, point: Point, plan: Plan) -> Run:
        """Raises UserError where the scenario does not fit on its machine."""
        workload = self.workload(point)
        self._lanes.join(workload)
        engine = self._engines.get(key := self._inputs(point)) or workload.engine(runs=self.runs)
        self._engines[key] = engine
        return play(workload, plan, engine, lanes=self._lanes)

    def workload(self, point: Point) -> Workload:
        """Once per machine, trace and model; all but the budget and the policies."""
        key = self._inputs(point)
        if key not in self._workloads:
            cuts = (axis for axis in popularity.COUNTING if popularity.counts_first(point.get(axis)))
            opens = {*self._made_of, *cuts}
            named = self.scenario({axis: word for axis, word in point.items() if axis in opens or axis not in AXES})
            hw = named.machine() if named.set else self.inputs.hw[point["hw"]]
            trace, shape = self.inputs.traces.get(point.get("trace", "")), self.inputs.models[_shape(point)]
            opened = replace(named, hw=hw, set=(), trace=trace, model=shape, format=None, kv_format=None)
            self._workloads[key] = opened.workload()
            self._workloads[key].model_name = point.get("model") or (trace.meta.get("model") if trace else None)
        return self._workloads[key]

    def scenario(self, point: Point) -> Scenario:
        """What a point says, with the tokens of the space."""
        return scenario_of({"tokens": self.space.tokens, **options_of(point)})

    def _inputs(self, point: Point) -> str:
        """What makes a workload. Inputs count by their content: two names of one machine are one."""
        others = (name for name in (*self._made_of, *self.space.figures) if name not in INPUTS)
        opened = (
            self.inputs.hw[point["hw"]].digest,
            self.inputs.trace_digests.get(point.get("trace", "")),
            self.inputs.models[_shape(point)].digest,
        )
        return repr([*opened, *(point.get(name) for name in others), popularity.unplayed(point)])

    def command(self, point: Point) -> str:
        """The `simmoe run` that gives this scenario's numbers; without a budget it would play a ladder."""
        words = ["simmoe", "run"]
        for axis, option in AXES.items():
            if axis in point:
                words += _words(option, point[axis])
        for path in self.space.figures:
            words += ["--set", f"{path}={point[path]}"]
        if not {"budget", "memory"} & set(point):
            with suppress(UserError):  # what cannot run has no budget
                plan = self.scenario(point).plan(self.workload(point))
                each = set(plan.device_budgets or (plan.budget_bytes,))  # a size is the same on each of several devices
                words += ["--budget", f"{each.pop()}B"] if len(each) == 1 else []
        if self.space.tokens is not None:
            words += ["--tokens", str(self.space.tokens)]
        return shlex.join(words)


def _asked(point: Point) -> Point:
    """The point without what is said of low copies where its miss rule asks for none: whatever that is, the scenario is the same."""
    rule = point.get("miss", AXES["miss"].default if point.get("system", OFF) == OFF else None)
    if rule is None or loads_low(policies.load("miss", rule)):
        return point
    return {axis: word for axis, word in point.items() if axis not in LOW}


def _words(option: Declared, word: str) -> list[str]:
    """How `simmoe run` is told; what is off is left out."""
    if option.about.off and word == OFF:
        return []
    return [option.flag] if option.default is False else [option.flag, word]


def _shape(point: Point) -> tuple[str, str, str, str]:
    return point.get("trace", ""), point.get("model", ""), point.get("format", ""), point.get("kv_format", "")


def _trace_of(point: Point) -> str:
    return f"trace {point['trace']}" if "trace" in point else "drawn routing"
