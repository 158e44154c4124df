"""What `simmoe validate` prints, as a table, as JSON and as docs/validation.md. Nothing in it depends on where or when it ran."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.sweeps.validation.absolute import report as absolute
from simmoe.sweeps.validation.bars import Line
from simmoe.sweeps.validation.runner import GOAL, Outcome, kind_of, overall

HEAD = Path(__file__).parent / "head.md"
COLUMNS = ("case", "fitted", "predicted", "mean error", "worst", "bar", "reached")
GROUPS = {
    "runs": "times and speeds of whole runs",
    "kernels": "times of single kernels",
    "counts": "counts",
    "own": "our own runtime",
}
MOST_ROWS = 26  # a longer case shows its worst rows
WORST_ROWS = 6


def percent(error: float) -> str:
    """With its sign, but no minus for what rounds to nothing."""
    return f"{error:+.1%}".replace("-0.0%", "+0.0%")


def summary(outcome: Outcome) -> list[str]:
    """One row of the table: see COLUMNS."""
    case = outcome.case
    if outcome.why_not:
        return [case.name, "", "", "", "", "", outcome.why_not]
    rows = sum(line.fitted for line in outcome.lines)
    constants = len(outcome.constants)
    fitted = f"{constants} constant{'s' * (constants != 1)} on {rows} row{'s' * (rows != 1)}" if rows else "nothing"
    bars = "; ".join(verdict.bar for verdict in outcome.verdicts)
    worst = outcome.worst
    return [case.name, fitted, str(len(outcome.judged)), f"{outcome.mean:.1%}", f"{percent(worst.error)} ({worst.row.id})", bars,
            "yes" if outcome.reached else "no"]  # fmt: skip


def totals(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The overall error and the number of bars that are reached."""
    for group in ("runs", "kernels"):
        found = overall(outcomes, group)
        if found is None:
            continue
        cases, rows, by_row, by_case = found
        aim = f"; the project's goal is {GOAL:.0%}" if group == "runs" else ""
        yield (f"{GROUPS[group].capitalize()}: {rows} predictions in {cases} cases, none of them fitted: mean |error| {by_row:.1%} "
               f"over rows, {by_case:.1%} over cases{aim}.")  # fmt: skip
    played = [one for one in outcomes if not one.why_not]
    yield f"{sum(bool(one.reached) for one in played)} of {len(played)} cases reach their bar; {len(outcomes) - len(played)} not played."


def show_outcomes(outcomes: Sequence[Outcome], rows: bool, out: Screen) -> None:
    """rows: every row of every case too."""
    out.print(": published measurements against the simulator; nothing fitted is predicted.", lead="Validation")
    summaries = [[one.case.name, f"not played: {one.why_not}"] if one.why_not else summary(one) for one in outcomes]
    out.table(_table(COLUMNS, summaries))
    for line in totals(outcomes):
        out.print(line)
    for one in outcomes:
        if rows and not one.why_not:
            out.print()
            out.print(lead=one.case.title)
            out.print(_constants(one))
            out.table(_table(_headings(one), [_cells(line, one) for line in one.lines]))
        if not one.why_not and (rows or not one.reached):
            for text in (*_verdicts(one), *_reason(one)):
                out.print(f"{one.case.name}: {text}")
    if not rows:
        out.print("simmoe validate CASE shows every row of a case.")


LEAVE = {"fitted": 3, "bar": 2, "worst": 1, "note": 1}  # the last first, where a terminal is narrow
TEXTS = {"case", "fitted", "bar", "reached", "row", "worst", "note"}


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    return Grid(
        tuple(Column(name, LEAVE.get(name, 0), text=name in TEXTS) for name in headings), tuple(map(tuple, rows))
    )


def _constants(outcome: Outcome) -> str:
    return f"Fitted: {outcome.case.fitted}" + "".join(f"; {name} {value:.4g}" for name, value in outcome.constants)


