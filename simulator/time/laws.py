"""The laws of time that every run is checked against; simulator/decide/laws.py has that of occupancy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.nouns.decisions import Decisions
from simmoe.simulator.nouns.picked import equal
from simmoe.simulator.nouns.run import Clocks, Counts
from simmoe.simulator.nouns.serving import ServingLog
from simmoe.simulator.nouns.trace import Trace


def check(
    costs: Costs,
    decisions: Decisions,
    clocks: Clocks,
    counts: Counts,
    budget_bytes: int | None,
    log: ServingLog | None = None,
) -> None:
    """The laws of every run; a broken one is a defect of simmoe, not of its input."""
    elapsed = int(clocks.end_ps[-1])
    earliest = np.concatenate(
        ([0], clocks.end_ps[:-1])
    )  # a pass starts when the one before has ended, or when what it waits for arrives
    if log is not None:
        earliest = np.maximum(earliest, log.waited_ps)
    laws = {
        "link busy ≤ elapsed, but for prefetches still on their way": clocks.link_busy_ps <= costs.devices * elapsed
        or counts.prefetches > 0,
        "requests = hits + misses + those on the CPU, substituted, dropped or served by low copies": counts.requests
        == counts.hits + counts.misses + counts.on_cpu + counts.substituted + counts.dropped + counts.low_precision,
        "what the placement left to the CPU is computed there": 0 <= counts.placed <= counts.on_cpu,
        "passes follow each other": bool((clocks.start_ps == earliest).all()),
        "occupancy ≤ budget": budget_bytes is None or int(decisions.used.max(initial=0)) <= budget_bytes,
        "link time = transfers": counts.bytes == 0
        or clocks.link_busy_ps * costs.alike >= counts.bytes * 10**12 // max(link.bytes_per_s for link in costs.links),
    }
    _require(laws)


def check_causes(costs: Costs, clocks: Clocks) -> None:
    """Every pass lasts as long as the causes that its launches logged, together, less what of it ran beside the pass before."""
    causes = costs.dense_ps + clocks.experts_ps + clocks.stall_ps + clocks.cpu_ps + clocks.host_ps + clocks.slowed_ps
    if len(clocks.overlapped_ps):
        causes = causes - clocks.overlapped_ps
    lasted = clocks.end_ps - clocks.start_ps
    if (causes != lasted).any():
        number = int(np.argmax(causes != lasted))
        raise BrokenLaw(
            f"simmoe broke its own law: pass {number} lasts {lasted[number]} ps but its causes add up to {causes[number]} ps; "
            "please report this run"
        )


def check_requests(log: ServingLog, finish_ps: Ints, clocks: Clocks) -> int:
    """Little's law, exact from empty to empty: the requests that are there, over time, are the times that they stay. The first is counted
    from arrivals and from what the schedule let go at the end of each pass, the second from the rows that were played (finish_ps). Returns
    it, in picoseconds. Who is refused is not there."""
    arrival_ps: list[int] = log.arrival_ps[log.served].tolist()
    changes = [(at, 1) for at in arrival_ps]
    changes = sorted(changes + [(at, -n) for at, n in zip(clocks.end_ps.tolist(), log.left.tolist())])
    there = area = 0
    for (at, change), (until, _) in pairwise(changes):
        there += change
        area += there * (until - at)
    stayed = sum(finish_ps.tolist()) - sum(arrival_ps)
    lost = there + changes[-1][1]
    if area != stayed or lost:
        raise BrokenLaw(
            f"simmoe broke its own law: the requests that are there add up to {area} ps over time, their stays to {stayed} ps, and {lost} "
            "are left; please report this run"
        )
    return area


def check_rows(log: ServingLog, start_ps: Ints, played: Trace, recorded: Trace, kv_blocks: int) -> None:
    """No request runs before it arrives (start_ps: of its first pass), every row of each is played once, in its order, and what is played
    again is what was given up."""
    first, mine = np.flatnonzero(log.again == 0), np.isin(recorded.sequence, log.sequence[log.served])
    one = first[np.argsort(played.sequence[first], kind="stable")]
    other = np.flatnonzero(mine)
    other = other[np.argsort(recorded.sequence[other], kind="stable")]
    given_up = int(log.preempted[:, 2].sum() + log.ended[:, 2].sum())
    laws = {
        "no request runs before it arrives": bool((start_ps >= log.arrival_ps[log.served]).all()),
        "every row is played once, in the order of its sequence": all(
            equal(getattr(played, name), one, getattr(recorded, name), other)
            for name in ("sequence", "position", "expert_ids")
        ),
        "rows given up = rows computed again + rows of the prefix cache": given_up == log.recomputed + log.cached,
        "blocks of KV cache ≤ what there are": int(log.blocks.max(initial=0)) <= kv_blocks,
    }
    _require(laws)


def _require(laws: dict[str, bool]) -> None:
    if broken := [law for law, holds in laws.items() if not holds]:
        raise BrokenLaw(f"simmoe broke its own law: {'; '.join(broken)}; please report this run")
