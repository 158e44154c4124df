"""Laws that every simulated run obeys, whatever the policy: closed forms, conservation, determinism."""

from __future__ import annotations

import gc
import json
import re
import weakref
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import hardware_profiles, policies
from simmoe.play import advice, what_if
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.scenario import Scenario
from simmoe.play.workload import Workload
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide import player, residency
from simmoe.simulator.decide.decisions import decide, first_events, no_guesses
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.groups import parts_of
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.model import Layer, Part
from simmoe.simulator.physics.link import transfer_ps
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time import rates as laws
from simmoe.simulator.time.engines import named
from simmoe.simulator.time.laws import check_causes
from simmoe.simulator.time.recurrence import CompiledPlayer
from tests.scenarios import Case, cases, cpus, examples


def walk(now: int, work: int, transfers: list, rates: list, cpu_until: int = 0) -> int:
    """The walk of the recurrence; rates[0] outside and inside the transfers (start, end), rates[1] before `cpu_until`."""
    ahead = [(begin, end) for begin, end in transfers if end > now]
    (rate, slow), (beside, slow_beside) = rates[0], rates[-1]
    at = [0] * 12
    at[laws.TAIL], at[laws.CPU_UNTIL], at[laws.BESIDE_CPU], at[laws.SLOW_BESIDE_CPU] = (
        len(ahead),
        cpu_until,
        beside,
        slow_beside,
    )
    return laws.walk(now, work, rate, slow, at, [begin for begin, _ in ahead], [end for _, end in ahead])


def workload(case: Case) -> Workload:
    return Workload(case.hw, case.trace, case.model)


def parts_ps(costs: Costs, number: int) -> int:
    """Compute time of a pass without its routed experts."""
    tokens = costs.sizes[number].tokens
    shared = sum(costs.shared(column, tokens).ps for column in range(costs.trace.n_layers))
    return shared + sum(chain.ps for chain in costs.chains(number))


@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False))
def test_everything_resident_is_compute_alone(case):
    w = workload(case)
    run = play(w, Plan(case.model.all_expert_bytes, "everything"))
    for number in range(w.trace.n_passes):
        experts = 0
        for event in np.flatnonzero(w.requests.event_pass == number):
            first, last = w.requests.ptr[event : event + 2]
            if last > first:
                tokens = int(w.requests.tokens[first:last].sum())
                experts += w.costs.experts(int(w.requests.event_layer[event]), int(last - first), tokens).ps
        assert run.pass_ps[number] == parts_ps(w.costs, number) + experts
    assert run.bytes == 0 and run.clocks.link_busy_ps == 0


@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False))
def test_nothing_resident_without_overlap_is_a_sum(case):
    w = workload(case)
    run = play(w, Plan(0, "nothing", timeline="serial"))
    loads = np.zeros(w.trace.n_passes, object)
    for request, event in enumerate(w.requests.event_of_request):
        column = int(w.requests.event_layer[event])
        one = w.costs.experts(column, 1, int(w.requests.tokens[request])).ps
        loads[w.requests.event_pass[event]] += one + w.costs.transfer_ps[column]
    assert run.pass_ps.tolist() == [parts_ps(w.costs, n) + loads[n] for n in range(w.trace.n_passes)]


