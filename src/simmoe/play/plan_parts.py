"""Parts that one can buy for a machine GPU+HOST: the next card of its maker, the next number of memory channels, the next faster DIMMs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from simmoe import hardware_profiles
from simmoe.hardware_profiles import cards, composing, host
from simmoe.play.usual_runtime import maker
from simmoe.simulator.nouns.hardware import Hardware

CARDS = {  # bundled ones as they are sold, each with more memory than the one before it, or faster
    "nvidia": (
        "rtx_3060", "rtx_5070", "rtx_5060_ti", "rtx_5080", "rtx_3090", "rtx_4090", "rtx_5090", "rtx_6000_ada", "a100", "rtx_pro_6000",
        "h200", "b200",
    ),
    "amd": ("rx_7600", "rx_7900_xt", "rx_7900_xtx", "r9700", "mi300x"),
}  # fmt: skip
MEMORY = re.compile(r"(ddr\d)_(\d+)_(\d+)ch")  # a host that is a kind of memory: its name says rate and channels


class Part(NamedTuple):
    what: str  # with its price, where the profile has one
    machine: str  # GPU+HOST
    card: bool  # not a part of the host


def parts_for(machine: object, hw: Hardware) -> Iterator[Part]:
    """machine: its name as it was given. Nothing for a machine that is no host with or without a card."""
    both = composing.parts(machine) if isinstance(machine, str) else None
    if both is None:
        return
    several = composing.JOIN in both[0]
    for card in next_cards(both[0], hw) if both[0] and not several else ():
        yield Part(f"a {_title(card)}{_price(card)}", f"{card.name}+{both[1]}", True)
    if several:
        card = hardware_profiles.load(cards.names(both[0])[-1])
        yield Part(f"one more {_title(card)}{_price(card)}", composing.JOIN.join([both[0], card.name, both[1]]), True)
    for what, name in _hosts(both[1]):
        yield Part(what, f"{both[0]}+{name}", False)


def next_cards(name: str, hw: Hardware) -> list[Hardware]:
    """The nearest card of the same maker with more memory, and before it the nearest one that is only faster."""
    names, mine, found = CARDS.get(maker(hw), ()), hw.device_memory, list[Hardware]()
    for other in names[names.index(name) + 1 :] if name in names else names:
        memory = (card := hardware_profiles.load(other)).device_memory
        if memory.capacity_bytes > mine.capacity_bytes:
            return [*found, card]
        faster = (memory.peak_bytes_per_s or 0) > (mine.peak_bytes_per_s or 0)
        if memory.capacity_bytes == mine.capacity_bytes and faster and not found:
            found.append(card)
    return found


def _title(card: Hardware) -> str:
    return re.split(r",| \(| desktop| workstation", card.title)[0]


def _price(card: Hardware) -> str:
    price = card.figures.get("price")
    return f" ({price.text})" if price else ""


def _hosts(name: str) -> Iterator[tuple[str, str]]:
    """The next host of the library with more channels of the same memory, and the next with faster memory in as many."""
    mine = MEMORY.fullmatch(name)
    if not mine:
        return
    kind, rate, channels = mine[1], int(mine[2]), int(mine[3])
    others = [(other[1], int(other[2]), int(other[3])) for one in host.available() if (other := MEMORY.fullmatch(one))]
    wider = sorted((c, abs(r - rate), r) for k, r, c in others if k == kind and c > channels)
    faster = sorted((k, r) for k, r, c in others if c == channels and (k, r) > (kind, rate))
    if wider:
        found = (kind, wider[0][2], wider[0][0])
        yield f"{found[2]} channels of {_memory(found)} in place of {channels}{_cpu(found, name)}", _host(found)
    if faster:
        found = (*faster[0], channels)
        yield f"{_memory(found)} in place of {_memory((kind, rate, channels))}{_cpu(found, name)}", _host(found)


def _cpu(found: tuple[str, int, int], mine: str) -> str:
    """That its CPU computes with other instructions, which changes prompts; empty where it does not."""
    there, here = (host.load(one)[0]["is"]["instructions"] for one in (_host(found), mine))
    return "" if there == here else f", whose CPU has {there.upper()} in place of {here.upper()}"


def _memory(host: tuple[str, int, int]) -> str:
    return f"{host[0].upper()}-{host[1]}"


def _host(host: tuple[str, int, int]) -> str:
    return f"{host[0]}_{host[1]}_{host[2]}ch"
