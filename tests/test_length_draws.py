"""Requests of lengths of their own: distributions against their closed forms, files of requests, and what a schedule makes of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.cli.main import main
from simmoe.play import extent
from simmoe.play.arrivals import arrival_ps
from simmoe.play.length_draws import tokens_of
from simmoe.play.lengths import Lengths, requests_of
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.serving import BLOCK
from simmoe.simulator.nouns.trace import DECODE, PREFILL
from simmoe.simulator.time.engines import named
from simmoe.workloads.format import trace as traces
from tests.scenarios import examples
from tests.test_lengths import expected
from tests.test_schedule import TINY, tiny_machine
from tests.test_schedules_of_rows import in_lists, text

MANY = 20_000
MASK = 2**64 - 1
DRAWN = {"hw": "rtx_3060", "model": "olmoe-1b-7b", "budget": "50%", "schedule": "vllm"}


def output(seed: int, n: int) -> int:
    """Output n of SplitMix64, one by one."""
    z = (seed + (n + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def share(option: str, seed: int, request: int) -> float:
    """What docs/load.md says that a request draws."""
    number = ("prompt", "generate", "depth").index(option) + 1
    return ((output(output(seed + number * 2**32, 0), request) >> 11) + 0.5) / 2**53


def below(tokens: float, mean: float, cv: float) -> float:
    """The share of a lognormal distribution below so many tokens."""
    if tokens <= 0:
        return 0.0
    spread = math.log(1 + cv * cv)
    return (1 + math.erf((math.log(tokens / mean) + spread / 2) / math.sqrt(2 * spread))) / 2


# --- distributions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["prompt", "generate", "depth"])
def test_a_request_takes_one_number_of_its_own_stream(option):
    """uniform: that share of the whole numbers; lognormal: the whole number around the quantile."""
    even, skewed = (tokens_of(said, option, 3000, 11).tolist() for said in ("uniform:7..31", "lognormal:40,cv=2.5"))
    for request in range(3000):
        u = share(option, 11, request)
        assert even[request] == 7 + math.floor(u * 25)
        length = skewed[request]
        assert length >= 1 and (length == 1 or below(length - 0.5, 40, 2.5) <= u + 1e-12)
        assert u - 1e-12 <= below(length + 0.5, 40, 2.5)
    assert tokens_of("lognormal:40,cv=2.5", option, 10, 11).tolist() == skewed[:10]
    assert tokens_of("lognormal:40,cv=2.5", option, 10, 12).tolist() != skewed[:10]


@pytest.mark.parametrize(("mean", "cv"), [(800, 1.2), (200, 0.3), (5000, 4)])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_lognormal_has_its_mean_its_variation_and_its_quantiles(mean, cv, seed):
    """Mean M, standard deviation cv x M, and quantiles M / sqrt(1 + cv^2) x exp(sigma z), each within five standard errors."""
    found = tokens_of(f"lognormal:{mean},cv={cv}", "prompt", MANY, seed)
    assert found.dtype == np.int64 and found.min() >= 1
    assert found.mean() == pytest.approx(mean, abs=5 * cv * mean / MANY**0.5)
    sigma = math.sqrt(math.log(1 + cv * cv))
    for percent, z in ((50, 0.0), (90, 1.2815515655), (99, 2.3263478740)):
        want, p = mean / math.sqrt(1 + cv * cv) * math.exp(sigma * z), percent / 100
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / sigma / want
        error = math.sqrt(p * (1 - p) / MANY) / density
        assert np.percentile(found, percent) == pytest.approx(want, abs=5 * error + 0.5), percent
    logs = np.log(found)
    assert logs.std() == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize(("length", "ratio"), [(1024, 0.3), (128, 0.0), (10, 0.95), (3, 0.5)])
def test_a_uniform_range_is_vllms_range_ratio(length, ratio):
    """RandomDataset: whole numbers of floor(len x (1 - r)) .. ceil(len x (1 + r)), both ends included, each as often."""
    low, high = max(math.floor(length * (1 - ratio)), 1), math.ceil(length * (1 + ratio))
    found = tokens_of(f"uniform:{low}..{high}", "generate", MANY, 3)
    counts = np.bincount(found - low, minlength=high - low + 1)
    each = MANY / len(counts)
    assert len(counts) == high - low + 1 and (counts > 0).all()
    excess = (((counts - each) ** 2 / each).sum() - (len(counts) - 1)) / math.sqrt(2 * max(len(counts) - 1, 1))
    assert abs(excess) < 5  # chi-square
    assert found.mean() == pytest.approx((low + high) / 2, abs=5 * len(counts) / math.sqrt(12 * MANY) + 1e-9)


def test_streams_do_not_know_of_each_other():
    gaps = np.diff(arrival_ps("poisson:2/s", MANY, 5), prepend=0)
    each = [gaps, *(tokens_of("lognormal:800,cv=1", option, MANY, 5) for option in ("prompt", "generate", "depth"))]
    apart = np.corrcoef(np.log([np.maximum(one, 1) for one in each])) - np.eye(4)
    assert np.abs(apart).max() < 5 / MANY**0.5
    for lag in (1, 2):
        assert abs(np.corrcoef(np.log(each[1][lag:]), np.log(each[1][:-lag]))[0, 1]) < 5 / MANY**0.5


# --- requests of them ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle():
    return traces.load("oracle")


def of_lengths(trace, prompts: Sequence[int], answers: Sequence[int]) -> list[int]:
    """The rows that the requests take, one request at a time."""
    longest = max(p + n for p, n in zip(prompts, answers))
    rows = np.reshape(expected(trace, longest, 0, len(prompts)), (len(prompts), longest)).tolist()
    return [row for own, p, n in zip(rows, prompts, answers) for row in own[: p + n]]


def test_each_request_takes_its_own_number_of_rows(oracle):
    prompts, answers = [5, 0, 7, 40, 1], [3, 9, 0, 25, 1]
    made, notes = requests_of(oracle, np.array(prompts), np.array(answers), 5)
    assert np.array_equal(made.expert_ids, oracle.expert_ids[of_lengths(oracle, prompts, answers)])
    layout = [one for p, n in zip(prompts, answers) for one in [(PREFILL, p)] * (p > 0) + [(DECODE, 1)] * n]
    assert made.phase.tolist() == [phase for phase, _ in layout]
    assert np.diff(made.pass_ptr).tolist() == [size for _, size in layout]
    assert made.position.tolist() == [at for p, n in zip(prompts, answers) for at in range(p + n)]
    assert made.sequence.tolist() == [who for who, (p, n) in enumerate(zip(prompts, answers)) for _ in range(p + n)]
    (line,) = notes
    was = np.repeat(oracle.phase, np.diff(oracle.pass_ptr)) == DECODE
    rows = np.array(of_lengths(oracle, prompts, answers))
    reads = np.concatenate([[True] * p + [False] * n for p, n in zip(prompts, answers)])
    wrong = int((was[rows] & reads).sum()), int((~was[rows] & ~reads).sum())
    assert (f"{wrong[0]} of 53 prompt tokens" in line) == (wrong[0] > 0)
    assert (f"{wrong[1]} of 38 generated tokens" in line) == (wrong[1] > 0)
    traces.check(made)


WORDS = st.one_of(
    st.builds(lambda low, more: f"uniform:{low}..{low + more}", st.integers(1, 30), st.integers(0, 30)),
    st.builds(lambda mean, cv: f"lognormal:{mean},cv={cv / 4}", st.integers(1, 40), st.integers(1, 12)),
    st.integers(1, 20),
)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("engine", ["plain", "simpy"])
def test_steps_of_random_lengths_are_those_of_a_scheduler_in_plain_lists(engine):
    """And every token is conserved: rows that are played, tokens that are given, what the result says of the lengths."""
    source = text([[(30, 30)]] * 3, seed=4)

    @settings(max_examples=examples(60), deadline=None)
    @given(
        WORDS, WORDS, st.integers(1, 9), st.integers(0, 5), st.sampled_from((3, 16, 500)), st.integers(1, 4), st.data()
    )
    def compare(prompt, generate, n, seed, budget, most, data):
        prompts, answers = (
            tokens_of(said, name, n, seed).tolist() for said, name in ((prompt, "prompt"), (generate, "generate"))
        )
        needs = [-(-(p + a) // BLOCK) for p, a in zip(prompts, answers)]
        blocks, gap = data.draw(st.integers(max(needs), sum(needs))), data.draw(st.sampled_from((0, 40, 3000)))
        asked = {"prompt": prompt, "generate": generate, "requests": n, "seed": seed}
        machine = Workload(
            tiny_machine(), source, TINY, schedule="vllm", max_tokens=budget, max_batch=most, kv_blocks=blocks, **asked
        )
        run = play(machine, Plan(8, arrivals=f"every:{gap}ps" if gap else None), named(engine))
        requests = [[(p, a)] for p, a in zip(prompts, answers)]
        want, _ = in_lists(requests, [i * gap for i in range(n)], budget, most, blocks, False, run.pass_ps.tolist())
        got = [(start, {}, []) for start in run.clocks.start_ps.tolist()]
        for number, who, rows, again in run.serving.chunks.tolist():
            got[number][1][who] = (rows, again)
        for number, who, rows in run.serving.preempted.tolist():
            got[number][2].append((who, rows))
        assert got == want
        assert run.requests.tokens.tolist() == [a + 1 for a in answers]
        assert run.workload.trace.n_tokens == sum(prompts) + sum(answers) + run.serving.recomputed
        assert machine.context == max(p + a for p, a in zip(prompts, answers))
        said = run.to_json()["scenario"]
        assert (said["prompt"], said["generate"]) == (prompt, generate)
        for name, lengths in (("prompt", prompts), ("generate", answers)):
            if isinstance(asked[name], str):
                in_order = sorted(lengths)
                assert said["lengths"][name] == {
                    "mean": pytest.approx(sum(lengths) / n), "max": in_order[-1],
                    **{f"p{p}": in_order[-(-p * n // 100) - 1] for p in (50, 99)},
                }  # fmt: skip

    compare()


@pytest.mark.slow
def test_both_compiled_and_interpreted_engines_play_them_alike():
    words = {
        **DRAWN,
        "prompt": "lognormal:30,cv=1",
        "generate": "uniform:2..9",
        "depth": "uniform:0..40",
        "requests": 6,
    }
    runs = [
        simmoe.run(**words, rate="200/s", kv_blocks=12, max_tokens=24, engine=name)
        for name in ("simpy", "plain", "fast")
    ]
    assert all(run.clocks == runs[0].clocks and run.counts == runs[0].counts for run in runs)
    trace = runs[0].workload.begun.trace
    begins = [int(trace.position[trace.sequence == one].min()) for one in range(6)]
    assert begins == tokens_of("uniform:0..40", "depth", 6, 0).tolist() and len(set(begins)) > 1


def test_an_extent_sums_the_lengths():
    lengths = Lengths("uniform:3..90", "lognormal:20,cv=1", 50, each_once=True, seed=3)
    prompts, answers = lengths.of_each(50)
    found = extent.of(lengths, simmoe.load_model("olmoe-1b-7b"), together=False)
    assert found.tokens == (prompts + answers).sum() and found.passes == (1 + answers).max()
    one_by_one = extent.of(Lengths(5, 7, 3), simmoe.load_model("olmoe-1b-7b"), together=False)
    together = extent.of(Lengths(5, 7, 3), simmoe.load_model("olmoe-1b-7b"), together=True)
    assert (one_by_one.passes, together.passes, together.tokens) == (24, 10, 36)


@pytest.mark.slow
def test_a_rate_moves_no_length_and_a_length_no_arrival():
    words = {**DRAWN, "prompt": "lognormal:30,cv=1", "requests": 5, "generate": "uniform:1..4"}
    slow, quick, longer = (
        simmoe.run(**{**words, **other})
        for other in ({"rate": "10/s"}, {"rate": "40/s"}, {"rate": "10/s", "prompt": 9})
    )
    assert np.array_equal(slow.workload.recorded.expert_ids, quick.workload.recorded.expert_ids)
    assert slow.workload.facts() == quick.workload.facts()
    assert slow.requests.arrival_ps.tolist() == longer.requests.arrival_ps.tolist()
    curve = simmoe.serve_curve(
        **{**words, "budget": None, "schedule": "continuous"}, ttft="1s", tpot="50ms", budgets=["50%"]
    )
    assert curve.to_json()["lengths"] == slow.workload.facts()["lengths"]


@pytest.mark.slow
def test_rows_and_axes_take_them(capsys):
    words = [
        "compare",
        "--model",
        "olmoe-1b-7b",
        "--schedule",
        "continuous",
        "--requests",
        "4",
        "--generate",
        "2",
        "--budget",
        "50%",
    ]
    rows = ["--row", "--hw rtx_3060 --prompt uniform:10..20", "--row", "--hw rtx_3060 --prompt 15"]
    assert main([*words, *rows, "--json"]) == 0
    one, other = json.loads(capsys.readouterr().out)["rows"]
    assert one["run"]["scenario"]["lengths"]["prompt"]["max"] <= 20 and "lengths" not in other["run"]["scenario"]
    assert main([*words, "--hw", "rtx_3060", "--hw", "rtx_3090", "--over", "prompt=8,uniform:1..9"]) == 2
    assert "--over prompt '8,uniform:1' is no number of tokens; give 0 or more" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_goes_over_distributions():
    pytest.importorskip("optuna")
    space = {
        "schema": 1, "name": "lengths", "hw": "rtx_3060", "model": "olmoe-1b-7b", "schedule": "continuous", "requests": 4, "budget": "50%",
        "prompt": ["uniform:10..40", "lognormal:25,cv=1", 25], "generate": 2, "objectives": {"request_ttft_p99_ms": "minimize"},
    }  # fmt: skip
    found = {row["prompt"]: row["request_ttft_p99_ms"] for row in simmoe.sweep(space, sampler="grid").records()}
    options = {name: space[name] for name in ("hw", "model", "schedule", "requests", "budget", "generate")}
    for prompt, worst in found.items():
        run = simmoe.run(**options, prompt=int(prompt) if str(prompt).isdigit() else prompt)
        assert run.to_json()["requests"]["ttft_ms"]["p99"] == worst
    assert len(set(found.values())) == 3


# --- files of requests ---------------------------------------------------------------------------------------------------

MOONCAKE = [(27482, 69, 5), (27482, 30, 9), (30535, 51, 1), (30540, 12, 3)]


def written(path: Path, rows=MOONCAKE, keys=("timestamp", "input_length", "output_length"), **more: object) -> str:
    path.write_text("".join(json.dumps({**dict(zip(keys, row)), **more}) + "\n" for row in rows))
    return str(path)


def lengths_in(run) -> list[tuple[int, int]]:
    trace = run.workload.begun.trace
    return [
        (int((~trace.decodes & (trace.sequence == one)).sum()), int((trace.decodes & (trace.sequence == one)).sum()))
        for one in np.unique(trace.sequence)
    ]


@pytest.mark.slow
def test_a_file_of_requests_plays_its_lengths_and_its_arrivals(tmp_path):
    name = written(tmp_path / "mooncake.jsonl", hash_ids=[46, 47])
    run = simmoe.run(**DRAWN, arrivals=name)
    assert lengths_in(run) == [(p, n) for _, p, n in MOONCAKE]
    assert run.requests.arrival_ps.tolist() == [0, 0, 3053 * 10**9, 3058 * 10**9]
    said = run.to_json()["scenario"]
    assert said["prompt"] == said["generate"] == said["plan"]["arrivals"] and said["prompt"].startswith(
        "mooncake sha256:"
    )
    assert said["lengths"]["prompt"] == {"mean": 40.5, "p50": 30, "p99": 69, "max": 69}
    assert str(tmp_path) not in json.dumps(run.to_json())
    assert any("--prompt mooncake.jsonl: mean 40, p50 30, p99 69, at most 69 tokens" in note for note in run.notes)
    assert lengths_in(simmoe.run(**DRAWN, arrivals=name, requests=2)) == [(69, 5), (30, 9)]
    assert lengths_in(simmoe.run(**DRAWN, arrivals=name, requests=2, generate=3)) == [(69, 3), (30, 3)]
    assert lengths_in(simmoe.run(**DRAWN, prompt=name, rate="9/s")) == [(p, n) for _, p, n in MOONCAKE]
    part = simmoe.run(**DRAWN, arrivals=name, prompt=8, generate=2, requests=3)
    line = "Of 4 requests in mooncake.jsonl 3 arrive, from the first on; --requests 4 plays all"
    assert lengths_in(part) == [(8, 2)] * 3 and line in part.notes
    assert not any("from the first on" in note for note in run.notes)


@pytest.mark.slow
def test_beside_a_trace_the_file_is_asked_for(tmp_path):
    name = written(tmp_path / "mooncake.jsonl", [(i, 4 + i % 3, 2) for i in range(60)])
    words = {"hw": "a100", "trace": "oracle", "budget": "50%", "schedule": "continuous", "arrivals": name}
    own = simmoe.run(**words, tokens=400)
    line = "The lengths in mooncake.jsonl are not played: requests are the sequences of the trace; --prompt mooncake.jsonl plays them"
    assert line in own.notes and "prompt" not in own.to_json()["scenario"]
    asked = simmoe.run(**words, prompt=name)
    assert lengths_in(asked) == [(4 + i % 3, 2) for i in range(60)] and line not in asked.notes


@pytest.mark.parametrize(
    ("keys", "more", "unit"),
    [
        (
            ("timestamp", "input_length", "output_length"),
            {"chat_id": 159, "turn": 1},
            1000,
        ),  # Alibaba's Bailian: seconds
        (("timestamp", "input_tokens", "output_tokens"), {}, 1),  # Dynamo's other names
    ],
)
def test_other_names_and_units(tmp_path, keys, more, unit):
    rows = [(61.114, 52, 13), (61.2, 8, 2)]
    run = simmoe.run(**DRAWN, arrivals=written(tmp_path / "x.jsonl", rows, keys, **more))
    assert lengths_in(run) == [(52, 13), (8, 2)]
    assert run.requests.arrival_ps.tolist() == [0, 86 * 10**6 * unit]


def test_a_file_of_timestamps_alone_says_no_lengths(tmp_path):
    name = written(tmp_path / "x.jsonl", [(1,), (2,)], ("timestamp",))
    run = simmoe.run(**DRAWN, arrivals=name, prompt=6, generate=1, requests=2)
    assert lengths_in(run) == [(6, 1)] * 2
    assert simmoe.Scenario(**DRAWN, arrivals=name).prompt is None


def test_whole_tokens_may_have_a_point(tmp_path):
    """As a table with missing values writes them."""
    run = simmoe.run(**DRAWN, arrivals=written(tmp_path / "x.jsonl", [(1, 52.0, 13.0), (2, 8, 2e0)]))
    assert lengths_in(run) == [(52, 13), (8, 2)]


def test_a_run_of_a_file_is_saved_by_its_way(tmp_path):
    name = written(tmp_path / "mooncake.jsonl")
    scenario = simmoe.Scenario(**DRAWN, arrivals=name, rate="9/s")
    scenario.save(tmp_path / "run.yaml")
    text = (tmp_path / "run.yaml").read_text()
    assert "prompt: ./mooncake.jsonl" in text and str(tmp_path) not in text
    again = simmoe.load_scenario(tmp_path / "run.yaml")
    assert again.prompt == again.generate == name
    written(tmp_path / "mooncake.jsonl", [(1, 2, 3)])
    with pytest.raises(UserError, match="is not what it was"):
        simmoe.load_scenario(tmp_path / "run.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(("requests", "more"), [(None, "a file of more requests"), (3, "--requests 4")])
def test_a_curve_asks_for_no_more_requests_than_the_file_has(tmp_path, requests, more):
    name = written(tmp_path / "mooncake.jsonl")
    drawn = {key: value for key, value in DRAWN.items() if key != "hw"}
    found = simmoe.serve_curve(DRAWN["hw"], **drawn, arrivals=name, requests=requests, ttft="90s")
    assert any(f"{more} would tell more" in note for note in found.notes)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            [{"timestamp": 1, "output_length": 4}],
            "--prompt: bad.jsonl line 1: None is no input_length; write whole tokens",
        ),
        ([{"timestamp": 1, "input_length": 4.5, "output_length": 4}], "line 1: 4.5 is no input_length"),
        (
            [{"timestamp": 1, "input_length": 2**31, "output_length": 4}],
            "is no input_length; write whole tokens up to 2,147,483,647,",
        ),
        ([{"timestamp": 1, "input_length": True, "output_length": 4}], "True is no input_length"),
        ([{"timestamp": 1, "input_length": -4, "output_length": 4}], "-4 is no input_length"),
        ([{"timestamp": 1, "input_length": 4}, {"timestamp": 1}], "line 2: None is no input_length"),
        ([{"timestamp": 1, "input_length": 0, "output_length": 0}], "request 1 has neither a prompt nor an answer"),
    ],
)
def test_what_is_no_length_is_one_line(tmp_path, rows, line):
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=re.escape(line)) as error:
        simmoe.run(
            **DRAWN, arrivals=str(path), prompt=str(path), **({} if "output_length" in rows[0] else {"generate": 2})
        )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--prompt uniform:9..3 --schedule vllm", "9 is above 3; write the smaller one first"),
        ("--prompt uniform:0..3 --schedule vllm", "is no number of tokens; give 1 or more, such as uniform:100..300"),
        ("--prompt uniform:3 --schedule vllm", "behind uniform stand both ends"),
        ("--generate uniform:1..x --schedule vllm", "--generate uniform: 'x' is no number of tokens"),
        ("--prompt lognormal:800 --schedule vllm", "behind the mean of lognormal stands cv=…"),
        ("--prompt lognormal:800,cv=0 --schedule vllm", "above 0 and up to 100"),
        ("--prompt lognormal:0,cv=1 --schedule vllm", "lognormal: 0 is no mean number of tokens"),
        (
            "--prompt normal:800,100 --schedule vllm",
            "says no lengths; write a number of tokens, uniform:100..300, lognormal:800,cv=1.2",
        ),
        ("--prompt file --schedule vllm", "--prompt 'file' is no number of tokens"),
        ("--prompt nowhere.jsonl --schedule vllm", "--prompt: no file nowhere.jsonl"),
        ("--depth nowhere.jsonl --schedule vllm", "--depth: no file nowhere.jsonl"),
        (
            "--prompt uniform:1..9",
            "--prompt uniform:1..9 gives each request its own length, and under --schedule recorded none arrive",
        ),
        (
            "--generate lognormal:9,cv=1 --batch 2",
            "gives each request its own length, and under --schedule recorded none arrive",
        ),
        ("--depth uniform:1..9 --batch 2", "--depth uniform:1..9 gives each request its own length"),
        ("--prompt lognormal:2000000000,cv=100 --generate 1 --requests 40 --schedule vllm", "give a smaller cv"),
    ],
)
def test_what_is_no_distribution_is_one_line(words, line, capsys):
    assert main(["run", "--hw", "rtx_3060", "--model", "olmoe-1b-7b", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and line in err, err


# --- what lengths do to a queue ------------------------------------------------------------------------------------------


def waits(seed: int, n: int, apart_ps: int, generate: int | str) -> np.ndarray:
    machine = Workload(
        tiny_machine(),
        text([[(1, 1)]]),
        TINY,
        schedule="vllm",
        max_batch=1,
        prompt=1,
        generate=generate,
        requests=n,
        seed=seed,
    )
    found = play(machine, Plan(16, "everything", seed=seed, rate=f"{10**12 / apart_ps}/s"), named("plain")).requests
    return np.array([found.start_ps - found.arrival_ps, found.finish_ps - found.start_ps])


@pytest.mark.slow
def test_answers_of_a_distribution_wait_as_pollaczek_and_khinchine_say():
    """One place: a request runs for `first`, then `each` for its tokens, so the mean wait follows from the distribution in closed form."""
    alone = [int(waits(0, 1, 10**6, generate)[1, 0]) for generate in (1, 2, 9)]
    each = alone[1] - alone[0]
    first = alone[0] - each
    assert alone[2] == first + 9 * each
    lengths = np.arange(1, 4000)
    chance = np.diff([0.0, *(below(n + 0.5, 3, 1.2) for n in lengths.tolist())])
    service = first + each * lengths
    apart = round(float(chance @ service) / 0.5)
    load = float(chance @ service) / apart
    want = float(chance @ service**2) / apart / (2 * (1 - load))
    means = [float(waits(seed, 300, apart, "lognormal:3,cv=1.2")[0].mean()) for seed in range(8)]
    assert abs(np.mean(means) - want) <= 3 * np.std(means, ddof=1) / np.sqrt(8), (means, want)
    assert want > 1.3 * float(chance @ service) * load / (2 * (1 - load))  # that of answers which are all alike
