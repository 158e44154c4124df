"""Both engines through one body: against the second, idiomatic SimPy model, and against each other, to the picosecond."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.equality import BUDGETS, compare
from simmoe import load_hardware, policies
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.policies import arguments
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.absent import absent as of_decisions
from simmoe.simulator.decide.counts import count, link_bytes_by_pass, moved, prefetched
from simmoe.simulator.decide.decisions import decide, first_events
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.prices import priced
from simmoe.simulator.decide.stepwise import SecondTier
from simmoe.simulator.decide.tiers import second_tier
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import load_ps
from simmoe.simulator.lower.absent import absent as of_times
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.nouns.run import Spans
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import Engine, engine, named
from simmoe.simulator.time.laws import check, check_causes
from tests import oracle_simpy, real_traces
from tests.conftest import COMPILED, PAIRS
from tests.scenarios import (
    MISSES,
    Case,
    cases,
    cpus,
    examples,
    few_kernels,
    physics,
    queued,
    shape_for,
    stores,
    tiny_trace,
    weighed,
)

ENGINES = ["simpy", "plain", pytest.param("fast", marks=COMPILED)]


def guesses_of(case: Case, n_events: int) -> Guesses:
    wanted = case.prefetch or [[]] * n_events
    ptr = np.cumsum([0] + [len(one) for one in wanted])
    return Guesses(
        ptr.astype(np.int64), np.array([o for one in wanted for o in one], np.int64), case.buffered, case.cancel
    )


def run(case: Case, engine: Engine, left: set[int] | None = None, page_cache: int = 0):
    """(clocks, counts, link bytes by pass, decisions) of one engine; the laws of every run are checked.

    left: objects that the CPU computes when they are missing.
    """
    requests, sizes = requests_of(case.trace), case.model.expert_bytes
    guesses, costs = guesses_of(case, requests.n_events), Costs(case.hw, case.model, case.trace)
    cold_at = first_events(case.trace, requests) if case.cold_per_sequence else None
    module = policies.load("eviction", case.eviction)
    unit_of = np.isin(np.arange(requests.n_objects), list(left)).astype(np.int8) if left else None
    lru, near = policies.load("eviction", "lru"), None
    rule, asked = None, policies.load("miss", case.miss)
    if case.miss != "fetch":
        rule = priced(asked, costs, requests, arguments.as_whole(arguments.given("miss", case.miss, asked)))
    tier = SecondTier(page_cache, lru, near_ps(costs, case)) if page_cache else None
    decisions = decide(
        requests, sizes, module, case.budget_bytes, scope=case.scope, guesses=guesses, cold_at=cold_at, unit_of=unit_of,
        rule=rule, tier=tier, seed=case.seed, player=engine.player,
    )  # fmt: skip
    if page_cache:
        near = second_tier(requests, decisions, guesses, sizes, page_cache, lru, engine.player)
    loads = loading(costs, requests, decisions, guesses, write_back=case.write_back, near=near)
    timeline = policies.load("timeline", case.timeline)
    clocks = engine.simulate(costs, requests, decisions, guesses, loads, timeline)
    over = moved(decisions, clocks.fate)
    counts = count(case.trace, requests, over, guesses, sizes, write_back=case.write_back)
    check(costs, decisions, clocks, counts, case.budget_bytes)
    check_causes(costs, clocks)
    return clocks, counts, link_bytes_by_pass(case.trace, requests, over, guesses, sizes), decisions


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("name", ["simpy", "plain", pytest.param("fast", marks=[COMPILED, pytest.mark.slow])])
@pytest.mark.parametrize("prefetching", [None, pytest.param(True, marks=pytest.mark.slow)])
def test_engine_equals_the_idiomatic_model(name, prefetching):
    equals_the_idiomatic_model(name, prefetching, MISSES, 300)


def equals_the_idiomatic_model(name: str, prefetching: bool | None, misses: tuple[str, ...], n: int) -> None:
    """Every number that the second model has, over miss rules and what a run may have beside one: both scopes, batches, prefetches into the
    cache or buffers, some of them withdrawn, a CPU, a placement, a store before the link, gate weights. n: scenarios."""

    @settings(max_examples=examples(n), deadline=None)
    @given(
        cases(prefetching=prefetching, misses=misses), cpus(), stores(), st.one_of(st.none(), st.integers(0, 5)),
        st.sampled_from((0, 0, 1, 7, 30)), st.one_of(st.none(), st.integers(0, 5)),
    )  # fmt: skip
    def compare(case, with_cpu, with_store, cpu_seed, slower, weights):
        case = replace(case, hw=with_store(with_cpu(case.hw)))
        case = weighed(queued(case, slower) if slower and case.prefetch else case, weights)
        left = half(case, cpu_seed)
        case = enough(few_kernels(case) if name == "fast" else case, left)
        want = oracle_simpy.simulate(case.hw, case.model, case.trace, **case.kwargs, left_to_cpu=left)
        clocks, counts, link_bytes, decisions = run(case, named(name), left)
        assert (clocks.end_ps - clocks.start_ps).tolist() == want.pass_ps
        found = counts.hits, counts.misses, counts.evictions, counts.on_cpu, counts.substituted, counts.dropped
        assert found == (want.hits, want.misses, want.evictions, want.on_cpu, want.substituted, want.dropped)
        assert link_bytes.tolist() == want.link_bytes
        assert clocks.link_busy_ps == want.link_busy_ps
        guesses = guesses_of(case, len(decisions.used))
        became = prefetched(decisions, guesses, case.trace.n_experts, case.model.expert_bytes, clocks.fate)
        assert {what: (one.count, one.bytes) for what, one in became._asdict().items()} == want.prefetched
        assert int(decisions.used.max()) <= case.budget_bytes

    compare()


def half(case: Case, cpu_seed: int | None) -> set[int]:
    """A random half of the objects, which a placement leaves to the CPU; none without a seed."""
    objects = case.trace.n_layers * case.trace.n_experts
    return set() if cpu_seed is None else set(np.flatnonzero(np.random.default_rng(cpu_seed).random(objects) < 0.5))


def enough(case: Case, left: set[int]) -> Case:
    """The case with a budget that gives each layer with experts of the device a slot, whatever is left to the CPU."""
    n = case.trace.n_experts
    mine = [n - sum(obj // n == column for obj in left) for column in range(case.trace.n_layers)]
    total = sum(count * int(size) for count, size in zip(mine, case.model.expert_bytes))
    least = -(-total // min(filter(None, mine), default=1)) if case.scope == "layer" else 0
    return replace(case, budget_bytes=max(case.budget_bytes, least))


def near_ps(costs: Costs, case: Case) -> np.ndarray:
    """How long a load of each object takes out of the memory before the link."""
    sizes = np.repeat(case.model.expert_bytes, case.trace.n_experts)
    return np.array([load_ps(int(size), costs.hw, cached=True) for size in sizes])


def same(one: Decisions, other: Decisions) -> bool:
    return all(map(_alike, astuple(one), astuple(other)))


def _alike(one: object, other: object) -> bool:
    """Of arrays, and of tuples of arrays of several lengths, of which numpy makes no array."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(np.array_equal, one, other))
    return np.array_equal(one, other)


