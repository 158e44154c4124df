"""What a sweep prints: the front over all machines, the front on each, and the command behind every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from simmoe.play.workload import Workload
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid
from simmoe.show.legend import legend
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.units import nbytes
from simmoe.sweeps import bounds, zoo
from simmoe.sweeps.cautions import of_sweep
from simmoe.sweeps.front import broken
from simmoe.sweeps.importances import importances
from simmoe.sweeps.space import AXES, Space
from simmoe.sweeps.swept import Sweep

ROWS = 12  # of a front, unless told
ALWAYS = ("trace", "hw", "eviction")  # columns of a front, where the space names them; the others where it varies them
PASSES = ("prefill_chunk", "batch", "schedule", "max_batch")  # which rows run in which pass
SIZES = ("budget", "memory")  # one column together
COLUMNS = (*ALWAYS[:2], *(axis for axis in AXES if axis not in (*ALWAYS[:2], *SIZES)))
LEAST = 3 + len(COLUMNS)  # rank of what leaves before any axis
SHOWN = {"memory_bytes", "tok_s", "ttft_first_s", "hit_rate"}  # metrics with a column of their own


def show_sweep(sweep: Sweep, top: int | None, files: list[str], out: Screen) -> None:
    _heading(sweep, files, out)
    aims = ", ".join(f"{metric} {direction}" for metric, direction in sweep.space.objectives.items())
    equal = {values: len(trials) for values, trials in sweep.equals().items()}
    columns = list[str]()
    shown = _front(sweep, sweep.front, f"Pareto front over all machines ({aims})", equal, top, columns, out)
    for trial in shown:
        out.command(f"#{trial.number} {trial.user_attrs['command']}")
    if len(sweep.space.axes["hw"]) > 1:
        for hw in sweep.space.axes["hw"]:
            shown += _front(sweep, sweep.front_on(hw), f"Pareto front on {hw}", equal, top, columns, out)
        out.print("--json gives every trial with its command.")
    if said := legend(columns):
        out.print(said)
    if any(equal[tuple(trial.values)] > 1 for trial in shown):
        out.print("equal: so many other scenarios have the same values of all objectives; --json names them.")
    _importances(sweep, out)


def _heading(sweep: Sweep, files: list[str], out: Screen) -> None:
    space, trials = sweep.space, sweep.trials
    engines = sorted({trial.user_attrs["engine"] for trial in trials if "engine" in trial.user_attrs})
    distinct = len({str(trial.user_attrs["point"]) for trial in trials})
    count = f"{len(trials):,} trials of {space.name}, {distinct:,} distinct of {space.size:,} scenarios"
    by = f"sampler {', then '.join(sweep.sampled_by)}"
    out.print(f" (engine {', '.join(engines) or 'none'}): {count}; {by}", lead="Simulated")
    workloads = {}
    for trace in space.axes.get("trace", ("",)):
        if opened := _opened(sweep, trace):
            workloads[trace or "drawn routing"] = opened
    said = show.how_much if any(len(space.axes.get(axis, ())) > 1 for axis in PASSES) else show.played
    lines = [_texts(space, {name: said(workload) for name, workload in workloads.items()}), show.inputs(files)]
    lines += dict.fromkeys(filter(None, map(show.small_model, workloads.values())))
    if "plain" in engines and compiled.missing():
        lines.append(
            "numba is not installed: the engine ran interpreted; pip install 'simmoe[fast]' gives the same numbers sooner"
        )
    for line in filter(None, (*lines, *_cautions(sweep))):
        out.print(line)


def _opened(sweep: Sweep, trace: str) -> Workload | None:
    """A trace on the first machine that plays it; None where none does: its trials say why."""
    axes = sweep.space.axes
    first = {axis: values[0] for axis, values in axes.items()} | ({"trace": trace} if trace else {})
    for hw in axes["hw"]:
        with suppress(UserError):
            return sweep.scenarios.workload({**first, "hw": hw})
    return None


def _texts(space: Space, played: Mapping[str, str]) -> str:
    """What is played of each trace; of the models of the zoo together where it is the same."""
    if space.trained and len(set(played.values())) == 1:
        return f"{len(played)} models of the zoo: {next(iter(played.values()))} of each"
    return "; ".join(f"{name}: {said}" for name, said in played.items())


def _cautions(sweep: Sweep) -> list[str]:
    """What a reader of the front must know."""
    lines = of_sweep(sweep.scenarios)
    if code := sweep.space.code:
        lines.append(f"The space names Python code, which was executed: {', '.join(code)}")
    cannot = [trial for trial in sweep.trials if trial.state == TrialState.PRUNED]
    if cannot:
        lines.append(
            f"{len(cannot):,} trials cannot run, such as #{cannot[0].number}: {cannot[0].user_attrs['why_not']}"
        )
    return lines + _broken(sweep)


def _broken(sweep: Sweep) -> list[str]:
    """How many trials break each constraint, and for how many of these the number is not known."""
    played = [trial for trial in sweep.trials if trial.state == TrialState.COMPLETE]
    counts, lines = broken(played), list[str]()
    for rule in sweep.space.constraints:
        unknown = sum(trial.user_attrs[rule.metric] is None for trial in played)
        why = f" ({unknown:,} of them have no {rule.metric}, which is not known of their machine)" * bool(unknown)
        lines.append(f"{counts.get(rule.text, 0):,} of {len(played):,} played trials break {rule.text}{why}")
    return lines


def _importances(sweep: Sweep, out: Screen) -> None:
    """Which axes decide the objectives."""
    found = importances(sweep.trials, sweep.space)
    axes = list(dict.fromkeys(axis for shares in found.values() for axis in shares))
    if len(axes) < 2:
        return
    out.print()
    out.print(": an axis's share (PED-ANOVA, best tenth of the trials)", lead="What decides each objective")
    columns = (Column("objective"), *(Column(zoo.SHOWN.get(axis, axis)) for axis in axes))
    rows = tuple((metric, *(f"{shares[axis]:.0%}" for axis in axes)) for metric, shares in found.items())
    out.table(Grid(columns, rows))


def _front(
    sweep: Sweep, trials: Sequence[FrozenTrial], title: str, equal: Mapping[tuple[float, ...], int], top: int | None,
    columns: list[str], out: Screen,
) -> list[FrozenTrial]:  # fmt: skip
    """Print a front by rising memory, and the bounds of its scenarios below it; what was shown. columns: gets those of its table."""
    rows = _spread(sorted(trials, key=lambda t: (t.user_attrs["memory_bytes"], t.number)), top or ROWS)
    part = f"{len(rows)} of {len(trials)}; --top {len(trials)} shows all" if len(rows) < len(trials) else "all"
    out.print()
    out.print(f": {part}" if rows else f": {_nothing(sweep)}", lead=title)
    if rows:
        others = [equal[tuple(trial.values)] - 1 for trial in rows]
        facts = [(str(trial.number), trial.user_attrs) for trial in rows]
        columns += out.table(_table(facts, sweep, others if any(others) else None))
    if rows and (beside := sweep.bounds(rows)):
        out.print(f"Bound at the same settings, on no front: {bounds.said(sweep.scenarios.bounds)}")
        out.table(_table([(str(bound.beside), bound.facts) for bound in beside], sweep, None))
    return rows


def _nothing(sweep: Sweep) -> str:
    return "no trial keeps all constraints" if sweep.space.constraints else "nothing could run"


def _spread(rows: list[FrozenTrial], top: int) -> list[FrozenTrial]:
    """At most `top` rows, evenly over the front, both ends among them."""
    if len(rows) <= top:
        return rows
    return [rows[round(i * (len(rows) - 1) / max(top - 1, 1))] for i in range(top)]


def _table(rows: Sequence[tuple[str, Mapping[str, Any]]], sweep: Sweep, equal: Sequence[int] | None) -> Grid:
    """rows: number and facts of each trial. equal: how many other scenarios have its values; None leaves the column out."""
    space, bounded = sweep.space, dict(sweep.scenarios.bounds)
    varied = {axis for axis, words in space.axes.items() if axis in ALWAYS or axis in bounded or len(words) > 1}
    axes = [axis for axis in (*COLUMNS, *space.figures) if axis in varied]
    axes = [name for axis in axes for name in (zoo.KEYS if axis == "trace" and space.trained else [axis])]
    extra = [metric for metric in space.metrics if metric not in SHOWN]
    beside = {
        metric: 0 if metric in space.metrics else LEAST for metric in SHOWN
    }  # axes tell rows apart and stay longer
    columns = (
        Column("#"), *(_column(axis, i) for i, axis in enumerate(axes)), Column("budget", 2),
        Column("memory", 1), Column("tok/s"), Column("TTFT first", beside["ttft_first_s"]), Column("hit rate", beside["hit_rate"]),
        *(Column(metric) for metric in extra), *([Column("equal")] if equal else []),
    )  # fmt: skip
    ties = [(f"+{count}" if count else "",) for count in equal] if equal else [()] * len(rows)
    cells = (_cells(number, facts, axes, extra) for number, facts in rows)
    return Grid(columns, tuple((*row, *tie) for row, tie in zip(cells, ties)))


def _column(axis: str, place: int) -> Column:
    """place: among the axes; what stands last leaves first where a terminal is narrow."""
    number = axis in ("experts", "top_k")
    return Column(zoo.SHOWN.get(axis, axis), 0 if axis in (*ALWAYS, *zoo.KEYS) else 3 + place, text=not number)


def _cells(number: str, facts: Mapping[str, Any], axes: list[str], extra: list[str]) -> tuple[str, ...]:
    point, rate = facts["point"], facts["hit_rate"]
    asked, held = next((point[axis] for axis in SIZES if axis in point), ""), nbytes(facts["budget_bytes"])
    return (
        number, *(point[axis] if axis in point else str(facts[axis]) for axis in axes),
        f"{asked} ({held})" if asked else held, nbytes(facts["memory_bytes"]),
        show.number(facts["tok_s"]), show.seconds(facts["ttft_first_s"]), "–" if rate is None else f"{rate:.2%}",
        *("–" if facts[metric] is None else f"{facts[metric]:.4g}" for metric in extra),
    )  # fmt: skip
