"""What requests wait for under load: goodput, the queue, the union of the experts of a pass."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.cli.main import main
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.slo import Slo
from simmoe.play.workload import Workload
from simmoe.show.tables import of_goodput
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, PREFILL
from simmoe.simulator.time.engines import named
from simmoe.sweeps import metrics
from simmoe.workloads.format import trace as traces
from tests.scenarios import build_trace, examples
from tests.test_schedule import TINY, served, tiny_machine, two_requests, workload

bundled = pytest.mark.skipif("oracle" not in traces.names(), reason="the bundled traces are not made yet")
LOAD = {"hw": "a100", "trace": "oracle", "budget": "50%", "schedule": "continuous", "max_batch": 4, "tokens": 2000}


def tiny(**asked: str) -> Run:
    """Of two requests: TTFT 14 and 26 ps, (finish - first) 50 ps for three tokens and 18 ps for one."""
    plan = Plan(16, "everything", arrivals="every:20ps", **asked)
    return play(Workload(tiny_machine(), two_requests(), TINY, schedule="continuous"), plan, named("plain"))


@pytest.mark.parametrize(
    ("asked", "met", "late"),
    [
        ({"ttft": "26ps"}, 2, (0, 0)), ({"ttft": "25ps"}, 1, (1, 0)), ({"ttft": "13ps"}, 0, (2, 0)),
        ({"tpot": "18ps"}, 2, (0, 0)), ({"tpot": "17ps"}, 1, (0, 1)), ({"tpot": "16ps"}, 0, (0, 2)),
        ({"ttft": "25ps", "tpot": "17ps"}, 1, (1, 1)), ({"ttft": "14ps", "tpot": "16ps"}, 0, (1, 2)),
    ],
)  # fmt: skip
def test_goodput_by_hand(asked, met, late):
    good = tiny(**asked).requests.goodput
    assert (good.met, good.of, (good.late_first, good.late_others)) == (met, 2, late)
    assert good.per_s == pytest.approx(met * 1e12 / 64) and good.share == met / 2


def test_what_is_asked_for_changes_nothing_that_is_played():
    plain, asked = tiny(), tiny(ttft="1us", tpot="1us")
    assert plain.clocks == asked.clocks and plain.requests.goodput is None
    one, other = plain.to_json(), asked.to_json()
    assert other["requests"].pop("goodput")["share"] == 1 and one["requests"] == other["requests"]
    assert one["digest"] != other["digest"] and "ttft" not in one["scenario"]["plan"]


def meets(run: Run, i: int, ttft_ps: int, tpot_ps: int) -> bool:
    """Of one request, in Python's own numbers."""
    found = run.requests
    arrival, first, finish, tokens = (
        int(one[i]) for one in (found.arrival_ps, found.first_ps, found.finish_ps, found.tokens)
    )
    on_time = first >= 0 and first - arrival <= ttft_ps
    return on_time and (tokens < 2 or Fraction(finish - first, tokens - 1) <= tpot_ps)


@pytest.mark.slow
@pytest.mark.hypothesis
def test_goodput_counts_who_meets_both_and_a_tighter_target_never_gives_more():
    @settings(max_examples=examples(25), deadline=None)
    @given(served(), st.data())
    def compare(one, data):
        case, most, plan, _ = one
        run = play(workload(case, most), plan, named("plain"))
        found, last, counts = run.requests, int(run.requests.finish_ps.max()), list[int]()
        times = data.draw(st.lists(st.tuples(st.integers(1, last), st.integers(1, last)), min_size=2, max_size=5))
        for ttft, tpot in times:
            good = replace(found, slo=Slo(ttft, tpot)).goodput
            assert good.met == sum(meets(run, i, ttft, tpot) for i in range(len(found.sequence)))
            assert good.per_s <= run.to_json()["requests"]["requests_per_s"]
            counts.append(good.met)
        for (one, met), (other, more) in permutations(zip(times, counts), 2):
            if one[0] <= other[0] and one[1] <= other[1]:
                assert met <= more

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_the_queue_and_the_system_are_what_the_clock_saw():
    """Integrated over time from the arrivals, the starts and the ends; and the union of the experts of each pass, in sets."""

    @settings(max_examples=examples(25), deadline=None)
    @given(served())
    def compare(one):
        case, most, plan, _ = one
        run = play(workload(case, most), plan, named("plain"))
        found, trace = run.requests, run.workload.trace
        for ends, mean in ((found.start_ps, found.mean_in_queue), (found.finish_ps, found.mean_in_system)):
            assert area(found.arrival_ps.tolist(), ends.tolist()) / found.makespan_ps == pytest.approx(mean)
        unions: dict[bool, list[int]] = {False: [], True: []}
        for number in range(trace.n_passes):
            rows = trace.expert_ids[trace.pass_ptr[number] : trace.pass_ptr[number + 1]]
            mine = unions[bool(trace.phase[number] == DECODE)]
            mine += [len({int(e) for e in rows[:, layer].ravel() if e >= 0}) for layer in range(trace.n_layers)]
        want = [sum(each) / len(each) if each else None for each in unions.values()]
        assert list(found.experts) == pytest.approx(want)

    compare()


