"""`simmoe require` agrees with `simmoe run`: on every machine, and on both sides of the least of something."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import math
import shlex

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.play.confidence import band
from simmoe.show.screen import Screen
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.sweeps import boxes
from simmoe.sweeps.require_shown import show_least
from simmoe.sweeps.requiring import at_most, per_s
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
    ttft_ps, microwatts = (part and math.ceil(part * unit) for part, unit in ((ttft_s, 1e12), (watts, 1e6)))
    ttft_s, watts = ttft_ps and ttft_ps / 1e12, microwatts and microwatts / 1e6  # as a text can say them
    limits = {"ttft": ttft_ps and f"{ttft_ps}ps", "power": watts and f"{watts:.6f}W", "price": usd and f"{usd} USD"}
    found = simmoe.require(asked, tok_s=tok_s, **limits, **options)
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
    options = {"trace": trace, "tokens": 96} | ({} if axis in ("budget", "memory") else {"budget": "50%"})
    target = share * simmoe.run(hw, **{"budget": "50%", **options}).tok_s
    found = simmoe.require(hw, tok_s=target, least=axis, **options)

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
        slot = simmoe.run(hw, **{**options, "budget": "50%"}).workload.model.expert_bytes.min()
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


def test_a_policy_that_is_worse_with_more_has_several_ranges(capsys) -> None:
    """FIFO's anomaly (Belady 1969): of these twelve requests four slots miss ten, three miss nine. One slot more is slower."""
    asked = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]
    trace = tiny_trace([[[one - 1]] for one in asked], 5)
    part = Part(10**6, 10**6, 0)
    layer = Layer(attention=part, caches=(), state_bytes=0, ffn=NO_PART, shared=NO_PART, n_experts=5, expert=part)
    model = ModelShape("tiny", "fp16", "fp16", (layer,), 1, part, NO_PART)
    options = {"hw": "jetson_orin", "trace": trace, "model": model, "eviction": "fifo", "start": "cold"}
    speed = {slots: simmoe.run(**options, budget=slots * 10**6).tok_s for slots in range(1, 6)}
    assert speed[3] > speed[4] and speed[5] > speed[3]
    found = simmoe.require(**options, tok_s=speed[3], least="budget")
    assert [(low.number, high.number) for low, high in found.ranges] == [(3, 3), (5, 5)]
    assert (found.least.number, found.below.number, found.above.number) == (3, 2, 4)
    show_least(found, [], Screen())
    said = "3,000,000 B (3 MB) to 3,000,000 B (3 MB); 5,000,000 B (5 MB) to 5,000,000 B (5 MB)"
    assert f"More is not always better here: the targets are met from {said}." in " ".join(
        capsys.readouterr().out.split()
    )


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
    assert per_s(np.float64(1 / 3)) == 1 / 3 and per_s(np.int64(7)) == 7  # all digits of a number


@pytest.mark.parametrize("bad", [0, -3, math.nan, math.inf, True, "fast", "0", "-1", "nan", "1e3", "12 t/s", 2e9])
def test_a_speed_is_a_number_above_0(bad) -> None:
    with pytest.raises(UserError, match=r"--tok-s .* is no number of tokens a second; give one above 0"):
        simmoe.require("jetson_orin", **OPTIONS, tok_s=bad)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ({"ttft": 2}, "--ttft: 2 is no number with a unit; write it like 2s; known: ps, ns, us, ms, s"),
        ({"ttft": "-2s"}, "is negative"), ({"power": 30.0}, "no number with a unit; write it like 30W; known: mW, W"),
        ({"power": "nan"}, "no number with a unit"), ({"price": 2000}, "is not a quantity with a unit"), ({}, "nothing is required"),
        ({"tok_s": 5, "exchange": ["EUR=1.1USD", "USD=1EUR"]}, "have a rate already"), ({"toks": 5}, "did you mean 'tok_s'?"),
        ({"tok_s": 5, "least": "budget", "hw": ["a100", "h100"]}, "is of one machine, and 2 are named"),
        ({"tok_s": 5, "hw": []}, "no machine is named"),
        ({"tok_s": 5, "least": "units.gpu.processors"}, "it is neither a rate nor a size"),
        ({"ttft": "1s", "trace": None, "model": "gpt-oss-20b", "prompt": 0, "generate": 4, "tokens": None}, "no prompt is read"),
        ({"tok_s": 5, "trace": None, "model": "gpt-oss-20b", "prompt": 4, "generate": 0, "tokens": None}, "no token is decoded"),
    ],
)  # fmt: skip
def test_a_mistake_in_python_is_one_line_too(target, line) -> None:
    with pytest.raises(UserError) as found:
        simmoe.require(**{"hw": "rtx_3090", **OPTIONS, **target})
    assert line in str(found.value) and "\n" not in str(found.value)


