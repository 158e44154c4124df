"""A comparison of requests that arrive: by goodput or by how long they take, along a rate and along what is asked for."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from typing import Any

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.play.run import play
from simmoe.plots.order import order as plotted
from simmoe.show.screen import Screen
from simmoe.sweeps.measures import E2E, GOODPUT, MEASURES
from simmoe.sweeps.order import Point, State, state
from simmoe.sweeps.show_comparison import show_comparison
from simmoe.workloads.format.trace import names
from tests.test_curve_command import eighty

OF_TRACE = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
COMMON = (
    "--trace",
    "oracle",
    "--prompt",
    "8",
    "--generate",
    "4",
    "--requests",
    "12",
    "--budget",
    "100%",
    "--schedule",
    "continuous",
)
ROWS = ("--row", "--hw h100 --max-batch 1", "--row", "--hw a100 --max-batch 8")
TARGETS = ("--ttft", "6ms", "--tpot", "4ms")


def over(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["compare", *COMMON, *words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)["over"]


def requests_of(capsys: pytest.CaptureFixture[str], command: str) -> dict[str, Any]:
    assert main([*shlex.split(command)[1:], "--json"]) == 0
    return json.loads(capsys.readouterr().out)["requests"]


@OF_TRACE
@pytest.mark.slow
def test_along_a_rate_rows_stand_in_order_of_goodput_and_each_border_is_played_on_both_sides(capsys) -> None:
    """One request at a time is quick alone and misses under load; eight together serve on. Up to a rate both serve all."""
    (found,) = over(capsys, *ROWS, *TARGETS, "--over", "rate=5/s,1000/s")
    assert (found["measure"], found["unit"]) == ("goodput_per_s", "rate") and found["words"] == ["5/s", "1000/s"]
    (pair,) = found["pairs"]
    first, *_, last = pair["stretches"]
    assert first["faster"] is None and last["faster"] == 2
    for below, above in pairwise(pair["stretches"]):
        assert below["to"] < above["from"] <= 1.01 * below["to"] + 1
    for points, (slow, quick) in zip(found["points"], [point_values(found, row) for row in (0, 1)]):
        for point, value in zip(points, (slow, quick)):
            good = requests_of(capsys, point["command"])["goodput"]
            assert good["requests_per_s"] == value and point["low"] <= value <= point["high"]
    assert point_values(found, 0)[0] == pytest.approx(point_values(found, 1)[0], rel=0.01)
    assert point_values(found, 1)[1] > 1.01 * point_values(found, 0)[1]
    figure = plotted(found, ["a", "b"])
    assert figure.axes[""]["yaxis"]["title"] == {"text": "goodput, requests a second"}
    assert figure.axes[""]["xaxis"]["ticktext"][0] == "5/s"


def point_values(found: dict[str, Any], row: int) -> list[float]:
    return [point["value"] for point in found["points"][row]]


@OF_TRACE
@pytest.mark.slow
def test_ranges_of_goodput_are_those_of_runs_at_both_ends(capsys) -> None:
    (found,) = over(capsys, "--hw", "a100", "--hw", "h100", *TARGETS, "--over", "1:rate=20/s,900/s")
    scenario = simmoe.Scenario(
        "a100",
        "oracle",
        prompt=8,
        generate=4,
        requests=12,
        budget="100%",
        schedule="continuous",
        ttft="6ms",
        tpot="4ms",
        rate="900/s",
    )
    workload = scenario.workload()
    ends = [play(one, scenario.plan(workload)).requests.goodput.per_s for one in (workload, *workload.ends)]
    last = found["points"][0][1]
    assert (last["low"], last["high"]) == (min(ends), max(ends))
    assert len({point["value"] for point in found["points"][1]}) == 1  # row 2 stays as it is


@OF_TRACE
@pytest.mark.slow
def test_without_targets_the_shorter_stay_is_ahead_though_longer_queues_decode_faster(capsys) -> None:
    words = ("--hw", "jetson_orin", "--hw", "a100", "--over", "rate=2/s,900/s")
    (found,) = over(capsys, *words)
    assert found["measure"] == "request_e2e_p99_ms" and {one["faster"] for one in found["fastest"]} == {2}
    for row in (0, 1):
        for point in found["points"][row]:
            assert requests_of(capsys, point["command"])["e2e_ms"]["p99"] == point["value"]
    assert main(["compare", *COMMON, *words]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "a request from its arrival to its end, p99 in ms (less is better)" in text
    assert "a100 is faster than jetson_orin at every value." in text


@OF_TRACE
@pytest.mark.slow
def test_in_80_columns_rows_of_one_machine_keep_what_tells_them_apart_and_their_goodput(capsys, monkeypatch) -> None:
    monkeypatch.setattr(Screen, "__init__", eighty)
    rows = ("--row", "--hw a100 --max-batch 1", "--row", "--hw a100 --max-batch 8")
    assert main(["compare", *COMMON, "--rate", "200/s", *rows, *TARGETS]) == 0
    lines = capsys.readouterr().out.splitlines()
    head, one, other = lines[(at := next(n for n, line in enumerate(lines) if line.startswith("machine"))) : at + 3]
    assert "options" in head and "goodput" in head and max(map(len, lines)) <= 80
    assert "--max-batch 1" in one and "--max-batch 8" in other and one.count("/s") == other.count("/s") == 1
    assert "of at most 1 sequence," in " ".join(lines) and "of at most 8 sequences," in " ".join(lines)
    assert main(["compare", *COMMON, "--rate", "200/s", *ROWS, *TARGETS]) == 0
    head = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("machine"))
    assert "options" not in head and "goodput" in head  # the machines tell these apart


@OF_TRACE
@pytest.mark.slow
def test_a_looser_target_never_serves_less(capsys) -> None:
    rows = [{"hw": "h100", "max_batch": 1}, {"hw": "a100", "max_batch": 8}]
    options = {"prompt": 8, "generate": 4, "requests": 12, "budget": "100%", "schedule": "continuous", "rate": "200/s"}
    done = simmoe.compare(trace="oracle", row=rows, **options, over=["ttft=1ms,4ms,40ms"])
    (found,) = done.to_json()["over"]
    assert found["measure"] == "goodput_per_s" and found["unit"] == "time"
    for row in (0, 1):
        values = point_values(found, row)
        assert values == sorted(values) and values[0] < values[-1]
    assert "--ttft 40ms" in found["points"][0][-1]["command"]
    show_comparison(done, [], Screen())
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "Over ttft, 1 ms to 40 ms: goodput, requests/s that meet --ttft and --tpot" in text
        and "Equal: within 1%." in text
    )


def test_the_state_of_rows_by_each_measure() -> None:
    one, other, close = Point(100.0, 90.0, 110.0), Point(120.0, 115.0, 130.0), Point(100.9, 99.0, 102.0)
    assert state({1: one, 2: other}, MEASURES[GOODPUT]) == State(2, True, False)
    assert state({1: one, 2: close}, MEASURES[GOODPUT]) == State(None, False, False)
    assert state({1: other, 2: one._replace(value=118.0)}, MEASURES[GOODPUT]) == State(1, True, False)
    assert state({1: one, 2: other}, MEASURES[E2E]) == State(1, True, False)
    assert state({1: one, 2: other._replace(low=105.0)}, MEASURES[E2E]) == State(1, False, False)
    assert state({1: one, 2: close}, MEASURES[E2E]) == State(1, False, False)
    none = Point(0.0)
    assert state({1: none, 2: none}, MEASURES[GOODPUT]) == State(None, False, False)


@OF_TRACE
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("--schedule", "recorded", "--over", "rate=1/s,2/s"),
            "row 1 has --schedule recorded: name one, such as --schedule continuous",
        ),
        (("--over", "rate"), "--over rate needs its values, such as --over rate=1/s..8/s"),
        (("--over", "tpot"), "--over tpot needs its values, such as --over tpot=10ms..200ms"),
        (("--over", "rate=fast,2/s"), "--over rate: 'fast' is no rate above 0"),
        (("--over", "rate=4/s..2/s"), "4/s is not below 2/s"),
        (("--over", "ttft=1s..2"), "--over ttft"),
        (("--arrivals", "poisson:2/s", "--over", "rate=1/s,2/s"), "write --arrivals poisson, or leave --rate out"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("--trace", "oracle", "--tokens", "60") if "--schedule" in words else COMMON
    assert main(["compare", *common, "--hw", "a100", "--hw", "h100", *words]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and line in out.err, out.err
