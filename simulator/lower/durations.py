"""How long every load of a run takes: its transfer, from a page cache where one holds it, with what it throws out on its way back.

Decided before any clock runs: a page cache is an LRU over the loads in the order of their decisions, and a victim that is written
back shares the link with the load that takes its room (docs/design.md, "Loads").
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.link_time import load_ps, write_back_ps
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.physics.link import both_ways_ps


class Loading(NamedTuple):
    """Time on the link of each load."""

    demand_ps: Ints  # int64 [loads], in the order of Decisions.loads
    guess_ps: Ints  # int64 [guesses], 0 where nothing was prefetched


def loading(
    costs: Costs,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    *,
    page_cache_bytes: int = 0,
    write_back: bool = False,
) -> Loading:
    """page_cache_bytes: host memory before the link that keeps what was read from the store; write_back: evicted experts are
    copied back."""
    plain, issued = np.array(costs.transfer_ps, np.int64), np.flatnonzero(decisions.issued)
    n_experts, size = costs.trace.n_experts, costs.model.expert_bytes
    demand = requests.obj[decisions.loads] // n_experts
    demand_ps: Ints = plain[demand]
    guess_ps: Ints = np.zeros(len(guesses.obj), np.int64)
    guess_ps[issued] = plain[guesses.obj[issued] // n_experts]
    if page_cache_bytes:
        near = np.array([load_ps(int(b), costs.hw, cached=True) for b in size], np.int64)
        in_demand, in_guess = _cached(requests, decisions, guesses, size, page_cache_bytes)
        demand_ps = np.where(in_demand, near[demand], demand_ps)
        guess_ps = np.where(in_guess, near[guesses.obj // n_experts], guess_ps)
    if write_back:
        demand_bytes, guess_bytes = _thrown_out(
            decisions, len(requests.obj), len(guesses.obj), size[decisions.evicted // n_experts]
        )
        both = _both_ways(costs)
        demand_ps, guess_ps = both(demand_ps, demand_bytes[decisions.loads]), both(guess_ps, guess_bytes)
    return Loading(demand_ps, guess_ps)


def _cached(
    requests: Requests, decisions: Decisions, guesses: Guesses, size: Ints, room: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """bool [loads] and [guesses]: found in an LRU of `room` bytes that holds all that was loaded last."""
    issued, n_experts = np.flatnonzero(decisions.issued), requests.n_objects // len(size)
    event = np.concatenate((
        requests.event_of_request[decisions.loads], np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr))[issued],
    ))  # fmt: skip
    order = np.argsort(event, kind="stable")  # of an event first the loads, then the prefetches
    objects = np.concatenate((requests.obj[decisions.loads], guesses.obj[issued]))[order].tolist()
    found = np.zeros(len(order), bool)
    found[order] = lru_hits(objects, size.repeat(n_experts).tolist(), room)
    in_guess = np.zeros(len(guesses.obj), bool)
    in_guess[issued] = found[len(decisions.loads) :]
    return found[: len(decisions.loads)], in_guess


def lru_hits(objects: list[int], size: list[int], room: int) -> list[bool]:
    """Which reads an LRU of `room` bytes answers; what is larger than the room is never kept."""
    held: OrderedDict[int, None] = OrderedDict()
    hits, used = [], 0
    for o in objects:
        hits.append(o in held)
        if o in held:
            held.move_to_end(o)
        elif size[o] <= room:
            held[o] = None
            used += size[o]
            while used > room:
                used -= size[held.popitem(last=False)[0]]
    return hits


def _thrown_out(decisions: Decisions, n_requests: int, n_guesses: int, size: Ints) -> tuple[Ints, Ints]:
    """int64 [requests] and [guesses]: bytes evicted to make room for each."""
    demand, guess = np.zeros(n_requests, np.int64), np.zeros(n_guesses, np.int64)
    cause, for_guess = decisions.evicted_for, decisions.evicted_for < 0
    np.add.at(demand, cause[~for_guess], size[~for_guess])
    np.add.at(guess, -1 - cause[for_guess], size[for_guess])
    return demand, guess


def _both_ways(costs: Costs) -> Callable[[Ints, Ints], Ints]:
    """(time of a load, bytes written back) -> time until the link is free again."""
    back_ps = cache(lambda count_bytes: write_back_ps(count_bytes, costs.hw))

    def both(down_ps: Ints, back_bytes: Ints) -> Ints:
        pairs = zip(down_ps.tolist(), back_bytes.tolist())
        return np.array(
            [both_ways_ps(ps, back_ps(back), costs.hw.link.duplex) if back else ps for ps, back in pairs], np.int64
        )

    return both


def on_cpu(costs: Costs, requests: Requests, decisions: Decisions) -> tuple[Ints, Ints, Ints]:
    """int64 [events] each: experts that the CPU computes, their token slots, and how long it takes; empty when there are none."""
    if not len(decisions.cpu):
        return (np.zeros(0, np.int64),) * 3
    event = requests.event_of_request[decisions.cpu]
    experts = np.bincount(event, minlength=requests.n_events)
    slots = np.bincount(event, requests.tokens[decisions.cpu], requests.n_events).astype(np.int64)
    busy = zip(requests.event_layer.tolist(), experts.tolist(), slots.tolist())
    return experts, slots, np.array([costs.cpu_ps(*asked) if asked[1] else 0 for asked in busy])
