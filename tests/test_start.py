"""How a run starts: what is resident before it, a warm-up that is not timed, and how many requests met an empty slot."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.cli.main import main
from simmoe.play import ladder as laddering
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.decide.counts import event_of_cause, peak_buffer_bytes
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.decide.start import started
from simmoe.simulator.decide.warm_up import behind
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time.engines import named
from tests.conftest import one_layer
from tests.scenarios import FEW, MISSES, Case, cases, examples, few_kernels, physics
from tests.test_devices import TWO
from tests.test_schedule import PREFETCHER

ENGINES = ["simpy", "plain"] + ["fast"] * (not compiled.missing())
EVICTIONS = ("lru", "fifo", "lfu", "belady", "random", "arc", "w_tinylfu")
SWITCH = {"hw": "a100", "trace": "switch", "tokens": 1000}


@pytest.fixture(scope="module")
def prefetcher(tmp_path_factory):
    path = tmp_path_factory.mktemp("policies") / "right.py"
    path.write_text(PREFETCHER)
    return str(path)


def workload(case: Case) -> Workload:
    return Workload(case.hw, case.trace, case.model)


def refused(line: str, **options) -> None:
    with pytest.raises(UserError, match=line) as error:
        simmoe.run(**{**SWITCH, **options})
    assert "\n" not in str(error.value)


# --- what fits starts resident ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("engine", ENGINES)
def test_with_everything_resident_every_policy_is_the_bound(engine, prefetcher):
    """No request is a miss, no byte crosses the link, and the times are those of the bound to the picosecond."""

    @settings(max_examples=examples(100), deadline=None)
    @given(
        cases(prefetching=False),
        physics(),
        st.sampled_from(EVICTIONS),
        st.booleans(),
        st.sampled_from(("auto", "warm")),
    )
    def check(case, changed, eviction, wants, start):
        machine = workload(replace(case, hw=changed(case.hw)))
        plan = Plan(machine.model.all_expert_bytes, eviction, case.scope, case.timeline, seed=case.seed, start=start)
        run = play(machine, replace(plan, prefetch=prefetcher if wants else None), named(engine))
        bound = play(machine, replace(plan, eviction="everything", start="auto"), named(engine))
        assert (run.misses, run.bytes, run.evictions, run.cold_misses, run.start) == (0, 0, 0, 0, "warm")
        assert replace(run.clocks, fate=bound.clocks.fate) == bound.clocks and np.array_equal(
            run.decisions.used, bound.decisions.used
        )
        assert (bound.start, bound.cold_misses) == ("warm", 0)

    check()


def test_a_group_that_holds_its_experts_starts_full_and_another_does_not():
    """Groups of 3 experts: of 1 byte with room for 2, of 10 bytes with room for 3; then expert 2 of the first is another unit's."""
    size, mine = np.array([1, 1, 1, 10, 10, 10]), np.ones(6, bool)
    limits, present = started(size, mine, [2, 30], 32, "auto")
    assert (limits.begins, limits.start, [one.tolist() for one in present]) == (
        (0, 30),
        "warm in part",
        [[], [0, 1, 2]],
    )
    assert limits.met is not None and limits.met.tolist() == [False] * 3 + [True] * 3
    limits, present = started(size, mine, [2, 30], 32, "cold")
    assert (limits.begins, limits.start) == ((0, 0), "cold") and not any(map(len, present))
    with pytest.raises(
        UserError, match="--start warm: 33 B of experts are left to the device, and the budget of 32 B is short by 1 B"
    ):
        started(size, mine, [2, 30], 32, "warm")
    mine[2] = False
    limits, present = started(size, mine, [2, 30], 32, "warm")
    assert (limits.begins, limits.start, present[0].tolist()) == ((2, 30), "warm", [0, 1])
    limits, _ = started(size, np.arange(6) > 2, [2, 20], 22, "auto")
    assert (limits.begins, limits.start) == ((0, 0), "cold")  # a group without experts of its own is no warm one


def test_experts_of_another_unit_take_no_room():
    """The CPU has experts 2 and 3: room for two is room for all, and what it computes is no empty slot."""
    trace = one_layer([[0, 2], [1, 3]], 4)
    unit_of = np.array([0, 0, 1, 1], np.int8)
    made = decide(
        requests_of(trace), np.array([5]), policies.load("eviction", "lru"), 10, unit_of=unit_of, start="warm"
    )
    assert made.hit.tolist() == [True, False, True, False] and made.begins == (10,) and not len(made.loads)
    assert made.met is not None and made.met.tolist() == [True, True, False, False]
    run = simmoe.run("rtx_4090", "switch", tokens=400, budget="100%", placement="random=50%")
    assert run.counts.on_cpu > 0 and (run.start, run.cold_misses, run.misses, run.bytes) == ("warm", 0, 0, 0)


