"""What requests wait for under load: goodput, the queue, the union of the experts of a pass."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.cli.main import main
from simmoe.play.arrivals import arrival_ps
from simmoe.play.length_draws import tokens_of
from simmoe.play.plan import Plan
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.slo import Slo
from simmoe.play.workload import Workload
from simmoe.show.tables import of_goodput
from simmoe.simulator.decide.player import splitmix64
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


def test_requests_are_shown_by_what_they_waited_for():
    found = tiny().requests
    several = "TTFT p50 1.4e-08 ms, p99 2.6e-08 ms; TPOT p50 1.667e-08 ms, p99 1.8e-08 ms"
    assert repr(found).startswith(f"Served(2 requests, {found.tokens.sum()} tokens; {several}; in all p50 ")


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


@pytest.mark.slow
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


# --- when requests arrive ------------------------------------------------------------------------------------------------

SECOND = 10**12
GAMMA = [2468982964837, 2492491899745, 2547867562732, 2791712028004]
ONOFF = [31019537283, 241125259154, 2149403473992, 2156791065187]


@pytest.mark.parametrize("burstiness", [0.25, 0.7, 1, 4])
@pytest.mark.parametrize("rate", [0.5, 40])
def test_gamma_gaps_have_the_mean_and_the_variance_of_vllms_burstiness(burstiness, rate):
    """Shape = burstiness, scale = 1 / (rate x burstiness): mean 1 / rate, squared coefficient of variation 1 / burstiness."""
    for seed in (0, 7):
        gaps = np.diff(arrival_ps(f"gamma:{rate}/s,burstiness={burstiness}", 40_000, seed), prepend=0) * rate / SECOND
        assert (gaps >= 0).all() and gaps.mean() == pytest.approx(1, abs=5 / (burstiness * 40_000) ** 0.5)
        assert gaps.var() == pytest.approx(1 / burstiness, rel=0.08)
        skew = ((gaps - gaps.mean()) ** 3).mean() / gaps.std() ** 3
        assert skew == pytest.approx(2 / burstiness**0.5, rel=0.12)
    assert np.corrcoef(gaps[1:], gaps[:-1])[0, 1] == pytest.approx(0, abs=0.02)


def test_burstiness_1_is_distributed_as_poisson():
    """Kolmogorov-Smirnov against 1 - exp(-x): below the 0.1 % quantile, 1.95 / sqrt(n)."""
    gaps = np.sort(np.diff(arrival_ps("gamma:1/s,burstiness=1", 20_000, 3), prepend=0) / SECOND)
    ideal = 1 - np.exp(-gaps)
    assert np.abs(ideal - np.arange(1, 20_001) / 20_000).max() < 1.95 / 20_000**0.5


def test_while_it_is_off_nothing_arrives_and_the_mean_rate_is_kept():
    at = arrival_ps("onoff:4/s,on=10s,off=30s", 40_000, 1)
    within = at % (40 * SECOND)
    assert (within < 10 * SECOND).all() and (np.diff(at) >= 0).all()
    assert len(at) / (at[-1] / SECOND) == pytest.approx(4, rel=0.03)
    alone = arrival_ps("poisson:16/s", 40_000, 1)  # the same process, on a clock that stands still while it is off
    assert (at // (40 * SECOND) * (10 * SECOND) + within).tolist() == alone.tolist()
    counts = np.bincount(at // (40 * SECOND))[:-1]  # of a period: Poisson with mean 160
    assert counts.mean() == pytest.approx(160, rel=0.03) and counts.var() == pytest.approx(160, rel=0.35)


def test_a_rate_is_a_rate_of_any_process():
    for process in ("poisson", "gamma", "onoff", "every"):
        figures = {"gamma": "burstiness=0.5", "onoff": "on=1s,off=2s"}.get(process, "")
        own = {"every": "every:500ms"}.get(process, f"{process}:2/s{',' * bool(figures)}{figures}")
        one, other = arrival_ps(own, 60, 5), arrival_ps(f"{process}:{figures}".rstrip(":"), 60, 5, "2/s")
        assert one.tolist() == other.tolist() and one.dtype == np.int64
        assert (one[:20] == arrival_ps(own, 20, 5)).all() and (process == "every") == (
            one.tolist() == arrival_ps(own, 60, 6).tolist()
        )
    assert arrival_ps(None, 9, 5, "2/s").tolist() == arrival_ps("poisson:2/s", 9, 5).tolist()
    slow, quick = arrival_ps("poisson", 50, 0, "1/s"), arrival_ps("poisson", 50, 0, "4/s")
    assert np.abs(slow - 4 * quick).max() <= 2 * 50  # the same draws, four times as far apart, but for rounding


def test_a_number_may_begin_with_its_point():
    for short, whole in (
        ("gamma:.5/s,burstiness=.25", "gamma:0.5/s,burstiness=0.25"),
        ("poisson:.5/s", "poisson:0.5/s"),
    ):
        assert arrival_ps(short, 20, 3).tolist() == arrival_ps(whole, 20, 3).tolist()
    assert (
        tokens_of("lognormal:40,cv=.5", "prompt", 20, 3).tolist()
        == tokens_of("lognormal:40,cv=0.5", "prompt", 20, 3).tolist()
    )
    for wrong in ("poisson:./s", "poisson:5./s", "poisson:.0/s"):
        with pytest.raises(UserError):
            arrival_ps(wrong, 2, 3)


def test_the_same_numbers_on_every_platform():
    """Written down once; rounding to picoseconds hides the last bit of a platform's logarithm."""
    high, low = (part.tolist() for part in splitmix64(9, 3000))
    gaps = [round(-math.log((((up << 21) + (down >> 11)) + 0.5) / 2**53) * 5e11) for up, down in zip(high, low)]
    assert arrival_ps("poisson:2/s", 3000, 9).tolist() == list(accumulate(gaps))
    assert arrival_ps("gamma:2/s,burstiness=0.5", 4, 0).tolist() == GAMMA
    assert arrival_ps("onoff:2/s,on=1s,off=1s", 4, 0).tolist() == ONOFF


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"arrivals": "weibull:2/s"}, "says no arrivals; write poisson:2/s, gamma:2/s,burstiness=0.5"),
        ({"arrivals": "poisson"}, "--arrivals poisson does not say how many arrive: add --rate"),
        (
            {"arrivals": "gamma:2/s,burstiness=0.5", "rate": "3/s"},
            "write --arrivals gamma:burstiness=0.5, or leave --rate out",
        ),
        ({"arrivals": "gamma:2/s"}, "behind the rate of gamma stands burstiness=…"),
        ({"arrivals": "gamma:2/s,burstiness=0"}, "--arrivals: burstiness '0' is no shape of gaps"),
        ({"arrivals": "onoff:2/s,on=10s"}, "behind the rate of onoff stands on=… and off=…"),
        ({"arrivals": "poisson:2/s,on=10s"}, "behind the rate of poisson stands nothing"),
        ({"rate": "fast"}, "--rate: 'fast' is no rate above 0; write it like 2/s"),
        ({"rate": "0/s"}, "--rate: '0/s' is no rate above 0"),
        ({"arrivals": "every:0s"}, "no time lies between"),
        ({"rate": "2/s", "schedule": "recorded"}, "--rate 2/s is for a clock-driven schedule"),
    ],
)
@bundled
def test_what_is_no_process_is_refused(asked, line):
    with pytest.raises(UserError, match=re.escape(line)):
        simmoe.run(**{**LOAD, "max_batch": None, **asked})


