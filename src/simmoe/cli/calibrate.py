"""`simmoe calibrate`: measure this machine."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simmoe.calibrate import backend, cuda, measure, profile, rows
from simmoe.calibrate.machine import Watch
from simmoe.calibrate.measure import Asked, Say
from simmoe.calibrate.rows import Row, Rows
from simmoe.show import tables as show
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic, check_outputs
from simmoe.simulator.units import nbytes

OF_MEASURING = ("device", "home", "disk", "quick", "rows", "save_rows")
LISTEN = 1.0  # seconds for which this process does nothing, to hear what others do


def calibrate(a: argparse.Namespace) -> int:
    """simmoe calibrate: 1 where the profile would hold what cannot be true."""
    if a.observed:
        raise UserError(
            "--observed is a command of its own now: simmoe explain tok_s=N --gpu NAME --host NAME --model NAME (docs/plan.md)"
        )
    for option in OF_MEASURING:
        if a.rows and option != "rows" and getattr(a, option):
            raise UserError(
                f"{_flag(option)} is about measuring, and --rows reads what was measured: leave out the one or the other"
            )
    if a.name is not None and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", a.name):
        raise UserError(f"--name {a.name!r} is no name; use letters, digits, '_' and '-', a letter first")
    try:
        _write_profile(a)
    except profile.Impossible as error:
        print(f"simmoe: {error}", file=sys.stderr)
        return 1
    return 0


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _write_profile(a: argparse.Namespace) -> None:
    name = a.name or (Path(a.out).stem if a.out else "this_machine")
    out = Path(a.out or f"{name}.yaml")
    profile.writable(out, a.force)
    if a.save_rows:
        profile.writable(Path(a.save_rows), a.force)
        check_outputs({"--out": out, "--save-rows": a.save_rows}, [a.rows] if a.rows else [])
    found = rows.read(Path(a.rows)) if a.rows else _measure(a)
    if a.save_rows:
        with atomic(Path(a.save_rows)) as stream:
            stream.write(rows.text_of(found))
    screen = Screen()
    if not a.rows:
        screen.print("median, and 10 % and 90 % quantiles of the samples")
        screen.table(_table(found))
    _refuse_busy(profile.too_busy(rows.machine_of(found)["foreign"]), a.force)
    profile.write(profile.content(found, name), out, a.force)
    screen.line(
        f"{out}: written and checked; simmoe run --hw {out} --trace switch plays on it, simmoe hw show {out} lists it"
    )


def _refuse_busy(why: str, force: bool) -> None:
    if why and not force:
        raise UserError(why)
    if why:
        Screen().print(f"note: {why}")


def _measure(a: argparse.Namespace) -> list[Row]:
    if a.disk and a.home == "memory":
        raise UserError("--disk is for experts on a disk; leave it out, or --home memory")
    device, (library, note) = cuda.choose(a.device), backend.choose()
    if note:
        Screen().print(note)
    before = Watch()
    time.sleep(LISTEN)
    _refuse_busy(profile.too_busy(before.foreign()), a.force)
    home = a.home or ("disk" if device is None or device.unified or a.disk else "memory")
    with _saying() as say:
        return measure.machine(Asked(library, device, home, Path(a.disk or "."), a.quick), Watch(), say)


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


def _table(found: Rows) -> Grid:
    names = (
        Column("measured", text=True), Column("size"), Column("median"), Column("10 %", 2), Column("90 %", 3), Column("rate"),
        Column("samples", 1),
    )  # fmt: skip
    cells = []
    for row in found:
        if "us" in row:
            times = (show.seconds(row[key] / 1e6) for key in ("us", "lo", "hi"))
            cells.append(
                (_words(row), nbytes(row["bytes"]) if "bytes" in row else "", *times, _rate(row), f"{row['n']:,}")
            )
        elif "per_s" in row:
            cells.append((_words(row), "", "", "", "", f"{nbytes(row['per_s'])}/s", f"{row['n']:,}"))
    return Grid(names, tuple(cells))


def _words(row: Row) -> str:
    """What was timed, in what way."""
    facts = (f"{row[key]} {key}" for key in ("threads", "tokens", "experts", "depth") if key in row)
    named = (str(row[key]) for key in ("kind", "what", "kernel", "format", "how", "other") if key in row)
    return ", ".join((*named, *facts))


def _rate(row: Row) -> str:
    if "tflops" in row:
        return f"{row['tflops'] * 1000:,.4g} GFLOP/s"
    return f"{nbytes(row['gbs'] * 1e9)}/s" if "gbs" in row else ""
