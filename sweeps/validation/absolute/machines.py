"""The machine of a row: a bundled GPU, in a bundled host where the host matters, with what the row's source measured beside."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache

from simmoe import hardware_profiles
from simmoe.hardware_profiles import building, composing, host
from simmoe.hardware_profiles.reading import changed
from simmoe.hardware_profiles.schema import Checked
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.sweeps.validation.absolute.engines import constants
from simmoe.sweeps.validation.absolute.rows import Row

HOSTS = {  # the CPU of a row: the bundled host; one socket, unless the engine copies weights to both
    "ryzen_7950x": "ddr5_5200_2ch_7950x", "xeon_6138": "ddr4_2666_6ch", "tr_7965wx": "ddr5_4800_8ch_7965wx", "xeon_8480": "ddr5_4800_8ch",
    "xeon_6454s": "ddr5_4800_8ch", "xeon_6454s_x2": "ddr5_4800_8ch_2s", "i9_14900k_ddr5_6800": "ddr5_6800_2ch", "h200_vm": "ddr5_4800_8ch",
}  # fmt: skip
ANY_HOST = (
    "ddr5_6000_2ch"  # of prompts whose experts cross the link: their host is not stated, and only its link matters
)
ROOM = "4 TB"  # what ran did fit, whatever the bundled machine of that name has
CPUS = {  # cores of the CPUs of rows, and the clock in Hz that all of them keep, from data sheets
    "ryzen_7950x": (16, 4_500_000_000), "xeon_6138": (20, 2_400_000_000), "tr_7965wx": (24, 4_200_000_000),
    "xeon_8480": (56, 2_800_000_000), "xeon_6454s": (32, 2_600_000_000), "xeon_6454s_x2": (64, 2_600_000_000),
    "i9_14900k_ddr5_6800": (24, 4_500_000_000), "h200_vm": (8, 3_000_000_000),
}  # fmt: skip
PEAKS = {"h200_vm": "95 GB/s"}  # of host memory, where that of a rented machine was measured beside its rows


def of(row: Row, known: bool = False) -> Hardware:
    """known: with the rate of the host, or of the link, that other rows of the same machine show. Raises UserError."""
    changes = {"peak": PEAKS[row.host]} if row.host in PEAKS else {}
    if known and (rate := constants()["host rates"].get(row.id)):
        changes["rate"] = f"{rate / 1e9:.4g} GB/s"
    if "pinned" not in row.assumed and (rate := constants()["link rates"].get(row.id)):
        changes["link"] = f"{rate / 1e9:.4g} GB/s"
    made = _made(row.gpu, HOSTS.get(row.host, ""), bool(row.on_cpu), tuple(changes.items()))
    return _with_cpu(made, row) if row.host else made


def _with_cpu(hw: Hardware, row: Row) -> Hardware:
    """With the cores and the clock of the row's CPU in place of the bundled host's; of a CPU alone as many as it ran threads on."""
    cores, clock_hz = CPUS[row.host]
    used = cores if row.gpu or not row.threads else min(cores, row.threads)
    units = {
        name: replace(unit, processors=used, clock_hz=clock_hz) if name == composing.CPU else unit
        for name, unit in hw.units.items()
    }
    return replace(hw, units=units)


@cache
def _made(gpu: str, host_name: str, offloads: bool, said: tuple[tuple[str, str], ...]) -> Hardware:
    changes = dict(said)
    if not gpu:
        return _alone(host_name, changes)
    if host_name or offloads:
        paths = {
            "peak": "tiers.host_dram.peak_bandwidth",
            "rate": "units.cpu.quantised_bandwidth",
            "link": "link.pageable",
        }
        name = f"{gpu}+{host_name or ANY_HOST}"
        if "link" in changes:  # no copy is quicker than the slot
            slot = hardware_profiles.load(name).link.bytes_per_s
            changes["link"] = f"{min(float(changes['link'].split()[0]), slot / 1e9):.4g} GB/s"
        figures = {paths[one]: value for one, value in changes.items()} | {"tiers.host_dram.capacity": ROOM}
        return hardware_profiles.load(name, figures | _room(gpu))
    return hardware_profiles.load(gpu, _room(gpu))


def _room(gpu: str) -> dict[str, str]:
    return {f"tiers.{hardware_profiles.load(gpu).device.memory}.capacity": ROOM}


def _alone(name: str, changes: dict[str, str]) -> Hardware:
    """A host without a GPU: what it computes with is its CPU."""
    said = composing.alone(host.load(name)[0])
    memory = said["units"][composing.CPU]["memory"]
    paths = {"peak": "peak.memory_bandwidth", "rate": "units.cpu.quantised_bandwidth"}
    figures = {paths[one]: value for one, value in changes.items() if one in paths} | {f"tiers.{memory}.capacity": ROOM}
    said = changed(said, figures, Checked(said, name))
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return building.build(said, Checked(said, name), digest)
