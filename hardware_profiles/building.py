"""A checked profile becomes a `Hardware`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simmoe.hardware_profiles.fitting import check
from simmoe.hardware_profiles.ranges import below_peak
from simmoe.hardware_profiles.schema import Checked, W
from simmoe.simulator.nouns.hardware import ComputeUnit, Fabric, Hardware, Link, Managed, Power, Thermal, Tier, Upstream

Points = tuple[tuple[int, float], ...]  # of a curve


def build(doc: Mapping[str, Any], checked: Checked, digest: str) -> Hardware:
    """Raises UserError where the parts do not fit together."""
    hw = _assemble(doc, checked, digest)
    check(hw, checked.file)
    return replace(hw, figures=below_peak(hw), tiers=_with_peaks(hw))


def _with_peaks(hw: Hardware) -> dict[str, Tier]:
    """The tiers; what the data sheet says of the device's memory stands under `peak`, of the others beside their bandwidth."""
    paths = {name: f"tiers.{name}.peak_bandwidth" for name in hw.tiers} | {hw.device.memory: "peak.memory_bandwidth"}
    values = {path: figure.value for path, figure in hw.figures.items()}
    return {name: replace(tier, peak_bytes_per_s=values.get(paths[name])) for name, tier in hw.tiers.items()}


def _assemble(doc: Mapping[str, Any], checked: Checked, digest: str) -> Hardware:
    n = {path: figure.value for path, figure in checked.figures.items()}
    curves = {path: curve.points for path, curve in checked.curves.items()}
    tiers = {
        t: Tier(t, n[f"tiers.{t}.capacity"], n[f"tiers.{t}.bandwidth"], curves.get(f"tiers.{t}.queue", ()))
        for t in doc["tiers"]
    }
    return Hardware(
        name=doc["name"],
        title=doc["title"],
        unified=doc["memory"] == "unified",
        tiers=tiers,
        units={u: _unit(u, unit, n) for u, unit in doc["units"].items()},
        link=_link("link", doc["link"], n, curves),
        more_links={name: _link(f"links.{name}", link, n, curves) for name, link in doc.get("links", {}).items()},
        fabric=_fabric(doc["fabric"], n) if "fabric" in doc else None,
        devices=tuple(doc["devices"]),
        reserved_bytes=n["reserved"],
        dram_bytes_per_loaded_byte=n.get(W, 0),
        figures=checked.figures,
        digest=digest,
        curves=checked.curves,
        power=_power(n) if "power" in doc else None,
        thermal=_thermal(n) if "thermal" in doc else None,
        modes=tuple(doc.get("modes", ())),
    )


def _fabric(fabric: Mapping[str, Any], n: Mapping[str, int]) -> Fabric:
    return Fabric(n["fabric.bandwidth"], n["fabric.latency"], fabric.get("peer", True))


def _unit(name: str, unit: Mapping[str, Any], n: Mapping[str, int]) -> ComputeUnit:
    at = f"units.{name}"
    softness, grouped = (
        None if p is None else p / 1000 for p in (n.get(f"{at}.{k}softness") for k in ("", "grouped_"))
    )
    return ComputeUnit(
        name=name,
        memory=unit["memory"],
        bytes_per_s=n[f"{at}.bandwidth"],
        launch_ps=n[f"{at}.launch"],
        flops_per_s={number_format: n[f"{at}.flops.{number_format}"] for number_format in unit["flops"]},
        softness=softness,
        grouped_launch_ps=n.get(f"{at}.grouped_launch"),
        grouped_bytes_per_s=n.get(f"{at}.grouped_bandwidth"),
        grouped_softness=grouped,
        graph_launch_ps=n.get(f"{at}.graph_launch"),
        host_wait_ps=n.get(f"{at}.host_wait", 0),
        hand_over_ps=n.get(f"{at}.hand_over"),
        kernel_floor_ps=n.get(f"{at}.kernel_floor"),
        graph_kernel_floor_ps=n.get(f"{at}.graph_kernel_floor"),
        processors=n.get(f"{at}.processors"),
        clock_hz=n.get(f"{at}.clock"),
        quantised_bytes_per_s=n.get(f"{at}.quantised_bandwidth"),
        thread_bytes_per_s=n.get(f"{at}.thread_bandwidth"),
        reserved_bytes=n.get(f"{at}.reserved"),
    )


def _link(at: str, link: Mapping[str, Any], n: Mapping[str, int], curves: Mapping[str, Points]) -> Link:
    """curves: the points of each curve of the file by its path."""
    up, before = link.get("upstream"), f"{at}.upstream"
    upstream = up and Upstream(up["from"], n[f"{before}.bandwidth"], n[f"{before}.latency"], up["pipelined"])
    managed = (
        Managed(*(n[f"{at}.managed.{key}"] for key in ("bandwidth", "page", "fault"))) if "managed" in link else None
    )
    return Link(
        src=link["from"],
        dst=link["to"],
        bytes_per_s=n[f"{at}.bandwidth"],
        latency_ps=n[f"{at}.latency"],
        efficiency=curves.get(f"{at}.efficiency", ()),
        pageable_bytes_per_s=n.get(f"{at}.pageable"),
        duplex=link.get("duplex", "full"),
        upstream=upstream,
        write_bytes_per_s=n.get(f"{at}.write_bandwidth"),
        host_memory=link.get("host_memory", "pinned"),
        managed=managed,
        queue_depth=n.get(f"{at}.queue_depth"),
        pinned_capacity_bytes=n.get(f"{at}.pinned_capacity"),
    )


def _power(n: Mapping[str, int]) -> Power:
    names = ("idle", "max", "per_byte", "per_link_byte", "per_flop")
    return Power(*(n.get(f"power.{name}") for name in names))


def _thermal(n: Mapping[str, int]) -> Thermal:
    return Thermal(n["thermal.resistance"], n["thermal.limit"], n["thermal.ambient"])
