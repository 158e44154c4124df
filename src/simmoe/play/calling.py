"""A scenario from what a caller says: the options of a function or of a command, or a file. No list of options stands here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import Parameter, cleandoc, signature
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

from simmoe.play import systems
from simmoe.play.box import joined
from simmoe.play.kinds import Switch
from simmoe.play.options import Declared
from simmoe.play.scenario import BESIDE_BOUNDS, OPTIONS, Scenario
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

F = TypeVar("F", bound=Callable[..., Any])


def scenario_of(options: Mapping[str, Any]) -> Scenario:
    """The scenario of options by name. Raises UserError for a name that is not known and for a value that cannot be."""
    for name in options:
        if name not in OPTIONS:
            raise UserError(f"unknown option {name!r}; {among(name, OPTIONS, listing='help(simmoe.run)')}")
    options = joined(options)
    if options.get("system") is not None:
        OPTIONS["system"].checked(options["system"])
        options = {**systems.filled(options, OPTIONS, BESIDE_BOUNDS), "filled": True}
    for name, option in OPTIONS.items():
        if option.required and options.get(name) is None:
            raise UserError(f"{option.flag} is missing: name a {option.about.help.partition(':')[0]}")
    return Scenario(**options)


def called(hw: Any, trace: Any, options: Mapping[str, Any]) -> Scenario:
    """The scenario of a call: `hw` may be a whole one, to which nothing is added."""
    if not isinstance(hw, Scenario):
        return scenario_of({"hw": hw, "trace": trace, **options})
    if trace is not None or options:
        raise UserError("a Scenario holds all options: change it with dataclasses.replace, and give nothing beside it")
    return hw


def load_scenario(path: str | Path) -> Scenario:
    """The scenario of a file that `Scenario.save` or `simmoe run --save` wrote. Raises UserError when an input is another by now."""
    from simmoe.play import saved

    values, digests = saved.read(Path(path), OPTIONS)
    try:
        scenario = scenario_of(values)
    except UserError as error:
        raise UserError(f"{Path(path).name}: {error}") from None
    if digests:
        saved.compare(Path(path), digests, scenario.digests(), values)
    return scenario


def _in_python(option: Declared) -> str:
    """The help of an option for a caller of the function: names as Python writes them, no words of the command line."""
    text = re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda found: found[1].replace("-", "_"), option.about.help)
    text = re.sub(r"([a-z_]+) (serial)\b", r"\1='\2'", text) if isinstance(option.about.kind, Switch) else text
    for word, python in IN_PYTHON.items():
        text = text.replace(word, python)
    return text


IN_PYTHON = {
    "none: the same as": "False: the same as", "; may be given again": "; a text, or a list of them",
    "(default: all, but for the ladder of `simmoe run`)": "(default: all, None)", "YAML file, and power mode": "YAML file, and @mode",
}  # fmt: skip


def takes(*but: str, more: Mapping[str, Declared] | None = None) -> Callable[[F], F]:
    """The signature and the help of a function that takes every option `but` those, by name. What the function itself declares stands
    as it declares it. more: its own, at the end."""

    def described(function: F) -> F:
        said = signature(function)
        stated = [one for one in said.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        told = {one.name for one in stated if one.kind is Parameter.KEYWORD_ONLY}  # by its own text
        mine = [option for name, option in OPTIONS.items() if name not in (*but, *told)]
        own = list((more or {}).values())
        beyond = [
            Parameter(o.name, Parameter.KEYWORD_ONLY, default=o.default, annotation=Scenario.__annotations__.get(o.name, Parameter.empty))
            for o in (*mine, *own) if o.name not in said.parameters
        ]  # fmt: skip
        function.__signature__ = said.replace(parameters=[*stated, *beyond])  # type: ignore[attr-defined]
        lines = [
            fill(f"{o.name}: {_in_python(o)}", 110, initial_indent="  ", subsequent_indent="    ")
            for o in [*mine, *own]
        ]
        function.__doc__ = "\n".join((cleandoc(function.__doc__ or ""), "", "Options:", *lines, ""))
        return function

    return described