@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("prefetching", [pytest.param(None, marks=pytest.mark.slow), True])
def test_all_engines_are_equal_bit_for_bit(prefetching, names):
    """SimPy's processes, the recurrence interpreted and compiled; over laws that the idiomatic model does not know, too."""

    @settings(max_examples=examples(500), deadline=None)
    @given(
        cases(prefetching=prefetching, misses=MISSES),
        physics(),
        st.one_of(st.none(), st.integers(0, 5)),
        st.integers(0, 20),
    )
    def compare(case, changed, cpu_seed, page_cache):
        left = half(case, cpu_seed)
        case = replace(case, hw=changed(case.hw))
        case = enough(few_kernels(case) if "fast" in names else case, left)
        one, other = (run(case, named(name), left, page_cache) for name in names)
        assert one[:2] == other[:2]
        assert same(one[3], other[3])

    compare()


@pytest.mark.traces
@pytest.mark.slow
@COMPILED
@pytest.mark.parametrize("eviction", policies.names("eviction"))
@pytest.mark.parametrize("name", real_traces.NAMES)
def test_compiled_equals_simpy_on_real_traces(name, eviction):
    """The first passes of each real trace, two budgets that both evict, on a shape of its geometry. Decisions do not depend on the machine
    nor the clock on the policy: a trace takes turns over the policies, and a policy over the traces, on discrete and unified memory."""
    trace = first(real_traces.load(name), 60)
    model = shape_for(trace)
    turn = real_traces.NAMES.index(name) + policies.names("eviction").index(eviction)
    workload = Workload(load_hardware(("a100", "jetson_orin")[turn % 2]), trace, model)
    for share in (8, 2):
        plan = Plan(model.all_expert_bytes // share, eviction, "layer" if share == 2 else "global")
        slow, quick = (play(workload, plan, named(engine)) for engine in ("simpy", "fast"))
        assert slow.clocks == quick.clocks
        assert same(slow.decisions, quick.decisions)
        assert len(slow.decisions.evicted) or eviction == "belady_bypass"  # which keeps nothing that leaves


LONG = {  # another policy than LRU; passes, of about 150,000 accesses
    "phone_gemma4_26b": ("w_tinylfu", 129),
    "gptoss20b_mmlupro": ("arc", 1500),
    "gptoss20b_gpqa": ("lfu", 1500),
    "dsv2lite_intent": ("fifo", 1000),
    "qwen3_30b_general": ("belady", 400),
}


@pytest.mark.traces
@pytest.mark.slow
@COMPILED
@pytest.mark.parametrize("name", LONG)
def test_compiled_equals_interpreted_on_long_real_traces(name):
    """LRU on a discrete machine, another policy on unified memory; `python -m benchmarks --only equality` plays every policy on both, and
    all passes."""
    other, passes = LONG[name]
    trace = first(real_traces.load(name), passes)
    for eviction, machine in (("lru", "a100"), (other, "jetson_orin")):
        assert len(list(compare(trace, eviction, (machine,)))) == len(BUDGETS)


def first(trace, passes: int):
    from simmoe.workloads.format.trace import first_tokens

    return first_tokens(trace, int(trace.pass_ptr[min(passes, trace.n_passes)]))


@pytest.mark.traces
@COMPILED
def test_the_engine_under_test_is_compiled():
    """The kernels are machine code for the types that a run passes, unless numba's compiler is turned off on purpose."""
    import numba

    trace = first(real_traces.load("gptoss20b_gpqa"), 8)
    play(Workload("a100", trace, shape_for(trace)), Plan(10**9), named("fast"))
    lru, overlapped = policies.load("eviction", "lru"), policies.load("timeline", "overlapped")
    lacks = (
        of_decisions((), prefetching=False, placed=False, rule=None),
        of_times(
            contended=False,
            hops=False,
            prefetching=False,
            cancelling=False,
            with_cpu=False,
            with_gone=False,
            with_low=False,
        ),
    )
    kernels = compiled.kernels(lru, lacks[0], None).play, compiled.clock(overlapped, lacks[1]).run_passes
    for kernel in kernels:
        if numba.config.DISABLE_JIT:
            assert not hasattr(kernel, "overloads")
        else:
            made_of = list(kernel.overloads.values())
            assert made_of and all(one.fndesc.native and not one.objectmode and one.entry_point for one in made_of)


@pytest.mark.traces
def test_why_not_says_it_in_one_sentence():
    trace = first(real_traces.load("gptoss20b_gpqa"), 4)
    workload = Workload("a100", trace, shape_for(trace))
    assert engine("auto", workload.costs, workload.requests).name == "plain"
    with pytest.raises(UserError, match="unknown engine 'quick'; choose one of auto, simpy, plain, fast"):
        workload.engine("quick")
    if not compiled.missing():
        with pytest.raises(UserError, match="cannot play this: it does not record every launch and transfer"):
            workload.engine("fast", spans=True)
        assert workload.engine("auto", runs=10**6).name == "fast"
        assert workload.engine("auto", runs=10**6, spans=True).name == "simpy"


@pytest.mark.traces
def test_a_transfer_into_a_full_memory_is_refused():
    from dataclasses import replace

    hw = load_hardware("jetson_orin")
    trace = first(real_traces.load("gptoss20b_gpqa"), 4)
    with pytest.raises(UserError, match=r"leave nothing of the .* a slower link or a faster memory is needed"):
        Costs(replace(hw, link=replace(hw.link, bytes_per_s=10**12)), shape_for(trace), trace)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("seconds", "passes"),
    [(10**8, 1), (3 * 10**6, 4), (9_000_000, 1), (9_000_000, 2), (1_800_000, 5)],
    ids=["one load", "sum", "one fits", "two do not", "sum fits"],
)
def test_a_run_beyond_what_the_clock_counts_is_refused_in_one_line(name, seconds, passes):
    """2**63 ps are 9,223,372 seconds; loads that take so long one after the other, the last exactly or not at all."""
    trace = tiny_trace([[[i]] for i in range(passes)], n_experts=8)
    layer = Layer(NO_PART, expert=Part(1000, 1000, 0), n_experts=8)
    hw = Hardware(
        "slow", "a slow machine", False, {"dram": Tier("dram", 10**15, 10**12), "home": Tier("home", 10**15, 10**12)},
        {"gpu": ComputeUnit("gpu", "dram", 10**12, 0, {"fp16": 10**12})}, Link("home", "dram", 10**12, seconds * 10**12), ("gpu",), 0, 1,
    )  # fmt: skip
    workload = Workload(hw, trace, ModelShape("tiny", "fp16", "fp16", (layer,), 1, NO_PART, NO_PART))
    if seconds * passes <= (2**63 - 1) // 10**12:
        run = play(workload, Plan(8000, start="cold"), named(name))
        assert run.clocks.end_ps[-1] // 10**12 == seconds * passes
        return
    with pytest.raises(
        UserError, match=r"the run lasts longer than the clock counts, 2\*\*63 ps \(106 days of simulated time\)"
    ):
        play(workload, Plan(8000, start="cold"), named(name))


