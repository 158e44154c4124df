"""`simmoe.curve`: what policies hit, load and reach in speed at every size of the memory for experts, beside the bound of all policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from simmoe import policies
from simmoe.play import bars, devices
from simmoe.play.calling import scenario_of, takes
from simmoe.play.curve_result import Curve, CurveResult
from simmoe.play.plan import memory_of, scope_of, told_of_eviction
from simmoe.play.popularity import Unplayed, counts_first, parted, unplayed
from simmoe.play.quotas import check_scope, scope_for
from simmoe.play.replay import told
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.traced import traced
from simmoe.play.would_fit import told as would_fit
from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.curves import Curves, Group
from simmoe.simulator.decide.decisions import BOUNDS, first_events
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.decide.hooks import Told
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import DECODE, Trace
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import WORTH_COMPILING, named
from simmoe.workloads import models
from simmoe.workloads.format.trace import first_tokens

USUAL = ("lru", "belady")
SHARES = (
    *(Fraction(1, n) for n in (64, 32, 16)),
    *(Fraction(n, 8) for n in range(1, 9)),
)  # of all experts: rows of the table
POINTS = 512  # of a curve that may change at every byte
PLAYED = 200_000_000  # requests that rooms below the largest event are played for, all together; a hundredth where numba is missing
ALONE = ("trace", "model", "format", "tokens", "scope", "cold_per_sequence", "seed")  # options that need no machine
REFUSED = {
    "system": "a curve is of eviction policies: name those",
    **dict.fromkeys(("budget", "memory"), "every budget is played"), **dict.fromkeys(("start", "warm_up"), "every size starts empty"),
    **dict.fromkeys(("prefetch", "prefetch_into", "miss", "placement"), "a curve is of experts that are loaded when they are missing"),
}  # fmt: skip


@takes(*REFUSED)
def curve(
    trace: str | Path | Trace | None = None,
    hw: str | Path | Hardware | None = None,
    *,
    eviction: str | Sequence[str] = USUAL,
    scope: str = "global",
    **options: Any,
) -> CurveResult:
    """Hit rate and loaded bytes of `trace` at every size, cold from the first pass; with a machine also tokens a second.

    eviction: one policy or several. lru and, with experts of one size, belady have a point at every size; others are played at the
    budgets of the table. With `hw` (or gpu and host) the options are those of `simmoe.run`, but for budget, memory, start, warm_up and
    what prefetches, places or computes experts elsewhere. Without: model and format (sizes of experts), tokens, cold_per_sequence,
    seed. Raises UserError.
    """
    names = [eviction] if isinstance(eviction, str) else list(eviction)
    check_scope(scope)
    _check(names, options)
    if hw is None and all(options.get(one) is None for one in ("gpu", "host")):
        return _alone(trace, names, scope, options)
    _cut(names, scope)
    counting = next((name for name in names if counts_first(name)), names[0])
    scenario = scenario_of({"hw": hw, "trace": trace, "eviction": counting, "scope": scope, "start": COLD, **options})
    with would_fit(scenario):
        return on_a_machine(scenario, names)


def _check(names: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raises UserError for what a curve cannot be of."""
    if not names:
        raise UserError("--eviction names no policy; name one, such as lru")
    for name in names:
        if name in BOUNDS:
            raise UserError(f"a curve is of policies, and eviction {name!r} is a bound without a budget; leave it out")
    for name in set(names):
        if names.count(name) > 1:
            raise UserError(f"--eviction names {name} twice; name each policy once")
    for name, why in REFUSED.items():
        if name in options and options[name] != OPTIONS[name].default:
            raise UserError(f"{OPTIONS[name].flag} {options[name]}: {why}; leave it out")


def _cut(names: Sequence[str], scope: str) -> Unplayed | None:
    """The first rows that policies or quotas count, and that are not played. Raises UserError where they differ."""
    counting = {name for name in names if counts_first(name)}
    if len(counting) > 1:
        cuts = [unplayed({"eviction": name}) for name in sorted(counting)]
        if len({cut.share for cut in cuts if cut}) > 1:
            raise UserError(f"{' and '.join(sorted(counting))} count different first rows; count the same share")
    return unplayed({"eviction": min(counting, default=None), "scope": scope})


def _alone(trace: Any, names: Sequence[str], scope: str, options: Mapping[str, Any]) -> CurveResult:
    """Without a machine."""
    for name, value in options.items():
        if name not in ALONE and name in OPTIONS and value != OPTIONS[name].default:
            raise UserError(f"{OPTIONS[name].flag} {value} is about a machine: name one with --hw, or leave it out")
        if name not in OPTIONS:
            scenario_of({"hw": "a100", name: value})  # raises for the unknown name
    if trace is None:
        raise UserError(
            "--trace is missing: name a routing trace, or a machine and a --model, for which routing is drawn"
        )
    whole = traced(trace, options.get("model"))
    counted, rest = parted(whole, _cut(names, scope))
    played = first_tokens(rest, options.get("tokens"))
    sizes = _sizes(whole, options)
    requests, cold = requests_of(played), bool(options.get("cold_per_sequence"))
    long = not compiled.missing() and 4 * requests.n_uses >= WORTH_COMPILING
    fit = scope_for(scope, rest, counted, player=named("fast").player if long else None)
    made = _curves(played, requests, sizes, fit, cold, int(options.get("seed") or 0), Player())
    if not compiled.missing() and _work(made, names) >= WORTH_COMPILING:
        made.player = named("fast").player
    tell = {name: told(name, played, counted) for name in names}
    return CurveResult(played, sizes, scope, *_points(made, names, tell, played))


