"""What a sweep says of how far it is."""

from __future__ import annotations

import os
import pty
import random
import re
import subprocess
import sys

import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from simmoe.cli import progress
from simmoe.sweeps.front import front
from simmoe.sweeps.tally import Progress, Tally
from simmoe.workloads.format.trace import names
from tests.kept import SPACE


def said(capsys, seconds: list[float], wanted: int, before: int = 0) -> list[str]:
    """The lines of a sweep whose trials finish at these times."""
    now = [0.0]
    clock = progress.Clock(lambda: now[0])
    tick = progress._lines("sweep", clock, lambda: now[0])
    for number, at in enumerate(seconds):
        now[0] = at
        tick(Progress(before + number + 1, wanted, number // 4, 7))
    return capsys.readouterr().err.splitlines()


def test_a_line_for_each_tenth_says_rate_front_and_time_left(capsys):
    lines = said(capsys, [0.5 * (i + 1) for i in range(40)], 40)
    assert len(lines) == 10
    assert lines[0] == "sweep: 4 of 40 trials, 0 cannot run; 2 trials/s; 7 on the front; 18 s left"
    assert lines[-1] == "sweep: 40 of 40 trials, 9 cannot run; 2 trials/s; 7 on the front"


def test_long_trials_have_a_line_a_minute(capsys):
    lines = said(capsys, [45.0 * (i + 1) for i in range(6)], 1000)
    assert [line.split(" of ")[0] for line in lines] == ["sweep: 2", "sweep: 4", "sweep: 6"]
    assert lines[0].endswith("0.0222 trials/s; 7 on the front; 12 h 28 min left")
    assert said(capsys, [100.0], 4)[0].endswith("0.01 trials/s; 7 on the front; 5 min 00 s left")


def test_what_was_there_before_is_not_counted_as_played(capsys):
    (line,) = said(capsys, [2.0, 4.0], 100, before=88)[-1:]
    assert line == "sweep: 90 of 100 trials, 0 cannot run; 0.5 trials/s; 7 on the front; 20 s left"


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_counted_as_it_is_at_the_end(seed):
    draw, trials, counted = random.Random(seed), [], Tally(["maximize", "minimize"], 60)
    for number in range(60):
        values = [float(draw.randrange(8)), float(draw.randrange(8))]
        played = draw.random() < 0.9
        trial = create_trial(
            state=TrialState.COMPLETE if played else TrialState.PRUNED, values=values if played else None,
            params={"x": 0.0}, distributions={"x": FloatDistribution(0, 1)},
            system_attrs={"constraints:limit": draw.choice([-1.0, 0.0, 1.0])},
        )  # fmt: skip
        trial.number = number
        trials.append(trial)
        counted.add(trial)
        best = front(trials, ["maximize", "minimize"])
        assert counted.progress.front == len(best)
    cannot = sum(trial.state == TrialState.PRUNED for trial in trials)
    assert counted.progress == Progress(60, 60, cannot, len(best)) and 0 < len(best) < 60 and cannot


@pytest.mark.slow
@pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
def test_a_terminal_has_a_bar(tmp_path):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "simmoe", "sweep", str(tmp_path / "space.yaml"), "--trials", "12"]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    printed = b""
    while True:
        try:
            printed += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0 and b"trials/s" not in process.stdout.read()
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", printed.decode())
    assert re.search(r"sweep .*12/12 [0-9.]+ trials/s; \d+ on the front", plain), plain[-500:]
