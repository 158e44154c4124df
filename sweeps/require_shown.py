"""Which machines meet targets, and the least of one quantity, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simmoe.hardware_profiles.composing import JOIN
from simmoe.play.money import of_parts
from simmoe.play.result import Run
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid, only
from simmoe.show.legend import legend
from simmoe.show.screen import Screen
from simmoe.simulator.units import nbytes
from simmoe.sweeps.least import Least, Point
from simmoe.sweeps.require import NEAREST, Box, Boxes
from simmoe.sweeps.targets import ttft_s, whole

ROWS = 20  # of the machines that meet the targets; the others are named
COLUMNS = (
    Column("machine", text=True), Column("tok/s"), Column("range"), Column("all of it", 2, text=True), Column("TTFT", 3),
    Column("power", 4), Column("memory", 5), Column("price", 1), Column("placement", text=True),
)  # fmt: skip
LEGEND = {
    "range": "range: tok/s at the ends of what the machine's figures and the engine's constants leave open",
    "all of it": "all of it: whether the slow end meets the targets of tok/s and TTFT too",
    "power": "power: mean in decode, estimated",
}

PLACEMENT = (
    "placement: the fewest experts on the CPU with which all others fit on the device, chosen where none is named; --placement "
    "n_cpu_moe=0 plays only what holds all."
)
HOSTS = "The CPU that computes them is that of each profile; --gpu all --host NAME puts every card into one box."


def show_boxes(found: Boxes, files: list[str], out: Screen) -> None:
    run = next((row.run for row in found.rows if row.run), None)
    _heading(run, f"{len(found.met)} of {len(found.rows)} machines have {found.targets}", files, out)
    columns = _met(found, out)
    shown = found.missed[:NEAREST]
    if shown:
        out.print()
        out.print(f": {len(shown)} of {len(found.missed)}", lead="Nearest of the others" if found.met else "Nearest")
        columns += _table([row for row in shown if row.run], out)
        for row in shown:
            out.print(f"{row.name}: {row.misses}")
        if more := found.missed[NEAREST:]:
            cannot = f", {n} of which cannot run it" if (n := sum(row.run is None for row in more)) else ""
            out.print(f"{len(more)} more do not{cannot}: --json says what each misses.")
    for line in filter(None, (legend(columns, LEGEND), *_notes(found, shown))):
        out.print(line)


def _met(found: Boxes, out: Screen) -> list[str]:
    """The columns of their table."""
    rows = found.met[:ROWS]
    if not rows:
        return []
    columns = _table(rows, out)
    if more := found.met[ROWS:]:
        out.print(f"{len(more)} more: {', '.join(map(_briefly, more))}.")
    out.print("The cheapest stands first; behind those of a known price the others, the slowest first.")
    out.command(rows[0].command)
    if len({row.placement for row in found.met}) > 1:
        out.print(
            "Another row is played by this command with its machine and, where it has one, its --placement; --json has each."
        )
    return columns


def _briefly(row: Box) -> str:
    """A machine that has no row of the table."""
    speed = "" if row.run is None else f" {show.number(row.run.tok_s)}"
    return f"{row.name}{speed}{f' ({row.placement})' if row.placement else ''}"


def _notes(found: Boxes, shown: Sequence[Box]) -> Iterator[str]:
    placed = [row for row in found.rows if row.placement]
    if placed:
        yield PLACEMENT
    if any(JOIN not in row.name for row in placed):
        yield HOSTS
    yield from _said_of_runs([row for row in (*found.met[:ROWS], *shown) if row.run])
    if part := of_parts({row.name: row.price for row in (*found.met[:ROWS], *shown)}):
        yield part
    if found.targets.power_w is not None and any(row.run and row.run.energy is None for row in found.rows):
        yield "A machine without figures of energy in its profile does not meet a limit of the power."
    if found.targets.price is not None and any(row.price is None for row in found.rows):
        yield "A machine without a price in its profile does not meet a limit of the price."


def _said_of_runs(rows: Sequence[Box]) -> Iterator[str]:
    """What runs say beside their numbers: what all of them say, and of a machine that does the job what concerns it."""
    runs = [row.run for row in rows if row.run]
    if runs:
        yield show.of_runtime(runs[0].workload)
    common = [note for note in (runs[0].notes if runs else []) if all(note in run.notes for run in runs)]
    yield from common
    for row in rows:
        if row.met and row.run:
            yield from (f"{row.name}: {note}" for note in row.run.notes if note not in common)


def show_least(found: Least, files: list[str], out: Screen) -> None:
    best = found.least or found.best
    _heading(best.run, f"least {found.axis.name} on {found.machine} for {found.targets}", files, out)
    if best.run:
        for note in (show.of_runtime(best.run.workload), *best.run.notes):
            out.print(note)
    if any(point.placement for point in found.points):
        out.print(PLACEMENT)
    has = f" (it has {found.axis.stated})"
    if found.least is None:
        own = found.best.number == 0  # of a figure: where no other value is better
        at = (
            f"{found.best.text}, which it has, is as good as any that was tried"
            if own
            else f"at {found.best.text}, the best that was tried"
        )
        out.print(f"None does{'' if own else has}: {at}{':' if own else ','} {found.because}.")
        out.command(found.best.command)
        return
    band = "" if found.band is None else f", range {'–'.join(map(show.number, found.band.hardware))}"
    sure = {None: "", True: ", all of which meets the targets", False: ", whose slow end does not"}[found.whole]
    out.print(f": {found.least.said}{_placed(found.least)}{band}{sure}{has}.", lead=found.least.text)
    out.command(found.least.command)
    if found.below is None:
        out.print("Nothing smaller was tried.")
    else:
        out.print(f"{found.axis.step} less, {found.below.text}: {found.below.said}{_placed(found.below)}.")
        out.command(found.below.command)
    if len(found.ranges) > 1:
        each = "; ".join(f"{low.text} to {high.text}" for low, high in found.ranges)
        out.print(f"More is not always better here: the targets are met from {each}.")
    elif found.above is not None:
        out.print(f"From {found.above.text} on they are missed again: {found.above.said}")


def _placed(point: Point) -> str:
    return f" ({point.placement})" if point.placement and point.run else ""


def _heading(run: Run | None, what: str, files: list[str], out: Screen) -> None:
    engine = f"engine {run.engine}" if run else "engine none"
    out.print(f" ({engine}): {what}", lead="Simulated")
    if run:
        out.print(f"{run.workload.memory.what}, {show.played(run.workload)}; {show.inputs(files)}")
        if small := show.small_model(run.workload):
            out.print(small)


def _table(rows: Sequence[Box], out: Screen) -> list[str]:
    """Without a column of which nothing is known; the names of the others that had room."""
    if not rows:
        return []
    cells = [_cells(row) for row in rows]
    known = [i for i in range(len(COLUMNS)) if any(row[i] != "–" for row in cells)]
    return out.table(only(Grid(COLUMNS, tuple(cells)), known))


def _cells(row: Box) -> tuple[str, ...]:
    run = row.run
    assert run is not None  # others have a line of their own
    ends = "–" if row.band is None else "–".join(map(show.number, row.band.hardware))
    sure = {None: "–", True: "yes", False: "no"}[whole(row.checks)]
    watts = "–" if run.energy is None else f"{run.energy['decode_watts']:.3g} W"
    price = "–" if row.price is None else f"{row.price.amount:,.0f} {row.price.currency}"
    return (
        row.name,
        show.number(run.tok_s),
        ends,
        sure,
        show.seconds(ttft_s(run)),
        watts,
        nbytes(run.memory_bytes["total"]),
        price,
        row.placement or "–",
    )
