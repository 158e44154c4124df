"""The trials of a study, as `simmoe sweep --json` gives them: what tells them apart, how their numbers are named, what is drawn of many."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from simmoe.plots.figure import Table, escaped, number

Data = Mapping[str, Any]
Trial = Mapping[str, Any]
OF_ZOO = ("experts", "top_k", "router")  # of a trial whose trace is a model of the zoo: they say what its trace is
UNITS = {"bytes": (1e9, "GB"), "s": (1, "s"), "ms": (1, "ms"), "w": (1, "W")}  # by the end of a metric's name
NAMES = {
    "tok_s": "tok/s", "hit_rate": "hit rate", "joules_per_token": "J per token", "bytes_per_token": "loaded bytes per token",
    "proxy_ppl": "perplexity of the proxy", "budget_bytes": "memory for experts (GB)",
}  # fmt: skip
SIZES = ("budget", "memory")  # axes that say how much memory experts have


def played(data: Data) -> list[Trial]:
    return [one for one in data["trials"] if one["state"] == "played"]


def feasible(trial: Trial) -> bool:
    """Whether it keeps all constraints."""
    return all(excess <= 0 for excess in trial.get("constraints", {}).values())


def config(trial: Trial) -> dict[str, str]:
    """What tells a trial from others: its words, with experts, top-k and router in place of a trace of the zoo."""
    zoo = {name: str(trial[name]) for name in OF_ZOO if name in trial}
    return {**zoo, **{axis: word for axis, word in trial["point"].items() if not (zoo and axis == "trace")}}


def varied(trials: Iterable[Trial]) -> list[str]:
    """Axes with several values, the machine first."""
    values = dict[str, set[str]]()
    for trial in trials:
        for axis, word in config(trial).items():
            values.setdefault(axis, set()).add(word)
    found = [axis for axis, words in values.items() if len(words) > 1]
    return sorted(found, key=lambda axis: axis != "hw")


def axis_label(axis: str) -> str:
    return {"hw": "machine", "eviction": "policy", "top_k": "top-k"}.get(axis, axis.replace("_", " "))


def label(metric: str) -> str:
    """A metric as a reader names it, with its unit."""
    stem, _, end = metric.rpartition("_")
    unit = f" ({UNITS[end][1]})" if stem and end in UNITS else ""
    return NAMES.get(metric) or (stem if unit else metric).replace("_", " ") + unit


def scaled(metric: str, value: Any) -> float | None:
    """A value in the unit of its label."""
    unit, _ = UNITS.get(metric.rpartition("_")[2], (1, ""))
    return None if value is None else float(value) / unit


def shown(metric: str, trial: Trial) -> str:
    return number(scaled(metric, trial.get(metric)))


def hover(trial: Trial, objectives: Collection[str], lead: str = "") -> str:
    """What stands at a point: which trial, its configuration, its numbers, and the command that plays it again."""
    words = ", ".join(f"{axis_label(axis)} {word}" for axis, word in config(trial).items())
    numbers = ", ".join(f"{label(one)} {shown(one, trial)}" for one in dict.fromkeys((*objectives, "hit_rate")))
    lines = [lead or f"#{trial['number']}", *wrap(words, 90), numbers, *_command(trial["command"])]
    return "<br>".join(map(escaped, lines))


def _command(command: str) -> list[str]:
    """In lines that end between words, so that a copy of them is the command."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        if lines[-1] and len(lines[-1]) + len(word) > 90:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return [f"{one} \\" for one in lines[:-1]] + lines[-1:]


def spread(rows: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the rows, evenly, both ends among them."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(i * (len(rows) - 1) / max(most - 1, 1))] for i in range(most)]


def apart(trials: Sequence[Trial], x: str, y: str, most: int) -> list[Trial]:
    """Trials of which no two stand in one cell of a fine grid, and at most so many: what lies on another one is not seen."""
    known = [one for one in trials if one.get(x) is not None and one.get(y) is not None]
    ends = {name: (min(values), max(values)) for name in (x, y) if (values := [one[name] for one in known])}
    cells = dict[tuple[int, ...], Trial]()
    for one in known:
        place = (int(CELLS * (one[name] - low) / ((high - low) or 1)) for name, (low, high) in ends.items())
        cells.setdefault(tuple(place), one)
    return spread(list(cells.values()), most)


CELLS = 300  # along each axis


def as_number(words: Iterable[str]) -> dict[str, float] | None:
    """Words that are all numbers with one unit, such as 5% and 7.5%, as numbers; None for others."""
    found = {word: re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(\D*)", word) for word in words}
    units = {match[2] if match else None for match in found.values()}
    return (
        {word: float(match[1]) for word, match in found.items() if match}
        if len(units) == 1 and None not in units
        else None
    )


def table(data: Data, trials: Sequence[Trial], title: str = "", beside: Mapping[int, str] | None = None) -> Table:
    """Configuration, numbers and command of each trial. beside: a first cell in place of its number, by place."""
    axes, metrics = (
        varied(played(data)),
        list(dict.fromkeys((*data["objectives"], "tok_s", "hit_rate", "budget_bytes"))),
    )
    columns = ("#", *map(axis_label, axes), *map(label, metrics), "command")
    first = {i: f"#{one.get('number', '')}" for i, one in enumerate(trials)} | dict(beside or {})
    rows = tuple(
        (
            first[i],
            *(config(one).get(axis, "–") for axis in axes),
            *(shown(name, one) for name in metrics),
            one["command"],
        )
        for i, one in enumerate(trials)
    )
    rows_of = tuple(one.get("number", one.get("beside", -1)) for one in trials)
    return Table(columns, rows, title, rows_of, (len(columns) - 1,))
