"""A machine of two parts: a GPU's profile without its host, in a host of one's choice; or a host alone, whose CPU computes.

What is the card's own stays: its memory, its unit, its power, the latency and the efficiency of its link. The home of the experts and
the CPU are the host's. The link runs at the rate of the slower of both slots.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from simmoe.hardware_profiles.reading import FOLDER, merged
from simmoe.hardware_profiles.schema import PCIE
from simmoe.simulator.errors import UserError
from simmoe.simulator.physics.link import pcie_bytes_per_s
from simmoe.simulator.units import parse, text, unit_of

JOIN = "+"  # between the names of a GPU and of a host; before that of a host alone
CPU, MEMORY = "cpu", "host_dram"
BARE = "desktop_ddr5_2ch"  # the bundled machine without a GPU that the others extend
_GIGA_TRANSFERS = {"3": 8, "4": 16, "5": 32, "6": 64}
_MOST_PCIE = 126 * 10**9  # 16 lanes of PCIe 6.0; what is faster is no slot


def parts(name_or_path: str | Path) -> tuple[str, str] | None:
    """Name of the GPU and of the host in "GPU+HOST", of which "+HOST" has no GPU; None for a machine with one name, or a file."""
    gpu, sign, host = str(name_or_path).rpartition(JOIN)
    return None if not sign or not host.strip() or Path(name_or_path).is_file() else (gpu.strip(), host)


def slot_bytes_per_s(slot: str) -> int:
    """What a slot such as "PCIe 4.0 x16" can carry one way, packet headers included, to the next MB/s, as data sheets round it."""
    generation, lanes = PCIE.fullmatch(slot).groups()  # type: ignore[union-attr]
    return -(-pcie_bytes_per_s(_GIGA_TRANSFERS[generation], int(lanes), overhead=0) // 10**6) * 10**6


def compose(gpu: Mapping[str, Any], host: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The content of a profile of both. gpu: a checked profile; host: a checked host. Raises UserError."""
    card = _card_bytes_per_s(gpu, file)
    slot = host["is"]["slot"]
    share = min(Fraction(slot_bytes_per_s(slot), card), Fraction(1))
    home = gpu["link"]["from"]
    how = f"cut to {slot}" if share < 1 else "on its own PCIe link"
    units = {name: unit for name, unit in gpu["units"].items() if name in gpu["devices"]}
    content = {key: value for key, value in gpu.items() if key not in ("notes", "modes")}
    content |= {
        "name": f"{gpu['name']}{JOIN}{host['name']}",
        "title": f"{gpu['title'].partition(' (')[0].removesuffix(' desktop')}, {how}, in: {host['title']}",
        "tiers": {**gpu["tiers"], home: {**host["memory"], "peak_bandwidth": host["peak"]["memory_bandwidth"]}},
        "units": {**units, CPU: {"memory": home, **_cpu(host)}},
        "link": _link(gpu["link"], share, host),
        "peak": {**gpu["peak"], "link_bandwidth": _slower(gpu["peak"]["link_bandwidth"], share, slot)},
    }
    if price := _price(gpu, host, file):
        content["price"] = price
    if "links" in gpu:
        content["links"] = {name: _link(link, share, host) for name, link in gpu["links"].items()}
    return content


