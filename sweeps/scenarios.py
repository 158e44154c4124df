"""The scenarios of a space: planned and played as `simmoe run` does, each with the command that reproduces it."""

from __future__ import annotations

import hashlib
import json
import shlex
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

from simmoe import hardware_profiles
from simmoe.play.memory import budget_of
from simmoe.play.plan import Plan, guesses_of, on_cpu_of, policy_identity
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.costs import fit_geometry
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.time.engines import Engine
from simmoe.sweeps import metrics
from simmoe.sweeps.space import AXES, COUNTS, NONE, OPTIONAL, Point, Space
from simmoe.workloads import models
from simmoe.workloads.format import trace as traces
from simmoe.workloads.format.regroup import first_tokens

DEFAULTS = {  # of `simmoe run`
    "eviction": "lru", "scope": "global", "overlap": "on", "prefetch": NONE, "miss": "fetch", "placement": NONE, "graphs": NONE,
}  # fmt: skip


class Outcome(NamedTuple):
    """What a trial keeps. `values` is None where the scenario cannot run; `facts` then says why."""

    values: list[float] | None
    facts: dict[str, Any]


class Scenarios:
    """Every input of the space is opened and checked here, so that a typo stops the sweep and not a trial of it."""

    def __init__(self, space: Space, runs: int) -> None:
        """runs: how many will be played about, which decides whether the compiled engine pays. Raises UserError."""
        self.space, self.runs = space, runs
        axes = space.axes
        for name in set(axes["eviction"]) & set(BOUNDS):
            raise UserError(f"eviction {name!r} of the space is a bound without a budget and no policy; take it out")
        self.hw = {name: hardware_profiles.load(name) for name in axes["hw"]}
        self._traces = {name: traces.load(name) for name in axes["trace"]}
        self._policies: dict[str, dict[str, str]] = {}
        for kind, value, name in space.policies:
            self._policies.setdefault(kind, {})[value] = policy_identity(kind, name)
        self._models = {key: self._model(*key) for key in self._shapes()}
        for kind, value, _ in space.policies:
            if kind != "eviction":
                self._require(kind, value)
        self._workloads: dict[str, Workload] = {}
        self._engines: dict[str, Engine] = {}

    def _shapes(self) -> list[tuple[str, str, str]]:
        return [(trace, model, form) for trace in self.space.axes["trace"] for model in self.space.axes.get("model", ("",))
                for form in self.space.axes.get("format", ("",))]  # fmt: skip

    def _model(self, trace: str, model: str, form: str) -> Any:
        loaded = self._traces[trace]
        name = model or loaded.meta.get("model")
        if not name:
            raise UserError(f"trace {trace} does not say its model; name shapes with the key model of the space")
        shape = models.load(name, form or None)
        fit_geometry(shape, loaded)
        return shape

    def _require(self, kind: str, value: str) -> None:
        """Raises UserError for a policy that no machine and trace of the space can play, such as one that needs a CPU.

        One pass tells. What fails on some of them only is left to its trials, which say why.
        """
        reasons, plan = [], _plan({kind: value}, 0)
        for hw, (trace, model, form) in product(self.hw.values(), self._shapes()):
            try:
                workload = Workload(hw, first_tokens(self._traces[trace], 1), self._models[trace, model, form])
                guesses_of(workload, plan)
                on_cpu_of(workload, plan)
            except UserError as error:
                reasons.append(str(error))
            else:
                return
        raise UserError(f"{kind} {value!r} of the space works with none of its machines and traces: {reasons[0]}")

    @cached_property
    def digest(self) -> str:
        """sha256 of what the space says and of what it names: a study must not mix results of different inputs."""
        inputs = {
            "hw": {name: hw.digest for name, hw in self.hw.items()},
            "trace": {name: loaded.meta.get("digest") or traces.digest(loaded) for name, loaded in self._traces.items()},
            **self._policies,
            "model": [[*key, shape.digest] for key, shape in self._models.items()],
            "metric": {name: hashlib.sha256(metrics.find(name).read_bytes()).hexdigest() for name in self.space.objectives},
        }  # fmt: skip
        axes = {axis: repr(values) for axis, values in self.space.axes.items()}
        said = {"axes": axes, "objectives": list(self.space.objectives.items()), "tokens": self.space.tokens}
        return hashlib.sha256(json.dumps([said, inputs], sort_keys=True).encode()).hexdigest()

    def outcome(self, point: Point) -> Outcome:
        """Play one scenario and keep what a report needs."""
        facts: dict[str, Any] = {"point": point, "command": self.command(point)}
        try:
            run = self.play(point)
        except UserError as error:
            return Outcome(None, {**facts, "why_not": str(error)})
        found = {name: metrics.measure(name, run) for name in dict.fromkeys((*metrics.names(), *self.space.objectives))}
        facts |= {**found, "budget_bytes": run.plan.budget_bytes, "engine": run.engine, "digest": run.digest}
        null = [name for name in self.space.objectives if found[name] is None]
        if null:
            return Outcome(None, {**facts, "why_not": f"a run of trace {point['trace']} has no {null[0]}"})
        return Outcome([float(found[name] or 0) for name in self.space.objectives], facts)

    def play(self, point: Point) -> Run:
        """Raises UserError where the scenario does not fit on its machine."""
        workload = self.workload(point)
        engine = self._engines.get(key := _inputs(point)) or workload.engine(runs=self.runs)
        self._engines[key] = engine
        return play(workload, _plan(point, budget_of(workload.memory, point["budget"], None)), engine)

    def workload(self, point: Point) -> Workload:
        """Once per machine, trace and model; all but the budget and the policies."""
        key = _inputs(point)
        if key not in self._workloads:
            trace = point["trace"]
            shape = self._models[trace, point.get("model", ""), point.get("format", "")]
            batch, chunk = (None if point.get(axis, NONE) == NONE else int(point[axis]) for axis in COUNTS)
            self._workloads[key] = Workload(
                self.hw[point["hw"]], self._traces[trace], shape, tokens=self.space.tokens, graphs=point.get("graphs") == "on",
                prefill_chunk=chunk, batch=batch,
            )  # fmt: skip
        return self._workloads[key]

    def command(self, point: Point) -> str:
        """The `simmoe run` that gives this scenario's numbers."""
        words = ["simmoe", "run"]
        for axis in AXES:
            if axis in point:
                words += _option(axis, point[axis])
        if self.space.tokens is not None:
            words += ["--tokens", str(self.space.tokens)]
        return shlex.join(words)


def _plan(point: Point, budget: int) -> Plan:
    at = {**DEFAULTS, **point}
    prefetch, placement = (None if at[axis] == NONE else at[axis] for axis in ("prefetch", "placement"))
    return Plan(
        budget, at["eviction"], at["scope"], at["overlap"] == "on", prefetch=prefetch, miss=at["miss"], placement=placement
    )  # fmt: skip


def _option(axis: str, value: str) -> list[str]:
    """How `simmoe run` is told; it has no word for none of what it does not do unless told."""
    if axis in OPTIONAL and value == NONE:
        return []
    return ["--graphs"] if axis == "graphs" else [f"--{axis.replace('_', '-')}", value]


def _inputs(point: Point) -> str:
    """What makes a workload."""
    return repr([point.get(axis) for axis in ("hw", "trace", "model", "format", "graphs", *COUNTS)])
