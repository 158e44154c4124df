"""Where the order of machines changes: each change is played again by `simmoe run` on both sides, and every step is counted."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simmoe.cli.main import main
from simmoe.play import lanes as sharing
from simmoe.sweeps.order import Point, State, Stretch, changes, state, stretches
from simmoe.workloads.format.trace import names

OF_TRACE = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
SHORT = ("--trace", "oracle", "--tokens", "640")
SLOW_LINK = (
    "--start",
    "cold",
    "--row",
    "--hw a100 --set link.bandwidth=1GB/s",
    "--row",
    "--hw jetson_orin",
)  # and a faster memory


def over(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["compare", *SHORT, *words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)["over"]


def played(capsys: pytest.CaptureFixture[str], command: str) -> tuple[float, float, float]:
    """tok/s of a command, and the ends of its range."""
    assert main([*shlex.split(command)[1:], "--band", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return found["tok_s"], *found["band"]["hardware"]


def check_both_sides(capsys: pytest.CaptureFixture[str], change: dict[str, Any], exact: bool = False) -> None:
    """The commands of both rows, below and above: the order is the other one, and the numbers are those of the comparison. exact: the
    figure of the axis is known there, which `simmoe run` takes for assumed."""
    for side, sign in (("below", 1), ("above", -1)):
        (first, *ends), (second, *others) = (played(capsys, point["command"]) for point in change[side]["points"])
        assert [first, second] == [point["value"] for point in change[side]["points"]]
        for (low, high), point in zip((ends, others), change[side]["points"]):
            if exact:
                assert low <= point["low"] <= point["high"] <= high
            else:
                assert (low, high) == (point["low"], point["high"])
        assert sign * (first - second) > 0


@pytest.mark.slow
@OF_TRACE
def test_a_change_over_the_budget_is_found_to_one_expert_and_holds_on_both_sides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (found,) = over(capsys, *SLOW_LINK, "--over", "budget")
    slot = found["slot_bytes"]
    assert len(found["values"]) == 20 and all(value % slot == 0 for value in found["values"])
    (pair,) = found["pairs"]
    (change,) = pair["changes"]
    assert (change["faster_below"], change["faster_above"], change["alone"]) == (2, 1, False)
    assert change["above"]["value"] - change["below"]["value"] == slot
    check_both_sides(capsys, change)
    low, high = change["undecided"]
    assert (
        found["values"][0] < low <= change["below"]["value"] and change["above"]["value"] <= high < found["values"][-1]
    )
    for value, decided in ((low - slot, True), (low, False), (high, False), (high + slot, True)):
        one, other = (
            played(capsys, point["command"].replace(f"{change['below']['value']}B", f"{value}B"))
            for point in change["below"]["points"]
        )
        assert (one[1] > other[2] or other[1] > one[2]) == decided, value


@pytest.mark.slow
@OF_TRACE
def test_the_figure_of_one_row_from_which_it_is_the_fastest(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = over(capsys, *SLOW_LINK, "--budget", "25%", "--over", "1:link.bandwidth=300MB/s..3GB/s")
    assert found["changed_rows"] == [1] and len({point["value"] for point in found["points"][1]}) == 1
    (change,) = found["pairs"][0]["changes"]
    below, above = change["below"]["value"], change["above"]["value"]
    assert (change["faster_below"], change["faster_above"]) == (2, 1) and below < above <= 1.01 * below
    assert f"--set link.bandwidth={change['above']['word']}" in change["above"]["points"][1]["command"]
    check_both_sides(capsys, change, exact=True)
    link, whole = found["points"][0][0], played(capsys, found["points"][0][0]["command"])
    assert whole[1] < link["low"] and link["high"] < whole[2]


@OF_TRACE
def test_a_rate_takes_along_the_drive_that_it_may_not_exceed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ("--hw", "rtx_4090_nvme", "--hw", "m2_ultra", "--budget", "20%")
    (found,) = over(capsys, *rows, "--over", "1:link.upstream.bandwidth=3GB/s,12GB/s")
    below, above = found["points"][0]
    assert below["value"] < above["value"], above["why_not"]
    assert "tiers.nvme.bandwidth" not in below["command"] and "--set tiers.nvme.bandwidth=12GB/s" in above["command"]
    assert played(capsys, above["command"])[0] == above["value"]


@OF_TRACE
def test_a_number_of_the_run_is_bisected_to_its_neighbours(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = over(capsys, *SLOW_LINK, "--budget", "20%", "--over", "batch=1,6")
    assert found["pairs"][0]["changes"]
    for change in found["pairs"][0]["changes"]:
        assert change["above"]["value"] - change["below"]["value"] == 1
        check_both_sides(capsys, change)
    assert found["unit"] == "count" and found["values"] == [1, 6]


@pytest.mark.slow
@OF_TRACE
def test_a_machine_that_does_not_run_beyond_a_value(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = tmp_path / "small.yaml"
    small.write_text(
        "name: small\ntitle: A card of 4 GB\nextends: h100\ntiers:\n  hbm:\n    capacity: {value: 4 GiB, kind: assumed, source: me}\n"
        "reserved: {value: 1 GiB, kind: assumed, source: me}\n", "utf-8",
    )  # fmt: skip
    (found,) = over(capsys, "--hw", str(small), "--hw", "jetson_orin", "--over", "budget", "--budget", "10%")
    (change,) = found["pairs"][0]["changes"]
    assert change["alone"] and (change["faster_below"], change["faster_above"]) == (1, 2)
    assert change["above"]["points"][0]["value"] is None and "does not fit" in change["above"]["points"][0]["why_not"]
    assert (
        main(["compare", *SHORT, "--hw", str(small), "--hw", "jetson_orin", "--budget", "10%", "--over", "budget"]) == 0
    )
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "small is faster than jetson_orin up to " in text and "there small does not run (does not fit: short by" in text
    )


@OF_TRACE
def test_what_an_axis_does_not_change_or_decide_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    model = (
        "--model",
        "gpt-oss-20b",
        "--format",
        "MXFP4_MOE",
        "--runtime",
        "usual",
        "--prompt",
        "16",
        "--generate",
        "4",
    )
    rows = (
        "--row",
        "--hw rtx_3060",
        "--row",
        "--hw rtx_3090+ddr4_3200_2ch",
        "--row",
        "--hw strix_halo",
        "--row",
        "--hw m4_max",
    )
    axes = ("--over", "2:tiers.host_dram.bandwidth=20GB/s,40GB/s", "--over", "depth=0,64")
    assert main(["compare", *model, *rows, *axes]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("rtx_3060 runs at none of these values.") == 2 and "rtx_3060 at every value" not in text
    assert text.count("changes nothing here for") == 1
    assert "tiers.host_dram.bandwidth changes nothing here for rtx_3090+ddr4_3200_2ch." in text
    assert (
        text.count("m4_max is ahead of strix_halo at every value, but their ranges overlap: not decided at any.") == 2
    )
    assert "rtx_3090+ddr4_3200_2ch is faster than strix_halo at every value." in text


@OF_TRACE
def test_a_budget_is_decided_once_for_all_machines_and_ranges(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = list[int](), sharing.decided

    def noted(workload: Any, plan: Any, *rest: Any) -> Any:
        made.append(plan.budget_bytes)
        return real(workload, plan, *rest)

    monkeypatch.setattr(sharing, "decided", noted)
    (found,) = over(
        capsys, "--hw", "a100", "--hw", "h100", "--hw", "jetson_orin", "--budget", "40%", "--over", "budget"
    )
    assert len(made) == len(set(made)) and set(found["values"]) <= set(made)


@OF_TRACE
@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "budgets",
            "--over budgets: neither a number of a run nor a figure of a100 and jetson_orin; did you mean 'budget'",
        ),
        ("link.bandwith", "did you mean 'link.bandwidth'"),
        ("3:budget", "there is no row 3; rows are 1 to 2"),
        ("0:budget", "there is no row 0"),
        ("budget=50%..20%", "50% is not below 20%"),
        ("budget=50%", "has one value"),
        ("generate", "--over generate needs its values, such as --over generate=1..64"),
        ("batch=1..x", "--over batch 'x' is no number of sequences"),
        ("price", "is no rate, no time and no size"),
        ("link.bandwidth=1..2", "'1' is not a quantity with a unit"),
        ("bud get", "is no axis; write it like budget"),
    ],
)
def test_a_mistake_is_one_line(said: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *SHORT, "--hw", "a100", "--hw", "jetson_orin", "--budget", "25%", "--over", said]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and line in out.err, out.err


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("units.gpu.bandwidth", "the runtime of row 1 goes by peak.memory_bandwidth, not by it; name that one"),
        ("2:units.cpu.bandwidth", "the runtime of row 2 goes by units.cpu.quantised_bandwidth, or tiers.….peak_bandw"),
    ],
)
def test_a_figure_that_no_runtime_reads_is_no_axis(said: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would change nothing, and the commands of its points would be refused."""
    words = ["--hw", "rtx_3060+ddr4_3200_2ch", "--hw", "rtx_4090+ddr4_3200_2ch", "--placement", "n_cpu_moe=14"]
    model = ["--model", "gpt-oss-20b", "--runtime", "usual", "--prompt", "16", "--generate", "2"]
    assert main(["compare", *words, *model, "--over", said]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and line in out.err, out.err


def test_the_state_of_two_rows() -> None:
    one, other, none = Point(10.0, 8.0, 12.0), Point(20.0, 13.0, 30.0), Point(None)
    assert state({1: one, 2: other}) == State(2, True, False)
    assert state({1: one, 2: other._replace(low=11.0)}) == State(2, False, False)
    assert state({1: one, 2: one}) == State(None, False, False)
    assert state({1: none, 2: one}) == State(2, True, True) and state({1: none, 2: none}).faster is None


STATES = [State(faster, decided, False) for faster in (1, 2) for decided in (True, False)]


@example([(3, STATES[0]), (2, STATES[1]), (4, STATES[2])], 9)  # two changes in one cell
@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from(STATES)), min_size=1, max_size=6), st.integers(1, 9))
def test_every_change_is_found_where_it_is(parts: list[tuple[int, State]], apart: int) -> None:
    """Against a scan of every value; states come back only in another cell of the grid."""
    every = [one for length, one in parts for _ in range(length)]
    values = [*range(0, len(every) - 1, apart), len(every) - 1] if len(every) > 1 else [0]
    cells = [every[a : b + 1] for a, b in pairwise(values)]
    found = stretches(lambda x: every[x], values, lambda low, high: (low + high) // 2 if high - low > 1 else None)
    assert found[0].begin == 0 and found[-1].end == len(every) - 1
    for cell, begin in zip(cells, values):
        seen = [one for i, one in enumerate(cell) if not i or one != cell[i - 1]]
        if len(seen) == len(set(seen)) <= 2:  # one change: it is where the scan sees it
            for x in range(begin, begin + len(cell)):
                assert next(one.state for one in found if one.begin <= x <= one.end) == every[x]
    for one in found:
        assert every[one.begin] == one.state == every[one.end]


def test_what_is_undecided_around_a_change() -> None:
    sure1, open1, open2, sure2 = (
        State(1, True, False),
        State(1, False, False),
        State(2, False, False),
        State(2, True, False),
    )
    found = [
        Stretch(0, 4, sure1),
        Stretch(5, 6, open1),
        Stretch(7, 9, open2),
        Stretch(10, 20, sure2),
        Stretch(21, 30, open2),
    ]
    (change,) = changes(found)
    assert (change.below, change.above, change.slower_then, change.faster_then, change.undecided) == (
        6,
        7,
        1,
        2,
        (5, 9),
    )
    (sharp,) = changes([Stretch(0, 4, sure1), Stretch(5, 9, sure2)])
    assert sharp.undecided is None and (sharp.below, sharp.above) == (4, 5)
    tie = State(None, False, False)
    (over_tie,) = changes([Stretch(0, 4, sure2), Stretch(5, 6, tie), Stretch(7, 9, sure1)])
    assert (over_tie.below, over_tie.above, over_tie.undecided) == (4, 7, (5, 6))
    assert changes([Stretch(0, 4, sure1), Stretch(5, 6, tie), Stretch(7, 9, sure1)]) == []
