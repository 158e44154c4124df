"""A user's prefetch or placement policy that answers what cannot be: one line with file and function."""

from __future__ import annotations

import pickle

import pytest

import simmoe
from simmoe.simulator.errors import UserError
from simmoe.simulator.time import compile as compiled

RUN = {"hw": "rtx_4090", "trace": "switch", "tokens": 64, "budget": "25%"}
HEAD = "import numpy as np\n"
WRONG = {
    (
        "prefetch",
        "def wanted(trace, ask):\n    return 1 // 0",
    ): r"policy mine.py: wanted\(\) failed at line 3: ZeroDivisionError",
    ("prefetch", "def other(trace):\n    pass"): r"policy mine.py defines no wanted\(\)",
    (
        "prefetch",
        "def wanted(trace, ask):\n    return None",
    ): r"wanted\(\) returned None; it must return two flat integer arrays",
    (
        "prefetch",
        "def wanted(trace, ask):\n    return np.array([0]), np.array([.5])",
    ): r"it must return two flat integer arrays",
    (
        "prefetch",
        "def wanted(trace, ask):\n    return np.array([10**9]), np.array([0])",
    ): r"wanted\(\) names event 1000000000; there are 0 to",
    (
        "prefetch",
        "def wanted(trace, ask):\n    return np.array([0]), np.array([-1])",
    ): r"wanted\(\) names object -1; there are 0 to 215",
    (
        "prefetch",
        "def wanted(trace, ask):\n    return np.array([1, 0]), np.array([1, 2])",
    ): r"must name its events in ascending order",
    (
        "placement",
        "def unit_of(use, amount, seed, cpu):\n    return use * 0",
    ): r"has UNIT = None; it must be one of 'share', 'blocks', 'layers'",
    (
        "placement",
        "UNIT = 'share'\ndef unit_of(use, amount, seed, cpu):\n    return use[0]",
    ): r"unit_of\(\) returned int64 array of shape \(24,\); it must return an integer array of shape \(9, 24\)",
    (
        "placement",
        "UNIT = 'share'\ndef unit_of(use, amount, seed, cpu):\n    return use / 2",
    ): r"unit_of\(\) returned float64 array .*; it must return an integer array",
    (
        "placement",
        "UNIT = 'share'\ndef unit_of(use, amount, seed, cpu):\n    return use * 0 + 2",
    ): r"unit_of\(\) names unit 2; there are 0, 1 \(devices first, then the CPU\)",
    (
        "placement",
        "UNIT = 'share'\ndef unit_of(use, amount, seed, cpu):\n    raise SystemExit(0)",
    ): r"unit_of\(\) failed at line 4: SystemExit",
    (
        "placement",
        "UNIT = 'share'\ndef on_cpu(use, amount, seed):\n    return use > 0",
    ): r"policy mine.py defines no unit_of\(\)",
}


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_a_wrong_answer_is_one_line(case, tmp_path):
    kind, text = case
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + text + "\n")
    with pytest.raises(UserError, match=WRONG[case]) as caught:
        simmoe.run(**RUN, **{kind: f"{mine}=50%" if kind == "placement" else str(mine)})
    assert "mine.py" in str(caught.value) and "\n" not in str(caught.value)


LRU = (
    "from simmoe.policies.lists import drop, oldest_free, push, rings\n"
    "def init(n, room, x):\n    return rings(n, 1)\n"
    "def insert(s, o, event, x):\n    push(s[0], s[1], len(s[0]) - 1, o)\n"
    "def victim(s, free, event, x):\n    return oldest_free(s[1], len(s[1]) - 1, free)\n"
    "def remove(s, o, event, x):\n    drop(s[0], s[1], o)\n"
)
NAMES = {
    "an annotated constant": ("USED: int = 100\n", r"defines USED, a name of the machine"),
    "a constant within an if": ("if True:\n    USED = 100\n", r"defines USED, a name of the machine"),
    "a helper within an if": (
        "if True:\n    def judge(a):\n        return a\n",
        r"defines judge, a name of the machine",
    ),
    "a class": ("class computed:\n    pass\n", r"defines computed, a name of the machine"),
    "a hook bound again": (
        "def use(s, o, event, x):\n    pass\nvictim = use\n",
        r"binds victim again after its def at line \d+",
    ),
    "a decorated hook": (
        "def same(f):\n    return f\n@same\ndef use(s, o, event, x):\n    pass\n",
        r"decorates use\(\)",
    ),
}


@pytest.mark.parametrize("engine", ["plain"] + ["fast"] * (not compiled.missing()))
@pytest.mark.parametrize("what", NAMES)
def test_what_the_engines_would_read_differently_is_refused(what, engine, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(LRU + NAMES[what][0])
    with pytest.raises(UserError, match=NAMES[what][1]):
        simmoe.run(**RUN, eviction=str(mine), engine=engine)


def test_a_machine_that_keeps_nothing_plays_in_simpy_too():
    """Nothing resident and everything missing on the CPU: the experts' memory has no room at all."""
    one, other = (
        simmoe.run(**RUN | {"budget": None}, eviction="nothing", miss="cpu", engine=engine)
        for engine in ("simpy", "plain")
    )
    assert one.clocks == other.clocks and one.bytes == 0


def test_a_run_can_be_sent_to_another_process():
    run = simmoe.run(**RUN)
    assert pickle.loads(pickle.dumps(run)).to_json() == run.to_json()
