"""`simmoe.replay` against plain oracles and against libcachesim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import simmoe
from simmoe.simulator.errors import UserError
from tests import oracles, real_traces
from tests.conftest import one_layer
from tests.scenarios import Case, cases, examples

POLICIES = ("lru", "fifo", "lfu_resident", "belady")


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(cases(prefetching=False))
def test_replay_equals_the_plain_oracle(case: Case):
    for contract in ("event", "sequential"):
        want = oracles.replay(case.trace, case.model.expert_bytes.tolist(), case.budget_bytes, case.eviction, case.scope, contract,
                              cold_per_sequence=case.cold_per_sequence, seed=case.seed)  # fmt: skip
        got = simmoe.replay(case.trace, case.model.expert_bytes, case.budget_bytes, case.eviction, case.scope, contract,
                            cold_per_sequence=case.cold_per_sequence, seed=case.seed)  # fmt: skip
        assert np.array_equal(got.hit, want.hit)
        for mine, theirs in ((got, want.total), (got.prefill, want.prefill), (got.decode, want.decode)):
            assert (mine.hits, mine.misses, mine.evictions, mine.bytes) == (
                theirs.hits,
                theirs.misses,
                theirs.evictions,
                theirs.bytes,
            )


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.parametrize("room", [8, 17, 32, 64, 100])
def test_one_expert_events_equal_libcachesim(room):
    trace = real_traces.load("qwen3_30b_general", slice(24, 25))
    ids = trace.expert_ids.reshape(-1).tolist()
    for policy in POLICIES:
        got = simmoe.replay(trace, [1], room, policy, contract="sequential")
        assert got.misses == oracles.flat_libcachesim(ids, [1] * len(ids), room, policy), policy


@pytest.mark.traces
@pytest.mark.real
@pytest.mark.parametrize("name", real_traces.NAMES)
def test_no_recording_of_a_real_model_is_questioned(name):
    trace = real_traces.load(name)
    assert simmoe.replay(trace, [1] * trace.n_layers, 10**6, "everything").notes == ()


def test_the_bounds_need_no_policy():
    trace = one_layer([[0, 1], [1, 2], [1, 2]], 4)
    nothing, everything = (simmoe.replay(trace, [10], 40, which) for which in ("nothing", "everything"))
    assert (nothing.hits, nothing.misses, nothing.evictions, nothing.bytes) == (0, 6, 0, 60)
    assert (everything.hits, everything.misses, everything.evictions, everything.bytes) == (6, 0, 0, 0)


def test_a_policy_file_outside_the_package_works(tmp_path):
    mine = tmp_path / "newest.py"
    mine.write_text('"""Evicts the newest."""\nfrom simmoe.policies.lists import drop, oldest_free, push, rings\n'
                    "def init(n, c, x):\n    return rings(n, 1)\n"
                    "def insert(s, o, event, x):\n    push(s[1], s[0], len(s[0]) - 1, o)\n"
                    "def victim(s, free, event, x):\n    return oldest_free(s[1], len(s[1]) - 1, free)\n"
                    "def remove(s, o, event, x):\n    drop(s[0], s[1], o)\n")  # fmt: skip
    got = simmoe.replay(one_layer([[0], [1], [2], [0], [1]], 3), [1], 2, mine)
    assert (got.hits, got.misses, got.evictions) == (1, 4, 2)


@pytest.mark.parametrize(("change", "line"), [
    ({"budget_bytes": 9}, "the budget of 9 B of experts is below the least that works with scope global: 10 B"),
    ({"expert_bytes": [10, 10]}, "expert_bytes must be 1 positive whole numbers, one per MoE layer; got"),
    ({"expert_bytes": [0]}, "expert_bytes must be 1 positive whole numbers"),
    ({"scope": "world"}, "unknown scope 'world'; choose one of global, layer"),
    ({"contract": "x"}, "unknown contract 'x'; choose one of event, sequential"),
    ({"eviction": "lrru"}, "unknown eviction policy 'lrru'.*did you mean 'lru'.*bundled: .*belady.*add one as policies/eviction/NAME.py"),
])  # fmt: skip
def test_bad_arguments_get_one_line(change, line):
    arguments = {"expert_bytes": [10], "budget_bytes": 40, **change}
    with pytest.raises(UserError, match=line):
        simmoe.replay(one_layer([[0, 1], [1, 2]], 4), **arguments)


def test_the_rest_of_a_quota_is_reported():
    trace = one_layer([[0, 1], [1, 2]], 4)
    got = simmoe.replay(trace, [10], 25, scope="layer")
    assert got.unused_bytes == 5
    assert simmoe.replay(trace, [10], 20, scope="layer").misses == got.misses
