"""The reference engine against the second, idiomatic SimPy model, to the picosecond, on small scenarios full of ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from simmoe import policies
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide import Guesses, decide, first_events
from simmoe.simulator.reference import simulate
from simmoe.simulator.requests import requests_of
from simmoe.simulator.runlog import check, count, link_bytes_by_pass
from tests import oracle_simpy
from tests.scenarios import Case, cases


def guesses_of(case: Case, n_events: int) -> Guesses:
    wanted = case.prefetch or [[]] * n_events
    ptr = np.cumsum([0] + [len(one) for one in wanted])
    return Guesses(ptr.astype(np.int64), np.array([o for one in wanted for o in one], np.int64))


def play(case: Case):
    """(clocks, counts, link bytes by pass, decisions) of the reference engine."""
    requests, sizes = requests_of(case.trace), case.model.expert_bytes
    guesses, costs = guesses_of(case, requests.n_events), Costs(case.hw, case.model, case.trace)
    cold_at = first_events(case.trace, requests) if case.cold_per_sequence else None
    decisions = decide(requests, sizes, policies.load("eviction", case.eviction), case.budget_bytes, scope=case.scope,
                       guesses=guesses, cold_at=cold_at, seed=case.seed)  # fmt: skip
    clocks = simulate(costs, requests, decisions, guesses, overlap=case.overlap)
    counts = count(case.trace, requests, decisions, guesses, sizes)
    check(costs, decisions, clocks, counts, case.budget_bytes)
    return clocks, counts, link_bytes_by_pass(case.trace, requests, decisions, guesses, sizes), decisions


@settings(max_examples=400, deadline=None)
@given(cases())
def test_reference_equals_the_idiomatic_model(case):
    compare(case)


@settings(max_examples=400, deadline=None)
@given(cases(prefetching=True))
def test_reference_equals_the_idiomatic_model_with_late_hits(case):
    compare(case)


def compare(case):
    want = oracle_simpy.simulate(case.hw, case.model, case.trace, **case.kwargs)
    clocks, counts, link_bytes, decisions = play(case)
    assert [end - start for start, end in zip(clocks.start_ps, clocks.end_ps)] == want.pass_ps
    assert (counts.hits, counts.misses, counts.evictions) == (want.hits, want.misses, want.evictions)
    assert link_bytes.tolist() == want.link_bytes
    assert clocks.link_busy_ps == want.link_busy_ps
    assert int(decisions.used.max()) <= case.budget_bytes
