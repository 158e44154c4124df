"""What was measured, as a hardware profile. It takes its name only when the loader has accepted it.

On one memory (CPU, integrated GPU) the profile is unified, and B and w of the contention law are such that the unit reads as fast
beside loads as it did when both were measured together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from simmoe import hardware_profiles
from simmoe.calibrate import fit, units
from simmoe.calibrate.figures import Figures, points_of, whole
from simmoe.calibrate.rows import Row, Rows, machine_of, microseconds, of, samples
from simmoe.hardware_profiles import limits
from simmoe.hardware_profiles.figures import NUMBERS
from simmoe.hardware_profiles.plausible import data_sheet_of
from simmoe.hardware_profiles.schema import W
from simmoe.simulator.errors import UserError
from simmoe.simulator.files import atomic, check_outputs
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.units import nbytes, parse

PINNED = "copies from pinned host memory to the device"
COPY = "copies of one thread from host memory to host memory"
IN_PLACE, COPIED = 1, 2  # DRAM bytes per loaded byte: O_DIRECT, memcpy
BUSY = 0.2  # share of all cores that other processes may take


class Impossible(UserError):
    """A profile holds what cannot be true."""


def content(rows: Rows, name: str) -> dict[str, Any]:
    """The profile as its YAML holds it. Raises UserError where rows are missing or cannot tell a figure."""
    machine, figures = machine_of(rows), Figures(rows)
    parts = (_unified if machine["unified"] else _discrete)(rows, figures)
    home = "disk" if machine["home"] == "disk" else "host memory"
    busy = f", beside foreign load of {machine['foreign']:.0%}" if machine["foreign"] > BUSY else ""
    title = f"A machine calibrated on {machine['day']}{busy}: {machine['unit'].upper()}, experts in {home}"
    kind = "unified" if machine["unified"] else "discrete"
    said = {"schema": 1, "name": name, "title": title, "memory": kind, **parts, "devices": [machine["unit"]]}
    return _with_data_sheet(said, machine["device"])


def too_busy(foreign: float) -> str:
    """Why figures taken beside that share of foreign load are worth nothing; empty where the machine was quiet enough."""
    if foreign <= BUSY:
        return ""
    return (
        f"foreign load {foreign:.0%}: other processes took more than {BUSY:.0%} of the cores, so what is measured is theirs too; end them "
        "and calibrate again, or write the profile with --force, labelled so"
    )


def _with_data_sheet(content: dict[str, Any], device: str) -> dict[str, Any]:
    """The profile with what the data sheet says of a device that the library knows."""
    for path, figure in data_sheet_of(device).items():
        *parents, last = path.split(".")
        node = content
        for key in parents:
            node = node.setdefault(key, {})
        value = figure.value if figure.dimension in NUMBERS else figure.text
        node[last] = {"value": value, "kind": figure.kind, "source": figure.source}
    return content


def _unit(rows: Rows, f: Figures) -> dict[str, Any]:
    """What computes."""
    machine = machine_of(rows)
    return units.gpu(rows, f) if machine["unit"] == "gpu" else units.cpu(rows, f, machine["library"])


def _unified(rows: Rows, f: Figures) -> dict[str, Any]:
    machine, unit, (load, link) = machine_of(rows), _unit(rows, f), _link(rows, f)
    total, available = machine["memory_bytes"]
    own = parse(unit["bandwidth"]["value"], "bandwidth")
    alone, beside = (_beside(rows, other) for other in ("alone", "load"))
    shares = [min(beside.get(end, beside["per_s"]) / alone["per_s"], 1.0) for end in ("lo", "per_s", "hi")]
    law = fit.shared(own, own * shares[1], load, IN_PLACE if machine["home"] == "disk" else COPIED)
    w, n = law.bytes_per_loaded_byte, samples([alone, beside])
    met = (
        f"products beside loads ran at {shares[1]:.0%} of {nbytes(own)}/s; a load ran at {nbytes(load)}/s alone "
        f"and at {nbytes(beside['load_gbs'] * 1e9)}/s beside products"
    )
    if machine["home"] == "disk":
        home, capacity = "disk", f.stated(total, "the operating system")
        tier = f.store(_reads(rows), machine["disk_bytes"], load)
    else:
        half = available // 2
        home, capacity = "host_buffer", f.chosen(total - half, "what the host buffer leaves of the memory")
        tier = {"capacity": f.chosen(half, "half of the memory that was free"), "bandwidth": link["bandwidth"]}
    ends = [max(own, own * x + w * load) for x in shares]
    most = whole(law.bytes_per_s, "bandwidth", up=True)
    return {
        "tiers": {"dram": {"capacity": capacity, "bandwidth": f.figure("bandwidth", most, ends, n, met)}, home: tier},
        "units": {machine["unit"]: {"memory": "dram", **unit}},
        "link": {"from": home, "to": "dram", **link},
        "reserved": f.stated(total - available, "in use when it began"),
        W: {"value": w, "kind": "measured", "source": f"{f.here}, {n} samples, {met}"},
    }  # fmt: skip


def _beside(rows: Rows, other: str) -> Row:
    found = [row for row in of(rows, "beside", other=other) if other == "alone" or "load_gbs" in row]
    if not found:
        raise UserError(
            f"no row of kind beside and other {other!r}: on one memory a product must be timed alone and while experts are loaded, with "
            "load_gbs"
        )
    return found[0]


def _discrete(rows: Rows, f: Figures) -> dict[str, Any]:
    machine, own, (load, link) = machine_of(rows), _unit(rows, f), _link(rows, f)
    (total, free), host = machine["device_bytes"], units.cpu(rows, f, "the CPU")
    fastest = max((own[key] for key in ("bandwidth", "grouped_bandwidth") if key in own), key=_rate)
    tiers = {
        "device": {"capacity": f.stated(total, "the device"), "bandwidth": fastest},
        "dram": {"capacity": f.stated(machine["memory_bytes"][0], "the operating system"), "bandwidth": _host(rows, f, host)},
    }  # fmt: skip
    link |= _slow_and_back(rows, f, load)
    if machine["home"] == "disk":
        reads = _reads(rows)
        path, up = f.path(
            [row for row in reads if row["depth"] == 1], "O_DIRECT reads, one in flight", limits.STORE.least
        )
        del up["efficiency"]
        tiers["disk"] = f.store(reads, machine["disk_bytes"], whole(path.bytes_per_s, "bandwidth"))
        link["upstream"] = {"from": "disk", **up, "pipelined": False}
    return {
        "tiers": tiers,
        "units": {machine["unit"]: {"memory": "device", **own}, "cpu": {"memory": "dram", **host}},
        "link": {"from": "dram", "to": "device", **link},
        "reserved": f.stated(total - free, "in use when it began, the device"),
    }


def _rate(figure: Mapping[str, Any]) -> int:
    return parse(figure["value"], "bandwidth")


def _host(rows: Rows, f: Figures, host: Mapping[str, Any]) -> dict[str, Any]:
    """What host memory delivers: the faster of plain reads and of products."""
    reads = of(rows, "memread")
    large = [row for row in reads if row["bytes"] >= fit.CACHES * machine_of(rows)["host_llc_bytes"]]
    if not large:
        return dict(host["bandwidth"])
    best = max(points_of(large), key=lambda point: point.bytes / point.seconds)
    return max(f.rate(large, best, "read by all threads"), host["bandwidth"], key=_rate)


def _slow_and_back(rows: Rows, f: Figures, load: int) -> dict[str, Any]:
    """Out of pageable memory, at most as fast as out of pinned memory, and back to the host."""
    found = dict[str, Any]()
    for key, what, words in (
        ("pageable", "h2d pageable", "copies from pageable memory"), ("write_bandwidth", "d2h pinned", "copies back"),
    ):  # fmt: skip
        some = of(rows, "copy", what=what)
        if some:
            last = max(some, key=lambda row: row["bytes"])
            ends = [min(last["bytes"] / microseconds(last, end) * 1e6, load) for end in ("hi", "us", "lo")]
            found[key] = f.figure("bandwidth", ends[1], ends, samples([last]), f"{words} of {nbytes(last['bytes'])}")
    return found


def _reads(rows: Rows) -> Rows:
    """Reads of the disk. Raises UserError for those that the page cache may have answered."""
    reads = of(rows, "disk", what="read")
    if not any(row.get("depth") == 1 for row in reads) or any(not row.get("direct") for row in reads):
        raise UserError(
            "the rows hold no reads of the disk past the page cache (kind disk, direct true); the page cache's rate is not the disk's"
        )
    return reads


def _link(rows: Rows, f: Figures) -> tuple[int, dict[str, Any]]:
    """Bytes per second and the entry of the path along which experts come."""
    machine = machine_of(rows)
    seen = _beside(rows, "load")["load_gbs"] * 1e9 if machine["unified"] else None
    if machine["unified"] and machine["home"] == "disk":
        reads = [row for row in _reads(rows) if row["depth"] == 1]
        path, entry = f.path(reads, "O_DIRECT reads, one in flight", limits.STORE.least, seen)
    elif machine["unit"] == "cpu":
        path, entry = f.path(_copies(rows, "host to host"), COPY, limits.COPY.least, seen)
    else:
        path, entry = f.path(_copies(rows, "h2d pinned"), PINNED, limits.LINK.least, seen)
    return whole(path.bytes_per_s, "bandwidth"), entry


def _copies(rows: Rows, what: str) -> Rows:
    found = of(rows, "copy", what=what, how="back to back")
    if len(found) < 2:
        raise UserError(f"{len(found)} rows of kind copy, what {what!r}, how 'back to back'; a link needs two sizes")
    return found


def writable(path: Path, force: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Raises UserError for a file that exists, unless `force`, and for what cannot be written or is one of the inputs."""
    if path.exists() and not force:
        raise UserError(f"{path} exists; name another file with --out, or overwrite it with --force")
    check_outputs({"--out": path}, inputs)


def write(profile: Mapping[str, Any], path: Path, force: bool) -> Hardware:
    """The machine, loaded from the file before it takes its name. Raises UserError."""
    writable(path, force)
    text = yaml.safe_dump(dict(profile), sort_keys=False, width=140, allow_unicode=True, default_flow_style=None)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.stem}.", suffix=".yaml", encoding="utf-8"
    ) as checked:
        checked.write(text)  # beside the profile: it may extend another file there
        checked.flush()
        try:
            hw = hardware_profiles.load(checked.name)
        except UserError as error:  # what it says is of the file that would be written
            raise UserError(str(error).replace(Path(checked.name).name, path.name)) from None
    if not force and (wrong := hardware_profiles.doubts(hw)):
        raise Impossible(f"{'; '.join(wrong)}. Nothing was written; --force writes it all the same")
    with atomic(path) as stream:
        stream.write(text)
    return hw