ONE_LAYER = Layer(Part(15, 15, 0), expert=Part(1, 1, 0), n_experts=4)
TINY = ModelShape("tiny", "fp16", "fp16", (ONE_LAYER,), 2, Part(1, 1, 0), NO_PART)


def host_waits(wait_ps: int) -> Hardware:
    """Attention takes 20 ps, a transfer 17, a launch 5 and 1 for each expert or the LM head."""
    gpu = ComputeUnit("gpu", "dram", 10**12, 5, {"fp16": 10**15}, host_wait_ps=wait_ps)
    tiers = {"dram": Tier("dram", 10**15, 10**12), "home": Tier("home", 10**15, 10**11)}
    link = Link("home", "dram", 10**11, 7)
    return Hardware("tiny", "a machine of a few bytes", False, tiers, {"gpu": gpu}, link, ("gpu",), 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_waits_of_the_host_beyond_what_the_clock_counts_are_refused_in_one_line(name, passes):
    hw = host_waits(4 * 10**6 * 10**12)
    workload = Workload(hw, tiny_trace([[[0]]] * passes, n_experts=4), TINY)
    if passes < 3:
        run = play(workload, Plan(4, timeline="sync", start="cold"), named(name))
        assert run.clocks.end_ps[-1] // 10**12 == 4 * 10**6 * passes
        return
    with pytest.raises(UserError, match=r"the run lasts longer than the clock counts, 2\*\*63 ps"):
        play(workload, Plan(4, timeline="sync", start="cold"), named(name))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("wait_ps", "pass_ps", "stall_ps"),
    [
        # Pass 0 loads 0 behind the wait, then guesses 1 and 2. The first guess arrives 34 ps, the second 51 ps behind the wait,
        # attention of the next pass ends 49 ps behind it, its wait so much later.
        (0, [20 + 17 + 6 + 6, 20 + 6 + 6 + 6], [17, 0]),  # 2 is late, but has arrived when 1 is computed
        (1, [20 + 1 + 17 + 6 + 6, 20 + 1 + 6 + 6 + 6], [17, 0]),
        (2, [20 + 2 + 17 + 6 + 6, 20 + 2 + 7 + 6], [17, 0]),  # 2 arrives just when the wait ends: one launch less
        (9, [20 + 9 + 17 + 6 + 6, 20 + 9 + 7 + 6], [17, 0]),
    ],
)
def test_loads_are_issued_behind_the_wait_of_the_host_and_earlier_ones_go_on_in_it(name, wait_ps, pass_ps, stall_ps):
    case = Case(
        host_waits(wait_ps), TINY, tiny_trace([[[0, -1]], [[1, 2]]], n_experts=4), 4, timeline="sync", prefetch=[[1, 2], []]
    )  # fmt: skip
    clocks = run(case, named(name))[0]
    assert (clocks.end_ps - clocks.start_ps).tolist() == pass_ps
    assert clocks.stall_ps.tolist() == stall_ps
    assert clocks.host_ps.tolist() == [wait_ps, wait_ps]


