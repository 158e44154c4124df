"""The oracles themselves: the conformance rows, someone else's cache simulator, a phone, and hand-computed times."""

from __future__ import annotations

from collections.abc import Sequence
from csv import DictReader
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier
from simmoe.simulator.nouns.model import NO_PART, Cache, Layer, ModelShape, Part
from simmoe.simulator.nouns.trace import DECODE, Trace
from tests import oracles, real_traces, scenarios
from tests.oracle_simpy import OracleRun, simulate
from tests.scenarios import EVICTIONS, TB, Case, tiny_trace

MIB = 2**20

# --- conformance rows: passes of tokens, room in experts, accesses / hits / misses / evictions of LRU ----------------

CONFORMANCE = {
    "A pinning": ([[[0, 1]], [[2, 0]], [[1, 0]], [[3, 1]], [[0, 1]]], 2, (10, 4, 6, 4)),
    "B union and unused slot": ([[[0, 1], [1, 2], [0, -1]], [[2, 3]], [[0, 2]]], 3, (7, 3, 4, 1)),
    "C event larger than the cache": ([[[0, 1], [2, 3], [0, 2]], [[3, 2]], [[0, 3]]], 2, (8, 3, 5, 3)),
    "E order within a large event": ([[[0, 1]], [[2, 1], [3, 0]], [[1, 0]], [[2, 3]]], 2, (10, 2, 8, 6)),
}


@pytest.mark.parametrize("name", CONFORMANCE)
def test_conformance_one_layer(name: str) -> None:
    passes, room, row = CONFORMANCE[name]
    for scope in ("global", "layer"):
        assert oracles.replay(tiny_trace(passes, n_experts=4), [7], 7 * room, scope=scope).total.row() == row


def test_conformance_smoke() -> None:
    trace = tiny_trace([[[0, 1]], [[0, 2]], [[0, 1]], [[0, 3]], [[0, 1]]], n_experts=4, n_layers=3)
    run = oracles.replay(trace, [5, 5, 5], 5 * 6, scope="layer")
    assert run.total.row() == (30, 12, 18, 12)
    assert run.total == run.decode and run.prefill == oracles.Tally()
    assert run.total.bytes == 18 * 5 and run.hit.sum() == 12


@pytest.mark.parametrize(("room", "row"), [(2, (12, 0, 12, 10)), (3, (12, 9, 3, 0))])
def test_conformance_global_scope(room: int, row: tuple[int, ...]) -> None:
    trace = tiny_trace([[[0]]] * 4, n_experts=1, n_layers=3)
    assert oracles.replay(trace, [1, 1, 1], room).total.row() == row


def test_flattened_accesses_differ() -> None:
    passes, room, _ = CONFORMANCE["A pinning"]
    assert oracles.replay(tiny_trace(passes, 4), [1], room, contract="sequential").total.hits == 2


# --- real traces ----------------------------------------------------------------------------------------------------


@pytest.mark.traces
def test_phone_flags_hits_and_bytes() -> None:
    trace = real_traces.load(real_traces.PHONE)
    run = oracles.replay(trace, real_traces.expert_bytes(), 4000 * MIB)
    recorded = real_traces.recorded_hits()
    assert recorded.size == 28_260
    assert np.array_equal(run.hit, recorded)
    assert round(100 * run.decode.hits / run.decode.accesses, 2) == 81.91
    assert round(run.decode.bytes / MIB, 1) == 15_753.2


FEW = ("250", "1000", "4000")  # of eleven budgets; tests/test_conformance.py compares what simmoe plays at all of them


def curve_rows(policy: str) -> list[dict[str, str]]:
    with real_traces.path("phone_gemma4_26b.curve.csv").open() as file:
        return [row for row in DictReader(file) if row["policy"] == policy]