def _verdicts(outcome: Outcome) -> list[str]:
    return [
        f"{verdict.bar}: {'reached' if verdict.reached else 'missed'}, {verdict.result}" for verdict in outcome.verdicts
    ]


def _reason(outcome: Outcome) -> list[str]:
    if outcome.reached:
        return [f"remark: {outcome.case.misses}"] if outcome.case.misses else []
    return [f"why: {outcome.case.misses or 'not explained yet'}"]


def _headings(outcome: Outcome) -> list[str]:
    beside = [str(kind_of(outcome.case).BESIDE)] if any(line.beside is not None for line in outcome.lines) else []
    return ["row", f"measured, {outcome.case.unit}", "predicted", "error", *beside, "note"]


def _cells(line: Line, outcome: Outcome) -> list[str]:
    beside = (
        []
        if all(one.beside is None for one in outcome.lines)
        else ["–" if line.beside is None else f"{line.beside:.4g}"]
    )
    notes = ["fitted"] * line.fitted + [f"not judged: {line.row.doubt}"] * bool(line.row.doubt)
    notes += [str(note)] if (note := line.row.facts.get("note")) else []
    return [
        line.row.id,
        f"{line.row.measured:.5g}",
        f"{line.predicted:.5g}",
        percent(line.error),
        *beside,
        "; ".join(notes),
    ]


# --- docs/validation.md ---------------------------------------------------------------------------------------------


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The whole page: the hand-written head, the summary, the table of absolute speed, then a section for each case."""
    parts = [HEAD.read_text("utf-8").strip(), "## Summary", _grid(COLUMNS, [summary(one) for one in outcomes]),
             *map(_wrapped, totals(outcomes))]  # fmt: skip
    return "\n\n".join([*parts, absolute.section(*absolute.played()), *(section(one) for one in outcomes)]) + "\n"


def section(outcome: Outcome) -> str:
    """One case."""
    case = outcome.case
    parts = [
        f"## {case.name}",
        f"**{case.title}**",
        _wrapped(f"Source: {case.source}."),
        _wrapped(case.setup.rstrip(".") + "."),
    ]
    if outcome.why_not:
        return "\n\n".join([*parts, f"Not played: {outcome.why_not}."])
    lines, note = outcome.lines, ""
    if len(lines) > MOST_ROWS:
        lines = tuple(sorted(outcome.judged, key=lambda line: (-abs(line.error), line.row.id))[:WORST_ROWS])
        note = (
            f"The {WORST_ROWS} worst of {len(outcome.judged)} predicted rows; `simmoe validate {case.name}` shows all:"
        )
    verdicts = "\n".join(f"- {text}" for text in (*_verdicts(outcome), *_reason(outcome)))
    grid = _grid(_headings(outcome), [_cells(line, outcome) for line in lines])
    return "\n\n".join(part for part in (*parts, _wrapped(_constants(outcome) + "."), verdicts, note, grid) if part)


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    every = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in every)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


# --- JSON -----------------------------------------------------------------------------------------------------------


def to_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    cases = [
        {
            "case": one.case.name, "title": one.case.title, "group": one.case.group, "unit": one.case.unit, "source": one.case.source,
            "why_not": one.why_not, "fitted": dict(one.constants), "reached": one.reached,
            "bars": [{"bar": v.bar, "result": v.result, "reached": v.reached} for v in one.verdicts],
            "rows": [
                {"id": line.row.id, "measured": line.row.measured, "predicted": line.predicted, "error": line.error, "fitted": line.fitted,
                 "judged": line.judged, "beside": line.beside}
                for line in one.lines
            ],
        }
        for one in outcomes
    ]  # fmt: skip
    errors = {}
    for group in ("runs", "kernels"):
        if found := overall(outcomes, group):
            errors[group] = dict(zip(("cases", "rows", "mean_error_over_rows", "mean_error_over_cases"), found))
    return {"schema": 1, "kind": "validation", "goal": GOAL, "overall": errors, "cases": cases}
