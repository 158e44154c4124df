"""Engines as data: what their kernels cost by hand, what is carried over the link, equal executors, files that are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import hardware_profiles, policies
from simmoe.cli.main import main
from simmoe.policies import runtime as runtimes
from simmoe.simulator import runtime_costs, runtime_products
from simmoe.simulator.decide.decisions import decide, no_guesses
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.start import COLD
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower.durations import carried_passes, loading, on_cpu
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.nouns.model import Part
from simmoe.simulator.nouns.runtime import SLOWER_WHEN_MORE, Runtime
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.runtime_costs import RuntimeCosts
from simmoe.simulator.runtime_products import AGAIN, LAWS, READ, TILES, WIDE_TILES, Products, asked_of
from simmoe.simulator.time.engines import named
from simmoe.simulator.time.laws import check_causes
from simmoe.simulator.time.recurrence import why_not
from tests.conftest import COMPILED
from tests.scenarios import Case, cases, cpus, examples
from tests.test_engines import enough, half

SAID = {"kind": "assumed", "source": "a test"}


def number(value: object, low: object = None, high: object = None) -> dict[str, object]:
    return {"value": value, "range": [value if low is None else low, value if high is None else high], **SAID}


def content(**more: object) -> dict[str, object]:
    """A runtime file with round figures."""
    return {
        "schema": 1, "name": "round", "title": "round figures", "builds": "none",
        "kernels": {"attention": 10, "experts": 6, "ffn": 4, "shared": 3, "end": 2, "qk_norm": 1},
        "decode": {"kernel": number("1 us"), "memory": number(0.5)}, **more,
    }  # fmt: skip


PROMPT = {
    "flops_per_clock": number(100),
    "rows": number(32),
    "tiles": number(1.0),
    "attention_flops_per_clock": number(10),
}
CPU = {"layer": number("5 us"), "memory": number(0.5)}


def box(hw: Hardware) -> Hardware:
    """A machine of a test with what the constants of an engine stand on: 10 processors at 1 GHz."""
    tiers = {name: replace(tier, peak_bytes_per_s=tier.bytes_per_s) for name, tier in hw.tiers.items()}
    units = {name: replace(unit, processors=10, clock_hz=10**9) for name, unit in hw.units.items()}
    return replace(hw, tiers=tiers, units=units)


RTX = ("--gpu", "rtx_3090", "--host", "ddr4_3200_2ch", "--model", "qwen3-30b-a3b", "--format", "Q4_K_M")


def run(*words: str, capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(["run", *RTX, *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- what it costs --------------------------------------------------------------------------------------------------


def costs_of(runtime: Runtime, prompt: int = 1, **options: object) -> RuntimeCosts:
    """Of a prompt of so many tokens and some decoded ones on a card of round figures: 1 TB/s, 10 processors at 1 GHz."""
    workload = simmoe.Scenario(
        hw="rtx_3090",
        model="qwen3-30b-a3b",
        format="Q4_K_M",
        prompt=prompt,
        generate=2,
        routing="uniform",
        placement="n_cpu_moe=48",
    ).workload()
    hw = box(workload.hw)
    tiers = {name: replace(tier, peak_bytes_per_s=10**12) for name, tier in hw.tiers.items()}
    return RuntimeCosts(replace(hw, tiers=tiers), workload.model, workload.trace, runtime, **options)


def test_a_decoded_token_takes_its_kernels_and_its_bytes_at_the_share_of_the_peak():
    costs = costs_of(runtimes.runtime(content(), "round.yaml"))
    model, last = costs.model, costs.sizes[-1]
    assert (last.tokens, last.sequences) == (1, 1)
    kernel = 2_000_000  # 1 us at 2 GHz is 2 us at 1
    layer, rate = model.layers[0], 0.5  # bytes per ps
    read = layer.attention.bytes + last.kv_positions[0] * layer.caches[0].bytes_per_position
    attention, head = costs.pieces(last)[0], costs.pieces(last)[-1]
    assert attention.ps == pytest.approx(
        11 * kernel + read / rate, abs=2
    )  # 10, and 1 for the norms on queries and keys
    assert head.ps == pytest.approx(2 * kernel + model.head.bytes / rate, abs=2)
    experts = costs.experts(0, 8, 8, costs.law(last))
    assert experts.ps == pytest.approx(6 * kernel + 8 * layer.expert.bytes / rate, abs=8)


def test_a_rate_of_the_kernels_below_the_memorys_caps_what_is_read():
    slow = content(
        decode={"kernel": number("1 us"), "memory": number(1.0), "per_clock": number(10)}
    )  # 100 GB/s of 1 TB/s
    costs = costs_of(runtimes.runtime(slow, "round.yaml"))
    part = costs.model.layers[0].expert
    got = costs.experts(0, 8, 8).ps - 6 * 2_000_000
    assert got == pytest.approx(8 * part.bytes * 10 * (1 + 1e-4) ** 0.25, rel=1e-6)


def test_a_prompt_pays_flops_rows_and_tiles_by_hand():
    costs = costs_of(runtimes.runtime(content(prompt=PROMPT), "round.yaml"), prompt=512)
    size, layer, rate = costs.sizes[0], costs.model.layers[0], 1e12  # FLOP/s: 100 in a clock of 10 processors at 1 GHz
    assert costs.law(size) == AGAIN  # on so slow a card tiles never pay
    flops, expert = 2 * layer.expert.params * 4096, layer.expert  # all 128 experts, 4,096 token slots
    want = flops / rate * (1 + 32 / 32) + (128 * expert.bytes + flops * 1.125 / 256) / 1e12
    assert costs.experts(0, 128, 4096, TILES).ps == pytest.approx(6 * 2e6 + want * 1e12, rel=1e-3)
    wide = want - 128 * expert.bytes / 1e12 + flops * expert.bytes / expert.params / 256 / 1e12
    assert costs.experts(0, 128, 4096, WIDE_TILES).ps == pytest.approx(6 * 2e6 + wide * 1e12, rel=1e-3)
    assert costs.experts(0, 128, 4096, READ).ps == pytest.approx(6 * 2e6 + 128 * expert.bytes / 0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("tokens", "law"),
    [(1, READ), (64, READ), (130, AGAIN), (400, AGAIN), (1000, TILES), (2000, TILES), (2100, WIDE_TILES)],
)
def test_which_law_experts_follow_is_a_matter_of_the_rows_that_the_pass_gives_them(tokens, law):
    """8 of 128 experts and 8 rows a read: read again from 128 tokens on; a tile of 60 TFLOP/s wastes 32 rows, which reads of 0.5 TB/s
    reach at 36 rows, 576 tokens; 128 rows, a whole tile, are 2,048 tokens."""
    fast = {**PROMPT, "flops_per_clock": number(3000), "tiles": number(1.0)}
    costs = costs_of(runtimes.runtime(content(prompt=fast), "round.yaml"), prompt=tokens)
    assert costs.law(costs.sizes[0]) == law


def test_reading_again_by_hand():
    costs = costs_of(runtimes.runtime(content(prompt={**PROMPT, "rows_per_read": number(5)}), "round.yaml"), prompt=4)
    part = costs.model.layers[0].expert
    kernels, read = 6 * 2e6, part.bytes / 0.5  # ps
    assert costs.experts(0, 128, 4096, AGAIN).ps == pytest.approx(
        kernels + max(4096 / 5 * read, 4096 * 2 * part.params)
    )
    assert costs.experts(0, 128, 4096, READ).ps == pytest.approx(kernels + 128 * read, rel=1e-6)


def test_a_pass_takes_no_less_than_one_read_of_what_it_touches():
    """Ten experts of 100 B at 1 B/s take 1,000 s to read once, however fast tiles would compute 40 token slots."""
    part = Part(params=200, bytes=100, flops_per_token=400)
    products = Products(read_rate=1.0, flop_rate=1e9, tile_rate=0.0, half_rows=1.0, rows_per_read=0.5)
    assert products.law([(part, 10, 40)]) == READ
    slow = replace(products, flop_rate=10.0)  # tiles: 400 s of waste and 1,600 s of slots; again: 8,000 s
    assert products.law([(part, 10, 40)]) == READ and slow.law([(part, 10, 40)]) == TILES
    assert replace(slow, rows_per_read=4.0).law([(part, 10, 40)]) == AGAIN


def test_what_a_pass_asks_for_is_counted_by_layer():
    ids = np.array([[[0, 1], [2, 2]], [[1, 3], [2, -1]], [[0, 1], [0, 1]]], np.int16)  # 3 tokens, 2 layers, top-2
    trace = Trace(
        ids, np.arange(2, dtype=np.int16), np.array([0, 2, 3]), np.zeros(2, np.int8), np.zeros(3, np.int32),
        np.arange(3, dtype=np.int32), {"n_experts": 4},
    )  # fmt: skip
    assert [each.tolist() for each in asked_of(trace, [0])] == [[3, 1], [4, 3]]
    assert [each.tolist() for each in asked_of(trace, [0, 1])] == [[5, 3], [6, 5]]


BOXES = (
    ("h100_pcie", "llama_cpp_cuda", "qwen3-30b-a3b"), ("rtx_3090", "llama_cpp_cuda", "gpt-oss-20b"),
    ("rtx_4090", "ik_llama_cpp", "deepseek-v2-lite"), ("rx_7900_xtx", "llama_cpp_vulkan", "qwen3-30b-a3b"),
    ("strix_halo", "llama_cpp_rocm", "qwen3-30b-a3b"), ("m3_ultra", "llama_cpp_metal", "gpt-oss-20b"),
    ("m4_max", "mlx", "qwen3-30b-a3b"), ("h200", "vllm", "qwen3-30b-a3b"),
)  # fmt: skip
LONGEST = 4096


@pytest.fixture(scope="module")
def one_pass_s():
    """Seconds of a pass of the first n tokens of a text, all on the device, on a machine under an engine."""
    known: dict[tuple[object, ...], object] = {}

    def took(gpu: str, runtime: str, model: str, routing: str, tokens: int, attends: bool = True) -> float:
        key = (gpu, runtime, model, routing)
        if key not in known:
            scenario = simmoe.Scenario(
                hw=gpu, model=model, format="q4_k", prompt=LONGEST, generate=1, routing=routing, budget="1%"
            )
            known[key] = scenario.workload()
        whole = known[key]
        trace = whole.trace.taken(slice(tokens), [0, tokens], [0])
        engine = runtimes.load(runtime)
        if not attends:
            free = {path: replace(one, value=1e6) for path, one in engine.constants.items() if ".attention" in path}
            engine = replace(engine, constants={**engine.constants, **free})
        costs = RuntimeCosts(whole.hw, whole.model, trace, engine)
        law = costs.law(costs.sizes[0])
        counts, slots = asked_of(trace, [0])
        experts = [costs.experts(i, int(counts[i]), int(slots[i]), law).ps for i in range(trace.n_layers)]
        return (int(costs.dense_ps[0]) + sum(experts)) / 1e12

    return took


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("box", BOXES, ids="-".join)
def test_a_pass_of_more_rows_takes_no_less_time(box, one_pass_s):
    """Whatever the law that a pass follows, from one token to 4,096, however the routing is drawn."""
    rows = st.one_of(st.integers(1, 300), st.integers(1, LONGEST))

    @settings(max_examples=examples(60), deadline=None)
    @given(rows, st.one_of(st.just(1), st.integers(1, 600)), st.sampled_from(["uniform", "like:qwen3-30b"]))
    def compare(tokens, more, routing):
        some, longer = (one_pass_s(*box, routing, min(n, LONGEST)) for n in (tokens, tokens + more))
        assert some <= longer * (1 + 1e-9)

    compare()


@pytest.mark.slow
@pytest.mark.parametrize("box", BOXES, ids="-".join)
def test_a_larger_microbatch_reads_a_short_prompt_no_slower(box, one_pass_s):
    """Attention aside, which is the same in all passes of a prompt together: tokens of a second, from 16 tokens a pass to 4,096."""
    speeds = [n / one_pass_s(*box, "uniform", n, False) for n in (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)]
    assert all(one <= other * 1.001 for one, other in pairwise(speeds)), speeds


def test_the_cpu_takes_its_layer_and_its_share_of_the_peak_or_what_was_measured():
    costs = costs_of(runtimes.runtime(content(cpu=CPU), "round.yaml"))
    part = costs.model.layers[0].expert
    assert costs.cpu_ps(0, 8, 0) == pytest.approx(5e6 + 8 * part.bytes / 0.5, rel=1e-6)
    threads = runtimes.runtime(content(cpu={**CPU, "per_thread": number("10 GB/s")}), "round.yaml")
    assert costs_of(threads, threads=4).cpu_ps(0, 8, 0) == pytest.approx(5e6 + 8 * part.bytes / 0.04, rel=1e-6)
    cpu = replace(costs.hw.units["cpu"], quantised_bytes_per_s=20 * 10**9)
    measured = RuntimeCosts(
        replace(costs.hw, units={**costs.hw.units, "cpu": cpu}), costs.model, costs.trace, costs.runtime
    )
    assert measured.cpu_ps(0, 8, 0) == pytest.approx(5e6 + 8 * part.bytes / 0.02, rel=1e-6)


@pytest.mark.parametrize("path", sorted(runtimes.load("llama_cpp_cuda").constants))
def test_the_slow_end_of_every_constant_is_never_faster(path):
    runtime = runtimes.load("llama_cpp_cuda")
    one = runtime.constants[path]
    low, high = (replace(one, value=end) for end in (one.low, one.high))
    ends = [replace(runtime, constants={**runtime.constants, path: end}) for end in (low, high)]
    slow, fast = reversed(ends) if path in SLOWER_WHEN_MORE else ends

    def total(runtime: Runtime) -> int:
        costs = costs_of(runtime, prompt=64)
        here = [costs.experts(0, 8, 8 * costs.sizes[0].tokens, costs.law(size)).ps for size in costs.sizes]
        return int(costs.dense_ps.sum()) + sum(here) + costs.cpu_ps(0, 8, 8)

    assert total(slow) >= total(fast)


# --- carried over the link ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_large_pass_carries_what_the_cpu_has_over_the_pageable_link(capsys):
    """Qwen3-30B-A3B at Q4_K_M has 17.4 GB of experts: all of them cross a pageable link of 11 GB/s once for each pass of 512 tokens."""
    words = (
        "--runtime",
        "llama_cpp_cuda",
        "--placement",
        "n_cpu_moe=48",
        "--prompt",
        "1024",
        "--generate",
        "2",
        "--routing",
        "uniform",
    )
    found = run(*words, capsys=capsys)
    assert found["prefill"]["carried"] == found["prefill"]["placed"] == 2 * 48 * 128
    assert found["prefill"]["bytes"] == 2 * found["other_memory_bytes"]["host_dram"]["experts of the CPU"]
    assert found["decode"]["bytes"] == 0
    assert found["link_busy_ps"] == pytest.approx(found["prefill"]["bytes"] / 11e9 * 1e12, rel=1e-3)
    assert found["ttft_s"]["first"] * 1e12 == pytest.approx(found["link_busy_ps"], rel=0.15)
    on_cpu = run(*words, "--op-offload", "none", capsys=capsys)
    assert on_cpu["prefill"]["bytes"] == 0 and "carried" not in on_cpu["prefill"]
    assert on_cpu["tok_s"] == found["tok_s"]  # decoding is the CPU's in both


@pytest.mark.slow
def test_small_passes_stay_on_the_cpu(capsys):
    words = ("--runtime", "llama_cpp_cuda", "--placement", "n_cpu_moe=48", "--generate", "1", "--prompt")
    assert run(*words, "31", capsys=capsys)["prefill"]["bytes"] == 0
    assert run(*words, "32", capsys=capsys)["prefill"]["carried"] > 0


@pytest.mark.slow
def test_layers_that_are_the_cpus_take_its_rate_and_its_memory(capsys):
    """Qwen3-30B-A3B has 48 layers and an output: -ngl 24 leaves 25 layers to the CPU."""
    words = ("--runtime", "llama_cpp_cuda", "--generate", "2", "--flags")
    found = run(*words, "-ngl 24", capsys=capsys)
    model = simmoe.load_model("qwen3-30b-a3b", "Q4_K_M")
    whole = sum(layer.attention.bytes for layer in model.layers[:25])
    experts = sum(layer.expert_bytes for layer in model.layers[:25])
    held = found["other_memory_bytes"]["host_dram"]
    assert (held["layers of the CPU"], held["experts of the CPU"]) == (whole + model.embedding.bytes, experts)
    assert found["memory_bytes"]["dense"] == model.dense_bytes - whole - model.embedding.bytes
    everything = run(*words, "-ngl 49", capsys=capsys)
    moe = run(*words, "-ngl 49 -ncmoe 25", capsys=capsys)
    assert everything["tok_s"] > moe["tok_s"] > found["tok_s"]
    slower = 1 / found["tok_s"] - 1 / moe["tok_s"]  # the CPU reads what the GPU read
    assert slower == pytest.approx(whole / (0.46 * 51.2e9), rel=0.15)
    none = run(*words, "-ngl 0", capsys=capsys)
    assert none["memory_bytes"]["dense"] == 0 and none["memory_bytes"]["kv"] == 0


@pytest.mark.slow
def test_caches_in_host_memory_are_the_cpus_to_read(capsys):
    words = ("--runtime", "llama_cpp_cuda", "--generate", "2", "--depth", "8k", "--flags")
    there, here = run(*words, "-nkvo 1", capsys=capsys), run(*words, "-nkvo 0", capsys=capsys)
    assert there["memory_bytes"]["kv"] == 0
    assert there["other_memory_bytes"]["host_dram"]["KV"] == here["memory_bytes"]["kv"]
    slower = 1 / there["tok_s"] - 1 / here["tok_s"]
    read = 48 * 4 * 128 * 2 * 2 * (8192 + 512)  # 48 layers, 4 heads of 128, keys and values of 2 bytes
    assert slower == pytest.approx(read / (0.46 * 51.2e9) + 48 * 100e-6 - read / (0.84 * 936e9), rel=0.05)


# --- equal executors ------------------------------------------------------------------------------------------------


def engines_runtime(seed: int) -> Runtime:
    """Constants near the sizes of the scenarios, so that no part hides the others."""
    draw = np.random.default_rng(seed)
    again, waste, share = [(0.05, 0.01, 1.0), (4.0, 8.0, 1.0), (1.5, 1.0, 0.5)][seed % 3]  # mostly tiles; reads; either
    kernels = {part: int(draw.integers(0, 4)) for part in ("attention", "experts", "ffn", "shared", "end")}
    return runtimes.runtime(
        content(
            kernels=kernels,
            decode={
                "kernel": number(f"{draw.integers(1, 9)} ps"),
                "memory": number(share),
            },
            prompt={
                "flops_per_clock": number(float(draw.choice([100, 10**6]))),
                "rows": number(waste),
                "rows_per_read": number(again),
                "tiles": number(1.0),
                "attention_flops_per_clock": number(10),
            },
            cpu={"layer": number(f"{draw.integers(1, 9)} ps"), "memory": number(1.0)},
            link={"offload_tokens": number(int(draw.integers(1, 4)))},
        ),
        "drawn",
    )


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("name", ["plain", pytest.param("fast", marks=COMPILED)])
def test_executors_are_equal_under_an_engine(name, monkeypatch):
    """Passes of these scenarios are small, so their laws are dealt out: all of them are played, in one run too."""
    monkeypatch.setattr(runtime_costs, "FEW_ROWS", 1)  # of attention
    monkeypatch.setattr(runtime_products, "TILE", 1)
    monkeypatch.setattr(RuntimeCosts, "law", lambda _, size: (size.tokens + sum(size.kv_positions)) % LAWS)
    laws = set[int]()

    @settings(max_examples=examples(300), deadline=None)
    @given(cases(), cpus(), st.integers(0, 5), st.integers(0, 100))
    def compare(case, with_cpu, cpu_seed, seed):
        hw = box(with_cpu(case.hw))
        left = half(case, cpu_seed) if hw.cpu is not None else set()
        case = enough(replace(case, hw=hw), left)
        costs = RuntimeCosts(hw, case.model, case.trace, engines_runtime(seed))
        assume(name != "fast" or why_not(costs, requests_of(case.trace)) is None)  # numbers of 64 bits
        one, other = (_played(case, engines_runtime(seed), engine, left, laws) for engine in ("simpy", name))
        assert one == other

    compare()
    assert laws == {READ, AGAIN, TILES, WIDE_TILES}


def _played(case: Case, runtime: Runtime, engine: str, left: set[int], laws: set[int]):
    costs, requests = RuntimeCosts(case.hw, case.model, case.trace, runtime), requests_of(case.trace)
    laws.update(costs.law(size) for size in costs.sizes)
    sizes, guesses = case.model.expert_bytes, no_guesses(requests)
    unit = np.zeros(requests.n_objects, np.int8)
    unit[sorted(left)] = 1
    player = named(engine)
    decisions = decide(
        requests, sizes, policies.load("eviction", case.eviction), case.budget_bytes, scope=case.scope, guesses=guesses,
        unit_of=unit if left else None, seed=case.seed, player=player.player, start=COLD,
    )  # fmt: skip
    clocks = player.simulate(
        costs,
        requests,
        decisions,
        guesses,
        loading(costs, requests, decisions, guesses),
        policies.load("timeline", case.timeline),
    )
    check_causes(costs, clocks)
    found = on_cpu(costs, requests, decisions, guesses)
    carried = carried_passes(costs, costs.sizes)[requests.event_pass]
    if len(found.carry_ps):
        assert ((found.carry_ps > 0) == (carried & (found.experts > 0))).all()
        assert (found.ps[found.carry_ps > 0] == 0).all()
    return clocks


# --- what does not fit, bands, files --------------------------------------------------------------------------------


def test_where_only_the_budget_keeps_experts_out_it_is_what_is_to_be_left_out():
    options = {"model": "olmoe-1b-7b", "format": "Q4_K_M", "runtime": "llama_cpp_cuda", "prompt": 4, "generate": 2}
    for fits, all_are in ((True, ": leave the budget out, and all are; else the least N"), (False, ": the least N")):
        change = {} if fits else {"set": "tiers.gddr.capacity=4GB"}
        with pytest.raises(UserError, match=f"are not resident beside .*{all_are}"):
            simmoe.run("rtx_3090+ddr4_3200_2ch", budget="25%", **options, **change)
    assert simmoe.run("rtx_3090+ddr4_3200_2ch", **options).tok_s


@pytest.mark.slow
def test_an_engine_that_loads_nothing_refuses_what_does_not_fit_with_the_least_n(capsys):
    words = ["run", *RTX, "--runtime", "llama_cpp_cuda", "--memory", "12GB"]
    assert main(words) == 2
    line = capsys.readouterr().err
    assert "loads no experts while it runs" in line
    n = int(line.rsplit("n_cpu_moe=", 1)[1])
    assert main([*words, "--placement", f"n_cpu_moe={n}"]) == 0
    assert main([*words, "--placement", f"n_cpu_moe={n - 1}"]) == 2


@pytest.mark.slow
def test_a_result_says_its_runtime_and_an_ideal_one_what_engines_reach(capsys):
    ideal, engine = run(capsys=capsys), run("--runtime", "llama_cpp_cuda", capsys=capsys)
    assert ideal["runtime"]["name"] == "ideal" and ideal["runtime"]["engines_reach"][0] < 1
    assert (
        engine["runtime"]["constants"]["decode.kernel"]["range"][0]
        < engine["runtime"]["constants"]["decode.kernel"]["value"]
    )
    assert engine["tok_s"] < ideal["tok_s"]
    low, high = engine["band"]["hardware"]
    assert low < engine["tok_s"] < high
    assert main(["run", *RTX]) == 0
    assert "Ideal runtime: real engines decode at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"decode": {"kernel": number("1 us")}}, "decode.memory is missing"),
        ({"decode": {"kernel": number("1"), "memory": number(0.5)}}, "not a quantity with a unit"),
        ({"decode": {"memory": number(3)}}, "no share from"),
        ({"decode": {"memory": number(0.5, 0.6, 0.7)}}, "does not enclose"),
        ({"decode": {"memory": {"value": 0.5, "kind": "fitted", "source": "x"}}}, "has no range"),
        ({"decode": {"memory": {"value": 0.5}}}, "write {value"),
        ({"decode": {"memory": number(0.5), "kernels": number(1)}}, "did you mean 'kernel'"),
        ({"kernels": {"atention": 3}}, "did you mean 'attention'"),
        ({"kernels": {"attention": True}}, "whole number of kernels"),
        ({"kernel": {}}, "did you mean 'kernels'"),
        ({"schema": 2}, "reads schema 1"),
        ({"host_memory": "swapped"}, "pinned, pageable"),
        ({"microbatch": -1}, "whole number of tokens"),
    ],
)
def test_a_runtime_file_that_errs_is_refused_in_one_line(tmp_path, capsys, change, line):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content() | change))
    assert main(["run", *RTX, "--runtime", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "mine.yaml" in said and line in said


def test_options_of_an_engine_are_refused_without_one(capsys):
    for words in (["--threads", "8"], ["--op-offload", "none"], ["--runtime", "llama_cpp_cuda", "--graphs"]):
        assert main(["run", *RTX, *words]) == 2
        assert capsys.readouterr().err.startswith(f"simmoe: {words[0] if len(words) < 3 else '--graphs'}")


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("units.gpu.bandwidth=500GB/s", "goes by peak.memory_bandwidth"),
        ("units.cpu.bandwidth=50GB/s", "goes by units.cpu.quantised_bandwidth"),
        ("units.gpu.launch=3us", "goes by its own constants"),
    ],
)
def test_a_figure_that_no_engine_reads_is_refused_with_the_one_it_does(capsys, setting, line):
    assert main(["run", *RTX, "--runtime", "llama_cpp_cuda", "--set", setting]) == 2
    assert line in capsys.readouterr().err


def test_a_machine_without_clock_is_refused_with_the_figure_that_it_lacks():
    hw = hardware_profiles.load("rtx_3090")
    bare = replace(hw, units={**hw.units, "gpu": replace(hw.device, clock_hz=None)})
    with pytest.raises(UserError, match=r"states no units\.gpu\.clock, which decode\.kernel counts by"):
        simmoe.run(bare, model="qwen3-30b-a3b", format="Q4_K_M", runtime="llama_cpp_cuda")


@pytest.mark.parametrize("name", [name for name in runtimes.names() if name != runtimes.IDEAL])
def test_every_bundled_runtime_is_named_like_its_file_and_shows(name, capsys):
    assert runtimes.load(name).name == name
    assert main(["runtime", "show", name]) == 0 and main(["runtime", "show", name, "--json"]) == 0
    assert (Path(runtimes.FOLDER) / f"{name}.yaml").is_file()
    assert "range" in capsys.readouterr().out


@pytest.mark.slow
def test_a_scenario_with_an_engine_plays_again_to_the_byte(tmp_path, capsys):
    words = ["run", *RTX, "--runtime", "llama_cpp_cuda", "--placement", "n_cpu_moe=20", "--threads", "6", "--json"]
    assert main([*words, "--save", str(tmp_path / "s.yaml")]) == 0
    first = capsys.readouterr().out
    assert main(["run", str(tmp_path / "s.yaml"), "--json"]) == 0
    assert capsys.readouterr().out == first
