"""What a file holds that `simmoe report` is given, and the page of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from simmoe.play.again import again, command
from simmoe.play.calling import load_scenario
from simmoe.play.held import held
from simmoe.play.result import Run
from simmoe.plots import comparison, curve, locality, run, serve_curve
from simmoe.plots import held as plots_of_held
from simmoe.plots import study as plots_of_study
from simmoe.plots.figure import Figure
from simmoe.plots.page import Page
from simmoe.plots.trials import played
from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import read_json
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps.database import MAGIC
from simmoe.sweeps.journal import START
from simmoe.sweeps.opening import opened
from simmoe.sweeps.reports.importances import importances
from simmoe.sweeps.reports.study import data_of

TAKES = "a study of `simmoe sweep --study`, or the --json of run, compare, sweep, curve, serve-curve or locality"
RETURNS = "what simmoe.run, ladder, compare, curve, serve_curve or sweep returned, or of a file"
NOT_SHOWN = "Which experts are resident is not shown: {}."
Json = Mapping[str, Any]


def _of_sweep(data: Json) -> Page:
    found = data.get("importances") or importances(played(data), data["objectives"])
    return plots_of_study.page({**data, "importances": found})


KINDS: tuple[tuple[frozenset[str], Callable[[Json], Page]], ...] = (  # keys that only this kind has together
    (frozenset({"rungs", "bounds"}), run.ladder_page),
    (frozenset({"curves", "rows"}), curve.page),
    (frozenset({"curves", "targets"}), serve_curve.page),
    (frozenset({"trials", "front", "space"}), _of_sweep),
    (frozenset({"rows", "money"}), comparison.page),
)
OF_RUN = {"scenario", "tok_s", "decode_time_ps"}


def page_of(source: str, name: str | None = None, scenario: str | None = None) -> Page:
    """The page of a study (a journal or the address of a database, `name` where that has several) or of a file of JSON.

    scenario: of a run, the file of `simmoe run --save` that it was made with. Raises UserError.
    """
    if name is not None and "://" not in source:
        raise UserError(f"--name {name} is of a study in a database, and {source} is a file; leave it out")
    if "://" not in source and not _is_study(Path(source)):
        return _of_json(Path(source), scenario)
    if scenario is not None:
        raise UserError(f"--scenario {scenario} is of one run, and {source} is a study; leave it out")
    return plots_of_study.page(data_of(opened(source) if name is None else opened(name, source)))


def _is_study(path: Path) -> bool:
    if not path.is_file():
        raise UserError(f"no file {str(path)!r}; name {TAKES}")
    with path.open("rb") as stream:
        start = stream.read(16)
    if not start:
        raise UserError(f"{path} is empty; name {TAKES}")
    if start.startswith(MAGIC):
        raise UserError(f"{path} is a database; name it by its address: sqlite:///{path}")
    return start.startswith(START)


def page_of_result(result: Any) -> Page:
    """The page of what run, ladder, compare, curve, serve_curve or sweep returned. Raises UserError for anything else."""
    if isinstance(result, Run):  # at hand: what it held needs no second run
        return _with_held(result, result.to_json())
    data: Json = result.to_json() if hasattr(result, "to_json") else {}
    if (made := _maker(data)) is None:
        raise UserError(f"a report is of {RETURNS}, not of {type(result).__name__}")
    return made(data)


def _with_held(played: Run, data: Json) -> Page:
    """Of a run that is at hand, with which experts were resident."""
    figures, notes, said = list[Figure](), list[str](), ""
    try:
        figures = plots_of_held.figures(held(played).to_json())
    except UserError as error:
        notes = [NOT_SHOWN.format(error)]
    with suppress(UserError):  # a command says bundled inputs only
        said = command(data)
    return run.page(data, figures, notes, said)


def _maker(data: Json) -> Callable[[Json], Page] | None:
    return next((made for keys, made in KINDS if data.keys() >= keys), None)


def _of_json(path: Path, scenario: str | None) -> Page:
    data = read_json(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no result; name {TAKES}")
    made = _maker(data)
    if (made or "versions" in data) and data.get("schema", RESULT_SCHEMA) != RESULT_SCHEMA:  # a plan counts its own
        raise UserError(
            f"{path} is of another version of simmoe: its schema is {data['schema']!r}, and this release reads {RESULT_SCHEMA}"
        )
    try:
        if data.keys() >= OF_RUN:
            return _of_run(data, scenario)
        if scenario is not None:
            raise UserError(f"--scenario {scenario} is of one run, and {path} is none; leave it out")
        if isinstance(data.get("traces"), list):
            return locality.page([(one["name"], one) for one in data["traces"]])
        if made is not None:
            return made(data)
    except (KeyError, TypeError, IndexError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{path} is not as simmoe wrote it: {type(error).__name__}: {error}; make it again") from None
    raise UserError(f"{path} holds no result that can be drawn; name {TAKES}")


def _of_run(data: Json, scenario: str | None) -> Page:
    """With what the result does not say, if the run can be played again."""
    try:
        same = again(data, None if scenario is None else load_scenario(scenario))
        figures = plots_of_held.figures(held(same).to_json())
    except UserError as error:
        if scenario is not None:
            raise
        return run.page(data, (), [NOT_SHOWN.format(error)])
    said = command(data) if scenario is None else shlex.join(["simmoe", "run", scenario])
    return run.page(data, figures, command=said)