def test_the_host_decides_when_its_wait_ends():
    """Spans: the transfers and the decisions of a pass, 9 ps behind its attention."""
    workload, spans = Workload(host_waits(9), tiny_trace([[[0, 1]], [[0, 2]]], n_experts=4), TINY), Spans()
    play(workload, Plan(4, timeline="sync", start="cold"), workload.engine("simpy", spans=True), spans)
    first = 29 + 2 * 17 + 6 + 6  # end of the first pass
    assert spans.decisions == [29, first + 29]
    assert spans.transfers == [(0, 29, 17), (1, 46, 17), (2, first + 29, 17)]
    assert [start for what, start, _ in spans.launches if what == "experts"] == [46, 63, first + 29, first + 46]


@pytest.mark.parametrize("name", ENGINES)
def test_what_arrives_at_the_picosecond_of_the_launch_has_arrived(name):
    """The second guess arrives when attention of the next pass ends, which has run since before that transfer began.

    One launch over both experts takes 1 + 2 ps; apart they would take 2 + 2.
    """
    hw = Hardware(
        "tie", "a machine of a few bytes", False, {"dram": Tier("dram", 10**15, 10**12), "home": Tier("home", 10**15, 10**11)},
        {"gpu": ComputeUnit("gpu", "dram", 10**12, 1, {"fp16": 10**15})}, Link("home", "dram", 10**11, 0), ("gpu",), 0, 1,
    )  # fmt: skip
    one = Part(1, 1, 0)
    layer = Layer(Part(15, 15, 0), expert=one, n_experts=4)
    model = ModelShape("tiny", "fp16", "fp16", (layer,), 2, one, NO_PART)
    case = Case(hw, model, tiny_trace([[[0, -1]], [[1, 2]]], n_experts=4), 4, prefetch=[[1, 2], []])
    clocks = run(case, named(name))[0]
    assert (clocks.end_ps - clocks.start_ps).tolist() == [16 + 10 + 2 + 2, 16 + 3 + 2]
    assert clocks.stall_ps.tolist() == [10, 0]


