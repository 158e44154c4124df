"""The command that plays a scenario again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from simmoe.hardware_profiles import parts
from simmoe.play import systems
from simmoe.play.kinds import OFF, Changes
from simmoe.play.options import Declared
from simmoe.play.plan import Plan
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.policies.runtime import IDEAL
from simmoe.simulator.decide.decisions import BOUNDS


def command(scenario: Scenario, plan: Plan | None = None) -> str:
    """The `simmoe run` of a scenario of names and files. plan: what it came to; its budget is said where without one the run would be a
    ladder."""
    values = {name: getattr(scenario, name) for name in OPTIONS}
    if plan is not None and scenario.trace is not None and (scenario.budget, scenario.memory) == (None, None):
        values["budget"] = f"{plan.budget_bytes}B" if takes_a_budget(scenario, plan) else None
    return shlex.join(["simmoe", "run", *words(values)])


def takes_a_budget(scenario: Scenario, plan: Plan) -> bool:
    """Whether a budget may be said: of one device, for a policy, and under an engine that does not keep everything resident."""
    loads = scenario.runtime == IDEAL or scenario.engine_of_runtime().streams
    return loads and plan.eviction not in BOUNDS and not plan.device_budgets


def words(values: Mapping[str, Any]) -> list[str]:
    """Options that are not as they are by default, or that a system would set otherwise, as a command has them."""
    of_system = () if values.get("system") is None else systems.values_of(values["system"], OPTIONS)
    found = list[str]()
    for name, value in values.items():
        option = OPTIONS[name]
        if value == option.default and name not in of_system:
            continue
        if value is None:
            found += [option.flag, OFF]
        elif name == "hw" and (pair := parts(named(value))):
            found += [*(["--gpu", pair[0]] if pair[0] else []), "--host", pair[1]]
        else:
            found += _words(option, value)
    return found


def named(value: Any) -> str:
    """An input by its name, where it is a loaded one."""
    return str(getattr(value, "name", value))


def _words(option: Declared, value: Any) -> list[str]:
    if isinstance(option.about.kind, Changes):
        return [word for change in value for word in (option.flag, change)]
    if option.default is False:
        return [option.flag] if value else []
    return [option.flag, option.about.kind.word(getattr(value, "name", value))]
