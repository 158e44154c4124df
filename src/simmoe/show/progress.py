"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int, float], None]
EVERY_S = 20  # without a terminal


@contextmanager
def progress() -> Iterator[Report]:
    """A callback (stage, step, total, loss)."""
    from rich.progress import Progress, TimeRemainingColumn

    if not sys.stderr.isatty():
        yield _line
        return
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn(), transient=True) as bar:
        tasks: dict[str, int] = {}

        def report(stage: str, step: int, total: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=step, description=f"{stage} (loss {loss:.3f})")  # type: ignore[arg-type]

        yield report


def _line(stage: str, step: int, total: int, loss: float) -> None:
    if step % max(total // 20, 1) == 0 or step == total:
        print(f"{stage}: step {step} of {total}, loss {loss:.3f}", file=sys.stderr, flush=True)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A callback (stage, done, total): a bar with a clock on a terminal, a line now and then elsewhere, both also within a step that takes
    long or never ends."""
    if not sys.stderr.isatty():
        with _now_and_then() as say:
            yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total)


@contextmanager
def _now_and_then() -> Iterator[Callable[[str, int, int], None]]:
    """What is short says nothing."""
    at, over = ["", 0, 0], threading.Event()

    def tell() -> None:
        while not over.wait(EVERY_S):
            print("{}: {} of {}".format(*at), file=sys.stderr, flush=True)

    def say(*now: str | int) -> None:
        at[:] = now

    threading.Thread(target=tell, daemon=True).start()
    try:
        yield say
    finally:
        over.set()
