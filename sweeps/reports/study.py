"""A study as plain data, as `simmoe sweep --json` prints it; no input of its space is opened, but for bounds that are played."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from simmoe.play.result import versions
from simmoe.plots.trials import feasible, played
from simmoe.simulator.errors import UserError
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps.front import front
from simmoe.sweeps.reports.beside import bounds
from simmoe.sweeps.reports.importances import importances
from simmoe.sweeps.space import Direction

STATES = {TrialState.COMPLETE: "played", TrialState.PRUNED: "cannot run"}


def data_of(study: optuna.Study) -> dict[str, Any]:
    """What the page of a study is made of. Raises UserError for a study that no sweep made."""
    trials = study.get_trials(deepcopy=False, states=tuple(STATES))
    names, directions = study.metric_names or [], [_direction(one.name) for one in study.directions]
    if not all(
        {"point", "command"} <= one.user_attrs.keys() and "hw" in one.user_attrs["point"] for one in trials
    ) or len(names) != len(directions):
        raise UserError(
            f"the study {study.study_name!r} is not one of `simmoe sweep`: its trials hold no command and no scenario"
        )
    if not trials:
        raise UserError(f"no trial of the study {study.study_name!r} has finished: let `simmoe sweep` play some first")
    best = front(trials, directions)
    machines = dict.fromkeys(one.user_attrs["point"]["hw"] for one in trials)
    on = {hw: front([one for one in trials if one.user_attrs["point"]["hw"] == hw], directions) for hw in machines}
    data: dict[str, Any] = {
        "schema": RESULT_SCHEMA, "kind": "simulated", "versions": {**versions(), "optuna": optuna.__version__},
        "space": {"name": study.study_name, "digest": study.user_attrs.get("space_digest", "–")},
        "objectives": dict(zip(names, directions)), "sampled_by": list(study.user_attrs.get("sampled_by", [])),
        "trials": [{"number": t.number, "state": STATES[t.state], **t.user_attrs} for t in trials],
        "front": [t.number for t in best], "front_by_hw": {hw: [t.number for t in found] for hw, found in on.items()},
        "equal": _equal(trials, {t.number: t for found in (best, *on.values()) for t in found}),
    }  # fmt: skip
    beside, left = bounds(data)
    notes = [f"{left:,} bounds beside these trials are not played: they would take minutes."] * bool(left)
    return {**data, "importances": importances(played(data), data["objectives"]), "bounds": beside, "notes": notes}


def _direction(name: str) -> Direction:
    return "maximize" if name == "MAXIMIZE" else "minimize"


def _equal(trials: list[FrozenTrial], shown: dict[int, FrozenTrial]) -> dict[str, list[int]]:
    """Number of a trial -> others with its values, each scenario once."""
    same = dict[tuple[float, ...], dict[str, int]]()
    for one in trials:
        if one.state == TrialState.COMPLETE and feasible(one.user_attrs):
            same.setdefault(tuple(one.values), {}).setdefault(repr(sorted(one.user_attrs["point"].items())), one.number)
    return {
        str(n): [other for other in same[tuple(one.values)].values() if other != n] for n, one in sorted(shown.items())
    }
