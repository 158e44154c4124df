"""The engine with fitted constants, as a runtime file for later runs."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from simmoe.explain.fitted import LINK, Fit
from simmoe.policies import runtime as runtimes
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic
from simmoe.simulator.reading import read_yaml
from simmoe.simulator.units import text
from simmoe.simulator.version import VERSION

EITHER_WAY = 0.1  # of a fitted constant, where the true value may lie: runs of one machine spread so much


def runtime_file(runtime: str, fits: Sequence[Fit], bench: str, machine: str, out: Path) -> dict[str, Any]:
    """The content of `runtime`'s file with what was fitted. Raises UserError where nothing was."""
    data = read_yaml(runtimes.find(runtime))
    done = [fit for fit in fits if fit.factor is not None and fit.possible and LINK not in fit.paths]
    if not done:
        raise UserError(
            f"--out {out}: no constant of the engine could be fitted to these rows, so there is nothing to write"
        )
    for fit in done:
        for path in fit.paths:
            section, _, name = path.partition(".")
            data[section][name] = _node(data[section][name], path, fit, bench, machine)
    named = {"name": out.stem.replace("-", "_"), "title": f"{data['title']}, fitted on {machine}"}
    return {**data, **named}


def _node(node: dict[str, Any], path: str, fit: Fit, bench: str, machine: str) -> dict[str, Any]:
    section, _, name = path.partition(".")
    shape = runtimes.SECTIONS[section]
    dimension = shape.get(name) or shape[f"{name}?"]
    value = runtimes.constant(node, dimension, path).value * (fit.factor or 1.0)
    today = datetime.date.today().isoformat()
    source = f"{fit.rows} rows of {Path(bench).name} on {machine}, {fit.kind}, by simmoe explain {VERSION} on {today}; was {node['value']}"
    ends = (value, value * (1 - EITHER_WAY), value * (1 + EITHER_WAY))
    shown = [_shown(end, dimension) for end in ends]
    return {"value": shown[0], "range": shown[1:], "kind": "fitted", "source": source}


def _shown(value: float, dimension: str) -> float | str:
    if dimension == "time":
        return text(round(value * 1e12), "time")
    if dimension == "bandwidth":
        return text(round(value / 1000) * 1000, "bandwidth")
    return float(f"{value:.6g}")


def write(data: dict[str, Any], out: Path) -> None:
    with atomic(out) as file:
        yaml.safe_dump(data, file, sort_keys=False, allow_unicode=True, width=140)