def test_a_machine_that_states_no_price_or_energy_does_not_meet_a_limit_of_it(capsys) -> None:
    found = simmoe.require(["a100", "rtx_3090"], **OPTIONS, power="10kW".replace("k", "000"), price="1000000USD")
    why = {row.name: row.misses for row in found.missed}
    assert "price not known: its profile states none" in why["a100"] and not found.met
    assert why["rtx_3090"] == "power not known: its profile states no figures of energy"
    assert main(["require", "--hw", "a100", "--hw", "rtx_3090", *SMALL, "--power", "9000W", "--price", "1USD"]) == 0
    out = capsys.readouterr().out
    assert "A machine without figures of energy in its profile does not meet a limit of the power." in out
    assert "A machine without a price in its profile does not meet a limit of the price." in out


def test_machines_as_fast_as_another_are_all_said_and_each_once() -> None:
    found = simmoe.require(
        ["rtx_4090_nvme", "rtx_4090", "rtx_4090"], model="gpt-oss-20b", prompt=4, generate=2, tok_s=1
    )
    assert [row.name for row in found.met] == ["rtx_4090_nvme", "rtx_4090"]
    assert found.rows[0].run.tok_s == found.rows[1].run.tok_s


CARDS = ("rtx_3060", "rtx_3090", "a10", "gtx_1650_super", "h100", "strix_halo", "rx_7900_xtx", "jetson_orin_nx")


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(
    hw=st.sampled_from(CARDS), near=st.sampled_from((0.5, 1.0, 1.01)), context=st.sampled_from((None, 4096, 65536)),
    model=st.sampled_from((("gpt-oss-120b", "MXFP4_MOE"), ("qwen3-30b-a3b", "Q4_K_M"), ("gpt-oss-20b", "MXFP4_MOE"))),
    size=st.sampled_from(({}, {}, {"memory": "6GB"}, {"budget": "3GB"}, {"microbatch": 2048}, {"gpu_layers": 20})),
    runtime=st.sampled_from(("usual", "llama_cpp_cuda", "ktransformers", "vllm", "qvac_fabric")),
)  # fmt: skip
def test_the_least_on_the_cpu_loads_and_one_block_less_does_not(hw, near, context, model, size, runtime) -> None:
    options = {
        "model": model[0],
        "format": model[1],
        "prompt": 8,
        "generate": 2,
        "context": context,
        "runtime": runtime,
    } | size
    machines = [hw, "h100"] if runtime in ("ktransformers", "vllm", "qvac_fabric") or size else [hw, "h100", "m3_ultra"]
    try:
        found = simmoe.require(machines, tok_s=1, **options)
    except UserError:
        found = None
    row = found and next(one for one in found.rows if one.name == hw)
    if row is None or row.run is None:
        blocks = range(len(simmoe.load_model(*model).layers) + 1) if runtime in ("usual", "llama_cpp_cuda") else (0,)
        for number in blocks:
            with pytest.raises(UserError):
                simmoe.run(hw, **options, placement=f"n_cpu_moe={number}")
        return
    again = simmoe.run(hw, **options, placement=row.placement)
    assert (again.tok_s, again.digest) == (row.run.tok_s, row.run.digest)
    words, out = shlex.split(row.command), io.StringIO()
    assert words[:2] == ["simmoe", "run"] and ("--placement" in words) == (row.placement is not None)
    with contextlib.redirect_stdout(out):
        assert main([*words[1:], "--json"]) == 0
    assert json.loads(out.getvalue())["tok_s"] == row.run.tok_s
    rows = simmoe.require(machines, tok_s=near * again.tok_s, **options).rows
    assert next(one.met for one in rows if one.name == hw) == (near <= 1)
    if row.placement is None:
        return
    name, _, amount = row.placement.partition("=")
    assert name == ("random" if runtime == "ktransformers" else "n_cpu_moe")
    whole = name == "n_cpu_moe"
    fewer = str(int(amount) - 1) if whole else f"{float(amount[:-1]) + 100 / experts_of(again)}%"
    with pytest.raises(UserError):
        simmoe.run(hw, **options, placement=f"{name}={fewer}")


