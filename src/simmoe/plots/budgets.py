"""Hit rate and speed of a study's policies against the memory for experts, with the Belady bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from simmoe.plots.figure import Figure, Table, Trace, axes_of, bound_line, line, number
from simmoe.plots.trials import SIZES, Data, Trial, axis_label, config, hover, label, played, scaled, spread, varied

MOST = 12  # settings that can be chosen
MOST_POINTS = 40  # of a line
BELADY = "belady"
ORIGINS = {"hit_rate": "exact", "tok_s": "simulated"}


class Setting(NamedTuple):
    """Trials that differ in the policy and in the memory for experts alone."""

    name: str
    trials: tuple[Trial, ...]


def settings(data: Data) -> list[Setting]:
    """Those with most budgets, of all that have two or more."""
    trials = played(data)
    apart = [axis for axis in varied(trials) if axis not in (*SIZES, "eviction")]
    groups = dict[str, list[Trial]]()
    for one in trials:
        words = config(one)
        name = ", ".join(
            words[axis] if axis in ("hw", "trace") else f"{axis_label(axis)} {words[axis]}"
            for axis in apart
            if axis in words
        )
        groups.setdefault(name or "all trials", []).append(one)
    found = [
        Setting(name, tuple(mine)) for name, mine in groups.items() if len({one["budget_bytes"] for one in mine}) > 1
    ]
    return sorted(found, key=lambda one: -len({trial["budget_bytes"] for trial in one.trials}))[:MOST]


def curves(data: Data, metric: str) -> Figure:
    """Hit rate (`hit_rate`) or speed (`tok_s`) against the memory for experts, a line for each policy; the setting is chosen."""
    traces, rows, found = list[Trace](), list[tuple[str, ...]](), settings(data)
    policies = list(dict.fromkeys(config(one).get("eviction", "lru") for setting in found for one in setting.trials))
    for setting in found:
        mine = {
            policy: _ordered([one for one in setting.trials if config(one).get("eviction", "lru") == policy])
            for policy in policies
        }
        drawn = [_line(data, i, policy, trials, metric) for i, (policy, trials) in enumerate(mine.items()) if trials]
        if beside := _ordered(_bounds(data, setting)):
            drawn.append(_bound(data, beside, metric))
            mine[BELADY] = beside
        traces += [{**one, "meta": {**one.get("meta", {}), "choice": setting.name}} for one in drawn]
        rows += [_row(setting.name, policy, one, metric) for policy, trials in mine.items() for one in trials]
    y = {"title": label(metric), **({"range": [0, 1.02]} if metric == "hit_rate" else {"rangemode": "tozero"})}
    axes = axes_of({"title": label("budget_bytes"), "rangemode": "tozero"}, y)
    said = (
        f"{label(metric).capitalize()} of the trials that were played, a line for each policy. Dotted: Belady's policy at the same sizes, "
        "a bound, since it reads the future of the trace."
    )
    table = Table(("setting", "policy", label("budget_bytes"), label(metric), "command"), tuple(rows), codes=(4,))
    title = f"{label(metric).capitalize()} by memory for experts"
    return Figure(title, said, ORIGINS[metric], tuple(traces), {"": axes}, (table,), "setting")


def _row(setting: str, policy: str, trial: Trial, metric: str) -> tuple[str, ...]:
    return (
        setting,
        policy,
        *(number(scaled(name, trial.get(name))) for name in ("budget_bytes", metric)),
        trial["command"],
    )


def _ordered(trials: Sequence[Trial]) -> list[Trial]:
    """By size, one of each, and at most so many."""
    sizes = {one["budget_bytes"]: one for one in reversed(trials)}
    return [sizes[size] for size in spread(sorted(sizes), MOST_POINTS)]


def _bounds(data: Data, setting: Setting) -> list[Trial]:
    numbers = {one["number"] for one in setting.trials}
    alike = [one for one in data["bounds"] if one["beside"] in numbers and one["point"].get("eviction") == BELADY]
    of = {one["number"]: one["point"] for one in setting.trials}
    return [
        {**one, "number": one["beside"]} for one in alike if {**of[one["beside"]], "eviction": BELADY} == one["point"]
    ]


def _line(data: Data, place: int, policy: str, trials: Sequence[Trial], metric: str) -> Trace:
    x, y = ([scaled(name, one.get(name)) for one in trials] for name in ("budget_bytes", metric))
    texts = [hover(one, data["objectives"]) for one in trials]
    return line(
        place, policy, x, y, hovertext=texts, hoverinfo="text", meta={"rows": [one["number"] for one in trials]}
    )


def _bound(data: Data, trials: Sequence[Trial], metric: str) -> Trace:
    x, y = ([scaled(name, one.get(name)) for one in trials] for name in ("budget_bytes", metric))
    texts = [hover(one, data["objectives"], "bound, which no machine can run") for one in trials]
    return bound_line(x, y, f"{BELADY} (bound)", hovertext=texts, hoverinfo="text")
