"""Residency of a second tier: a memory before the link that keeps what was loaded out of the store behind it (a page cache).

It is played by the same residency as the experts' memory: each load is an event that requests one object, in the order of the decisions; of
an event first the demand loads, then the prefetches. Nothing is pinned, nothing larger than the tier is kept, and a new sequence empties
only the experts' slots.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import Requests, Uses
from simmoe.simulator.decide.player import Player
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.nouns.decisions import Decisions, Guesses


class Near(NamedTuple):
    """Which loads the second tier answers."""

    demand: Flags  # bool [loads]
    guess: Flags  # bool [guesses]


def second_tier(
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    expert_bytes: Ints,
    capacity_bytes: int,
    eviction: ModuleType,
    player: Player | None = None,
    *,
    start: str = COLD,
    unit_of: Ints | None = None,
) -> Near:
    """Plays the loads of a run through a tier of `capacity_bytes` under the policy module `eviction`.

    It starts as `start` says (decisions.py); of what it cannot hold as a whole it holds nothing. unit_of [objects]: as there.
    """
    issued, n_experts = np.flatnonzero(decisions.issued), requests.n_objects // len(expert_bytes)
    event = np.concatenate(
        (
            requests.event_of_request[decisions.loads],
            np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr))[issued],
        )
    )
    order = np.argsort(event, kind="stable")  # of an event first the loads, then the prefetches
    obj = np.concatenate((requests.obj[decisions.loads], guesses.obj[issued]))[order]
    fits = expert_bytes[obj // n_experts] <= capacity_bytes
    found = np.zeros(len(order), bool)
    if fits.any():
        reads = _one_by_one(obj[fits], requests.n_objects)
        sizes = np.minimum(expert_bytes, capacity_bytes)
        found[order[fits]] = decide(
            reads, sizes, eviction, capacity_bytes, start=start, unit_of=unit_of, player=player
        ).hit
    guess = np.zeros(len(guesses.obj), bool)
    guess[issued] = found[len(decisions.loads) :]
    return Near(found[: len(decisions.loads)], guess)


def _one_by_one(obj: Ints, n_objects: int) -> Requests:
    """Each object an event of its own."""
    ptr = np.arange(len(obj) + 1)
    return Requests(
        n_events=len(obj), n_objects=n_objects, ptr=ptr, obj=obj, tokens=np.ones(len(obj), np.int64), use_ptr=ptr,
        occurrences=Uses(obj, None, None), event_pass=ptr[:-1], event_layer=np.zeros(len(obj), np.int64),
    )  # fmt: skip
