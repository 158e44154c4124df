"""Which machines meet targets on the same model, text and policies: those that do, and how far the others stay from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from simmoe.play import confidence as bands
from simmoe.play.box import PARTS
from simmoe.play.calling import scenario_of, takes
from simmoe.play.lanes import Lanes
from simmoe.play.money import Money, Price, price_of
from simmoe.play.on_the_cpu import chosen, with_the_least
from simmoe.play.result import Run, versions
from simmoe.play.run import play
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.play.tabular import Record, Tabular
from simmoe.play.traced import traced
from simmoe.simulator.errors import UserError
from simmoe.simulator.nearest import among
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.version import RESULT_SCHEMA
from simmoe.sweeps import commands
from simmoe.sweeps.boxes import machines
from simmoe.sweeps.least import Least, least
from simmoe.sweeps.requiring import ASKED, GOODPUT, asked
from simmoe.sweeps.targets import Check, Targets, checks, met, missed, targets_of, ttft_s, whole, worst

Machine = str | Path | Hardware

NEAREST = 5  # machines that miss the targets by least get a band too


@dataclass(frozen=True)
class Box:
    """One machine. `run` is None where it cannot run; `why_not` then says why."""

    name: str
    title: str
    command: str
    run: Run | None
    why_not: str
    price: Price | None
    checks: tuple[Check, ...] = ()
    band: bands.Band | None = None
    placement: str | None = None  # chosen here: the fewest experts that the CPU has to take; None: as the options say

    @property
    def met(self) -> bool:
        return self.run is not None and met(self.checks)

    @property
    def misses(self) -> str:
        """What is missing, in words."""
        return self.why_not or missed(self.checks, self.run)

    def record(self) -> Record:
        """One row of a table."""
        run, ends = self.run, self.band.hardware if self.band else (None, None)
        return {
            "machine": self.name, "meets": self.met, "tok_s": run and run.tok_s, "slowest_tok_s": ends[0], "fastest_tok_s": ends[1],
            "ttft_s": run and ttft_s(run), "watts": run and run.energy and run.energy["decode_watts"],
            "memory_bytes": run and run.memory_bytes["total"], "price": self.price and self.price.amount,
            "currency": self.price and self.price.currency, "placement": self.placement, "why_not": self.misses or None,
            "command": self.command,
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        run, band = self.run, self.band
        each = {one.name: one.to_json() for one in self.checks}
        return {
            "machine": self.name, "title": self.title, "command": self.command, "placement": self.placement, "met": self.met,
            "why_not": self.misses or None,
            "tok_s": run and run.tok_s, "range_tok_s": band and list(band.hardware), "whole_range": whole(self.checks),
            "memory_bytes": run and run.memory_bytes["total"], "price": self.price and self.price.to_json(),
            "targets": each,
            "digest": run and run.digest,
        }  # fmt: skip


@dataclass(frozen=True, repr=False)
class Boxes(Tabular):
    """All machines: first those that meet the targets, the cheapest first and those of no known price behind them, the slowest first; then
    the others, what misses by least first."""

    brief = (
        "machine", "meets", "tok_s", "slowest_tok_s", "fastest_tok_s", "ttft_s", "watts", "memory_bytes", "price", "currency",
        "placement", "why_not",
    )  # fmt: skip
    targets: Targets
    rows: tuple[Box, ...]

    def title(self) -> str:
        return f"{len(self.met)} of {len(self.rows)} machines have {self.targets}"

    def records(self) -> list[Record]:
        return [row.record() for row in self.rows]

    @property
    def met(self) -> list[Box]:
        return [row for row in self.rows if row.met]

    @property
    def missed(self) -> list[Box]:
        return [row for row in self.rows if not row.met]

    def to_json(self) -> dict[str, Any]:
        rows = [row.to_json() for row in self.rows]
        return {
            "schema": RESULT_SCHEMA,
            "kind": "simulated",
            "versions": versions(),
            "targets": self.targets.to_json(),
            "rows": rows,
        }


@overload
def require(
    hw: Sequence[Machine] | Machine | None = None,
    trace: str | Path | Trace | None = None,
    *,
    least: None = None,
    **options: Any,
) -> Boxes: ...
@overload
def require(
    hw: Sequence[Machine] | Machine | None = None,
    trace: str | Path | Trace | None = None,
    *,
    least: str,
    **options: Any,
) -> Least: ...
@takes(*GOODPUT, more=ASKED)
def require(
    hw: Sequence[Machine] | Machine | None = None, trace: str | Path | Trace | None = None, **options: Any
) -> Boxes | Least:
    """Which machines meet targets: `tok_s` tokens a second or more (a number), `ttft` ("2s"), `power` ("30W") and `price` ("2000USD") or
    less; one of them at least, and a machine has to meet all that are given.

    hw: one or a list, "all" or none for every bundled one; gpu and host may be lists too, and every GPU is put into every host. The other
    options are those of `simmoe.run`, at the end those of the question alone. The answer has a row for each machine: `met` are those that
    do, the cheapest first, `missed` the others, each with its run, its command and, where the engine loads no experts and no placement was
    named, the fewest that the CPU has to take.

    least: of one machine, the smallest budget, memory, link.bandwidth, memory.bandwidth or other rate or size with which it does. The
    answer has that as `least`, the next smaller one as `below`, and `ranges`; `least` is None where no value is enough.

    A machine that cannot run is a row with its reason. Raises UserError for a mistake that concerns all of them, and for a target that is
    no quantity above 0.
    """
    known = [*ASKED, *(name for name in OPTIONS if name not in GOODPUT)]
    for name in options:
        if name not in known:
            raise UserError(f"unknown option {name!r}; {among(name, known, listing='help(simmoe.require)')}")
    question = asked({name: options.pop(name) for name in ASKED if name in options})
    targets, names = targets_of(question), machines({"hw": hw, **options})
    rest = {name: value for name, value in options.items() if name not in PARTS} | {"trace": trace}
    if question.least is None:
        return boxes_with(targets, names, rest)
    return least(targets, question.least, one_of(names, question.least), rest)


def one_of(names: Sequence[Any], what: str) -> Any:
    """The machine of which the least of something is asked. Raises UserError for several."""
    if len(names) != 1:
        raise UserError(
            f"--least {what} is of one machine, and {len(names)} are named: give one --hw, or one --gpu and --host"
        )
    return names[0]


def boxes_with(
    targets: Targets,
    names: Sequence[Any],
    options: Mapping[str, Any],
    tick: Callable[[int, int], None] = lambda done, of: None,
) -> Boxes:
    """Play the options on each machine. A machine that cannot run is a row with its reason. tick: told of each that is done, and of how
    many. Raises UserError for a mistake that concerns all of them."""
    first = scenario_of({**options, "hw": names[0]})
    text = None if first.trace is None else traced(first.trace, first.model)
    rows, lanes = list[Box](), Lanes()
    for number, name in enumerate(names, 1):
        rows.append(_row(targets, replace(first, hw=name), text, len(names), lanes))
        tick(number, len(names))
    reasons = {row.why_not for row in rows}
    if len(reasons) == 1 and "" not in reasons:
        raise UserError(reasons.pop())
    rows = sorted((row for row in rows if row.met), key=_cheapest) + sorted(
        (row for row in rows if not row.met), key=_nearest
    )
    bounded = sum(row.met for row in rows) + NEAREST
    return Boxes(targets, tuple(_banded(targets, row) if number < bounded else row for number, row in enumerate(rows)))


def _row(targets: Targets, scenario: Scenario, text: Any, runs: int, lanes: Lanes) -> Box:
    said = commands.command(scenario)
    try:
        hw = scenario.machine()
    except UserError as error:
        name = commands.named(scenario.hw)
        return Box(name, name, said, None, str(error), None)
    price, asked = price_of(hw), scenario
    try:
        workload = replace(scenario, hw=hw, set=(), trace=text).workload()
        scenario = with_the_least(scenario, workload)
        workload = workload.split(scenario.tensor_split)
        said = commands.command(scenario)
        plan = scenario.plan(workload)
        said = commands.command(scenario, plan)
        lanes.join(workload)
        run = play(workload, plan, workload.engine(scenario.engine, runs=runs), lanes=lanes)
    except UserError as error:
        return Box(hw.name, hw.title, said, None, str(error), price)
    return Box(hw.name, hw.title, said, run, "", price, checks(targets, run, price), placement=chosen(asked, scenario))


def _banded(targets: Targets, row: Box) -> Box:
    """With its band."""
    if row.run is None:
        return row
    band = bands.band(row.run)
    return replace(row, band=band, checks=checks(targets, row.run, row.price, band))


def _cheapest(row: Box) -> tuple[bool, str, float, float]:
    """Prices of one currency beside each other."""
    money = row.price.money if row.price else Money(0.0, "")
    return row.price is None, money.currency, money.amount, (row.run and row.run.tok_s) or 0.0


def _nearest(row: Box) -> tuple[bool, int, float]:
    return row.run is None, *worst(row.checks)
