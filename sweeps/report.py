"""What a sweep prints: the front over all machines, the front on each, and the command behind every row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from optuna.trial import FrozenTrial, TrialState

from simmoe.hardware_profiles import doubts, load
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.units import nbytes
from simmoe.sweeps.search import Sweep
from simmoe.sweeps.space import AXES, Space

ROWS = 12  # of a front, unless told
ALWAYS = ("trace", "hw", "eviction")  # columns of a front, where the space names them; the others where it varies them
PASSES = ("prefill_chunk", "batch", "schedule", "max_batch")  # which rows run in which pass
SIZES = ("budget", "memory")  # one column together
COLUMNS = (*ALWAYS[:2], *(axis for axis in AXES if axis not in (*ALWAYS[:2], *SIZES)))
SHOWN = {"memory_bytes", "tok_s", "ttft_first_s", "hit_rate"}  # metrics with a column of their own


def show_sweep(sweep: Sweep, top: int | None, files: list[str], out: Screen) -> None:
    _heading(sweep, files, out)
    aims = ", ".join(f"{metric} {direction}" for metric, direction in sweep.space.objectives.items())
    front = _front(sweep.front, f"Pareto front over all machines ({aims})", sweep.space, top, out)
    for trial in front:
        out.command(f"#{trial.number} {trial.user_attrs['command']}")
    if len(sweep.space.axes["hw"]) > 1:
        for hw in sweep.space.axes["hw"]:
            _front(sweep.front_on(hw), f"Pareto front on {hw}", sweep.space, top, out)
        out.print("--json gives every trial with its command.")


def _heading(sweep: Sweep, files: list[str], out: Screen) -> None:
    space, trials = sweep.space, sweep.trials
    engines = sorted({trial.user_attrs["engine"] for trial in trials if "engine" in trial.user_attrs})
    distinct = len({str(trial.user_attrs["point"]) for trial in trials})
    count = f"{len(trials):,} trials of {space.name}, {distinct:,} distinct of {space.size:,} scenarios"
    by = f"sampler {sweep.sampler}, seed {sweep.seed}"
    out.print(f" (engine {', '.join(engines) or 'none'}): {count}; {by}", lead="Simulated")
    first = {axis: values[0] for axis, values in space.axes.items()}
    workloads = {}
    for trace in space.axes["trace"]:
        with suppress(UserError):  # a scenario that cannot run says so in its trial
            workloads[trace] = sweep.scenarios.workload({**first, "trace": trace})
    said = show.how_much if any(len(space.axes.get(axis, ())) > 1 for axis in PASSES) else show.played
    lines = ["; ".join(f"{name}: {said(workload)}" for name, workload in workloads.items()), show.inputs(files)]
    lines += dict.fromkeys(filter(None, map(show.small_model, workloads.values())))
    lines += [f"{name}: {line}" for name in space.axes["hw"] for line in doubts(load(name))]
    if "plain" in engines and compiled.missing():
        lines.append(
            "numba is not installed: the engine ran interpreted; pip install 'simmoe[fast]' gives the same numbers sooner"
        )
    for line in (*lines, *_cautions(sweep)):
        out.print(line)


def _cautions(sweep: Sweep) -> list[str]:
    """What a reader of the front must know."""
    lines = sweep.scenarios.cautions()
    cannot = [trial for trial in sweep.trials if trial.state == TrialState.PRUNED]
    if cannot:
        lines.append(
            f"{len(cannot):,} trials cannot run, such as #{cannot[0].number}: {cannot[0].user_attrs['why_not']}"
        )
    return lines


def _front(trials: Sequence[FrozenTrial], title: str, space: Space, top: int | None, out: Screen) -> list[FrozenTrial]:
    """Print a front by rising memory, each scenario once; what was shown."""
    distinct = list({str(trial.user_attrs["point"]): trial for trial in reversed(trials)}.values())
    rows = _spread(sorted(distinct, key=lambda t: (t.user_attrs["memory_bytes"], t.number)), top or ROWS)
    part = f"{len(rows)} of {len(distinct)}; --top {len(distinct)} shows all" if len(rows) < len(distinct) else "all"
    out.print()
    out.print(f": {part}" if rows else ": nothing could run", lead=title)
    if rows:
        out.table(_table(rows, space))
    return rows


def _spread(rows: list[FrozenTrial], top: int) -> list[FrozenTrial]:
    """At most `top` rows, evenly over the front, both ends among them."""
    if len(rows) <= top:
        return rows
    return [rows[round(i * (len(rows) - 1) / max(top - 1, 1))] for i in range(top)]


def _table(rows: list[FrozenTrial], space: Space) -> Grid:
    axes = [axis for axis in COLUMNS if axis in space.axes and (axis in ALWAYS or len(space.axes[axis]) > 1)]
    extra = [metric for metric in space.objectives if metric not in SHOWN]
    columns = (
        Column("#"), *(Column(axis, 0 if axis in ALWAYS else 5 + i, text=True) for i, axis in enumerate(axes)), Column("budget", 2),
        Column("memory", 1), Column("tok/s"), Column("TTFT first", 4), Column("hit rate", 3), *(Column(metric) for metric in extra),
    )  # fmt: skip
    return Grid(columns, tuple(_cells(trial, axes, extra) for trial in rows))


def _cells(trial: FrozenTrial, axes: list[str], extra: list[str]) -> tuple[str, ...]:
    facts = trial.user_attrs
    point, rate = facts["point"], facts["hit_rate"]
    asked, held = next((point[axis] for axis in SIZES if axis in point), ""), nbytes(facts["budget_bytes"])
    return (
        str(trial.number), *(point[axis] for axis in axes), f"{asked} ({held})" if asked else held, nbytes(facts["memory_bytes"]),
        show.number(facts["tok_s"]), show.seconds(facts["ttft_first_s"]), "–" if rate is None else f"{rate:.2%}",
        *(f"{facts[metric]:.4g}" for metric in extra),
    )  # fmt: skip
