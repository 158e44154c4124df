"""Where the numbers of a page come from: what was played, by name and digest, and what played it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 16  # digits of a digest
INPUTS = ("hardware", "model", "trace", "runtime")


def facts_of(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Name and text of each fact of a result that `to_json` wrote."""
    return tuple(_facts(data))


def _facts(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    scenario = {**data, **data.get("scenario", {})}
    if "engine" in data:
        yield "engine", str(data["engine"])
    if "digest" in data:
        yield "digest of the scenario", str(data["digest"])
    for name in INPUTS:
        if isinstance(one := scenario.get(name), Mapping) and one:
            yield name, told(one)
    if isinstance(plan := scenario.get("plan"), Mapping):
        yield "plan", told(plan)
    if versions := data.get("versions"):
        yield "versions", told(versions)


def told(facts: Mapping[str, Any]) -> str:
    """Plain values as text; what is empty is left out."""
    ordered = sorted(facts.items(), key=lambda fact: (fact[0] != "name", fact[0]))
    words = ((name, value[:SHOWN] if name == "digest" else value) for name, value in ordered if _says(value))
    return ", ".join(str(value) if name == "name" else f"{name.replace('_', ' ')} {value}" for name, value in words)


def _says(value: Any) -> bool:
    return isinstance(value, str | int | float) and value is not False and value != ""
