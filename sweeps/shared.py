"""A study in a database, played by several processes: each trial is played by one of them, and by another where that one dies.

A process has a turn of some milliseconds in which no other claims a trial of the study. In it the process reads what has finished,
draws the next scenario, puts that into the queue of the study with all its parameters, and lets Optuna's `study.optimize` take it from
there. So no scenario is played twice: one that has finished is answered, and one that is being played elsewhere is waited for. Optuna
writes a sign of life while the trial is played; a trial whose signs stop is failed and enqueued again by whichever process comes next.
"""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Iterator
from contextlib import ExitStack
from enum import Enum
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import RandomSampler
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from simmoe.sweeps.database import GRACES, Database
from simmoe.sweeps.sampling import Draws, key
from simmoe.sweeps.scenarios import Scenarios
from simmoe.sweeps.study import FACTS, FINISHED, Plan, with_facts
from simmoe.sweeps.tally import Report, Tally

POLL_S = 0.2  # between two looks at what the others are playing


class Step(Enum):
    """What a turn came to."""

    PLAY = "a trial was claimed, and has been played"
    ANSWER = "the scenario drawn is known: its trial has the same numbers"
    WAIT = "the others are playing what is left, or what was drawn"
    END = "the study is what it was to become"


class Player:
    """One process at a study."""

    def __init__(self, study: optuna.Study, at: Database, scenarios: Scenarios, plan: Plan, heartbeat_s: int) -> None:
        self.played = 0
        self._study, self._at, self._scenarios, self._plan = study, at, scenarios, plan
        self._grace_s = GRACES * heartbeat_s
        study.sampler = RandomSampler()  # it draws nothing: all parameters are there
        objectives = list(scenarios.space.objectives.values())
        self.tally = Tally(objectives, plan.trials)
        self._draws = Draws(scenarios.space, plan.sampler, plan.seed)
        self._finished = optuna.create_study(directions=objectives)  # in memory: what the samplers look at
        self._read_to = 0  # trials of the stored study that have been looked at
        self._open = dict[int, FrozenTrial]()  # of these the ones that had not finished
        self._running_since = dict[int, float]()  # when each was first seen to run
        self._known, self._busy = dict[str, FrozenTrial](), dict[str, FrozenTrial]()  # by scenario
        self._retried = set[int]()  # numbers of trials of dead processes that stand there a second time
        self._drawn: tuple[int, dict[str, Any] | None] | None = (
            None  # number and parameters, until a trial has that number
        )
        self._ahead: Iterator[dict[str, Any]] = iter(())  # of a grid

    def play(self, report: Report | None) -> None:
        """Claim and play trials until the study has all of them and none is running."""
        while (step := self._step()) is not Step.END:
            if step is Step.WAIT:
                time.sleep(POLL_S)
            elif report:
                report(self.tally.progress)
        if report:
            report(self.tally.progress)

    def _step(self) -> Step:
        with ExitStack() as turn:
            turn.enter_context(self._at.alone(self._study.study_name))
            self._read()
            step = self._next()
            if step is Step.PLAY:
                self._play(turn)
            elif step is Step.WAIT:
                fail_stale_trials(self._study)
            return step

    def _read(self) -> None:
        trials = self._study.get_trials(deepcopy=False)
        for number in [*self._open, *range(self._read_to, len(trials))]:
            self._note(trials[number])
            self._retried.update(RetryHeartbeatStaleTrialCallback.retry_history(trials[number]))
        self._read_to = len(trials)
        self._fail_silent()
        self._busy.clear()
        self._busy |= {key(self._draws.point(trial.params)): trial for trial in self._open.values()}

    def _note(self, trial: FrozenTrial) -> None:
        self._open.pop(trial.number, None)
        if not trial.state.is_finished():
            self._open[trial.number] = trial
        elif trial.state in FINISHED:
            (told,) = with_facts([trial])
            self._finished.add_trial(told)
            self._draws.told(told)
            self._scenarios.remember(told.user_attrs)  # what was queued again may have been played meanwhile
            self._known[key(told.user_attrs["point"])] = told
            self.tally.add(told)

    def _fail_silent(self) -> None:
        """Optuna fails a trial whose last sign of life is old, but not one whose process died before it gave any."""
        now = time.monotonic()
        running = [number for number, trial in self._open.items() if trial.state == TrialState.RUNNING]
        old = {number for number in running if now - self._running_since.setdefault(number, now) > self._grace_s}
        for number in old and old & self._at.silent(self._study):
            self._study.tell(number, state=TrialState.FAIL)
            RetryHeartbeatStaleTrialCallback()(self._study, self._open.pop(number))

    def _next(self) -> Step:
        running = sum(trial.state == TrialState.RUNNING for trial in self._open.values())
        if self.tally.finished + running >= self._plan.trials:
            return Step.WAIT if running else Step.END
        if len(self._open) > running:  # in the queue: its process died, or went before it took it
            return Step.PLAY
        number = self._read_to - len(self._retried)
        if (
            self._drawn is None or self._drawn[0] != number
        ):  # while this process waited, another one has drawn that number
            self._drawn = number, self._draw(number)
        if self._drawn[1] is None:
            self._drawn = None  # what was being played when the grid came by may fail
            return Step.WAIT if running else Step.END
        return self._claim(self._drawn[1])

    def _claim(self, drawn: dict[str, Any]) -> Step:
        scenario = key(self._draws.point(drawn))
        if scenario in self._busy:
            return Step.WAIT
        self._drawn, same = None, self._known.get(scenario)
        shape = self._draws.distributions
        if same is None:
            self._study.add_trial(create_trial(state=TrialState.WAITING, params=drawn, distributions=shape))
            return Step.PLAY
        answer = create_trial(
            state=same.state, values=same.values, params=drawn, distributions=shape,
            user_attrs={FACTS: same.user_attrs}, system_attrs=same.system_attrs,
        )  # fmt: skip
        self._study.add_trial(answer)
        return Step.ANSWER

    def _draw(self, number: int) -> dict[str, Any] | None:
        """Parameters of the trial of that number, retries not counted; None where a grid has no more."""
        taken = ChainMap(self._known, self._busy)
        if self._plan.sampler == "grid":
            drawn = next(self._ahead, None)
            if drawn is None:  # what was being played when the grid came by may have failed
                self._ahead = self._draws.grid(taken)
                drawn = next(self._ahead, None)
            return drawn
        if planned := self._draws.planned(number, taken):
            return next(planned, None)
        self._finished.sampler = self._draws.sampler(number)
        asked = self._finished.ask(self._draws.distributions)
        self._finished.tell(asked, state=TrialState.FAIL)  # it is played as a trial of the stored study
        return asked.params

    def _play(self, turn: ExitStack) -> None:
        lost = False

        def objective(trial: optuna.Trial) -> list[float]:
            nonlocal lost
            turn.close()
            outcome = self._scenarios.outcome(self._draws.point(trial.params))
            try:
                trial.set_user_attr(FACTS, outcome.facts)  # one transaction for all of them
                for rule, excess in outcome.constraints.items():
                    trial.set_constraint(rule, excess)
            except UpdateFinishedTrialError:
                lost = True
                raise
            if outcome.values is None:
                raise optuna.TrialPruned
            return outcome.values

        try:
            self._study.optimize(objective, n_trials=1)
        except Exception:
            if not lost:
                raise  # else this process stood still for so long that the trial was given to another
        self.played += not lost