def alone(host: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a profile of a host without a GPU: its CPU computes, and experts come from a drive as the bundled ones have it."""
    bare = merged(FOLDER / f"{BARE}.yaml")
    link = bare["link"]
    rest = {key: value for key, value in bare.items() if key not in ("notes", "peak")}
    return rest | {
        "name": host["name"],
        "title": f"Without GPU: {host['title']}",
        "tiers": {MEMORY: host["memory"], link["from"]: bare["tiers"][link["from"]]},
        "units": {CPU: {"memory": MEMORY, **_cpu(host)}},
        "link": {**link, "to": MEMORY},
        "peak": host["peak"],
        **({"price": host["price"]} if "price" in host else {}),
    }


def _card_bytes_per_s(gpu: Mapping[str, Any], file: str) -> int:
    """What the slot of the card carries, as its data sheet says."""
    if gpu["memory"] == "unified":
        raise UserError(
            f"{file}: a machine of one piece, GPU and host on one memory: name it with --hw, without a host"
        )
    peak = gpu.get("peak", {}).get("link_bandwidth")
    if peak is None:
        raise UserError(
            f"{file}: missing key peak.link_bandwidth, what the card's own slot carries; a machine of GPU and host needs it, such as "
            "31.508 GB/s for PCIe 4.0 x16"
        )
    rate = parse(peak["value"], "bandwidth")
    if rate > _MOST_PCIE:
        raise UserError(
            f"{file}: peak.link_bandwidth is {peak['value']}, which is no PCIe slot: this GPU is built together with its host; name it "
            "with --hw"
        )
    return rate


def _price(gpu: Mapping[str, Any], host: Mapping[str, Any], file: str) -> dict[str, Any] | None:
    """Of both parts; that of the card alone, and saying so, where the host states none. None where the card states none."""
    card, box = gpu.get("price"), host.get("price")
    if card is None:
        return None
    if box is None:
        said = card["source"].removeprefix("the card alone, ")
        return {**card, "source": f"the card alone, without {host['name']}: {said}"}
    units = [unit_of(part["value"]) for part in (card, box)]
    if units[0] != units[1]:
        raise UserError(
            f"{file}: price is in {units[0]}, and that of {host['name']} in {units[1]}; write both in one currency"
        )
    both = text(parse(card["value"], "price") + parse(box["value"], "price"), "price", units[0])
    same = {
        key: card[key] for key in ("date", "condition") if card.get(key) is not None and card.get(key) == box.get(key)
    }
    source = f"{card['value']}: {card['source']}; {host['name']} {box['value']}: {box['source']}"
    kind = card["kind"] if card["kind"] == box["kind"] else "assumed"
    return {"value": both, "kind": kind, "source": source, **same}


def _slower(figure: Mapping[str, Any], share: Fraction, why: str) -> Mapping[str, Any]:
    """A rate of the link, cut to its share in a slower slot."""
    if share == 1:
        return figure
    cut = {"value": _cut(figure["value"], share)} | _range(figure, share)
    kind = figure["kind"] if figure["kind"] != "measured" else "assumed"
    source = f"{figure['value']} in the card's own slot x {float(share):.3g} for {why}; was {figure['kind']}: {figure['source']}"
    return {**figure, **cut, "kind": kind, "source": source}


def _range(figure: Mapping[str, Any], share: Fraction) -> dict[str, list[str]]:
    return {"range": [_cut(end, share) for end in figure["range"]]} if "range" in figure else {}


def _cut(value: str, share: Fraction) -> str:
    return text(max(int(parse(value, "bandwidth") * share) // 1000 * 1000, 1000), "bandwidth")


def _least(figure: Mapping[str, Any], most: Mapping[str, Any]) -> Mapping[str, Any]:
    """A rate that cannot exceed another one."""
    if parse(figure["value"], "bandwidth") <= parse(most["value"], "bandwidth"):
        return figure
    return {
        "value": most["value"],
        "kind": "assumed",
        "source": f"no faster than the link; was {figure['value']}: {figure['source']}",
    }


def _link(link: Mapping[str, Any], share: Fraction, host: Mapping[str, Any]) -> dict[str, Any]:
    slot = host["is"]["slot"]
    rates = {key: _slower(link[key], share, slot) for key in ("bandwidth", "write_bandwidth") if key in link}
    found = {**link, **rates, "pageable": _least(host["pageable"], rates["bandwidth"])}
    if "managed" in link:
        found["managed"] = {**link["managed"], "bandwidth": _slower(link["managed"]["bandwidth"], share, slot)}
    if "pinned_capacity" in host and "upstream" not in link:
        found["pinned_capacity"] = host["pinned_capacity"]
    return found


def _cpu(host: Mapping[str, Any]) -> dict[str, Any]:
    """The CPU's figures; where it has two sockets, its rates are those of an engine whose reads cross them."""
    kind, numa = host["is"], host.get("numa")
    said = f"{kind['sockets']} x {kind['cores']} cores: {host['name']}"
    cores = {"value": kind["sockets"] * kind["cores"], "kind": "nominal", "source": said}
    cpu = {**host["cpu"], "processors": cores}
    if numa is None:
        return cpu
    share = 1 / Fraction(str(numa["value"]))
    for key in ("bandwidth", "grouped_bandwidth"):
        if key in cpu:
            said = f"{cpu[key]['value']} / {numa['value']}, reads that cross the sockets: {numa['source']}; before: {cpu[key]['source']}"
            rate = {"value": _cut(cpu[key]["value"], share), "kind": "assumed", "source": said}
            cpu[key] = rate | _range(cpu[key], share)
    return cpu
