"""Laws that every simulated run obeys, whatever the policy: closed forms, conservation, determinism."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import simmoe
from simmoe.running import Plan, Workload, play
from simmoe.simulator.costs import Costs
from simmoe.simulator.physics.link import transfer_ps
from simmoe.simulator.reference import walk
from tests.scenarios import Case, cases, examples


def workload(case: Case) -> Workload:
    return Workload(case.hw, case.trace, case.model)


def parts_ps(costs: Costs, number: int) -> int:
    """Compute time of a pass without its routed experts."""
    tokens = costs.sizes[number].tokens
    shared = sum(costs.shared(column, tokens).ps for column in range(costs.trace.n_layers))
    return shared + sum(chain.ps for chain in costs.chains(number))


@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False))
def test_everything_resident_is_compute_alone(case):
    w = workload(case)
    run = play(w, Plan(case.model.all_expert_bytes, "everything"))
    for number in range(w.trace.n_passes):
        experts = 0
        for event in np.flatnonzero(w.requests.event_pass == number):
            first, last = w.requests.ptr[event : event + 2]
            if last > first:
                tokens = int(w.requests.tokens[first:last].sum())
                experts += w.costs.experts(int(w.requests.event_layer[event]), int(last - first), tokens).ps
        assert run.pass_ps[number] == parts_ps(w.costs, number) + experts
    assert run.bytes == 0 and run.clocks.link_busy_ps == 0


@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False))
def test_nothing_resident_without_overlap_is_a_sum(case):
    w = workload(case)
    run = play(w, Plan(0, "nothing", overlap=False))
    loads = np.zeros(w.trace.n_passes, object)
    for request, event in enumerate(w.requests.event_of_request):
        column = int(w.requests.event_layer[event])
        one = w.costs.experts(column, 1, int(w.requests.tokens[request])).ps
        loads[w.requests.event_pass[event]] += one + w.costs.transfer_ps[column]
    assert run.pass_ps.tolist() == [parts_ps(w.costs, n) + loads[n] for n in range(w.trace.n_passes)]


@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False))
def test_conservation(case):
    run = play(workload(case), Plan(case.budget_bytes, case.eviction, case.scope, case.overlap, case.cold_per_sequence))
    elapsed, w = int(run.pass_ps.sum()), run.workload
    assert run.hits + run.misses == len(w.requests.obj)
    size = case.model.expert_bytes[w.requests.obj // w.trace.n_experts]
    assert (
        run.bytes
        == int(size[~run.decisions.hit].sum())
        == int(run.link_bytes.sum())
        == run.prefill.bytes + run.decode.bytes
    )
    assert run.clocks.link_busy_ps <= elapsed
    assert int(run.decisions.used.max()) <= case.budget_bytes
    assert sum(run.clocks.stall_ps) <= elapsed
    if w.trace.phase.any():
        assert sum(run.where_ps().values()) == int(run.pass_ps[run.decode_passes].sum())


@settings(max_examples=examples(60), deadline=None)
@given(cases(prefetching=False))
def test_a_free_link_makes_every_cache_as_fast_as_its_launches(case):
    """With loads that take one picosecond, only the split of (d) into single launches is left: never below everything resident."""
    link = replace(case.hw.link, bytes_per_s=10**24, latency_ps=0)
    w = Workload(replace(case.hw, link=link, unified=False), case.trace, case.model)
    fast = play(w, Plan(case.budget_bytes, case.eviction))
    full = play(w, Plan(case.model.all_expert_bytes, "everything"))
    assert all(fast.pass_ps >= full.pass_ps)
    assert sum(fast.clocks.stall_ps) <= fast.misses


def test_transfer_time_is_exact_beyond_64_bits():
    assert transfer_ps(33_570_816, 25 * 10**9, 7_000_000) == 7_000_000 + 1_342_832_640
    assert transfer_ps(1, 3, 0) == 333_333_333_334


def test_the_walk_does_not_depend_on_how_the_transfers_are_cut():
    whole = walk(5, 10_000_000, [(7, 2_000)], 3_000, 1_000)
    assert whole == walk(5, 10_000_000, [(7, 90), (90, 91), (91, 2_000)], 3_000, 1_000)
    # 2 ps at 3000, 1993 ps at 1000, the rest at 3000
    assert whole == 2_000 + -(-(10_000_000 - 2 * 3_000 - 1_993 * 1_000) // 3_000)


def test_loads_into_unified_memory_slow_the_reader_as_the_closed_form_says():
    work = 10**6 * 10**9
    free, busy = walk(0, work, [], 200_000_000, 150_000_000), walk(0, work, [(0, 10**13)], 200_000_000, 150_000_000)
    assert (free, busy) == (-(-work // 200_000_000), -(-work // 150_000_000))


def test_same_inputs_same_digest_and_bytes(tmp_trace):
    from tests.scenarios import tiny_trace

    trace = tiny_trace([[[0]], [[1]], [[0]], [[2]]], n_experts=4)
    model = simmoe.ModelShape("tiny", "fp16", "fp16", (_moe_layer(),), 1, _part(100), _part(0))
    texts = {
        json.dumps(simmoe.run("a100", trace, model=model, budget=2000).to_json(), sort_keys=True) for _ in range(2)
    }
    assert len(texts) == 1
    run = json.loads(texts.pop())
    assert (run["hits"], run["misses"], run["evictions"], run["bytes"]) == (1, 3, 1, 3000)
    other = simmoe.run("a100", trace, model=model, budget=2000, eviction="fifo")
    assert other.digest != run["digest"]


def _part(count_bytes: int):
    from simmoe.simulator.types import Part

    return Part(count_bytes // 2, count_bytes, count_bytes)


def _moe_layer():
    from simmoe.simulator.types import Layer

    return Layer(_part(200), 8, 4, expert=_part(1000), n_experts=4)


def test_littles_law_on_the_link():
    """Mean number of transfers on the FIFO link = rate of transfers × their mean duration: it never exceeds one."""
    from simmoe.simulator.runlog import Spans
    from tests.scenarios import tiny_trace

    trace = tiny_trace([[[i % 4]] for i in range(40)], n_experts=4)
    model = simmoe.ModelShape("tiny", "fp16", "fp16", (_moe_layer(),), 1, _part(100), _part(0))
    spans = Spans()
    run = play(Workload("a100", trace, model), Plan(3000, "fifo"), spans=spans)
    elapsed = int(run.pass_ps.sum())
    in_link = sum(lasts for _, _, lasts in spans.transfers) / elapsed
    assert in_link == pytest.approx(run.misses / elapsed * (run.clocks.link_busy_ps / run.misses))
    assert len(spans.transfers) == run.misses and in_link <= 1
    ends = [start + lasts for _, start, lasts in spans.transfers]
    assert all(start >= end for (_, start, _), end in zip(spans.transfers[1:], ends))