@pytest.mark.slow
def test_a_sequence_that_empties_the_slots_starts_cold():
    run = simmoe.run(**SWITCH, budget="100%", cold_per_sequence=True)
    assert (
        run.start == "cold" and run.to_json() == simmoe.run(**SWITCH, budget="100%", cold_per_sequence=True).to_json()
    )
    assert run.cold_misses == run.misses > 216  # each sequence pays again
    assert simmoe.run(**SWITCH, budget="100%", start="cold").cold_misses <= 216


def test_what_a_start_cannot_be_is_refused_in_one_line():
    refused(
        "^--start warm: 3.63 GB of experts .* short by 1.81 GB; --budget 3626090496B would fit",
        budget="50%",
        start="warm",
    )
    assert simmoe.run(**SWITCH, budget="3626090496B", start="warm").bytes == 0
    refused(
        "--start warm fills the slots, and --cold-per-sequence empties",
        budget="100%",
        start="warm",
        cold_per_sequence=True,
    )
    refused("--start cold: the bound everything starts full", eviction="everything", start="cold")
    refused("--start warm: the bound nothing empties", eviction="nothing", start="warm")
    refused("^--start: unknown 'hot'; choose one of auto, warm, cold", budget="50%", start="hot")
    refused("--warm-up 1000 leaves nothing to time of the 1,000 tokens", budget="50%", warm_up=1000)
    refused("--warm-up 9 cuts off passes .* --schedule continuous", budget="50%", warm_up=9, schedule="continuous")


@pytest.mark.slow
def test_the_page_cache_follows_the_same_rule():
    """What holds all experts holds them before the run: the store before the link is never read, as on the machine without it."""
    options = {"trace": "switch", "tokens": 400, "budget": "25%"}
    stored = {"hw": "rtx_4090_nvme", "page_cache": "4GB"}
    with_store, cold, small = (
        simmoe.run(**options, **{**stored, **more}) for more in ({}, {"start": "cold"}, {"page_cache": "3.5GB"})
    )
    assert with_store.pass_ps.sum() < cold.pass_ps.sum() < small.pass_ps.sum()
    assert with_store.misses == cold.misses and with_store.start == cold.start == "cold"
    plain = simmoe.run("rtx_4090", **options)
    assert with_store.clocks.link_busy_ps == plain.clocks.link_busy_ps and with_store.tok_s == plain.tok_s
    ruled = [
        simmoe.run(**options, **stored, miss="balanced", start=start, engine="plain") for start in ("auto", "cold")
    ]
    assert ruled[0].misses > ruled[1].misses  # a load out of the page cache is quick: the rule asks for more of them


@pytest.mark.slow
def test_each_of_several_devices_starts_by_its_own_budget(two_cards):
    options = {"trace": "switch", "tokens": 300, "timeline": "distributed", "placement": "layer_split=2/1"}
    full = simmoe.run(two_cards, **options, budget="100%")
    assert (full.start, full.misses, full.bytes, full.cold_misses) == ("warm", 0, 0, 0)
    part = simmoe.run(two_cards, **options, budget="1.3GB")  # 2.42 and 1.21 GB of experts
    assert (
        part.start == "warm in part"
        and 0 < part.misses < simmoe.run(two_cards, **options, budget="1.3GB", start="cold").misses
    )
    behind = simmoe.run(two_cards, **options, budget="1.3GB", warm_up=100)
    whole = simmoe.run(two_cards, **options, budget="1.3GB")
    assert behind.hits + behind.misses < whole.hits + whole.misses
    assert behind.decisions.hit.tolist() == whole.decisions.hit[-len(behind.decisions.hit) :].tolist()
    for engine in ENGINES:
        assert simmoe.run(two_cards, **options, budget="1.3GB", warm_up=100, engine=engine).clocks == behind.clocks


