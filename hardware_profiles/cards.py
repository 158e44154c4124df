"""A machine of several cards in one host, named GPU+GPU+HOST: each card as it would be in that host alone, beside the others.

Their messages go through host memory, out of one card and into the other, as without peer access: so the drivers of GeForce cards do it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simmoe.hardware_profiles.composing import JOIN, compose
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import parse, text, unit_of

OF_ONE = ("power", "thermal", "price")  # of a card, and not of a machine of several
SHOWS, DESKTOP_BYTES = (
    "a desktop",
    2**29,
)  # as a profile explains its reserve; without one it is so much less
THROUGH_HOST = "out of one card into host memory and from there into the next, without peer access: both links, one after the other"


def names(gpu: str) -> list[str]:
    """The cards of "GPU+GPU"; a file may have that sign in its name. Raises UserError where a sign has no card beside it."""
    found = [gpu] if Path(gpu).is_file() else [one.strip() for one in gpu.split(JOIN)]
    if len(found) > 1 and "" in found:
        raise UserError(f"--gpu {gpu}: no card stands beside a +; write it between two, such as rtx_5090+rtx_5090")
    return found


def composed(gpus: Sequence[Mapping[str, Any]], host: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any]:
    """The content of a profile of all these cards in a host. gpus: checked profiles; files: whose. Raises UserError."""
    cards = [compose(gpu, host, file) for gpu, file in zip(gpus, files)]
    first = cards[0]
    if len(cards) == 1:
        return first
    for gpu, file in zip(gpus, files):
        if len(gpu["devices"]) > 1:
            raise UserError(f"{file}: has several devices, and stands here for one card; name a profile of one device")
    titles = [card["title"].partition(", in: ")[0] for card in cards]
    content = {key: value for key, value in first.items() if key not in OF_ONE}
    content |= {
        "name": JOIN.join([*(gpu["name"] for gpu in gpus), host["name"]]), "title": f"{' and '.join(titles)}, in: {host['title']}",
        "tiers": dict(first["tiers"]), "units": dict(first["units"]), "links": {}, "devices": list(first["devices"]),
        "fabric": _through_host([card["link"] for card in cards]), "reserved": _reserved(first),
    }  # fmt: skip
    for number, card in enumerate(cards[1:], 2):
        _add(content, card, number)
    if price := _price([first.get("price"), *(gpu.get("price") for gpu in gpus[1:])]):
        content["price"] = price
    return content


def follow(content: dict[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """The content whose messages are no faster than over both links, where a link was made slower and nobody says how fast they are."""
    rate = _through_host([content["link"], *content["links"].values()])["bandwidth"]
    slower = parse(rate["value"], "bandwidth") < parse(content["fabric"]["bandwidth"]["value"], "bandwidth")
    if "fabric.bandwidth" in changes or not slower:
        return content
    return {**content, "fabric": {**content["fabric"], "bandwidth": rate}}


def _add(content: dict[str, Any], card: Mapping[str, Any], number: int) -> None:
    """Unit, memory and link of one more card."""
    unit, memory = (f"{name}_{number}" for name in (card["devices"][0], card["link"]["to"]))
    content["tiers"][memory] = {**card["tiers"][card["link"]["to"]], "peak_bandwidth": card["peak"]["memory_bandwidth"]}
    content["units"][unit] = {**card["units"][card["devices"][0]], "memory": memory, "reserved": _reserved(card)}
    content["links"][unit] = {**card["link"], "to": memory}
    content["devices"].append(unit)


def _reserved(card: Mapping[str, Any]) -> dict[str, Any]:
    """Of a card in a box of several, which are taken to show no desktop."""
    figure = card["reserved"]
    if SHOWS not in figure["source"]:
        return dict(figure)
    left = parse(figure["value"], "bytes") - DESKTOP_BYTES
    source = f"{figure['value']} without a desktop: cards of a box of several are taken to show none; not measured"
    return {"value": f"{left} B", "kind": "assumed", "source": source}


def _through_host(links: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A message over the two slowest links."""
    rates = sorted(parse(link["bandwidth"]["value"], "bandwidth") for link in links)[:2]
    latency = sum(sorted(parse(link["latency"]["value"], "time") for link in links)[-2:])
    rate = rates[0] * rates[1] // sum(rates) // 1000 * 1000
    said = {"kind": "assumed", "source": THROUGH_HOST}
    values = {"bandwidth": text(rate, "bandwidth"), "latency": text(latency, "time")}
    return {**{name: {"value": value, **said} for name, value in values.items()}, "peer": False}


def _price(parts: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Of the first card in its host and of the other cards; None where one states none, or another currency."""
    known = [part for part in parts if part is not None]
    units = {unit_of(part["value"]) for part in known}
    if len(known) < len(parts) or len(units) > 1:
        return None
    total = text(sum(parse(part["value"], "price") for part in known), "price", units.pop())
    kind = known[0]["kind"] if len({part["kind"] for part in known}) == 1 else "assumed"
    return {"value": total, "kind": kind, "source": "; ".join(f"{part['value']}: {part['source']}" for part in known)}