@pytest.mark.traces
@pytest.mark.slow
@pytest.mark.parametrize(("policy", "budgets"), [("lru", None), ("lfu", FEW), ("belady", FEW)])
def test_phone_curve(policy: str, budgets: tuple[str, ...] | None) -> None:
    trace, sizes = real_traces.load(real_traces.PHONE), real_traces.expert_bytes()
    rows = [row for row in curve_rows(policy) if budgets is None or row["budget_mib"] in budgets]
    assert rows
    for row in rows:
        run = oracles.replay(trace, sizes, int(row["budget_mib"]) * MIB, policy)
        assert f"{100 * run.total.hits / run.total.accesses:.3f}" == row["hit_pct_cum"]
        assert f"{100 * run.decode.hits / run.decode.accesses:.3f}" == row["hit_pct_decode"]
        assert f"{run.total.bytes / MIB:.1f}" == row["read_mib"]


QWEN3_ROOMS = (8, 17, 25, 38, 64, 89)
QWEN3_MISSES_PER_TOKEN = {  # column 24
    ("event", "lru"): (4.165, 2.69375, 1.90625, 1.104125, 0.327875, 0.08225),
    ("event", "belady"): (4.165, 1.738125, 1.067, 0.534875, 0.14725, 0.03975),
    ("sequential", "lru"): (5.1665, 2.87525, 1.9825, 1.131625, 0.331375, 0.0825),
    ("sequential", "belady"): (3.175125, 1.619875, 1.027375, 0.524, 0.146, 0.0395),
}


@pytest.mark.traces
@pytest.mark.slow
@pytest.mark.parametrize(("contract", "policy"), QWEN3_MISSES_PER_TOKEN)
def test_qwen3_column_24(contract: str, policy: str) -> None:
    trace = real_traces.load("qwen3_30b_general", columns=slice(24, 25))
    each = list(zip(QWEN3_ROOMS, QWEN3_MISSES_PER_TOKEN[contract, policy]))
    for room, expected in each[::2]:  # tests/test_conformance.py compares what simmoe plays at all of them
        run = oracles.replay(trace, [1], room, policy, contract=contract)
        assert run.total.misses / trace.n_tokens == expected


@pytest.mark.traces
@pytest.mark.parametrize("name", real_traces.NAMES)
def test_real_traces_keep_the_shape_of_a_trace(name: str) -> None:
    trace = real_traces.load(name)
    assert trace.pass_ptr[0] == 0 and trace.pass_ptr[-1] == trace.n_tokens and len(trace.pass_ptr) == trace.n_passes + 1
    assert trace.expert_ids.min() >= 0 and trace.expert_ids.max() < trace.n_experts
    starts = np.flatnonzero(trace.position == 0)
    assert np.array_equal(trace.sequence[starts], np.arange(len(starts)))
    if name != real_traces.PHONE:
        assert trace.n_passes == trace.n_tokens and set(trace.phase.tolist()) == {DECODE}


# --- one-expert events: libCacheSim, and Belady against every possible choice ----------------------------------------


def one_expert_events(ids: Sequence[int]) -> Trace:
    return tiny_trace([[[i]] for i in ids], n_experts=max(ids) + 1)


@pytest.mark.real
@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu_resident", "belady"])
def test_equals_libcachesim(policy: str) -> None:
    rng = np.random.default_rng(7)
    for room in (1, 2, 5, 12):
        for ids in (rng.integers(0, 20, 3000).tolist(), (rng.zipf(1.3, 3000) % 20).tolist()):
            ours = oracles.replay(one_expert_events(ids), [1], room, policy).total.misses
            assert ours == oracles.flat_libcachesim(ids, 1, room, policy)


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu_resident", "belady"])
def test_equals_libcachesim_on_qwen3(policy: str) -> None:
    trace = real_traces.load("qwen3_30b_general", columns=slice(24, 25))
    ids = trace.expert_ids.ravel().tolist()
    ours = oracles.replay(trace, [1], 17, policy, contract="sequential").total.misses
    assert ours == oracles.flat_libcachesim(ids, 1, 17, policy)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 3))