@pytest.mark.slow
@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False))
def test_conservation(case):
    run = play(
        workload(case), Plan(case.budget_bytes, case.eviction, case.scope, case.timeline, case.cold_per_sequence)
    )
    elapsed, w = int(run.pass_ps.sum()), run.workload
    assert run.hits + run.misses == len(w.requests.obj)
    size = case.model.expert_bytes[w.requests.obj // w.trace.n_experts]
    assert (
        run.bytes
        == int(size[~run.decisions.hit].sum())
        == int(run.link_bytes.sum())
        == run.prefill.bytes + run.decode.bytes
    )
    assert run.clocks.link_busy_ps <= elapsed
    assert int(run.decisions.used.max()) <= case.budget_bytes
    assert sum(run.clocks.stall_ps) <= elapsed
    if w.trace.phase.any():
        assert sum(run.where_ps().values()) == int(run.pass_ps[run.decode_passes].sum())


@settings(max_examples=examples(100), deadline=None)
@given(cases(prefetching=False), cpus(), st.sampled_from(("fetch", "cpu")), st.booleans())
def test_without_prefetches_a_host_that_waits_adds_its_waits_and_nothing_else(case, with_cpu, miss, resident):
    """No transfer outlives its layer, so that what follows a wait is the same as without it, only later."""
    w = workload(replace(case, hw=with_cpu(case.hw)))
    eviction = "everything" if resident else case.eviction
    plan = Plan(case.budget_bytes, eviction, case.scope, "overlapped", case.cold_per_sequence, case.seed, miss=miss)
    plain, synced = (play(w, replace(plan, timeline=timeline)) for timeline in ("overlapped", "sync"))
    waits = w.trace.n_layers * w.hw.device.host_wait_ps
    assert synced.pass_ps.tolist() == [ps + waits for ps in plain.pass_ps.tolist()]
    assert synced.clocks.host_ps.tolist() == [waits] * w.trace.n_passes
    for cause in ("stall_ps", "slowed_ps", "cpu_ps", "experts_ps"):
        assert np.array_equal(getattr(synced.clocks, cause), getattr(plain.clocks, cause))
    assert synced.clocks.link_busy_ps == plain.clocks.link_busy_ps


@pytest.mark.slow
@settings(max_examples=examples(100), deadline=None)
@given(cases(), st.sampled_from(("simpy", "plain")))
def test_a_host_that_does_not_wait_is_the_default_timeline(case, name):
    hw = replace(case.hw, units={"gpu": replace(case.hw.device, host_wait_ps=0)})
    requests = requests_of(case.trace)
    wanted = case.prefetch or [[]] * requests.n_events
    guesses = Guesses(
        np.cumsum([0, *map(len, wanted)]), np.array([o for one in wanted for o in one], np.int64), case.buffered
    )
    costs, sizes = Costs(hw, case.model, case.trace), case.model.expert_bytes
    decisions = decide(
        requests, sizes, policies.load("eviction", case.eviction), case.budget_bytes, scope=case.scope, guesses=guesses
    )
    loads = loading(costs, requests, decisions, guesses)
    synced, plain = (
        named(name).simulate(costs, requests, decisions, guesses, loads, policies.load("timeline", timeline))
        for timeline in ("sync", "overlapped")
    )
    assert synced == plain


@pytest.mark.slow
def test_the_host_is_named_as_what_a_run_waits_for():
    """30 us for each of the layers of the trace; a machine that states no host_wait cannot play that timeline."""
    options = {"budget": "25%", "tokens": 300, "engine": "plain"}
    plain, some, both, most = (
        simmoe.run("a100", "switch", timeline=timeline, set=[f"units.gpu.host_wait={wait}"] if wait else [], **options)
        for timeline, wait in (
            ("overlapped", None),
            ("sync", "30us"),
            ("sync", "400us"),
            ("sync", "3 ms"),
        )
    )
    with pytest.raises(simmoe.UserError, match="a100 states no host_wait"):
        simmoe.run("a100", "switch", timeline="sync", **options)
    assert plain.where_ps()["waiting for the host"] == 0
    decode = int(plain.decode_passes.sum())
    assert some.where_ps()["waiting for the host"] == decode * some.workload.trace.n_layers * 30 * 10**6
    assert sum(some.where_ps().values()) == int(some.pass_ps[some.decode_passes].sum())
    assert some.to_json()["decode_time_ps"]["waiting for the host"] > 0
    assert re.fullmatch(
        r"bound by host_dram \(4\d% of decode time waits for experts\) and by the host \(4\d%\)", advice.bound_by(both)
    )
    assert re.fullmatch(r"bound by the host: 8\d% of decode time waits for the router's result", advice.bound_by(most))
    asked = {"trace": "switch", "tokens": 300, "budget": "25%", "engine": "plain"}
    best = what_if.tried(Scenario("a100", timeline="sync", set=("units.gpu.host_wait=3 ms",), **asked), most)[0]
    assert best.change.words == "--set units.gpu.host_wait=1.5ms" and 0.7 < best.gain < 0.8
    assert "half the wait of the host" not in [
        one.change.what for one in what_if.tried(Scenario("a100", **asked), plain)
    ]


@settings(max_examples=examples(60), deadline=None)
@given(cases(prefetching=False))
def test_a_free_link_makes_every_cache_as_fast_as_its_launches(case):
    """With loads that take one picosecond, only the split of (d) into single launches is left: never below everything resident."""
    link, home = replace(case.hw.link, bytes_per_s=10**24, latency_ps=0), replace(case.hw.home, bytes_per_s=10**24)
    hw = replace(case.hw, link=link, unified=False, tiers={**case.hw.tiers, "home": home})
    w = Workload(hw, case.trace, case.model)
    fast = play(w, Plan(case.budget_bytes, case.eviction))
    full = play(w, Plan(case.model.all_expert_bytes, "everything"))
    assert all(fast.pass_ps >= full.pass_ps)
    assert sum(fast.clocks.stall_ps) <= fast.misses


def test_transfer_time_is_exact_beyond_64_bits():
    assert transfer_ps(33_570_816, 25 * 10**9, 7_000_000) == 7_000_000 + 1_342_832_640
    assert transfer_ps(1, 3, 0) == 333_333_333_334


def test_the_walk_does_not_depend_on_how_the_transfers_are_cut():
    whole = walk(5, 10_000_000, [(7, 2_000)], [(3_000, 1_000)])
    assert whole == walk(5, 10_000_000, [(7, 90), (90, 91), (91, 2_000)], [(3_000, 1_000)])
    # 2 ps at 3000, 1993 ps at 1000, the rest at 3000
    assert whole == 2_000 + -(-(10_000_000 - 2 * 3_000 - 1_993 * 1_000) // 3_000)


def test_loads_into_unified_memory_slow_the_reader_as_the_closed_form_says():
    work = 10**6 * 10**9
    free, busy = (walk(0, work, loads, [(200_000_000, 150_000_000)]) for loads in ([], [(0, 10**13)]))
    assert (free, busy) == (-(-work // 200_000_000), -(-work // 150_000_000))


PIECES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=4)


@given(
    st.integers(0, 40),
    st.integers(1, 20_000),
    PIECES,
    st.integers(0, 90),
    st.sampled_from((61, 1)),
    st.sampled_from((40, 1)),
)
def test_the_walk_is_what_every_picosecond_takes_off(now, work, gaps, cpu_until, slow, beside):
    rates, transfers, at = [(97, slow), (beside, 7)], [], 0
    for gap, lasts in gaps:
        transfers.append((at + gap, at + gap + lasts))
        at += gap + lasts
    transfers, left, end = [pair for pair in transfers if pair[1] > now], work, now
    while left > 0:
        left -= rates[end < cpu_until][any(start <= end < stop for start, stop in transfers)]
        end += 1
    assert walk(now, work, transfers, rates, cpu_until) == end


def test_experts_on_the_cpu_of_a_unified_machine_slow_its_gpu_as_the_closed_form_says():
    """While the CPU reads at c, B - c is left to the GPU; the layer waits for the slower of the two."""
    from tests.scenarios import tiny_trace

    changes = {"units.cpu.launch": "0 us", "units.gpu.launch": "0 us", "units.cpu.bandwidth": "50 GB/s"}
    hw, nothing = hardware_profiles.load("strix_halo", changes), Part(0, 0, 0)
    layer = Layer(nothing, expert=Part(10**9, 10**9, 0), n_experts=2)
    model = simmoe.ModelShape("tiny", "fp16", "fp16", (layer,), 2, nothing, nothing)
    w = Workload(hw, tiny_trace([[[0, 1]]] * 3, n_experts=2), model)
    run = play(w, Plan(10**9, placement="random=50%"))  # one expert stays on the CPU, the other on the GPU
    memory, own = hw.device_memory.bytes_per_s, hw.device.bytes_per_s
    assert memory - 50 * 10**9 < own
    alone, beside = (-(-(10**18) // rate) for rate in (w.costs.rate, (memory - 50 * 10**9) // 1000))
    assert run.pass_ps[1:].tolist() == [20 * 10**9] * 2  # 1 GB at 50 GB/s; the GPU is done before
    assert run.clocks.slowed_ps[1:].tolist() == [beside - alone] * 2 and beside > alone
    assert run.clocks.cpu_ps[1:].tolist() == [20 * 10**9 - beside] * 2


def test_same_inputs_same_digest_and_bytes(tmp_trace):
    from tests.scenarios import tiny_trace

    trace = tiny_trace([[[0]], [[1]], [[0]], [[2]]], n_experts=4)
    model = simmoe.ModelShape("tiny", "fp16", "fp16", (_moe_layer(),), 1, _part(100), _part(0))
    texts = {
        json.dumps(simmoe.run("a100", trace, model=model, budget=2000).to_json(), sort_keys=True) for _ in range(2)
    }
    assert len(texts) == 1
    run = json.loads(texts.pop())
    assert (run["hits"], run["misses"], run["evictions"], run["bytes"]) == (1, 3, 1, 3000)
    other = simmoe.run("a100", trace, model=model, budget=2000, eviction="fifo")
    assert other.digest != run["digest"]


def _part(count_bytes: int):
    from simmoe.simulator.nouns.model import Part

    return Part(count_bytes // 2, count_bytes, count_bytes)


def _moe_layer():
    from simmoe.simulator.nouns.model import Cache, Layer

    return Layer(_part(200), (Cache(8, 4),), expert=_part(1000), n_experts=4)


def test_littles_law_on_the_link():
    """Mean number of transfers on the FIFO link = rate of transfers × their mean duration: it never exceeds one."""
    from simmoe.simulator.nouns.run import Spans
    from tests.scenarios import tiny_trace

    trace = tiny_trace([[[i % 4]] for i in range(40)], n_experts=4)
    model = simmoe.ModelShape("tiny", "fp16", "fp16", (_moe_layer(),), 1, _part(100), _part(0))
    spans = Spans()
    run = play(Workload("a100", trace, model), Plan(3000, "fifo"), spans=spans)
    elapsed = int(run.pass_ps.sum())
    in_link = sum(lasts for _, _, lasts in spans.transfers) / elapsed
    assert in_link == pytest.approx(run.misses / elapsed * (run.clocks.link_busy_ps / run.misses))
    assert len(spans.transfers) == run.misses and in_link <= 1
    ends = [start + lasts for _, start, lasts in spans.transfers]
    assert all(start >= end for (_, start, _), end in zip(spans.transfers[1:], ends))


# --- the law of occupancy: a machine with one wrong line breaks it ---------------------------------------------------

BREAKS = {  # line of simulator/decide/residency.py, what stands in its place, where guesses go
    "an evicted expert stays resident": ("    c.resident[o] = 0\n", "    c.resident[o] = 1\n", "nowhere"),
    "an eviction frees too much": ("    c.count[USED] -= x.size_bytes[o]\n", "    c.count[USED] -= x.size_bytes[o] + 1\n", "nowhere"),
    "an eviction is not logged": ("    c.count[EVICTIONS] += 1\n", "    c.count[EVICTIONS] += event < 3\n", "nowhere"),
    "a load is counted twice": ("    c.count[LOADS] = loads\n", "    c.count[LOADS] = loads + (event == 5)\n", "nowhere"),
    "a load forgets its size": ("    c.count[USED] += x.size_bytes[o]\n", "    c.count[USED] += 1\n", "nowhere"),
    "the budget is not kept": ("        demand(event, q, v, c, room,", "        demand(event, q, v, c, room + 10,", "nowhere"),
    "a prefetch is not logged": ("x.size_bytes[o]\n        v.issued[j] = 1\n", "x.size_bytes[o]\n", "cache"),
    "a move out of a buffer is not counted": ("            c.count[PROMOTED] += x.size_bytes[o]\n", "", "buffers"),
}  # fmt: skip
ROWS = [[0, 1], [2, 3], [0, 4], [5, 1], [2, 0], [3, 5], [1, 4]]


def played(into: str, runner: player.Player, size: int = 10, cold: bool = False):
    """LRU on six experts, room for three; every event but the last guesses the first expert of the next one."""
    from tests.conftest import one_layer

    trace = replace(one_layer(ROWS, 6), sequence=np.array([0, 0, 0, 1, 1, 1, 1], np.int32))
    requests = requests_of(trace)
    wanted = Guesses(np.array([*range(7), 6]), np.array([row[0] for row in ROWS[1:]]), into == "buffers")
    return decide(
        requests, np.array([size]), policies.load("eviction", "lru"), 3 * size + 1, player=runner,
        guesses=None if into == "nowhere" else wanted, cold_at=first_events(trace, requests) if cold else None,
    )  # fmt: skip


def break_machine(monkeypatch, folder: Path, old: str, new: str) -> None:
    """Both engines play a machine with one line replaced."""
    text = Path(residency.__file__).read_text()
    assert text.count(old) == 1
    file = folder / "residency.py"
    file.write_text(text.replace(old, new))
    machine = ModuleType("broken_machine")
    machine.__file__ = str(file)
    exec(compile(file.read_text(), str(file), "exec"), vars(machine))
    monkeypatch.setattr(player, "machine", machine)
    monkeypatch.setattr(compiled, "machine", machine)
    monkeypatch.setattr(compiled, "kernels", compiled.kernels.__wrapped__)


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("name", BREAKS)
def test_a_wrong_machine_breaks_the_law_of_occupancy(name, cold, tmp_path, monkeypatch):
    old, new, into = BREAKS[name]
    played(into, player.Player(), cold=cold)
    break_machine(monkeypatch, tmp_path, old, new)
    with pytest.raises(
        BrokenLaw, match=r"simmoe broke its own law: .* are resident after event .*; please report this run"
    ):
        played(into, player.Player(), cold=cold)


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="numba is not installed: pip install 'simmoe[fast]'")
@pytest.mark.parametrize("name", ["an evicted expert stays resident", "a move out of a buffer is not counted"])
def test_a_wrong_compiled_machine_breaks_it_too(name, tmp_path, monkeypatch):
    old, new, into = BREAKS[name]
    played(into, CompiledPlayer())
    break_machine(monkeypatch, tmp_path, old, new)
    with pytest.raises(BrokenLaw, match="are resident after event"):
        played(into, CompiledPlayer())


@pytest.mark.slow
def test_nothing_keeps_the_requests_of_a_trace_alive():
    from tests.conftest import one_layer

    requests = requests_of(one_layer(ROWS, 6))
    wanted = Guesses(np.zeros(8, np.int64), np.zeros(0, np.int64))
    assert no_guesses(requests) is no_guesses(requests)
    assert (
        parts_of(requests, wanted, 1)
        is parts_of(requests, wanted, 1)
        is not parts_of(requests, no_guesses(requests), 1)
    )
    decide(requests, np.array([1]), policies.load("eviction", "belady"), 3, guesses=wanted)
    watched = [weakref.ref(it) for it in (requests, wanted, parts_of(requests, wanted, 1)[0])]
    del wanted
    gc.collect()
    assert [it() is None for it in watched] == [False, True, True]
    del requests
    gc.collect()
    assert watched[0]() is None


@pytest.mark.parametrize("log", ["stall_ps", "experts_ps", "slowed_ps", "cpu_ps", "host_ps"])
def test_a_clock_that_counts_a_cause_ten_times_breaks_a_law(log):
    """Time by cause was closed by its remainder once: then ten times the stalls still added up."""
    run = simmoe.run(
        "jetson_orin",
        "switch",
        tokens=300,
        budget="25%",
        set=["units.gpu.host_wait=20us"],
        timeline="sync",
        miss="fetch",
    )
    check_causes(run.workload.costs, run.clocks)
    counted = getattr(run.clocks, log)
    wrong = replace(run.clocks, **{log: 10 * counted if counted.any() else counted + 1})
    with pytest.raises(
        BrokenLaw, match=r"simmoe broke its own law: pass \d+ lasts \d+ ps but its causes add up to \d+ ps"
    ):
        check_causes(run.workload.costs, wrong)
