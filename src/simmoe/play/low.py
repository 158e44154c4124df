"""Low copies in a run: which miss rule asks for them, and what of the budget keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simmoe import policies
from simmoe.play import replay
from simmoe.play.kinds import bytes_of
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.decide.low_pool import Pool, check_room
from simmoe.simulator.decide.missing import loads_low
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.workloads.offload.measured import BITS

if TYPE_CHECKING:
    from simmoe.play.plan import Plan
    from simmoe.play.workload import Workload


def serves_low(plan: Plan) -> bool:
    """Whether low copies may serve what is missing."""
    return loads_low(policies.load("miss", plan.miss))


def versioned(workload: Workload, plan: Plan) -> Workload:
    """The workload whose model has low copies, where the plan's miss rule may ask for them. Raises UserError for what such a run cannot
    honour."""
    if not serves_low(plan):
        return workload
    for given, option, why in (
        (plan.page_cache_bytes, "page-cache", "which knows one format of each expert"),
        (plan.write_back, "write-back", "since a copy is no weight of its own"),
    ):
        if given:
            raise UserError(f"--miss {plan.miss} with --{option} is not modelled, {why}: leave one of them out")
    return workload.with_low()


def measured_bits(model: ModelShape) -> int | None:
    """Bits of a weight in the copies of which the offload runtime measures what these do at most: no more than theirs. None without low
    copies."""
    weights = sum(part.params for part in model.low)
    return (
        max((bits for bits in BITS if bits * weights <= 8 * sum(part.bytes for part in model.low)), default=BITS[0])
        if weights
        else None
    )


def pool_bytes(plan: Plan) -> int:
    """What of the budget is the pool of low copies; 0 where they are forgotten with their event, or there are none."""
    if plan.low_budget is None or plan.eviction in BOUNDS or not serves_low(plan):
        return 0
    return min(bytes_of(plan.low_budget, plan.budget_bytes, "--low-budget"), plan.budget_bytes)


def pool_of(workload: Workload, plan: Plan) -> Pool | None:
    """None where low copies are forgotten with their event. Raises UserError for a pool that holds none."""
    room = pool_bytes(plan)
    if plan.low_budget is None or plan.eviction in BOUNDS or not serves_low(plan):
        return None
    low_bytes, begun = workload.model.version_bytes[len(workload.model.moe_layers) :], workload.begun
    check_room(room, low_bytes)
    told = replay.told(plan.eviction, begun.trace, begun.counted)
    return Pool(low_bytes, room, policies.load("eviction", plan.eviction), plan.seed, told)
