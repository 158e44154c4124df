"""What docs/policies.md says of eviction policies: facts about mixtures of experts, and bounds on every real trace."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe import policies
from simmoe.play.replay import told
from simmoe.simulator.decide.counts import event_of_cause
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import Player
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.time import compile as compiled
from simmoe.workloads.format.trace import first_tokens
from tests import real_traces
from tests.conftest import make_trace

LAYERS, EXPERTS, K, TOKENS = 12, 16, 2, 300
CYCLE = LAYERS * K  # experts that one token asks for
TOGETHER = (LAYERS - 1) * K  # and those that it asks for between two of its layers


@cache
def cyclic() -> Trace:
    """Tokens that ask layer after layer; in each, three of five experts are those of the token before, others are drawn with favourites."""
    rng = np.random.default_rng(7)
    likes = rng.permuted(np.tile(1 / np.arange(1, EXPERTS + 1), (LAYERS, 1)), axis=1)
    now = [rng.choice(EXPERTS, K, replace=False).tolist() for _ in range(LAYERS)]
    passes = []
    for _ in range(TOKENS):
        for layer, mine in enumerate(now):
            kept = [one for one in mine if rng.random() < 0.6]
            while len(kept) < K:
                one = int(rng.choice(EXPERTS, p=likes[layer] / likes[layer].sum()))
                kept += [one] * (one not in kept)
            now[layer] = kept
        passes.append([[list(mine) for mine in now]])
    return make_trace(passes, EXPERTS)


def hit_rate(policy: str, room: int, scope: str = "global", trace: Trace | None = None) -> float:
    trace = trace or cyclic()
    played = simmoe.replay(trace, [1] * trace.n_layers, room, policy, scope)
    return played.hits / (played.hits + played.misses)


def test_global_lru_hits_nothing_where_a_layers_lru_does() -> None:
    """Between two tokens' events of a layer, the other layers stamp (layers - 1) * k experts: below that nothing comes back in time."""
    for room in (LAYERS, CYCLE * 3 // 4, TOGETHER):
        assert hit_rate("lru", room) == 0
        assert hit_rate("lru", room, "layer") > 0.1
    assert hit_rate("lru", CYCLE) > 0.4


def stays(policy: str, room: int, trace: Trace) -> float:
    """Share of the hits of the last half that go to experts which have been resident ever since the middle."""
    requests = requests_of(trace)
    made = decide(requests, np.ones(trace.n_layers, np.int64), policies.load("eviction", policy), room)
    middle = requests.n_events // 2
    left = set(made.evicted[event_of_cause(requests, requests.no_guesses, made.evicted_for) >= middle].tolist())
    late = np.flatnonzero(made.hit)[np.flatnonzero(made.hit) >= requests.ptr[middle]]
    return float(np.mean([int(o) not in left for o in requests.obj[late]]))


@pytest.mark.parametrize("policy", ["sieve", "lfu_resident"])
def test_sieve_and_resident_lfu_freeze_on_the_layer_cyclic_scan(policy: str) -> None:
    """What was marked or counted first stays for good: whatever comes later leaves before its layer's turn comes again."""
    for room in (CYCLE, 2 * CYCLE):
        assert stays(policy, room, cyclic()) > 0.95
        assert hit_rate(policy, room) < hit_rate("fifo", room) < hit_rate("lru", room)
        for other in ("lru", "clock", "s3fifo"):
            assert stays(other, room, cyclic()) < 0.8, other


def test_what_keeps_a_history_does_not_freeze() -> None:
    for policy in ("lfu", "lfu_decay", "two_q", "s3fifo", "clock", "arc"):
        assert hit_rate(policy, 2 * CYCLE) > hit_rate("sieve", 2 * CYCLE) + 0.05, policy


def test_a_layer_of_its_own_thaws_both() -> None:
    for policy in ("sieve", "lfu_resident"):
        assert hit_rate(policy, 2 * CYCLE, "layer") > hit_rate(policy, 2 * CYCLE) + 0.1


def test_look_ahead_hits_where_lru_hits_nothing() -> None:
    """With room for less than a token LRU evicts what the next layers need; two tokens of look-ahead keep some of it."""
    room = CYCLE * 3 // 4
    assert hit_rate("lru", room) == 0
    assert hit_rate("belady", room) > hit_rate("lookahead=24", room) > 0.2


# --- the phone ---------------------------------------------------------------------------------------------------------

MIB = 2**20
BUDGETS = (250, 500, 750, 1000, 1500, 2000, 2500, 3000, 4000, 6000, 8000)


@pytest.mark.traces
def test_lfu_is_no_worse_than_lru_and_lru_better_than_random_on_the_phone() -> None:
    trace, sizes = real_traces.load(real_traces.PHONE), real_traces.expert_bytes()
    for budget in BUDGETS:
        hits = {p: simmoe.replay(trace, sizes, budget * MIB, p).decode.hits for p in ("lfu", "lru", "random")}
        assert hits["lfu"] >= hits["lru"], budget
        assert (hits["lru"] > hits["random"]) == (budget >= 750), budget


# --- real traces -------------------------------------------------------------------------------------------------------

DEMAND = [name for name in policies.names("eviction") if name != "belady"]


def played(trace: Trace, policy: str, room: int, scope: str) -> Any:
    from simmoe.simulator.time.recurrence import CompiledPlayer

    player = Player() if compiled.missing() else CompiledPlayer()
    found = policies.load("eviction", policy)
    sizes = np.ones(trace.n_layers, np.int64)
    return decide(requests_of(trace), sizes, found, room, scope=scope, told=told(policy, trace, None), player=player)


@pytest.mark.traces
@pytest.mark.slow
@pytest.mark.parametrize("name", real_traces.NAMES)
def test_no_demand_policy_has_fewer_misses_than_belady(name: str) -> None:
    """Experts of equal size, nothing prefetched, an eighth and half of all experts, the first 500 tokens."""
    trace = first_tokens(real_traces.load(name), 500)
    for scope in ("global", "layer"):
        for part in (8, 2):
            room = trace.n_layers * trace.n_experts // part
            least = int((~played(trace, "belady", room, scope).hit).sum())
            for policy in DEMAND:
                assert int((~played(trace, policy, room, scope).hit).sum()) >= least, (policy, scope, part)


@pytest.mark.traces
@pytest.mark.parametrize("name", ["gptoss20b_gpqa", "dsv2lite_intent"])
def test_freezing_on_real_routing(name: str) -> None:
    trace = first_tokens(real_traces.load(name), 300)
    cycle = trace.n_layers * trace.top_k
    assert hit_rate("lru", cycle - trace.top_k, trace=trace) == 0 < hit_rate("lru", cycle - trace.top_k, "layer", trace)
    for policy in ("sieve", "lfu_resident"):
        assert stays(policy, cycle, trace) > 0.95
        assert hit_rate(policy, cycle, trace=trace) < 0.3 * hit_rate("fifo", cycle, trace=trace)
