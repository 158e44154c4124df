"""`simmoe require` agrees with `simmoe run`: on every machine, and on both sides of the least of something."""

from __future__ import annotations

import contextlib
import io
import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.play.confidence import band
from simmoe.play.money import limit
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.sweeps import boxes
from simmoe.sweeps.least import least
from simmoe.sweeps.require import require
from simmoe.sweeps.targets import Targets, at_most, per_s
from simmoe.workloads.format.trace import names
from tests.scenarios import examples, tiny_trace

pytestmark = pytest.mark.skipif("switch-4x8" not in names(), reason="the bundled traces are not made yet")
MACHINES = ("jetson_orin", "phone_ufs4", "gh200", "rtx_4090_nvme")
TRACES = ("switch-4x8", "oracle-2x4", "loss-free-4x8")
SMALL = ("--trace", "switch-4x8", "--tokens", "96")
OPTIONS = {"trace": "switch-4x8", "tokens": 96}


def said(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def played(command: str, capsys) -> dict:
    """What the `simmoe run` of an answer gives."""
    words = shlex.split(command)
    assert words[:2] == ["simmoe", "run"]
    return said(capsys, *words[1:])


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(
    asked=st.lists(st.sampled_from(MACHINES), min_size=2, max_size=3, unique=True),
    near=st.lists(st.none() | st.sampled_from((0.5, 0.95, 1.0, 1.05, 2.0)), min_size=3, max_size=3).filter(any),
    usd=st.none() | st.sampled_from((1998, 1999, 2000)), trace=st.sampled_from(TRACES), share=st.sampled_from(("25%", "50%", "100%")),
    eviction=st.sampled_from(("lru", "fifo", "belady")),
)  # fmt: skip
def test_it_agrees_with_run_on_random_targets(asked, near, usd, trace, share, eviction) -> None:
    options = {"trace": trace, "tokens": 96, "budget": share, "eviction": eviction}
    runs = {name: simmoe.run(name, **options) for name in asked}
    here = runs[asked[0]]  # targets near what it reaches, and just that
    values = (here.tok_s, longest(here), here.energy["decode_watts"] if here.energy else 5.0)
    tok_s, ttft_s, watts = (None if part is None else part * value for part, value in zip(near, values))
    found = require(Targets(tok_s, ttft_s, watts, usd and limit(f"{usd} USD")), asked, options)
    assert sorted(row.name for row in found.rows) == sorted(asked)
    for row in found.rows:
        run = runs[row.name]
        assert row.run.to_json() == run.to_json()
        price = run.workload.hw.figures.get("price")
        wanted = [] if tok_s is None else [run.tok_s >= tok_s]
        wanted += [] if ttft_s is None else [longest(run) <= ttft_s]
        wanted += [] if watts is None else [run.energy is not None and run.energy["decode_watts"] <= watts]
        wanted += [] if usd is None else [price is not None and price.value <= 100 * usd]
        assert row.met == all(wanted) and [one.met for one in row.checks] == wanted
        assert bool(row.misses) == (not row.met)
    assert [row.met for row in found.rows] == sorted((row.met for row in found.rows), reverse=True)


def longest(run: simmoe.Run) -> float:
    return max(one for one in run.ttft_s.values() if one is not None)


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(
    hw=st.sampled_from(MACHINES), axis=st.sampled_from(("budget", "memory", "link.bandwidth", "memory.bandwidth")),
    share=st.floats(0.3, 1.3), trace=st.sampled_from(TRACES),
)  # fmt: skip
def test_the_least_is_enough_and_the_next_smaller_is_not(hw, axis, share, trace) -> None:
    options = {"hw": hw, "trace": trace, "tokens": 96} | ({} if axis in ("budget", "memory") else {"budget": "50%"})
    target = share * simmoe.run(**{"budget": "50%", **options}).tok_s
    found = least(Targets(target), axis, options)

    def again(command: str) -> float:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main([*shlex.split(command)[1:], "--json"]) == 0
        return json.loads(out.getvalue())["tok_s"]

    if found.least is None:
        assert found.because and again(found.best.command) == found.best.run.tok_s < target
        return
    assert again(found.least.command) == found.least.run.tok_s >= target
    if found.below is None:
        assert found.least.number == found.axis.first
    elif found.below.run is not None:
        assert again(found.below.command) == found.below.run.tok_s < target
        step = size_of(found.least.command, axis) / size_of(found.below.command, axis)
        slot = simmoe.run(**{**options, "budget": "50%"}).workload.model.expert_bytes.min()
        more = size_of(found.least.command, axis) - size_of(found.below.command, axis)
        assert more <= slot if axis in ("budget", "memory") else step == pytest.approx(1.01, abs=1e-5)
    assert all(low.met and high.met for low, high in found.ranges)


def size_of(command: str, axis: str) -> float:
    """The value that a command gives to an axis."""
    words = shlex.split(command)
    if axis in ("budget", "memory"):
        return float(words[words.index(f"--{axis}") + 1].removesuffix("B"))
    path = {"memory.bandwidth": ".bandwidth="}.get(axis, f"{axis}=")
    text = next(word for word in words if path in word).partition("=")[2]
    unit = next(unit for unit in ("TB/s", "GB/s", "MB/s", "kB/s") if text.endswith(unit))
    return float(text.removesuffix(unit)) * {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}[unit[0]]


def test_a_policy_that_is_worse_with_more_has_several_ranges() -> None:
    """FIFO's anomaly (Belady 1969): of these twelve requests four slots miss ten, three miss nine. One slot more is slower."""
    asked = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]
    trace = tiny_trace([[[one - 1]] for one in asked], 5)
    part = Part(10**6, 10**6, 0)
    layer = Layer(attention=part, caches=(), state_bytes=0, ffn=NO_PART, shared=NO_PART, n_experts=5, expert=part)
    model = ModelShape("tiny", "fp16", "fp16", (layer,), 1, part, NO_PART)
    options = {"hw": "jetson_orin", "trace": trace, "model": model, "eviction": "fifo", "start": "cold"}
    speed = {slots: simmoe.run(**options, budget=slots * 10**6).tok_s for slots in range(1, 6)}
    assert speed[3] > speed[4] and speed[5] > speed[3]
    found = least(Targets(speed[3]), "budget", options)
    assert [(low.number, high.number) for low, high in found.ranges] == [(3, 3), (5, 5)]
    assert (found.least.number, found.below.number, found.above.number) == (3, 2, 4)


