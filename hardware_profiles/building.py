"""A checked profile becomes a `Hardware`; what concerns the machine as a whole is checked here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simmoe.hardware_profiles.ranges import below_peak
from simmoe.hardware_profiles.schema import Checked, W
from simmoe.hardware_profiles.words import DOC, check_word
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import ComputeUnit, Fabric, Hardware, Link, Managed, Power, Thermal, Tier, Upstream

Points = tuple[tuple[int, float], ...]  # of a curve


def build(doc: Mapping[str, Any], checked: Checked, digest: str) -> Hardware:
    """Raises UserError where the parts do not fit together."""
    hw = _assemble(doc, checked, digest)
    _check_names(hw, checked.file)
    _check_rates(hw, checked.file)
    return replace(hw, figures=below_peak(hw))


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
        fabric=Fabric(n["fabric.bandwidth"], n["fabric.latency"]) if "fabric" in doc else None,
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


def _check_names(hw: Hardware, file: str) -> None:
    for unit in hw.units.values():
        check_word(unit.memory, hw.tiers, f"{file}: units.{unit.name}.memory")
    for name in hw.devices:
        check_word(name, hw.units, f"{file}: devices")
    _check_devices(hw, file)
    memory = hw.device.memory
    if hw.unified and W not in hw.figures:
        raise UserError(f"{file}: missing key {W!r}; a unified machine needs it, 1 = the load lands in place")
    if not hw.unified and W in hw.figures:
        raise UserError(f"{file}: {W} is only for memory: unified; a discrete link does not slow the GPU: remove it")
    if hw.unified and hw.cpu and hw.cpu.memory != memory:
        raise UserError(
            f"{file}: units.{hw.cpu.name}.memory is {hw.cpu.memory!r}, but a unified machine has one memory: write {memory!r}"
        )
    for number, path in enumerate(_paths(hw)):
        _check_ends(hw.alone(number), path, file)
        _check_use(hw.alone(number), path, file)


def _check_devices(hw: Hardware, file: str) -> None:
    """Several devices: each has its own memory and its own link out of one home, and a fabric joins them."""
    others = hw.devices[1:]
    if set(hw.more_links) != set(others):
        raise UserError(
            f"{file}: links must name the devices behind the first, {', '.join(others) or 'of which there are none'}, and names "
            f"{', '.join(hw.more_links) or 'none'}; the link of the first device is called link"
        )
    if (hw.fabric is None) != (not others):
        what = (
            "missing key 'fabric': it joins the devices" if others else "fabric joins several devices, and there is one"
        )
        raise UserError(f"{file}: {what}; {'add its bandwidth and latency' if others else 'remove it'} ({DOC})")
    if not others:
        return
    if hw.unified:
        raise UserError(
            f"{file}: devices lists {len(hw.devices)} units of one unified memory, which is not modelled; list one"
        )
    for name in others:
        if any(hw.units[name].memory == hw.units[other].memory for other in hw.devices if other != name):
            raise UserError(f"{file}: units.{name}.memory is that of another device; each device has its own")
        if hw.more_links[name].src != hw.link.src:
            raise UserError(
                f"{file}: links.{name}.from is {hw.more_links[name].src!r}, but the experts live on {hw.link.src!r}: write that"
            )
    if any(link.upstream for link in hw.links):
        raise UserError(
            f"{file}: a store before the links (upstream) of several devices is not modelled; remove upstream"
        )


def _paths(hw: Hardware) -> list[str]:
    """Where a profile writes the link of each device."""
    return ["link", *(f"links.{name}" for name in hw.devices[1:])]


def _check_ends(hw: Hardware, path: str, file: str) -> None:
    """The link of the only device of `hw`."""
    link, memory = hw.link, hw.device.memory
    check_word(link.src, hw.tiers, f"{file}: {path}.from")
    check_word(link.dst, hw.tiers, f"{file}: {path}.to")
    if link.dst != memory:
        raise UserError(
            f"{file}: {path}.to is {link.dst!r}, but a load must end in the memory of {hw.device.name!r}, "
            f"the device: write {memory!r}"
        )
    if link.src == memory:
        raise UserError(f"{file}: {path}.from and {path}.to are both {memory!r}; {path}.from is where the experts live")
    if link.upstream:
        _check_upstream(hw, link.upstream, file)


def _check_use(hw: Hardware, path: str, file: str) -> None:
    """How the engine uses the link needs the figures of that use."""
    link = hw.link
    known = {"pinned": True, "pageable": link.pageable_bytes_per_s, "managed": link.managed}
    if not known[link.host_memory]:
        raise UserError(
            f"{file}: {path}.host_memory is {link.host_memory!r}, but the profile has no {path}.{link.host_memory} that says how "
            f"fast that is; add it ({DOC}), or write pinned"
        )
    if link.pinned_capacity_bytes is not None:
        _check_pinned(link, path, file)
    if link.queue_depth is not None and not hw.home.queue:
        raise UserError(
            f"{file}: {path}.queue_depth is {link.queue_depth}, but tiers.{hw.home.name}.queue does not say what that gives; add "
            f"the curve ({DOC}), or remove {path}.queue_depth"
        )


def _check_pinned(link: Link, path: str, file: str) -> None:
    """A limit of pinned memory is about experts that lie in host memory, and needs the rate of those beyond it."""
    at = f"{file}: {path}.pinned_capacity"
    if link.pageable_bytes_per_s is None:
        raise UserError(
            f"{at}: missing key '{path}.pageable', the rate of what is not pinned; add it, such as --set {path}.pageable=6GB/s"
        )
    if link.host_memory != "pinned":
        raise UserError(
            f"{at}: {path}.host_memory is {link.host_memory!r}, so nothing is pinned; remove the one or the other"
        )
    if link.upstream:
        raise UserError(f"{at}: the experts live on {link.upstream.src!r}, not in host memory; remove it")


def _check_upstream(hw: Hardware, up: Upstream, file: str) -> None:
    check_word(up.src, hw.tiers, f"{file}: link.upstream.from")
    if up.src in (hw.link.src, hw.link.dst):
        raise UserError(
            f"{file}: link.upstream.from is {up.src!r}, which is an end of the link; it is the store before {hw.link.src!r}"
        )


def _check_rates(hw: Hardware, file: str) -> None:
    for unit in hw.units.values():
        _check_rate(unit.bytes_per_s, hw.tiers[unit.memory], f"{file}: units.{unit.name}.bandwidth")
        if unit.grouped_bytes_per_s is not None:
            _check_rate(unit.grouped_bytes_per_s, hw.tiers[unit.memory], f"{file}: units.{unit.name}.grouped_bandwidth")
    for number, path in enumerate(_paths(hw)):
        _check_link_rates(hw.alone(number), path, file)
    memory, r, w = hw.device_memory, hw.link.bytes_per_s, hw.dram_bytes_per_loaded_byte
    left = memory.bytes_per_s - w * r
    if hw.unified and left <= 0:
        raise UserError(
            f"{file}: a load leaves the GPU tiers.{memory.name}.bandwidth - {W} x link.bandwidth = "
            f"{memory.bytes_per_s} - {w} x {r} = {left} B/s; it must be > 0: lower link.bandwidth"
        )


def _check_link_rates(hw: Hardware, path: str, file: str) -> None:
    """Those of the only device of `hw`."""
    link = hw.link
    if hw.unified:  # a discrete link runs at its memory's rate, which the result says
        _check_rate(link.bytes_per_s, hw.tiers[link.src], f"{file}: {path}.bandwidth")
    if link.upstream:
        _check_rate(link.upstream.bytes_per_s, hw.home, f"{file}: {path}.upstream.bandwidth")
    if (link.pageable_bytes_per_s or 0) > link.bytes_per_s:
        raise UserError(
            f"{file}: {path}.pageable: {link.pageable_bytes_per_s} B/s is more than {path}.bandwidth, which is {link.bytes_per_s} B/s "
            "pinned; lower it"
        )
    if hw.reserved_bytes >= hw.device_memory.capacity_bytes:
        raise UserError(
            f"{file}: reserved, {hw.reserved_bytes} B, leaves nothing of tiers.{hw.device_memory.name}; lower it"
        )


def _check_rate(rate: int, tier: Tier, at: str) -> None:
    if rate > tier.bytes_per_s:
        raise UserError(
            f"{at}: {rate} B/s is more than tiers.{tier.name}.bandwidth, which is {tier.bytes_per_s} B/s "
            "for all readers together; lower the one or raise the other"
        )
