"""The Belady bound at the settings of some trials of a study, played now by their commands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from simmoe.play.calling import scenario_of
from simmoe.play.kinds import Changes
from simmoe.play.lanes import Lanes
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS
from simmoe.play.workload import Workload
from simmoe.plots.budgets import BELADY, settings
from simmoe.plots.trials import SIZES, Data, Trial, spread
from simmoe.simulator.errors import UserError
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import Engine
from simmoe.sweeps import metrics

ON_FRONTS, OF_A_SETTING = 60, 9  # trials that have a bound beside them, at most
MOST_ACCESSES = {True: 300_000_000, False: 5_000_000}  # of all bounds together: compiled, interpreted


def bounds(data: Data) -> tuple[list[dict[str, Any]], int]:
    """Facts of each bound, `beside` the number of a trial; and how many were left out, since they would take long."""
    asked, players, left = _asked(data), _Players(len(data["trials"])), MOST_ACCESSES[not compiled.missing()]
    found, skipped = list[dict[str, Any]](), 0
    for trial in asked:
        options = options_in(trial["command"]) | {"eviction": BELADY}
        with suppress(UserError):  # a trial whose inputs are gone, or a plan that takes no such bound
            left -= players.accesses(options)
            if left < 0:
                skipped += 1
                continue
            run = players.play(options)
            found.append({"beside": trial["number"], **_facts(trial, run, data["objectives"])})
    return found, skipped


def _asked(data: Data) -> list[Trial]:
    """Trials of the fronts, and of each setting some of every size; one of those that differ in the policy alone."""
    by_number = {one["number"]: one for one in data["trials"]}
    on_fronts = dict.fromkeys(
        number for numbers in (data["front"], *data["front_by_hw"].values()) for number in numbers
    )
    chosen = [by_number[number] for number in spread(list(on_fronts), ON_FRONTS)]
    for setting in settings(data):
        sizes = {one["budget_bytes"]: one for one in reversed(setting.trials)}
        chosen += [sizes[size] for size in spread(sorted(sizes), OF_A_SETTING)]
    return list({repr(sorted({**one["point"], "eviction": ""}.items())): one for one in reversed(chosen)}.values())[
        ::-1
    ]


def options_in(command: str) -> dict[str, Any]:
    """The options of a run that a command says, such as `simmoe run --hw a100 --budget 5%`. Raises UserError."""
    words, flags, said = (
        shlex.split(command)[2:],
        {option.flag: option for option in OPTIONS.values()},
        dict[str, list[str]](),
    )
    while words:
        option = flags.get(flag := words.pop(0))
        if option is None:
            raise UserError(f"the command {command!r} says {flag}, which is no option of a run")
        said.setdefault(option.name, []).append("on" if option.default is False or not words else words.pop(0))
    changes = (name for name in said if isinstance(OPTIONS[name].about.kind, Changes))
    checked = {name: OPTIONS[name].checked(said[name]) for name in changes}
    return {name: OPTIONS[name].parsed(values[-1]) for name, values in said.items()} | checked


class _Players:
    """Runs whose machine, text and model are alike share a workload."""

    def __init__(self, runs: int) -> None:
        self._runs, self._lanes = runs, Lanes()
        self._workloads: dict[str, Workload] = {}
        self._engines: dict[str, Engine] = {}

    def _workload(self, options: Mapping[str, Any]) -> tuple[str, Workload]:
        key = repr(sorted((name, value) for name, value in options.items() if name not in (*SIZES, "eviction")))
        if key not in self._workloads:
            self._workloads[key] = scenario_of(options).workload()
        return key, self._workloads[key]

    def accesses(self, options: Mapping[str, Any]) -> int:
        return int(self._workload(options)[1].trace.expert_ids.size)

    def play(self, options: Mapping[str, Any]) -> Run:
        key, workload = self._workload(options)
        if key not in self._engines:
            self._engines[key] = workload.engine(runs=self._runs)
        self._lanes.join(workload)
        return play(workload, scenario_of(options).plan(workload), self._engines[key], lanes=self._lanes)


def _facts(trial: Trial, run: Run, objectives: Sequence[str] | Mapping[str, str]) -> dict[str, Any]:
    """What a trial keeps, of the run that stands beside it. A metric that needs more than the run has no number here."""
    measured: dict[str, Any] = {}
    for name in dict.fromkeys((*objectives, "tok_s", "hit_rate", "memory_bytes")):
        with suppress(UserError):
            measured[name] = metrics.measure(name, run)
    command = _with_belady(trial["command"])
    kept = {name: trial[name] for name in ("experts", "top_k", "router") if name in trial}
    return {**kept, **measured, "point": {**trial["point"], "eviction": BELADY}, "command": command, "budget_bytes": run.plan.budget_bytes,
            "engine": run.engine, "digest": run.digest}  # fmt: skip


def _with_belady(command: str) -> str:
    words = shlex.split(command)
    if "--eviction" in words:
        words[words.index("--eviction") + 1] = BELADY
    else:
        words += ["--eviction", BELADY]
    return shlex.join(words)
