"""How long every load of a run is on the link, and what every piece of the CPU reads and computes: settled before any clock runs.

A load that a second tier answers takes the link alone; a victim that is written back shares the link with the load that takes its room
(docs/costs.md, "Loads").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Flags, Ints, distinct, ints
from simmoe.simulator.costs import WORK_PER_BYTE, Costs
from simmoe.simulator.decide.devices import woven_guesses, woven_loads
from simmoe.simulator.decide.gather import Requests
from simmoe.simulator.decide.stretches import Stretch
from simmoe.simulator.decide.tiers import Near
from simmoe.simulator.decide.versions import load_objects, low_hits
from simmoe.simulator.errors import LATEST_PS, too_long
from simmoe.simulator.link_time import write_back_ps
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.pass_sizes import PassSize
from simmoe.simulator.physics.link import both_ways_ps


class Loading(NamedTuple):
    """Time on the link of each load, how long of it bytes leave the memory before the link, and the time on the way to that memory."""

    demand_ps: Ints  # int64 [loads], in the order of Decisions.loads
    guess_ps: Ints  # int64 [guesses], 0 where nothing was prefetched
    demand_reads_ps: Ints  # int64 [loads]; empty where no CPU reads that memory
    guess_reads_ps: Ints  # int64 [guesses]; the same
    demand_up_ps: Ints  # int64 [loads], 0 where a second tier answers; empty where nothing stands before the link
    guess_up_ps: Ints  # int64 [guesses], the same

    def within(self, stretch: Stretch) -> Loading:
        """Of the loads of a stretch."""
        demand, reads, up = (ps[stretch.loads] for ps in (self.demand_ps, self.demand_reads_ps, self.demand_up_ps))
        return self._replace(demand_ps=demand, demand_reads_ps=reads, demand_up_ps=up)


class Loads(NamedTuple):
    """How the loads of a run are to be settled, when its stretches are timed; the arguments of `loading`."""

    costs: Costs
    near: Near | None
    write_back: bool
    with_cpu: bool
    layer: Ints | None = None  # layers_of the run, where they are known

    def within(self, stretch: Stretch) -> Loading:
        """Of the loads of a stretch."""
        near = self.near and Near(self.near.demand[stretch.loads], self.near.guess)
        asked, layer = (stretch.requests, stretch.decisions, stretch.guesses), self.layer
        layer = layer if layer is None else layer[stretch.loads]
        return loading(self.costs, *asked, near=near, write_back=self.write_back, with_cpu=self.with_cpu, layer=layer)


def loading(
    costs: Costs,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    *,
    near: Near | None = None,
    write_back: bool = False,
    with_cpu: bool = False,
    layer: Ints | None = None,
) -> Loading:
    """near: which loads a second tier answers (decide/tiers.py; default none). write_back: evicted experts are copied back.
    with_cpu: the CPU computes experts in this run, though perhaps none of these decisions. layer: layers_of, where they are known."""
    if max(costs.transfer_ps) > LATEST_PS:
        raise too_long()
    n_experts, issued = costs.trace.n_experts, np.flatnonzero(decisions.issued)
    first, plain = costs.hops_ps
    upstream, with_cpu = costs.hw.link.upstream is not None, with_cpu or len(decisions.cpu) > 0
    if layer is None and (upstream or with_cpu or costs.model.low):
        layer = layers_of(requests, decisions, n_experts)
    if layer is None:  # each object looked up in a table of all: faster than by way of its layer
        demand_ps: Ints = np.repeat(plain, n_experts).take(requests.obj.take(decisions.loads))
    else:
        demand_ps = plain.take(layer)
    guess_ps: Ints = np.zeros(len(guesses.obj), np.int64)
    guess_ps[issued] = plain[guesses.obj[issued] // n_experts]
    if write_back:
        size = costs.model.expert_bytes[decisions.evicted // n_experts]
        demand_bytes, guess_bytes = thrown_out(decisions, len(requests.obj), len(guesses.obj), size)
        both = _both_ways(costs)
        demand_ps, guess_ps = both(demand_ps, demand_bytes[decisions.loads]), both(guess_ps, guess_bytes)
    layers = [layer, guesses.obj // n_experts] if upstream or with_cpu else []
    up = [first[of] for of in layers] if upstream else [first[:0]] * 2
    if near is not None and upstream:
        up = [np.where(there, 0, ps) for there, ps in zip(near, up)]
    reads = costs.reads_ps if with_cpu else plain[:0]
    read = [reads[of] for of in layers] if with_cpu else [reads] * 2
    return Loading(demand_ps, guess_ps, *read, *up)


def loading_of_each(
    costs: Sequence[Costs],
    asked: Sequence[Requests],
    guessed: Sequence[Guesses],
    decided: Sequence[Decisions],
    *,
    write_back: bool,
) -> Loading:
    """Of the loads of several devices, in the numbers of decide/devices.py; no CPU, nothing before the links."""
    each = [
        loading(cost, requests, decisions, guesses, write_back=write_back)
        for cost, requests, decisions, guesses in zip(costs, asked, decided, guessed)
    ]
    demand_ps = woven_loads(asked, decided, [one.demand_ps for one in each])
    guess_ps = woven_guesses(guessed, [one.guess_ps for one in each])
    return Loading(demand_ps, guess_ps, *(np.zeros(0, np.int64),) * 4)


def layers_of(requests: Requests, decisions: Decisions, n_experts: int) -> Ints:
    """int64 [loads]: MoE layer of each; of a low copy that plus the number of MoE layers."""
    return (load_objects(requests, decisions) // n_experts).astype(np.int64)


def thrown_out(decisions: Decisions, n_requests: int, n_guesses: int, size: Ints) -> tuple[Ints, Ints]:
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


class Spared(NamedTuple):
    """What a miss rule's answers change of the launches."""

    tokens: Ints  # [requests] token slots; of a hit with those of the experts that it stands in for
    gone: Ints  # [events] how many experts fewer are read than are requested
    gone_slots: Ints  # [events] token slots that nobody computes


