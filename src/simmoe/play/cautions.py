"""What a reader of a result must know beside its numbers: in `notes` of the JSON, and above every table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simmoe.play import popularity
from simmoe.play.identity import sees_the_future
from simmoe.play.plan import Plan, counts_use
from simmoe.simulator.link_time import about_links
from simmoe.workloads.format import plausible
from simmoe.workloads.format import trace as traces

if TYPE_CHECKING:
    from simmoe.play.workload import Workload


def cautions(workload: Workload, plan: Plan) -> list[str]:
    """One sentence each."""
    return [*plausible.notes(workload.recorded), *foresight(workload, plan), *about_links(workload.hw)]


def foresight(workload: Workload, plan: Plan) -> list[str]:
    """What the plan knows of the text that it is scored on, which no machine could know beforehand."""
    return [*sees_the_future(plan.eviction), *_counts(workload, plan)]


def _counts(workload: Workload, plan: Plan) -> list[str]:
    """Whether the placement was chosen by the text that it is scored on."""
    name, counted = plan.placement, workload.counted
    if name is None or not counts_use(workload, name, plan.seed):
        return []
    path, sign, amount = name.partition("=")
    short = Path(path).stem + sign + amount.partition(":")[0]
    if counted is not None:
        return [
            f"{short}:{popularity.source(name)} counted the first {counted.rows:,} of {counted.of_rows:,} tokens, which are not played"
        ]
    other = popularity.other_trace(name)
    if other is not None and traces.digest(traces.load(other)) != workload.trace_digest:
        return []
    said = f"{short} counts the experts of the very text that it is scored on: a bound."
    return [
        f"{said} {short}:TRACE counts another trace, {short}:first=20% the first fifth of this one and plays the others"
    ]
