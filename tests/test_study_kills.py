"""Processes that are killed at random moments, on every kind of storage: no finished trial is lost, and none is left running."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from optuna.trial import TrialState

from simmoe.simulator.errors import UserError
from simmoe.simulator.time import compile as compiled
from simmoe.sweeps.search import opened, sweep
from simmoe.workloads.format.trace import names
from tests.kept import DATABASES, SPACE, address

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet"),
    pytest.mark.skipif(compiled.missing(), reason="plays many trials: needs numba (pip install 'simmoe[fast]')"),
]
KILLS = 10
WIDE = {
    **SPACE,
    "budget": {"low": "0.5%", "high": "100%", "step": "0.5%"},
}  # wide: no child is through before it is killed
TRIALS = 400
FEW = 4  # trials that a child plays at most before it is killed


def finished(at: dict[str, Any]) -> dict[int, Any]:
    """What a study holds, by number."""
    try:
        trials = opened(**at).trials
    except UserError:  # nothing has been written yet
        return {}
    return {t.number: (t.state, t.values, t.params, t.user_attrs) for t in trials if t.state in DONE}


DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def started(**options: Any) -> tuple[Any, Any]:
    """A sweep in a process of its own, where everything is loaded, and how many trials it has finished."""
    fork = multiprocessing.get_context("fork")
    count = fork.Value("i", 0)

    def child() -> None:
        beats = {"heartbeat_s": 1} if "storage" in options else {}
        sweep(WIDE, report=lambda _: setattr(count, "value", count.value + 1), **beats, **options)

    process = fork.Process(target=child)
    process.start()
    return process, count


def killed(behind: int, after_s: float, **options: Any) -> None:
    """Kill a sweep so long after its trial number `behind`."""
    process, count = started(**options)
    while count.value < behind and process.is_alive():
        time.sleep(0.001)
    process.join(after_s)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the sweep ended by itself"


def ended(**options: Any) -> list[TrialState]:
    """What the trials of a study are when a sweep that is left alone has ended."""
    process, _ = started(**options)
    process.join(60)
    alive = process.is_alive()
    process.kill()
    assert process.exitcode == 0 and not alive, "the sweep does not end"
    options.pop("trials"), options.pop("sampler")
    return [trial.state for trial in opened(**options).trials]


def tear(journal: Path, draw: random.Random) -> None:
    """Cut the file in its last line, as a kill in the middle of a write would."""
    content = journal.read_bytes()
    last = content[:-1].rfind(b"\n") + 1
    journal.write_bytes(content[: draw.randrange(last, len(content))])


@pytest.mark.parametrize("kind", ["journal", *DATABASES])
def test_ten_kills_lose_no_finished_trial_and_leave_none_running(kind, tmp_path):
    at, draw, kept = address(kind, tmp_path), random.Random(kind), dict[int, Any]()
    sweep(WIDE, trials=1)  # what a child would else compile
    start = time.monotonic()
    sweep(WIDE, trials=FEW, **address(kind, Path(mkdtemp(dir=tmp_path))))
    took_s = time.monotonic() - start
    for number in range(KILLS):
        sampler = ("nsga2", "grid", "random", "tpe")[number % 4]
        behind = draw.randrange(FEW)
        after_s = draw.uniform(0, took_s / FEW if behind else took_s)
        killed(behind, after_s, trials=TRIALS, sampler=sampler, **at)
        now = finished(at)
        assert now.items() >= kept.items(), f"kill {number + 1} lost a trial"
        if kind == "journal" and number % 3 == 2 and len(now) > len(kept):
            tear(at["study"], draw)
            del now[max(now)]  # the trial that is torn had finished, and was not yet kept
            assert finished(at) == now
        kept = now
    assert 10 < len(kept) < TRIALS
    wanted = len(kept) + 10
    states = ended(trials=wanted, sampler="grid", **at)
    assert finished(at).items() >= kept.items()
    assert TrialState.RUNNING not in states and sum(state in DONE for state in states) == wanted
    wanted += states.count(TrialState.WAITING)  # of a dead process, and not needed for so many trials
    states = ended(trials=wanted, sampler="random", **at)
    assert not {TrialState.RUNNING, TrialState.WAITING} & {*states} and sum(state in DONE for state in states) == wanted
