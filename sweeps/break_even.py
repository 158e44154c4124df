"""A map of who wins: two ways of running a model, each played at every pair of two quantities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from simmoe.play import advice
from simmoe.play.calling import scenario_of
from simmoe.play.lanes import Lanes
from simmoe.play.result import versions
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS, Scenario, workload_options
from simmoe.play.tabular import Record, Tabular
from simmoe.play.traced import traced
from simmoe.play.what_if import Change, changed
from simmoe.play.workload import Workload
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps import commands, maps
from simmoe.sweeps.question import Options, Question, Stop

LETTERS = ("A", "B")
EQUAL = "="  # both are as fast
NONE = "–"  # neither can be played


@dataclass(frozen=True)
class Side:
    """One way at one pair of values. `tok_s` is None where it cannot be played."""

    command: str
    tok_s: float | None
    why_not: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"command": self.command, "tok_s": self.tok_s, "why_not": self.why_not or None}


@dataclass(frozen=True)
class Cell:
    """Both ways at one pair of values."""

    a: Side
    b: Side

    @property
    def winner(self) -> str:
        """A, B, = where both are as fast, – where none can be played."""
        a, b = self.a.tok_s or 0.0, self.b.tok_s or 0.0
        if not a and not b:
            return NONE
        return EQUAL if a == b else LETTERS[a < b]

    @property
    def factor(self) -> float | None:
        """By how much the faster one is faster; None where one of them cannot be played."""
        if not self.a.tok_s or not self.b.tok_s:
            return None
        ratio = self.a.tok_s / self.b.tok_s
        return max(ratio, 1 / ratio)


@dataclass(frozen=True, repr=False)
class Map(Tabular):
    """cells[y][x]."""

    brief = ("x", "y", "winner", "factor", "border", "tok_s_a", "tok_s_b")
    name: str
    question: Question
    cells: tuple[tuple[Cell, ...], ...]
    workload: Workload  # without what is varied
    engine: str

    def title(self) -> str:
        return f"{self.question.title}; x: {self.question.x_name}, y: {self.question.y_name}"

    def records(self) -> list[Record]:
        asked = self.question
        return [
            {
                "x": asked.x[x].text, "y": asked.y[y].text, "winner": cell.winner, "factor": cell.factor, "border": self.border(y, x),
                "tok_s_a": cell.a.tok_s, "tok_s_b": cell.b.tok_s, "command_a": cell.a.command, "command_b": cell.b.command,
            }
            for y, row in enumerate(self.cells) for x, cell in enumerate(row)
        ]  # fmt: skip

    def border(self, y: int, x: int) -> bool:
        """Whether the winner is another one in a cell beside, above or below."""
        beside = ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x))
        inside = (self.cells[j][i] for j, i in beside if 0 <= j < len(self.cells) and 0 <= i < len(self.cells[j]))
        return any(one.winner != self.cells[y][x].winner for one in inside)

    def to_json(self) -> dict[str, Any]:
        asked = self.question
        cells = [
            {
                "x": asked.x[x].text, "y": asked.y[y].text, "winner": cell.winner, "factor": cell.factor, "border": self.border(y, x),
                **{name: side.to_json() for name, side in zip(asked.names, (cell.a, cell.b), strict=True)},
            }
            for y, row in enumerate(self.cells) for x, cell in enumerate(row)
        ]  # fmt: skip
        return {
            "schema": RESULT_SCHEMA, "kind": "simulated", "versions": versions(), "map": self.name, "title": asked.title,
            "A": asked.names[0], "B": asked.names[1], "x": asked.x_name, "y": asked.y_name, "cells": cells,
        }  # fmt: skip


def break_even(name: str, options: Mapping[str, Any]) -> Map:
    """Play a map of sweeps/maps with the options of a run. Raises UserError for an option that the map varies, and where nothing can be
    played."""
    module, scenario = maps.load(name), scenario_of(options)
    opened = scenario if scenario.trace is None else replace(scenario, trace=traced(scenario.trace, scenario.model))
    player = _Player(scenario, opened.workload())
    if len(player.workload.hw.devices) > 1:
        raise UserError(
            f"--map {name} plays one device, and {player.workload.hw.name} has several: name a machine of one"
        )
    if not (player.workload.trace.phase == DECODE).any():
        raise UserError(
            f"--map {name} is about the speed of decoding, and no decode pass is played ({show.how_much(player.workload)}); "
            f"{advice.to_decode(player.workload)}"
        )
    asked: Question = module.question(scenario, player.workload)
    for taken in (one for one in asked.sets if getattr(scenario, one) != OPTIONS[one].default):
        raise UserError(f"{OPTIONS[taken].flag}: the map {name} varies it; leave it out")
    cells = tuple(tuple(player.cell(asked, x, y) for x in asked.x) for y in asked.y)
    if not player.engine:
        raise UserError(f"--map {name}: nothing can be played: {cells[0][0].a.why_not}")
    return Map(name, asked, cells, player.workload, player.engine)


class _Player:
    """Plays the sides; the text is opened or drawn once."""

    def __init__(self, scenario: Scenario, workload: Workload) -> None:
        self.scenario, self.workload, self.lanes = scenario, workload, Lanes()
        self.engine = ""  # of what could be played

    def cell(self, asked: Question, x: Stop, y: Stop) -> Cell:
        at = changed(changed(self.scenario, Change("", x.options)), Change("", y.options))
        a, b = (self._side(at, options) for options in asked.ways(x, y))
        return Cell(a, b)

    def _side(self, scenario: Scenario, options: Options) -> Side:
        said = commands.command(scenario)
        try:
            scenario = changed(scenario, Change("", options))
            said = commands.command(scenario)
            workload = self._workload(scenario)
            plan = scenario.plan(workload)
            said = commands.command(scenario, plan)
            run = play(workload, plan, workload.engine(scenario.engine, runs=100), lanes=self.lanes)
        except UserError as error:
            return Side(said, None, str(error))
        self.engine = run.engine
        return Side(said, run.tok_s)

    def _workload(self, scenario: Scenario) -> Workload:
        """On another machine the same text; a new one where an option is another that the text depends on."""
        same = all(
            getattr(scenario, one) == getattr(self.scenario, one)
            for one in workload_options()
            if one not in ("hw", "set")
        )
        return self.workload.on(scenario.machine()) if same else scenario.workload()


def show_map(found: Map, files: list[str], out: Screen) -> None:
    asked, workload = found.question, found.workload
    out.print(f" (engine {found.engine}): {asked.title}", lead="Simulated")
    out.print(f"{workload.hw.title}; {workload.memory.what}, {show.played(workload)}; {show.inputs(files)}")
    if small := show.small_model(workload):
        out.print(small)
    out.print(show.of_runtime(workload))
    out.table(Grid((Column(asked.y_name), *(Column(f"{x.text}") for x in asked.x)), tuple(_rows(found))))
    out.print(
        f"across: {asked.x_name}; down: {asked.y_name}. A: {asked.names[0]}, B: {asked.names[1]} is faster, by that factor. * stands at "
        "the border: a cell beside it has another winner. --json gives both commands of each cell."
    )  # fmt: skip
    if whys := dict.fromkeys(
        side.why_not for row in found.cells for cell in row for side in (cell.a, cell.b) if side.why_not
    ):
        out.print(f"Where a way has no factor the other cannot be played: {next(iter(whys))}")


def _rows(found: Map) -> Iterator[tuple[str, ...]]:
    for y, row in enumerate(found.cells):
        marks = ("*" if found.border(y, x) else " " for x in range(len(row)))
        yield found.question.y[y].text, *(f"{_said(cell)}{mark}" for cell, mark in zip(row, marks, strict=True))


def _said(cell: Cell) -> str:
    factor = cell.factor
    if factor is None or cell.winner == EQUAL:
        return cell.winner
    return f"{cell.winner} {factor:.2f}" if factor < 10 else f"{cell.winner} {factor:.0f}"
