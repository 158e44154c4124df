"""Miss rules: `balanced` against every split, the laws of a split, second tiers and bounds, and a user's own files, good and bad."""

from __future__ import annotations

import shlex
from collections import OrderedDict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.cli.main import main
from simmoe.play.plan import Plan, placed
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.policies.miss import balanced, idle_cheaper
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.decisions import bound
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.prices import priced
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import load_ps
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import named
from simmoe.workloads.format.trace import first_tokens
from tests.scenarios import MISSES, cases, cpus, examples, few_kernels, hardware, physics, tiny_trace

FAST = ["fast"] * (not compiled.missing())
ENGINES = ["plain", *FAST]

# --- the split ---------------------------------------------------------------------------------------------------------

SMALL = st.integers(0, 6)


@st.composite
def questions(draw):
    """(load time of each missing expert, its token slots, (experts, slots) that a placement left to the CPU, cost of a piece)."""
    n = draw(st.integers(1, 6))
    load_ps, tokens = (
        draw(st.lists(SMALL, min_size=n, max_size=n)),
        draw(st.lists(st.integers(1, 3), min_size=n, max_size=n)),
    )
    placed = draw(st.sampled_from(((0, 0), (1, 1), (2, 5))))
    launch = draw(st.sampled_from((0, 0, 1, 4)))
    read, flop = (
        np.cumsum([0, *draw(st.lists(SMALL, min_size=size, max_size=size))]).tolist() for size in (n + 2, 3 * n + 5)
    )
    return load_ps, tokens, placed, launch, read, flop


def answer(load_ps, tokens, placed, launch, read, flop, cpu=3) -> list[int]:
    n = len(load_ps)
    m = SimpleNamespace(
        unit=[0] * (n + 1), scratch=[0] * (n + 1), obj=[2 * k for k in range(n)], tokens=tokens, placed=list(placed), cpu=[cpu],
        launch_ps=[launch], at=[5, 7], read_ps=[-99] * 5 + read, flop_ps=[-99] * 7 + flop,
        load_ps=[ps for one in load_ps for ps in (one, -99)],
    )  # fmt: skip
    balanced.serve(n, None, 0, m)
    return m.unit[:n]


def loaded_by_every_split(load_ps, tokens, placed, launch, read, flop) -> set[int]:
    """Brute force, written from the rule's words."""
    order = sorted(range(len(load_ps)), key=lambda k: -tokens[k])

    def longer(loaded):
        rest = order[loaded:]
        experts, slots = placed[0] + len(rest), placed[1] + sum(tokens[k] for k in rest)
        piece = launch + max(read[experts], flop[slots]) if experts else 0
        return max(sum(load_ps[k] for k in order[:loaded]), piece)

    best = min(longer(loaded) for loaded in range(len(order) + 1))
    return set(order[: max(loaded for loaded in range(len(order) + 1) if longer(loaded) == best)])


@pytest.mark.slow
@settings(max_examples=examples(400), deadline=None)
@given(questions())
def test_balanced_is_the_best_of_all_splits_and_of_equals_the_one_that_loads_most(question):
    wanted = loaded_by_every_split(*question)
    assert answer(*question) == [0 if k in wanted else 3 for k in range(len(question[0]))]


@settings(max_examples=examples(400), deadline=None)
@given(questions(), st.lists(SMALL, min_size=6, max_size=6))
def test_a_faster_link_never_loads_fewer(question, gain):
    load_ps, *rest = question
    faster = [max(ps - less, 0) for ps, less in zip(load_ps, gain)]
    assert answer(faster, *rest).count(0) >= answer(load_ps, *rest).count(0)


@pytest.mark.parametrize(
    ("load_ps", "tokens", "loaded"),
    [
        ([4, 4, 4], [1, 1, 1], {0}),  # link|CPU with 0, 1, 2, 3 loads: 0|9 4|6 8|3 12|0
        ([4, 4, 4], [1, 1, 2], {2}),  # the first to be loaded is what most tokens chose
        ([3, 3], [1, 1], {0}),
        ([0, 0], [1, 1], {0, 1}),  # ties: the larger k
    ],
)
def test_splits_by_hand(load_ps, tokens, loaded):
    """The CPU takes 3 for each expert."""
    got = answer(load_ps, tokens, (0, 0), 0, [0, 3, 6, 9], [0] * 9)
    assert {k for k, unit in enumerate(got) if unit == 0} == loaded


