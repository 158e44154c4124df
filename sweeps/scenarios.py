"""The scenarios of a space: planned and played as `simmoe run` does, each with the command that reproduces it."""

from __future__ import annotations

import hashlib
import json
import shlex
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from simmoe import hardware_profiles
from simmoe.play import popularity
from simmoe.play.calling import scenario_of
from simmoe.play.identity import told_identity
from simmoe.play.kinds import OFF
from simmoe.play.lanes import Lanes
from simmoe.play.options import Declared
from simmoe.play.plan import Plan, counts_use, guesses_of, missing_of, units_of
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import Scenario, workload_options
from simmoe.play.traced import traced
from simmoe.play.workload import Workload
from simmoe.simulator.costs import fit_geometry
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import Engine
from simmoe.sweeps import bounds, metrics
from simmoe.sweeps.space import AXES, Point, Space
from simmoe.workloads import models, synthetic
from simmoe.workloads.format import trace as traces
from simmoe.workloads.format.trace import first_tokens

# what a machine or a trace may be unable to do: a value that fails on all of them stops the sweep
DOUBTFUL = ("set", "prefetch", "miss", "placement", "graphs", "page_cache")

Shape = tuple[str, str, str, str]  # trace, model, format, KV format


class Outcome(NamedTuple):
    """What a trial keeps. `values` is None where the scenario cannot run; `facts` then says why."""

    values: list[float] | None
    facts: dict[str, Any]


