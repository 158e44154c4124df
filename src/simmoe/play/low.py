"""Low copies in a run: which miss rule asks for them, and what of the budget keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simmoe import policies
from simmoe.play import replay
from simmoe.play.plan import Plan, memory_of, scope_of
from simmoe.simulator.decide.decisions import BOUNDS, each_holds, least_budget
from simmoe.simulator.decide.low_pool import Pool, check_room
from simmoe.simulator.decide.start import WARM
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import ModelShape
from simmoe.workloads.offload.measured import BITS

if TYPE_CHECKING:
    from simmoe.play.workload import Workload


def versioned(workload: Workload, plan: Plan) -> Workload:
    """The workload whose model has low copies, where the plan's miss rule may ask for them. Raises UserError for what such a run cannot
    honour."""
    if not plan.serves_low:
        return workload
    for given, option, why in (
        (plan.page_cache_bytes, "page-cache", "which knows one format of each expert"),
        (plan.write_back, "write-back", "since a copy is no weight of its own"),
    ):
        if given:
            raise UserError(f"--miss {plan.miss} with --{option} is not modelled, {why}: leave one of them out")
    _check_rest(workload, plan)
    return workload.with_low()


def _check_rest(workload: Workload, plan: Plan) -> None:
    """Raises UserError for a pool that leaves whole experts too little for their slots, or a start that the rest cannot have."""
    pool, given = plan.pool_bytes, f"--low-budget {plan.low_budget}"
    scope, left = scope_of(workload, plan), memory_of(workload, plan).left_each
    least = least_budget(workload.model.expert_bytes, left, scope)
    if pool and plan.budget_bytes >= least > plan.budget_bytes - pool:
        raise UserError(
            f"{given}: the pool of low copies takes {pool:,} B of the {plan.budget_bytes:,} B for experts, and what is left is below the "
            f"{least:,} B that whole ones need with scope {scope} ({each_holds(scope)}); lower --low-budget"
        )
    if pool and plan.start == WARM:
        raise UserError(
            f"--start warm: {given} keeps a part of the memory for low copies, so the rest never holds all experts; leave one of them out"
        )


def measured_bits(model: ModelShape) -> int | None:
    """Bits of a weight in those copies of the offload runtime that are nearest and no more precise. None without low copies."""
    weights, stored = sum(part.params for part in model.low), sum(part.bytes for part in model.low)
    if not weights:
        return None
    return max((bits for bits in BITS if bits * weights <= 8 * stored), default=BITS[0])


def pool_of(workload: Workload, plan: Plan) -> Pool | None:
    """None where low copies are forgotten with their event. Raises UserError for a pool that holds none."""
    if plan.low_budget is None or plan.eviction in BOUNDS or not plan.serves_low:
        return None
    room, low_bytes, begun = (
        plan.pool_bytes,
        workload.model.version_bytes[len(workload.model.moe_layers) :],
        workload.begun,
    )
    check_room(room, low_bytes)
    told = replay.told(plan.eviction, begun.trace, begun.counted)
    return Pool(low_bytes, room, policies.load("eviction", plan.eviction), plan.seed, told)
