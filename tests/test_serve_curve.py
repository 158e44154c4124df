"""The rate of requests that a box holds: against a queue in closed form, and the bounds of queueing theory."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import simmoe
from simmoe.cli.main import main
from simmoe.play.busy import busiest, busy_ps
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.plots import serve_curve as plots
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Figure, Hardware
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time.engines import named
from simmoe.sweeps import serve_curve as searched
from simmoe.sweeps.reports.kinds import page_of_result
from simmoe.sweeps.serve_curve import serve_curve
from simmoe.sweeps.serve_curve_result import Point
from simmoe.sweeps.serve_curve_shown import show_serve_curve
from simmoe.workloads.format import trace as traces
from tests.scenarios import build_trace, examples
from tests.test_schedule import TINY, served, tiny_machine, workload

bundled = pytest.mark.skipif("oracle" not in traces.names(), reason="the bundled traces are not made yet")
ALONE_US, FIRST_US = 56, 14  # of a request, and of its prompt
SMALL = {"hw": "a100", "trace": "oracle", "tokens": 1300, "max_batch": 4, "ttft": "60ms"}


def slow_machine() -> Hardware:
    """tests/test_schedule.py's, a million times slower: a pass with one expert lasts 14 us."""
    hw = tiny_machine()
    unit = replace(hw.units["gpu"], bytes_per_s=10**6)
    return replace(hw, units={"gpu": unit}, tiers={n: replace(t, bytes_per_s=10**6) for n, t in hw.tiers.items()})