# --- from a file -----------------------------------------------------------------------------------------------------------

MOONCAKE = [27482, 27482, 30535, 30535.5, 33000]  # milliseconds


def written(path, times=MOONCAKE):
    lines = [{"timestamp": at, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]} for at in times]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return str(path)


def test_timestamps_of_a_file_are_milliseconds_from_the_first_on(tmp_path):
    name = written(tmp_path / "mooncake.jsonl")
    at = arrival_ps(name, 5, 0)
    assert at.tolist() == [0, 0, 3053 * 10**9, 3053_500_000_000, 5518 * 10**9]
    assert arrival_ps(name, 3, 9).tolist() == at[:3].tolist()
    faster = arrival_ps(name, 5, 0, "4/s")  # four gaps in a second
    assert faster[-1] == SECOND and faster.tolist() == [round(x * 10**12 / (5518 * 10**9)) for x in at.tolist()]
    with pytest.raises(
        UserError,
        match=r"mooncake.jsonl has 5 requests, and 6 are played; give --prompt mooncake.jsonl for its own lengths, --requests 5 of",
    ):
        arrival_ps(name, 6, 0)
    Path(name).write_text('{"timestamp": 3}\n' * 5)
    with pytest.raises(
        UserError, match=r"has 5 requests, and 6 are played; give --requests 5 of --prompt and --generate"
    ):
        arrival_ps(name, 6, 0)


