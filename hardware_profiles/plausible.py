"""What cannot be true of a machine: a rate above its data sheet's peak, or above what its kind of memory, link or unit can do; a time that
no machine needs, or that none takes, a clock or a number of processors that none has (limits.py).

The loader refuses what does not fit together. What is asked here is whether a figure could be that of any machine. The bound of a
rate is the first of these that is known: the profile's own `peak`; what the words of the title or source say of channels or lanes; the
peak of the bundled profile of the device that the source names; the fastest memory or link of that kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from simmoe.hardware_profiles import limits
from simmoe.hardware_profiles.ranges import is_bound, is_peak
from simmoe.hardware_profiles.reading import BOTH, FOLDER, merged
from simmoe.hardware_profiles.schema import Checked
from simmoe.simulator.nouns.hardware import Figure, Hardware
from simmoe.simulator.physics.link import pcie_bytes_per_s
from simmoe.simulator.units import text

GB = 10**9


class Bound(NamedTuple):
    """The most that can be, in base units, and why."""

    most: int
    why: str


FASTEST = {  # by kind of memory or link
    "hbm": Bound(22_528 * GB, "eight stacks of HBM4, 2,048 bits x 11 Gbit/s each"),
    "gddr": Bound(2_048 * GB, "512 bits of GDDR7 at 32 Gbit/s (JESD239)"),
    "dram": Bound(3_276_800_000_000, "two sockets with 16 channels of DDR5-12800 each"),
    "store": Bound(30_250_000_000, "a drive on four lanes of PCIe 6.0: 64 GT/s x 4 x 242/256 / 8"),
    "link": Bound(900 * GB, "NVLink-C2C of its second generation, each way"),
    "fabric": Bound(1_800 * GB, "NVLink of its sixth generation, each way"),
    "fp32": Bound(500 * 10**12, "twice the fastest vector units sold in 2026"),
    "fp16": Bound(8_000 * 10**12, "twice the fastest dense matrix units announced in 2026"),
    "fp8": Bound(35_000 * 10**12, "twice the fastest dense matrix units announced in 2026"),
}
FASTEST |= {"bf16": FASTEST["fp16"], "int8": FASTEST["fp8"]}
_BOX = "twice a Jetson AGX Thor or DGX Spark, the fastest GPUs on LPDDR in 2026 by their data sheets, dense"
_CPU = "two sockets of the most cores sold in 2026"
SLOWER = {  # units that read no HBM or GDDR, by kind of unit and number
    "box fp32": Bound(62 * 10**12, _BOX), "box fp16": Bound(518 * 10**12, _BOX), "box fp8": Bound(1_035 * 10**12, _BOX),
    "cpu fp32": Bound(100 * 10**12, f"{_CPU}: 384 x 64 FLOP a clock at 4 GHz (AVX-512)"),
    "cpu fp16": Bound(1_700 * 10**12, f"{_CPU}: 256 x 2,048 FLOP a clock at 3.2 GHz (AMX)"),
    "cpu fp8": Bound(3_400 * 10**12, f"{_CPU}: 256 x 4,096 operations a clock at 3.2 GHz (AMX)"),
}  # fmt: skip
SLOWER |= {
    f"{kind} {number}": SLOWER[f"{kind} {like}"]
    for kind in ("box", "cpu")
    for number, like in (("bf16", "fp16"), ("int8", "fp8"))
}
FASTEST |= SLOWER
KINDS = {"hbm": "hbm", "gddr": "gddr", "flash|nvme|ssd|disk|drive|ufs|emmc": "store", "ddr|dram|host": "dram"}
BOOST_PERCENT = 105  # a peak in FLOP/s is stated at a boost clock, which cards exceed: 1.2 % were seen on an RTX 4090
SOLD_AS = {  # what the driver calls a device -> the bundled profile with its data sheet
    "NVIDIA A10": "a10", "NVIDIA A40": "a40", "NVIDIA A100-PCIE-40GB": "a100_pcie_40", "NVIDIA A100 80GB PCIe": "a100_pcie_80",
    "NVIDIA A100-SXM4-40GB": "a100_sxm_40", "NVIDIA A100-SXM4-80GB": "a100", "NVIDIA B200": "b200",
    "NVIDIA GH200 480GB": "gh200", "NVIDIA H100 80GB HBM3": "h100", "NVIDIA H100 PCIe": "h100_pcie", "NVIDIA H200": "h200",
    "NVIDIA L4": "l4", "NVIDIA L40S": "l40s", "NVIDIA GeForce GTX 1080 Ti": "gtx_1080_ti",
    "NVIDIA GeForce GTX 1650 SUPER": "gtx_1650_super", "NVIDIA GeForce RTX 2080": "rtx_2080",
    "NVIDIA GeForce RTX 2080 Ti": "rtx_2080_ti", "NVIDIA GeForce RTX 3060": "rtx_3060", "NVIDIA GeForce RTX 3070": "rtx_3070",
    "NVIDIA GeForce RTX 3080": "rtx_3080", "NVIDIA GeForce RTX 3080 Ti": "rtx_3080_ti", "NVIDIA GeForce RTX 3090": "rtx_3090",
    "NVIDIA GeForce RTX 4070": "rtx_4070", "NVIDIA GeForce RTX 4070 Ti": "rtx_4070_ti", "NVIDIA GeForce RTX 4080": "rtx_4080",
    "NVIDIA GeForce RTX 4090": "rtx_4090", "NVIDIA GeForce RTX 4090 D": "rtx_4090_d", "NVIDIA GeForce RTX 5060 Ti": "rtx_5060_ti",
    "NVIDIA GeForce RTX 5070": "rtx_5070", "NVIDIA GeForce RTX 5070 Ti": "rtx_5070_ti", "NVIDIA GeForce RTX 5080": "rtx_5080",
    "NVIDIA GeForce RTX 5090": "rtx_5090", "NVIDIA RTX A6000": "rtx_a6000", "NVIDIA RTX 4000 Ada Generation": "rtx_4000_ada",
    "NVIDIA RTX 5000 Ada Generation": "rtx_5000_ada", "NVIDIA RTX 6000 Ada Generation": "rtx_6000_ada",
    "NVIDIA RTX PRO 4500 Blackwell": "rtx_pro_4500", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": "rtx_pro_6000",
    "Quadro RTX 6000": "quadro_rtx_6000", "Tesla P100-PCIE-16GB": "tesla_p100", "Tesla T4": "t4", "Tesla V100-PCIE-16GB": "tesla_v100",
}  # fmt: skip
_CHANNELS = re.compile(r"(\d+) channels? of (?:LP)?DDR\d-(\d+)")
_LANES = re.compile(r"PCIe ([3-5])(?:\.0)? x(\d+)")
_GIGA_TRANSFERS = {"3": 8, "4": 16, "5": 32}


def doubts(hw: Hardware) -> list[str]:
    """One line for each figure that cannot be true."""
    found, peaks = list[str](), _peaks(hw)
    for path, kind, peak in _bounded(hw):
        figure = hw.figures.get(path)
        if figure is None:
            continue
        bound = _bound(hw, path, kind, peaks.get(peak))
        percent = BOOST_PERCENT if figure.dimension == "compute" else 100
        if figure.value * 100 > bound.most * percent:
            most = text(bound.most, figure.dimension)
            found.append(f"{path}: {figure.text} ({figure.kind}) cannot be true: the most is {most}, {bound.why}")
    stores = frozenset(name for name in hw.tiers if _memory(hw, name) == "store")
    cpus = frozenset(name for name in hw.units if _kind_of_unit(hw, name) == "cpu ")
    return found + limits.doubts(hw, stores, cpus)


def data_sheet_of(device: str) -> Mapping[str, Figure]:
    """Peaks, processors and clock of a device by the name that its driver gives it, dotted path -> figure; empty where none is bundled."""
    name = SOLD_AS.get(device)
    if name is None:
        return {}
    figures = Checked(merged(FOLDER / f"{name}.yaml"), name).figures
    own = ("units.gpu.processors", "units.gpu.clock")
    return {path: figure for path, figure in figures.items() if path.startswith("peak.") or path in own}


def _peaks(hw: Hardware) -> dict[str, Bound]:
    """What the data sheet states, the profile's own before that of the device which its source names."""
    read = hw.figures.get(f"units.{hw.device.name}.bandwidth")
    named = read.source.rpartition(" on ")[2] if read else ""
    sheet = data_sheet_of(named).items()
    found = {path: Bound(peak.value, f"the peak of the {named}: {peak.source}") for path, peak in sheet}
    own = {path: peak for path, peak in hw.figures.items() if is_bound(path, peak)}
    found |= {path: Bound(peak.value, f"{path}: {peak.source}") for path, peak in own.items()}
    for one, other in BOTH.items():
        if f"peak.flops.{one}" in found:
            found.setdefault(f"peak.flops.{other}", found[f"peak.flops.{one}"])
    return found


