"""How much of the experts lies in pinned host memory, where that is in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simmoe.play.plan import Plan, memory_of
from simmoe.simulator.link_time import pinned_experts
from simmoe.simulator.units import nbytes

if TYPE_CHECKING:
    from simmoe.play.workload import Workload
    from simmoe.simulator.nouns.hardware import Link


def of_pinning(workload: Workload, plan: Plan) -> list[str]:
    """Whether more host memory would be pinned than drivers usually allow, or than the profile says that they allow."""
    hw, host = workload.hw, workload.hw.tiers[workload.hw.link.src]
    if hw.unified or hw.link.upstream is not None or hw.link.host_memory != "pinned":
        return []
    limited = [_beyond_the_limit(workload, link) for link in hw.links]
    if plan.device_budgets:
        return list(dict.fromkeys(note for note in limited if note))
    left = memory_of(workload, plan).left_bytes
    if plan.eviction == "everything" or plan.budget_bytes >= left:
        return []
    if hw.link.pinned_capacity_bytes is not None:
        return [note for note in limited if note]
    if 2 * left <= host.capacity_bytes:
        return []
    said = f"All {nbytes(left)} of experts count as pinned, more than half of the {nbytes(host.capacity_bytes)} of {host.name}"
    how = "--set link.pinned_capacity=SIZE says how much, where the profile has link.pageable"
    return [f"{said}; systems often pin less, and the rest is loaded at the pageable rate: {how}"]


def _beyond_the_limit(workload: Workload, link: Link) -> str | None:
    """How many experts are not pinned, and how fast they come; None where all are."""
    model = workload.model
    sizes, counts = model.expert_bytes.tolist(), [model.layers[layer].n_experts for layer in model.moe_layers]
    pinned = pinned_experts(sizes, counts, link)
    total, fast = (sum(size * n for size, n in zip(sizes, many)) for many in (counts, pinned))
    if fast == total:
        return None
    rate, rest = nbytes(link.pageable_bytes_per_s or 0), sum(counts) - sum(pinned)
    said = f"Of {nbytes(total)} of experts {nbytes(fast)} are in pinned host memory (link.pinned_capacity), in the order of the layers"
    return f"{said}; the other {rest:,} of {sum(counts):,} experts are loaded at the pageable rate, {rate}/s"
