"""The laws of time that every run is checked against; simulator/decide/laws.py has that of occupancy."""

from __future__ import annotations

import numpy as np

from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.nouns.decisions import Decisions
from simmoe.simulator.nouns.run import Clocks, Counts


def check(costs: Costs, decisions: Decisions, clocks: Clocks, counts: Counts, budget_bytes: int | None) -> None:
    """The laws of every run; a broken one is a defect of simmoe, not of its input."""
    elapsed = int(clocks.end_ps[-1])
    laws = {
        "link busy ≤ elapsed, but for prefetches still on their way": clocks.link_busy_ps <= costs.devices * elapsed
        or counts.prefetches > 0,
        "requests = hits + misses + those on the CPU": counts.requests == counts.hits + counts.misses + counts.on_cpu,
        "passes follow each other": bool((clocks.start_ps[1:] == clocks.end_ps[:-1]).all()) and clocks.start_ps[0] == 0,
        "occupancy ≤ budget": budget_bytes is None or int(decisions.used.max(initial=0)) <= budget_bytes,
        "link time = transfers": counts.bytes == 0
        or clocks.link_busy_ps >= counts.bytes * 10**12 // max(link.bytes_per_s for link in costs.hw.links),
    }
    broken = [law for law, holds in laws.items() if not holds]
    if broken:
        raise BrokenLaw(f"simmoe broke its own law: {'; '.join(broken)}; please report this run")


def check_causes(costs: Costs, clocks: Clocks) -> None:
    """Every pass lasts as long as the causes that its launches logged, together."""
    causes = costs.dense_ps + clocks.experts_ps + clocks.stall_ps + clocks.cpu_ps + clocks.host_ps + clocks.slowed_ps
    lasted = clocks.end_ps - clocks.start_ps
    if (causes != lasted).any():
        number = int(np.argmax(causes != lasted))
        raise BrokenLaw(
            f"simmoe broke its own law: pass {number} lasts {lasted[number]} ps but its causes add up to {causes[number]} ps; "
            "please report this run"
        )
