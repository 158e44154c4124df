"""Miss rules that change the output: what is dropped and what stands in, by models of their own; times to the picosecond on all engines."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.cli.main import main
from simmoe.play.energy import _decode_traffic
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.policies.answers import DROP, SUBSTITUTE
from simmoe.policies.miss import cache_aware, drop, substitute
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.time.engines import named
from tests import scenarios
from tests.conftest import FAST, PAIRS
from tests.oracle_simpy import WILD
from tests.scenarios import Case, cases, examples, few_kernels, physics, tiny_trace
from tests.test_engines import enough, equals_the_idiomatic_model, half, run, same

CHANGING = ("drop=40%", "substitute", "cache_aware=90%", WILD)


# --- the machine -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("prefetching", [None, True])
@pytest.mark.parametrize("name", ["simpy", "plain", FAST])
def test_dropped_and_substituted_experts_as_the_idiomatic_model_has_them(name, prefetching):
    equals_the_idiomatic_model(name, prefetching, (*scenarios.CHANGING, WILD), 200)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
def test_engines_are_equal_under_every_answer(names):
    @settings(max_examples=examples(300), deadline=None)
    @given(cases(), physics(), st.one_of(st.none(), st.integers(0, 5)), st.integers(0, 20))
    def compare(case, changed, cpu_seed, page_cache):
        left = half(case, cpu_seed)
        case = replace(case, hw=changed(case.hw), miss=WILD)
        case = enough(few_kernels(case) if "fast" in names else case, left)
        one, other = (run(case, named(name), left, page_cache) for name in names)
        assert one[:2] == other[:2] and same(one[3], other[3])

    compare()


@pytest.mark.parametrize(("flops", "pass_ps"), [(2, [12, 8, 8]), (5, [14, 10, 15])])
def test_what_the_event_uses_already_adds_up_and_what_it_does_not_is_read_once(flops, pass_ps):
    """Experts of 4 bytes and so many FLOPs for each token, 1 byte and 1 FLOP per ps. The first pass loads 1 and 0; the next ask for 0 and
    2, then for 3, 2 and 0."""
    hw, model = one_layer(flops)
    run = hand_made(hw, model, tiny_trace([[[1], [0]], [[0], [2]], [[3], [2], [0]]], 4), "substitute")
    # Pass 1: hit 0, and 1 stands in for 2. Pass 2: hit 0, and 1 stands in for 3; beside the event nothing else is resident, and of 0 and 1,
    # to which their tokens gave all, 0 comes first.
    assert run.decisions.stands.tolist() == [3, 4, 5] and run.decisions.stands_by.tolist() == [1, 1, 0]
    assert (run.hits, run.misses, run.counts.substituted, run.bytes) == (2, 2, 3, 8)
    # Loaded at 4 and 8, computed one by one; then one launch over two experts, 8 bytes, of two and of three tokens.
    assert run.pass_ps.tolist() == pass_ps
    read, computed = _decode_traffic(run.workload, run.decided, np.ones(3, bool))
    assert (read, computed) == (3 * 8, (2 + 2 + 3) * flops)


@pytest.mark.parametrize("timeline", ["overlapped", "serial"])
def test_a_dropped_expert_is_neither_read_nor_computed(timeline, tmp_path):
    """Expert 0 is loaded until 4 and computed until 9; then it is hit, and 1, which two tokens chose, is dropped."""
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + "    if m.n_here[0] > 0:\n        m.unit[0] = DROP\n")
    hw, model = one_layer(flops=5)
    run = hand_made(hw, model, tiny_trace([[[0]], [[0], [1], [1]]], 4), str(mine), timeline=timeline)
    assert run.pass_ps.tolist() == [9, 5] and run.counts.dropped == 1 and run.decisions.dropped.tolist() == [2]
    assert _decode_traffic(run.workload, run.decided, np.ones(2, bool)) == (8, 10)


@pytest.mark.parametrize("engine", ["plain", "simpy"])
def test_a_late_hit_computes_the_tokens_of_what_it_stands_in_for_in_its_own_launch(engine, tmp_path):
    """A load takes 16 ps. Expert 1 comes at 16 and is computed until 21; the prefetch of 0 comes at 32, is hit and stands in for 2."""
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + "    if m.n_here[0] > 1:\n        m.unit[0] = SUBSTITUTE + m.here[0]\n")
    hw, model = one_layer(flops=5)
    hw = replace(hw, link=replace(hw.link, bytes_per_s=10**12 // 4))
    case = Case(hw, model, tiny_trace([[[1]], [[0], [2]]], 4), 16, prefetch=[[0], []], miss=str(mine))
    clocks, counts, _, decisions = run(case, named(engine))
    assert decisions.stands_by.tolist() == [0] and counts.hits == counts.substituted == 1
    assert clocks.end_ps.tolist() == [21, 42]


@pytest.mark.parametrize("engine", ["plain", "simpy", FAST])
def test_a_stand_in_gives_its_slot_to_a_load_of_its_event_when_it_has_been_computed(engine, tmp_path):
    """One slot: expert 0 stands in for 1 and leaves for 2, whose load is issued when 0 has been computed."""
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + "    if n > 1:\n        m.unit[0] = SUBSTITUTE + m.here[0]\n")
    hw, model = one_layer()
    run = hand_made(hw, model, tiny_trace([[[0]], [[1], [2]]], 4), str(mine), budget=4, engine=engine)
    assert run.decisions.wait.tolist() == [0, 0, 1] and run.decisions.evicted.tolist() == [0]
    assert run.pass_ps.tolist() == [8, 12] and run.bytes == 8  # 4 to compute 0, 4 to load 2, 4 to compute it
    held = Occupancy.of(run.workload.requests, run.decisions, run.guesses, model.expert_bytes)
    assert (
        held.own == {1: [(0, 4)]} and not held.leave
    )  # the slot leaves with the issue of load 1, not when the event is decided


@pytest.mark.parametrize("engine", ["plain", "simpy", FAST])
def test_an_event_of_which_everything_is_dropped_takes_no_time(engine, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + "    for k in range(n):\n        m.unit[k] = DROP\n")
    hw, model = one_layer()
    for eviction in ("lru", "nothing"):
        run = hand_made(hw, model, tiny_trace([[[0]], [[1], [2]]], 4), str(mine), engine=engine, eviction=eviction)
        assert run.pass_ps.tolist() == [0, 0] and run.counts.dropped == 3 and (run.bytes, run.misses) == (0, 0)
        assert run.counts.hit_rate == 0 and run.decisions.cpu.tolist() == []


HEAD = (
    "from simmoe.policies.answers import DROP, SUBSTITUTE\nNEEDS = ('resident',)\ndef serve(n, resident, event, m):\n"
)


def one_layer(flops: int = 2):
    """A machine of one byte and one FLOP per ps and a model of one MoE layer whose four experts alone take time."""
    tiers = {"dram": Tier("dram", 10**15, 10**12), "home": Tier("home", 10**15, 10**12)}
    unit = ComputeUnit("gpu", "dram", 10**12, 0, {"fp16": 10**12})
    hw = Hardware(
        "tiny", "a machine of a few bytes", False, tiers, {"gpu": unit}, Link("home", "dram", 10**12, 0), ("gpu",), 0, 1
    )
    layer = Layer(NO_PART, expert=Part(4, 4, flops), n_experts=4)
    return hw, ModelShape("tiny", "fp16", "fp16", (layer,), 1, NO_PART, NO_PART)


def hand_made(hw, model, trace, miss, *, budget=16, engine="plain", eviction="lru", timeline="overlapped"):
    plan = Plan(budget, eviction, timeline=timeline, miss=miss, start="cold")
    return play(Workload(hw, trace, model), plan, named(engine))


# --- what rules are told ----------------------------------------------------------------------------------------------------


@settings(max_examples=examples(200), deadline=None)
@given(cases(prefetching=False), st.integers(0, 3), st.booleans())
def test_the_gate_weight_of_a_request_is_the_mean_of_what_its_tokens_gave(case, seed, weighed):
    trace, rng = case.trace, np.random.default_rng(seed)
    gates = (rng.integers(0, 3, trace.expert_ids.shape) / 4).astype(np.float16) if weighed else None
    trace = replace(trace, gate_weights=gates)
    requests = requests_of(trace)
    for event in range(requests.n_events):
        step, column = int(requests.event_pass[event]), int(requests.event_layer[event])
        gave: dict[int, list[float]] = {}
        for row in range(int(trace.pass_ptr[step]), int(trace.pass_ptr[step + 1])):
            used = [slot for slot, expert in enumerate(trace.expert_ids[row, column]) if expert >= 0]
            weight = {slot: float(gates[row, column, slot]) if gates is not None else 1.0 for slot in used}
            every = sum(weight.values())
            for slot in used:
                share = weight[slot] / every if every else 1 / len(used)
                gave.setdefault(column * trace.n_experts + int(trace.expert_ids[row, column, slot]), []).append(share)
        for i in range(requests.ptr[event], requests.ptr[event + 1]):
            mine = gave[int(requests.obj[i])]
            assert abs(int(requests.gate[i]) - 65536 * sum(mine) / len(mine)) <= 0.51


@st.composite
def questions(draw):
    """(gate weights of 8 experts of layer 1, the missing ones, the residents that may stand in, those of them that are requested)."""
    gate = draw(st.lists(st.sampled_from((0, 1000, 6553, 6554, 20000, 40000)), min_size=8, max_size=8))
    order = draw(st.permutations(range(8)))
    missing, here = draw(st.integers(1, 5)), draw(st.integers(0, 3))
    residents = sorted(order[missing : missing + here])
    return gate, list(order[:missing]), residents, {one for one in residents if draw(st.booleans())}


def asked(rule, question, argument=0):
    """What the rule answers: 'load', 'drop', or the expert that stands in."""
    gate, missing, here, busy = question
    m = SimpleNamespace(
        unit=[0] * (len(missing) + 1), obj=[8 + one for one in missing], gate=[-(10**9)] * 8 + gate, argument=[argument],
        n_here=[len(here)], here=[*(8 + one for one in here), 999], busy=[*(int(one in busy) for one in here), 0],
    )  # fmt: skip
    rule.serve(len(missing), None, 0, m)
    return ["load" if one == 0 else "drop" if one == DROP else one - SUBSTITUTE - 8 for one in m.unit[:-1]]


@settings(max_examples=examples(300), deadline=None)
@given(questions(), st.sampled_from((0.0, 0.1, 0.5, 1.0)))
def test_drop_leaves_out_what_lies_below_the_share(question, share):
    gate, missing, _, _ = question
    wanted = ["drop" if gate[one] / 65536 < share else "load" for one in missing]
    assert asked(drop, question, round(share * 10**6)) == wanted


@settings(max_examples=examples(300), deadline=None)
@given(questions(), st.sampled_from((0.0, 0.1, 0.5, 1.0)))
def test_those_that_stand_in_as_the_files_say(question, margin):
    gate, missing, here, busy = question
    best_first = sorted(here, key=lambda one: (-gate[one], one))
    beside, wanted = [one for one in best_first if one not in busy], []
    for _ in missing:
        wanted.append(beside.pop(0) if beside else best_first[0] if here else "load")
    assert asked(substitute, question) == wanted
    beside, wanted = [one for one in best_first if one not in busy], []
    top = max((*busy, *missing), key=gate.__getitem__)  # of equals the first: a hit, else the first that is missing
    for one in missing:
        may = beside and one != top and gate[beside[0]] >= gate[one] * (1 - margin) - 1e-6
        wanted.append(beside.pop(0) if may else "load")
    assert asked(cache_aware, question, round(margin * 10**6)) == wanted


# --- as a user runs them ----------------------------------------------------------------------------------------------------


def told(words: str, capsys) -> dict:
    assert (
        main(shlex.split(f"run --hw rtx_4090 --trace {TRACE} --tokens 200 --budget 25% --engine plain --json {words}"))
        == 0
    )
    return json.loads(capsys.readouterr().out)


TRACE = "oracle-4x16-k4"


def test_what_is_dropped_or_replaced_is_counted_apart_and_every_result_says_so(capsys):
    fetch = told("", capsys)
    assert "dropped" not in fetch["decode"] and "substituted" not in fetch["decode"]
    same = told("--miss drop=0%", capsys)
    assert {**same, "scenario": 0, "digest": 0, "notes": 0} == {**fetch, "scenario": 0, "digest": 0, "notes": 0}
    for words, kind in (("drop=40%", "dropped"), ("substitute", "substituted"), ("cache_aware=90%", "substituted")):
        found = told(f"--miss {words}", capsys)
        both = [found["prefill"], found["decode"]]
        for of in both:
            served = sum(of.get(name, 0) for name in ("hits", "misses", "on_cpu", "dropped", "substituted"))
            assert of["requests"] == served and of["hit_rate"] == of["hits"] / of["requests"]
        assert sum(of.get(kind, 0) for of in both) > 0 and found["bytes"] < fetch["bytes"]
        assert any("changes what the model says" in note for note in found["notes"])


@pytest.mark.parametrize("miss", CHANGING)
def test_passes_that_form_while_the_clock_runs(miss):
    options = {"hw": "rtx_4090", "trace": TRACE, "tokens": 120, "budget": "25%", "schedule": "continuous", "miss": miss}
    one, other = (simmoe.run(**options, engine=engine) for engine in ("plain", "simpy"))
    assert one.clocks == other.clocks and one.counts == other.counts and same(one.decisions, other.decisions)
    assert one.counts.substituted + one.counts.dropped > 0


@pytest.mark.parametrize("miss", CHANGING)
def test_behind_a_warm_up_stands_the_rest_of_the_whole_run(miss):
    options = {
        "hw": "rtx_4090",
        "trace": TRACE,
        "tokens": 200,
        "budget": "25%",
        "engine": "plain",
        "miss": miss,
        "start": "cold",
    }
    whole, rest = simmoe.run(**options), simmoe.run(**options, warm_up=150)
    n = len(whole.decisions.hit) - len(rest.decisions.hit)
    assert n > 0
    for name in ("dropped", "stands", "loads"):
        theirs = getattr(whole.decisions, name).astype(int) - n
        assert getattr(rest.decisions, name).tolist() == theirs[theirs >= 0].tolist()
    assert rest.decisions.stands_by.tolist() == whole.decisions.stands_by[whole.decisions.stands >= n].tolist()


def test_a_long_run_in_stretches_is_the_run_in_one(monkeypatch):
    options = {"hw": "rtx_4090", "trace": TRACE, "tokens": 200, "budget": "25%", "engine": "plain", "miss": WILD}
    whole = simmoe.run(**options)
    monkeypatch.setattr("simmoe.simulator.decide.stretches.LONGEST", 50)
    short = simmoe.run(**options)
    assert short.clocks == whole.clocks and short.counts == whole.counts and short.counts.substituted > 0


WRONG = {
    "what is not resident": ("    m.unit[0] = SUBSTITUTE + m.obj[0]\n", r"object \d+, which may not stand in \(m.here lists"),
    "another layer": (
        (
            "    for o in range(len(resident)):\n        if resident[o] and o // 16 != m.obj[0] // 16:\n"
            "            m.unit[0] = SUBSTITUTE + o\n"
        ),
        r"object \d+, which may not stand in",
    ),
    "a version": ("    m.unit[0] = 1 << 48\n", r"version 0; an expert has no other than LOW"),
    "a low copy without its name": ("    m.unit[0] = (1 << 48) + 1\n", r"version 1; .* imports the name VERSION"),
    "no object": ("    m.unit[0] = SUBSTITUTE + 10**6\n", r"object 1000000, which may not stand in"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_stand_in_is_one_line(what, tmp_path):
    text, said = WRONG[what]
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + text)
    with pytest.raises(UserError, match=said):
        simmoe.run("rtx_4090", TRACE, budget="25%", tokens=64, miss=str(mine), engine="plain")


def test_an_answer_that_changes_the_output_needs_its_name(tmp_path):
    """So that a result can say so before anything is played."""
    mine = tmp_path / "mine.py"
    mine.write_text("def serve(n, resident, event, m):\n    m.unit[0] = 1 << 15\n")
    with pytest.raises(UserError, match=r"answered 32768 for missing expert 0 .*, which is no unit"):
        simmoe.run("rtx_4090", TRACE, budget="25%", tokens=64, miss=str(mine), engine="plain")
