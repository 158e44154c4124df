"""How long loads take: write-back shares the link, a page cache answers what it holds, and both engines are told the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simmoe
from simmoe import load_hardware, policies
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.tiers import second_tier
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import hops_ps, load_ps, write_back_ps
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.run import Spans
from tests.scenarios import shape_for, tiny_trace

TRACE = tiny_trace([[[0, 1]], [[2, 3]], [[0, 1]], [[2, 3]], [[0, 2]]], n_experts=4, n_layers=2)


def workload(hw: str, **link: object) -> Workload:
    machine = load_hardware(hw)
    return Workload(replace(machine, link=replace(machine.link, **link)), TRACE, shape_for(TRACE))


def played(w: Workload, experts: int = 4, **plan: object):
    one = int(w.model.expert_bytes[0])
    spans = Spans()
    run = play(w, Plan(experts * one, **{"start": "cold", **plan}), w.engine("simpy", spans=True), spans)
    return run, [lasts for _, _, lasts in spans.transfers]


def test_without_options_a_load_takes_its_transfer_and_nothing_is_written_back():
    run, lasts = played(workload("a100"))
    assert run.evictions and set(lasts) == {run.workload.costs.transfer_ps[0]}
    assert run.counts.write_back_bytes == 0


@pytest.mark.parametrize("duplex", ["full", "half"])
def test_a_victim_shares_the_link_with_the_load_that_takes_its_room(duplex):
    w = workload("a100", duplex=duplex, write_bytes_per_s=10**10)
    run, lasts = played(w, write_back=True)
    one, size = w.costs.transfer_ps[0], int(w.model.expert_bytes[0])
    back = write_back_ps(size, w.hw)
    assert back > one  # the way back is the slower one here
    alone = run.misses - run.evictions  # loads into empty slots
    assert sorted(lasts) == sorted([one] * alone + [max(one, back) if duplex == "full" else one + back] * run.evictions)
    assert run.counts.write_back_bytes == run.evictions * size
    assert run.clocks.link_busy_ps == sum(lasts)
    assert run.decode.write_back_bytes + run.prefill.write_back_bytes == run.counts.write_back_bytes


def test_write_back_over_a_full_duplex_link_of_equal_rates_costs_no_time():
    free, busy = (played(workload("a100"), write_back=on)[0] for on in (False, True))
    assert free.pass_ps.tolist() == busy.pass_ps.tolist() and busy.counts.write_back_bytes > 0


def test_a_page_cache_that_holds_everything_leaves_one_read_of_each_expert():
    w = workload("rtx_4090_nvme")
    size, room = int(w.model.expert_bytes[0]), w.model.all_expert_bytes
    first, last = hops_ps(size, w.hw)
    far, near = load_ps(size, w.hw), load_ps(size, w.hw, cached=True)
    assert (near, far) == (last, first + last)
    run, lasts = played(w, page_cache_bytes=room, timeline="serial")
    assert set(lasts) == {near} and len(lasts) > 8
    stalls = len(lasts) * near + 8 * first  # 4 experts in each of 2 layers, each awaited alone
    assert int(run.clocks.stall_ps.sum()) == stalls
    run, cold = played(w, page_cache_bytes=size - 1, timeline="serial")
    assert int(run.clocks.stall_ps.sum()) == len(cold) * far


def test_without_eviction_a_page_cache_is_never_asked_again():
    run, lasts = played(workload("rtx_4090_nvme"), experts=8, page_cache_bytes=10**9)
    assert run.evictions == 0 and len(set(lasts)) == 1


def brute_force(objects: list[int], size: list[int], room: int) -> list[bool]:
    """The newest distinct reads, newest first, as many as fit; a read is a hit when it is among them."""
    kept: list[int] = []
    hits = []
    for o in objects:
        hits.append(o in kept)
        if size[o] <= room:
            kept = [o, *(other for other in kept if other != o)]
            while sum(size[other] for other in kept) > room:
                kept.pop()
    return hits


@given(
    st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(1, 4), min_size=6, max_size=6), st.integers(0, 12)
)
def test_the_page_cache_is_an_lru(objects, size, room):
    """Of one layer, in which each expert has a size of its own."""
    n = len(objects)
    requests, nothing = requests_of(tiny_trace([[[0]]], n_experts=1)), np.zeros(0, np.int64)
    one = np.arange(n)
    reads = replace(
        requests, n_events=n, n_objects=6, ptr=np.arange(n + 1), obj=np.array(objects, np.int64), event_pass=one, event_layer=0 * one
    )  # fmt: skip
    every = Decisions(
        one < 0, 0 * one, nothing > 0, one, nothing, nothing, nothing, 0 * one, nothing, nothing, 0, (), (), nothing
    )
    guesses = Guesses(np.zeros(n + 1, np.int64), nothing)
    near = second_tier(reads, every, guesses, np.array(size), room, policies.load("eviction", "lru"))
    assert near.demand.tolist() == brute_force(objects, size, room)


def test_of_an_event_the_page_cache_reads_the_loads_before_the_prefetches():
    """There is room for one expert: what the next event finds is what was prefetched last."""
    requests = requests_of(tiny_trace([[[0]], [[1]]], n_experts=2))
    loads, nothing = np.arange(2), np.zeros(0, np.int64)
    hit = np.zeros(2, bool)
    decisions = Decisions(
        hit,
        0 * loads,
        np.array([True]),
        loads,
        nothing,
        nothing,
        nothing,
        0 * loads,
        nothing,
        nothing,
        0,
        (),
        (),
        nothing,
    )
    guesses = Guesses(np.array([0, 1, 1]), np.array([1]))
    near = second_tier(requests, decisions, guesses, np.array([10]), 10, policies.load("eviction", "lru"))
    assert near.demand.tolist() == [False, True] and near.guess.tolist() == [False]


def test_a_page_cache_counts_prefetches_behind_the_loads_of_their_event():
    run = simmoe.run(
        "rtx_4090_nvme", "switch", budget="25%", tokens=400, prefetch="next_layer", page_cache="4GB", start="cold"
    )
    w, d, g = run.workload, run.decisions, run.guesses
    near = second_tier(w.requests, d, g, w.model.expert_bytes, 4 * 10**9, policies.load("eviction", "lru"))
    loads = loading(w.costs, w.requests, d, g, near=near)
    assert ((loads.guess_ps > 0) == d.issued).all()
    drive, _ = hops_ps(int(w.model.expert_bytes[0]), w.hw)
    first = {}  # the first read of each expert, in order of event, loads before prefetches
    event = np.repeat(np.arange(w.requests.n_events), np.diff(g.ptr))
    reads = [
        (int(w.requests.event_of_request[i]), 0, int(w.requests.obj[i]), ps)
        for i, ps in zip(d.loads, loads.demand_up_ps)
    ]
    reads += [(int(event[j]), 1, int(g.obj[j]), loads.guess_up_ps[j]) for j in np.flatnonzero(d.issued)]
    for _, _, o, ps in sorted(reads, key=lambda read: read[:2]):
        first.setdefault(o, ps)
    assert set(first.values()) == {drive}  # each comes from the drive once
    assert {ps for _, _, _, ps in reads} == {drive, 0}


@pytest.mark.parametrize(
    ("hw", "size", "text"),
    [
        (
            "a100",
            "1GB",
            r"--page-cache 1GB: the experts of a100 live on host_dram, with no memory between it and the device",
        ),
        (
            "rtx_4090_nvme",
            "128GB",
            r"--page-cache 128GB is more than host_dram of rtx_4090_nvme has, 68.7 GB; lower it",
        ),
        ("rtx_4090_nvme", "128", r"--page-cache: '128' is not a quantity with a unit"),
    ],
)
def test_a_page_cache_that_cannot_be_is_refused_in_one_line(hw, size, text):
    with pytest.raises(UserError, match=text):
        simmoe.run(hw, "switch", tokens=64, page_cache=size)
