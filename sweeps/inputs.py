"""The inputs of a space, opened and checked: a typo stops the sweep here and not in a trial of it."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from simmoe import hardware_profiles
from simmoe.play import popularity
from simmoe.play.calling import scenario_of
from simmoe.play.identity import told_identity
from simmoe.play.money import price_of
from simmoe.play.plan import counts_use, guesses_of, missing_of, units_of
from simmoe.play.traced import traced
from simmoe.play.workload import Workload
from simmoe.policies.runtime import IDEAL
from simmoe.simulator.costs import fit_geometry
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace
from simmoe.sweeps import bounds, metrics
from simmoe.sweeps.assumed import Assumed
from simmoe.sweeps.space import Point, Space, options_of
from simmoe.sweeps.words import Steps
from simmoe.workloads import models, synthetic
from simmoe.workloads.format import trace as traces
from simmoe.workloads.format.trace import first_tokens

# what a machine or a trace may be unable to do: a value that fails on all of them stops the sweep
DOUBTFUL = ("set", "prefetch", "miss", "placement", "graphs", "page_cache", "tensor_split")

Shape = tuple[str, str, str, str]  # trace, model, format, KV format


class Inputs:
    """Machines, traces, models, policies and metrics of a space. `space` is what is searched; `bounds` are shown beside its fronts."""

    def __init__(self, space: Space) -> None:
        """Raises UserError."""
        self.space = space
        self.hw = {name: hardware_profiles.load(name) for name in space.axes["hw"]}
        tells = next(
            iter(space.axes.get("model", ())), None
        )  # they are of one geometry, or none of them plays the trace
        self.traces = {name: traced(name, tells) for name in space.axes.get("trace", ())}
        self.models = {key: self._model(*key) for key in self._shapes()}
        self.space, self.bounds = bounds.split(space, self._counts_own_text)
        self._policies: dict[str, dict[str, str]] = {}
        for kind, value, _ in self.space.policies:
            self._policies.setdefault(kind, {})[value] = told_identity(kind, value)
        for axis in (*DOUBTFUL, *space.figures):
            for value in dict.fromkeys([*self._ends(axis), *(word for one, word in self.bounds if one == axis)]):
                self._require(axis, value)
        self.judges = {name: metrics.load(name) for name in (*metrics.names(), *space.metrics)}
        self.assumed = self._one_currency()

    def _ends(self, axis: str) -> list[str]:
        """The values of an axis; of a range its ends, between which all works that works there."""
        words = self.space.axes.get(axis, ())
        return [words[0], words[-1]] if isinstance(words, Steps) else self.space.given(axis)

    def _shapes(self) -> list[Shape]:
        texts, model, form, kv = (
            self.space.axes.get(axis, ("",)) for axis in ("trace", "model", "format", "kv_format")
        )
        return list(product(texts, model, form, kv))

    def _model(self, trace: str, model: str, form: str, kv: str) -> Any:
        loaded = self.traces.get(trace)
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
        return {"trace": self.traces[trace] if whole else first_tokens(self.traces[trace], 1)}

    def _require(self, axis: str, value: str) -> None:
        """Raises UserError for a value that no machine and trace of the space can play, such as a policy that needs a CPU.

        One pass tells, or all where rows are counted and the others played. What fails on some of them only is left to its trials,
        which say why.
        """
        reasons = []
        for hw, key, beside in product(self.hw, self._shapes(), self._beside(axis)):
            try:
                trace, point, shape = key[0], {**beside, axis: value}, self.models[key]
                options = options_of(point)
                counted = any(popularity.counts_first(point.get(name)) for name in popularity.COUNTING)
                least = {"budget": 0} if beside.get("runtime", IDEAL) == IDEAL else {"eviction": "everything"}
                scenario = scenario_of({"hw": hw, "model": shape, **least, **options, **self._text(trace, counted)})
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
        texts = self.traces.values()
        own = (
            any(_digest(popularity.counted_trace(other, text)) == _digest(text) for text in texts)
            if other
            else not popularity.source(placement)
        )
        if not own:
            return False
        for hw, key in product(self.hw.values(), self._shapes()):
            with suppress(UserError):  # what none of them can play is refused by _require
                one_pass = Workload(hw, model=self.models[key], **self._text(key[0]))
                units_of(one_pass, placement, 0)  # raises where its amount is none
                return counts_use(one_pass, placement, 0)
        return False

    def _beside(self, axis: str) -> list[Point]:
        """Values of the other axes without which several devices play nothing; an engine holds all that fits, and streams nothing."""
        several = any(len(hw.devices) > 1 for hw in self.hw.values())
        needed = ("timeline", "placement", *["runtime"] * several)
        axes = {name: self.space.axes[name] for name in needed if name in self.space.axes and name != axis}
        return [dict(zip(axes, words)) for words in product(*axes.values())]

    @cached_property
    def trace_digests(self) -> dict[str, str]:
        return {name: _digest(loaded) for name, loaded in self.traces.items()}

    @cached_property
    def digest(self) -> str:
        """sha256 of what the space says and of what it names: a study must not mix results of different inputs."""
        inputs = {
            "hw": {name: hw.digest for name, hw in self.hw.items()},
            "trace": self.trace_digests,
            **({"routing": routing} if (routing := self._routing()) else {}),
            **self._policies,
            "model": [[*key[:3], *filter(None, key[3:]), shape.digest] for key, shape in self.models.items()],
            "metric": {name: hashlib.sha256(metrics.find(name).read_bytes()).hexdigest() for name in self.space.metrics},
        }  # fmt: skip
        axes = {axis: repr(values) for axis, values in self.space.axes.items()}
        said: dict[str, Any] = {
            "axes": axes,
            "objectives": list(self.space.objectives.items()),
            "tokens": self.space.tokens,
        }
        if self.space.constraints:
            said["constraints"] = [asdict(rule) for rule in self.space.constraints]
        if self.space.assumed != Assumed():
            said["assumed"] = repr(self.space.assumed)
        return hashlib.sha256(json.dumps([said, inputs], sort_keys=True).encode()).hexdigest()

    def _routing(self) -> dict[str, list[str]]:
        """Digests of the files that each class of routing is drawn from."""
        return {name: _of_files(synthetic.files(name)) for name in self.space.given("routing")}

    def _one_currency(self) -> Assumed:
        """What the space assumes, every amount in one currency where trials are judged by amounts. Raises UserError without a rate."""
        said = self.space.assumed
        prices = {name: price.money for name, hw in self.hw.items() if (price := price_of(hw))}
        if not any(metrics.unit(self.judges[name]) == "money" for name in self.space.metrics):
            return said
        said = replace(said, currency=said.currency or next((money.currency for money in prices.values()), None))
        for name, money in prices.items():
            said.amount(money, f"price of {name}")
        return said


def _of_files(files: list[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def _digest(trace: Trace) -> str:
    return trace.meta.get("digest") or traces.digest(trace)