def test_the_command(capsys) -> None:
    arguments = [
        "require",
        *(word for hw in MACHINES for word in ("--hw", hw)),
        *SMALL,
        "--tok-s",
        "150",
        "--budget",
        "50%",
    ]
    rows = said(capsys, *arguments)["rows"]
    for row in rows:
        run = played(row["command"], capsys)
        assert (run["tok_s"], run["digest"]) == (row["tok_s"], row["digest"])
        assert row["met"] == (run["tok_s"] >= 150) == (row["why_not"] is None)
        assert row["range_tok_s"] == list(band(simmoe.run(row["machine"], budget="50%", **OPTIONS)).hardware)
        assert row["whole_range"] == (row["range_tok_s"][0] >= 150)
    assert {row["met"] for row in rows} == {True, False}
    assert main(arguments) == 0
    out = capsys.readouterr().out
    yes = sum(row["met"] for row in rows)
    assert (
        f"{yes} of {len(rows)} machines have 150 tok/s or more" in out
        and "phone_ufs4: " in out
        and "of 150 tok/s; bound by" in out
    )


def test_without_a_machine_every_bundled_one_is_asked() -> None:
    assert boxes.machines({}) == hardware_profiles.available() == boxes.machines({"hw": ["all"]})
    assert boxes.machines({"gpu": ["rtx_4090"], "host": ["a", "b"]}) == ["rtx_4090+a", "rtx_4090+b"]
    assert boxes.machines({"host": ["ddr5_6000_2ch"]}) == ["+ddr5_6000_2ch"]
    cards = boxes.machines({"gpu": ["all"], "host": ["ddr5_6000_2ch"]})
    assert "rtx_4090+ddr5_6000_2ch" in cards and "jetson_orin+ddr5_6000_2ch" not in cards and len(cards) > 30


@pytest.mark.slow
def test_none_is_an_answer_too(capsys) -> None:
    assert main(["require", "--hw", "jetson_orin", "--hw", "phone_ufs4", *SMALL, "--tok-s", "100000"]) == 0
    out = capsys.readouterr().out
    assert "0 of 2 machines" in out and "Nearest: 2 of 2" in out
    assert (
        main(
            [
                "require",
                "--hw",
                "jetson_orin",
                *SMALL,
                "--budget",
                "50%",
                "--tok-s",
                "100000",
                "--least",
                "link.bandwidth",
            ]
        )
        == 0
    )
    assert "None does (it has 4 GB/s): at " in (out := capsys.readouterr().out) and "bound by memory bandwidth" in out


def test_a_figure_that_changes_nothing_is_not_said_to_be_better(capsys) -> None:
    machine = ("--hw", "rtx_3060+ddr4_3200_2ch", "--placement", "n_cpu_moe=24", "--runtime", "usual")
    model = ("--model", "gpt-oss-20b", "--format", "MXFP4_MOE", "--prompt", "16", "--generate", "4")
    assert main(["require", *machine, *model, "--tok-s", "9000", "--least", "tiers.host_dram.bandwidth"]) == 0
    out = capsys.readouterr().out
    assert "None does: 34.8 GB/s, which it has, is as good as any that was tried: " in out
    assert "bound by the CPU" in out


def test_targets() -> None:
    assert (per_s("12"), per_s("12.5 tok/s"), at_most("2s", "time", ""), at_most("250 ms", "time", ""), at_most("30W", "power", "")) == (
        12, 12.5, 2, 0.25, 30)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "nothing is required: name a target"),
        (("--tok-s", "fast"), "--tok-s 'fast' is no number of tokens a second"),
        (("--tok-s", "0"), "--tok-s '0' is no number of tokens a second"),
        (("--ttft", "2"), "--ttft: '2' is not a quantity with a unit"),
        (("--ttft", "0s"), "--ttft '0s': nothing is so little"),
        (("--price", "1000EUR"), "no rate is given"),
        (("--tok-s", "9", "--least", "link.latency"), "less of it is never worse"),
        (("--tok-s", "9", "--least", "link.bandwith"), "did you mean 'link.bandwidth'?"),
        (("--tok-s", "9", "--least", "budget", "--hw", "a100"), "is of one machine, and 2 are named"),
        (("--tok-s", "9", "--gpu", "rtx_4090", "--host", "ddr5_6000_2ch"), "--hw names whole machines"),
        (("--tok-s", "9", "--eviction", "everything", "--least", "budget"), "the bound everything has no one budget"),
        (("--tok-s", "9", "--hw", "a1000"), "unknown hardware 'a1000'"),
    ],
)
def test_a_mistake_is_one_line(arguments, line, capsys) -> None:
    assert main(["require", "--hw", "jetson_orin", *SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