def spared(requests: Requests, decisions: Decisions) -> Spared:
    """What stands in and the event requests, too, computes both at once; what it does not request is one expert more."""
    event, n = requests.event_of_request, requests.n_objects
    keys = event * n + requests.obj
    wanted = event[decisions.stands] * n + decisions.stands_by
    order = np.argsort(keys, kind="stable")
    at = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))] if len(keys) else wanted
    own, tokens = keys[at] == wanted, requests.tokens.astype(np.int64)
    np.add.at(tokens, at[own], requests.tokens[decisions.stands[own]])
    beside = np.unique(wanted[~own]) // n
    events = requests.n_events
    unread = np.bincount(event[np.concatenate((decisions.dropped, decisions.stands))], minlength=events)
    slots = np.bincount(event[decisions.dropped], requests.tokens[decisions.dropped], events).astype(np.int64)
    return Spared(tokens, unread - np.bincount(beside, minlength=events), slots)


def pooled(requests: Requests, decisions: Decisions) -> tuple[Ints, Ints]:
    """int64 [events]: low copies that were in their pool, which have a launch of their own, and their token slots."""
    mine = low_hits(decisions)
    event = requests.event_of_request[mine]
    slots = np.bincount(event, requests.tokens[mine], requests.n_events).astype(np.int64)
    return np.bincount(event, minlength=requests.n_events), slots


class OnCpu(NamedTuple):
    """What the CPU computes of each event, int64 [events]; all empty when it computes nothing in the run."""

    experts: Ints
    slots: Ints  # their token slots
    ps: Ints  # while no transfer slows it
    slow_ps: Ints  # as slowly as beside transfers
    moves: Ints  # 1 = the event issues a load or a prefetch
    work: Ints  # bytes * 10**9; Python's whole numbers where one leaves 64 bits
    flop_ps: Ints
    carry_ps: Ints  # on the link, of what is carried to the device instead; empty where nothing is


def on_cpu(
    costs: Costs,
    requests: Requests,
    decisions: Decisions,
    guesses: Guesses,
    with_cpu: bool = False,
    sizes: Sequence[PassSize] | None = None,
) -> OnCpu:
    """What the CPU computes of each event. with_cpu: it computes experts in this run, though perhaps none of these decisions. sizes: of
    the passes that the requests count (default: those of the run)."""
    if not (with_cpu or len(decisions.cpu)):
        return OnCpu(*[np.zeros(0, np.int64)] * 8)
    cpu, event = costs.cpu, requests.event_of_request[decisions.cpu]
    experts = np.bincount(event, minlength=requests.n_events)
    slots = np.bincount(event, requests.tokens[decisions.cpu], requests.n_events).astype(np.int64)
    carried = carried_passes(costs, costs.sizes if sizes is None else sizes)[requests.event_pass] & (experts > 0)
    each = requests.event_layer, np.where(carried, 0, experts), np.where(carried, 0, slots)
    shape = [int(one.max(initial=0)) + 1 for one in each]
    few, alike = distinct(np.ravel_multi_index(each, shape))  # of many events few differ
    layer, read, computed = (one.tolist() for one in np.unravel_index(few, shape))
    asked = list(zip(layer, read, computed))
    ps, slow_ps = (
        np.array([cpu.ps(*one, rate) if one[1] else 0 for one in asked])[alike]
        for rate in (cpu.rate, cpu.beside_loads if costs.contended else cpu.rate)
    )
    work = ints([cpu.read_bytes(column, count) * WORK_PER_BYTE for column, count, _ in asked])[alike]
    flop_ps = np.array([cpu.compute_ps(column, n) for column, _, n in asked])[alike]
    moving, carry_ps = _moving(requests, decisions, guesses), _carry_ps(costs, requests, experts, carried)
    return OnCpu(experts, slots, ps, slow_ps, moving, work, flop_ps, carry_ps)


def carried_passes(costs: Costs, sizes: Sequence[PassSize]) -> Flags:
    """bool [passes]: what the CPU has is carried to the device in the pass."""
    if not costs.may_carry:
        return np.zeros(len(sizes), bool)
    each = {size: costs.carries(size) for size in set(sizes)}
    return np.array([each[size] for size in sizes], bool)


def _carry_ps(costs: Costs, requests: Requests, experts: Ints, carried: Flags) -> Ints:
    """int64 [events]; empty where nothing can be carried in any pass."""
    if not costs.may_carry:
        return np.zeros(0, np.int64)
    found = np.zeros(len(carried), np.int64)
    found[carried] = [
        costs.carry_ps(*one) for one in zip(requests.event_layer[carried].tolist(), experts[carried].tolist())
    ]
    return found


def _moving(requests: Requests, decisions: Decisions, guesses: Guesses) -> Ints:
    """int64 [events]: 1 where the event issues a load or a prefetch."""
    found = np.zeros(requests.n_events, np.int64)
    found[requests.event_of_request[decisions.loads]] = 1
    found[np.repeat(np.arange(requests.n_events), np.diff(guesses.ptr))[decisions.issued]] = 1
    return found
