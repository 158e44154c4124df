"""How far a figure may be from the truth, and the slowest and fastest machine that agree with a profile.

A measurement differs from the next board by a few percent; a data sheet states what nothing exceeds; a number that was carried over
or remembered may be off by a quarter. A profile that knows better says so with `range`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from simmoe.simulator.nouns.hardware import ComputeUnit, Figure, Hardware, Link, Tier
from simmoe.simulator.units import text

RATES = ("bandwidth", "compute")
RISING = (*RATES, "exponent", "frequency")  # the more, the faster
EXACT = ("size", "bytes", "count", "price")  # chosen, sold or counted: known exactly unless the file gives a range
PERCENT = {"measured": (95, 105), "assumed": (75, 125)}


def spread(value: int, dimension: str, kind: str) -> tuple[int, int]:
    """Lowest and highest value of a figure without a range."""
    if dimension in EXACT:
        return value, value
    low, high = PERCENT.get(kind, (70, 100) if dimension in RATES else (100, 100))
    step = 1000 if dimension == "bandwidth" else 1  # bandwidths are whole bytes per ms
    least = 1000 if dimension in ("bandwidth", "exponent") else 1
    ends = min(value, max(least, value * low // 100 // step * step)), value * high // 100 // step * step
    return ends[0], max(value, ends[1])


def is_peak(path: str) -> bool:
    """Whether a figure is what a data sheet calls the peak of a memory, a link or a unit."""
    return path.startswith("peak.") or path.endswith(".peak_bandwidth")


def is_bound(path: str, figure: Figure) -> bool:
    """Whether a figure is a peak that no rate exceeds. One that was assumed, for a host of the reader's choice, bounds nothing."""
    return path.startswith("peak.") or (path.endswith(".peak_bandwidth") and figure.kind != "assumed")


def below_peak(hw: Hardware) -> dict[str, Figure]:
    """The figures of a machine, no range of a rate reaching past the peak that the profile states beside it."""
    figures = dict(hw.figures)
    for path, peak in hw.figures.items():
        for rate in _below(hw, path) if is_bound(path, peak) else ():
            if rate in figures:
                figure = figures[rate]
                figures[rate] = replace(figure, high=min(figure.high, max(figure.value, peak.value)))
    return figures


def _below(hw: Hardware, path: str) -> list[str]:
    """The rates that the peak at `path` bounds."""
    alike = _alike(hw)
    if path == "peak.link_bandwidth":
        return ["link.bandwidth", *(f"links.{name}.bandwidth" for name in alike[1:])]
    if path.startswith("peak.flops."):
        return [f"units.{name}.{path.removeprefix('peak.')}" for name in alike]
    tier = hw.device.memory if path == "peak.memory_bandwidth" else path.split(".")[1]
    return [
        f"tiers.{tier}.bandwidth",
        *(f"units.{name}.bandwidth" for name, unit in hw.units.items() if unit.memory == tier),
    ]


def _alike(hw: Hardware) -> list[str]:
    """The first device, and those of several that are like it: what is stated under `peak` is said of the first."""
    first = hw.device
    return [name for name in hw.devices if replace(hw.units[name], name=first.name, memory=first.memory) == first]


Pick = Callable[[str, int], int]  # path of a figure and its value -> the value to take


def bounds(hw: Hardware) -> tuple[Hardware, Hardware]:
    """The pessimistic and the optimistic machine: every rate and latency at the end of its range that slows, or speeds.

    Capacities, reserved memory, power and price stay.
    """
    return _moved(hw, fast=False), _moved(hw, fast=True)


def _moved(hw: Hardware, fast: bool) -> Hardware:
    word = "optimistic" if fast else "pessimistic"
    ends = {path: _end(path, figure, fast) for path, figure in hw.figures.items()}
    return replace(with_figures(hw, ends, word), title=f"{hw.title}, {word} end of every range")


def with_figures(hw: Hardware, figures: Mapping[str, Figure], word: str) -> Hardware:
    """The machine with other figures, each by its path; `word` tells its name and digest from those of the first one.

    A rate that would exceed its tier is cut to the tier's, and the link of a unified machine to what leaves the device a rest, so that
    the loader would accept the machine. Curves, power, heat and price stay.
    """

    def pick(path: str, value: int) -> int:
        return figures[path].value if path in figures else value

    tiers = {name: _tier(tier, name == hw.device.memory, pick) for name, tier in hw.tiers.items()}
    units = {name: _unit(unit, tiers[unit.memory], pick) for name, unit in hw.units.items()}
    w = pick("dram_bytes_per_loaded_byte", hw.dram_bytes_per_loaded_byte)
    link = _link("link", hw.link, tiers, pick)
    more = {name: _link(f"links.{name}", one, tiers, pick) for name, one in hw.more_links.items()}
    fabric = hw.fabric and replace(
        hw.fabric, bytes_per_s=pick("fabric.bandwidth", hw.fabric.bytes_per_s),
        latency_ps=pick("fabric.latency", hw.fabric.latency_ps),
    )  # fmt: skip
    if hw.unified:
        most = (tiers[link.dst].bytes_per_s - 1000) // w // 1000 * 1000
        link = replace(link, bytes_per_s=min(link.bytes_per_s, most))
    return replace(
        hw, name=f"{hw.name} ({word})", tiers=tiers, units=units, link=link, more_links=more, fabric=fabric,
        reserved_bytes=pick("reserved", hw.reserved_bytes), dram_bytes_per_loaded_byte=w, figures={**hw.figures, **figures},
        digest=hashlib.sha256(f"{hw.digest} {word}".encode()).hexdigest(),
    )  # fmt: skip


