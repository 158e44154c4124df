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


def killed(behind: int, after_s: float, **options: Any) -> None:
    """Start a sweep in a process of its own, where everything is loaded, and kill it so long after its trial number `behind`."""
    fork = multiprocessing.get_context("fork")
    finished = fork.Value("i", 0)

    def child() -> None:
        sweep(WIDE, report=lambda _: setattr(finished, "value", finished.value + 1), **options)

    process = fork.Process(target=child)
    process.start()
    while finished.value < behind and process.is_alive():
        time.sleep(0.001)
    process.join(after_s)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the sweep ended by itself"


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
        killed(behind, after_s, trials=TRIALS, sampler=sampler, heartbeat_s=1, **at)
        now = finished(at)
        assert now.items() >= kept.items(), f"kill {number + 1} lost a trial"
        if kind == "journal" and number % 3 == 2 and len(now) > len(kept):
            tear(at["study"], draw)
            del now[max(now)]  # the trial that is torn had finished, and was not yet kept
            assert finished(at) == now
        kept = now
    assert 10 < len(kept) < TRIALS
    done = sweep(WIDE, trials=len(kept) + 10, sampler="grid", heartbeat_s=1, **at)
    states = [trial.state for trial in opened(**at).trials]
    assert len(done.trials) == len(kept) + 10 and finished(at).items() >= kept.items()
    assert TrialState.RUNNING not in states and sum(state in DONE for state in states) == len(kept) + 10
    queued = states.count(TrialState.WAITING)  # of a dead process, and not needed for so many trials
    sweep(WIDE, trials=len(kept) + 10 + queued, heartbeat_s=1, **at)
    states = [trial.state for trial in opened(**at).trials]
    assert not {TrialState.RUNNING, TrialState.WAITING} & {*states}
    assert sum(state in DONE for state in states) == len(kept) + 10 + queued
