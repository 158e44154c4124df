"""By which number the rows of a comparison are put in order along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simmoe.play.passes import clock_driven
from simmoe.play.requests import columns
from simmoe.simulator.errors import UserError
from simmoe.sweeps.over import Axis
from simmoe.sweeps.player import Asked
from simmoe.sweeps.row import Row

TOK_S, GOODPUT, E2E = "tok_s", "goodput_per_s", "request_e2e_p99_ms"
OF_REQUESTS = ("rate", "ttft", "tpot")  # axes that are nothing where none arrive


class Value(NamedTuple):
    """At the figures of a machine, and least and greatest at the ends of their ranges."""

    here: float
    low: float
    high: float


@dataclass(frozen=True)
class Measure:
    """name: as results and sweeps have it."""

    name: str
    title: str
    leads: str  # what the row that is ahead does
    ahead: str  # what it is called
    less_is_better: bool = False
    close: float = 1.0  # values within this factor are equal

    def of(self, row: Row) -> Value | None:
        """None where nothing is decoded, or no request is served."""
        if row.run is None or row.run.tok_s is None or row.band is None:
            return None
        if self.name == TOK_S:
            return Value(row.run.tok_s, *row.band.hardware)
        found = columns(row.run.requests)[self.name]
        return None if found is None else Value(found, *(row.band.requests or {})[self.name])

    def equal(self, one: float, other: float) -> bool:
        return max(one, other) <= self.close * min(one, other)


MEASURES = {
    TOK_S: Measure(TOK_S, "tok/s", "is faster than", "fastest"),
    GOODPUT: Measure(
        GOODPUT, "goodput, requests/s that meet --ttft and --tpot", "serves more than", "serves most", close=1.01
    ),
    E2E: Measure(
        E2E, "a request from its arrival to its end, p99 in ms (less is better)", "is faster than", "fastest", True
    ),
}


def measure_of(axis: Axis, rows: Sequence[Asked]) -> Measure:
    """Of rows whose requests arrive the goodput, where all are asked for a time, else how long a request takes: tokens a second of the
    passes are more where a queue is longer. Of others tokens a second. Raises UserError for an axis of requests where none arrive."""
    arrive = [clock_driven(row.scenario.schedule) is not None for row in rows]
    for number in axis.rows:
        if axis.name in OF_REQUESTS and not arrive[number - 1]:
            raise UserError(
                f"--over {axis.name}: requests arrive under a clock-driven schedule, and row {number} has --schedule "
                f"{rows[number - 1].scenario.schedule}: name one, such as --schedule continuous"
            )
    if not all(arrive):
        return MEASURES[TOK_S]
    return MEASURES[GOODPUT if all(_has_targets(axis, number, row) for number, row in enumerate(rows, 1)) else E2E]


def _has_targets(axis: Axis, number: int, row: Asked) -> bool:
    said = row.scenario.ttft is not None or row.scenario.tpot is not None
    return said or (axis.name in ("ttft", "tpot") and number in axis.rows)
