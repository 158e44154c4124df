"""What a stored study says of the sweep that it belongs to, and its copy in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import Any, NamedTuple

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from simmoe.simulator.errors import UserError
from simmoe.sweeps.space import Space

DIGEST, FORMAT, SAMPLED, SPACE, PLAN = (
    "space_digest",
    "simmoe_journal",
    "sampled_by",
    "space",
    "plan",
)  # attributes of the study
JOURNAL = 2  # FORMAT: 1, which 0.1.0 wrote without saying so, holds numbers that are others now
FACTS = "facts"  # the attribute of a trial that holds all facts, where each attribute costs a transaction
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # pruned = it cannot run


class Place(NamedTuple):
    """A study, as messages name it."""

    where: str
    otherwise: str  # what to do where it is not the right one


class Plan(NamedTuple):
    """What a study is to become: the same for every process that plays it."""

    sampler: str
    seed: int
    trials: int  # finished ones, in all

    def __str__(self) -> str:
        return f"{self.sampler}, seed {self.seed}"


def study_of(storage: BaseStorage, name: str, space: Space, digest: str, content: str, place: Place) -> optuna.Study:
    """The study `name` of a space, made where there is none. Raises UserError where it belongs to another.

    content: the space as JSON, for those that join the study without its file.
    """
    directions = list(space.objectives.values())
    held = {one.study_name: one.user_attrs for one in storage.get_all_studies()}
    said = held.get(name, {})
    if DIGEST in said:
        _check_digest(said, digest, name, place)
    if name not in held:
        study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    else:
        study = optuna.load_study(study_name=name, storage=storage)
    if _strange(study, space, directions) or (DIGEST not in said and study.trials):
        raise UserError(f"{place.where} holds a study {name!r} that simmoe did not make; {place.otherwise}")
    if DIGEST not in said:
        study.set_metric_names(list(space.objectives))
        study.set_user_attr(SPACE, content)
        study.set_user_attr(FORMAT, JOURNAL)
        study.set_user_attr(DIGEST, digest)  # last: what has it has all of them
    return study


def check_format(said: Mapping[str, Any], name: str, place: Place) -> None:
    """Raises UserError for a study of another program or of another version."""
    if DIGEST not in said:
        raise UserError(f"{place.where} holds a study {name!r} that simmoe did not make; {place.otherwise}")
    if said.get(FORMAT) != JOURNAL:
        why = "is of another version of simmoe, whose numbers are not those of this one"
        raise UserError(f"{place.where} {why}; {place.otherwise}")


def _check_digest(said: Mapping[str, Any], digest: str, name: str, place: Place) -> None:
    check_format(said, name, place)
    if said[DIGEST] != digest:
        raise UserError(
            f"{place.where} holds the study {name!r} of another space or of other inputs; {place.otherwise}"
        )


def _strange(study: optuna.Study, space: Space, directions: list[Any]) -> bool:
    points = (facts(trial).get("point") for trial in study.get_trials(deepcopy=False, states=FINISHED))
    strange = any(not isinstance(point, dict) or point.keys() != space.axes.keys() for point in points)
    return strange or [direction.name.lower() for direction in study.directions] != directions


def note_sampler(study: optuna.Study, sampler: str, plays: bool) -> list[str]:
    """Which samplers the study's trials are of, this one too if it `plays` any."""
    said = list(study.user_attrs.get(SAMPLED, []))
    if plays and sampler not in said:
        said.append(sampler)
        study.set_user_attr(SAMPLED, said)
    return said


def facts(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial keeps beside its values, however it is stored."""
    found: dict[str, Any] = trial.user_attrs.get(FACTS, trial.user_attrs)
    return found


def with_facts(trials: Iterable[FrozenTrial]) -> Iterator[FrozenTrial]:
    """The trials with an attribute for each fact."""
    for trial in trials:
        found = copy(trial)
        found.user_attrs = facts(trial)
        yield found


def in_memory(study: optuna.Study) -> optuna.Study:
    """A copy of a stored study: the same name, attributes and trials, an attribute for each fact."""
    found = optuna.create_study(study_name=study.study_name, directions=study.directions)
    if study.metric_names is not None:
        found.set_metric_names(study.metric_names)
    for name, value in study.user_attrs.items():
        found.set_user_attr(name, value)
    found.add_trials(with_facts(study.get_trials(deepcopy=False)))
    return found
