"""A study as a page: fronts, all axes at once, what decides the objectives, and curves over the memory for experts."""

from __future__ import annotations

from collections import Counter

from simmoe.plots.budgets import curves, settings
from simmoe.plots.importances import importances
from simmoe.plots.page import Filter, Page
from simmoe.plots.parallel import parallel
from simmoe.plots.pareto import pareto
from simmoe.plots.provenance import told
from simmoe.plots.trials import Data, as_number, axis_label, config, feasible, played, varied

MOST_VALUES = 12  # of an axis that can be chosen from


def page(data: Data) -> Page:
    """data: what `simmoe sweep --json` prints."""
    trials, found = played(data), settings(data)
    figures = [pareto(data)] * bool(trials) + [parallel(data)] * any(map(feasible, trials))
    figures += [importances(data)] * any(data.get("importances", {}).values())
    if found:
        figures += [curves(data, "hit_rate"), curves(data, "tok_s")]
    return Page(
        f"Study {data['space']['name']}",
        (_lead(data),),
        tuple(figures),
        _facts(data),
        tuple(_notes(data)),
        _filters(data),
    )


def _lead(data: Data) -> str:
    aims = ", ".join(f"{metric} {direction}" for metric, direction in data["objectives"].items())
    distinct = len({str(one["point"]) for one in data["trials"]})
    of = data["space"].get("scenarios")
    return (
        f"{_trials(len(data['trials']))}, {distinct:,} distinct{f' of {of:,} scenarios' if of else ''}; objectives: {aims}. "
        f"{len(data['front'])} on the common front."
    )


def _notes(data: Data) -> list[str]:
    lines, broken = list(data.get("notes", ())), [one for one in played(data) if not feasible(one)]
    why = Counter(one.get("why_not", "") for one in data["trials"] if one["state"] != "played")
    lines += [f"{_trials(count)} cannot run: {reason}." for reason, count in why.most_common(3)]
    if len(why) > 3:
        lines.append(
            f"{sum(why.values()) - sum(count for _, count in why.most_common(3)):,} more cannot run for other reasons."
        )
    return lines + [f"On no front, since a constraint is broken: {_trials(len(broken))}."] * bool(broken)


def _trials(count: int) -> str:
    return f"{count:,} trial{'s' * (count != 1)}"


def _filters(data: Data) -> tuple[Filter, ...]:
    """A control for each axis with few values."""
    trials, found = played(data), list[Filter]()
    for axis in varied(trials):
        words = sorted({config(one).get(axis, "–") for one in trials})
        if len(words) <= MOST_VALUES:
            numbers = as_number(words)
            words = sorted(words, key=lambda word: numbers[word]) if numbers else words
            place = {word: i for i, word in enumerate(words)}
            of = {one["number"]: place[config(one).get(axis, "–")] for one in trials}
            found.append(Filter(axis_label(axis), tuple(words), of))
    return tuple(found)


def _facts(data: Data) -> tuple[tuple[str, str], ...]:
    engines = ", ".join(sorted({str(one["engine"]) for one in data["trials"] if "engine" in one}))
    first = next((one["command"] for one in data["trials"] if one["number"] in data["front"]), "")
    facts = {
        "space": f"{data['space']['name']}, digest {data['space']['digest']}", "sampler": ", then ".join(data["sampled_by"]),
        "engine": engines,
        "versions": told(data["versions"]), "command of a row, such as": first,
    }  # fmt: skip
    return tuple((name, text) for name, text in facts.items() if text)
