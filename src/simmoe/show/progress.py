"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, int, int, float], None]


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