def _bounded(hw: Hardware) -> Iterator[tuple[str, str, str]]:
    """Path of each rate, its kind, and the path of the peak that bounds it, if it is stated."""
    first, store = hw.device.name, "peak.link_bandwidth" if hw.unified else ""
    peak_of = {name: f"tiers.{name}.peak_bandwidth" for name in hw.tiers} | {hw.device.memory: "peak.memory_bandwidth"}
    if f"tiers.{hw.home.name}.peak_bandwidth" not in hw.figures:
        peak_of[hw.home.name] = store
    for name in hw.tiers:
        yield f"tiers.{name}.bandwidth", _memory(hw, name), peak_of[name]
        yield f"tiers.{name}.peak_bandwidth", _memory(hw, name), ""
    for name, unit in hw.units.items():
        for rate in ("bandwidth", "grouped_bandwidth"):
            yield f"units.{name}.{rate}", _memory(hw, unit.memory), peak_of[unit.memory]
        for number in unit.flops_per_s:
            kind = f"{_kind_of_unit(hw, name)}{number}"
            yield f"units.{name}.flops.{number}", kind, f"peak.flops.{number}" if name == first else ""
    for path in ("link", *(f"links.{name}" for name in hw.more_links)):
        kind = _memory(hw, hw.home.name) if hw.unified else "link"
        for rate in ("bandwidth", "write_bandwidth", "managed.bandwidth"):
            yield f"{path}.{rate}", kind, "peak.link_bandwidth" if path == "link" else ""
        yield f"{path}.upstream.bandwidth", "store", ""
    yield "fabric.bandwidth", "fabric", ""
    yield "peak.memory_bandwidth", _memory(hw, hw.device.memory), ""
    yield "peak.link_bandwidth", _memory(hw, hw.home.name) if hw.unified else "link", ""
    for path in hw.figures:
        if path.startswith("peak.flops."):
            yield path, f"{_kind_of_unit(hw, first)}{path.rpartition('.')[2]}", ""


