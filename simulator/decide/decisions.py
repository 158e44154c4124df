"""Plays a trace's requests through one policy: which are hits, what is loaded in which order, what is evicted. Reads no clock."""

from __future__ import annotations

from functools import partial
from types import ModuleType

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide import hooks
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import Part, answered, elsewhere, parts_of, renumbered
from simmoe.simulator.decide.missing import LOAD, Rule
from simmoe.simulator.decide.player import Player, Task, guarded, known_of, play_part
from simmoe.simulator.decide.start import COLD, WARM, Limits, started
from simmoe.simulator.decide.stepwise import SecondTier, stepwise
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.trace import Trace

BOUNDS = ("nothing", "everything")  # bounds instead of a policy: nothing resident, everything resident


SCOPES = ("global", "layer")
FITTED = "fitted"  # the third scope, which names a text: simulator/decide/fitted.py
NOTHING_TOLD = hooks.Told()


def no_guesses(requests: Requests) -> Guesses:
    """What a run without a prefetcher wants."""
    return requests.no_guesses


def left_to_device(unit_of: Ints | None, n_layers: int, n_experts: int) -> Ints:
    """int64 [layers]: experts of each MoE layer that the placement left to the device. unit_of: as in `decide`."""
    if unit_of is None:
        return np.full(n_layers, n_experts)
    left: Ints = (unit_of.reshape(n_layers, n_experts) == LOAD).sum(axis=1)
    return left


