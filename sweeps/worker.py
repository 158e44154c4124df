"""Who plays a study in a database: the sweep that makes it, and workers that join it from any machine."""

from __future__ import annotations

import json
from typing import NamedTuple

import optuna

from simmoe.simulator.errors import UserError
from simmoe.sweeps.database import HEARTBEAT_S, Database, reached
from simmoe.sweeps.opening import located, stored
from simmoe.sweeps.quiet import quiet
from simmoe.sweeps.scenarios import Scenarios
from simmoe.sweeps.shared import Player
from simmoe.sweeps.space import load
from simmoe.sweeps.study import (
    DIGEST,
    FINISHED,
    PLAN,
    SPACE,
    Plan,
    check_format,
    in_memory,
    note_sampler,
    study_of,
)
from simmoe.sweeps.tally import Report


class Worked(NamedTuple):
    """What a worker has done."""

    study: str
    played: int  # trials, by this process
    finished: int  # trials of the study, in all


def play_shared(
    at: Database, scenarios: Scenarios, plan: Plan, content: str, heartbeat_s: int, report: Report | None
) -> tuple[optuna.Study, list[str]]:
    """A copy of the study when it holds as many trials as planned, and what they were sampled by. `content`: the space as JSON."""
    _check_heartbeat(heartbeat_s)
    space = scenarios.space
    with reached(at):
        with at.alone("all studies"):  # two that start at once make the tables once, and the study
            storage = at.storage(heartbeat_s)
            study = study_of(storage, at.name or space.name, space, scenarios.digest, content, at.place)
            finished = len(study.get_trials(deepcopy=False, states=FINISHED))
            sampled_by = note_sampler(study, str(plan), finished < plan.trials)
            study.set_user_attr(PLAN, plan._asdict())
        Player(study, at, scenarios, plan, heartbeat_s).play(report)
        return in_memory(study), sampled_by


def worker(
    storage: str, study: str | None = None, *, report: Report | None = None, heartbeat_s: int = HEARTBEAT_S
) -> Worked:
    """Play trials of a study that `simmoe.sweep` has made in the database `storage`, until it holds as many as planned.

    study: its name; None: the only one there. The space is kept in the study; the policy and metric files that it names are executed.
    Raises UserError where what the space names is not the same on this machine.
    """
    _check_heartbeat(heartbeat_s)
    at = located(study, storage)
    assert isinstance(at, Database)
    with quiet(), reached(at):
        kept = stored(at, heartbeat_s)
        held = kept.user_attrs
        check_format(held, kept.study_name, at.place)
        if PLAN not in held:
            raise UserError(f"the study {kept.study_name!r} has just been made; start the worker again")
        plan = Plan(**held[PLAN])
        scenarios = Scenarios(load(json.loads(held[SPACE])), plan.trials)
        if scenarios.digest != held[DIGEST]:
            raise UserError(
                f"the study {kept.study_name!r} is of other inputs than those on this machine: use the same version of simmoe, "
                "and the same files where its space names any"
            )
        player = Player(kept, at, scenarios, plan, heartbeat_s)
        player.play(report)
    return Worked(kept.study_name, player.played, player.tally.finished)


def _check_heartbeat(seconds: int) -> None:
    if not 1 <= seconds <= 3600:
        raise UserError(f"--heartbeat {seconds} is out of range; give 1 to 3600 seconds")