def area(come: list[int], go: list[int]) -> int:
    """How many are there, integrated over time, from events in the order of the clock."""
    total, there, before = 0, 0, min(come)
    for at, step in sorted([(at, 1) for at in come] + [(at, -1) for at in go]):
        total, there, before = total + there * (at - before), there + step, at
    return total


def test_who_is_refused_misses():
    """One of 20 positions finds no room in a block of 16, the other does."""
    layout = [(PREFILL, [7] * 19), (DECODE, [7]), (DECODE, [3]), (DECODE, [3])]
    sequences = [one for _, own in layout for one in own]
    trace = build_trace(
        [[[0]]] * len(sequences), [len(own) for _, own in layout], [phase for phase, _ in layout], sequences, 4, [0]
    )
    room = Workload(tiny_machine(), trace, TINY, schedule="vllm", kv_blocks=1)
    found = play(room, Plan(16, "everything", ttft="1s"), named("plain")).requests
    assert found.log.refused.tolist() == [0] and found.sequence.tolist() == [3]
    good = found.goodput
    assert (good.met, good.of, good.share) == (1, 2, 0.5) and "1 refused" in of_goodput(found)


@bundled
def test_the_table_a_sweep_a_frame_and_a_comparison_say_it(capsys):
    options = {**LOAD, "arrivals": "poisson:20/s", "ttft": "50ms", "tpot": "2200us"}
    run = simmoe.run(**options)
    good, block = run.requests.goodput, run.to_json()["requests"]
    (record,) = run.records()
    assert 0 < good.met < good.of and block["goodput"]["share"] == good.share == record["slo_share"]
    assert record["goodput_per_s"] == good.per_s == metrics.measure("goodput_per_s", run)
    assert metrics.measure("slo_share", run) == good.share
    assert metrics.measure("experts_per_pass", run) == block["mean_experts"]["decode"] == record["experts_per_pass"]
    for name in ("ttft_ms", "tpot_ms", "e2e_ms", "queue_ms"):
        each = block[name]
        assert each["p50"] <= each["p90"] <= each["p95"] <= each["p99"]
        assert record[f"request_{name[:-3]}_p90_ms"] == each["p90"]
    assert metrics.measure("request_ttft_p99_ms", run) == block["ttft_ms"]["p99"]
    assert metrics.measure("request_tpot_p99_ms", run) == block["tpot_ms"]["p99"]
    assert metrics.measure("request_e2e_p95_ms", run) == block["e2e_ms"]["p95"]
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["run", *words]) == 0
    assert f"{good.share:.1%} of {good.of} requests meet it" in capsys.readouterr().out
    assert main(["compare", *words]) == 0
    assert f"{good.share:.1%}" in capsys.readouterr().out
    assert main(["compare", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["run"]["requests"]["goodput"] == block["goodput"]


@bundled
def test_without_requests_there_is_no_goodput():
    run = simmoe.run("a100", "oracle", budget="50%", tokens=300)
    (record,) = run.records()
    assert record["goodput_per_s"] is None and record["request_ttft_p95_ms"] is None
    assert metrics.measure("goodput_per_s", run) is None and metrics.measure("experts_per_pass", run) is None


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"ttft": "2s", "schedule": "recorded", "max_batch": None}, "--ttft 2s is for a clock-driven schedule"),
        ({"tpot": "fast"}, "--tpot: 'fast' is not a quantity with a unit"),
        ({"tpot": "0ms"}, "--tpot '0ms': nothing is so quick"),
        ({"ttft": 2}, "--ttft: 2 is no time; write it like 100ms"),
    ],
)
@bundled
def test_what_is_no_target_is_refused(options, line):
    with pytest.raises(UserError, match=re.escape(line)):
        simmoe.run(**{**LOAD, **options})
