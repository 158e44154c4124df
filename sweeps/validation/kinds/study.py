"""Runs of a real offload runtime on one machine, predicted when they were made: rows of JSON files beside the case.

A file is what `python -m simmoe.sweeps.validation.offload_study` writes:
{rows: [{policy, budget, measured_s, predicted_s, steal, foreign, errors:
{model: relative error}, pooled_s}]}. Nothing is computed here. Beside it: a simpler model of setting.beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.simulator.reading import read_json
from simmoe.sweeps.validation.case import Case, Row, number

BESIDE = "simplest predictor"


def why_not(case: Case) -> str:
    return "" if any(case.folder.glob(case.setting["files"])) else "not measured yet"


def rows(case: Case) -> list[Row]:
    found = []
    for path in sorted(case.folder.glob(case.setting["files"])):
        data = read_json(path)
        listed = data.get("rows") if isinstance(data, dict) else None
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise UserError(f"case {case.name}: {path.name} must hold a list of rows under 'rows'")
        found += [_row(one, path.stem, case.name) for one in listed]
    return found


def _row(data: dict[str, Any], stem: str, name: str) -> Row:
    for key in ("policy", "budget"):
        if key not in data:
            raise UserError(f"case {name}: a row of {stem} has no {key!r}")
    notes = [f"{key} {data[key]:.1%}" for key in ("steal", "foreign") if isinstance(data.get(key), int | float)]
    identity = f"{data['policy']} {data['budget']:.1%}"
    number(data, "predicted_s", identity)
    return Row(identity, number(data, "measured_s", identity), {**data, "note": ", ".join(notes)})


def predict(case: Case, constants: dict[str, float], rows: Sequence[Row]) -> list[float]:
    return [float(row.facts["predicted_s"]) for row in rows]


def beside(case: Case, rows: Sequence[Row]) -> list[float | None]:
    name = case.setting.get("beside")
    return [row.measured * (1 + row.facts["errors"][name]) for row in rows]