class Scenarios:
    """Every input of the space is opened and checked here, so that a typo stops the sweep and not a trial of it."""

    def __init__(self, space: Space, runs: int) -> None:
        """runs: how many will be played about, which decides whether the compiled engine pays. Raises UserError."""
        self.space, self.runs, axes = space, runs, space.axes
        self.hw = {name: hardware_profiles.load(name) for name in axes["hw"]}
        tells = next(iter(axes.get("model", ())), None)  # they are of one geometry, or none of them plays the trace
        self._traces = {name: traced(name, tells) for name in axes.get("trace", ())}
        self._models = {key: self._model(*key) for key in self._shapes()}
        self.space, self.bounds = bounds.split(space, self._counts_own_text)
        self._policies: dict[str, dict[str, str]] = {}
        for kind, value, _ in self.space.policies:
            self._policies.setdefault(kind, {})[value] = told_identity(kind, value)
        for axis in DOUBTFUL:
            for value in [*self.space.given(axis), *(word for one, word in self.bounds if one == axis)]:
                self._require(axis, value)
        self._made_of = workload_options()
        self._workloads: dict[str, Workload] = {}
        self._engines: dict[str, Engine] = {}
        self._lanes = Lanes()
        self._measured: dict[tuple[str, Plan], dict[str, Any]] = {}

    def _shapes(self) -> list[Shape]:
        texts, model, form, kv = (
            self.space.axes.get(axis, ("",)) for axis in ("trace", "model", "format", "kv_format")
        )
        return list(product(texts, model, form, kv))

    def _model(self, trace: str, model: str, form: str, kv: str) -> Any:
        loaded = self._traces.get(trace)
        name = model or (loaded.meta.get("model") if loaded else None)
        if not name:
            said = f"trace {trace} does not say its model" if trace else "the space names neither a trace nor a model"
            raise UserError(f"{said}; name shapes with the key model of the space")
        shape = models.load(name, form or None, kv or None)
        if loaded:
            fit_geometry(shape, loaded)
        return shape

    def _text(self, trace: str, whole: bool = False) -> dict[str, Any]:
        """Options for one pass of a trace, or for the whole of it; without a trace for one drawn token."""
        if not trace:
            return {} if whole else {"prompt": 1, "generate": 0}
        return {"trace": self._traces[trace] if whole else first_tokens(self._traces[trace], 1)}

    def _require(self, axis: str, value: str) -> None:
        """Raises UserError for a value that no machine and trace of the space can play, such as a policy that needs a CPU.

        One pass tells, or all where rows are counted and the others played. What fails on some of them only is left to its trials,
        which say why.
        """
        reasons = []
        for hw, key, beside in product(self.hw, self._shapes(), self._beside(axis)):
            try:
                trace, point, shape = key[0], {**beside, axis: value}, self._models[key]
                options = {name: AXES[name].parsed(word) for name, word in point.items()}
                counted = any(popularity.counts_first(point.get(name)) for name in popularity.COUNTING)
                scenario = scenario_of({"hw": hw, "model": shape, "budget": 0, **options, **self._text(trace, counted)})
                workload = scenario.workload()
                plan = scenario.plan(workload)
                guesses_of(workload, plan)
                missing_of(workload, plan)
            except UserError as error:
                reasons.append(str(error))
            else:
                return
        raise UserError(f"{axis} {value!r} of the space works with none of its machines and traces: {reasons[0]}")

    def _counts_own_text(self, placement: str) -> bool:
        """Whether a placement goes by the use of experts in a trace of the space, as far as a machine of it can play that."""
        other = popularity.other_trace(placement)
        texts = self._traces.values()
        own = (
            any(_digest(popularity.counted_trace(other, text)) == _digest(text) for text in texts)
            if other
            else not popularity.source(placement)
        )
        if not own:
            return False
        for hw, key in product(self.hw.values(), self._shapes()):
            with suppress(UserError):  # what none of them can play is refused by _require
                one_pass = Workload(hw, model=self._models[key], **self._text(key[0]))
                units_of(one_pass, placement, 0)  # raises where its amount is none
                return counts_use(one_pass, placement, 0)
        return False

    def _beside(self, axis: str) -> list[Point]:
        """Values of the other axes without which several devices play nothing."""
        axes = {
            name: self.space.axes[name]
            for name in ("timeline", "placement")
            if name in self.space.axes and name != axis
        }
        return [dict(zip(axes, words)) for words in product(*axes.values())]

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {name: _digest(loaded) for name, loaded in self._traces.items()}

    @cached_property
    def digest(self) -> str:
        """sha256 of what the space says and of what it names: a study must not mix results of different inputs."""
        inputs = {
            "hw": {name: hw.digest for name, hw in self.hw.items()},
            "trace": self._digests,
            **({"routing": routing} if (routing := self._routing()) else {}),
            **self._policies,
            "model": [[*key[:3], *filter(None, key[3:]), shape.digest] for key, shape in self._models.items()],
            "metric": {name: hashlib.sha256(metrics.find(name).read_bytes()).hexdigest() for name in self.space.objectives},
        }  # fmt: skip
        axes = {axis: repr(values) for axis, values in self.space.axes.items()}
        said = {"axes": axes, "objectives": list(self.space.objectives.items()), "tokens": self.space.tokens}
        return hashlib.sha256(json.dumps([said, inputs], sort_keys=True).encode()).hexdigest()

    def _routing(self) -> dict[str, list[str]]:
        """Digests of the files that each class of routing is drawn from."""
        return {name: _of_files(synthetic.files(name)) for name in self.space.given("routing")}

    def outcome(self, point: Point) -> Outcome:
        """Play one scenario and keep what a report needs. Scenarios that mean the same are played once, however they are written."""
        facts: dict[str, Any] = {"point": point, "command": self.command(point)}
        try:
            plan = self.scenario(point).plan(self.workload(point))
            run = None if (same := (self._inputs(point), plan)) in self._measured else self.play(point, plan)
        except UserError as error:
            return Outcome(None, {**facts, "why_not": str(error)})
        if run:
            self._measured[same] = self._facts(run)
        facts |= self._measured[same]
        null = [name for name in self.space.objectives if facts[name] is None]
        if null:
            why = "" if facts["tok_s"] else ": no decode pass is played"
            return Outcome(None, {**facts, "why_not": f"a run of {_trace_of(point)} has no {null[0]}{why}"})
        return Outcome([float(facts[name] or 0) for name in self.space.objectives], facts)

    def _facts(self, run: Run) -> dict[str, Any]:
        found = {name: metrics.measure(name, run) for name in dict.fromkeys((*metrics.names(), *self.space.objectives))}
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
            named = self.scenario({axis: word for axis, word in point.items() if axis in opens})
            hw = named.machine() if named.set else self.hw[point["hw"]]
            trace, shape = self._traces.get(point.get("trace", "")), self._models[_shape(point)]
            opened = replace(named, hw=hw, set=(), trace=trace, model=shape, format=None, kv_format=None)
            self._workloads[key] = opened.workload()
            self._workloads[key].named = point.get("model") or (trace.meta.get("model") if trace else None)
        return self._workloads[key]

    def scenario(self, point: Point) -> Scenario:
        """What a point says, with the tokens of the space."""
        return scenario_of(
            {"tokens": self.space.tokens, **{axis: AXES[axis].parsed(word) for axis, word in point.items()}}
        )

    def _inputs(self, point: Point) -> str:
        """What makes a workload."""
        return repr([*(point.get(name) for name in self._made_of), popularity.unplayed(point)])

    def command(self, point: Point) -> str:
        """The `simmoe run` that gives this scenario's numbers; without a budget it would play a ladder."""
        words = ["simmoe", "run"]
        for axis, option in AXES.items():
            if axis in point:
                words += _words(option, point[axis])
        if not {"budget", "memory"} & set(point):
            with suppress(UserError):  # what cannot run has no budget
                words += ["--budget", f"{self.scenario(point).plan(self.workload(point)).budget_bytes}B"]
        if self.space.tokens is not None:
            words += ["--tokens", str(self.space.tokens)]
        return shlex.join(words)


def _words(option: Declared, word: str) -> list[str]:
    """How `simmoe run` is told; what is off is left out."""
    if option.about.off and word == OFF:
        return []
    return [option.flag] if option.default is False else [option.flag, word]


def _of_files(files: list[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def _digest(trace: Trace) -> str:
    return trace.meta.get("digest") or traces.digest(trace)


def _shape(point: Point) -> Shape:
    return point.get("trace", ""), point.get("model", ""), point.get("format", ""), point.get("kv_format", "")


def _trace_of(point: Point) -> str:
    return f"trace {point['trace']}" if "trace" in point else "drawn routing"