def _sizes(trace: Trace, options: Mapping[str, Any]) -> Ints:
    """int64 [layers]: bytes of an expert of each MoE layer; 1 each where neither the options nor the trace name a model."""
    name, said = options.get("model"), options.get("format")
    if name is None and trace.meta.get("model") not in models.available():
        if said is not None:
            raise UserError(f"--format {said} needs a model, which the trace does not name: add --model")
        return np.ones(trace.n_layers, np.int64)
    shape = models.load(name or trace.meta["model"], said) if isinstance(name, str | Path | None) else name
    if len(shape.expert_bytes) != trace.n_layers:
        raise UserError(
            f"{shape.name} has {len(shape.expert_bytes)} MoE layers, and the trace {trace.n_layers}; name its model"
        )
    return shape.expert_bytes


def on_a_machine(scenario: Scenario, names: Sequence[str]) -> CurveResult:
    """Curves, and runs at the budgets of the table. Raises UserError."""
    workload = scenario.workload()
    if workload.runtime is not None and not workload.runtime.streams:
        raise UserError(
            f"{workload.runtime.name} loads no experts while it runs, so a curve of budgets says nothing of it"
        )
    if workload.clock_driven is not None:
        raise UserError(
            f"--schedule {workload.schedule} forms passes while the clock runs, other ones at each size; leave it out"
        )
    plans = {name: replace(scenario, eviction=name).plan(workload) for name in names}
    devices.refuse(plans[names[0]], workload.hw, "a curve of budgets")
    engine = workload.engine(scenario.engine, runs=len(names) * len(SHARES) + 4)
    sizes, played, cold = workload.model.expert_bytes, workload.trace, scenario.cold_per_sequence
    fit = scope_of(workload, plans[names[0]], engine.player)
    made = _curves(played, workload.requests, sizes, fit, cold, scenario.seed, engine.player)
    tell = {name: told_of_eviction(workload, plan) for name, plan in plans.items()}
    found, budgets, least, of_decode = _points(made, names, tell, played)
    memory = memory_of(workload, plans[names[0]])
    runs = {
        name: tuple(
            None if memory.short_by(budget) else play(workload, replace(plan, budget_bytes=budget), engine)
            for budget in budgets
        )
        for name, plan in plans.items()
    }
    full: dict[str, Any] = {"eviction": "everything", "start": "auto", "scope": "global", "cold_per_sequence": False}
    everything = replace(plans[names[0]], budget_bytes=workload.model.all_expert_bytes, **full)
    return CurveResult(
        played,
        sizes,
        scenario.scope,
        found,
        budgets,
        least,
        of_decode,
        workload,
        runs,
        play(workload, everything, engine),
    )


def _curves(
    trace: Trace, requests: Requests, sizes: Ints, scope: str | Fitted, cold: bool, seed: int, player: Player
) -> Curves:  # fmt: skip
    cold_at = first_events(trace, requests) if cold else None
    return Curves(requests, trace.phase, sizes, scope, cold_at=cold_at, seed=seed, player=player)


def _points(
    made: Curves, names: Sequence[str], tell: Mapping[str, Told], trace: Trace
) -> tuple[dict[str, Curve], tuple[int, ...], Ints, Ints]:
    """The curves, the budgets of the table, and what any policy loads at these, in all and in decode."""
    every = int(made.expert_bytes.sum()) * made.n_experts
    table = sorted({budget for share in SHARES if (budget := int(share * every)) >= made.least_budget})
    curves = {name: _curve(made, name, tell[name], table) for name in names}
    return curves, tuple(table), *bars.least(made, trace, table)


def _curve(made: Curves, name: str, tell: Told, table: Sequence[int]) -> Curve:
    module, quick = policies.load("eviction", name), all(group.one_pass(name) for group in made.groups)
    steps = made.every_budget() if quick else []
    budgets = steps
    if quick and not steps:
        budgets = np.linspace(made.least_budget, table[-1], POINTS, dtype=np.int64).tolist()
    kept = _affordable(made, name, budgets, PLAYED if type(made.player) is not Player else PLAYED // 100)
    points = sorted({*kept, *table})
    hits, loaded = made.at(module, name, points, tell)
    misses = made.asked.sum(1) - hits
    return Curve(
        name, np.array(points), hits.sum(1), misses.sum(1), loaded.sum(1), hits[:, DECODE], misses[:, DECODE], loaded[:, DECODE],
        bool(steps) and len(kept) == len(steps),
    )  # fmt: skip


def _affordable(made: Curves, name: str, budgets: Sequence[int], most: int) -> Sequence[int]:
    """The budgets that one pass answers for, and as many of the others, evenly spread, as are played in reasonable time."""
    if not len(budgets):
        return budgets
    rooms = made.rooms(budgets)
    slow = np.array([group.to_play(name, mine) for group, mine in zip(made.groups, rooms)]).any(axis=0)
    each = sum(_played(group, name, mine) for group, mine in zip(made.groups, rooms))
    some = np.flatnonzero(slow)
    if each > most:
        some = some[np.linspace(0, len(some) - 1, max(most * len(some) // each, 8), dtype=np.int64)]
    return [budgets[n] for n in sorted({*np.flatnonzero(~slow).tolist(), *some.tolist()})]


def _work(made: Curves, names: Sequence[str]) -> int:
    """Requests that are looked at or played, about."""
    steps = made.rooms(made.every_budget() or [made.least_budget])
    small = sum(_played(group, name, mine) for name in names for group, mine in zip(made.groups, steps))
    return small + 4 * made.requests.n_uses


def _played(group: Group, name: str, rooms: Ints) -> int:
    """Requests that are played for the rooms that one pass does not answer for."""
    return len(np.unique(rooms[group.to_play(name, rooms)])) * len(group.part.obj)