def test_a_line_ends_where_json_lines_end_and_a_mark_of_the_encoding_is_no_part_of_it(tmp_path):
    path = tmp_path / "windows.jsonl"
    path.write_bytes('\ufeff{"timestamp": 1, "text": "a\u2028b"}\r\n{"timestamp": 3.25e0}\r\n'.encode())
    assert arrival_ps(str(path), 2, 0).tolist() == [0, 2_250_000_000]


@pytest.mark.parametrize(("n", "line"), [(3, "all come at once"), (1, "only one comes")])
def test_a_rate_is_refused_where_no_time_lies_between_the_requests_of_a_file(tmp_path, n, line):
    name = written(tmp_path / "at_once.jsonl", [7] * n)
    assert arrival_ps(name, n, 0).tolist() == [0] * n
    with pytest.raises(UserError, match=line):
        arrival_ps(name, n, 0, "2/s")


@bundled
def test_a_file_of_timestamps_is_played_named_by_its_content_and_saved_by_its_way(tmp_path, capsys):
    name = written(tmp_path / "mooncake.jsonl", [7, 107, 207, 307, 407, 507, 607, 707])
    options = {**LOAD, "ttft": "1s"}
    run, same = (simmoe.run(**options, arrivals=one) for one in (name, "every:100ms"))
    assert run.clocks == same.clocks and run.digest != same.digest
    said = run.to_json()["scenario"]["plan"]["arrivals"]
    assert said.startswith("mooncake sha256:") and str(tmp_path) not in json.dumps(run.to_json())
    simmoe.Scenario(**options, arrivals=name).save(tmp_path / "run.yaml")
    assert simmoe.run(simmoe.load_scenario(tmp_path / "run.yaml")).digest == run.digest
    written(tmp_path / "mooncake.jsonl", [1, 2, 3, 4, 5, 6, 7, 8])
    with pytest.raises(UserError, match=r"arrivals .* is not what it was"):
        simmoe.load_scenario(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"timestamp": 1}\nnope\n', "line 2 is no JSON: 'nope'"),
        ('{"timestamp": 1}\n{"time": 2}\n', "line 2: None is no timestamp; write milliseconds"),
        ('{"timestamp": 1}\n{"timestamp": true}\n', "line 2: True is no timestamp"),
        ('{"timestamp": 1}\n{"timestamp": NaN}\n', "line 2: 'NaN' is no timestamp"),
        ('{"timestamp": 1}\n{"timestamp": -1}\n', "line 2: -1 is no timestamp"),
        ('{"timestamp": 1}\n{"timestamp": -1.25}\n', "line 2: -1.25 is no timestamp"),
        ('{"timestamp": 2}\n{"timestamp": 1}\n', "line 2: timestamp 1 is before the one above; sort the lines"),
        ("[1]\n[2]\n", "line 1: None is no timestamp"),
        (
            '{"timestamp": 1e999999999}\n{"timestamp": 2}\n',
            "line 1: '1e999999999' is no timestamp",
        ),  # a number of as many digits
        ("\n \n", "bad.jsonl is empty; it has a JSON object a line"),
    ],
)
def test_what_is_no_file_of_timestamps_is_one_line(tmp_path, text, line):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(line)):
        arrival_ps(str(path), 2, 0)
    with pytest.raises(UserError, match=r"no file nowhere\.jsonl"):
        arrival_ps("nowhere.jsonl", 2, 0)


# --- as axes ---------------------------------------------------------------------------------------------------------------


@bundled
@pytest.mark.slow
def test_a_sweep_goes_over_rates_and_targets():
    space = {
        "schema": 1, "name": "rates", "hw": "a100", "trace": "oracle", "eviction": "lru", "tokens": 600, "budget": "50%",
        "schedule": "continuous", "max_batch": 4, "rate": ["2/s", "20/s"], "ttft": "60ms", "tpot": ["1ms", "none"],
        "objectives": {"goodput_per_s": "maximize", "slo_share": "maximize"},
    }  # fmt: skip
    pytest.importorskip("optuna")
    found = simmoe.sweep(space, sampler="grid").records()
    assert len(found) == 4
    for row in found:
        options = {"schedule": "continuous", "max_batch": 4, "tokens": 600, "budget": "50%", "ttft": "60ms"}
        tpot = None if row["tpot"] == "none" else row["tpot"]
        good = simmoe.run("a100", "oracle", **options, rate=row["rate"], tpot=tpot).requests.goodput
        assert (row["goodput_per_s"], row["slo_share"]) == (good.per_s, good.share)
    by = {(row["rate"], row["tpot"]): row["goodput_per_s"] for row in found}
    assert all(by[rate, "1ms"] <= by[rate, "none"] for rate in ("2/s", "20/s"))