def _kind_of_unit(hw: Hardware, name: str) -> str:
    """The word of SLOWER for a unit: the kind of its memory and its name say it; empty for what reads HBM or GDDR."""
    if _memory(hw, hw.units[name].memory) != "dram":
        return ""
    return "box " if "gpu" in name.lower() else "cpu "


def _memory(hw: Hardware, tier: str) -> str:
    """What kind of memory a tier is: its name says it, or who reads it."""
    for words, kind in KINDS.items():
        if re.search(words, tier.lower()):
            return kind
    read_by = [name for name, unit in hw.units.items() if unit.memory == tier]
    if not hw.unified and set(read_by) & set(hw.devices):
        return "hbm"
    return "dram" if read_by or not hw.unified else "store"


def _bound(hw: Hardware, path: str, kind: str, peak: Bound | None) -> Bound:
    figure = hw.figures[path]
    if peak or figure.dimension != "bandwidth":
        return peak or FASTEST[kind]
    said = figure.source if kind == "store" or is_peak(path) else f"{hw.title}; {figure.source}"
    stated = list[Bound]()
    if kind == "dram":
        stated += [
            Bound(int(n) * int(rate) * 8 * 10**6, f"{n} channels x 8 bytes x {rate} MT/s")
            for n, rate in _CHANNELS.findall(said)
        ]
    if kind in ("link", "store"):
        stated += [Bound(_lanes(g, int(n)), f"PCIe {g}.0 x{n}") for g, n in _LANES.findall(said)]
    return max(stated, default=FASTEST[kind])


def _lanes(generation: str, lanes: int) -> int:
    """Bits of a link one way without any packet header, to the next MB/s, as data sheets round it."""
    return -(-pcie_bytes_per_s(_GIGA_TRANSFERS[generation], lanes, overhead=0) // 10**6) * 10**6