def test_belady_is_optimal_on_one_expert_events(ids: list[int], room: int) -> None:
    states = {frozenset[int](): 0}  # residents -> fewest misses
    for i in ids:
        following: dict[frozenset[int], int] = {}
        for residents, misses in states.items():
            for kept in [residents] if i in residents else combinations(residents, min(len(residents), room - 1)):
                after = frozenset(kept) | {i}
                following[after] = min(following.get(after, 99), misses + (i not in residents))
        states = following
    assert oracles.replay(one_expert_events(ids), [1], room, "belady").total.misses == min(states.values())


# --- rules that the rows above do not reach --------------------------------------------------------------------------


def test_splitmix64_published_vector() -> None:
    # Vigna's splitmix64.c, seed 1234567
    assert [oracles.splitmix64(1234567, n) for n in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_fifo_and_lfu_victims() -> None:
    trace = tiny_trace([[[0]], [[0]], [[1]], [[0]], [[2]], [[0]]], n_experts=3)
    assert oracles.replay(trace, [1], 2, "fifo").evictions == [[], [], [], [], [0], [1]]  # a hit never moves
    assert oracles.replay(trace, [1], 2, "lfu").evictions == [[], [], [], [], [1], []]


def test_lfu_counts_events_and_not_tokens() -> None:
    trace = tiny_trace([[[0], [0], [0]], [[1]], [[1]], [[2]]], n_experts=3)
    assert oracles.replay(trace, [1], 2, "lfu").evictions[-1] == [0]


def test_lfu_keeps_the_count_of_what_it_evicts() -> None:
    """Expert 0 has been in 3 events, 1 in 4; 2 drives 0 out. It comes back for 2 more: 5 in all, 2 since its load."""
    trace = tiny_trace([[[e]] for e in (0, 0, 0, 1, 1, 1, 1, 2, 0, 0, 3)], n_experts=4)
    assert [e for e in oracles.replay(trace, [1], 2, "lfu").evictions if e] == [[0], [2], [1]]
    assert [e for e in oracles.replay(trace, [1], 2, "lfu_resident").evictions if e] == [[0], [2], [0]]


def test_lfu_starts_again_with_each_cold_sequence() -> None:
    trace = tiny_trace([[[e]] for e in (0, 0, 0, 1, 1, 0, 2)], 3, sequences=[[s] for s in (0, 0, 0, 1, 1, 1, 1)])
    assert oracles.replay(trace, [1], 2, "lfu", cold_per_sequence=True).evictions[-1] == [0]
    assert oracles.replay(trace, [1], 2, "lfu").evictions[-1] == [1]


@pytest.mark.parametrize("policy", ["lfu", "lfu_resident"])
def test_a_prefetch_is_no_event_for_lfu(policy: str) -> None:
    trace = tiny_trace([[[0]], [[2]]], n_experts=3)
    run = oracles.replay(trace, [1], 2, policy, prefetch=[[1], []])
    assert (run.prefetches, run.evictions) == ([[1], []], [[], [1]])


def test_a_prefetch_that_finds_no_room_evicts_nothing() -> None:
    trace = tiny_trace([[[0, 1]], [[2, -1]]], n_experts=4)
    run = oracles.replay(trace, [1], 2, prefetch=[[3], [0, 1, 3]])
    # Pass 0 fills the cache itself. In pass 1 expert 1 is resident, expert 0 (evicted just now) takes its place,
    # and then everything resident is of this event or a prefetch of it.
    assert run.prefetches == [[], [0]]
    assert run.evictions == [[], [0, 1]]


def test_layer_quota_is_rounded_down_to_whole_slots() -> None:
    assert oracles.group_capacities([4, 3], [4, 4], budget_bytes=15, scope="layer") == [8, 6]
    assert oracles.group_capacities([4, 3], [0, 4], budget_bytes=10, scope="layer") == [0, 9]
    with pytest.raises(ValueError, match="without a slot"):
        oracles.group_capacities([4, 3], [4, 4], budget_bytes=6, scope="layer")
    with pytest.raises(ValueError, match="below the largest expert, 4"):
        oracles.group_capacities([4, 3], [4, 4], budget_bytes=3, scope="global")


def test_bounds() -> None:
    trace = tiny_trace([[[0, 1], [1, 2]], [[0, 1]]], n_experts=3, n_layers=2)
    nothing = oracles.replay(trace, [5, 3], 0, "nothing")
    assert nothing.total == oracles.Tally(hits=0, misses=10, evictions=0, bytes=40) and not nothing.hit.any()
    everything = oracles.replay(trace, [5, 3], 0, "everything")
    assert everything.total == oracles.Tally(hits=10) and everything.hit.all()


def test_cold_per_sequence() -> None:
    passes, sequences = [[[0, 1]], [[0, 1]], [[0, 1]], [[0, 1]]], [[0], [0], [1], [0]]
    trace = tiny_trace(passes, n_experts=2, sequences=sequences)
    assert oracles.replay(trace, [1], 2).total.row() == (8, 6, 2, 0)
    # The third pass starts cold; the fourth returns to a sequence that is not new.
    assert oracles.replay(trace, [1], 2, cold_per_sequence=True).total.row() == (8, 4, 4, 0)


# --- the timed oracle: times worked out by hand ----------------------------------------------------------------------


def machine(unified: bool = False, launch_ps: int = 1, latency_ps: int = 2, w: int = 1, dram: int = 4 * TB) -> Hardware:
    """1 byte/ps on the link, 2 bytes/ps and 1 FLOP/ps on the unit."""
    tiers = {"dram": Tier("dram", 10**12, dram), "flash": Tier("flash", 10**12, TB)}
    unit = ComputeUnit("gpu", "dram", 2 * TB, launch_ps, {"fp16": TB})
    return Hardware("m", "m", unified, tiers, {"gpu": unit}, Link("flash", "dram", TB, latency_ps), ("gpu",), 0, w)


def shape(*layers: Layer, head: Part = NO_PART) -> ModelShape:
    return ModelShape("m", "fp16", "fp16", layers, 2, head, NO_PART)


def part(n_bytes: int, flops: int = 0) -> Part:
    return Part(n_bytes, n_bytes, flops)


MOE = Layer(part(8), shared=part(4), expert=part(10), n_experts=4)


def play(trace: Trace, model: ModelShape, hw: Hardware, room: int, **options: object) -> OracleRun:
    budget = room * model.layers[-1].expert.bytes
    return simulate(hw, model, trace, budget_bytes=budget, **{"eviction": "lru", **options})  # type: ignore[arg-type]


def test_time_of_misses_and_hits() -> None:
    # Attention 1 + 8/2 = 5. Pass 0 loads 0 and 1: issued at 5, arrive at 17 and 29; shared until 8; expert launches
    # 1 + 10/2 = 6 each: 17..23 and 29..35; head 1: 36. Pass 1 hits both in one launch: 5 + 3 + (1 + 20/2) + 1 = 20.
    run = play(tiny_trace([[[0, 1]], [[0, 1]]], 4), shape(MOE), machine(), room=2)
    assert run.pass_ps == [36, 20]
    assert (run.hits, run.misses, run.evictions, run.link_bytes) == (2, 2, 0, [20, 0])
    assert (run.link_busy_ps, run.compute_busy_ps, run.max_occupancy_bytes) == (24, 5 + 3 + 12 + 1 + 20, 20)


def test_time_without_overlap() -> None:
    # Load 0 is issued when the shared part ends: 8..20, launch to 26; load 1: 26..38, launch to 44; head 45.
    # Pass 1 hits 1 and loads 2: 5 + 3, launch of 1 until 14, load until 26, launch until 32, head 33.
    run = play(tiny_trace([[[0, 1]], [[1, 2]]], 4), shape(MOE), machine(), room=3, timeline="serial")
    assert run.pass_ps == [45, 33]


def test_time_with_a_host_that_waits() -> None:
    # The host waits 4 behind every attention. Pass 0: waits until 9, loads until 21 and 33, shared until 12, launches 21..27 and
    # 33..39, head 40. Pass 1 hits both: 5 + 4 + 3 + (1 + 20/2) + 1 = 24.
    hw = machine()
    hw = replace(hw, units={"gpu": replace(hw.device, host_wait_ps=4)})
    trace = tiny_trace([[[0, 1]], [[0, 1]]], 4)
    assert play(trace, shape(MOE), hw, room=2, timeline="sync").pass_ps == [40, 24]
    assert play(trace, shape(MOE), hw, room=2).pass_ps == [36, 20]


def test_own_event_victim_frees_its_slot_when_its_launch_has_ended() -> None:
    # Room for one: load 0 from 5 to 17, launch to 23; only then is load 1 issued: 23..35, launch to 41; head 42.
    run = play(tiny_trace([[[0, 1]]], 4), shape(MOE), machine(), room=1)
    assert run.pass_ps == [42] and run.evictions == 1 and run.max_occupancy_bytes == 10


@pytest.mark.parametrize(("latency_ps", "pass_ps"), [(2, [24, 17]), (3, [25, 18])])
def test_a_hit_that_arrives_just_when_the_hits_are_launched_is_among_them(latency_ps: int, pass_ps: list[int]) -> None:
    # No shared part. Latency 2: load 0 5..17, launch to 23, head 24; prefetch 1 arrives at 29, just when the attention
    # of pass 1 ends: one launch of both, 1 + 20/2 until 40, head 41. Latency 3: load 0 to 18, pass 0 to 25, prefetch to
    # 31, attention to 30, where 1 has not arrived: launches of 0 until 36 and of 1 until 42, head 43.
    trace = tiny_trace([[[0, -1]], [[0, 1]]], 4)
    run = play(trace, shape(replace(MOE, shared=NO_PART)), machine(latency_ps=latency_ps), room=2, prefetch=[[1], []])
    assert run.pass_ps == pass_ps


def test_late_hits_have_launches_of_their_own_in_issue_order() -> None:
    # Load 0 5..17 and prefetches of 2, 1 behind it until 29 and 41. Pass 0 ends 24: launch of 0 17..23, head.
    # Pass 1 asks for 1, 2: attention 29, shared 32, where 2 has arrived: 32..38; 1 is late: 41..47; head 48.
    trace = tiny_trace([[[0, -1]], [[1, 2]]], 4)
    run = play(trace, shape(MOE), machine(), room=3, prefetch=[[2, 1], []])
    assert run.pass_ps == [24, 24] and (run.hits, run.link_bytes) == (2, [30, 0])


def test_unified_memory_slows_what_overlaps_a_transfer() -> None:
    # B = 2 bytes/ps and w = 1 leave 1 byte/ps while a load is active: 5..17 (latency included), for one expert.
    # Attention 5; shared: launch to 6, 4 bytes at 1 byte/ps to 10; expert launch 17..18, 10 bytes at 2 to 23; head 24.
    trace = tiny_trace([[[0, -1]], [[0, -1]]], 4)
    hw = machine(unified=True, dram=2 * TB)
    assert play(trace, shape(MOE), hw, room=1).pass_ps == [24, 5 + 3 + 6 + 1]
    # A shared part of 31 bytes outlasts the load: 6..17 takes 11 bytes, the other 20 take 10 more until 27.
    long = shape(replace(MOE, shared=part(31)))
    assert play(trace, long, hw, room=1).pass_ps[0] == 27 + 6 + 1
    # 11 bytes end with the load; 12 bytes need the last half picosecond, rounded up.
    for n_bytes, end in ((11, 17), (12, 18), (13, 18), (14, 19)):
        assert play(trace, shape(replace(MOE, shared=part(n_bytes))), hw, room=1).pass_ps[0] == end + 6 + 1
    # FLOPs are counted from the end of the launch and are not slowed.
    assert play(trace, shape(replace(MOE, shared=part(4, 15))), hw, room=1).pass_ps[0] == 6 + 15 + 6 + 1


def test_loads_that_leave_no_bandwidth_are_refused() -> None:
    with pytest.raises(ValueError, match="no memory bandwidth"):
        play(tiny_trace([[[0, -1]]], 4), shape(MOE), machine(unified=True, w=2, dram=2 * TB), room=1)


def test_parts_of_a_pass() -> None:
    # A dense layer, then an MoE layer; three rows of two sequences, then one row.
    dense = Layer(part(2, 1), (Cache(bytes_per_position=4, flops_per_position=3),), ffn=part(6, 2))
    model = shape(dense, replace(MOE, shared=NO_PART, expert=part(10, 7)), head=part(2, 5))
    rows = [[[0, 1]], [[0, -1]], [[0, -1]], [[-1, -1]]]
    trace = scenarios.build_trace(rows, [3, 1], [0, 1], [0, 0, 1, 0], 4, [1])
    run = play(trace, model, machine(), room=2)
    # Pass 0: contexts 2 and 1: bytes 2 + 12, FLOPs 3 + 3 * (1 + 2 + 1) = 15: 1 + 15; FFN 1 + max(3, 6): until 23;
    # attention 28; loads arrive at 40 and 52; 0 has 3 token-slots: 1 + max(5, 21) until 62; 1: 1 + 7 until 70;
    # head 1 + 2 * 5 until 81.
    # Pass 1: context 3: bytes 14 (7 ps), FLOPs 1 + 9 = 10: 11; FFN 1 + 3: 15; attention 20; nothing; head 6: 26.
    assert run.pass_ps == [81, 26]


# --- the two oracles against each other ------------------------------------------------------------------------------


def check_counts(case: Case) -> None:
    timed = simulate(case.hw, case.model, case.trace, **case.kwargs)
    plain = oracles.replay(
        case.trace,
        case.model.expert_bytes,
        case.budget_bytes,
        case.eviction,
        case.scope,
        cold_per_sequence=case.cold_per_sequence,
        prefetch=case.prefetch,
        seed=case.seed,
        buffered=case.buffered,
    )
    assert (timed.hits, timed.misses, timed.evictions) == (plain.total.hits, plain.total.misses, plain.total.evictions)
    assert sum(timed.link_bytes) == plain.total.bytes
    assert timed.max_occupancy_bytes <= case.budget_bytes
    assert sum(timed.pass_ps) >= timed.compute_busy_ps
    if case.prefetch is None:  # every demand load is waited for
        assert sum(timed.pass_ps) >= timed.link_busy_ps


@pytest.mark.slow
@settings(max_examples=scenarios.examples(150), deadline=None)
@given(scenarios.cases())
def test_timed_and_plain_oracle_agree_in_counts(case: Case) -> None:
    check_counts(case)


@settings(max_examples=scenarios.examples(50), deadline=None)
@given(scenarios.cases(prefetching=True))
def test_timed_and_plain_oracle_agree_in_counts_with_late_hits(case: Case) -> None:
    check_counts(case)


@settings(max_examples=scenarios.examples(60), deadline=None)
@given(scenarios.cases(prefetching=False), st.sampled_from(EVICTIONS))
def test_overlap_changes_times_but_no_counts(case: Case, eviction: str) -> None:
    runs = [
        simulate(case.hw, case.model, case.trace, **{**case.kwargs, "eviction": eviction, "timeline": timeline})
        for timeline in ("overlapped", "serial")
    ]
    assert runs[0].link_bytes == runs[1].link_bytes and runs[0].pass_hits == runs[1].pass_hits
    if not case.hw.unified:  # under contention an early load may slow a part by more than it saves
        assert all(fast <= slow for fast, slow in zip(runs[0].pass_ps, runs[1].pass_ps))