@pytest.fixture
def two_cards(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(TWO)
    return str(path)


@pytest.mark.slow
def test_a_clock_driven_run_starts_full_too():
    run = simmoe.run(**SWITCH, budget="100%", schedule="continuous")
    assert (run.start, run.misses, run.bytes, run.cold_misses) == ("warm", 0, 0, 0)
    cold = simmoe.run(**SWITCH, budget="100%", schedule="continuous", start="cold")
    assert cold.misses == cold.cold_misses > 0 and cold.start == "cold"


def test_what_starts_resident_is_part_of_the_law_of_occupancy(monkeypatch):
    """The same slots, but a start that the law is not told of."""
    monkeypatch.setattr("simmoe.simulator.decide.player.check_occupancy", lambda *a: checked(*a[:-1]))
    from simmoe.simulator.decide.laws import check_occupancy as checked

    trace = one_layer([[0], [1]], 2)
    with pytest.raises(BrokenLaw, match="2 B are resident"):
        decide(requests_of(trace), np.array([1]), policies.load("eviction", "lru"), 2, start="warm")


# --- a warm-up ---------------------------------------------------------------------------------------------------------


@st.composite
def warmed(draw: st.DrawFn):
    """(case, plan, whether it prefetches, tokens of the warm-up): at least one pass on both sides of the cut."""
    case = draw(cases(prefetching=False).filter(lambda case: case.trace.n_passes > 1))
    case = replace(case, hw=draw(physics())(case.hw))
    wants = draw(st.booleans())
    into = draw(st.sampled_from(("cache", "buffers"))) if wants else "cache"
    plan = Plan(
        case.budget_bytes, draw(st.sampled_from(EVICTIONS)), case.scope, case.timeline, draw(st.booleans()), case.seed,
        miss=draw(st.sampled_from(MISSES)), placement=draw(st.sampled_from((None, None, "n_cpu_moe=1", "random=50%"))),
        prefetch_into=into, write_back=into == "cache" and draw(st.booleans()), start=draw(st.sampled_from(("auto", "cold"))),
    )  # fmt: skip
    cut = draw(st.integers(1, case.trace.n_passes - 1))
    return case, plan, wants, int(case.trace.pass_ptr[cut])


@pytest.mark.slow
@pytest.mark.hypothesis
def test_what_follows_a_warm_up_is_the_rest_of_the_whole_run(prefetcher):
    """The decisions are its tail, and hits, loads, evictions and bytes are what the whole run counts there. The engines agree."""

    @settings(max_examples=examples(200), deadline=None)
    @given(warmed())
    def check(one):
        case, plan, wants, tokens = one
        plan = replace(plan, prefetch=prefetcher if wants else None)
        machine = workload(case)
        whole = play(machine, plan, named("plain"))
        engines = (
            ENGINES if few_kernels(plan, evictions=FEW) == plan else ENGINES[:2]
        )  # the interpreted ones play every pair of policies
        runs = [play(machine, replace(plan, warm_up=tokens), named(name)) for name in engines]
        run, cut = runs[0], int(np.searchsorted(case.trace.pass_ptr, tokens))
        assert all(other.clocks == run.clocks and other.counts == run.counts for other in runs)
        n = len(run.decisions.hit)
        for name in ("hit", "wait"):
            assert np.array_equal(getattr(run.decisions, name), getattr(whole.decisions, name)[-n:] if n else [])
        assert run.link_bytes.tolist() == whole.link_bytes[cut:].tolist()
        requests, event = machine.requests, cut * case.trace.n_layers
        for name in ("loads", "cpu"):
            theirs = getattr(whole.decisions, name).astype(int) - int(requests.ptr[event])
            assert getattr(run.decisions, name).tolist() == theirs[theirs >= 0].tolist()
        causes = event_of_cause(requests, whole.guesses, whole.decisions.evicted_for)
        assert run.decisions.evicted.tolist() == whole.decisions.evicted[causes >= event].tolist()
        assert sum(run.decisions.begins) == resident(machine, whole, event)
        assert run.decisions.used.tolist() == whole.decisions.used[event:].tolist()
        assert (
            run.workload.trace.n_tokens + tokens == case.trace.n_tokens == run.to_json()["scenario"]["trace"]["tokens"]
        )
        assert run.start.endswith(f"warm-up of {tokens} tokens")
        if not len(run.decisions.emptied):
            assert reserved(run) == run.decisions.used[-1]

    check()


def test_what_a_buffer_holds_at_the_cut_goes_along():
    """Experts of 5 bytes, each guessed one pass ahead. Behind pass 0 expert 1 is buffered for the next event, which hits it, arrived,
    while expert 2 is prefetched behind the cut and may still be on its way."""
    trace, size = one_layer([[0], [1], [2]], 3), np.array([5])
    requests, guesses = requests_of(trace), Guesses(np.array([0, 1, 2, 2]), np.array([1, 2]), True)
    made = decide(requests, size, policies.load("eviction", "lru"), 15, guesses=guesses)
    assert made.hit.tolist() == [False, True, True]
    later, rest = behind(requests, made, guesses, np.full(3, 5), 1)
    assert later.buffered is not None and [one.tolist() for one in later.buffered] == [[1], [0], [0]]
    assert (later.fresh.tolist(), later.fresh_by.tolist(), later.begins) == ([1], [0], (5,))
    tail = requests_of(trace.taken(slice(1, None), [0, 1, 2], [1, 1]))
    o = Occupancy.of(tail, later, rest, size)
    assert (o.begins, o.buffered, o.promoted) == ((5,), 5, {0: [(0, 5)], 1: [(0, 5)]})
    assert o.held == {1: 5, 2: 5} and peak_buffer_bytes(tail, later, rest, size) == 10


def reserved(run) -> int:
    """Bytes of slots at the end, from what an executor reserves and frees: what buffers held before the start goes into slots too."""
    o = Occupancy.of(run.workload.requests, run.decisions, run.guesses, run.workload.model.expert_bytes)
    moved = [sum(n for some in by.values() for _, n in some) for by in (o.promoted, o.leave, o.own)]
    early = 0 if run.guesses.buffered else sum(o.size[g] for g in run.guesses.obj[run.decisions.issued].tolist())
    return sum(o.begins) + sum(o.size[one] for one in o.load_obj) + early + moved[0] - moved[1] - moved[2]


def resident(machine: Workload, run, event: int) -> int:
    """Bytes that are resident when the event begins, from the end of the one before it."""
    return int(run.decisions.used[event - 1])


@pytest.mark.slow
@pytest.mark.hypothesis
def test_requests_that_met_an_empty_slot(prefetcher):
    """Counted by sets in plain Python: what was never resident since slots were last emptied, of the device's experts."""

    @settings(max_examples=examples(200), deadline=None)
    @given(warmed(), st.booleans())
    def check(one, cut):
        case, plan, wants, tokens = one
        plan = replace(plan, prefetch=prefetcher if wants else None)
        machine = workload(case)
        whole = play(machine, plan, named("plain"))
        run = play(machine, replace(plan, warm_up=tokens), named("plain")) if cut else whole
        first = int(np.searchsorted(case.trace.pass_ptr, tokens)) * case.trace.n_layers if cut else 0
        assert run.cold_misses == sum(by_hand(machine, plan, whole)[first:])

    check()


def by_hand(machine: Workload, plan: Plan, run) -> list[int]:
    """[events]: requests of the event that met an empty slot."""
    d, q, guesses = run.decisions, machine.requests, run.guesses
    mine = set(range(q.n_objects))
    if plan.placement is not None:
        from simmoe.play.plan import placed

        mine = set(np.flatnonzero(placed(machine, plan) == 0).tolist())
    loads, emptied, known, found = set(d.loads.tolist()), set(d.emptied.tolist()), set(), []
    if d.start != "cold":
        groups = np.array_split(np.arange(q.n_objects), len(d.rooms))
        known = {o for group, begin in zip(groups, d.begins) if begin for o in group.tolist() if o in mine}
    for event in range(q.n_events):
        if event in emptied:
            known = set()
        count, entered = 0, set()
        for i in range(int(q.ptr[event]), int(q.ptr[event + 1])):
            o = int(q.obj[i])
            count += not d.hit[i] and o in mine and o not in known
            if i in loads or d.hit[i]:  # a hit has a slot, and so has what comes out of a buffer
                entered.add(o)
        for j in range(int(guesses.ptr[event]), int(guesses.ptr[event + 1])):
            if d.issued[j] and not guesses.buffered:
                entered.add(int(guesses.obj[j]))
        known |= entered
        found.append(count)
    return found


@pytest.mark.slow
def test_a_sequence_that_the_cut_splits_has_no_time_to_first_token():
    whole = simmoe.run(**SWITCH, budget="25%")
    trace = whole.workload.trace
    first = trace.sequence[0]
    length = int((trace.sequence == first).sum())
    assert list(whole._prefill_by_sequence()) == sorted(set(trace.sequence.tolist()))
    run = simmoe.run(**SWITCH, budget="25%", warm_up=length - 1)
    assert (
        first not in run._prefill_by_sequence()
        and len(run._prefill_by_sequence()) == len(set(trace.sequence.tolist())) - 1
    )
    second = run._prefill_by_sequence()
    assert run.ttft_s["first"] == next(iter(second.values())) / 1e12
    chunks = {"budget": "25%", "prefill_chunk": 16}  # prompts of 64 tokens: three quarters of the first one are timed
    run = simmoe.run(**SWITCH, **chunks, warm_up=16)
    assert first not in run._prefill_by_sequence() and run.prefill.tokens % 64 == 48
    assert run.ttft_s["first"] == simmoe.run(**SWITCH, **chunks)._prefill_by_sequence()[trace.sequence[length]] / 1e12


@pytest.mark.slow
def test_a_warm_up_takes_whole_passes_and_at_least_one():
    run = simmoe.run(**SWITCH, budget="25%", warm_up=1)
    assert run.start == "warm-up of 64 tokens"  # the first pass is a prompt of 64
    assert simmoe.run(**SWITCH, budget="25%", warm_up=66).start == "warm-up of 66 tokens"


# --- ladders -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_rungs_of_a_ladder_start_alike_and_only_a_bound_starts_full():
    ladder = simmoe.ladder("a100", "switch", tokens=2000)
    trace = ladder.workload.trace
    tokens = laddering.usual_warm_up(trace)
    assert tokens is not None and 0.1 * 2000 <= tokens < 0.2 * 2000
    assert ladder.start == f"warm-up of {tokens} tokens" and {run.start for run in ladder.runs} == {ladder.start}
    assert ladder.everything.start == "warm" or ladder.everything.start.startswith("warm, ")
    rows = [*ladder.runs, ladder.nothing, ladder.everything]
    assert {len(run.pass_ps) for run in rows} == {trace.n_passes - int(np.searchsorted(trace.pass_ptr, tokens))}
    whole = ladder.runs[-1]
    one = simmoe.run("a100", "switch", tokens=2000, budget="100%", start="cold", warm_up=tokens)
    assert whole.to_json() == one.to_json() and whole.cold_misses == whole.misses
    cold = simmoe.ladder("a100", "switch", tokens=2000, start="cold")
    assert {run.start for run in cold.runs} == {cold.start} == {"cold"} and cold.everything.bytes == 0
    assert cold.runs[-1].misses == cold.runs[-1].cold_misses > whole.misses
    assert len(cold.runs[-1].pass_ps) == len(cold.everything.pass_ps) == trace.n_passes
    own = simmoe.ladder("a100", "switch", tokens=2000, warm_up=640)
    assert own.start == "warm-up of 640 tokens"
    with pytest.raises(UserError, match="--start warm: the rungs of a ladder start alike"):
        simmoe.ladder("a100", "switch", tokens=200, start="warm")
    assert simmoe.ladder("a100", "switch", tokens=300, schedule="continuous").start == "cold"


@pytest.mark.parametrize(
    ("prompt", "decode", "passes"), [(0, 9, 0), (0, 10, 1), (0, 255, 25), (0, 256, 64), (3, 256, 67), (0, 1000, 100)]
)
def test_the_warm_up_that_nobody_asked_for(prompt, decode, passes):
    """The first tenth of the passes, and 64 decode passes at least where there are four times as many."""
    trace = one_layer([[0]] * (prompt + decode), 1)
    trace = replace(trace, phase=np.array([0] * prompt + [1] * decode, np.int8))
    assert (laddering.usual_warm_up(trace) or 0) == passes


@pytest.mark.slow
def test_more_experts_are_advised_only_from_an_equal_start(capsys):
    """What the machine holds more is all of them: what it gives is the gain of a run that starts empty too."""
    words = ["--hw", "a100", "--trace", "switch", "--tokens", "2000"]
    assert main(["run", *words, "--budget", "2.7GB"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    (told,) = re.findall(r"all of the experts \(--budget 100% --start cold\) gives \+(\d+)%", said)
    less, more = (simmoe.run("a100", "switch", tokens=2000, budget=b, start="cold").tok_s for b in ("2.7GB", "100%"))
    assert less and more and int(told) == round(100 * (more / less - 1))


# --- what a result says ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_result_says_how_it_started(capsys):
    words = ["--hw", "a100", "--trace", "switch", "--tokens", "600"]
    assert main(["run", *words, "--budget", "100%"]) == 0
    assert "Starts warm. 0 requests met an empty slot." in capsys.readouterr().out
    assert main(["run", *words, "--budget", "100%", "--warm-up", "64", "--start", "cold", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["start"] == "warm-up of 64 tokens" and said["cold_misses"] == said["misses"] > 0
    assert main(["run", *words]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"Every rung starts after a warm-up of \d+ tokens; the bound everything starts full. [\d, to]+ requests met",
        out,
    )
    assert main(["compare", *words, "--budget", "100%", "--eviction", "lru", "--eviction", "nothing"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Row 1 starts warm. 0 requests met an empty slot." in out and "Row 2 starts cold." in out
