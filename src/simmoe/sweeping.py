"""`simmoe.sweep`: search a space of scenarios with Optuna, and which of them nothing beats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simmoe.sweeps.search import Report, Sweep, search

__all__ = ["Report", "Sweep", "sweep"]


def sweep(
    space: str | Path | Mapping[str, Any],
    study: str | Path | None = None,
    trials: int | None = None,
    *,
    sampler: str = "nsga2",
    seed: int = 0,
    report: Report | None = None,
) -> Sweep:
    """Play scenarios of `space` until the study holds `trials` finished ones.

    space: a bundled name, the path of a YAML file, or the content of one as a mapping (docs/sweeps.md).
    study: a journal file that keeps every finished trial; a sweep that was killed goes on from it. None: in memory only.
    trials: how many in all, those in the journal included; default 100, or the whole space for the grid.
    sampler: "nsga2", "tpe", "random" or "grid". seed: the same one gives the same trials. report: called after each trial with
    (finished, wanted, of these cannot run).
    A scenario that cannot run is a finished trial with its reason in `user_attrs["why_not"]`. Raises UserError with one line.
    """
    return search(space, study, trials, sampler=sampler, seed=seed, report=report)
