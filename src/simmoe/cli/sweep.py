"""What `simmoe sweep` does: one call of the public API, then a table or JSON."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress

from simmoe.cli import patience
from simmoe.cli.common import files_used
from simmoe.cli.progress import progress
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
    with progress("sweep") as tick:
        done = search(
            a.space,
            a.study,
            a.trials,
            storage=a.storage,
            sampler=a.sampler,
            seed=a.seed,
            report=tick,
            heartbeat_s=a.heartbeat,
        )
    if a.json:
        print(json.dumps(done.to_json(), indent=1, sort_keys=True))
        return
    axes = done.space.axes
    options = {axis: words for axis, words in axes.items() if axis in OPTIONS}  # the others are figures
    files = files_used({axis: [OPTIONS[axis].parsed(word) for word in words] for axis, words in options.items()})
    report.show_sweep(done, a.top, files, Screen())


def _told_of_trials(a: argparse.Namespace) -> None:
    """How long the trials would take if each had the greatest lengths of the space."""
    from simmoe.play.length_words import about
    from simmoe.sweeps import space
    from simmoe.sweeps.search import TRIALS

    with suppress(UserError):  # the sweep says it
        axes = (searched := space.load(a.space)).axes
        values = {axis: [OPTIONS[axis].parsed(one) for one in words] for axis, words in axes.items() if axis in OPTIONS}
        counted = ("prompt", "generate", "batch", "requests", "max_batch")
        most = {axis: max(all_of, key=about) if axis in counted else all_of[0] for axis, all_of in values.items()}
        scenario = scenario_of({**most, "tokens": searched.tokens})
        patience.told(
            scenario, "sweep", min(a.trials or TRIALS, searched.size)
        )  # of a recorded trace the progress tells