def open_machine(slowest: int, fastest: int) -> Hardware:
    """The slow machine, of which nobody knows how fast its memories and its device are: from 1 / slowest as fast to fastest times."""
    hw, own = slow_machine(), 10**6
    figure = Figure(own, "measured", "tests", "1 MB/s", own // slowest, own * fastest, "bandwidth")
    return replace(
        hw, figures=dict.fromkeys(("units.gpu.bandwidth", *(f"tiers.{n}.bandwidth" for n in hw.tiers)), figure)
    )


def alike(n: int) -> Trace:
    """n requests: a prompt of two rows, then three steps, always with the same expert."""
    each = [(PREFILL, 2), (DECODE, 1), (DECODE, 1), (DECODE, 1)]
    layout = [(phase, [i] * rows) for i in range(n) for phase, rows in each]
    sequences = [one for _, own in layout for one in own]
    return build_trace([[[0]]] * len(sequences), [len(o) for _, o in layout], [p for p, _ in layout], sequences, 4, [0])


def deterministic(n: int, **asked: Any) -> simmoe.ServeCurve:
    options = {
        "hw": slow_machine(), "arrivals": "every", "max_batch": 1, "eviction": "everything", "engine": "plain", **asked
    }  # fmt: skip
    return serve_curve(trace=alike(n), model=TINY, **options)


@pytest.mark.parametrize("n", [20, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("share", ["90%", "50%", "100%"])
def test_one_place_and_even_gaps_hold_what_the_queue_says(n, share):
    """Request i waits i x (56 us - gap). Of n the first n x share have their first token within 500 us at higher rates than the device
    has time for; none of these is held."""
    (curve,) = deterministic(n, ttft="500us", share=share).curves
    held = curve.held.per_s
    assert held <= 1e6 / ALONE_US * (1 + 1e-9) and held == pytest.approx(1e6 / ALONE_US, rel=0.011)
    assert curve.last == curve.held and len(curve.ranges) == 1
    for one in curve.points:
        gap = 1e6 / one.per_s
        met = sum(FIRST_US + max(i * (ALONE_US - gap), 0) <= 500 for i in range(n))
        assert one.share == pytest.approx(met / n, abs=1 / n + 1e-9)
        assert one.met == (one.share >= int(share[:-1]) / 100 and gap >= ALONE_US * (1 - 1e-9))
    assert curve.at_once.numbers["requests_per_s"] == pytest.approx(1e6 / ALONE_US)
    assert curve.held.busiest.name == "device" and curve.held.busiest.requests_per_s == pytest.approx(1e6 / ALONE_US)


@pytest.mark.parametrize(("slowest", "fastest"), [(1, 1), (2, 1), (1, 4), (10, 3)])
@pytest.mark.parametrize("ttft", ["300us", "1s"])
def test_with_all_figures_at_their_ends_what_the_queue_says_of_other_times_is_held(slowest, fastest, ttft):
    """A machine of half the speed holds half the rate, if the targets leave it time; four times as fast, four times as much."""
    (curve,) = deterministic(30, ttft=ttft, hw=open_machine(slowest, fastest)).curves
    own = 1e6 / ALONE_US
    assert curve.held.per_s == pytest.approx(own, rel=0.011)
    for found, times in zip(curve.held_between_per_s, (1 / slowest, fastest)):
        assert found == pytest.approx(own * times, rel=0.011 if times == 1 else 0.051)
        assert found <= own * times * (1 + 1e-9)
    assert curve.to_json()["holds_between_per_s"] == list(curve.held_between_per_s)


def test_a_rate_that_only_the_fast_end_holds_and_one_that_the_slow_end_does_not():
    (never,) = deterministic(10, ttft="13us", hw=open_machine(2, 2)).curves
    assert never.held is None and never.held_between_per_s == (0, pytest.approx(2e6 / ALONE_US, rel=0.051))
    (now,) = deterministic(10, ttft="15us", hw=open_machine(2, 1)).curves
    assert now.held_between_per_s == (0, now.held.per_s)


def test_pairs_that_come_close_together_hold_what_the_second_of_them_waits(tmp_path):
    """Gaps of 1 and 3 by turns: the second of a pair waits 56 us - gap, and must have its first token within 30 us."""
    times = [4 * (i // 2) + i % 2 for i in range(20)]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(f'{{"timestamp": {ms}}}\n' for ms in times))
    found = deterministic(20, arrivals=str(file), ttft="30us", share="100%")
    gap_us = ALONE_US + FIRST_US - 30
    held = 1e6 / (gap_us * times[-1] / 19)
    assert held < 1e6 / ALONE_US and found.curves[0].held.per_s == pytest.approx(held, rel=0.011)
    assert not any("targets bound nothing" in note for note in found.notes)


@pytest.mark.slow
def test_a_tighter_target_and_a_larger_share_hold_no_higher_rate():
    held = [deterministic(30, ttft=ttft).curves[0].held.per_s for ttft in ("14us", "100us", "400us")]
    assert held[0] == pytest.approx(1e6 / ALONE_US, rel=0.011) and held == sorted(held)
    held = [deterministic(30, ttft="300us", share=share).curves[0].held.per_s for share in ("99%", "90%", "60%")]
    assert held == sorted(held) and held[-1] <= 1e6 / ALONE_US * (1 + 1e-9)


def test_a_target_that_no_rate_meets_and_one_that_every_rate_meets():
    never = deterministic(10, ttft="13us")
    (curve,) = never.curves
    assert curve.held is None and curve.command is None and not any(one.met for one in curve.points)
    always = deterministic(3, ttft="1s")
    assert always.curves[0].held.per_s == pytest.approx(
        1e6 / ALONE_US, rel=0.011
    )  # and not what three may have at once
    assert all(one.share == 1 for one in always.curves[0].points)
    assert (
        "the targets bound nothing here" in always.notes[-1]
        and "--requests 10 of --prompt and --generate would tell more" in always.notes[-1]
    )


def test_where_it_is_not_monotone_the_range_is_said(monkeypatch):
    """Rates from 1.3 to 1.6 of the rate of all at once miss the targets, and those above 2.2."""
    played = searched._Box._played

    def odd(self, plan, rate, **more):
        one = played(self, plan, rate, **more)
        x = rate / (1e9 * 1e6 / ALONE_US)
        return replace(one, met=not (1.3 < x < 1.6 or x > 2.2)) if rate else one

    monkeypatch.setattr(searched._Box, "_played", odd)
    found = deterministic(3, ttft="1s")
    (curve,) = found.curves
    (low, held), (begin, last) = curve.ranges
    unit = 1e6 / ALONE_US
    assert held.per_s == pytest.approx(1.3 * unit, rel=0.011) and last.per_s == pytest.approx(2.2 * unit, rel=0.011)
    assert begin.per_s == pytest.approx(1.6 * unit, rel=0.011) and curve.held == held and curve.last == last
    assert any("not monotone" in note for note in found.notes) and low == curve.points[0]
    assert found.to_json()["curves"][0]["up_to_per_s"] == last.per_s


@pytest.mark.slow
@pytest.mark.hypothesis
def test_no_resource_works_longer_than_there_is_time_and_bounds_the_throughput():
    @settings(max_examples=examples(100), deadline=None)
    @given(served())
    def compare(one):
        case, most, plan, _ = one
        run = play(workload(case, most), plan, named("plain"))
        found = run.requests
        assert all(0 <= ps <= found.makespan_ps for ps in busy_ps(run).values())
        assert len(found.sequence) * 1e12 / found.makespan_ps <= busiest(run).requests_per_s * (1 + 1e-12)

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_the_throughput_is_below_what_resident_experts_and_the_link_allow():
    """The passes that were made, played again as a recorded trace with everything resident, are the least that the device takes; the bytes
    that were loaded, at the rate of the link, the least that the link takes."""

    @settings(max_examples=examples(60), deadline=None)
    @given(served(prefetch=False, miss="fetch"))
    def compare(one):
        case, most, plan, _ = one
        run = play(workload(case, most), plan, named("plain"))
        again = Workload(case.hw, run.workload.trace, case.model)
        least = play(again, Plan(again.model.all_expert_bytes, "everything", timeline=plan.timeline), named("plain"))
        makespan = run.requests.makespan_ps
        assert int(least.pass_ps.sum()) <= makespan
        assert run.bytes * 1e12 / case.hw.link.bytes_per_s <= makespan + run.misses * 1e3

    compare()


@pytest.fixture(scope="module")
def found() -> simmoe.ServeCurve:
    return serve_curve(**SMALL, budgets=["25%", "50%"])


@bundled
@pytest.mark.slow
def test_at_the_rate_that_is_held_the_command_gives_the_same(found, capsys):
    for curve in found.curves:
        words = shlex.split(curve.command)
        assert main([*words[1:], "--json"]) == 0
        good = json.loads(capsys.readouterr().out)["requests"]["goodput"]
        assert (good["share"], good["requests_per_s"]) == (curve.held.share, curve.held.numbers["goodput_per_s"])
        assert good["share"] >= 0.9
        missed = next(one for one in curve.points if one.rate > curve.last.rate)
        assert missed.share < 0.9 or missed.per_s > max(
            missed.busiest.requests_per_s, curve.at_once.busiest.requests_per_s
        )
        assert curve.held.per_s <= max(curve.held.busiest.requests_per_s, curve.at_once.busiest.requests_per_s)
        assert missed.per_s <= 1.011 * curve.last.per_s
    rows = found.records()
    assert len(rows) == sum(len(one.points) for one in found.curves) and sum(row["held"] for row in rows) == 2


@bundled
@pytest.mark.slow
def test_a_table_and_a_page_say_it(found, capsys):
    data = found.to_json()
    show_serve_curve(found, [], Screen())
    shown = capsys.readouterr().out
    goodput, shares, ttft, tpot = plots.page(data).figures
    assert page_of_result(found) == plots.page(data)
    assert all(one.axes[""]["xaxis"]["minorloglabels"] == "complete" for one in (goodput, shares, ttft, tpot))
    for number, curve in enumerate(data["curves"]):
        low, high = curve["holds_between_per_s"]
        assert low < curve["holds_per_s"] < high
        assert f"{curve['holds_per_s']:g}/s ({low:.1f}–{high:.1f})" in shown
        assert f"{curve['label']} {curve['holds_per_s']:.4g}/s ({low:.4g}–{high:.4g})" in plots.page(data).lead[1]
        assert list(goodput.data[number]["y"]) == [one["goodput_per_s"] for one in curve["points"]]
        assert list(shares.data[number]["y"]) == [one["share"] for one in curve["points"]]
        assert list(ttft.data[number]["y"]) == [one["request_ttft_p99_ms"] for one in curve["points"]]
        assert list(tpot.data[number]["y"]) == [one["request_tpot_p99_ms"] for one in curve["points"]]
    assert "for 90 % of the requests" in shown and "Ideal runtime: real engines decode at 30% to 95%" in shown


def test_drawn_routing_is_said_and_what_requests_alone_get_where_no_rate_is_held(capsys):
    asked = {"model": "olmoe-1b-7b", "prompt": 8, "generate": 2, "requests": 3, "tpot": "1us"}
    found = serve_curve("a100", budgets=["100%"], **asked)
    assert any("Routing is synthetic" in note for note in found.to_json()["notes"])
    show_serve_curve(found, [], Screen())
    shown, slowest = " ".join(capsys.readouterr().out.split()), found.curves[0].points[0]
    ttft, tpot = (slowest.numbers[f"request_{name}_p50_ms"] for name in ("ttft", "tpot"))
    assert "Routing is synthetic" in shown
    assert f"there TTFT {ttft:.3g} ms and TPOT {tpot:.3g} ms are the medians, of requests that are alone" in shown


@bundled
@pytest.mark.slow
def test_the_command_writes_json_and_a_page_for_budgets_as_far_as_the_device_holds(capsys, tmp_path):
    few = {**SMALL, "tokens": 520}
    words = [word for name, value in few.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    page = tmp_path / "page.html"
    assert main(["serve-curve", *words, "--html", str(page), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in data["curves"]] == ["25%", "50%", "75%", "100%"]
    figures = json.loads(re.search(r'id="page-data">(.*?)</script>', page.read_text("utf-8"))[1])["figures"]
    assert [len(one["data"]) for one in figures] == [4, 4, 4, 4]


@bundled
@pytest.mark.slow
def test_at_the_lowest_rate_requests_are_alone():
    curve = serve_curve(**{**SMALL, "arrivals": "every", "ttft": "1us"}, budgets=["50%"]).curves[0]
    options = {name: value for name, value in SMALL.items() if name != "ttft"}
    alone = simmoe.run(**options, budget="50%", schedule="continuous", arrivals="every:1000s").to_json()["requests"]
    slowest = curve.points[0]
    assert curve.held is None and slowest.alone and slowest.numbers["request_queue_p99_ms"] == 0
    for name in ("ttft", "tpot", "e2e"):
        assert slowest.numbers[f"request_{name}_p99_ms"] == alone[f"{name}_ms"]["p99"]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"rate": "2/s"}, "--rate 2/s: the rate is what is looked for"),
        ({"ttft": None}, "nothing is asked for: give --ttft"),
        ({"arrivals": "poisson:2/s"}, "--arrivals poisson:2/s says how many arrive"),
        ({"schedule": "recorded", "max_batch": None}, "--schedule recorded knows its passes beforehand"),
        ({"share": "0%"}, "--share: '0%' is no share of the requests"),
        ({"budget": "10%", "budgets": ["20%"]}, "give --budget or several budgets, not both"),
    ],
)
@bundled
def test_what_no_curve_can_be_of_is_refused(asked, line):
    with pytest.raises(UserError, match=re.escape(line)):
        serve_curve(**{**SMALL, **asked})


def test_rates_are_told_apart_to_one_per_cent():
    assert searched.between(1000, 1010) is None and searched.between(1000, 1100) == 1049
    rates, low, high = [], 10**9, 2 * 10**9
    while (middle := searched.between(low, high)) is not None:
        rates.append(middle)
        low = middle
    assert high <= 1.011 * low and np.all(np.diff(rates) > 0) and len(rates) < 20
    assert Point(2_500_000_000, 1.0, True, {}, None, 0.0, False).word == "2.5/s"
