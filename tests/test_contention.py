"""Who slows whom: a CPU that reads the memory before the link, one memory for all; and that more of a machine is never worse."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.tiers import second_tier
from simmoe.simulator.link_time import link_bytes_per_s, load_ps
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.nouns.decisions import Decisions, Guesses
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Managed, Tier, Upstream
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.nouns.run import Clocks
from simmoe.simulator.time.engines import named
from tests.conftest import FAST
from tests.scenarios import Case, cases, examples, physics, stores, tiny_trace
from tests.test_engines import enough, half

ENGINES = ["simpy", "plain", FAST]
TB = 10**12  # one byte per picosecond


class Scenario:
    """A case whose decisions are made once, whatever machine then plays them. left: objects that the CPU computes."""

    def __init__(self, case: Case, left: Collection[int] = (), page_cache: int = 0) -> None:
        self.case, self.requests, sizes = case, requests_of(case.trace), case.model.expert_bytes
        wanted = case.prefetch or [[]] * self.requests.n_events
        ptr = np.cumsum([0, *map(len, wanted)])
        self.guesses = Guesses(ptr, np.array([o for one in wanted for o in one], np.int64), case.buffered)
        unit_of = np.isin(np.arange(self.requests.n_objects), list(left)).astype(np.int8) if left else None
        self.decisions: Decisions = decide(
            self.requests, sizes, policies.load("eviction", case.eviction), case.budget_bytes, scope=case.scope,
            guesses=self.guesses, unit_of=unit_of, seed=case.seed,
        )  # fmt: skip
        self.near = None
        if page_cache:
            lru = policies.load("eviction", "lru")
            self.near = second_tier(self.requests, self.decisions, self.guesses, sizes, page_cache, lru)

    def on(self, hw: Hardware, engine: str = "plain") -> Clocks:
        """Times on a machine."""
        case, costs = self.case, Costs(hw, self.case.model, self.case.trace)
        loads = loading(costs, self.requests, self.decisions, self.guesses, near=self.near, write_back=case.write_back)
        timeline = policies.load("timeline", case.timeline)
        return named(engine).simulate(costs, self.requests, self.decisions, self.guesses, loads, timeline)


# --- times by hand ---------------------------------------------------------------------------------------------------


def host(memory: int = TB, link: int = TB // 4, own: int = TB, latency_ps: int = 0, cpu_in: str = "home") -> Hardware:
    """A discrete machine: one picosecond for each byte, no launches, 4 ps for each byte over the link."""
    units = {
        "gpu": ComputeUnit("gpu", "hbm", TB, 0, {"fp16": 10**18}),
        "cpu": ComputeUnit("cpu", cpu_in, own, 0, {"fp16": 10**18}),
    }
    tiers = {name: Tier(name, 10**15, TB) for name in ("hbm", "apart")} | {"home": Tier("home", 10**15, memory)}
    return Hardware("tiny", "a machine", False, tiers, units, Link("home", "hbm", link, latency_ps), ("gpu",), 0, 1)


LAYER = Layer(Part(1, 1, 0), expert=Part(100, 100, 0), n_experts=4)
MODEL = ModelShape("tiny", "fp16", "fp16", (LAYER,), 3, NO_PART, NO_PART)


def passes_ps(hw: Hardware, requests: list, on_cpu: set, engine: str, slots: int = 2, **options) -> list[int]:
    """Times of passes of one token each; attention and every expert on the GPU take 1 and 100 ps."""
    case = Case(hw, MODEL, tiny_trace(requests, n_experts=4), 100 * slots, **options)
    clocks = Scenario(case, on_cpu).on(hw, engine)
    return (clocks.end_ps - clocks.start_ps).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("hw", "ps"),
    [
        # Attention takes 1 ps; expert 0 is loaded in latency + 100 bytes at the link's rate and computed in 100; the CPU reads 200 bytes.
        (host(), 1 + 400 + 100),  # the link takes 1/4, the CPU 3/4 byte per ps: it is done before the load
        (host(own=TB // 4), 1 + 800),  # the link leaves more than the CPU can read
        (host(own=TB // 2, memory=TB // 2), 1 + 600),  # 100 bytes in 400 ps at 1/4, 100 in 200 ps at 1/2
        (host(link=TB), 1 + 100 + 200),  # it waits while 100 bytes leave at the memory's rate
        (host(link=5 * TB), 1 + 100 + 200),  # no link is faster than the memory that it reads
        (host(link=TB, cpu_in="apart"), 1 + 100 + 100),  # nothing is shared
        (host(link=TB, latency_ps=50), 1 + 50 + 100 + 150),  # 50 bytes are read in the latency, when no byte moves
        (host(link=TB, latency_ps=500), 1 + 600 + 100),  # it has read all before the first byte moves
    ],
)
def test_a_cpu_beside_a_load(engine, hw, ps):
    assert passes_ps(hw, [[[0, 1, 2]]], {1, 2}, engine) == [ps]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cpu_waits_for_bytes_that_an_earlier_pass_asked_for(engine):
    """Pass 0 loads 0 in 100 ps and 3 ahead in another 150, of which 50 are latency; pass 1 begins when it has computed 0, at 201."""
    hw = host(link=TB, latency_ps=50)
    got = passes_ps(hw, [[[0, -1, -1]], [[1, 2, -1]]], {1, 2}, engine, prefetch=[[3], []])
    assert got == [1 + 150 + 100, 1 + 200 + (301 - 252)]  # bytes of 3 leave from 201 to 301, the CPU starts at 252


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_written_back_takes_the_link_and_not_the_memory_that_the_cpu_reads(engine):
    """Victim 0 goes back in 1000 ps, in which its successor 3 leaves the memory for 100."""
    hw = host(link=TB)
    hw = replace(hw, link=replace(hw.link, write_bytes_per_s=TB // 10))
    got = passes_ps(hw, [[[0, -1, -1]], [[3, 1, -1]]], {1}, engine, slots=1, write_back=True)
    assert got == [1 + 100 + 100, 1 + 1000 + 100]
    assert passes_ps(hw, [[[0, -1, -1]], [[3, 1, 2]]], {1, 2}, engine, slots=1, write_back=True)[1] == 1 + 1000 + 100


def unified(own: int) -> Hardware:
    """One memory of 4 bytes per ps, of which a load takes 3, the GPU 1; a load of 100 bytes takes 34 ps."""
    units = {
        "gpu": ComputeUnit("gpu", "dram", TB, 0, {"fp16": 10**18}),
        "cpu": ComputeUnit("cpu", "dram", own, 0, {"fp16": 10**18}),
    }
    tiers = {"dram": Tier("dram", 10**15, 4 * TB), "flash": Tier("flash", 10**15, 3 * TB)}
    return Hardware("tiny", "a machine", True, tiers, units, Link("flash", "dram", 3 * TB, 0), ("gpu",), 0, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cpu_in_unified_memory_is_settled_when_the_event_is_decided(engine):
    """Its own rate is 4 bytes per ps, beside loads 2; then the GPU has 2 outside of a load and nothing in one."""
    hw = unified(4 * TB)
    # Nothing moves: the CPU takes the whole memory for 50 ps.
    assert passes_ps(hw, [[[1, 2, -1]]], {1, 2}, engine) == [1 + 50]
    # Its event loads: 100 ps for the CPU; the load ends after 34, the GPU then reads at its own rate.
    assert passes_ps(hw, [[[0, 1, 2]]], {1, 2}, engine) == [1 + 34 + 100]
    # Its event issues a prefetch only.
    assert passes_ps(hw, [[[1, 2, -1]]], {1, 2}, engine, prefetch=[[0]]) == [1 + 100]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("guesses", "cpu_ps"), [(3, 26), (4, 26), (5, 51)])
def test_a_transfer_that_ends_when_the_event_is_decided_has_ended(engine, guesses, cpu_ps):
    """Loads take 34 ps and leave the GPU what it can read. Expert 0 is computed in 102 ps, attention in 34: four of the guesses end in
    them, the last of these at the very picosecond at which pass 1 is decided."""
    layer = Layer(Part(34, 34, 0), expert=Part(102, 102, 0), n_experts=7)
    case = Case(
        unified(4 * TB), replace(MODEL, layers=(layer,)),
        tiny_trace([[[0, -1, -1]], [[1, -1, -1]]], n_experts=7), 1000, prefetch=[list(range(2, 2 + guesses)), []],
    )  # fmt: skip
    clocks = Scenario(case, {1}).on(case.hw, engine)
    assert (clocks.end_ps - clocks.start_ps).tolist() == [34 + 34 + 102, 34 + cpu_ps]


# --- a hop before the link -------------------------------------------------------------------------------------------


def two_hops(store: int, pipelined: bool, own: int = TB) -> Hardware:
    """A load of 100 bytes takes 10 ps and the bytes at the store's rate, then 5 ps and 2 ps a byte, which is all that the memory gives."""
    hw = host(memory=TB // 2, link=TB // 2, own=own, latency_ps=5)
    return replace(hw, link=replace(hw.link, upstream=Upstream("apart", store, 10, pipelined)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("hw", "ps", "busy_ps"),
    [
        # 1 ps of attention; hops of load 0 end at 411 and 616, of load 1 at 821 and 1026, each expert takes 100.
        (two_hops(TB // 4, False), 1026 + 100, 2 * 205),
        # Load 0 leaves on at 11 and ends 5 behind its first hop, at 416; load 1 leaves on at 421 and ends at 826.
        (two_hops(TB // 4, True), 826 + 100, 2 * 405),
        # The store is faster: load 0 ends at 11 + 205, load 1 takes up the link then.
        (two_hops(TB, True), 421 + 100, 2 * 205),
        (two_hops(TB, False), 111 + 205 + 205 + 100, 2 * 205),
    ],
)
def test_a_load_goes_over_its_hops_one_after_the_other_and_the_next_beside_it(engine, hw, ps, busy_ps):
    clocks = Scenario(Case(hw, MODEL, tiny_trace([[[0, 1, -1]]], n_experts=4), 400)).on(hw, engine)
    assert clocks.end_ps.tolist() == [ps] and clocks.link_busy_ps == busy_ps


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_second_tier_holds_goes_over_the_link_alone(engine):
    """Room for one on the device, for all in host memory: 0 and 1 come from the store, then 0 from host memory."""
    hw = two_hops(TB // 4, False)
    case = Case(hw, MODEL, tiny_trace([[[0, -1, -1]], [[1, -1, -1]], [[0, -1, -1]]], n_experts=4), 100)
    clocks = Scenario(case, page_cache=400).on(hw, engine)
    assert (clocks.end_ps - clocks.start_ps).tolist() == [1 + 410 + 205 + 100, 1 + 410 + 205 + 100, 1 + 205 + 100]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cpu_waits_for_the_hop_that_reads_its_memory_only(engine):
    """The CPU reads 200 bytes in 800 ps from 1 on; the bytes of load 0 leave its memory from 416 to 616."""
    assert passes_ps(two_hops(TB // 4, False, own=TB // 4), [[[0, 1, 2]]], {1, 2}, engine) == [1 + 800 + 200]
    assert passes_ps(two_hops(TB // 4, False, own=TB // 2), [[[0, 1, 2]]], {1, 2}, engine) == [616 + 100]


@given(st.integers(1, 10**6), stores(), st.integers(0, 50), st.sampled_from((TB, TB // 4, 333_333_333_777)))
def test_a_load_alone_takes_what_both_hops_take(count_bytes, with_store, latency_ps, rate):
    part = Part(count_bytes, count_bytes, 0)
    model = replace(MODEL, layers=(replace(LAYER, attention=NO_PART, expert=part),))
    hw = with_store(host(link=rate, latency_ps=latency_ps))
    clocks = Scenario(Case(hw, model, tiny_trace([[[0, -1, -1]]], n_experts=4), count_bytes)).on(hw)
    assert clocks.stall_ps.tolist() == [load_ps(count_bytes, hw)]


# --- a link faster than its memory; the field case -------------------------------------------------------------------


def test_a_link_faster_than_its_memory_runs_at_that_rate_and_the_result_says_so():
    options = {"trace": "switch", "budget": "25%", "tokens": 200, "miss": "idle_cheaper"}
    as_fast, faster = (
        simmoe.run("rtx_4090", set=["peak.link_bandwidth=100GB/s", f"link.bandwidth={rate}"], **options)
        for rate in ("68GB/s", "90GB/s")
    )
    assert as_fast.pass_ps.tolist() == faster.pass_ps.tolist() and as_fast.counts == faster.counts
    (note,) = (note for note in faster.to_json()["notes"] if "link" in note and "prompt" not in note)
    assert "The link could carry 90 GB/s, more than the 68 GB/s of host_dram" in note
    assert not any("could carry" in note for note in as_fast.to_json().get("notes", []))


def test_a_link_over_which_nothing_moves_slows_nobody():
    """All experts on the CPU: the same speed for every link, and a faster card is no slower."""
    options = {"trace": "switch", "budget": "100%", "tokens": 200, "placement": "popular=0%"}
    runs = [
        simmoe.run("rtx_4090", set=[f"link.bandwidth={rate}"], **options)
        for rate in ("12.6GB/s", "25.6GB/s", "56.3GB/s", "68GB/s")
    ]
    assert runs[0].bytes == 0 and len({tuple(run.pass_ps.tolist()) for run in runs}) == 1
    assert simmoe.run("rtx_5090", **options).tok_s >= runs[0].tok_s


# --- more of a machine is never worse --------------------------------------------------------------------------------

RATES = ("bytes_per_s", "grouped_bytes_per_s", "write_bytes_per_s", "pageable_bytes_per_s", "flops_per_s")
LATENCIES = ("launch_ps", "grouped_launch_ps", "host_wait_ps", "latency_ps", "fault_ps")


def better(hw: Hardware, more: Callable[[int], int], less: Callable[[int], int]) -> Iterator[tuple[str, Hardware]]:
    """The machine with more of one of its rates, or less of one of its latencies, for each of them."""
    places: list[tuple[str, object, Callable[[object], Hardware]]] = [
        *((f"tiers.{n}", it, lambda new, n=n: replace(hw, tiers={**hw.tiers, n: new})) for n, it in hw.tiers.items()),
        *((f"units.{n}", it, lambda new, n=n: replace(hw, units={**hw.units, n: new})) for n, it in hw.units.items()),
        ("link", hw.link, lambda new: replace(hw, link=new)),
        ("link.upstream", hw.link.upstream, lambda new: replace(hw, link=replace(hw.link, upstream=new))),
        ("link.managed", hw.link.managed, lambda new: replace(hw, link=replace(hw.link, managed=new))),
    ]
    for place, it, put in places:
        for name in (*RATES, *LATENCIES):
            old = getattr(it, name, None)
            if isinstance(old, dict):
                yield f"{place}.{name}", put(replace(it, **{name: {key: more(rate) for key, rate in old.items()}}))
            elif old is not None:
                yield f"{place}.{name}", put(replace(it, **{name: more(old) if name in RATES else less(old)}))


@st.composite
def uses(draw: st.DrawFn) -> Callable[[Hardware], Hardware]:
    """A change of how the link is used, and of a machine to a discrete one."""
    how = draw(st.sampled_from(("pinned", "pinned", "pageable", "managed")))

    def change(hw: Hardware) -> Hardware:
        half = max(hw.link.bytes_per_s // 2, 1)
        link = replace(hw.link, host_memory=how, pageable_bytes_per_s=half, managed=Managed(half, 3, 2))
        return replace(hw, link=link, unified=False, dram_bytes_per_loaded_byte=1)

    return change


STEPS = st.sampled_from(((1.0, 0.0), (0.0, 0.0), (0.25, 0.5)))  # by how much a rate grows, what is left of a latency


def improved(hw: Hardware, step: tuple[float, float]) -> Iterator[tuple[str, Hardware]]:
    """Machines that are better in one figure, by a lot or by as little as counts."""
    grow, left = step
    return better(
        hw, lambda rate: rate + max(int(rate * grow), 1000), lambda ps: int(ps * left) if grow else max(ps - 1, 0)
    )


@pytest.mark.slow
@pytest.mark.hypothesis
@settings(max_examples=examples(150), deadline=None)
@given(cases(prefetching=False), physics(), uses(), st.one_of(st.none(), st.integers(0, 5)), st.integers(0, 20), STEPS)
def test_more_of_any_rate_or_less_of_any_latency_makes_no_pass_end_later(
    case, changed, used, cpu_seed, page_cache, step
):
    """Exactly, where no hit was prefetched and no CPU reads what the link reads; also where own-event victims are waited for."""
    hw = used(changed(case.hw))
    if cpu_seed is not None and hw.units["cpu"].memory == hw.link.src:
        hw = replace(hw, units={**hw.units, "cpu": replace(hw.units["cpu"], memory="apart")})
    left = half(case, cpu_seed)
    scenario = Scenario(enough(case, left), left, page_cache)
    before = scenario.on(hw).end_ps
    for what, faster in improved(hw, step):
        assert (scenario.on(faster).end_ps <= before).all(), what


@pytest.mark.slow
@pytest.mark.hypothesis
@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False), physics(), uses(), st.integers(0, 5), STEPS)
def test_beside_a_cpu_on_the_same_memory_a_pass_ends_later_by_the_bytes_moved_at_most(
    case, changed, used, cpu_seed, step
):
    hw = used(changed(case.hw))
    hw = replace(hw, units={**hw.units, "cpu": replace(hw.units["cpu"], memory=hw.link.src)})
    left = half(case, cpu_seed)
    scenario = Scenario(enough(case, left), left)
    before, moved, events = scenario.on(hw).end_ps, np.cumsum(moved_bytes(scenario)), scenario.requests.n_events
    memory = hw.tiers[hw.link.src].bytes_per_s
    rounding = 2 * np.arange(1, len(moved) + 1) * events  # each load and each piece ends at a whole picosecond
    for what, faster in improved(hw, step):
        assert (scenario.on(faster).end_ps <= before + moved * (TB / memory) + rounding).all(), what


def moved_bytes(scenario: Scenario) -> np.ndarray:
    """int64 [passes]: bytes of the loads of each pass."""
    asked, loads = scenario.requests, scenario.decisions.loads
    size = scenario.case.model.expert_bytes[asked.obj[loads] // scenario.case.trace.n_experts]
    return np.bincount(asked.event_pass[asked.event_of_request[loads]], size, scenario.case.trace.n_passes).astype(
        np.int64
    )


@pytest.mark.slow
@pytest.mark.hypothesis
@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=True), physics(), uses(), STEPS)
def test_with_prefetched_hits_a_pass_ends_later_by_their_launches_at_most(case, changed, used, step):
    """One launch and its read for each, and where a load waits for an expert of its own event, the launches of that event."""
    hw = used(changed(case.hw))
    scenario = Scenario(case)
    costs, before, bound = (
        Costs(hw, case.model, case.trace),
        scenario.on(hw).end_ps,
        np.zeros(case.trace.n_passes, np.int64),
    )
    asked, decided = scenario.requests, scenario.decisions
    waiting = np.unique(asked.event_of_request[np.flatnonzero(decided.wait)])
    for i in {*decided.fresh.tolist(), *np.flatnonzero(np.isin(asked.event_of_request, waiting)).tolist()}:
        event = asked.event_of_request[i]
        bound[asked.event_pass[event]] += costs.experts(int(asked.event_layer[event]), 1, int(asked.tokens[i])).ps
    for what, faster in improved(hw, step):
        assert (scenario.on(faster).end_ps <= before + np.cumsum(bound)).all(), what


@pytest.mark.slow
@pytest.mark.hypothesis
@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False), STEPS)
def test_in_unified_memory_a_pass_ends_later_by_what_loads_take_of_it_at_most(case, step):
    """w times the bytes of its loads at the memory's rate; a load takes its rate for as long as it is active, latency included."""
    assume(case.hw.unified)
    scenario, ends = Scenario(case), {}
    for what, hw in (("as it is", case.hw), *improved(case.hw, step)):
        memory, rate = hw.device_memory.bytes_per_s, link_bytes_per_s(hw)
        if hw.device.bytes_per_s <= memory and memory > hw.dram_bytes_per_loaded_byte * rate:
            ends[what] = hw, scenario.on(hw)
    assume("as it is" in ends)
    for what, (hw, clocks) in ends.items():
        taken = (
            hw.dram_bytes_per_loaded_byte * link_bytes_per_s(hw) * clocks.link_busy_ps / hw.device_memory.bytes_per_s
        )
        slack = 2 * len(scenario.requests.obj) + 10 * case.trace.n_passes  # whole picoseconds
        assert clocks.end_ps[-1] <= ends["as it is"][1].end_ps[-1] + taken + slack, what


# --- known anomalies: what the bounds allow does happen -------------------------------------------------------------


def anomalous(link: int = TB // 20, launch_ps: int = 1000, rate: int = TB) -> Hardware:
    """Attention takes 1800 ps, an expert or the LM head 1100, 1000 of them the launch; a load 2000."""
    unit = ComputeUnit("gpu", "hbm", rate, launch_ps, {"fp16": 10**18})
    return replace(host(link=link), units={"gpu": unit})


MISSED = ModelShape(
    "tiny", "fp16", "fp16", (Layer(Part(800, 800, 0), expert=Part(100, 100, 0), n_experts=4),), 3, Part(100, 100, 0), NO_PART
)  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("faster", [anomalous(rate=TB + TB // 700), anomalous(launch_ps=999)], ids=["rate", "launch"])
def test_a_faster_gpu_may_just_miss_a_prefetched_hit(engine, faster):
    """Pass 0 loads 0, then guesses 1 and 2. Guess 2 arrives at the very end of attention of pass 1: one launch over both. A GPU that is a
    little faster begins the launch before, and 2 costs a launch of its own."""
    case = Case(anomalous(), MISSED, tiny_trace([[[0, -1, -1]], [[1, 2, -1]]], n_experts=4), 400, prefetch=[[1, 2], []])
    scenario = Scenario(case)
    slow, fast = (int(scenario.on(hw, engine).end_ps[-1]) for hw in (case.hw, faster))
    assert slow == 1800 + 2000 + 1100 + 1100 + 1800 + 1200 + 1100
    assert 900 < fast - slow <= 1100


@pytest.mark.parametrize("engine", ENGINES)
def test_a_faster_link_may_bring_a_prefetched_hit_in_front_of_an_own_event_victim(engine):
    """In room for two, pass 1 hits 0 and 1 and loads 2 in the room of 0, when 0 has been computed. Guess 1 arrives 1 ps after that launch
    began. Over a link that is a little faster it joins the launch, which then takes longer, and 2 is issued later."""
    slower, faster = anomalous(link=24_994_000_000), anomalous(link=25_000_000_000)
    case = Case(slower, MISSED, tiny_trace([[[0, -1, -1]], [[0, 1, 2]]], n_experts=4), 200, prefetch=[[1], []])
    scenario = Scenario(case)
    assert scenario.decisions.wait.tolist() == [0, 0, 0, 1] and scenario.decisions.fresh.tolist() == [2]
    before, after = (int(scenario.on(hw, engine).end_ps[-1]) for hw in (slower, faster))
    assert before == 1800 + 8001 + 1100 + 4001 + 1100 + 1100
    assert after == 1800 + 8000 + 1200 + 4000 + 1100 + 1100 > before
