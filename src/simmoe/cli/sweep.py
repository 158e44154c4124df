"""What `simmoe sweep` does: one call of the public API, then a table or JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from simmoe.cli import patience
from simmoe.cli.common import files_used
from simmoe.play.calling import scenario_of
from simmoe.play.scenario import OPTIONS
from simmoe.simulator.errors import UserError


def sweep(a: argparse.Namespace) -> None:
    """simmoe sweep"""
    from simmoe.show.screen import Screen
    from simmoe.sweeps import report
    from simmoe.sweeps.search import sweep as search

    if a.top is not None and a.top < 1:
        raise UserError(f"--top {a.top} shows nothing; give 1 or more")
    if a.top is not None and a.json:
        raise UserError("--top is for the printed fronts, and --json gives all of them: leave one of them out")
    _told_of_trials(a)
    with _progress() as tick:
        done = search(a.space, a.study, a.trials, sampler=a.sampler, seed=a.seed, report=tick)
    if a.json:
        print(json.dumps(done.to_json(), indent=1, sort_keys=True))
        return
    axes = done.space.axes
    files = files_used({axis: [OPTIONS[axis].parsed(word) for word in words] for axis, words in axes.items()})
    report.show_sweep(done, a.top, files, Screen())


def _told_of_trials(a: argparse.Namespace) -> None:
    """How long the trials would take if each had the greatest lengths of the space."""
    from simmoe.sweeps import space
    from simmoe.sweeps.search import TRIALS

    with suppress(UserError):  # the sweep says it
        axes = (searched := space.load(a.space)).axes
        values = {axis: [OPTIONS[axis].parsed(word) for word in words] for axis, words in axes.items()}
        counted = ("prompt", "generate", "batch", "requests", "max_batch")
        most = {
            axis: max(all_of, key=lambda value: value or 0) if axis in counted else all_of[0]
            for axis, all_of in values.items()
        }
        scenario = scenario_of({**most, "tokens": searched.tokens})
        patience.told(
            scenario, "sweep", min(a.trials or TRIALS, searched.size)
        )  # of a recorded trace the progress tells


@contextmanager
def _progress() -> Iterator[Callable[[int, int, int], None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    from rich.progress import Progress, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield _line
        return
    from rich.console import Console

    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn())
    with Progress(*columns, transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task("sweep", total=None)

        def tick(finished: int, wanted: int, cannot: int) -> None:
            bar.update(task, total=wanted, completed=finished, description=f"sweep ({cannot} cannot run)")

        yield tick


def _line(finished: int, wanted: int, cannot: int) -> None:
    if finished % max(wanted // 10, 1) == 0 or finished == wanted:
        print(f"sweep: {finished} of {wanted} trials, {cannot} cannot run", file=sys.stderr, flush=True)
