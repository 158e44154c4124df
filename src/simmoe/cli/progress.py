"""How far a sweep is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simmoe.sweeps.tally import Progress, Report

EVERY_S = 60  # a line at least this often, where trials take long


class Clock:
    """How fast trials finish, those of other processes on the same study included. What was there before does not count."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._start_s = now, now()
        self._before: int | None = None

    def said(self, at: Progress) -> str:
        """Rate, front and time left."""
        if self._before is None:
            self._before = at.finished - 1
        took_s = max(self._now() - self._start_s, 1e-9)
        rate = (at.finished - self._before) / took_s
        left = f"; {_duration((at.wanted - at.finished) / rate)} left" if 0 < at.finished < at.wanted and rate else ""
        return f"{rate:,.3g} trials/s; {at.front} on the front{left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """What is called after each trial."""
    if not sys.stderr.isatty():
        yield _lines(what, Clock())
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Bar(*columns, transient=True, console=Console(stderr=True)) as bar:
        clock, task = Clock(), bar.add_task(what, total=None, said="")

        def tick(at: Progress) -> None:
            cannot = f"; {at.cannot} cannot run" if at.cannot else ""
            bar.update(task, total=at.wanted, completed=at.finished, said=clock.said(at) + cannot)

        yield tick


def _lines(what: str, clock: Clock, now: Callable[[], float] = time.monotonic) -> Report:
    """A line for each tenth of the trials, and one a minute where a tenth takes longer."""
    tenths, last_s = 0, now()

    def tick(at: Progress) -> None:
        nonlocal tenths, last_s
        said = clock.said(at)
        reached = 10 * at.finished // at.wanted
        if reached <= tenths and now() - last_s < EVERY_S:
            return
        tenths, last_s = max(reached, tenths), now()
        count = f"{at.finished:,} of {at.wanted:,} trials, {at.cannot:,} cannot run"
        print(f"{what}: {count}; {said}", file=sys.stderr, flush=True)

    return tick
