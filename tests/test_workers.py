"""Several processes at one study: no scenario is played twice, and what a dead one was playing is played by another."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState, create_trial

from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.sweeps.opening import located, stored
from simmoe.sweeps.quiet import quiet
from simmoe.sweeps.scenarios import Scenarios
from simmoe.sweeps.search import opened, sweep
from simmoe.sweeps.shared import Player, Step
from simmoe.sweeps.space import load
from simmoe.sweeps.study import PLAN, Plan, study_of
from simmoe.sweeps.worker import worker
from simmoe.workloads.format.trace import names
from tests.kept import DATABASES, SIZE, SPACE, address

pytestmark = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
LOGGED = """
import os, time
def value(run):
    scenario = (run.workload.hw.name, run.workload.trace.meta["router"], run.plan.eviction, run.plan.budget_bytes)
    with open("played.log", "a") as log:
        print(os.getpid(), *scenario, file=log, flush=True)
    time.sleep(float(os.environ.get("TAKES_S", "0")))
    return run.tok_s
"""


@pytest.fixture
def space(tmp_path, monkeypatch) -> dict[str, Any]:
    """A space whose metric writes down each scenario that is really played, and by which process."""
    monkeypatch.chdir(tmp_path)
    Path("logged.py").write_text(LOGGED)
    content = {**SPACE, "objectives": {"logged.py": "maximize", "memory_bytes": "minimize"}}
    Path("space.yaml").write_text(yaml.safe_dump(content))
    return content


def played() -> dict[str, str]:
    """Scenario -> process. Fails where one stands there twice."""
    log = Path("played.log")
    lines = [line.split(" ", 1) for line in (log.read_text().splitlines() if log.exists() else [])]
    assert [one for one, times in Counter(scenario for _, scenario in lines).items() if times > 1] == []
    return {scenario: process for process, scenario in lines}


def started(*words: str, takes_s: float = 0) -> subprocess.Popen:
    command = [sys.executable, "-m", "simmoe", "sweep", *words, "--heartbeat", "1"]
    environment = {**os.environ, "TAKES_S": str(takes_s)}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def until(happened: Any, what: str) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, f"waited in vain until {what}"
        time.sleep(0.01)


def points(at: dict[str, Any]) -> Counter:
    return Counter(tuple(t.user_attrs["point"].values()) for t in opened(**at).trials if t.state == TrialState.COMPLETE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_three_processes_play_each_scenario_once(kind, sampler, space, tmp_path):
    at = address(kind, tmp_path)
    name = ("--storage", at["storage"], "--study", at["study"])
    sweep(space, trials=1, sampler=sampler, **at)  # so that the workers find it
    plan_all(at, sampler)
    rest = ("--trials", str(SIZE), "--sampler", sampler, "--json")
    processes = [started("space.yaml", *name, *rest), started("worker", *name), started("worker", *name)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    found, once = json.loads(outputs[0][0]), played()
    assert len(found["trials"]) == SIZE == sum(points(at).values())
    if sampler == "grid":
        assert len(points(at)) == len(once) == SIZE
    else:  # it draws some of them again: these trials have the numbers of the first
        assert len(points(at)) == len(once) < SIZE
    by = [int(re.match(r"(\d+) trials of \S+ played here", out)[1]) for out, _ in outputs[1:]]
    assert sum(by) + len([1 for process in once.values() if int(process) not in [p.pid for p in processes[1:]]]) == len(
        once
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
def test_the_same_line_on_three_machines_at_once_makes_one_study(kind, space, tmp_path):
    at = address(kind, tmp_path)
    words = (
        "space.yaml",
        "--storage",
        at["storage"],
        "--study",
        at["study"],
        "--trials",
        "12",
        "--sampler",
        "grid",
        "--json",
    )
    processes = [started(*words) for _ in range(3)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 1 and len(json.loads(outputs[0][0])["trials"]) == 12
    assert len(played()) == len(points(at)) == 12


@pytest.mark.slow
def test_what_another_process_is_playing_is_waited_for(tmp_path, monkeypatch):
    one = {axis: words[0] for axis, words in SPACE.items() if isinstance(words, list)}
    only = {**SPACE, **one, "budget": "10%"}  # one scenario: every trial draws it
    at, scenarios = located(**address("sqlite", tmp_path)), Scenarios(load(only), 3)
    goes_on, plays, real = threading.Event(), threading.Event(), scenarios.outcome

    def outcome(point: dict[str, str]) -> Any:
        plays.set()
        assert goes_on.wait(60)
        return real(point)

    monkeypatch.setattr(scenarios, "outcome", outcome)
    with quiet(), ThreadPoolExecutor() as beside:
        study_of(at.storage(), at.name, scenarios.space, scenarios.digest, "{}", at.place)
        first, second = (Player(stored(at, 5), at, scenarios, Plan("random", 0, 3), 5) for _ in range(2))
        stepped = beside.submit(first._step)
        assert plays.wait(60)
        waits = second._step()
        goes_on.set()
        assert (waits, stepped.result(), second._step()) == (Step.WAIT, Step.PLAY, Step.ANSWER)
    assert (first.played, second.played) == (1, 0) and [
        *points({"study": at.name, "storage": str(at.url)}).values()
    ] == [2]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["qmc", "random"])
def test_processes_take_each_number_of_a_planned_sequence_once(sampler, tmp_path, monkeypatch):
    """Four scenarios, of which two numbers often mean the same: what is drawn while that is being played, all who wait have drawn."""
    one = {axis: words[0] for axis, words in SPACE.items() if isinstance(words, list)}
    few, plan = {**SPACE, **one}, Plan(sampler, 7, 24)
    alone = sweep(few, trials=plan.trials, sampler=sampler, seed=plan.seed)
    at = located(**address("sqlite", tmp_path))
    monkeypatch.setattr("simmoe.sweeps.shared.POLL_S", 0.02)
    with quiet(), ThreadPoolExecutor() as beside:
        spaces = [Scenarios(load(few), plan.trials) for _ in range(3)]
        study_of(at.storage(), at.name, spaces[0].space, spaces[0].digest, "{}", at.place)
        for scenarios in spaces:
            monkeypatch.setattr(scenarios, "outcome", slowly(scenarios.outcome))
        players = [Player(stored(at, 5), at, scenarios, plan, 5) for scenarios in spaces]
        for done in [beside.submit(player.play, None) for player in players]:
            done.result()
    found = stored(at).get_trials()
    assert sum(player.played for player in players) == 4
    assert Counter(t.params["budget_percent"] for t in found) == Counter(
        t.params["budget_percent"] for t in alone.trials
    )


@pytest.mark.slow
def test_a_trial_that_is_played_again_takes_no_number(space, tmp_path):
    """A process died with its trial: the others go on in the planned sequence as if it had not."""
    at = address("sqlite", tmp_path)
    sweep(space, trials=5, sampler="qmc", **at)
    kept = stored(located(**at))
    lost = kept.ask(kept.trials[0].distributions)
    kept.tell(lost, state=TrialState.FAIL)  # number 5, of parameters that are in no sequence
    with quiet():
        RetryHeartbeatStaleTrialCallback()(kept, kept.trials[lost.number])
    found = sweep(space, trials=12, sampler="qmc", **at).study.trials
    alone = sweep(space, trials=12, sampler="qmc").trials
    assert [t.params for t in found[:5]] == [t.params for t in alone[:5]] and found[5].params == found[6].params
    assert [t.params for t in found[7:]] == [t.params for t in alone[6:]]  # the lost one has number 5 of the sequence


def slowly(real: Any) -> Any:
    def outcome(point: dict[str, str]) -> Any:
        time.sleep(0.5)
        return real(point)

    return outcome


@pytest.mark.slow
def test_what_is_queued_and_was_played_meanwhile_is_answered(space, tmp_path):
    at = address("sqlite", tmp_path)
    (done,) = sweep(space, trials=1, sampler="grid", **at).trials
    again = create_trial(state=TrialState.WAITING, params=done.params, distributions=done.distributions)
    stored(located(**at)).add_trial(again)  # two processes found it without a sign of life
    first, second = sweep(space, trials=2, sampler="grid", **at).trials
    assert second.user_attrs == first.user_attrs and second.values == first.values and len(played()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
def test_what_a_killed_worker_was_playing_is_played_by_another(kind, space, tmp_path):
    at = address(kind, tmp_path)
    sweep(space, trials=3, sampler="grid", **at)
    plan_all(at)
    name = ("--storage", at["storage"], "--study", at["study"])
    doomed = started("worker", *name, takes_s=600)
    until(lambda: str(doomed.pid) in played().values(), "the worker plays")
    (lost,) = [scenario for scenario, process in played().items() if process == str(doomed.pid)]
    doomed.kill()
    assert doomed.wait() == -signal.SIGKILL
    text = Path("played.log").read_text().replace(f"{doomed.pid} {lost}\n", "")
    Path("played.log").write_text(text)  # it was not played to its end
    out, err = (second := started("worker", *name)).communicate(timeout=75)  # three signs of life are missing after 3 s
    assert second.returncode == 0, err
    assert len(played()) == len(points(at)) == SIZE and played()[lost] == str(second.pid)
    states = Counter(trial.state for trial in opened(**at).trials)
    assert states == {TrialState.COMPLETE: SIZE, TrialState.FAIL: 1} and f"the study has {SIZE}" in out


def plan_all(at: dict[str, Any], sampler: str = "grid") -> None:
    """What `simmoe sweep --trials SIZE` would set, and play none of it here."""
    stored(located(**at)).set_user_attr(PLAN, Plan(sampler, 0, SIZE)._asdict())


@pytest.mark.slow
def test_a_long_trial_is_not_taken_for_dead_and_a_process_that_stood_still_goes_on(space, tmp_path):
    at = address("sqlite", tmp_path)
    sweep(space, trials=SIZE - 2, sampler="grid", **at)
    plan_all(at)
    name = ("--storage", at["storage"], "--study", at["study"])
    slow = started("worker", *name, takes_s=6)  # twice as long as a dead one is waited for
    until(lambda: str(slow.pid) in played().values(), "the worker plays")
    out, err = (second := started("worker", *name)).communicate(timeout=120)
    assert second.returncode == 0 and slow.wait(60) == 0, (err, slow.communicate())
    assert "1 trials of" in out and len(played()) == SIZE
    assert {trial.state for trial in opened(**at).trials} == {TrialState.COMPLETE}


@pytest.mark.slow
def test_a_process_that_stood_still_gives_its_trial_up(space, tmp_path):
    at = address("sqlite", tmp_path)
    sweep(space, trials=SIZE - 2, sampler="grid", **at)
    plan_all(at)
    name = ("--storage", at["storage"], "--study", at["study"])
    still = started("worker", *name, takes_s=2)
    until(lambda: str(still.pid) in played().values(), "the worker plays")
    still.send_signal(signal.SIGSTOP)
    second = started("worker", *name)
    out, err = second.communicate(timeout=120)
    still.send_signal(signal.SIGCONT)
    told = still.communicate(timeout=60)
    assert (second.returncode, still.returncode) == (0, 0), (err, told)
    assert "2 trials of" in out and "0 trials of" in told[0] and told[1].count("\n") <= 3
    states = Counter(trial.state for trial in opened(**at).trials)
    assert states == {TrialState.COMPLETE: SIZE, TrialState.FAIL: 1} and len(points(at)) == SIZE


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nsga2", "nsga3", "tpe", "random", "qmc", "grid"])
def test_one_process_plays_in_a_database_what_it_plays_in_memory(sampler, tmp_path):
    alone = sweep(SPACE, trials=20, sampler=sampler, seed=3)
    at = address("sqlite", tmp_path)
    sweep(SPACE, trials=6, sampler=sampler, seed=3, **at)
    stored = sweep(SPACE, trials=20, sampler=sampler, seed=3, **at)
    assert [t.user_attrs for t in stored.trials] == [t.user_attrs for t in alone.trials]
    assert stored.to_json() == alone.to_json()


@pytest.mark.slow
def test_a_shared_study_keeps_constraints(tmp_path):
    limited, at = {**SPACE, "constraints": ["tok_s >= 300"]}, address("sqlite", tmp_path)
    alone, stored = sweep(limited, trials=12, seed=3), sweep(limited, trials=12, seed=3, **at)
    kept = [trial.constraints for trial in opened(**at).trials]
    assert kept == [trial.constraints for trial in alone.trials] and len({one["tok_s >= 300"] > 0 for one in kept}) == 2
    assert [trial.number for trial in stored.front] == [trial.number for trial in alone.front] != []


@pytest.mark.slow
def test_a_worker_with_other_inputs_is_refused(space, tmp_path, capsys):
    at = address("sqlite", tmp_path)
    sweep(space, trials=2, **at)
    Path("logged.py").write_text(LOGGED + "\n")
    name = ["--storage", at["storage"], "--study", at["study"]]
    assert main(["sweep", "worker", *name]) == 2
    assert "is of other inputs than those on this machine" in capsys.readouterr().err
    with pytest.raises(UserError, match="of another space or of other inputs; name another study"):
        sweep(space, trials=3, **at)
    Path("logged.py").write_text(LOGGED)
    assert worker(at["storage"]) == (at["study"], 0, 2)  # the only one, and through
    sweep(
        {**space, "name": "second"}, trials=1, study=at["storage"]
    )  # an address alone: the study is named as the space
    with pytest.raises(UserError, match=r"holds 2 studies \('kept-.*', 'second'\); name one of them: --study NAME"):
        worker(at["storage"])
    assert main(["report", at["storage"], "--out", str(tmp_path / "page.html")]) == 2
    assert capsys.readouterr().err.endswith("name one of them: --name NAME\n")
    assert main(["sweep", "worker", "--storage", at["storage"], "--study", "third"]) == 2
    assert "holds no study 'third', but 'kept-" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, line",
    [
        (("worker",), "required: --storage; simmoe sweep worker --help"),
        (("worker", "--storage", "sqlite:///no.db"), "holds no study"),
        (("worker", "--storage", "kept.journal"), "is no address of a database; a journal is named with --study alone"),
        (("worker", "--storage", "mysql://a@b/c"), "not in mysql"),
        (("worker", "--storage", "sqlite:///no.db", "--heartbeat", "0"), "--heartbeat 0 is out of range"),
        (("worker", "--storage", "sqlite:///no.db", "--trials", "3"), "unknown option --trials"),
        (("space.yaml", "--storage", "sqlite:///no.db", "--heartbeat", "0"), "--heartbeat 0 is out of range"),
        (
            ("space.yaml", "--study", "a.journal", "--heartbeat", "5"),
            "--heartbeat is of a study that several processes play",
        ),
        (("space.yaml", "--storage", "postgresql://no:secret@127.0.0.1:1/x"), r"cannot use postgresql://no:\*\*\*@"),
    ],
)
def test_bad_words_are_one_line(words, line, space, capsys):
    pytest.importorskip("psycopg")
    assert main(["sweep", *words]) == 2
    err = capsys.readouterr().err
    assert re.search(line, err) and err.count("\n") == 1 and "secret" not in err, err