def quotas(expert_bytes: Ints, left: Ints, budget_bytes: int, scope: str | Fitted) -> list[int]:
    """Bytes of each scope group; left: experts of each layer that the device has. Nothing left needs no budget.

    Raises UserError with the least budget that works when a group that has experts cannot hold one.
    """
    if not left.any():
        return [0] * (1 if scope == "global" else len(left))
    if budget_bytes < (least := least_budget(expert_bytes, left, scope)):
        raise UserError(
            f"the budget of {budget_bytes:,} B of experts is below the least that works with scope {scope}: {least:,} B "
            f"({each_holds(scope)}); raise --budget"
        )
    if scope == "global":
        return [budget_bytes]
    if isinstance(scope, Fitted):
        return scope.rooms(expert_bytes, left, budget_bytes)
    layer_bytes = [int(n) * int(b) for n, b in zip(left, expert_bytes)]
    total = sum(layer_bytes)
    return [budget_bytes * mine // total // int(b) * int(b) for mine, b in zip(layer_bytes, expert_bytes)]


def least_budget(expert_bytes: Ints, left: Ints, scope: str | Fitted) -> int:
    """Bytes with which every scope group that has experts can hold one: a layer has its share of the budget, unless quotas are fitted."""
    some = left > 0
    if not some.any():
        return 0
    if scope == "global":
        return int(expert_bytes[some].max())
    if isinstance(scope, Fitted):
        return int(expert_bytes[some].sum())
    total = sum(int(n) * int(b) for n, b in zip(left, expert_bytes))
    return -(-total // int(left[some].min()))


def each_holds(scope: str | Fitted) -> str:
    """What the least budget is enough for."""
    return "one expert" if scope == "global" else "one expert per MoE layer"


def first_events(trace: Trace, requests: Requests) -> Ints:
    """Events at which a sequence that was not seen before enters: where --cold-per-sequence empties the slots."""
    _, first = np.unique(trace.sequence, return_index=True)
    passes = np.unique(np.searchsorted(trace.pass_ptr, first, side="right") - 1)
    return np.searchsorted(requests.event_pass, passes)


def decide(
    requests: Requests,
    expert_bytes: Ints,
    eviction: ModuleType,
    budget_bytes: int,
    *,
    scope: str | Fitted = "global",
    guesses: Guesses | None = None,
    cold_at: Ints | None = None,
    unit_of: Ints | None = None,
    rule: Rule | None = None,
    tier: SecondTier | None = None,
    start: str = COLD,
    seed: int = 0,
    told: hooks.Told = NOTHING_TOLD,
    player: Player | None = None,
) -> Decisions:
    """Decisions of the policy module `eviction` under `budget_bytes` of routed experts. Raises UserError.

    start: cold (empty slots), warm (all that may ever be loaded is resident, else refused) or auto: warm in each scope group whose room
    holds all of its own, else cold. `cold_at` empties the slots again, and makes auto cold.

    budget_bytes: for the experts that the placement left to the device; the others are no part of it.

    unit_of [objects]: the other unit that computes an expert whenever it is missing, 0 = the device loads it (default: all).
    rule: which unit serves the others that are missing (default: all are loaded). tier: a memory before the link, which
    changes what the rule reads of loads. told: what the policy is told when it is named.
    """
    guesses, player = guesses or no_guesses(requests), player or Player()
    n_experts = requests.n_objects // len(expert_bytes)
    rooms = quotas(expert_bytes, left_to_device(unit_of, len(expert_bytes), n_experts), budget_bytes, scope)
    sizes = np.repeat(expert_bytes, n_experts)
    starts = np.array([0, *([] if cold_at is None else cold_at[cold_at > 0].tolist()), requests.n_events])
    parts = parts_of(requests, guesses, len(rooms))
    mine = np.ones(requests.n_objects, bool) if unit_of is None else unit_of == LOAD
    limits, present = started(sizes, mine, rooms, budget_bytes, start if cold_at is None else COLD)
    tasks = [
        _task(part, eviction, sizes, room, starts, unit_of, here, rule, seed, told, known_of(eviction, requests, part))
        for part, room, here in zip(parts, rooms, present)
    ]
    if tier is not None and rule is not None and len(rule.load_ps):
        played = guarded(partial(stepwise, tasks, tier), player, eviction, rule)
    else:
        played = [play_part(task, player) for task in tasks]
    split = unit_of is not None or rule is not None
    unused = 0 if scope == "global" else max(budget_bytes - sum(rooms), 0)
    limits = limits._replace(emptied=starts[1:-1])
    if parts[0].whole:
        v = played[0]
        hit, issued = v.hit.view(np.bool_), v.issued.view(np.bool_)
        said = answered(parts, played)
        return Decisions(
            hit,
            v.wait,
            issued,
            v.loads,
            elsewhere(hit, v.loads, split, said.dropped, said.stands, said.low),
            v.evicted,
            v.evicted_for,
            v.used,
            v.fresh,
            v.fresh_by,
            unused,
            *limits,
            dropped=said.dropped,
            stands=said.stands,
            stands_by=said.stands_by,
            low=said.low,
        )
    return renumbered(requests, guesses, parts, played, starts, split, unused, limits)


def _task(
    part: Part, eviction: ModuleType, sizes: Ints, room: int, starts: Ints, unit_of: Ints | None, present: Ints,
    rule: Rule | None, seed: int, told: hooks.Told, known: hooks.Known,
) -> Task:  # fmt: skip
    mine = slice(part.low, part.low + part.n_objects)
    return Task(
        part,
        eviction,
        sizes[mine],
        room,
        starts,
        np.zeros(0, np.int8) if unit_of is None else unit_of[mine],
        present,
        rule,
        seed,
        told,
        known,
    )


def bound(
    requests: Requests,
    expert_bytes: Ints,
    which: str,
    *,
    unit_of: Ints | None = None,
    rule: Rule | None = None,
    tier: SecondTier | None = None,
    player: Player | None = None,
) -> Decisions:
    """The bounds: "nothing" (slots are cleared at each event's start) or "everything" (the cache starts with all that the placement
    left to the device)."""
    n_experts, none = requests.n_objects // len(expert_bytes), np.zeros(0, np.int64)
    full = int((left_to_device(unit_of, len(expert_bytes), n_experts) * expert_bytes).sum())
    hit = np.full(len(requests.obj), which == "everything")
    if unit_of is not None:
        hit &= unit_of[requests.obj] == LOAD
    loads: Ints = none
    dropped: Ints = none
    low: Ints = none
    if which == "nothing":
        loads, dropped, low = _loads_of_nothing(requests, expert_bytes, unit_of, rule, tier, player)
    cpu = elsewhere(hit, loads, unit_of is not None or rule is not None, dropped, low)
    if which == "everything":
        used = np.full(requests.n_events, full, np.int64)
        limits = Limits((full,), (full,), none, None, WARM, np.ones(requests.n_objects, bool))
    else:
        size = np.zeros(len(requests.obj), np.int64)
        size[loads] = expert_bytes[requests.obj[loads] // n_experts]
        used = np.diff(np.concatenate(([0], np.cumsum(size)))[requests.ptr])
        limits = Limits((int(used.max(initial=0)),), (0,), np.arange(requests.n_events))
    return Decisions(
        hit,
        np.zeros(len(hit), np.int32),
        none == 1,
        loads,
        cpu,
        none,
        none,
        used,
        none,
        none,
        0,
        *limits,
        dropped=dropped,
        low=low,
    )


def _loads_of_nothing(
    requests: Requests, expert_bytes: Ints, unit_of: Ints | None, rule: Rule | None, tier: SecondTier | None, player: Player | None,
) -> tuple[Ints, Ints, Ints]:  # fmt: skip
    """Requests that are loaded, that are dropped, and that low copies serve, when nothing is resident; a rule is asked by playing with room
    for all and slots emptied at each event."""
    if rule is None:
        every = np.arange(len(requests.obj)) if unit_of is None else np.flatnonzero(unit_of[requests.obj] == LOAD)
        return every, every[:0], every[:0]
    room = int(expert_bytes.sum()) * (requests.n_objects // len(expert_bytes))
    each = np.arange(requests.n_events)
    made = decide(
        requests,
        expert_bytes,
        hooks,
        room,
        scope="layer",
        cold_at=each,
        unit_of=unit_of,
        rule=rule,
        tier=tier,
        player=player,
    )
    return made.loads, made.dropped, made.low
