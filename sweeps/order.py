"""Where the order of machines changes along an axis: every change between two values of its grid is bisected.

Two rows are told apart where the ranges of what they are measured by do not overlap; elsewhere it is not decided which of them is ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any, Generic, NamedTuple, TypeVar

from simmoe.simulator.errors import UserError
from simmoe.sweeps.measures import MEASURES, TOK_S, Measure
from simmoe.sweeps.over import Axis
from simmoe.sweeps.player import Asked, Player


class Point(NamedTuple):
    """A row at a value of the axis, by what it is measured. value is None where it does not run; why_not then says why."""

    value: float | None
    low: float = 0.0
    high: float = 0.0
    why_not: str = ""
    command: str | None = None


class State(NamedTuple):
    """Which row is ahead, and whether that is decided."""

    faster: int | None  # number of the row; None: none runs, or the first are equal
    decided: bool
    alone: bool  # no other one runs


T = TypeVar("T")


@dataclass(frozen=True)
class Stretch(Generic[T]):
    """Values from `begin` to `end` with one state."""

    begin: int
    end: int
    state: T


@dataclass(frozen=True)
class Change:
    """Up to `below` one row is faster, from `above` on another; the ranges of both overlap between the ends of `undecided`."""

    below: int
    above: int
    slower_then: int
    faster_then: int
    alone: bool  # one of both does not run on one side
    undecided: tuple[int, int] | None


class Order:
    """Rows along an axis, each value played once."""

    def __init__(self, axis: Axis, measure: Measure, rows: Sequence[Asked], player: Player) -> None:
        self.axis, self.measure, self.rows, self._player = axis, measure, rows, player
        self._played = dict[tuple[int, int | None], Point]()
        numbers = range(1, len(rows) + 1)
        for value in axis.values:  # all rows at a value: they may share decisions
            for number in numbers:
                self.point(number, value)
        self.pairs = {pair: self._stretches(pair) for pair in combinations(numbers, 2)}
        self.changes = {pair: changes(found) for pair, found in self.pairs.items()}
        self.fastest = self._stretches(tuple(numbers)) if len(rows) > 1 else []

    def point(self, number: int, value: int) -> Point:
        """A row that the axis does not change has one point."""
        at = value if number in self.axis.rows else None
        if (number, at) not in self._played:
            self._played[number, at] = self._play(self.rows[number - 1], at)
        return self._played[number, at]

    def _play(self, asked: Asked, value: int | None) -> Point:
        try:
            row = self._player.row(asked if value is None else self.axis.at(asked, value))
        except UserError as error:
            return Point(None, why_not=str(error))
        found = self.measure.of(row)
        if found is None:
            return Point(None, why_not=row.why_not or "no decode pass is played")
        return Point(*found, command=row.command)

    def _stretches(self, numbers: Sequence[int]) -> list[Stretch[State]]:
        return stretches(
            lambda value: state({n: self.point(n, value) for n in numbers}, self.measure),
            self.axis.values,
            self.axis.between,
        )

    def to_json(self) -> dict[str, Any]:
        axis, numbers = self.axis, range(1, len(self.rows) + 1)
        return {
            "axis": axis.name, "measure": self.measure.name, "changed_rows": list(axis.rows), "unit": axis.dimension,
            "slot_bytes": axis.slot_bytes or None,
            "values": list(axis.values), "words": [axis.word(value) for value in axis.values],
            "points": [[self.point(number, value)._asdict() for value in axis.values] for number in numbers],
            "pairs": [
                {"rows": list(pair), "stretches": list(map(_stretch, found)), "changes": list(map(self._change, self.changes[pair]))}
                for pair, found in self.pairs.items()
            ],
            "fastest": [_stretch(one) for one in self.fastest],
        }  # fmt: skip

    def _change(self, one: Change) -> dict[str, Any]:
        rows = one.slower_then, one.faster_then
        sides = {
            side: {"value": value, "word": self.axis.word(value), "points": [self.point(number, value)._asdict() for number in rows]}
            for side, value in (("below", one.below), ("above", one.above))
        }  # fmt: skip
        return {
            "faster_below": rows[0],
            "faster_above": rows[1],
            "alone": one.alone,
            "undecided": one.undecided,
            **sides,
        }


def _stretch(one: Stretch[State]) -> dict[str, Any]:
    return {"from": one.begin, "to": one.end, **one.state._asdict()}


def state(points: dict[int, Point], measure: Measure = MEASURES[TOK_S]) -> State:
    """Of rows by number, at one value."""
    found = {number: point.value for number, point in points.items() if point.value is not None}
    if not found:
        return State(None, False, False)
    first = (min if measure.less_is_better else max)(found, key=lambda number: found[number])
    others = [number for number in found if number != first]
    if any(measure.equal(found[number], found[first]) for number in others):
        return State(None, False, False)
    return State(first, all(_apart(points[first], points[number], measure) for number in others), not others)


def _apart(first: Point, other: Point, measure: Measure) -> bool:
    """Whether the first is ahead at all ends of both ranges."""
    return first.high < other.low if measure.less_is_better else other.high < first.low


def stretches(
    at: Callable[[int], T], values: Sequence[int], between: Callable[[int, int], int | None]
) -> list[Stretch[T]]:
    """Every change of state between two values, bisected."""
    found = [Stretch(values[0], values[0], at(values[0]))]
    for left, right in pairwise(values):
        while at(left) != at(right):
            low, high = left, right
            while (middle := between(low, high)) is not None:
                low, high = (middle, high) if at(middle) == at(left) else (low, middle)
            found[-1] = replace(found[-1], end=low)
            found.append(Stretch(high, high, at(high)))
            left = high
        found[-1] = replace(found[-1], end=right)
    return found


def changes(found: Sequence[Stretch[State]]) -> list[Change]:
    """Where another row is ahead than before."""
    ahead = [number for number, one in enumerate(found) if one.state.faster is not None]
    return [_changed(found, i, j) for i, j in pairwise(ahead) if found[i].state.faster != found[j].state.faster]


def _changed(found: Sequence[Stretch[State]], i: int, j: int) -> Change:
    one, other = found[i], found[j]
    first, last = j, j - 1  # of the stretches without a decision around the change
    while first > 0 and not found[first - 1].state.decided:
        first -= 1
    while last + 1 < len(found) and not found[last + 1].state.decided:
        last += 1
    undecided = (found[first].begin, found[last].end) if first <= last else None
    slower, faster = one.state.faster, other.state.faster
    assert slower is not None and faster is not None
    return Change(one.end, other.begin, slower, faster, one.state.alone or other.state.alone, undecided)
