"""A long run is gathered, counted and timed in stretches of passes: whatever their length, nothing differs from the run in one."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simmoe import policies
from simmoe.play.decided import Decided
from simmoe.play.energy import _decode_traffic
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.play.workload import Workload
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide import gather, stretches
from simmoe.simulator.decide.counts import count, hit_flags, link_bytes_by_pass
from simmoe.simulator.decide.decisions import decide, first_events
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.decide.missing import LOAD
from simmoe.simulator.decide.prices import priced
from simmoe.simulator.decide.tiers import second_tier
from simmoe.simulator.decide.warm_up import behind, cold_misses
from simmoe.simulator.lower.durations import Loads
from simmoe.simulator.nouns.trace import DECODE, PREFILL
from simmoe.simulator.time.engines import named
from tests.conftest import COMPILED
from tests.scenarios import MISSES, Case, cases, examples, few_kernels, physics
from tests.test_engines import enough, guesses_of, half, same

ENGINES = ["plain", pytest.param("fast", marks=[COMPILED, pytest.mark.slow])]


def found(case: Case, engine: str, left: set[int], page_cache: int) -> tuple:
    """All that a run gives: clocks, counts of both phases, bytes of each pass, cold misses, what energy counts, what a warm-up leaves."""
    trace, requests, sizes = case.trace, requests_of(case.trace), case.model.expert_bytes
    guesses, costs, playing = guesses_of(case, requests.n_events), Costs(case.hw, case.model, trace), named(engine)
    unit_of = np.isin(np.arange(requests.n_objects), list(left)).astype(np.int8) if left else None
    decisions = decide(
        requests, sizes, policies.load("eviction", case.eviction), case.budget_bytes, scope=case.scope, guesses=guesses,
        cold_at=first_events(trace, requests) if case.cold_per_sequence else None, unit_of=unit_of,
        rule=priced(policies.load("miss", case.miss), costs, requests) if case.miss != "fetch" else None,
        seed=case.seed, player=playing.player,
    )  # fmt: skip
    lru, near = policies.load("eviction", "lru"), None
    if page_cache:
        near = second_tier(requests, decisions, guesses, sizes, page_cache, lru, playing.player)
    loads = Loads(costs, near, case.write_back, len(decisions.cpu) > 0)
    clocks = playing.simulate(costs, requests, decisions, guesses, loads, policies.load("timeline", case.timeline))
    counts = [
        count(trace, requests, decisions, guesses, sizes, phase, case.write_back, unit_of)
        for phase in (None, PREFILL, DECODE)
    ]
    mine = np.ones(requests.n_objects, bool) if unit_of is None else unit_of == LOAD
    workload = Workload(case.hw, trace, case.model)
    traffic = _decode_traffic(workload, Decided(guesses, decisions), trace.phase == DECODE)
    later, _ = behind(requests, decisions, guesses, np.repeat(sizes, trace.n_experts), trace.n_passes // 2)
    lists = (
        hit_flags(trace, requests, decisions).tolist(),
        link_bytes_by_pass(trace, requests, decisions, guesses, sizes).tolist(),
    )
    return clocks, counts, cold_misses(requests, decisions, guesses, mine), traffic, lists, decisions, later


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("prefetching", [False, pytest.param(None, marks=pytest.mark.slow)])
def test_a_run_in_stretches_is_the_run_in_one(monkeypatch, engine, prefetching):
    @settings(max_examples=examples(150), deadline=None)
    @given(
        cases(prefetching=prefetching, misses=MISSES),
        physics(),
        st.one_of(st.none(), st.integers(0, 5)),
        st.integers(0, 20),
        st.integers(1, 12),
    )
    def compare(case, changed, cpu_seed, page_cache, longest):
        left = half(case, cpu_seed)
        case = replace(case, hw=changed(case.hw))
        case = enough(few_kernels(case) if engine == "fast" else case, left)
        in_one = found(case, engine, left, page_cache)
        with monkeypatch.context() as patched:
            patched.setattr(stretches, "LONGEST", longest)
            patched.setattr(gather, "SLOTS", longest)
            in_many = found(case, engine, left, page_cache)
        assert in_one[:5] == in_many[:5]
        assert same(in_one[5], in_many[5]) and same(in_one[6], in_many[6])

    compare()


@pytest.mark.slow
@pytest.mark.parametrize("trace", ["switch", "oracle-12x64"])
def test_a_page_cache_and_emptied_slots_do_not_notice_stretches(monkeypatch, trace):
    options = {"budget": "15%", "page_cache": "1 GB", "cold_per_sequence": True, "tokens": 1500}
    scenario = Scenario(hw="rtx_4090_nvme", trace=trace, **options)
    workload = scenario.workload()
    plan = replace(scenario.plan(workload), page_cache_bytes=workload.model.all_expert_bytes // 2)
    in_one = play(workload, plan)
    assert in_one.cold_misses > 0  # kept from now on
    monkeypatch.setattr(stretches, "LONGEST", 500)
    in_many = play(workload, plan)
    assert in_one.clocks == in_many.clocks and in_one.cold_misses == in_many.cold_misses
    assert len(list(stretches.stretches(workload.requests, in_many.decisions, in_many.guesses))) > 3


def arrays(requests: Requests) -> dict[str, object]:
    """What the requests say, however it is kept."""
    names = {one.name for one in fields(Requests)} - {"occurrences"} | {"use_obj", "use_request", "use_slot"}
    return {name: np.asarray(getattr(requests, name)).tolist() for name in names}


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("contract", ["event", "sequential"])
def test_requests_are_the_same_however_many_passes_are_gathered_at_once(monkeypatch, contract):
    @settings(max_examples=examples(100), deadline=None)
    @given(cases(prefetching=False), st.integers(1, 30))
    def compare(case, slots):
        at_once = arrays(requests_of(case.trace, contract))
        with monkeypatch.context() as patched:
            patched.setattr(gather, "SLOTS", slots)
            assert arrays(requests_of(case.trace, contract)) == at_once

    compare()


def test_a_stretch_has_as_many_requests_as_it_may_have_and_whole_passes():
    """Passes of 2, 3, 1 and 2 tokens, two layers, top-2: 4, 6, 2 and 4 requests where no expert is asked for twice."""
    from tests.scenarios import tiny_trace

    rows = [[[0, 1], [2, 3]], [[0, 1], [2, 3], [4, 5]], [[6, 7]], [[0, 1], [2, 3]]]
    requests = requests_of(tiny_trace(rows, 8, n_layers=2))
    none = requests.no_guesses
    made = decide(requests, np.array([1, 1]), policies.load("eviction", "lru"), 6)
    lengths = []
    for longest in (100, 20, 12, 7, 1):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(stretches, "LONGEST", longest)
            cut = list(stretches.stretches(requests, made, none, 2))
        lengths.append([len(one.requests.obj) for one in cut])
        assert [one.end for one in cut[:-1]] == [one.begin for one in cut[1:]]
    assert lengths == [[32], [20, 12], [8, 12, 12], [8, 12, 4, 8], [8, 12, 4, 8]]
