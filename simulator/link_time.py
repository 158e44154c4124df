"""How long an expert is on the link of a machine, one way or back: the laws of simulator/physics applied to the link's figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simmoe.simulator.nouns.hardware import Hardware, Link, Tier
from simmoe.simulator.physics.gemv import read_ps
from simmoe.simulator.physics.link import efficiency, managed_ps, transfer_ps, two_hops_ps
from simmoe.simulator.physics.storage import queued_bytes_per_s
from simmoe.simulator.units import text


def load_ps(count_bytes: int, hw: Hardware, cached: bool = False) -> int:
    """Duration of one load of an expert on idle links, from where it lives (cached: from memory before the link) into the device's
    memory."""
    first, last = hops_ps(count_bytes, hw)
    if hw.link.upstream is None or cached:
        return last
    up = hw.link.upstream
    return two_hops_ps(first, last, up.latency_ps, hw.link.latency_ps, up.pipelined)


def hops_ps(count_bytes: int, hw: Hardware) -> tuple[int, int]:
    """Duration of each hop of a load, alone: from the store before the link (0 = there is none), and over the link."""
    link, up = hw.link, hw.link.upstream
    last = _last_hop_ps(count_bytes, link, link_bytes_per_s(hw))
    return transfer_ps(count_bytes, _queued(up.bytes_per_s, hw.home, link), up.latency_ps) if up else 0, last


def pinned_experts(expert_bytes: Sequence[int], experts: Sequence[int], link: Link) -> list[int]:
    """How many of the `experts` of each MoE layer are in pinned host memory, which is filled in the order of the layers."""
    if link.pinned_capacity_bytes is None:
        return list(experts)
    left, found = link.pinned_capacity_bytes, list[int]()
    for size, count in zip(expert_bytes, experts):
        found.append(min(count, left // size))
        left -= found[-1] * size
    return found


def layer_hops_ps(expert_bytes: Sequence[int], experts: Sequence[int], hw: Hardware) -> list[tuple[int, int]]:
    """`hops_ps` of an expert of each MoE layer. Of a layer that is pinned in part every expert takes the mean: which of them are
    pinned is not known."""
    link, found = hw.link, [hops_ps(size, hw) for size in expert_bytes]
    if link.pinned_capacity_bytes is None:
        return found
    paged = replace(hw, link=replace(link, host_memory="pageable"))
    pinned = pinned_experts(expert_bytes, experts, link)
    return [
        (first, (last * fast + hops_ps(size, paged)[1] * (count - fast)) // count)
        for (first, last), size, count, fast in zip(found, expert_bytes, experts, pinned)
    ]


def _last_hop_ps(count_bytes: int, link: Link, rate: int) -> int:
    if link.host_memory == "managed" and link.managed:
        m = link.managed
        return link.latency_ps + managed_ps(count_bytes, m.page_bytes, m.fault_ps, min(rate, m.bytes_per_s))
    return transfer_ps(count_bytes, rate, link.latency_ps, efficiency(count_bytes, link.efficiency))


def link_bytes_per_s(hw: Hardware) -> int:
    """Rate of the link for large transfers, as the engine uses it: its host memory, its reads in flight. A discrete link that could
    carry more than the memory that it reads runs at that memory's rate."""
    link, rate = hw.link, hw.link.bytes_per_s
    if not hw.unified:
        rate = min(rate, hw.tiers[link.src].bytes_per_s)
    if link.host_memory == "pageable" and link.pageable_bytes_per_s:
        rate = min(rate, link.pageable_bytes_per_s)
    return rate if link.upstream else _queued(rate, hw.home, link)


def _queued(rate: int, store: Tier, link: Link) -> int:
    if link.queue_depth is None:
        return rate
    return min(rate, queued_bytes_per_s(store.bytes_per_s, link.queue_depth, store.queue) // 1000 * 1000)


def reads_ps(count_bytes: int, hw: Hardware) -> int:
    """How long the bytes of a load leave the link's source, behind the latency. What the load takes beyond moves no bytes: faults of
    managed memory, the fixed cost of small transfers."""
    return read_ps(count_bytes, link_bytes_per_s(hw))


def too_fast(hw: Hardware) -> str | None:
    """What to know about a link that could carry more than the memory that it reads; None for others."""
    memory = hw.tiers[hw.link.src]
    if hw.unified or hw.link.bytes_per_s <= memory.bytes_per_s:
        return None
    rates = [text(rate, "bandwidth") for rate in (hw.link.bytes_per_s, memory.bytes_per_s)]
    return (
        f"The link could carry {rates[0]}, more than the {rates[1]} of {memory.name}, which it "
        "reads: it runs at that rate, and the CPU that reads the same memory waits meanwhile."
    )


def crowded(hw: Hardware) -> str | None:
    """What to know about links that together could carry more than the memory that they all read; None for others."""
    memory = hw.tiers[hw.link.src]
    together = sum(link_bytes_per_s(hw.alone(number)) for number in range(len(hw.devices)))
    if len(hw.devices) == 1 or together <= memory.bytes_per_s:
        return None
    rates = [text(rate, "bandwidth") for rate in (together, memory.bytes_per_s)]
    return (
        f"The links of the {len(hw.devices)} devices could carry {rates[0]} together, more than the {rates[1]} of "
        f"{memory.name}, which they all read: loads of several devices at once are faster here than they would be."
    )


def about_links(hw: Hardware) -> list[str]:
    """What to know about the links of a machine beside its figures."""
    found = [*(too_fast(hw.alone(number)) for number in range(len(hw.devices))), crowded(hw)]
    return list(dict.fromkeys(note for note in found if note))


def write_back_ps(count_bytes: int, hw: Hardware) -> int:
    """Duration of copying that many bytes of experts back over the link."""
    link = hw.link
    rate, share = link.write_bytes_per_s or link.bytes_per_s, efficiency(count_bytes, link.efficiency)
    if not hw.unified:
        rate = min(rate, hw.tiers[link.src].bytes_per_s)
    return transfer_ps(count_bytes, rate, link.latency_ps, share)
