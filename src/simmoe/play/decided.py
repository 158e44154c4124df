"""What of a run reads no clock: what is asked early, decided and counted. Machines that decide alike share it (play/lanes.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np

from simmoe import policies
from simmoe.play.low import pool_of
from simmoe.play.passes import warm_up_passes
from simmoe.play.plan import Plan, WhenMissing, guesses_of, scope_of, told_of_eviction
from simmoe.play.replay import decide_named
from simmoe.play.workload import Workload
from simmoe.simulator.decide.decisions import BOUNDS, first_events
from simmoe.simulator.decide.low_pool import with_low
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.tiers import Near, second_tier
from simmoe.simulator.decide.warm_up import behind
from simmoe.simulator.nouns.decisions import Decisions, Guesses

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Decided:
    """Of the passes that are timed."""

    guesses: Guesses
    decisions: Decisions
    near: Near | None = None  # which loads the page cache answers
    counted: dict[Any, Any] = field(default_factory=dict)  # what follows from the decisions, by name

    def once(self, name: object, count: Callable[[], T]) -> T:
        """What `count` gives, counted for the first run that asks."""
        if name not in self.counted:
            self.counted[name] = count()
        return cast(T, self.counted[name])

    @cached_property
    def size_bytes(self) -> int:
        """Of the arrays."""
        groups = (*vars(self.guesses).values(), *vars(self.decisions).values(), *(self.near or ()))
        return sum(one.nbytes for one in groups if isinstance(one, np.ndarray))


def decided(workload: Workload, plan: Plan, missing: WhenMissing, player: Player) -> Decided:
    """Played over the whole trace; kept of the passes behind the warm-up. Raises UserError."""
    requests, sizes, trace = workload.requests, workload.model.expert_bytes, workload.trace
    guesses, passes = guesses_of(workload, plan), warm_up_passes(trace, plan.warm_up)
    scope = scope_of(workload, plan, player)
    decisions = decide_named(
        trace, requests, sizes, plan.eviction, plan.budget_bytes - plan.pool_bytes, scope,
        plan.cold_per_sequence, plan.seed, player, guesses,
        start=plan.start, told=told_of_eviction(workload, plan), **missing._asdict(),
    )  # fmt: skip
    if workload.model.low:
        emptied = plan.cold_per_sequence and plan.eviction not in BOUNDS
        cold_at = first_events(trace, requests) if emptied else None
        decisions = with_low(requests, decisions, guesses, pool_of(workload, plan), cold_at, player)
    near = None
    if plan.page_cache_bytes:
        lru = policies.load("eviction", "lru")
        near = second_tier(
            requests, decisions, guesses, sizes, plan.page_cache_bytes, lru, player, start=plan.started, unit_of=missing.unit_of
        )  # fmt: skip
    if passes:
        every, n_loads = len(guesses.obj), len(decisions.loads)
        decisions, guesses = behind(
            requests, decisions, guesses, np.repeat(workload.model.version_bytes, trace.n_experts), passes
        )  # fmt: skip
        near = near and Near(near.demand[n_loads - len(decisions.loads) :], near.guess[every - len(guesses.obj) :])
    return Decided(guesses, decisions, near)