# --- the law of an event -------------------------------------------------------------------------------------------------


def single_event(waits: bool):
    """Unified memory. waits: a load and the CPU leave the device nothing. Else the CPU alone takes all of the memory, beside a load half of
    it, and of twelve experts one is loaded: the CPU takes twice as long."""
    b = 10**12
    gpu = ComputeUnit("gpu", "dram", b // 2 if waits else b, 0, {"fp16": b})
    cpu = ComputeUnit("cpu", "dram", b if waits else 2 * b, 2 if waits else 0, {"fp16": b})
    tiers = {"dram": Tier("dram", 10**15, 2 * b), "home": Tier("home", 10**15, b)}
    link = Link("home", "dram", b, 1 if waits else 8)
    hw = Hardware("tiny", "a machine of a few bytes", True, tiers, {"gpu": gpu, "cpu": cpu}, link, ("gpu",), 0, 1)
    n, size = (2, 1) if waits else (12, 4)
    layer = Layer(Part(1, 1, 0), shared=Part(2, 2, 1) if waits else NO_PART, expert=Part(size, size, 0), n_experts=n)
    model = ModelShape("tiny", "fp16", "fp16", (layer,), n, Part(1, 1, 0), NO_PART)
    return hw, model, tiny_trace([[list(range(n))]], n)


@st.composite
def single_events(draw):
    """(machine with a CPU, model of one MoE layer, trace of one pass)."""
    hw = draw(cpus())(draw(hardware()))
    n_experts, top_k, rows = draw(st.integers(2, 12)), draw(st.integers(1, 2)), draw(st.integers(1, 8))
    token = st.lists(st.integers(0, n_experts - 1), min_size=top_k, max_size=top_k, unique=True)
    size, flops = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    shared = draw(st.sampled_from((NO_PART, Part(2, 2, 1))))
    layer = Layer(Part(1, 1, 0), shared=shared, expert=Part(size, size, flops), n_experts=n_experts)
    model = ModelShape("tiny", "fp16", "fp16", (layer,), top_k, Part(1, 1, 0), NO_PART)
    return hw, model, tiny_trace([draw(st.lists(token, min_size=rows, max_size=rows))], n_experts)


def later_at_most_ps(hw, w: Workload, split) -> int:
    """How much later a split event may end than the better of its two extremes, from the words of docs/costs.md.

    `balanced` plans with idle rates. With max(loads, CPU) as planned the event ends later only by the launches of its loads and by what the
    memory's other readers take from these launches and from (c), or by what the loads take from the CPU.
    """
    cpu, gpu, own = hw.units["cpu"], hw.device.bytes_per_s // 1000, hw.units["cpu"].bytes_per_s // 1000
    link = min(hw.link.bytes_per_s, hw.tiers[hw.link.src].bytes_per_s) // 1000
    expert, token_slots = w.model.layers[0].expert, w.requests.tokens
    read, slots = len(split.decisions.cpu) * expert.bytes, int(token_slots[split.decisions.cpu].sum())
    flop_ps = Fraction(slots * expert.flops_per_token * 10**12, cpu.flops_per_s["fp16"])

    def piece_ps(rate: int) -> Fraction:
        return cpu.launch_ps + max(Fraction(read * 10**9, rate), flop_ps)

    alone = launch_ps = lost = Fraction(0)
    for n in token_slots[split.decisions.loads].tolist():
        flops = Fraction(n * expert.flops_per_token * 10**12, hw.device.flops_per_s["fp16"])
        launch_ps += hw.device.launch_ps + max(Fraction(expert.bytes * 10**9, gpu), flops) + 1  # rounding
    if hw.unified:
        memory, moved = (
            hw.device_memory.bytes_per_s // 1000,
            hw.dram_bytes_per_loaded_byte * (hw.link.bytes_per_s // 1000),
        )
        beside = max(min(own, memory - moved), own // 2)
        alone = piece_ps(beside) - piece_ps(own)
        inside, outside = (max(min(gpu, memory - beside - more), 1) for more in (moved, 0))
        lost = split.clocks.link_busy_ps * (1 - Fraction(inside, gpu)) + piece_ps(beside) * (1 - Fraction(outside, gpu))
    elif hw.link.src == cpu.memory:
        left = max(min(own, hw.tiers[cpu.memory].bytes_per_s // 1000 - link), 1)
        alone = Fraction(split.bytes * 10**9, link) * (1 - Fraction(left, own))
    return int(max(launch_ps + lost, alone)) + 2


@pytest.mark.slow
@settings(max_examples=examples(400), deadline=None)
@given(single_events())
@example(single_event(waits=True))
@example(single_event(waits=False))
def test_a_split_event_ends_at_most_its_launches_and_what_memory_is_short_of_after_the_better_of_its_extremes(
    drawn,
):
    """All loads, and all on the CPU. Nothing is resident and the link is idle."""
    hw, model, trace = drawn
    w = Workload(hw, trace, model)
    try:
        fetch, cpu, split = (
            play(w, Plan(model.all_expert_bytes, miss=miss, start="cold"), named("plain"))
            for miss in ("fetch", "cpu", "balanced")
        )
    except UserError as error:
        assert "leave the GPU nothing" in str(error)
        return
    assert split.pass_ps[0] <= min(fetch.pass_ps[0], cpu.pass_ps[0]) + later_at_most_ps(hw, w, split)


def test_a_split_event_may_be_later_than_the_cpu_alone_where_its_load_stops_the_device():
    """One memory of 2 B/ps: the load and the CPU, 1 B/ps each, leave the device nothing for the 2 ps of the load. Attention 2, shared
    experts 4, an expert or the LM head 2 ps. The law: 2 ps of the launch, 2 ps in which the device waits."""
    hw, model, trace = single_event(waits=True)
    w = Workload(hw, trace, model)
    runs = {miss: play(w, Plan(2, miss=miss, start="cold"), named("plain")) for miss in ("fetch", "cpu", "balanced")}
    assert {miss: int(run.pass_ps[0]) for miss, run in runs.items()} == {"fetch": 12, "cpu": 8, "balanced": 12}
    assert runs["balanced"].clocks.slowed_ps.tolist() == [2] and len(runs["balanced"].decisions.loads) == 1


# --- as the machine plays it ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=examples(400), deadline=None)
@given(cases(prefetching=False), physics(), st.sampled_from(MISSES[1:]), st.booleans())
def test_with_nothing_resident_each_event_is_asked_about_all_that_the_placement_left(case, change, miss, half):
    costs, requests = Costs(change(case.hw), case.model, case.trace), requests_of(case.trace)
    rule = priced(policies.load("miss", miss), costs, requests)
    unit_of = np.arange(requests.n_objects, dtype=np.int8) % 2 * half
    got = bound(requests, case.model.expert_bytes, "nothing", rule=rule, unit_of=unit_of)
    wanted: list[int] = []
    for event in range(requests.n_events):
        mine, column = range(requests.ptr[event], requests.ptr[event + 1]), int(requests.event_layer[event])
        left = [int(requests.tokens[i]) for i in mine if unit_of[requests.obj[i]]]
        asked = [i for i in mine if not unit_of[requests.obj[i]]]
        tokens = [int(requests.tokens[i]) for i in asked]
        wanted += [i for i, unit in zip(asked, expected(miss, costs, column, tokens, left=left)) if unit == 0]
    assert got.loads.tolist() == wanted and not got.hit.any()
    assert sorted([*wanted, *got.cpu.tolist()]) == list(range(len(requests.obj)))


def expected(
    miss: str,
    costs: Costs,
    column: int,
    tokens: list[int],
    load: list[int] | None = None,
    left: list[int] | None = None,
) -> list[int]:
    """0 for each missing expert of an event that is loaded, 1 for the others; by the costs themselves, not by their tables.

    left: token slots of what the placement left to the CPU.
    """
    load, left = load or [costs.transfer_ps[column]] * len(tokens), left or []
    if miss == "cpu":
        return [1] * len(tokens)
    if miss == "idle_cheaper":
        return [int(costs.cpu_ps(column, 1, n) < ps) for n, ps in zip(tokens, load)]
    order = sorted(range(len(tokens)), key=lambda k: -tokens[k])

    def longer(cut: int) -> int:
        on_cpu = [*left, *(tokens[k] for k in order[cut:])]
        return max(sum(load[k] for k in order[:cut]), costs.cpu_ps(column, len(on_cpu), sum(on_cpu)) if on_cpu else 0)

    best = min(range(len(order) + 1), key=lambda cut: (longer(cut), -cut))
    return [int(k in order[best:]) for k in range(len(order))]


def test_an_expert_that_link_and_cpu_serve_in_the_same_time_is_loaded():
    m = SimpleNamespace(
        unit=[0] * 3,
        obj=[0, 1],
        tokens=[1, 1],
        cpu=[1],
        launch_ps=[2],
        at=[0, 0],
        read_ps=[0, 3],
        flop_ps=[0, 1],
        load_ps=[5, 6],
    )
    idle_cheaper.serve(2, None, 0, m)
    assert m.unit == [0, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in FAST)])
@settings(max_examples=examples(150), deadline=None)
@given(
    cases(prefetching=None), physics(), st.sampled_from(MISSES[2:]), st.integers(1, 20), st.sampled_from(("global", "layer")),
    st.booleans(),
)  # fmt: skip
def test_a_rule_reads_what_the_second_tier_holds_when_the_event_happens(engine, case, change, miss, room, scope, cold):
    """The tier is played here by hand, LRU, from the decisions that the machine took under the rule."""
    from tests.test_engines import guesses_of, near_ps
    from tests.test_engines import run as engine_run

    hw = change(case.hw)
    sizes = case.model.expert_bytes.tolist()
    if scope == "layer" and case.budget_bytes < sum(sizes):
        scope = "global"
    case = replace(case, hw=hw, miss=miss, scope=scope, cold_per_sequence=cold, write_back=False)
    case = few_kernels(case) if engine == "fast" else case
    room *= case.model.expert_bytes.min()
    try:
        decisions = engine_run(case, named(engine), None, int(room))[3]
    except UserError as error:
        assert "budget" in str(error)
        return
    costs, requests = Costs(hw, case.model, case.trace), requests_of(case.trace)
    guesses, near, tier = guesses_of(case, requests.n_events), near_ps(costs, case), OrderedDict[int, int]()
    n, loads = case.trace.n_experts, set(decisions.loads.tolist())
    for event in range(requests.n_events):
        column = int(requests.event_layer[event])
        asked = [i for i in range(requests.ptr[event], requests.ptr[event + 1]) if not decisions.hit[i]]
        load = [int(near[requests.obj[i]]) if requests.obj[i] in tier else costs.transfer_ps[column] for i in asked]
        said = expected(miss, costs, column, [int(requests.tokens[i]) for i in asked], load) if asked else []
        assert [int(i not in loads) for i in asked] == said
        issued = [j for j in range(guesses.ptr[event], guesses.ptr[event + 1]) if decisions.issued[j]]
        for o in [*(int(requests.obj[i]) for i in asked if i in loads), *(int(guesses.obj[j]) for j in issued)]:
            if sizes[o // n] <= room:
                tier.pop(o, None)
                tier[o] = sizes[o // n]
                while sum(tier.values()) > room:
                    tier.popitem(last=False)


@pytest.mark.slow
def test_a_load_out_of_the_page_cache_is_worth_it_where_one_from_the_drive_is_not():
    """Each layer's one missing expert goes to the CPU, but to the link once it lies in memory."""
    options = {"hw": "rtx_4090_nvme", "trace": "switch", "tokens": 300, "budget": "10%"}
    for engine in ENGINES:
        bare, cached = (
            simmoe.run(**options, miss="idle_cheaper", engine=engine, page_cache=size, prefetch="next_layer",
                       set=["units.cpu.bandwidth=10 GB/s"])
            for size in (0, "1 GB")
        )  # fmt: skip
        near, far = (
            load_ps(int(bare.workload.model.expert_bytes[0]), bare.workload.hw, cached=one) for one in (True, False)
        )
        assert near < bare.workload.costs.cpu_ps(0, 1, 1) < far
        assert cached.counts.on_cpu < bare.counts.on_cpu and cached.misses > bare.misses


def routing(tmp_path, tokens: int = 24) -> str:
    """Qwen3's geometry, eight experts at random: almost nothing is asked for twice."""
    from simmoe.workloads.format.trace import save
    from tests.scenarios import build_trace

    rng = np.random.default_rng(5)
    ids = np.argsort(rng.random((tokens, 48, 128)), axis=2)[:, :, :8]
    trace = build_trace(ids, [1] * tokens, [1] * tokens, [0] * tokens, 128, range(48))
    save(
        replace(trace, meta={**trace.meta, "schema_version": 1, "model": "qwen3-30b-a3b", "null_experts": False}),
        tmp_path / "routing.npz",
    )
    return str(tmp_path / "routing.npz")


@pytest.mark.slow
def test_a_cpu_and_a_link_that_are_equally_fast_share_the_work(tmp_path, capsys):
    """A six-core desktop: one way for all gives 31 tokens/s at most, half by chance a little more; the command as a user types it."""
    hw = "units.cpu.bandwidth=34GB/s link.bandwidth=24GB/s tiers.host_dram.bandwidth=44GB/s"
    sets = " ".join(f"--set {one}" for one in hw.split())
    found = {}
    for wish in ("--miss fetch", "--miss cpu", "--miss idle_cheaper", "--placement random=50%", "--miss balanced"):
        command = f"run --hw rtx_3060 {sets} --trace {routing(tmp_path)} --format q4_k --budget 1% {wish} --json"
        assert main(shlex.split(command)) == 0
        found[wish] = tok_s(capsys.readouterr().out)
    one_way = max(found["--miss fetch"], found["--miss cpu"])
    assert found["--miss idle_cheaper"] == one_way
    assert found["--miss balanced"] > found["--placement random=50%"] > 1.05 * one_way
    assert found["--miss balanced"] >= 29.7


def tok_s(out: str) -> float:
    import json

    return float(json.loads(out[out.index("{") :])["tok_s"])


@pytest.mark.slow
@pytest.mark.parametrize("miss", MISSES)
@pytest.mark.parametrize(
    "also",
    [
        {"placement": "n_cpu_moe=3"},
        {"placement": "popular=50%", "prefetch": "next_layer"},
        {"prefetch": "next_layer", "prefetch_into": "buffers"},
        {"scope": "layer", "cold_per_sequence": True},
        {"eviction": "nothing", "budget": None},
        {"eviction": "nothing", "placement": "random=50%", "budget": None},
    ],
    ids=str,
)
def test_every_rule_works_with_every_other_option(miss, also):
    asked = {"hw": "rtx_4090", "trace": "switch", "tokens": 200, "budget": "25%", "miss": miss, **also}
    first, *others = (simmoe.run(**asked, engine=engine) for engine in ("simpy", *ENGINES))
    for other in others:
        assert first.clocks == other.clocks and first.counts == other.counts
    assert first.counts.requests == first.hits + first.misses + first.counts.on_cpu
    assert miss != "cpu" or first.misses == 0
    if "placement" in also:
        assert first.counts.on_cpu > 0


def test_the_old_name_is_refused_with_the_new_ones():
    with pytest.raises(
        UserError, match=r"^the miss policy cheaper is now called idle_cheaper; balanced splits .* link and CPU$"
    ):
        simmoe.run("rtx_4090", "switch", budget="25%", tokens=64, miss="cheaper")


@pytest.mark.parametrize("miss", MISSES[1:])
def test_a_machine_without_a_cpu_refuses_what_needs_one(miss):
    with pytest.raises(UserError, match=r"^jetson_orin states no CPU that could compute experts; add a second entry"):
        simmoe.run("jetson_orin", "switch", budget="25%", tokens=64, miss=miss)


# --- a user's own rule ---------------------------------------------------------------------------------------------------

RUN = {"hw": "rtx_4090", "trace": "switch", "tokens": 64, "budget": "25%"}
HEAD = 'NEEDS = ("load", "cpu")\n'
SERVE = "def serve(n, resident, event, m):\n"
GOOD = {
    "half": SERVE + "    for k in range(0, n, 2):\n        m.unit[k] = m.cpu[0]\n",
    "while room": SERVE
    + "    left = m.free_bytes[0]\n    for k in range(n):\n        left -= 10**7\n        if left < 0:\n            m.unit[k] = m.cpu[0]\n",
    "by a bundled helper": "from simmoe.policies.miss.balanced import by_tokens\n"
    "from simmoe.policies.pieces import piece_ps\n"
    + SERVE
    + "    by_tokens(n, m)\n    one = piece_ps(1, 1, m)\n    if one < m.load_ps[m.obj[0]]:\n        m.unit[m.scratch[n - 1]] = m.cpu[0]\n",
    "an early return": SERVE + "    if event % 2:\n        return\n    m.unit[0] = m.cpu[0]\n",
    "a helper with a victim's name": "STEP = 1\n"
    "def victim(m, k):\n    m.unit[k] = m.cpu[0]\n" + SERVE + "    for k in range(0, n, STEP):\n        victim(m, k)\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", GOOD)
def test_a_users_rule_plays_the_same_interpreted_and_compiled(what, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + GOOD[what])
    first, *others = (simmoe.run(**RUN, miss=str(mine), engine=engine) for engine in ENGINES)
    assert first.counts.on_cpu > 0
    for other in others:
        assert other.clocks == first.clocks and other.counts == first.counts
    assert first.to_json()["scenario"]["plan"]["miss"].startswith("mine sha256:")


BAD = {
    "no function": (
        "def other(n):\n    return 0\n",
        r"policy mine.py defines no serve\(n, resident, event, m\), which says which unit serves",
    ),
    "arguments": (
        "def serve(n, m):\n    pass\n",
        r"line 2 defines serve\(n, m\); the machine calls serve\(n, resident, event, m\)",
    ),
    "a lambda": ("serve = lambda n, resident, event, m: None\n", r"has a serve that is no function defined with def"),
    "the old way": ("def on_cpu(load_ps, cpu_ps):\n    return cpu_ps < load_ps\n", r"defines no serve\("),
    "needs": (
        "NEEDS = ('clock',)\n" + SERVE + "    pass\n",
        r"NEEDS = \('clock',\); it must be a tuple that names none or some of load, cpu",
    ),
    "unnamed need": (
        "NEEDS = ()\n" + SERVE + "    m.unit[0] = m.cpu[0]\n",
        r'line 4 reads m.cpu but NEEDS does not name it; write NEEDS = \("cpu",\)',
    ),
    "unknown field": (SERVE + "    m.unit[0] = m.now\n", r"line 3 reads m.now; m has unit, obj,"),
    "a name of the machine": (
        "def demand(n):\n    return n\n" + SERVE + "    pass\n",
        r"defines demand, a name of the machine",
    ),
    "recursion": (
        "def again(n):\n    again(n)\n" + SERVE + "    again(n)\n",
        r"line 2 defines again\(\), which calls itself; write a loop",
    ),
    "writes to the machine": (
        SERVE + "    resident[0] = 1\n",
        r"line 3 writes to resident\[0\], which belongs to the machine",
    ),
    "writes to a table": (
        SERVE + "    m.load_ps[0] = 1\n",
        r"line 3 writes to m.load_ps\[0\], which belongs to the machine; write to m.unit or m.scratch",
    ),
    "a float": (
        SERVE + "    m.unit[0] = 0.5\n",
        r"policy mine.py: serve\(\) answered 0.5 for missing expert 0 in event \d+, which is no whole number",
    ),
    "a quotient": (
        SERVE + "    m.unit[0] = m.cpu[0]\n    m.unit[0] /= 2\n",
        r"serve\(\) answered 0.5 for missing expert 0 in event \d+, which is no whole",
    ),
    "a bool": (
        SERVE + "    m.unit[0] = m.load_ps[0] > 0\n",
        r"serve\(\) answered True for missing expert 0 in event \d+, which is no whole number",
    ),
    "nothing": (
        SERVE + "    m.unit[0] = None\n",
        r"serve\(\) answered None for missing expert 0 in event \d+, which is no whole number",
    ),
    "an unknown unit": (
        SERVE + "    m.unit[n - 1] = 2\n",
        r"serve\(\) answered 2 for missing expert \d+ in event \d+, which is no unit that computes .*; write 0 \(load it\)",
    ),
    "no unit": (
        SERVE + "    m.unit[0] = -1\n",
        r"serve\(\) answered -1 for missing expert 0 in event \d+, which is no unit",
    ),
    "one too many": (
        SERVE + "    m.unit[n] = m.cpu[0]\n",
        r"serve\(\) answered 1 for missing expert (\d+) in event \d+, of which there are only \1;",
    ),
    "far too many": (
        SERVE + "    m.unit[999] = 1\n",
        r"policy mine.py: serve\(\) failed in event \d+ at line 3: IndexError: ",
    ),
    "an exception": (
        SERVE + "    if event > 3:\n        raise ValueError('why')\n",
        r"serve\(\) failed in event 4 at line 4: ValueError: why",
    ),
    "an exit": (SERVE + "    raise SystemExit(0)\n", r"serve\(\) failed in event \d+ at line 3: SystemExit"),
    "an endless loop": (
        SERVE + "    while True:\n        m.unit[0] = 0\n",
        r"serve\(\) failed in event \d+ at line 3: TimeoutError: a loop turned more than",
    ),
}


@pytest.mark.parametrize("engine", ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in FAST)])
@pytest.mark.parametrize("what", BAD)
def test_a_wrong_rule_is_one_line_with_file_and_event(what, engine, tmp_path, monkeypatch):
    from simmoe.simulator.decide import guard

    monkeypatch.setattr(guard, "MOST_TURNS", 10**4)
    text, said = BAD[what]
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + text)
    with pytest.raises(UserError, match=said) as caught:
        simmoe.run(**RUN, miss=str(mine), engine=engine)
    assert "mine.py" in str(caught.value) and "\n" not in str(caught.value)


LRU = (
    "from simmoe.policies.lists import drop, oldest_free, push, rings\n"
    "STEP = 2\n"
    "def init(n, room, x):\n    return rings(n, 1)\n"
    "def by_tokens(s, o):\n    drop(s[0], s[1], o)\n    push(s[0], s[1], len(s[0]) - 1, o)\n"
    "def piece_ps(s):\n    return len(s[1]) - 1\n"
    "def insert(s, o, event, x):\n    push(s[0], s[1], len(s[0]) - 1, o)\n"
    "def use(s, o, event, x):\n    if o % STEP == 0:\n        by_tokens(s, o)\n"
    "def victim(s, free, event, x):\n    return oldest_free(s[1], piece_ps(s), free)\n"
    "def remove(s, o, event, x):\n    drop(s[0], s[1], o)\n"
)


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="numba is not installed: pip install 'simmoe[fast]'")
@pytest.mark.parametrize("rule", ["bundled", "own"])
def test_helpers_of_a_rule_and_of_an_eviction_policy_that_share_a_name_stay_apart(rule, tmp_path):
    """by_tokens and piece_ps are names of balanced.py and pieces.py, too; so is the constant of the user's own rule."""
    mine, own = tmp_path / "mine.py", tmp_path / "rule.py"
    mine.write_text(LRU)
    own.write_text(
        HEAD + "STEP = 3\ndef by_tokens(m, k):\n    m.unit[k] = m.cpu[0]\ndef drop(n):\n    return n\n"
        + SERVE + "    for k in range(0, drop(n), STEP):\n        by_tokens(m, k)\n"
    )  # fmt: skip
    asked = {**RUN, "tokens": 300, "eviction": str(mine), "miss": "balanced" if rule == "bundled" else str(own)}
    plain, fast = (simmoe.run(**asked, engine=engine) for engine in ("plain", "fast"))
    assert plain.clocks == fast.clocks and plain.counts == fast.counts and plain.counts.on_cpu > 0
    assert plain.decisions.evicted.tolist() == fast.decisions.evicted.tolist()


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="numba is not installed: pip install 'simmoe[fast]'")
def test_what_numba_cannot_compile_names_the_rules_file(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(HEAD + SERVE + "    names = {'a': 0, 2: 'b'}\n    m.unit[0] = len(names) - 2\n")
    assert simmoe.run(**RUN, miss=str(mine), engine="plain").counts.on_cpu == 0
    with pytest.raises(UserError, match=r"^policy mine.py cannot be compiled: .*; --engine simpy plays it"):
        simmoe.run(**RUN, miss=str(mine), engine="fast")


@pytest.mark.slow
def test_a_rule_that_changed_is_compiled_again(tmp_path):
    mine = tmp_path / "mine.py"
    found = []
    for step in (1, 2):
        mine.write_text(HEAD + SERVE + f"    for k in range(0, n, {step}):\n        m.unit[k] = m.cpu[0]\n")
        found.append(
            simmoe.run(**{**RUN, "tokens": None, "batch": 4}, miss=str(mine), engine=ENGINES[-1]).counts.on_cpu
        )
    assert found[0] > found[1] > 0


def test_one_pass_of_many_tokens_is_split_by_its_tokens():
    """A prefill: what most tokens chose is loaded, for the CPU computes each token."""
    options = {"budget": "100%", "tokens": 64, "prefill_chunk": 32, "engine": "plain"}
    run = simmoe.run("rtx_4090", "switch", miss="balanced", start="cold", **options)
    requests, decisions = run.workload.requests, run.decisions
    loads, on_cpu = set(decisions.loads.tolist()), set(decisions.cpu.tolist())
    both = 0
    for event in range(requests.n_events):
        mine = range(requests.ptr[event], requests.ptr[event + 1])
        loaded = [int(requests.tokens[i]) for i in mine if i in loads]
        computed = [int(requests.tokens[i]) for i in mine if i in on_cpu]
        if loaded and computed:
            both += 1
            assert min(loaded) >= max(computed)
    assert both > 5


def test_the_first_tokens_alone_decide_as_in_the_whole_run():
    """A rule reads nothing that comes later."""
    trace = simmoe.workloads.format.trace.given("switch")
    whole, part = (
        play(Workload("rtx_4090", one), Plan(10**8, miss="balanced"), named("plain"))
        for one in (first_tokens(trace, 200), first_tokens(trace, 100))
    )
    n = len(part.workload.requests.obj)
    assert part.decisions.loads.tolist() == [i for i in whole.decisions.loads.tolist() if i < n]


def test_a_piece_holds_the_tokens_of_what_the_placement_left_to_the_cpu_too():
    """A CPU that computes slowly, passes of 64 tokens: its time goes by the tokens of all that it computes."""
    run = simmoe.run(
        "rtx_4090", "switch", eviction="nothing", tokens=128, miss="balanced", placement="random=50%", prefill_chunk=64,
        set=["units.cpu.flops.fp16=50 GFLOP/s"], engine="plain",
    )  # fmt: skip
    requests, costs, loads = run.workload.requests, run.workload.costs, set(run.decisions.loads.tolist())
    unit_of, other = placed(run.workload, run.plan), 0
    for event in range(requests.n_events):
        column, mine = int(requests.event_layer[event]), range(requests.ptr[event], requests.ptr[event + 1])
        asked = [i for i in mine if not unit_of[requests.obj[i]]]
        tokens = [int(requests.tokens[i]) for i in asked]
        left = [int(requests.tokens[i]) for i in mine if unit_of[requests.obj[i]]]
        said = expected("balanced", costs, column, tokens, left=left)
        assert [int(i not in loads) for i in asked] == said
        other += said != expected("balanced", costs, column, tokens)
    assert other > 3


@pytest.mark.slow
def test_the_rule_of_the_manual_plays(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "extending" / "miss.md").read_text()
    mine = tmp_path / "mine.py"
    mine.write_text(page.split("```python\n")[1].split("```")[0])
    first, *others = (simmoe.run(**RUN, miss=str(mine), engine=engine) for engine in ENGINES)
    assert first.counts.on_cpu > 0 and all(one.clocks == first.clocks for one in others)
