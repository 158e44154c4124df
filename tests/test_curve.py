"""Whole curves against the replay of every size, and Belady with bypass against every possible choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.play import bars
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.decide.curves import Curves
from simmoe.simulator.decide.decisions import decide, first_events
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import Player
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time.engines import named
from simmoe.simulator.time.recurrence import CompiledPlayer
from tests import real_traces
from tests.conftest import COMPILED, one_layer
from tests.scenarios import Case, build_trace, cases, examples, stores
from tests.test_engines import run as played

ENGINES = [
    pytest.param(Player(), id="plain"),
    pytest.param(CompiledPlayer(), id="compiled", marks=[COMPILED, pytest.mark.slow]),
]


def curves(case: Case, player: Player) -> Curves:
    requests = requests_of(case.trace)
    cold_at = first_events(case.trace, requests) if case.cold_per_sequence else None
    return Curves(requests, case.trace.phase, case.model.expert_bytes, case.scope, cold_at=cold_at, player=player)


def every_room(case: Case) -> list[int]:
    """Budgets of a scenario, each expert of the smallest size more; those in between too where there are few."""
    sizes = case.model.expert_bytes
    least = int(sizes.max()) if case.scope == "global" else int(sizes.sum())
    step = max(int(sizes.min()) // 2, 1)
    return list(range(least, case.model.all_expert_bytes + step, step))


@pytest.mark.parametrize("player", ENGINES)
@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False), st.sampled_from(("lru", "belady", "lfu")))
def test_a_curve_is_the_replay_of_every_size(player: Player, case: Case, eviction: str):
    budgets = every_room(case)
    got = curves(case, player).at(policies.load("eviction", eviction), eviction, budgets)
    for number, budget in enumerate(budgets):
        want = simmoe.replay(
            case.trace, case.model.expert_bytes, budget, eviction, case.scope, cold_per_sequence=case.cold_per_sequence
        )
        phases = (want.prefill, want.decode)
        assert got.hits[number].tolist() == [one.hits for one in phases], budget
        assert got.bytes[number].tolist() == [one.bytes for one in phases], budget


@st.composite
def long_traces(draw: st.DrawFn) -> tuple[Trace, list[int]]:
    """Hundreds of events of few experts, so that the axis of stamps is closed up and rows of 32 places are crossed."""
    layers, experts, k = draw(st.integers(1, 3)), draw(st.integers(3, 40)), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = random.choice([1, 1, 1, 3], draw(st.integers(50, 400)))
    rows = [
        [random.permutation(experts)[:k] if random.random() < 0.9 else np.full(k, -1) for _ in range(layers)]
        for _ in range(int(sizes.sum()))
    ]
    phases = [int(size == 1) for size in sizes]
    trace = build_trace(np.array(rows).tolist(), sizes.tolist(), phases, [0] * len(rows), experts, range(layers))
    return trace, draw(st.sampled_from(([7] * layers, list(range(1, layers + 1)))))


def min_with_bypass(trace: Trace, slots: int) -> int:
    """Hits where after each event those stay that are requested next soonest; plain sets."""
    requests = requests_of(trace)
    events = [set(requests.obj[a:b].tolist()) for a, b in pairwise(requests.ptr.tolist())]
    future = [[n for n, event in enumerate(events) if obj in event] for obj in range(requests.n_objects)]
    held, hits = set[int](), 0
    for number, event in enumerate(events):
        hits += len(held & event)
        soonest = sorted(held | event, key=lambda obj: next((n for n in future[obj] if n > number), len(events)))
        held = set(soonest[:slots])
    return hits


@pytest.mark.parametrize("player", ENGINES)
@settings(max_examples=examples(30), deadline=None)
@given(long_traces())
def test_bypass_keeps_what_is_requested_soonest(player: Player, drawn: tuple[Trace, list[int]]):
    trace, _ = drawn
    made = Curves(requests_of(trace), trace.phase, np.ones(trace.n_layers, int), "global", player=player)
    rooms = sorted({1, 2, 3, 5, made.requests.n_objects // 2, made.requests.n_objects})
    got = made.at(policies.load("eviction", "belady_bypass"), "belady_bypass", rooms).hits.sum(1)
    assert got.tolist() == [min_with_bypass(trace, room) for room in rooms]


@pytest.mark.parametrize("player", ENGINES)
@settings(max_examples=examples(30), deadline=None)
@given(long_traces(), st.sampled_from(("global", "layer")))
def test_long_traces_too(player: Player, drawn: tuple[Trace, list[int]], scope: str):
    trace, each = drawn
    sizes = np.array(each)
    least, every = (
        (max(each), sum(each) * trace.n_experts) if scope == "global" else (sum(each), sum(each) * trace.n_experts)
    )
    budgets = sorted({least, *np.linspace(least, every, 7, dtype=int).tolist()})
    made = Curves(requests_of(trace), trace.phase, sizes, scope, player=player)
    for eviction in ("lru", "belady"):
        got = made.at(policies.load("eviction", eviction), eviction, budgets)
        want = [simmoe.replay(trace, sizes, budget, eviction, scope).hits for budget in budgets]
        assert got.hits.sum(1).tolist() == want


@COMPILED
@pytest.mark.traces
@pytest.mark.slow
@pytest.mark.parametrize("name", ("phone_gemma4_26b", "gptoss20b_gpqa", "qwen3_30b_general"))
@pytest.mark.parametrize("scope", ("global", "layer"))
def test_curves_of_real_traces(name: str, scope: str):
    trace = real_traces.load(name)
    sizes = real_traces.expert_bytes() if name == real_traces.PHONE else np.full(trace.n_layers, 1000)
    every = int(sizes.sum()) * trace.n_experts
    budgets = [every * n // 16 for n in (1, 2, 5, 8, 16)]
    requests, player = requests_of(trace), CompiledPlayer()
    made = Curves(requests, trace.phase, sizes, scope, player=player)
    for eviction in ("lru", "belady"):
        module = policies.load("eviction", eviction)
        got = made.at(module, eviction, budgets)
        want = [decide(requests, sizes, module, one, scope=scope, player=player).hit.sum() for one in budgets]
        assert got.hits.sum(1).tolist() == want


# --- Belady with bypass ----------------------------------------------------------------------------------------------


def fewest_misses(events: list[set[int]], slots: int) -> int:
    """Tries everything: after each event any set of at most `slots` of what was resident and what was requested may stay."""
    reached = {frozenset[int](): 0}
    for event in events:
        after = dict[frozenset[int], int]()
        for held, misses in reached.items():
            there, more = held | event, misses + len(event - held)
            for kept in combinations(sorted(there), min(slots, len(there))):
                key = frozenset(kept)
                after[key] = min(after.get(key, more), more)
        reached = after
    return min(reached.values())


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2, unique=True), min_size=1, max_size=2),
             min_size=1, max_size=9)
)  # fmt: skip
def test_bypass_is_the_best_of_all_choices(rows: list[list[list[int]]]):
    trace = one_layer(rows, 5)
    for slots in range(1, 6):
        events = [{expert for token in row for expert in token} for row in rows]
        got = simmoe.replay(trace, [10], 10 * slots, "belady_bypass")
        assert got.misses == fewest_misses(events, slots)


@settings(max_examples=examples(300), deadline=None)
@given(cases(), stores())
def test_no_policy_beats_the_bars(case: Case, with_store: Callable[[Hardware], Hardware]):
    """Any policy, with look-ahead or without, that starts cold and loads what is missing."""
    case = replace(case, hw=with_store(case.hw), write_back=False)
    clocks, counts, link_bytes, _ = played(case, named("plain"))
    sizes, requests = case.model.expert_bytes, requests_of(case.trace)
    cold_at = first_events(case.trace, requests) if case.cold_per_sequence else None
    made = Curves(requests, case.trace.phase, sizes, "global", cold_at=cold_at)
    (least,), (of_decode,) = bars.least(made, case.trace, [case.budget_bytes])
    slots, same = -(-case.budget_bytes // int(sizes.min())), [10] * case.trace.n_layers
    fewest = simmoe.replay(
        case.trace, same, 10 * slots, "belady_bypass", cold_per_sequence=case.cold_per_sequence
    ).misses
    assert counts.bytes >= least >= fewest * int(sizes.min())
    workload = Workload(case.hw, case.trace, case.model)
    everything = play(workload, Plan(case.model.all_expert_bytes, "everything", timeline=case.timeline), named("plain"))
    lasted, rate = clocks.end_ps - clocks.start_ps, case.hw.link.bytes_per_s
    assert lasted.sum() >= max(int(everything.pass_ps.sum()), int(least) * 10**12 // rate)
    decode = case.trace.phase == 1
    if not case.buffered and decode.any():  # buffers are memory beside the budget, from which decode may begin, too
        assert link_bytes[decode].sum() >= of_decode
        most = bars.most_tok_s(everything, int(of_decode))
        assert not lasted[decode].sum() or _rows(case) * 1e12 / lasted[decode].sum() <= most * (1 + 1e-9)


def _rows(case: Case) -> int:
    """Tokens of the decode passes."""
    return int(np.diff(case.trace.pass_ptr)[case.trace.phase == 1].sum())


@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False))
def test_demand_policies_miss_no_less_than_belady_of_their_scope(case: Case):
    sizes = np.full(case.trace.n_layers, 10)
    budget = max(case.trace.n_layers, case.budget_bytes * 10 // int(case.model.expert_bytes.max())) * 10
    budget = min(budget, int(sizes.sum()) * case.trace.n_experts)
    got = {
        name: simmoe.replay(case.trace, sizes, budget, name, case.scope, seed=case.seed).misses
        for name in ("belady_bypass", "belady", case.eviction)
    }
    assert got["belady_bypass"] <= got["belady"]
    if budget // 10 >= requests_of(case.trace).widest or case.eviction == "belady":
        assert case.scope == "layer" or got["belady"] <= got[case.eviction]