def experts_of(run: simmoe.Run) -> int:
    return max(layer.n_experts for layer in run.workload.model.layers)


@pytest.mark.slow
def test_a_card_on_which_not_all_experts_fit_has_an_answer_and_the_command_that_plays_it(capsys) -> None:
    asked = (
        "--model",
        "gpt-oss-120b",
        "--format",
        "MXFP4_MOE",
        "--runtime",
        "llama_cpp_cuda",
        "--prompt",
        "16",
        "--generate",
        "4",
    )
    machines = ("--hw", "rtx_3090", "--hw", "rtx_3060", "--hw", "h100")
    rows = said(capsys, "require", *machines, *asked, "--tok-s", "12")["rows"]
    assert {row["machine"]: row["placement"] for row in rows} == {
        "rtx_3090": "n_cpu_moe=24",
        "rtx_3060": "n_cpu_moe=31",
        "h100": None,
    }
    for row in rows:
        run = played(row["command"], capsys)
        assert (run["tok_s"], run["digest"]) == (row["tok_s"], row["digest"]) and row["met"]
    assert main(["require", *machines, *asked, "--tok-s", "12"]) == 0
    out = capsys.readouterr().out
    assert "placement" in out and "n_cpu_moe=24" in out and "\nsimmoe run --hw rtx_3060 " in out
    assert main(["require", *machines, *asked, "--tok-s", "12", "--placement", "n_cpu_moe=0"]) == 0
    assert (
        "1 of 3 machines" in (out := capsys.readouterr().out) and "least N that fits is --placement n_cpu_moe=24" in out
    )


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["memory", "budget", "tiers.gddr.capacity"])
def test_the_least_memory_of_a_card_takes_the_fewest_blocks_at_each_size(axis) -> None:
    options = {"model": "gpt-oss-120b", "format": "MXFP4_MOE", "runtime": "usual", "prompt": 16, "generate": 4}
    found = simmoe.require("rtx_3090", **options, tok_s=21, least=axis)
    speed = {n: simmoe.run("rtx_3090", **options, placement=f"n_cpu_moe={n}").tok_s for n in range(24, 37)}
    wanted = max(n for n in speed if speed[n] >= 21)  # each block on the device makes it faster
    assert found.least.placement == f"n_cpu_moe={wanted}" and found.below.placement == f"n_cpu_moe={wanted + 1}"
    assert found.least.run.tok_s == speed[wanted] and found.below.run.tok_s == speed[wanted + 1]
    assert len(found.ranges) == 1 and [one.run.tok_s for one in found.points if one.run] == sorted(
        one.run.tok_s for one in found.points if one.run
    )


@pytest.mark.slow
def test_the_least_rate_of_a_memory_does_not_warn_of_its_own_setting(capsys) -> None:
    machine = (
        "--hw",
        "rtx_3090",
        "--model",
        "gpt-oss-20b",
        "--format",
        "MXFP4_MOE",
        "--runtime",
        "usual",
        "--prompt",
        "16",
    )
    assert main(["require", *machine, "--generate", "4", "--tok-s", "150", "--least", "memory.bandwidth"]) == 0
    out = capsys.readouterr().out
    assert "--set peak.memory_bandwidth=" in out and "cannot be true" not in out


def test_what_is_public() -> None:
    assert {"require", "Boxes", "Least"} <= set(dir(simmoe))
    assert isinstance(simmoe.require("a100", **OPTIONS, tok_s=1), simmoe.Boxes)
    signature = inspect.signature(simmoe.require).parameters
    assert signature["hw"].default is None and {"tok_s", "ttft", "power", "price", "exchange", "least"} <= set(
        signature
    )
    assert "  ttft: time to first token, such as 2s, at most" in simmoe.require.__doc__


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "nothing is required: name a target"),
        (("--tok-s", "fast"), "--tok-s 'fast' is no number of tokens a second"),
        (("--tok-s", "0"), "--tok-s '0' is no number of tokens a second"),
        (("--ttft", "2"), "--ttft: '2' is no number with a unit; write it like 2s"),
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