@COMPILED
@pytest.mark.slow
def test_a_kernel_file_that_was_cut_off_is_written_again(tmp_path):
    """A full disk or a kill may leave half a file; the next process must not fail over it, nor run it."""
    script = "import simmoe; print(simmoe.run('a100', 'switch', tokens=64, budget='25%', engine='fast').pass_ps.sum())"
    environment = {**os.environ, "SIMMOE_CACHE": str(tmp_path)}
    first, again = [], []
    for found in (first, again):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
        for kernel in tmp_path.glob("*/kernel.py"):
            kernel.write_text(kernel.read_text("utf-8")[:300], "utf-8")
    assert first == again and first


SMALL = "from numba import njit\n\n@njit(cache=True)\ndef play(x):\n    return x + 1\n"


@COMPILED
@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "bits", "longer", "gone"])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc", ".sums"])
def test_machine_code_that_was_damaged_is_not_loaded(suffix, damage, tmp_path):
    """What numba keeps of a kernel is loaded while it is whole; else it is compiled again, and kept again."""
    if compiled.interpreted():
        pytest.skip("numba compiles nothing: NUMBA_DISABLE_JIT")
    path = tmp_path / "kernel.py"
    path.write_text(SMALL)

    def loaded() -> bool:
        play = compiled._module("simmoe_kernel_small", SMALL, path).play
        assert play(1) == 2
        return sum(play.stats.cache_hits.values()) == 1

    assert [loaded(), loaded()] == [False, True]
    (file,) = tmp_path.rglob(f"*{suffix}")
    whole = file.read_bytes()
    half = len(whole) // 2
    flipped = whole[:half] + bytes([whole[half] ^ 0xFF]) + whole[half + 1 :]
    file.unlink()
    if damage != "gone":
        file.write_bytes({"cut": whole[:half], "bits": flipped, "longer": whole + b"x"}[damage])
    assert [loaded(), loaded()] == [False, True]
