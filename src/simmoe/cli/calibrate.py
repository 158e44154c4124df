"""`simmoe calibrate`: measure this machine, or fit one constant to a speed that was seen."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from simmoe.calibrate import backend, measure, observed, profile
from simmoe.calibrate.measure import Measured, Say
from simmoe.calibrate.replayed import Given, again
from simmoe.calibrate.sampling import rates, spread
from simmoe.show import tables as show
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import nbytes

OF_OBSERVED = ("hw", "trace", "model", "eviction")
OF_MEASURING = ("device", "home", "disk", "quick")


def calibrate(a: argparse.Namespace) -> None:
    """simmoe calibrate"""
    mine, other = (OF_MEASURING, OF_OBSERVED) if a.observed is None else (OF_OBSERVED, OF_MEASURING)
    for option in other:
        if getattr(a, option):
            with_it = "together with" if option in OF_OBSERVED else "without"
            raise UserError(
                f"--{option} works only {with_it} --observed; here: {', '.join(f'--{name}' for name in mine)}"
            )
    if a.name is not None and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", a.name):
        raise UserError(f"--name {a.name!r} is no name; use letters, digits, '_' and '-', a letter first")
    if a.observed is None:
        _measure(a)
    else:
        _explain(a)


def _measure(a: argparse.Namespace) -> None:
    name = a.name or (Path(a.out).stem if a.out else "this_machine")
    out = Path(a.out or f"{name}.yaml")
    profile.writable(out, a.force)
    if a.disk and a.home == "memory":
        raise UserError("--disk is for experts on a disk; leave it out, or --home memory")
    chosen, note = backend.choose(a.device)
    if note:
        print(note)
    home = a.home or ("disk" if chosen.unified or a.disk else "memory")
    with _saying() as say:
        measured = measure.machine(chosen, home, Path(a.disk or "."), a.quick, say)
    profile.write(profile.content(measured, name), out, a.force)
    console = show.console()
    show.print_whole(_table(measured), console)
    for doubt in measured.doubts():
        console.print(f"[yellow]note:[/] {escape(doubt)}", highlight=False, soft_wrap=True)
    print(
        f"{out}: written and checked; simmoe run --hw {out} --trace switch plays on it, simmoe hw show {out} lists it"
    )


@contextmanager
def _saying() -> Iterator[Say]:
    """A bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda what, number, steps: print(f"{number}/{steps} {what}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda what, number, steps: bar.update(task, description=what, completed=number - 1, total=steps)


def _table(m: Measured) -> Table:
    table = Table(
        box=None, pad_edge=False, header_style="bold", title="median, and 10 % and 90 % quantiles of the samples"
    )
    for column in ("measured", "size", "median", "10 %", "90 %", "samples"):
        table.add_column(column, justify="left" if column == "measured" else "right", no_wrap=True)
    for what, size, samples, unit in _rows(m):
        s = spread(samples)
        shown = (show.seconds(x) if unit == "s" else nbytes(x)[:-1] + unit for x in (s.median, s.low, s.high))
        table.add_row(what, size, *shown, f"{s.n:,}")
    return table


def _rows(m: Measured) -> Iterator[tuple[str, str, list[float], str]]:
    """What, size, samples, unit."""
    for k in (m.kernels, *([m.cpu] if m.cpu else [])):
        yield f"call: {k.what}", "", k.call, "s"
        for size, times in k.gemv.items():
            yield f"GEMV {k.main}", nbytes(size), rates(size, times), "B/s"
        for format, cells in k.gemm.items():
            for tokens, times in cells.items():
                yield f"GEMM {format}", f"{tokens} tokens", rates(2 * k.params * tokens, times), "FLOP/s"
    for size, times in m.copies.items():
        yield "copy", nbytes(size), rates(size, times), "B/s"
    for size, times in (m.pageable or {}).items():
        yield "copy from pageable memory", nbytes(size), rates(size, times), "B/s"
    for (size, depth), reached in (m.disk.cells if m.disk else {}).items():
        yield f"disk read, {m.disk.way if m.disk else ''}, {depth} in flight", nbytes(size), reached, "B/s"
    for what, reached in zip(("GEMV alone", "GEMV beside loads", "loads beside GEMV"), m.beside):
        yield what, "", reached, "B/s"


def _explain(a: argparse.Namespace) -> None:
    what, file = a.observed
    match = re.fullmatch(r"tok_s=([0-9]+(?:\.[0-9]+)?)", what)
    if not match or not float(match[1]):
        raise UserError(
            f"--observed {what!r}: write tok_s=NUMBER and the run's JSON, such as --observed tok_s=11.2 run.json"
        )
    if not Path(file).is_file():
        raise UserError(f"--observed: no file {file}; write it with: simmoe run … --budget SIZE --json > {file}")
    for option in ("name", "force"):
        if getattr(a, option) and not a.out:
            raise UserError(f"--{option} is about the profile that --out writes: add --out FILE, or leave it out")
    if a.out:
        profile.writable(Path(a.out), a.force, [file, *(one for one in (a.hw, a.trace, a.model, a.eviction) if one)])
    name, run = again(Path(file), Given(a.hw, a.trace, a.model, a.eviction))
    found = observed.explain(name, run, float(match[1]))
    print(
        f"observed {found.tok_s:g} tok/s, simulated {show.number(run.tok_s)} on {run.workload.hw.name}: all bandwidths × "
        f"{found.factor:.4g} explain it"
    )
    for part, share in found.shares.items():
        print(f"  on the {part} alone: " + ("not a possible machine" if share is None else f"{share:.0%} of the gap"))
    if not found.shares:
        print("  there is no gap to explain")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("experts resident", "memory for them", "tok/s as stated", "tok/s with it"):
        table.add_column(column, justify="right", no_wrap=True)
    for label, size, *speeds in found.budgets:
        table.add_row(label, nbytes(size), *(show.number(speed) for speed in speeds))
    show.console().print(table)
    for line in observed.cautions(found):
        print(f"caution: {line}")
    if a.out:
        out = Path(a.out)
        profile.write(observed.profile(found, out, a.name or out.stem), out, a.force)
        print(f"{out}: written and checked")
