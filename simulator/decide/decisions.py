"""Plays a trace's requests through one policy: which are hits, what is loaded in which order, what is evicted. Reads no clock."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.groups import on_the_cpu, parts_of, renumbered
from simmoe.simulator.decide.player import Player, Task, play_part
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.trace import Trace

BOUNDS = ("nothing", "everything")  # bounds instead of a policy: nothing resident, everything resident


SCOPES = ("global", "layer")


def no_guesses(requests: Requests) -> Guesses:
    """What a run without a prefetcher wants."""
    return requests.no_guesses


def quotas(expert_bytes: Ints, n_experts: int, budget_bytes: int, scope: str) -> list[int]:
    """Bytes of each scope group. Raises UserError with the least budget that works when one group cannot hold one expert."""
    layer_bytes = [n_experts * int(b) for b in expert_bytes]
    if scope == "global":
        least, rooms = int(expert_bytes.max()), [budget_bytes]
    else:
        total = sum(layer_bytes)
        rooms = [budget_bytes * mine // total // int(b) * int(b) for mine, b in zip(layer_bytes, expert_bytes)]
        least = -(-total // n_experts)
    if min(rooms) < (1 if scope == "layer" else least):
        raise UserError(
            f"the budget of {budget_bytes:,} B of experts is below the least that works with scope {scope}: {least:,} B "
            f"({'one expert' if scope == 'global' else 'one expert per MoE layer'}); raise --budget"
        )
    return rooms


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
    scope: str = "global",
    guesses: Guesses | None = None,
    cold_at: Ints | None = None,
    on_cpu: npt.NDArray[np.bool_] | None = None,
    seed: int = 0,
    player: Player | None = None,
) -> Decisions:
    """Decisions of the policy module `eviction` under `budget_bytes` of routed experts; starts, and restarts, with empty slots.

    on_cpu [requests]: if this expert is missing, the CPU computes it (default: never).
    """
    guesses, player = guesses or no_guesses(requests), player or Player()
    n_experts = requests.n_objects // len(expert_bytes)
    rooms = quotas(expert_bytes, n_experts, budget_bytes, scope)
    sizes = np.repeat(expert_bytes, n_experts)
    starts = np.array([0, *([] if cold_at is None else cold_at[cold_at > 0].tolist()), requests.n_events])
    parts = parts_of(requests, guesses, len(rooms))
    played = [
        play_part(Task(part, eviction, sizes[part.low : part.low + part.n_objects], room, starts, on_cpu, seed), player)
        for part, room in zip(parts, rooms)
    ]
    unused = 0 if scope == "global" else max(budget_bytes - sum(rooms), 0)
    limits = tuple(rooms), (0,) * len(rooms), starts[1:-1]
    if parts[0].whole:
        v = played[0]
        hit, issued = v.hit.view(np.bool_), v.issued.view(np.bool_)
        return Decisions(
            hit,
            v.wait,
            issued,
            v.loads,
            on_the_cpu(hit, on_cpu),
            v.evicted,
            v.evicted_for,
            v.used,
            v.fresh,
            v.fresh_by,
            unused,
            *limits,
        )
    return renumbered(requests, guesses, parts, played, starts, on_cpu, unused, limits)


def bound(requests: Requests, expert_bytes: Ints, which: str, on_cpu: npt.NDArray[np.bool_] | None = None) -> Decisions:
    """The bounds: "nothing" (slots are cleared at each event's start) or "everything" (the cache starts full)."""
    n_experts = requests.n_objects // len(expert_bytes)
    hit = np.full(len(requests.obj), which == "everything")
    cpu = on_the_cpu(hit, on_cpu)
    size = expert_bytes[requests.obj // n_experts]
    size[cpu] = 0
    used = np.diff(np.concatenate(([0], np.cumsum(size)))[requests.ptr])
    if which == "everything":
        used = np.full(requests.n_events, int(expert_bytes.sum()) * n_experts, np.int64)
    none = np.zeros(0, np.int64)
    full = int(expert_bytes.sum()) * n_experts
    limits: tuple[tuple[int, ...], tuple[int, ...], Ints] = (full,), (full,), none
    if which == "nothing":
        limits = (int(used.max(initial=0)),), (0,), np.arange(requests.n_events)
    loads = np.setdiff1d(np.flatnonzero(~hit), cpu, assume_unique=True)
    return Decisions(hit, np.zeros(len(hit), np.int32), none == 1, loads, cpu, none, none, used, none, none, 0, *limits)
