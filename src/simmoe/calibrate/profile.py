"""What was measured, as a hardware profile. It takes its name only when the loader has accepted it.

On one memory (CPU, integrated GPU) the profile is unified, and B and w of the contention law are such that the unit reads as fast
beside loads as it did when both were measured together.
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from simmoe import hardware_profiles
from simmoe.calibrate import fit
from simmoe.calibrate.figures import Figures, whole
from simmoe.calibrate.measure import Measured
from simmoe.calibrate.sampling import count, spread
from simmoe.hardware_profiles.schema import W
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic, check_outputs
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import nbytes

PINNED = "copies from pinned host memory to the device"
COPY = "copies of one thread from host memory to host memory"
IN_PLACE, COPIED, CACHED = 1, 2, 3  # DRAM bytes per loaded byte: O_DIRECT, memcpy, page cache and memcpy


def content(measured: Measured, name: str) -> dict[str, Any]:
    """The profile as its YAML holds it."""
    today = datetime.date.today().isoformat()
    parts = (_unified if measured.unified else _discrete)(measured, Figures(today))
    home = "disk" if measured.home == "disk" else "host memory"
    title = f"A machine calibrated on {today}: {measured.unit.upper()}, experts in {home}"
    kind = "unified" if measured.unified else "discrete"
    doubts = measured.doubts()
    notes = {"notes": " · ".join(doubts)} if doubts else {}
    return {
        "schema": 1, "name": name, "title": title, **notes, "memory": kind, **parts, "devices": [measured.unit],
    }  # fmt: skip


def _unified(m: Measured, f: Figures) -> dict[str, Any]:
    unit, (load, link) = f.unit(m.kernels, "dram"), _link(m, f)
    own = whole(m.kernels.line().bytes_per_s, "bandwidth")
    alone, computing, loading = (spread(samples) for samples in m.beside)
    shares = [min(rate / alone.median, 1.0) for rate in computing[:3]]
    law = fit.shared(own, own * shares[1], load, COPIED if not m.disk else CACHED if m.disk.why_not else IN_PLACE)
    w, n = law.bytes_per_loaded_byte, alone.n + computing.n + loading.n
    met = (
        f"products beside loads ran at {shares[1]:.0%} of {nbytes(own)}/s; a load ran at {nbytes(load)}/s alone "
        f"and at {nbytes(loading.median)}/s beside products"
    )
    if m.disk:
        home, capacity = "disk", f.stated(m.memory.total, m.memory.how)
        tier = f.store(m.disk, load)
    else:
        half = m.memory.available // 2
        home, capacity = "host_buffer", f.chosen(m.memory.total - half, "what the host buffer leaves of the memory")
        tier = {"capacity": f.chosen(half, "half of the memory that was free"), "bandwidth": link["bandwidth"]}
    both = f.figure(
        "bandwidth",
        whole(law.bytes_per_s, "bandwidth", up=True),
        [max(own, own * x + w * load) for x in shares],
        n,
        met,
    )
    return {
        "tiers": {"dram": {"capacity": capacity, "bandwidth": both}, home: tier},
        "units": {m.unit: unit},
        "link": {"from": home, "to": "dram", **link},
        "reserved": f.stated(m.memory.total - m.memory.available, f"in use when it began, {m.memory.how}"),
        W: {"value": w, "kind": "measured", "source": f"{f.here}, {n} samples, {met}"},
    }  # fmt: skip


def _discrete(m: Measured, f: Figures) -> dict[str, Any]:
    assert m.cpu is not None and m.pageable is not None
    (load, link), total, free = _link(m, f), *m.device_bytes
    cpu, own = f.unit(m.cpu, "dram"), f.unit(m.kernels, "device")
    rate, n = max(whole(m.cpu.line().bytes_per_s, "bandwidth"), load), count(m.cpu.gemv)
    tiers = {
        "device": {"capacity": f.stated(total, "the device"), "bandwidth": own["bandwidth"]},
        "dram": {
            "capacity": f.stated(m.memory.total, m.memory.how),
            "bandwidth": f.figure("bandwidth", rate, [rate], n, "the larger of what the CPU and the link take out of it"),
        },
    }  # fmt: skip
    ((size, times),) = m.pageable.items()
    slow = spread(times)
    pageable = [min(size / took, load) for took in (slow.median, slow.high, slow.low)]
    link["pageable"] = f.figure(
        "bandwidth", pageable[0], pageable, slow.n, f"copies of {nbytes(size)} from pageable memory"
    )
    if m.disk:
        path, up = f.path(m.disk.alone(), f"reads, {m.disk.way}")
        del up["efficiency"]
        tiers["disk"] = f.store(m.disk, whole(path.bytes_per_s, "bandwidth"))
        link["upstream"] = {"from": "disk", **up, "pipelined": False}
    return {
        "tiers": tiers,
        "units": {m.unit: own, "cpu": cpu},
        "link": {"from": "dram", "to": "device", **link},
        "reserved": f.stated(total - free, "in use when it began, the device"),
    }


def _link(m: Measured, f: Figures) -> tuple[int, dict[str, Any]]:
    """Bytes per second and the entry of the path along which experts come."""
    seen = spread(m.beside.loading).median
    if not m.unified:
        path, entry = f.path(m.copies, PINNED)
    elif m.disk:
        path, entry = f.path(m.disk.alone(), f"reads, one in flight, {m.disk.way}", seen)
    else:
        path, entry = f.path(m.copies, COPY if m.unit == "cpu" else PINNED, seen)
    return whole(path.bytes_per_s, "bandwidth"), entry


def writable(path: Path, force: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Raises UserError for a file that exists, unless `force`, and for what cannot be written or is one of the inputs."""
    if path.exists() and not force:
        raise UserError(f"{path} exists; name another file with --out, or overwrite it with --force")
    check_outputs({"--out": path}, inputs)


def write(profile: Mapping[str, Any], path: Path, force: bool) -> Hardware:
    """The machine, loaded from the file before it takes its name. Raises UserError."""
    writable(path, force)
    text = yaml.safe_dump(dict(profile), sort_keys=False, width=140, allow_unicode=True, default_flow_style=None)
    with tempfile.TemporaryDirectory() as folder:
        checked = Path(folder, f"{path.stem}.yaml")
        checked.write_text(text, "utf-8")
        hw = hardware_profiles.load(checked)
    with atomic(path) as stream:
        stream.write(text)
    return hw
