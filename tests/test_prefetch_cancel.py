"""WITHDRAW: prefetches that have not started when the layer that they are for does without them leave the queue of the link."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simmoe.simulator.nouns.run import WAS_LATE, WITHDRAWN
from simmoe.simulator.time.engines import named
from tests.conftest import COMPILED, PAIRS
from tests.scenarios import cases, examples, physics
from tests.test_engines import enough, half, run, same

ENGINES = ["simpy", "plain", pytest.param("fast", marks=COMPILED)]


@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
def test_all_engines_are_equal_bit_for_bit_where_prefetches_are_withdrawn(names):
    @settings(max_examples=examples(1000), deadline=None)
    @given(cases(prefetching=True, missing=True), physics(), st.one_of(st.none(), st.integers(0, 5)))
    def compare(case, changed, cpu_seed):
        left = half(case, cpu_seed)
        case = enough(replace(case, hw=changed(case.hw), cancel=True, write_back=False), left)
        one, other = (run(case, named(name), left) for name in names)
        assert one[0].fate.tolist() == other[0].fate.tolist()
        assert one[:2] == other[:2]
        assert same(one[3], other[3])

    compare()


def test_the_drawn_scenarios_withdraw_prefetches_and_bring_some_of_them_after_all():
    seen = {"withdrawn": 0, "late": 0}

    @settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(cases(prefetching=True))
    def count(case):
        fate = run(replace(case, cancel=True, write_back=False), named("plain"))[0].fate
        seen["withdrawn"] += int((fate == WITHDRAWN).sum())
        seen["late"] += int((fate == WAS_LATE).sum())

    count()
    assert seen["withdrawn"] > 50 and seen["late"] > 50
