"""Routing locality: every measure by hand, by brute force, at its extremes, and on real models against published figures."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.cli.main import main
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.format.trace import names, save
from simmoe.workloads.locality import balance, distance, explained, information, prediction, reuse, segments, switching
from simmoe.workloads.locality.routing import Routing, of
from tests import real_traces
from tests.scenarios import examples

needs_traces = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")

# SRP over m = 4 and 16 tokens by model, digitised (±0.002) from plot/msrp.pdf of github.com/ljcleo/moe-lrc at 7b3ca46,
# the figures of arXiv 2505.16056 (Qwen3-30B-A3B and DeepSeek-V2-Lite, other text than these traces)
PUBLISHED_SRP = {"qwen3_30b_general": {4: 0.672, 16: 0.541}, "dsv2lite_intent": {4: 0.532, 16: 0.379}}


def trace(ids, n_experts: int, sequence=None, gate=None, **meta) -> Trace:
    """ids [tokens, layers, k]; every token is a decode pass."""
    ids = np.asarray(ids, np.int16)
    sequence = np.zeros(len(ids), np.int32) if sequence is None else np.asarray(sequence, np.int32)
    position = np.array([np.count_nonzero(sequence[:t] == s) for t, s in enumerate(sequence)], np.int32)
    return Trace(
        expert_ids=ids, layer_index=np.arange(ids.shape[1], dtype=np.int16),
        pass_ptr=np.arange(len(ids) + 1), phase=np.ones(len(ids), np.int8), sequence=sequence, position=position,
        gate_weights=None if gate is None else np.asarray(gate, np.float16),
        meta={"n_experts": n_experts, "null_experts": True, **meta},
    )  # fmt: skip


def column(*experts, n_experts: int = 4, **options) -> Routing:
    """One layer; each token a list of experts, or one."""
    rows = [e if isinstance(e, list) else [e] for e in experts]
    k = max(map(len, rows))
    return of(trace([[row + [-1] * (k - len(row))] for row in rows], n_experts, **options))


@st.composite
def routings(draw) -> Routing:
    """Up to 90 tokens, 1-3 layers, k of up to 6 experts, some slots unused, some sequences interleaved."""
    tokens, layers, e = draw(st.integers(1, 90)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    k = draw(st.integers(1, e))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = rng.permuted(np.tile(np.arange(e), (tokens, layers, 1)), axis=2)[..., :k]
    ids = np.where(rng.random(ids.shape) < draw(st.sampled_from([0.0, 0.3])), -1, ids)
    return of(trace(ids, e, rng.integers(0, draw(st.integers(1, 3)), tokens)))


# switches and reuse


def test_switches_by_hand():
    assert switching.inconsistency_per_100(column(0, 0, 1, 0, 0)) == 50
    assert switching.inconsistency_per_100(column([0, 1], [1, 2], [1, 2])) == 25  # one of four slots is new
    assert switching.inconsistency_per_100(column([0, 1], [2], [2, 3])) == pytest.approx(
        200 / 3
    )  # {2}: 1 of 1, {3}: 1 of 2
    assert (
        switching.inconsistency_per_100(column([0], [-1], [0])) == 100
    )  # nothing is kept over a token without experts
    assert switching.inconsistency_per_100(column(0, 1, 0, 1, sequence=[0, 1, 0, 1])) == 0  # interleaved sequences
    assert np.isnan(switching.inconsistency_per_100(column(0, 1, sequence=[0, 1])))


def test_a_gap_in_the_positions_parts_neighbours():
    gap = replace(trace([[[0]], [[1]], [[1]]], 2), position=np.array([0, 5, 6], np.int32))
    assert switching.inconsistency_per_100(of(gap)) == 0


def test_quarters():
    assert switching.by_quarter(np.arange(8.0)).tolist() == [0.5, 2.5, 4.5, 6.5]
    assert switching.by_quarter(np.arange(5.0)).tolist() == [0.5, 2, 3, 4]
    two = switching.by_quarter(np.array([1.0, 3.0]))
    assert two[[0, 2]].tolist() == [1, 3] and np.isnan(two[[1, 3]]).all()


def test_reuse_by_hand():
    routing = column([0, 1], [1, 2], [3, 0])
    assert reuse.at_next_token(routing) == 0.25
    assert reuse.by_chance(routing) == 0.5
    assert reuse.by_popularity(routing) == pytest.approx((4 + 4 + 1 + 1) / 9 / (6 / 3))
    assert reuse.by_popularity(column(0, 0, 0, 1)) == pytest.approx(0.75**2 + 0.25**2)


# segments


def test_segments_stay_inside_a_stretch_and_drop_the_rest():
    routing = column(0, 0, 0, 0, 0, 0, 0, sequence=[0, 0, 0, 1, 1, 1, 1])
    assert segments.segments(routing, 2).tolist() == [[0, 1], [3, 4], [5, 6]]
    assert segments.segments(routing, 2, whole=4).tolist() == [[3, 4], [5, 6]]
    assert segments.segments(routing, 8).shape == (0, 8)
    with pytest.raises(simmoe.UserError, match="segments of 3 tokens in whole ones of 4"):
        segments.segments(routing, 3, whole=4)


def test_srp_and_sch_by_hand():
    counts = segments.served(column(0, 0, 1, 2, 3, 3, 3, 3), 4)
    assert segments.srp(counts) == (2 + 4) / 8
    assert [float(segments.sch(counts, rho)[0]) for rho in (0.5, 1, 1.9, 2, 3)] == [0, 0.75, 0.75, 0.875, 1]
    pairs = segments.served(column([0, 1], [0, 2], [0], [-1]), 2)  # segment 1: {0: 2, 1: 1, 2: 1}; segment 2: {0: 1}
    assert segments.srp(pairs) == (3 + 1) / 5
    assert np.isnan(segments.srp(segments.served(column(0, 1), 4)))


def brute_served(routing: Routing, m: int, n: int) -> list[float]:
    """Slots served by the n most used experts of each segment / slots used, with dictionaries."""
    shares = []
    for layer in range(routing.n_layers):
        good = used = 0
        for stretch in sorted(set(routing.stretch.tolist())):
            rows = routing.ids[routing.stretch == stretch, layer].tolist()
            for start in range(0, len(rows) - m + 1, m):
                slots = [e for row in rows[start : start + m] for e in row if e >= 0]
                good += sum(sorted((slots.count(e) for e in set(slots)), reverse=True)[:n])
                used += len(slots)
        shares.append(good / used if used else np.nan)
    return shares


@settings(max_examples=examples(100), deadline=None)
@given(routings(), st.integers(1, 20), st.integers(0, 3))
def test_served_against_brute_force(routing, m, n):
    counts = segments.served(routing, m)
    found = segments.sch(counts, n / routing.top_k)
    np.testing.assert_array_equal(found, brute_served(routing, m, n))


@settings(max_examples=examples(100), deadline=None)
@given(routings(), st.integers(1, 9))
def test_experts_of_a_chunk_against_sets(routing, m):
    """Those of a verify pass: more rows never ask for fewer, nor for more than each of them alone; one row asks for what it uses."""
    cut = segments.segments(routing, m)
    sets = [
        [{e for e in routing.ids[rows, layer].ravel().tolist() if e >= 0} for rows in cut]
        for layer in range(routing.n_layers)
    ]
    by_hand = [np.mean([len(one) for one in layer]) if len(cut) else np.nan for layer in sets]
    np.testing.assert_allclose(segments.union(routing, m), by_hand)
    if len(cut):
        used = [(routing.ids[cut[:, i]] >= 0).sum(2).mean(0) for i in range(m)]
        assert (segments.union(routing, m) <= np.sum(used, axis=0) + 1e-12).all()
        assert (segments.union(routing, m) >= np.max(used, axis=0) - 1e-12).all()


@settings(max_examples=examples(100), deadline=None)
@given(routings(), st.sampled_from([1, 2, 3, 5]))
def test_laws_of_srp_and_sch(routing, m):
    """SRP(4m) <= SRP(m) is exact on the same tokens, those of whole segments of 4m: the best set of a long segment serves no
    more than the best set of each of its four parts."""
    short, long = segments.served(routing, m, whole=4 * m), segments.served(routing, 4 * m)
    assert (short.used == long.used).all()
    defined = long.used > 0
    assert (segments.srp(long)[defined] <= segments.srp(short)[defined]).all()
    curve = np.array([segments.sch(long, rho)[defined] for rho in np.arange(0, 7, 0.25)])
    assert ((curve >= 0) & (curve <= 1)).all() and (np.diff(curve, axis=0) >= 0).all()
    np.testing.assert_array_equal(segments.sch(long, 1), segments.srp(long))
    assert (segments.srp(long)[defined] >= routing.top_k / routing.n_experts - 1e-12).all()
    assert (segments.sch(long, routing.n_experts)[defined] == 1).all()


# balance


def test_balance_by_hand():
    routing = column([0, 1], [0, 2], [0, -1], gate=[[[0.75, 0.25]], [[0.5, 0.5]], [[1, 9]]])
    load, importance = balance.load(routing), balance.importance(routing)
    assert load.tolist() == [[3, 1, 1, 0]] and importance.tolist() == [
        [2.25, 0.25, 0.5, 0]
    ]  # an unused slot weighs nothing
    assert balance.variation(load) == pytest.approx(np.std([3, 1, 1, 0]) / 1.25)
    assert balance.variation(importance) == pytest.approx(np.std([2.25, 0.25, 0.5, 0]) / 0.75)
    assert balance.max_over_mean(load) == 2.4
    p = np.array([0.6, 0.2, 0.2])
    assert balance.entropy(load) == pytest.approx(-(p * np.log(p)).sum() / np.log(4))
    assert balance.sorted_load(load).tolist() == [2.4, 0.8, 0.8, 0]
    assert balance.importance(column(0)) is None and balance.entropy(np.array([[5.0]])) == 1
    assert np.isnan(balance.variation(np.zeros((1, 4))))


# information


def two_layers(pairs, n_experts: int = 4) -> Routing:
    return of(trace([[[a], [b]] for a, b in pairs], n_experts))


def test_information_by_hand():
    same = two_layers([(0, 2), (1, 3), (0, 2), (1, 3)])
    nmi, top = information.affinity(same)
    assert nmi == pytest.approx([1]) and top == [1]
    apart = two_layers([(0, 2), (0, 3), (1, 2), (1, 3)])
    nmi, top = information.affinity(apart)
    assert nmi == pytest.approx([0], abs=1e-12) and top == [0.5]
    uneven = two_layers([(0, 1), (0, 1), (0, 2), (1, 2)])  # H(a) of 3:1, H(b) of 2:2, H(a, b) of 2:1:1
    h_a, h_b, both = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), np.log(2), 1.5 * np.log(2)
    nmi, top = information.affinity(uneven)
    assert nmi == pytest.approx([2 * (h_a + h_b - both) / (h_a + h_b)]) and top == [0.75]
    assert information.nmi(np.array([[4.0]])) == 0 and np.isnan(information.nmi(np.zeros((2, 2))))


def test_affinity_of_sets_counts_pairs_of_used_slots():
    routing = of(trace([[[0, 1], [2, -1]], [[0, -1], [2, 3]], [[1, -1], [-1, -1]]], 4))
    assert information.joint_counts(routing, 0, 1)[:2, 2:].tolist() == [[2, 1], [1, 0]]
    assert information.affinity(routing)[1] == [
        1
    ]  # 0 -> 2 in 2 of 2, 1 -> 2 in 1 of 1 (its other token uses no expert there)


def test_labels_and_the_map_of_layers():
    routing = two_layers([(0, 2), (1, 2), (0, 2), (1, 3)])
    assert information.with_labels(routing, np.array([5, 6, 5, 6]))[0] == pytest.approx(1)
    columns, values = information.layer_map(routing)
    assert columns.tolist() == [0, 1] and values[0, 1] == values[1, 0] == pytest.approx(
        information.affinity(routing)[0][0]
    )
    assert values[0, 0] == pytest.approx(1)


def test_the_map_thins_out_layers_of_a_large_trace(monkeypatch):
    routing = of(trace(np.zeros((10, 9, 1)), 2))
    monkeypatch.setattr(information, "MAP_PAIRS", 60)
    assert information.layer_map(routing)[0].tolist() == [0, 4, 8]


# distance


def test_distance_curve_by_hand():
    states, ids = np.array([[0.0], [1], [1], [9]]), np.array([0, 0, 0, 1], np.int16)[:, None, None]
    curve = distance.neighbours(states, ids, np.zeros(4, np.int64))  # distances 1, 0, 8: kept, kept, changed
    assert curve["edges"] == list(range(9))
    assert curve["different"] == [0, 0, None, None, None, None, None, 1]
    assert curve["share_of_pairs"] == pytest.approx([1 / 3, 1 / 3, 0, 0, 0, 0, 0, 1 / 3])
    assert curve["spearman"] == pytest.approx(np.sqrt(3) / 2)  # ranks 0, 1, 2 against .5, .5, 2
    assert distance.neighbours(states, ids, np.arange(4)) is None


def test_random_pairs_stay_in_a_stretch_and_near():
    position = np.arange(200.0)[:, None]
    stretch = np.repeat([0, 1], 100)
    ids = stretch.astype(np.int16)[:, None, None]
    curve = distance.random_pairs(position, ids, stretch)
    assert curve["edges"][0] == 1 and curve["edges"][-1] == 64
    assert set(curve["different"]) == {0} and curve["spearman"] is None
    assert curve == distance.random_pairs(position, ids, stretch)


def test_experts_that_follow_the_states_switch_more_the_farther_they_are():
    rng = np.random.default_rng(0)
    states = np.cumsum(rng.normal(size=(4000, 2)), axis=0)
    ids = (np.floor(states[:, 0] / 16) % 8).astype(np.int16)[:, None, None]
    curve = distance.random_pairs(states, ids, np.zeros(4000, np.int64))
    assert curve["spearman"] > 0.9 and curve["different"][0] < 0.3


# prediction and explanation


def test_every_third_group_is_for_testing():
    assert prediction.test_rows([5, 5, 7, 9, 9, 9, 2]).tolist() == [False] * 2 + [True] + [False] * 4
    assert prediction.test_rows([0] * 6).tolist() == [False] * 4 + [True] * 2


def test_logistic_regression_names_what_is_linear_and_not_what_is_chance():
    rng = np.random.default_rng(1)
    groups, states = np.repeat(np.arange(30), 50), rng.normal(size=(1500, 6)) * [1, 50, 1, 1, 0, 1] + 3
    linear = (states - 3) @ (rng.normal(size=(6, 5)) / np.array([1, 50, 1, 1, 1, 1])[:, None])
    assert prediction.linear_accuracy(states, linear.argmax(1), groups) > 0.95
    chance = rng.integers(0, 5, 1500)
    assert prediction.linear_accuracy(states, chance, groups) < 0.3
    assert prediction.linear_accuracy(states, np.full(1500, 3), groups) == 1
    assert np.isnan(prediction.linear_accuracy(states, np.full(1500, -1), groups))


def test_logistic_regression_is_at_its_optimum():
    rng = np.random.default_rng(2)
    x = np.c_[rng.normal(size=(300, 3)), np.ones(300)]
    y = np.eye(3)[rng.integers(0, 3, 300)]
    weights = prediction._logistic(x, y)
    odds = np.exp(x @ weights)
    gradient = x.T @ (odds / odds.sum(1, keepdims=True) - y) / 300 + prediction.PENALTY * weights
    assert np.abs(gradient).max() < 1e-6


def test_inverse():
    x = np.random.default_rng(9).normal(size=(40, 12))
    matrix = x.T @ x + np.eye(12)
    np.testing.assert_allclose(prediction._inverse(matrix) @ matrix, np.eye(12), atol=1e-12)


def test_from_states_averages_over_deeper_layers():
    rng = np.random.default_rng(3)
    experts = rng.integers(0, 3, (900, 4))
    states = np.stack([np.eye(3)[experts[:, min(i + 1, 3)]] for i in range(4)], axis=1)  # layer i tells the next one
    found = prediction.from_states(states, experts, np.repeat(np.arange(9), 100))
    assert found["three_quarters"] is None and found["half"] == 1
    assert 0.5 < found["layer_0"] < 0.75  # one deeper layer of three for sure, the others by chance


def test_experts_foretell_experts():
    rng = np.random.default_rng(4)
    first = rng.permuted(np.tile(np.arange(8), (900, 1)), axis=1)[:, :2]
    copied = np.stack([first, (first + 1) % 8, (first + 3) % 8, (first + 2) % 8], axis=1)
    found = prediction.from_experts(of(trace(copied, 8, np.repeat(np.arange(9), 100))))
    assert found["layer_0"] == found["half"] == 1 and np.isnan(found["three_quarters"])
    assert found["previous_token"] < 0.4 and found["popularity"] < 0.4
    cycle = of(trace((np.arange(900) % 5)[:, None, None], 5))
    assert prediction.from_experts(cycle)["previous_token"] == 1
    assert np.isnan(prediction.from_experts(cycle)["layer_0"])


def test_guesses_are_as_many_as_slots_used():
    """Popularity 0 > 1 > 2 in the first two thirds; the test tokens use one expert, two, and none."""
    routing = column([0, 1], [0, 1], [0, -1], [0, 2], [1, 0], [0, 1], [1], [2, 0], [-1])
    assert prediction.from_experts(routing)["popularity"] == pytest.approx(1 / 3)  # 0 for {1}; 0 and 1 for {2, 0}


def test_token_ids_or_context_explain():
    rng = np.random.default_rng(5)
    sequence, tokens = np.repeat(np.arange(12), 200), rng.integers(0, 20, 2400)
    looked_up = explained.shares(of(trace(tokens[:, None, None] % 6, 6, sequence)), tokens)
    assert looked_up["token"] > 0.99 and abs(looked_up["context"]) < 0.02 and looked_up["both"] > 0.99
    slow = np.repeat(rng.integers(0, 6, 24), 100)
    followed = explained.shares(of(trace(slow[:, None, None], 6, sequence)), tokens)
    assert followed["context"] > 0.85 and abs(followed["token"]) < 0.02
    assert set(explained.shares(column(0, 1, 2), None)) == {"context"}
    assert np.isnan(explained.shares(column(0, 0, 0, 0, 0, 0), None)["context"])


def test_context_by_hand():
    """Training tokens 0 0 1 1: the context deviations are 0, .5, .5, 1/6 of ±1 (expert 0 minus its mean of .5)."""
    routing = column(0, 0, 1, 1, 0, 1, n_experts=2)
    y, context = np.array([0.5, 0.5, -0.5, -0.5, 0.5, -0.5]), np.array([0, 0.5, 0.5, 1 / 6, 0, 0.1])
    slope = (y[:4] @ context[:4]) / (context[:4] @ context[:4])
    rest = y[4:] - slope * context[4:]
    found = explained.shares(routing, None)["context"]
    assert found == pytest.approx(1 - (rest @ rest) / (y[4:] @ y[4:]), abs=1e-6)


# known extremes of the whole


def whole(ids, n_experts, **options) -> dict:
    return simmoe.locality(trace(ids, n_experts, **options))


def test_constant_routing():
    found = whole(np.full((300, 2, 1), 3), 8, gate=np.ones((300, 2, 1)))
    assert found["inconsistency_per_100"] == [0, 0] and found["reuse"] == [1, 1]
    assert found["srp"]["served"] == [1, 1, 1, 1] and set(found["sch"]["served"]) == {1}
    assert found["load_entropy"] == [0, 0] and found["load_max_over_mean"] == [8, 8]
    assert found["load_cv"] == found["importance_cv"] == pytest.approx([np.sqrt(7)] * 2, abs=1e-6)
    assert found["affinity_nmi"] == [0] and found["affinity_top"] == [1]
    assert found["predictability"]["experts"]["previous_token"] == 1 and found["explained"]["context"] == [None, None]


def test_independent_even_routing():
    ids = np.random.default_rng(6).integers(0, 8, (20_000, 2, 1))
    found = whole(ids, 8)
    assert found["inconsistency_per_100"] == pytest.approx([87.5] * 2, abs=1)
    assert found["reuse"] == pytest.approx([1 / 8] * 2, abs=0.01) and found["reuse_by_popularity"] == pytest.approx(
        [1 / 8] * 2, abs=0.01
    )
    assert found["srp"]["served"][3] == pytest.approx(1 / 8, abs=0.05) and found["load_entropy"] == pytest.approx(
        [1, 1], abs=0.001
    )
    assert found["affinity_nmi"][0] < 0.01 and found["predictability"]["experts"]["layer_0"] == pytest.approx(
        1 / 8, abs=0.02
    )


def test_alternating_routing():
    found = whole((np.arange(512) % 2)[:, None, None], 2)
    assert found["inconsistency_per_100"] == [100] and found["reuse"] == [0] and found["reuse_by_popularity"] == [0.5]
    assert found["srp"]["served"] == [0.5] * 4 and found["sch"]["served"] == [0.5, 1]
    assert found["predictability"]["experts"]["previous_token"] == 1


def test_null_experts_and_a_trace_of_one_token_have_no_nan():
    for ids in (
        np.full((40, 2, 2), -1),
        np.zeros((1, 1, 1)),
        np.where(np.arange(40)[:, None, None] % 2, -1, [[[0, 1]] * 2]),
    ):
        text = json.dumps(whole(ids, 2), allow_nan=False)
        assert "NaN" not in text


@settings(max_examples=examples(100), deadline=None)
@given(routings())
def test_any_routing_is_measured(routing):
    made = trace(routing.ids, routing.n_experts, routing.sequence)
    found = simmoe.locality(made)
    json.dumps(found, allow_nan=False)
    reused = dict(zip(range(routing.n_layers), found["reuse"]))
    if (routing.ids >= 0).all() and len(routing.next_pairs()):  # with every slot used, what is not kept is changed
        assert [100 * (1 - r) for r in reused.values()] == pytest.approx(found["inconsistency_per_100"], abs=1e-3)


def test_rows_may_be_interleaved():
    """Two sequences decoded in turn measure as one after the other."""
    rng = np.random.default_rng(7)
    ids = rng.integers(0, 5, (60, 2, 1))
    after, turn = np.repeat([0, 1], 30), np.tile([0, 1], 30)
    interleaved = np.empty_like(ids)
    interleaved[turn == 0], interleaved[turn == 1] = ids[:30], ids[30:]
    assert whole(ids, 5, sequence=after) == whole(interleaved, 5, sequence=turn)


# real models


@pytest.mark.traces
@pytest.mark.parametrize("name", PUBLISHED_SRP)
@pytest.mark.parametrize("m", [4, 16])
def test_srp_of_real_models_is_near_the_published_one(name, m):
    found = segments.srp(segments.served(of(real_traces.load(name)), m)).mean()
    assert found == pytest.approx(PUBLISHED_SRP[name][m], abs=0.05)


@pytest.mark.traces
def test_a_whole_real_trace_takes_seconds():
    loaded = real_traces.load("qwen3_30b_general")
    start = time.thread_time()  # of this thread: a busy machine does not count
    simmoe.locality(loaded)
    assert time.thread_time() - start < 3


# the command


def output(capsys, *arguments: str) -> str:
    assert main(["locality", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
@needs_traces
def test_table(capsys):
    text = output(capsys, "oracle", "switch")
    for part in ("Measured", "inputs: bundled", "changed experts per 100 tokens", "SRP over 4, 16, 64, 256",
                 "small trained model (proxy)", "variance explained by token id",
                 "distance and change, rank correlation: oracle space"):  # fmt: skip
        assert part in text, part


@pytest.mark.slow
@needs_traces
def test_json_is_the_same_bytes_each_time_and_names_no_place(capsys, tmp_path):
    file = save(simmoe.load_trace("switch"), tmp_path / "mine.npz") and tmp_path / "mine.npz"
    one = [output(capsys, "oracle", str(file), "--json") for _ in range(2)]
    assert one[0] == one[1] and str(tmp_path) not in one[0]
    oracle, switch = json.loads(one[0])["traces"]
    assert (oracle["name"], switch["name"]) == ("oracle", "mine")
    assert max(oracle["inconsistency_per_100"]) < min(switch["inconsistency_per_100"]) / 5
    assert all(a > b for a, b in zip(oracle["srp"]["served"], switch["srp"]["served"]))
    assert max(switch["nmi_domain"]) < min(oracle["nmi_domain"]) and oracle["nmi_domain_from"] == "trace"


@pytest.mark.slow
@needs_traces
def test_domains_and_token_ids_of_the_bundled_text():
    pytest.importorskip("tokenizers")
    oracle, switch = simmoe.locality("oracle")["explained"], simmoe.locality("switch")["explained"]
    assert min(switch["token"]) > 0.15 > max(oracle["token"])  # a token-level gate looks tokens up,
    assert min(oracle["context"]) > 0.2 > max(switch["context"])  # an average over tokens follows the text


@needs_traces
def test_without_tokenizers_the_row_says_why(monkeypatch, capsys):
    from simmoe.workloads.oracle_moe import text

    for remembered in (text.tokenizer, text.encoded):
        monkeypatch.setattr(text, remembered.__name__, remembered.__wrapped__)
    monkeypatch.setattr("simmoe.workloads.oracle_moe.text.windows.encoded", text.encoded)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert "no share explained by token id: the bundled text needs the package 'tokenizers'" in output(capsys, "oracle")


def test_tokens_and_embeddings_beside_a_trace(tmp_path):
    made = trace((np.arange(90) % 3)[:, None, None], 3, np.repeat([0, 1, 2], 30))
    save(made, tmp_path / "t.npz")
    content = dict(np.load(tmp_path / "t.npz"))
    np.savez(
        tmp_path / "t.npz",
        **content,
        tokens=np.arange(90) % 3 + 100,
        embeddings=np.eye(3, dtype=np.float32)[np.arange(90) % 3],
    )
    found = simmoe.locality(tmp_path / "t.npz")
    assert found["explained"]["token"] == pytest.approx([1], abs=0.01) and "token" not in found["missing"]
    assert set(found["distance"]) == {"embedding, neighbours", "embedding, random pairs"}
    given_directly = simmoe.locality(made, tokens=np.arange(90) % 3, embeddings=np.eye(3)[np.arange(90) % 3])
    assert given_directly["explained"] == found["explained"] and given_directly["distance"] == found["distance"]


def test_figures_stated_in_meta_are_shown(tmp_path, capsys):
    curve = {"edges": [0, 1, 2], "share_of_pairs": [0.5, 0.5], "different": [0.1, None], "spearman": 1.0}
    quality = {
        "proxy_ppl": 99.0, "inconsistency_per_100_mixed": [7.5], "nmi_domain": [0.25], "nmi_domain_mixed": [0.125],
        "predictability": {"token": {"layer_0": 0.5, "half": 0.625, "three_quarters": None}, "pooled": {"layer_0": 0.75}},
        "distance": {"oracle_space": [curve, {}]},
    }  # fmt: skip
    save(trace([[[0]], [[1]]], 2, quality=quality), tmp_path / "t.npz")
    text = output(capsys, str(tmp_path / "t.npz"))
    for part in ("0.250 (stated)", "0.125", "7.500", "0.500 0.625 –", "0.750 – –", "oracle space", "1.000"):
        assert part in text, part
    assert f"inputs: from {tmp_path / 't.npz'}" in text.replace("\n", "")


BAD_QUALITY = {
    "no object": (["x"], r"meta.quality is \['x'\]; it must be a JSON object"),
    "a word": ({"nmi_domain": "high"}, r"meta.quality.nmi_domain is 'high'; it must be a list with one number per MoE layer"),
    "no accuracies": ({"predictability": {"token": 0.5}}, r"meta.quality.predictability is .*; it must map token and pooled"),
    "no curves": ({"distance": {"a": [{"edges": [1], "different": [1]}]}}, r"meta.quality.distance must map names of states"),
}  # fmt: skip


def refused(capsys, line: str, *arguments: str) -> None:
    assert main(["locality", *arguments]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and re.search(line, out.err), out.err


@pytest.mark.parametrize("name", BAD_QUALITY)
def test_bad_quality_in_meta(name, tmp_path, capsys):
    quality, line = BAD_QUALITY[name]
    save(trace([[[0]], [[1]]], 2, quality=quality), tmp_path / "t.npz")
    refused(capsys, line, str(tmp_path / "t.npz"))


BAD_BESIDE = {
    "tokens short": ({"tokens": np.arange(3)}, r"t.npz: tokens is int64 \(3,\); it must be whole numbers from 0, shape \(2,\)"),
    "tokens no integers": ({"tokens": np.zeros(2)}, r"tokens is float64"),
    "tokens negative": ({"tokens": np.array([0, -1])}, r"tokens is int64"),
    "embeddings flat": ({"embeddings": np.zeros(2)}, r"t.npz: embeddings is float64 \(2,\); it must be numbers, shape \(2, d\)"),
    "embeddings NaN": ({"embeddings": np.full((2, 3), np.nan)}, r"embeddings hold values that are not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BESIDE)
def test_bad_arrays_beside_a_trace(name, tmp_path, capsys):
    arrays, line = BAD_BESIDE[name]
    save(trace([[[0]], [[1]]], 2), tmp_path / "t.npz")
    content = dict(np.load(tmp_path / "t.npz"))
    np.savez(tmp_path / "t.npz", **content, **arrays)
    refused(capsys, line, str(tmp_path / "t.npz"))


def test_unknown_trace(capsys):
    refused(capsys, r"unknown trace 'orakel'.*did you mean 'oracle'", "orakel")


def test_without_plotly_the_page_is_refused_before_any_work(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    refused(
        capsys,
        r"--html needs plotly, which is not installed; run: pip install 'simmoe\[sweep\]'",
        "nowhere.npz",
        "--html",
        "x.html",
    )


def test_page(tmp_path, capsys):
    pytest.importorskip("plotly")
    rng = np.random.default_rng(8)
    for name in ("a", "b<i>"):
        made = trace(rng.integers(0, 4, (64, 3, 1)), 4)
        save(made, tmp_path / f"{name}.npz")
        content = dict(np.load(tmp_path / f"{name}.npz"))
        np.savez(tmp_path / f"{name}.npz", **content, embeddings=rng.normal(size=(64, 2)))
    files = [str(tmp_path / "a.npz"), str(tmp_path / "b<i>.npz")]
    page = tmp_path / "page.html"
    output(capsys, *files, "--html", str(page))
    first = page.read_text()
    output(capsys, *files, "--html", str(page))
    assert page.read_text() == first and str(tmp_path) not in first
    figures = json.loads(re.search(r'id="page-data">(.*?)</script>', first)[1])["figures"]
    titles = re.findall(r"<h2>(.*?)</h2>", first)
    assert len(figures) == 4 + 2 + 2  # SRP, SCH, switches, load; two distance curves; a map each
    for figure, title in zip(figures, titles):
        layout = figure["layouts"][""]
        assert layout["xaxis"]["title"]["text"] and layout["yaxis"]["title"]["text"]
        assert "measured" in title
    assert (
        "<b>" not in first.split("<h1>")[1].split("<script")[0]
        and "b&lt;i&gt;" in first
        and 'src="http' not in first.split("<script>")[0]
    )
    colours = [
        [line["line"]["color"] for line in figure["data"] if line["line"]["dash"] == "solid"] for figure in figures[:2]
    ]
    assert set(colours[0]) == set(colours[1]) and len(set(colours[0])) == 2
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_layers_are_in_order():
    """A list per layer follows the columns of the trace."""
    ids = np.stack([np.zeros(64), np.arange(64) % 2, np.arange(64) % 4], axis=1)[:, :, None]
    found = whole(ids, 4)
    assert found["inconsistency_per_100"] == [0, 100, 100]
    assert all(a <= b for a, b in pairwise(found["load_entropy"]))
