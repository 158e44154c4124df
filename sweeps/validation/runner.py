"""Plays cases: constants from the fitted rows, predictions for the others, verdicts against the bar.

`fit` of a kind sees the fitted rows only, and a row that is both fitted and predicted is refused: nothing fitted is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

from simmoe.simulator import files
from simmoe.simulator.errors import UserError
from simmoe.sweeps.validation import kinds
from simmoe.sweeps.validation.bars import Line, Verdict, errors, judge
from simmoe.sweeps.validation.case import Case, Row

GOAL = 0.10  # of the project: mean |error| of predicted times


@dataclass(frozen=True)
class Outcome:
    """A case that was played; `why_not` says why when it could not be."""

    case: Case
    why_not: str = ""
    constants: tuple[tuple[str, float], ...] = ()  # degrees of freedom: one each
    lines: tuple[Line, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def judged(self) -> list[Line]:
        return [line for line in self.lines if line.judged]

    @property
    def mean(self) -> float:
        return fmean(errors(self.lines))

    @property
    def worst(self) -> Line:
        return max(self.judged, key=lambda line: abs(line.error))

    @property
    def reached(self) -> bool | None:
        return None if self.why_not else all(verdict.reached for verdict in self.verdicts)


def kind_names() -> list[str]:
    return files.available(Path(kinds.__file__).parent, ".py")


def kind_of(case: Case) -> ModuleType:
    if case.kind not in kind_names():
        raise UserError(
            f"case {case.name}: unknown kind {case.kind!r}; known: {', '.join(kind_names())}; add sweeps/validation/kinds/NAME.py"
        )
    return import_module(f"{kinds.__name__}.{case.kind}")


def play(case: Case) -> Outcome:
    """Fit, predict, judge. Raises UserError for a case that says something impossible."""
    try:
        return _played(case)
    except UserError:
        raise
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
    ) as error:  # of the file, since each kind reads its own keys
        why = f"{type(error).__name__}: {error}"
        raise UserError(
            f"case {case.name}: what the kind {case.kind} reads is missing or of another type ({why}); compare it with a bundled case"
        ) from None


def _played(case: Case) -> Outcome:
    kind = kind_of(case)
    why_not = kind.why_not(case) if hasattr(kind, "why_not") else ""
    if why_not:
        return Outcome(case, why_not)
    rows = tuple(kind.rows(case)) if hasattr(kind, "rows") else case.rows
    fitted, predicted = split(case, rows)
    constants: dict[str, float] = kind.fit(case, fitted) if fitted else {}
    if len(constants) > len(fitted):
        raise UserError(
            f"case {case.name} fits {len(constants)} constants on {len(fitted)} rows; fit fewer, or on more rows"
        )
    shown = [row for row in rows if row in fitted or row in predicted]
    values = kind.predict(case, constants, shown)
    beside = kind.beside(case, shown) if hasattr(kind, "beside") else [None] * len(shown)
    mine = {row.id for row in fitted}
    lines = tuple(
        Line(row, float(value), row.id in mine, other) for row, value, other in zip(shown, values, beside, strict=True)
    )
    return Outcome(case, "", tuple(constants.items()), lines, tuple(judge(case.name, case.bar, lines)))


def split(case: Case, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows to fit on and those to predict. Nothing fitted is predicted."""
    ids = [row.id for row in rows]
    if twice := {one for one in ids if ids.count(one) > 1}:
        raise UserError(f"case {case.name}: row id {sorted(twice)[0]!r} appears more than once")
    fit = _fit_ids(case, ids)
    predict = [one for one in ids if one not in fit] if case.predict is None else list(case.predict)
    for one in (*fit, *predict):
        if one not in ids:
            raise UserError(f"case {case.name}: there is no row {one!r} to fit or predict; rows: {', '.join(ids)}")
    if both := [one for one in fit if one in predict]:
        raise UserError(f"case {case.name}: row {both[0]!r} is both fitted and predicted; a fitted row proves nothing")
    if not any(not row.doubt for row in rows if row.id in predict):
        raise UserError(f"case {case.name} predicts nothing: every row is fitted or in doubt")
    return [row for row in rows if row.id in fit], [row for row in rows if row.id in predict]


def _fit_ids(case: Case, ids: Sequence[str]) -> list[str]:
    fit: Any = case.fit
    if isinstance(fit, dict) and len(fit) == 1:
        ((rule, count),) = fit.items()
        if rule == "every" and isinstance(count, int) and count > 1:
            return list(ids[::count])
        if rule == "first" and isinstance(count, int) and count > 0:
            return list(ids[:count])
    if isinstance(fit, list | tuple):
        return [str(one) for one in fit]
    raise UserError(f"case {case.name}: fit is {fit!r}; write a list of row ids, {{every: 2}} or {{first: 64}}")


def overall(outcomes: Sequence[Outcome], group: str) -> tuple[int, int, float, float] | None:
    """Of a group: cases, predicted rows, mean |error| over rows, and over cases."""
    mine = [one for one in outcomes if not one.why_not and one.case.group == group]
    every = [error for one in mine for error in errors(one.lines)]
    return (len(mine), len(every), fmean(every), fmean(one.mean for one in mine)) if every else None
