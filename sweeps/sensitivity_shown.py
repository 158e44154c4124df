"""Elasticities for people: a table with the largest first, and what their sum says."""

from __future__ import annotations

from collections.abc import Sequence

from simmoe.play import advice
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid, only
from simmoe.show.screen import Screen
from simmoe.sweeps.elasticity import LITTLE, WITHIN, Elasticity, Sensitivity
from simmoe.sweeps.sensitivity import KIND
from simmoe.sweeps.upgrades import Upgraded

SIDES = ("down", "up")
COLUMNS = (
    Column("figure", text=True), Column("value"), Column("source", text=True), Column("elasticity"), *map(Column, SIDES),
)  # fmt: skip


UPGRADES = (
    Column("upgrade", text=True), Column("price"), Column("tok/s"), Column("gain"), Column("gain for 100"),
)  # fmt: skip


def show_sensitivity(found: Sensitivity, files: list[str], out: Screen) -> None:
    run = found.run
    out.print(
        f" (engine {run.engine}): {run.workload.hw.title}; {run.workload.memory.what}, {show.played(run.workload)}", lead="Simulated"
    )  # fmt: skip
    out.print(show.inputs(files))
    if small := show.small_model(run.workload):
        out.print(small)
    for note in (show.of_runtime(run.workload), *run.notes):
        out.print(note)
    out.print(f"{show.number(run.tok_s)} tok/s, {advice.bound_by(run)}.")
    rows = [one for one in (*found.figures, *found.knobs) if _matters(one)]
    out.table(_table(rows))
    both = " Where these differ by more than a tenth both stand beside it." * any(one.differs for one in rows)
    out.print(
        "elasticity: by how many percent tok/s rises where the figure rises by 1 %, the mean of a step of a thousandth down and one up (of "
        f"an option: of a hundredth, or of one).{both}"
    )
    little = [one.path for one in found.figures if not _matters(one) and (one.left or one.right)]
    nothing = sum(not _matters(one) and not (one.left or one.right) for one in found.figures)
    out.print(
        f"Below {LITTLE:g}: {', '.join(little) or 'none'}. Of no effect here: {nothing} others (--json names them)."
    )
    for one in (*found.figures, *found.knobs):
        if one.why_not and _matters(one):
            out.print(f"{one.path}: {one.why_not}")
    out.print(_law(found))
    if found.upgrades:
        out.print()
        out.table(Grid(UPGRADES, tuple(map(_bought, found.upgrades))))


def _law(found: Sensitivity) -> str:
    """What the sum of the elasticities says."""
    total = found.rates - found.times
    text = f"All rates {found.rates:+.3f} less all times {found.times:+.3f} is {total:.3f}"
    if abs(total - 1) <= WITHIN:
        return f"{text}, 1 as it must be: nothing that takes time is missing here."
    return (
        f"{text} and not 1: three figures are equal where one of them counts, decisions turned with a step, or something that takes time "
        "is no figure, such as when requests arrive."
    )


def _matters(one: Elasticity) -> bool:
    """Whether it has an effect, or a figure's step ends in what cannot be played."""
    cannot = one.kind != KIND and None in (one.left, one.right)
    return cannot or max(abs(side or 0.0) for side in (one.left, one.right)) >= LITTLE


def _table(rows: Sequence[Elasticity]) -> Grid:
    """Without the columns of both sides where no row has them apart."""
    grid = Grid(COLUMNS, tuple(map(_cells, sorted(rows, key=lambda one: -abs(one.mean)))))
    return only(
        grid, [i for i, column in enumerate(COLUMNS) if column.name not in SIDES or any(row[i] for row in grid.rows)]
    )


def _cells(one: Elasticity) -> tuple[str, ...]:
    sides = [("–" if side is None else f"{side:+.3f}") if one.differs else "" for side in (one.left, one.right)]
    return one.path, one.text, one.kind, f"{one.mean:+.3f}", *sides


def _bought(one: Upgraded) -> tuple[str, ...]:
    return (
        str(one.upgrade),
        str(one.upgrade.price),
        show.number(one.tok_s),
        f"{one.gain:+.1%}",
        f"{one.gain_per_hundred:+.2%}",
    )
