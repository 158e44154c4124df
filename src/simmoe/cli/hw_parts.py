"""`simmoe hw list --hosts`, `hw show --host`, `hw compose` and `hw detect`: machines by their parts."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simmoe import hardware_profiles
from simmoe.calibrate import profile
from simmoe.cli.common import print_json
from simmoe.hardware_profiles import detecting, host, reported, reports
from simmoe.hardware_profiles.detecting import Found, Part
from simmoe.show.grid import Column, Grid
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Figure
from simmoe.simulator.units import nbytes, text

ASKED = (  # commands whose output names parts; what is not there, or not allowed, is left out
    "nvidia-smi -q -x", "rocm-smi --showproductname --showmeminfo vram --showclocks --json", "lscpu -J", "dmidecode -t memory",
    "system_profiler -json SPHardwareDataType SPMemoryDataType",
)  # fmt: skip
MEMINFO = Path("/proc/meminfo")
SECONDS = 20  # that one of them may take
LARGEST = 20_000_000  # bytes of a report


def list_hosts(as_json: bool) -> None:
    """simmoe hw list --hosts"""
    rows = [_host_row(name) for name in host.available()]
    if as_json:
        print_json({"schema": 1, "hosts": rows})
        return
    columns = (
        Column("host", text=True), Column("capacity", 3), Column("bandwidth"), Column("of peak", 2), Column("CPU reads"),
        Column("instructions", 1, text=True), Column("slot", text=True),
    )  # fmt: skip
    out = Screen()
    out.table(Grid(columns, tuple(tuple(map(str, _host_cells(row))) for row in rows)))
    out.print(
        "Put a GPU into one: simmoe run --gpu rtx_3060 --host ddr4_3200_2ch … CPU reads: what its cores reach; on two sockets an engine "
        "whose reads cross them. `simmoe hw show --host NAME` prints each figure with its source."
    )


def _host_row(name: str) -> dict[str, Any]:
    content, checked = host.load(name)
    figures = {path: figure.value for path, figure in checked.figures.items()}
    numa = figures.get("numa", 1000)
    return {
        "name": content["name"], "title": content["title"], "capacity_bytes": figures["memory.capacity"],
        "bytes_per_s": figures["memory.bandwidth"], "peak_bytes_per_s": figures["peak.memory_bandwidth"],
        "cpu_bytes_per_s": figures["cpu.bandwidth"] * 1000 // numa, **content["is"],
    }  # fmt: skip


def _host_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"], f"{row['capacity_bytes'] // 2**30:,} GiB", f"{nbytes(row['bytes_per_s'])}/s",
        f"{row['bytes_per_s'] / row['peak_bytes_per_s']:.0%}", f"{nbytes(row['cpu_bytes_per_s'])}/s", row["instructions"], row["slot"],
    )  # fmt: skip


def show_host(name: str, as_json: bool) -> None:
    """simmoe hw show --host NAME"""
    content, checked = host.load(name)
    rows = [
        {"path": path, "value": f.text, "kind": f.kind, "range": _range(f), "source": f.source}
        for path, f in checked.figures.items()
    ]
    if as_json:
        print_json({"schema": 1, **_host_row(name), "figures": rows})
        return
    out = Screen()
    out.print(lead=content["title"])
    out.print(", ".join(f"{key} {value}" for key, value in content["is"].items() if key != "cpus"))
    columns = (
        Column("figure", text=True), Column("value"), Column("kind", 1, text=True), Column("range", 2, text=True),
        Column("source", text=True, wraps=True),
    )  # fmt: skip
    out.table(Grid(columns, tuple(tuple(str(cell or "–") for cell in row.values()) for row in rows)))


def _range(figure: Figure) -> str | None:
    low, high = (text(end, figure.dimension) for end in (figure.low, figure.high))
    return None if low == high else f"{low} – {high}"


def hw_compose(a: argparse.Namespace) -> None:
    """simmoe hw compose"""
    content, checked = hardware_profiles.content(f"{a.gpu}+{a.host}")
    out = Path(a.out)
    files = hardware_profiles.found(f"{a.gpu}+{a.host}")
    profile.writable(out, a.force, files)
    profile.write({**content, "name": out.stem}, out, a.force)
    Screen().line(f"wrote {out}: {content['title']}, {len(checked.figures)} figures; simmoe run --hw {out} …")


def hw_detect(a: argparse.Namespace) -> None:
    """simmoe hw detect"""
    if a.force and not a.out:
        raise UserError("--force overwrites the file of --out: add --out FILE, or leave it out")
    files = list(_files(a.from_ or []))
    out = Path(a.out) if a.out else None
    if out is not None:
        profile.writable(out, a.force, files)
    facts = reports.read(map(_text, files) if a.from_ else _ask())
    found = detecting.detect(facts)
    if a.json:
        print_json(_as_json(found))
    else:
        _show(found)
    if out is not None:
        profile.write(reported.profile(found, facts, out.stem), out, a.force)
        Screen().line(f"wrote {out}; simmoe hw show {out} prints what is known and how")


def _files(names: list[str]) -> Iterator[Path]:
    """The reports, of a folder all files."""
    for name in names:
        path = Path(name)
        if not path.exists():
            raise UserError(f"--from {name}: no such file or folder; name the outputs of nvidia-smi -q -x, lscpu -J, …")
        if not (path.is_file() or path.is_dir()):  # a device or a pipe may never end
            raise UserError(f"--from {name} is neither a file nor a folder; save the report to a file first")
        yield from sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]


def _text(path: Path) -> str:
    if path.stat().st_size > LARGEST:
        raise UserError(f"--from {path} has {path.stat().st_size:,} bytes; a report has at most {LARGEST:,}")
    return path.read_text(encoding="utf-8", errors="replace")


def _ask() -> Iterator[str]:
    """What this machine says of itself, in English: lscpu translates its fields."""
    for command in ASKED:
        try:
            done = subprocess.run(
                command.split(), capture_output=True, text=True, timeout=SECONDS, check=False, env={**os.environ, "LC_ALL": "C"}
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            yield done.stdout
    if MEMINFO.is_file():
        yield MEMINFO.read_text()


def _as_json(found: Found) -> dict[str, Any]:
    named = {"gpu": found.gpu, "host": found.host, "machine": found.machine}
    parts = {
        what: part and {"name": part.name, "reported": part.said, "exact": part.exact, "missing": list(part.missing)}
        for what, part in named.items()
    }
    return {"schema": 1, "hw": found.name, **parts, "notes": list(found.notes)}


def _show(found: Found) -> None:
    out = Screen()
    for what, part in {"machine": found.machine, "GPU": found.gpu, "host": found.host}.items():
        if part:
            out.print(f"{what}: {part.said}: {_how(part)}")
    for note in found.notes:
        out.print(note)
    if found.machine:
        out.print(f"simmoe run --hw {found.name} …")
    elif found.gpu and found.host:
        out.print(f"simmoe run --gpu {found.gpu.name} --host {found.host.name} …")


def _how(part: Part) -> str:
    near = "" if part.exact else "the nearest bundled one is "
    return f"{near}{part.name}" + "".join(f". Not known: {what}" for what in part.missing)
