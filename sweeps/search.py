"""`simmoe.sweep`: an Optuna study over a space, and the scenarios that nothing beats (the Pareto front)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from simmoe.simulator.errors import UserError
from simmoe.sweeps.database import HEARTBEAT_S, Database
from simmoe.sweeps.journal import open_study
from simmoe.sweeps.opening import located
from simmoe.sweeps.opening import opened as opened  # where a reader of studies looks for it
from simmoe.sweeps.quiet import quiet
from simmoe.sweeps.sampling import SAMPLERS, Draws, check_installed, key
from simmoe.sweeps.scenarios import Outcome, Scenarios
from simmoe.sweeps.space import load, said
from simmoe.sweeps.study import FINISHED, Plan, note_sampler
from simmoe.sweeps.swept import Sweep
from simmoe.sweeps.tally import Report, Tally
from simmoe.sweeps.worker import play_shared

TRIALS = 100  # unless told; a grid plays all


def sweep(
    space: str | Path | Mapping[str, Any],
    study: str | Path | None = None,
    trials: int | None = None,
    *,
    storage: str | None = None,
    sampler: str = "nsga2",
    seed: int = 0,
    report: Report | None = None,
    heartbeat_s: int | None = None,
) -> Sweep:
    """Play scenarios of `space` until the study holds `trials` finished ones.

    space: a bundled name, the path of a YAML file, or the content of one as a mapping (docs/sweeps.md). A policy or metric file that
    it names is Python code and is executed.
    study: a journal file that keeps every finished trial; a sweep that was killed goes on from it, and one that finds it in use waits.
    Or the address of a database, which several processes may play (docs/scale.md). None: in memory only.
    storage: the address of a database, in which the study has the name `study` (default: that of the space).
    trials: how many in all, those in the study included; default 100, or the whole space for the grid.
    sampler: "nsga2", "nsga3", "tpe", "gp", "random", "qmc" or "grid". seed: the same one gives the same trials.
    report: called after each trial. heartbeat_s: seconds between two signs of life of a process that plays a trial of a database
    (default 10).
    A scenario that cannot run is a finished trial with its reason in `user_attrs["why_not"]`. Raises UserError with one line.
    """
    if sampler not in SAMPLERS:
        raise UserError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    check_installed(sampler)
    if trials is not None and trials < 1:
        raise UserError(f"--trials {trials} plays nothing; give 1 or more")
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed} is out of range; give 0 to {2**32 - 1}")
    at = located(study, storage) if study or storage else None
    if heartbeat_s is not None and not isinstance(at, Database):
        raise UserError("--heartbeat is of a study that several processes play; give --storage too, or leave it out")
    named = load(space)
    scenarios = Scenarios(named, trials or (named.size if sampler == "grid" else TRIALS))
    wanted = trials or (scenarios.space.size if sampler == "grid" else TRIALS)
    plan, content = Plan(sampler, seed, wanted), json.dumps(said(space))
    with quiet():
        if isinstance(at, Database):
            beat_s = HEARTBEAT_S if heartbeat_s is None else heartbeat_s
            working, sampled_by = play_shared(at, scenarios, plan, content, beat_s, report)
        else:
            working, sampled_by = _play_alone(at, scenarios, plan, content, report)
    return Sweep(scenarios, sampler, seed, working, tuple(sampled_by))


def _play_alone(
    journal: Path | None, scenarios: Scenarios, plan: Plan, content: str, report: Report | None
) -> tuple[optuna.Study, list[str]]:
    """The study in memory and what its trials were sampled by. Nothing of a trial is written before it has finished."""
    space, sampled_by = scenarios.space, [str(plan)]
    working = optuna.create_study(study_name=space.name, directions=list(space.objectives.values()))
    working.set_metric_names(list(space.objectives))
    with open_study(journal, space, scenarios.digest, content) if journal else nullcontext() as kept:
        if kept:
            working.add_trials(kept.get_trials(deepcopy=False, states=FINISHED))
            sampled_by = note_sampler(kept, str(plan), len(working.get_trials(deepcopy=False)) < plan.trials)
        for finished in play_trials(working, scenarios, plan, report):
            if kept:
                kept.add_trial(finished)
    return working, sampled_by


def play_trials(study: optuna.Study, scenarios: Scenarios, plan: Plan, report: Report | None) -> Iterator[FrozenTrial]:
    """Finish trials until the study holds as many as planned."""
    draws, known = Draws(scenarios.space, plan.sampler, plan.seed), dict[str, FrozenTrial]()
    tally = Tally(scenarios.space.objectives.values(), plan.trials)

    def note(trial: FrozenTrial) -> None:
        draws.told(trial)
        scenarios.remember(trial.user_attrs)
        known[key(trial.user_attrs["point"])] = trial
        tally.add(trial)

    for trial in study.get_trials(deepcopy=False):
        note(trial)
    ahead = draws.planned(tally.finished, known)
    for number in range(tally.finished, plan.trials):
        if ahead is not None:
            parameters = next(ahead, None)
            if parameters is None:
                return
            study.enqueue_trial(parameters)
        study.sampler = draws.sampler(number)
        finished = _finish(study, scenarios, draws, known)
        note(finished)
        yield finished
        if report:
            report(tally.progress)


def _finish(study: optuna.Study, scenarios: Scenarios, draws: Draws, known: Mapping[str, FrozenTrial]) -> FrozenTrial:
    trial = study.ask(draws.distributions)
    point = draws.point(trial.params)
    before = known.get(key(point))  # a sampler may ask for the same scenario again
    outcome = Outcome(before.values, before.user_attrs, before.constraints) if before else scenarios.outcome(point)
    for name, fact in outcome.facts.items():
        trial.set_user_attr(name, fact)
    for rule, excess in outcome.constraints.items():
        trial.set_constraint(rule, excess)
    return study.tell(trial, outcome.values, TrialState.COMPLETE if outcome.values else TrialState.PRUNED)
