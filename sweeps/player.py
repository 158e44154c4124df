"""Plays the rows of a comparison: what runs alike is opened, drawn and decided once."""

from __future__ import annotations

import os
import shlex
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from simmoe.play import confidence as bands
from simmoe.play.kinds import Switch
from simmoe.play.lanes import Lanes
from simmoe.play.plan import Plan, memory_of
from simmoe.play.popularity import unplayed
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS, Scenario, workload_options
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import nbytes
from simmoe.sweeps.commands import takes_a_budget
from simmoe.sweeps.row import Row

PLAYS = 3  # of a row: its figures as they are, and at both ends of their ranges
MOST = 16  # workloads that are kept
NO_BUDGET: dict[str, Any] = {"budget": None, "memory": None}  # a bound takes none; the policies beside it keep theirs


@dataclass(frozen=True)
class Asked:
    """A row to play."""

    scenario: Scenario  # its machine and its trace are opened
    trace: str  # as the rows name it
    given: Mapping[str, Any]  # what `simmoe run` is given, one value for each option
    own: str  # options of this row alone, as the command line writes them; its machine left out

    @property
    def hw(self) -> Hardware:
        return self.scenario.machine()


class Player:
    """Keeps what rows share: workloads, and decisions in lanes."""

    def __init__(self, runs: int) -> None:
        """runs: how many will be played about, which decides whether the compiled engine pays."""
        self.runs, self.lanes = runs, Lanes()
        self._workloads = dict[Hashable, tuple[Scenario, Workload]]()  # with what its key names by its id

    def row(self, asked: Asked) -> Row:
        """The row, played; with its reason where it cannot run. Raises UserError for inputs that do not go together."""
        workload = self.workload(asked.scenario)
        policy = asked.scenario.eviction
        try:
            scenario = replace(asked.scenario, **(NO_BUDGET if policy in BOUNDS else {}))
            plan = scenario.plan(workload)
            if why := _too_large(workload, plan):
                return Row(workload, asked.trace, plan.eviction, None, why, own=asked.own)
            self.lanes.join(workload)
            run = play(workload, plan, workload.engine(scenario.engine, runs=self.runs), lanes=self.lanes)
            band = bands.band(run, self.lanes, self.runs)
            return Row(
                workload, asked.trace, plan.eviction, run, band=band, own=asked.own, command=command(asked, plan)
            )
        except UserError as error:
            return Row(workload, asked.trace, policy, None, str(error), own=asked.own)

    def workload(self, scenario: Scenario) -> Workload:
        """All but the budget and the policies, once."""
        values = [getattr(scenario, name) for name in workload_options()]
        key = (
            *(one if one is None or isinstance(one, str | int | tuple) else id(one) for one in values),
            unplayed(vars(scenario)),
        )
        found = self._workloads.pop(key, None) or (scenario, scenario.workload())
        self._workloads[key] = found  # used last stands last
        if len(self._workloads) > MOST:
            del self._workloads[next(iter(self._workloads))]
        return found[1]


def _too_large(workload: Workload, plan: Plan) -> str:
    """Why the device does not hold the budget; empty where it does. Of several devices the plan has found that each holds its own."""
    if plan.device_budgets or plan.eviction in BOUNDS:
        return ""
    memory = memory_of(workload, plan)
    short = memory.short_by(max(plan.budget_bytes, memory.least_bytes))
    return f"does not fit: short by {nbytes(short)} of {nbytes(memory.usable_bytes)} usable" if short else ""


def command(asked: Asked, plan: Plan) -> str | None:
    """The `simmoe run` that plays the row. Of a trace it would play a ladder where no budget is said."""
    given = {name: value for name, value in asked.given.items() if value is not None}
    scenario = asked.scenario
    if plan.eviction in BOUNDS:
        given = {name: value for name, value in given.items() if name not in NO_BUDGET}
    elif given.get("trace") is not None and not NO_BUDGET.keys() & given.keys() and takes_a_budget(scenario, plan):
        given["budget"] = plan.budget_bytes
    found = words(given)
    return None if found is None else shlex.join(["simmoe", "run", *found])


def words(options: Mapping[str, Any]) -> list[str] | None:
    """Options as the command line writes them; None where an input is a loaded thing, which has no name there."""
    found = list[str]()
    for name, option in OPTIONS.items():
        value = options.get(name)
        if value is None:
            continue
        value, kind = option.checked(value), option.about.kind
        if not isinstance(value, str | int | tuple | os.PathLike):
            return None
        if isinstance(value, tuple):
            found += [word for change in value for word in (option.flag, change)]
        elif isinstance(kind, Switch) and option.default is False:
            found += [option.flag] * bool(value)
        else:
            found += _pair(option.flag, kind.word(value))
    return found


def _pair(flag: str, word: str) -> list[str]:
    """A value that begins with a dash would be read as an option of its own."""
    return [f"{flag}={word}"] if word.startswith("-") else [flag, word]
