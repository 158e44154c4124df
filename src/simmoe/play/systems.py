"""A system by its name, such as mixtral_offloading, sets the options that are not given otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simmoe.play import inputs
from simmoe.play.options import Declared
from simmoe.policies import system as systems
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among

OWN = (  # options that a user chooses, whatever the system: what is played, on what, with how much memory
    "hw", "gpu", "host", "set", "trace", "model", "format", "tokens", "prompt", "generate", "depth", "routing", "context", "requests",
    "arrivals", "rate", "ttft", "tpot", "budget", "memory", "flags", "engine", "seed", "system",
)  # fmt: skip


def values_of(system: str | Path, options: Mapping[str, Declared]) -> dict[str, Any]:
    """What the system sets, by option. Raises UserError."""
    one, known = systems.load(system), [name for name in options if name not in OWN]
    found = dict[str, Any]()
    for name, word in one.options.items():
        if name not in known:
            raise UserError(f"system {one.name}: {name!r} is no option that a system sets; {among(name, known)}")
        option = options[name]
        try:
            value = option.parsed(word)
        except UserError as error:
            raise UserError(f"system {one.name}: {error}") from None
        here = (
            inputs.from_beside(option, value, one.folder)
            if option.name in inputs.FINDERS or option.is_policy
            else value
        )
        found[name] = here
    return found


def filled(
    given: Mapping[str, Any], options: Mapping[str, Declared], beside_bounds: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """What is given, and what its system says where nothing is given; but for what a bound would drop, and what becomes of
    guesses that nobody makes. Raises UserError."""
    dropped = set(beside_bounds.get(str(given.get("eviction")), {}))
    said = {name: value for name, value in values_of(given["system"], options).items() if name not in dropped}
    if {**said, **given}.get("prefetch") is None:
        said = {name: value for name, value in said.items() if name not in ("prefetch_into", "cancel")}
    return {**said, **given}


def notes(chosen: Mapping[str, Any], options: Mapping[str, Declared]) -> tuple[str, ...]:
    """What a result says of the system that was asked for: what it set, what was given in place of that, what is not simulated.

    chosen: the options of a scenario.
    """
    if chosen["system"] is None:
        return ()
    one, kept, instead = systems.load(chosen["system"]), list[str](), list[str]()
    for name, value in values_of(chosen["system"], options).items():
        now, flag = chosen[name], name.replace("_", " ")
        word, its = (options[name].shown(each) for each in (now, value))
        kept += [f"{flag} {word}"] * (now == value)
        instead += [f"{flag} {word} in place of its {its}"] * (now != value)
    lines = [f"System {one.name}: {', '.join([*kept, *instead])}"]
    return (*lines, *[f"Not simulated of {one.name}: {one.lacks}"] * bool(one.lacks))
