"""What `simmoe sweep` and `simmoe compare` do: one call of the public API, then a table or JSON."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from simmoe.cli.common import files_used, tokens_option
from simmoe.simulator.errors import UserError

if TYPE_CHECKING:
    from simmoe.sweeps.space import Space


def sweep(a: argparse.Namespace) -> None:
    """simmoe sweep"""
    from simmoe.show import tables as show
    from simmoe.sweeps import report
    from simmoe.sweeps.search import sweep as search

    if a.top is not None and a.top < 1:
        raise UserError(f"--top {a.top} shows nothing; give 1 or more")
    with _progress() as tick:
        done = search(a.space, a.study, a.trials, sampler=a.sampler, seed=a.seed, report=tick)
    if a.json:
        print(json.dumps(done.to_json(), indent=1, sort_keys=True))
        return
    axes = done.space.axes
    files = _files(axes["hw"], axes["trace"], axes.get("model", (None,)), axes["eviction"])
    report.show_sweep(done, a.top, list(dict.fromkeys(files + _policy_files(done.space))), show.console())


def compare(a: argparse.Namespace) -> None:
    """simmoe compare"""
    from simmoe.cli.hw import machine
    from simmoe.show import tables as show
    from simmoe.sweeps.compare import compare as play
    from simmoe.sweeps.compare import show_comparison

    evictions = a.eviction or ["lru"]
    tokens = tokens_option(a.tokens, None)
    done = play(
        [machine(name, a.set) for name in a.hw], a.trace,
        model=a.model, budget=a.budget, memory=a.memory, eviction=evictions, scope=a.scope, format=a.format,
        tokens=tokens, prefill_chunk=a.prefill_chunk, batch=a.batch, engine=a.engine,
    )  # fmt: skip
    if a.json:
        print(json.dumps(done.to_json(), indent=1, sort_keys=True))
    else:
        show_comparison(done, _files(a.hw, a.trace, (a.model,), evictions), show.console())


def _files(hw: Sequence[str], trace: Sequence[str], model: Sequence[str | None], eviction: Sequence[str]) -> list[str]:
    """Which of all named inputs are files of the user's."""
    names = ("hw", "trace", "model", "eviction")
    each = (argparse.Namespace(**dict(zip(names, one))) for one in itertools.product(hw, trace, model, eviction))
    return list(dict.fromkeys(file for one in each for file in files_used(one)))


def _policy_files(space: Space) -> list[str]:
    """Which policies of a space are files of the user's."""
    from simmoe import policies

    found = [(kind, policies.find(kind, name)) for kind, _, name in space.policies]
    return [str(path) for kind, path in found if path.parent != policies.FOLDER / kind]


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
