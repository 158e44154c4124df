"""Compiled text without the questions for arrays that a run does not have: they go, the rest stays, and a wrong claim is an error."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from simmoe import policies
from simmoe.simulator.decide.absent import absent, check_absent
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.decide.missing import no_question
from simmoe.simulator.lower.absent import absent as of_times
from simmoe.simulator.time.fold import folded

TEXT = """
def asked(a, q, m, f):
    b = 0
    if len(q.mass) > 0 and a > 3:
        b = 1
    elif len(q.gate) and q.gate[a] == 2:
        b = 2
    if not f.contended or q.at[0] > a:
        b += len(q.mass) + (5 if len(q.mass) == 0 else q.mass[0])
    for i in range(a):
        if len(q.mass) > 0:
            b += 7
    while b > len(m.mass):
        b -= 9
    return b
"""
WITHOUT_MASS = """
def asked(a, q, m, f):
    b = 0
    if len(q.gate) and q.gate[a] == 2:
        b = 2
    if not f.contended or q.at[0] > a:
        b += 0 + 5
    for i in range(a):
        pass
    while b > len(m.mass):
        b -= 9
    return b
"""
WITHOUT_MASS_AND_GATE_ALONE = """
def asked(a, q, m, f):
    b = 0
    b += 0 + 5
    for i in range(a):
        pass
    while b > len(m.mass):
        b -= 9
    return b
"""


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (frozenset(), TEXT),
        ({"q.mass"}, WITHOUT_MASS),
        ({"q.mass", "q.gate", "f.contended"}, WITHOUT_MASS_AND_GATE_ALONE),
    ],
)
def test_questions_for_what_is_absent_are_taken_out(names, wanted):
    assert ast.unparse(folded(ast.parse(TEXT), names)) == ast.unparse(ast.parse(wanted))


def test_an_array_that_is_there_may_not_be_left_out():
    question = no_question()
    check_absent(frozenset({"m.unit", "m.here"}), m=question)
    with pytest.raises(BrokenLaw, match=r"a run without m\.here has it"):
        check_absent(frozenset({"m.unit", "m.here"}), m=question._replace(here=np.zeros(1, np.int64)))


def test_what_is_absent_follows_from_policies_and_options():
    plain = absent((), prefetching=False, placed=False, rule=None)
    assert absent(("ahead", "gate"), prefetching=False, placed=True, rule=None) == plain - {
        "q.following", "q.mass", "q.unit_of",
    }  # fmt: skip
    rule = policies.load("miss", "cpu")
    ruled = absent((), prefetching=False, placed=False, rule=rule)
    assert plain - ruled == {"m.unit", "q.unit_of"}
    times = {
        "hops": False,
        "prefetching": False,
        "cancelling": False,
        "with_cpu": False,
        "with_gone": False,
        "with_low": False,
    }
    discrete, unified = (of_times(contended=one, **times) for one in (False, True))
    assert discrete - unified == {"f.contended", "e.begin"}
