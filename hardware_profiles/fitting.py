"""Whether the parts of a machine fit together: names that exist, ends of links, uses that have their figures, rates that can be read."""

from __future__ import annotations

from simmoe.hardware_profiles.schema import W
from simmoe.hardware_profiles.words import DOC, check_word
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware, Link, Tier, Upstream


def check(hw: Hardware, file: str) -> None:
    """Raises UserError with one line that names the file and the path."""
    _check_names(hw, file)
    _check_rates(hw, file)


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
    if f"tiers.{hw.device.memory}.peak_bandwidth" in hw.figures:
        raise UserError(
            f"{file}: tiers.{hw.device.memory}.peak_bandwidth: the peak of the memory that {hw.device.name!r}, the device, reads is "
            "called peak.memory_bandwidth: write it there"
        )
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