def _tier(tier: Tier, of_device: bool, pick: Pick) -> Tier:
    at = f"tiers.{tier.name}"
    peak = "peak.memory_bandwidth" if of_device else f"{at}.peak_bandwidth"
    return replace(
        tier, capacity_bytes=pick(f"{at}.capacity", tier.capacity_bytes), bytes_per_s=pick(f"{at}.bandwidth", tier.bytes_per_s),
        peak_bytes_per_s=_known(pick, peak, tier.peak_bytes_per_s),
    )  # fmt: skip


def _end(path: str, figure: Figure, fast: bool) -> Figure:
    """The figure moved to one end of its range; what is no rate, latency, softness, clock or count stays."""
    stays = (
        is_peak(path)
        or path.startswith(("modes.", "price", "power."))
        or path.endswith((".processors", ".queue_depth"))
    )
    if stays or figure.dimension not in (*RISING, "time", "count"):
        return figure
    high = fast == (figure.dimension in RISING)
    value = figure.high if high else figure.low
    return replace(figure, value=value, text=text(value, figure.dimension))


def _unit(unit: ComputeUnit, tier: Tier, pick: Pick) -> ComputeUnit:
    at = f"units.{unit.name}"
    flops = {number: pick(f"{at}.flops.{number}", rate) for number, rate in unit.flops_per_s.items()}
    grouped = unit.grouped_bytes_per_s
    return replace(
        unit, flops_per_s=flops, launch_ps=pick(f"{at}.launch", unit.launch_ps),
        bytes_per_s=min(pick(f"{at}.bandwidth", unit.bytes_per_s), tier.bytes_per_s),
        softness=_exponent(pick, f"{at}.softness", unit.softness),
        grouped_softness=_exponent(pick, f"{at}.grouped_softness", unit.grouped_softness),
        grouped_launch_ps=_known(pick, f"{at}.grouped_launch", unit.grouped_launch_ps),
        grouped_bytes_per_s=None if grouped is None else min(pick(f"{at}.grouped_bandwidth", grouped), tier.bytes_per_s),
        graph_launch_ps=_known(pick, f"{at}.graph_launch", unit.graph_launch_ps),
        host_wait_ps=pick(f"{at}.host_wait", unit.host_wait_ps),
        hand_over_ps=_known(pick, f"{at}.hand_over", unit.hand_over_ps),
        kernel_floor_ps=_known(pick, f"{at}.kernel_floor", unit.kernel_floor_ps),
        graph_kernel_floor_ps=_known(pick, f"{at}.graph_kernel_floor", unit.graph_kernel_floor_ps),
        processors=_known(pick, f"{at}.processors", unit.processors),
        clock_hz=_known(pick, f"{at}.clock", unit.clock_hz),
        quantised_bytes_per_s=_known(pick, f"{at}.quantised_bandwidth", unit.quantised_bytes_per_s),
        thread_bytes_per_s=_known(pick, f"{at}.thread_bandwidth", unit.thread_bytes_per_s),
        reserved_bytes=_known(pick, f"{at}.reserved", unit.reserved_bytes),
    )  # fmt: skip


def _known(pick: Pick, path: str, value: int | None) -> int | None:
    return None if value is None else pick(path, value)


def _exponent(pick: Pick, path: str, value: float | None) -> float | None:
    return None if value is None else pick(path, round(value * 1000)) / 1000


def _link(at: str, link: Link, tiers: dict[str, Tier], pick: Pick) -> Link:
    up, slow, back, managed = link.upstream, link.pageable_bytes_per_s, link.write_bytes_per_s, link.managed
    rate = min(pick(f"{at}.bandwidth", link.bytes_per_s), tiers[link.src].bytes_per_s)
    if up is not None:
        up = replace(
            up, latency_ps=pick(f"{at}.upstream.latency", up.latency_ps),
            bytes_per_s=min(pick(f"{at}.upstream.bandwidth", up.bytes_per_s), tiers[up.src].bytes_per_s),
        )  # fmt: skip
    return replace(
        link, bytes_per_s=rate, latency_ps=pick(f"{at}.latency", link.latency_ps), upstream=up,
        queue_depth=_known(pick, f"{at}.queue_depth", link.queue_depth),
        pinned_capacity_bytes=_known(pick, f"{at}.pinned_capacity", link.pinned_capacity_bytes),
        pageable_bytes_per_s=None if slow is None else min(pick(f"{at}.pageable", slow), rate),
        write_bytes_per_s=None if back is None else pick(f"{at}.write_bandwidth", back), managed=managed and replace(
            managed, bytes_per_s=pick(f"{at}.managed.bandwidth", managed.bytes_per_s),
            page_bytes=pick(f"{at}.managed.page", managed.page_bytes),
            fault_ps=pick(f"{at}.managed.fault", managed.fault_ps),
        ),
    )  # fmt: skip
