"""Clock-driven schedules: engines against each other, a schedule in plain lists, queueing theory, and the run played again."""

from __future__ import annotations

import json
import re
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.cli.main import main
from simmoe.play.arrivals import arrival_ps
from simmoe.play.plan import Plan, guesses_of, missing_of
from simmoe.play.replay import decide_named, told
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.binding import bound
from simmoe.simulator.decide.decisions import BOUNDS
from simmoe.simulator.decide.laws import BrokenLaw
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower import layer
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.lower.occupancy import Occupancy
from simmoe.simulator.lower.tables import notes_of, tables_of, with_cpu, work_of
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.nouns.run import Spans
from simmoe.simulator.nouns.serving import ServingLog
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.simulator.time import compile as compiled
from simmoe.simulator.time import rates, recurrence, serve
from simmoe.simulator.time.engines import Engine, named
from simmoe.simulator.time.laws import check_requests
from simmoe.simulator.time.serving import Serving
from simmoe.workloads.format import trace as traces
from tests.conftest import COMPILED, FAST, PAIRS
from tests.scenarios import FEW, Case, build_trace, cases, cpus, examples, few_kernels, physics, shape_for

PREFETCHER = '''
import numpy as np

def wanted(trace, ask):
    """What the next event asks for, and some that it does not."""
    pairs = []
    for p in range(trace.n_passes):
        rows = trace.expert_ids[trace.pass_ptr[p]:trace.pass_ptr[p + 1]]
        for layer in range(trace.n_layers):
            event = p * trace.n_layers + layer - 1
            found = dict.fromkeys(int(e) for e in rows[:, layer].ravel() if e >= 0)
            if event >= 0 and int(rows.sum()) % 3:
                pairs += [(event, layer * trace.n_experts + e) for e in [*found, (p + layer) % trace.n_experts]]
    event, obj = np.array(pairs, np.int64).reshape(-1, 2).T
    return event, obj
'''
NAMES = ["simpy", "plain"] + ["fast"] * (not compiled.missing())
MISSES = ("fetch", "fetch", "cpu", "balanced", "idle_cheaper")


@pytest.fixture(scope="module")
def prefetcher(tmp_path_factory):
    path = tmp_path_factory.mktemp("policies") / "right.py"
    path.write_text(PREFETCHER)
    return str(path)


@st.composite
def arrivals(draw: st.DrawFn) -> str | None:
    """From all at once to one after the other has ended, on both scales of the scenarios."""
    gap = draw(st.sampled_from((0, 1, 3, 20, 60, 500))) * draw(st.sampled_from((1, 1, 33_600_001)))
    if gap == 0:
        return None
    return draw(st.sampled_from((f"every:{gap}ps", f"poisson:{10**12 / gap:.3f}/s")))


TOLD = ("swapmoe", "moe_infinity", "least_stale", "lfu_decay")  # which read gates, sequences, layers, numbers
EVICTIONS = ("lru", "lru", "fifo", "lfu", "random", "w_tinylfu", *TOLD, *BOUNDS)


@st.composite
def served(draw: st.DrawFn, prefetch: bool | None = None, miss: str | None = None):
    """(case, workload, plan without its prefetcher's file, whether it prefetches)."""
    case = draw(cases(prefetching=False))
    case = replace(case, hw=draw(st.one_of(cpus(), physics()))(case.hw))
    eviction = draw(st.sampled_from(EVICTIONS))
    wants = eviction not in BOUNDS and (draw(st.booleans()) if prefetch is None else prefetch)
    plan = Plan(
        case.budget_bytes, eviction, case.scope, case.timeline, False, case.seed, miss=miss or draw(st.sampled_from(MISSES)),
        placement=draw(st.sampled_from((None, None, "n_cpu_moe=1", "random=50%"))) if miss is None else None,
        prefetch_into="buffers" if wants and draw(st.booleans()) else "cache", arrivals=draw(arrivals()),
        start=draw(st.sampled_from(("auto", "cold"))),
    )  # fmt: skip
    plan = replace(plan, write_back=plan.prefetch_into == "cache" and draw(st.booleans()))
    return case, draw(st.integers(1, 6)), plan, wants


def workload(case: Case, max_batch: int | None, schedule: str = "continuous", trace: Trace | None = None) -> Workload:
    return Workload(case.hw, trace or case.trace, case.model, schedule=schedule, max_batch=max_batch)


def everything(run: Run):
    """All that engines must agree on."""
    assert run.serving is not None
    same = [
        *astuple(run.decisions),
        run.guesses.ptr,
        run.guesses.obj,
        *vars(run.serving).values(),
        run.workload.trace.expert_ids,
    ]
    return run.clocks, run.counts, [np.asarray(one).tolist() for one in same]


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
def test_all_engines_are_equal_bit_for_bit(prefetcher, names):
    @settings(max_examples=examples(200), deadline=None)
    @given(served())
    def compare(drawn):
        case, most, plan, wants = drawn
        plan = replace(
            few_kernels(plan, case.hw, FEW) if "fast" in names else plan, prefetch=prefetcher if wants else None
        )
        one, other = (everything(play(workload(case, most), plan, named(name))) for name in names)
        assert one == other

    compare()


# --- the schedule in plain lists ---------------------------------------------------------------------------------------


def steps_in_lists(trace: Trace) -> dict[int, list[tuple[int, list[int]]]]:
    """sequence -> (phase, rows) of each step."""
    found: dict[int, list[tuple[int, list[int]]]] = {}
    for p in range(trace.n_passes):
        own: dict[int, list[int]] = {}
        for row in range(int(trace.pass_ptr[p]), int(trace.pass_ptr[p + 1])):
            own.setdefault(int(trace.sequence[row]), []).append(row)
        for sequence, rows in own.items():
            found.setdefault(sequence, []).append((int(trace.phase[p]), rows))
    return found


def by_hand(trace: Trace, arrival: list[int], most: int, lasted: list[int]) -> list[tuple[int, list[int]]]:
    """(start, rows of the trace) of each pass, when pass n lasts `lasted[n]`: a queue, and places with what is left to run."""
    waiting = [[at, steps] for at, steps in zip(arrival, steps_in_lists(trace).values())]
    places: list[list[tuple[int, list[int]]]] = []
    now, found = 0, []
    while waiting or places:
        if not places and waiting[0][0] > now:
            now = waiting[0][0]
        while waiting and waiting[0][0] <= now and len(places) < most:
            places.append(waiting.pop(0)[1])
        reading = [steps for steps in places if steps[0][0] == PREFILL]
        mine = reading[:1] or places
        found.append((now, [row for steps in mine for row in steps[0][1]]))
        now += lasted[len(found) - 1]
        for steps in list(mine):
            steps.pop(0)
        places = [steps for steps in places if steps]
    return found


@pytest.mark.slow
@pytest.mark.hypothesis
def test_continuous_batching_is_what_plain_lists_say(prefetcher):
    @settings(max_examples=examples(150), deadline=None)
    @given(served())
    def compare(one):
        case, most, plan, wants = one
        run = play(workload(case, most), replace(plan, prefetch=prefetcher if wants else None), named("plain"))
        n = len(steps_in_lists(case.trace))
        want = by_hand(case.trace, arrival_ps(plan.arrivals, n, plan.seed).tolist(), most, run.pass_ps.tolist())
        got, weights = run.workload.trace, case.trace.expert_ids
        assert run.clocks.start_ps.tolist() == [start for start, _ in want]
        assert np.diff(got.pass_ptr).tolist() == [len(rows) for _, rows in want]
        order = [row for _, rows in want for row in rows]
        assert sorted(order) == list(range(case.trace.n_tokens))  # no row lost, none played twice
        assert np.array_equal(got.expert_ids, weights[order]) and np.array_equal(
            got.position, case.trace.position[order]
        )

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_a_run_played_again_as_recorded_gives_the_same_decisions_and_times(prefetcher):
    """Its passes are known by now; what the schedule waited for are gates."""

    @settings(max_examples=examples(150), deadline=None)
    @given(served())
    def compare(one):
        case, most, plan, wants = one
        plan = replace(plan, prefetch=prefetcher if wants else None)
        run = play(workload(case, most), plan, named("plain"))
        again = Workload(case.hw, run.workload.trace, case.model)
        decisions = decide_named(
            again.trace, again.requests, case.model.expert_bytes, plan.eviction, plan.budget_bytes, plan.scope, False, plan.seed,
            None, run.guesses, start=plan.start, told=told(plan.eviction, again.trace, None), **missing_of(again, plan)._asdict(),
        )  # fmt: skip
        for mine, theirs in zip(astuple(run.decisions), astuple(decisions)):
            assert np.array_equal(mine, theirs)
        assert run.serving is not None
        clocks = gated(again, run, decisions, run.serving.waited_ps.tolist())
        assert list(clocks[-7:]) == [log.tolist() for log in list(vars(run.clocks).values())[:7]]
        assert clocks.at[rates.BUSY] == run.clocks.link_busy_ps

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_what_is_reserved_pass_by_pass_is_what_the_whole_run_reserves(prefetcher):
    @settings(max_examples=examples(100), deadline=None)
    @given(served())
    def compare(one):
        case, most, plan, wants = one
        loops = []

        class Watched(Engine):
            def serve(self, *arguments):
                loops.append(super().serve(*arguments))
                return loops[-1]

        run = play(
            workload(case, most), replace(plan, prefetch=prefetcher if wants else None), Watched("simpy", Player())
        )
        want = Occupancy.of(run.workload.requests, run.decisions, run.guesses, case.model.expert_bytes)
        got = vars(loops[0][0].lowered.occupancy)
        for name in ("emptied", "group", "size", "load_obj", "guess_obj", "leave", "own", "promoted", "held"):
            assert got[name] == vars(want)[name], name

    compare()


def gated(again: Workload, run: Run, decisions, gates: list[int]):
    """The recurrence over the whole run at once, but no pass starts before its gate."""
    costs, requests, lists = again.costs, again.requests, Player().arrays
    loads = loading(costs, requests, decisions, run.guesses, write_back=run.plan.write_back)
    fixed, tables = tables_of(costs, requests)
    work = work_of(costs, requests, decisions, run.guesses, loads)
    fixed = with_cpu(fixed, costs) if len(work.cpu_ps) else fixed
    clock = lists(recurrence._clock(costs, work, [np.zeros(len(gates), np.int64) for _ in recurrence.LOGS], None, 0))
    text = bound(layer, policies.load("timeline", run.plan.timeline), rates, serve)
    tables, work, notes, now = lists(tables), lists(work), lists(notes_of(requests.widest)), 0
    for number, gate in enumerate(gates):
        now = text.run_passes(
            number, number + 1, max(now, gate), fixed._replace(latest=2**63 - 1), tables, work, notes, clock
        )
    return clock


# --- limits that queueing theory knows -----------------------------------------------------------------------------------


def one_by_one(trace: Trace) -> Trace:
    """The sequences one after the other, in order of arrival, each alone in its passes."""
    steps = [step for own in steps_in_lists(trace).values() for step in own]
    rows = np.array([row for _, own in steps for row in own])
    return trace.taken(
        rows, np.cumsum([0, *(len(own) for _, own in steps)]), np.array([phase for phase, _ in steps], np.int8)
    )


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("name", ["simpy", "plain", pytest.param("fast", marks=[COMPILED, pytest.mark.slow])])
def test_without_load_the_passes_are_those_of_the_sequences_one_after_the_other(name):
    @settings(max_examples=examples(100), deadline=None)
    @given(served(prefetch=False))
    def compare(one):
        case, most, plan, _ = one
        plan = few_kernels(plan, case.hw, FEW) if name == "fast" else plan
        run = play(workload(case, most), replace(plan, arrivals="every:1s"), named(name))
        want = play(
            workload(case, None, "recorded", one_by_one(case.trace)), replace(plan, arrivals=None), named("plain")
        )
        assert run.pass_ps.tolist() == want.pass_ps.tolist()
        assert (run.decisions.hit == want.decisions.hit).all() and run.bytes == want.bytes
        begun = run.requests
        assert begun.start_ps.tolist() == begun.arrival_ps.tolist()
        assert begun.idle_ps == int(run.clocks.end_ps[-1]) - int(run.pass_ps.sum())

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_one_place_is_lindleys_queue():
    """Everything resident, so nothing couples the requests: a request starts when it has arrived and the one before has ended."""

    @settings(max_examples=examples(100), deadline=None)
    @given(served(prefetch=False, miss="fetch"))
    def compare(one):
        case, _, plan, _ = one
        plan = replace(plan, eviction="everything")
        run = play(workload(case, 1), plan, named("plain")).requests
        alone = one_by_one(case.trace)
        times = play(workload(case, None, "recorded", alone), replace(plan, arrivals=None), named("plain")).pass_ps
        owner = alone.sequence[alone.pass_ptr[:-1]]
        end = 0
        for i, sequence in enumerate(run.sequence.tolist()):
            start = max(end, int(run.arrival_ps[i]))
            end = start + int(times[owner == sequence].sum())
            assert (int(run.start_ps[i]), int(run.finish_ps[i])) == (start, end)

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_requests_and_tokens_are_conserved_and_obey_littles_law():
    @settings(max_examples=examples(100), deadline=None)
    @given(served())
    def compare(one):
        case, most, plan, _ = one
        run = play(workload(case, most), plan, named("plain"))
        found, log = run.requests, run.serving
        recorded = steps_in_lists(case.trace)
        assert found.sequence.tolist() == list(recorded) and int(log.left.sum()) == len(recorded)
        for i, steps in enumerate(recorded.values()):
            phases = [phase for phase, _ in steps]
            prompts = sum(a == PREFILL and b == DECODE for a, b in zip(phases, [*phases[1:], DECODE]))
            assert found.tokens[i] == prompts + sum(len(rows) for phase, rows in steps if phase == DECODE)
        assert (found.arrival_ps <= found.start_ps).all() and (found.first_ps <= found.finish_ps).all()
        stays = int((found.finish_ps - found.arrival_ps).sum())
        assert check_requests(log, found.finish_ps, run.clocks) == stays
        with pytest.raises(BrokenLaw, match="requests that are there"):
            check_requests(log, found.finish_ps + 1, run.clocks)
        with pytest.raises(BrokenLaw, match="are left"):
            lost = ServingLog(log.sequence, log.arrival_ps, log.waited_ps, log.left * 0)
            check_requests(lost, found.finish_ps, run.clocks)

    compare()


# --- by hand -------------------------------------------------------------------------------------------------------------

ONE_LAYER = Layer(Part(9, 9, 0), expert=Part(4, 4, 0), n_experts=4)
TINY = ModelShape("tiny", "fp16", "fp16", (ONE_LAYER,), 1, Part(1, 1, 0), NO_PART)


def tiny_machine() -> Hardware:
    """Attention takes 9 ps, one launch over n experts 4n, the head 1; a load 40."""
    gpu = ComputeUnit("gpu", "dram", 10**12, 0, {"fp16": 10**15})
    tiers = {"dram": Tier("dram", 10**15, 10**12), "home": Tier("home", 10**15, 10**11)}
    return Hardware(
        "tiny", "a machine of a few bytes", False, tiers, {"gpu": gpu}, Link("home", "dram", 10**11, 0), ("gpu",), 0, 1
    )


def two_requests() -> Trace:
    """A: a prompt of two rows, then three steps. B: two steps and no prompt. Experts differ, so a batch of both reads two."""
    layout = [(PREFILL, [7, 7]), (DECODE, [7]), (DECODE, [7, 3]), (DECODE, [7]), (DECODE, [3])]
    sequences = [one for _, own in layout for one in own]
    rows = [[[0 if one == 7 else 1]] for one in sequences]
    return build_trace(rows, [len(own) for _, own in layout], [phase for phase, _ in layout], sequences, 4, [0])


def test_ttft_and_tpot_by_hand():
    """A pass with one expert lasts 14 ps, with two 18. B arrives at 20, while A decodes its first step (14 to 28)."""
    run = play(
        Workload(tiny_machine(), two_requests(), TINY, schedule="continuous"),
        Plan(16, "everything", arrivals="every:20ps"), named("plain"),
    )  # fmt: skip
    assert run.pass_ps.tolist() == [14, 14, 18, 18]
    found = run.requests
    assert found.sequence.tolist() == [7, 3] and found.tokens.tolist() == [4, 2]
    assert found.first_ps.tolist() == [14, 46] and found.finish_ps.tolist() == [64, 64]
    assert found.ttft_ps.tolist() == [14, 26] and found.start_ps.tolist() == [0, 28]
    assert found.tpot_ps.tolist() == [50 / 3, 18.0]
    block = run.to_json()["requests"]
    assert block["n"] == 2 and block["tokens"] == 6 and block["makespan_ps"] == 64 and block["idle_ps"] == 0
    assert block["ttft_ms"] == {"p50": 14e-9, "p90": 26e-9, "p95": 26e-9, "p99": 26e-9, "mean": 20e-9}
    assert block["e2e_ms"]["mean"] == 54e-9 and block["queue_ms"]["p95"] == 8e-9
    assert block["arrivals_per_s"] == pytest.approx(1e12 / 20)
    assert block["mean_batch"] == 5 / 3 and block["mean_in_system"] == 108 / 64
    assert block["tokens_per_s"] == pytest.approx(6e12 / 64) and block["requests_per_s"] == pytest.approx(2e12 / 64)


@pytest.mark.parametrize(
    ("method", "broken", "law"),
    [
        ("_arrive", lambda asked: lambda self, now_ps: asked(self, now_ps + 1000), "no request runs before it arrives"),
        (
            "_formed",
            lambda asked: lambda self, start: (one := asked(self, start))._replace(rows=one.rows[::-1]),
            "every row is played once, in the order of its sequence",
        ),
    ],
)
def test_a_loop_that_errs_breaks_a_law(monkeypatch, method, broken, law):
    monkeypatch.setattr(Serving, method, broken(getattr(Serving, method)))
    with pytest.raises(BrokenLaw, match=law):
        play(
            Workload(tiny_machine(), two_requests(), TINY, schedule="continuous"),
            Plan(16, arrivals="every:1000ps"),
            named("plain"),
        )


def test_an_idle_machine_waits_for_the_next_request():
    run = play(
        Workload(tiny_machine(), two_requests(), TINY, schedule="continuous", max_batch=1),
        Plan(16, "everything", arrivals="every:100ps"), named("plain"),
    )  # fmt: skip
    assert run.clocks.start_ps.tolist() == [0, 14, 28, 42, 100, 114] and run.requests.idle_ps == 44
    assert run.serving.waited_ps.tolist() == [0, 0, 0, 0, 100, 0] and run.to_json()["total_ps"] == 84
    assert run.requests.first_ps.tolist() == [14, 114]


@pytest.mark.slow
@pytest.mark.skipif("switch" not in traces.names(), reason="the bundled traces are not made yet")
@pytest.mark.parametrize("prefetch", ["whole_layer", "next_layer"])
def test_what_is_wanted_pass_by_pass_is_what_is_wanted_of_the_whole(prefetch):
    """Only the last event of the run wants more: nothing says that no pass follows."""
    options = {"schedule": "continuous", "arrivals": "poisson:20/s", "max_batch": 2, "prefetch": prefetch}
    run = simmoe.run("a100", "switch", tokens=600, budget="25%", **options)
    again = Workload(run.workload.hw, run.workload.trace, run.workload.model)
    want, last = guesses_of(again, run.plan), again.requests.n_events - 1
    assert run.guesses.ptr[: last + 1].tolist() == want.ptr[: last + 1].tolist()
    assert run.guesses.obj[: want.ptr[last]].tolist() == want.obj[: want.ptr[last]].tolist()


def test_arrivals_are_whole_picoseconds_and_of_their_rate():
    assert arrival_ps(None, 3, 0).tolist() == [0, 0, 0]
    assert arrival_ps("every:500ms", 3, 0).tolist() == [0, 5 * 10**11, 10**12]
    many = arrival_ps("poisson:2/s", 20_000, 1)
    gaps = np.diff(many, prepend=0)
    assert (gaps >= 0).all() and abs(gaps.mean() / 5e11 - 1) < 0.03 and abs(gaps.std() / 5e11 - 1) < 0.03
    assert (arrival_ps("poisson:2/s", 50, 1) == many[:50]).all() and (
        arrival_ps("poisson:2/s", 50, 2) != many[:50]
    ).any()
    with pytest.raises(UserError, match="more than any machine has and the simulator counts"):
        arrival_ps("every:5000000s", 3, 0)


# --- files of the user ---------------------------------------------------------------------------------------------------

ROUND_ROBIN = """
def next_pass(now_ps, requests, max_batch):
    '''The request that has waited longest for a pass; here the one with most steps left.'''
    return [max(requests, key=lambda one: (one.steps_left, -one.number))]
"""
BATCHES = """
def next_pass(now_ps, requests, max_batch):
    '''Waits until there are two, then decodes both.'''
    if len(requests) < 2 and all(not one.started for one in requests):
        return []
    reading = [one for one in requests if one.reads_prompt]
    return reading[:1] or list(requests)
"""


def own(tmp_path, text: str) -> str:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", ["simpy", "plain", FAST])
def test_a_schedule_of_ones_own(tmp_path, name):
    plan = Plan(16, arrivals="every:20ps")
    machine = tiny_machine(), two_requests(), TINY
    run = play(Workload(*machine, schedule=own(tmp_path, ROUND_ROBIN)), plan, named(name))
    assert run.workload.trace.sequence.tolist() == [7, 7, 7, 7, 3, 7, 3]
    run = play(Workload(*machine, schedule=own(tmp_path, BATCHES)), plan, named(name))
    assert run.clocks.start_ps[0] == 20 and run.serving.waited_ps[0] == 20
    assert run.workload.facts()["schedule"].startswith("mine sha256:")


WRONG = [
    ("return None", r"returned None, which is no list; return requests out of those that it is given"),
    ("return [1]", r"returned 1, which is none of the 1 requests that are there"),
    ("return [requests[0]] * 2", r"returned request 0 twice; a request runs one step in a pass"),
    ("return []", r"in pass 0 returned no request, although 2 have not ended and none will arrive"),
    ("return 1 / 0", r"mine.py: next_pass\(\) failed in pass 0 at line 2: ZeroDivisionError"),
    ("exit()", r"next_pass\(\) failed in pass 0 at line 2: SystemExit"),
    ("return list(requests)", r"returned requests that read prompts beside others that decode", ),
    ("from dataclasses import replace\n    return [replace(requests[0], rows=9)]", r"which is none of the 1 requests"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "line"), WRONG)
def test_what_a_schedule_may_not_answer_is_one_line(tmp_path, body, line):
    path = own(tmp_path, f"def next_pass(now_ps, requests, max_batch):\n    {body}\n")
    plan = Plan(16, arrivals=None if "2 have" in line or "beside" in line else "every:500ps")
    with pytest.raises(UserError, match=line) as error:
        play(Workload(tiny_machine(), two_requests(), TINY, schedule=path), plan, named("plain"))
    assert "\n" not in str(error.value) and str(error.value).startswith(("schedule mine.py", "policy mine.py"))


TIMELINE = """
from simmoe.simulator.lower.layer import load_beside

def lower_layer(event, number, size, column, now, f, t, w, s, e):
    return RETURNED
"""


@pytest.mark.slow
def test_a_timeline_of_ones_own_is_tried_and_played(tmp_path):
    load = "load_beside(event, number, size, column, now, f, t, w, s, e)"
    path, plan = own(tmp_path, TIMELINE.replace("RETURNED", load)), Plan(16, arrivals="every:20ps")
    machine = Workload(tiny_machine(), two_requests(), TINY, schedule="continuous")
    for name in NAMES:
        assert (
            play(machine, replace(plan, timeline=path), named(name)).clocks == play(machine, plan, named(name)).clocks
        )
    path = own(tmp_path, TIMELINE.replace("RETURNED", "now"))
    with pytest.raises(UserError, match=r"timeline mine.py: pass 0: .* must move once and in order"):
        play(machine, replace(plan, timeline=path), named("plain"))


def test_more_sequences_than_there_is_kv_memory_for_are_refused(tmp_path):
    path = own(tmp_path, ROUND_ROBIN)
    with pytest.raises(
        UserError, match=r"in pass 3 returned requests of which 2 would hold a KV cache; --max-batch allows 1"
    ):
        play(Workload(tiny_machine(), two_requests(), TINY, schedule=path, max_batch=1), Plan(16), named("plain"))


REGROUPED = """
from simmoe.policies.schedule.chunks import regrouped as chunks

def regrouped(trace, sequences):
    return chunks(trace, 1)
"""


KEPT = """
from dataclasses import replace
import numpy as np
def regrouped(trace, sequences): return replace(trace, emitted=np.ones(trace.n_tokens, np.int8))
"""


def test_a_file_may_know_its_passes_beforehand(tmp_path):
    machine = tiny_machine(), two_requests(), TINY
    run = play(Workload(*machine, schedule=own(tmp_path, REGROUPED)), Plan(16))
    assert run.pass_ps.tolist() == play(Workload(*machine, prefill_chunk=1), Plan(16)).pass_ps.tolist()
    for text, line in (
        ("def regrouped(trace, sequences): return 3", r"regrouped\(\) returned int; it must return a Trace"),
        ("def regrouped(trace, sequences): return 1 / 0", r"regrouped\(\) failed at line 1: ZeroDivisionError"),
        ("x = 1", r"mine.py defines neither next_pass\(\) nor regrouped\(\)"),
        (REGROUPED.replace("chunks(trace, 1)", "trace.taken(slice(1), trace.pass_ptr[:1] * 0 + [0, 1], trace.phase[:1])"),
         r"regrouped\(\) returned other rows; every row of a sequence must stay, in its order and phase"),
        (KEPT, r"regrouped\(\) returned other rows"),
        (KEPT.replace("emitted=np.ones(trace.n_tokens, np.int8)", "layer_index=trace.layer_index + 1"), r"returned other rows"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=line):
            Workload(*machine, schedule=own(tmp_path, text))


# --- at the command line -------------------------------------------------------------------------------------------------

BUNDLED = pytest.mark.skipif("switch" not in traces.names(), reason="the bundled traces are not made yet")
RUN = ["run", "--hw", "a100", "--trace", "switch", "--tokens", "600", "--budget", "25%"]
CONTINUOUS = [*RUN, "--schedule", "continuous"]
REFUSED = [
    ([*CONTINUOUS, "--eviction", "belady"], r"belady.py looks ahead, but which passes will run is not known"),
    ([*CONTINUOUS, "--batch", "2"], r"--batch 2 makes static batches, and --schedule continuous forms its passes itself"),
    ([*CONTINUOUS, "--cold-per-sequence"], r"--cold-per-sequence empties the slots when a sequence starts, and under"),
    ([*CONTINUOUS, "--hw", "rtx_4090_nvme", "--page-cache", "4GB"], r"--schedule continuous with --page-cache is not modelled"),
    ([*CONTINUOUS, "--eviction", "everything", "--prefetch", "whole_layer"], r"the bound everything prefetches nothing"),
    ([*CONTINUOUS, "--arrivals", "often"], r"--arrivals: 'often' says no arrivals; write poisson:2/s.* or every:500ms"),
    ([*CONTINUOUS, "--arrivals", "poisson:0/s"], r"--arrivals: .0/s. is no rate above 0"),
    ([*CONTINUOUS, "--arrivals", "every:5GB"], r"--arrivals: unknown unit 'GB' in '5 GB'"),
    ([*CONTINUOUS, "--max-batch", "0"], r"--max-batch '?0'? is no number of sequences; give 1 or more"),
    ([*RUN, "--max-batch", "2"], r"--max-batch 2 is for a clock-driven schedule, .* use --batch for static batches"),
    ([*RUN, "--arrivals", "every:5s"], r"--arrivals every:5s is for a clock-driven schedule"),
    ([*RUN, "--schedule", "chunks"], r"--schedule chunks needs a number: give --prefill-chunk N"),
    ([*RUN, "--schedule", "batches"], r"--schedule batches needs a number: give --batch N"),
    ([*RUN, "--schedule", "continous"], r"unknown schedule policy 'continous'.* did you mean 'continuous'"),
]  # fmt: skip


@BUNDLED
@pytest.mark.parametrize(("arguments", "line"), REFUSED)
def test_what_cannot_be_together_is_one_line(arguments, line, capsys):
    words = [
        word
        for i, word in enumerate(arguments)
        if not (word in ("--hw", "a100") and "rtx_4090_nvme" in arguments and i < 3)
    ]
    assert main(words) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and re.search(line, out.err), out.err


@pytest.mark.slow
@BUNDLED
def test_the_command_shows_what_requests_waited_for(capsys, tmp_path):
    words = [*CONTINUOUS, "--arrivals", "poisson:20/s", "--max-batch", "2"]
    assert main([*words, "--json", "--save", str(tmp_path / "s.yaml")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scenario"]["schedule"] == "continuous"
    assert found["scenario"]["max_batch"] == 2 and found["scenario"]["plan"]["arrivals"] == "poisson:20/s"
    assert main(["run", str(tmp_path / "s.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert main(words) == 0
    out = " ".join(capsys.readouterr().out.split())
    block = found["requests"]
    assert "schedule continuous" in out and f"{block['n']} requests" in out and "TTFT" in out and "poisson:20/s" in out


@pytest.mark.slow
def test_a_sweep_over_schedules_says_none_of_them_for_all(capsys, tmp_path):
    space = {
        "schema": 1,
        "name": "s",
        "hw": "rtx_4090",
        "trace": "oracle-4x16-k4",
        "schedule": "continuous",
        "budget": "25%",
    }
    space |= {"max_batch": [1, 2], "tokens": 400, "objectives": {"tok_s": "maximize"}}
    (tmp_path / "space.json").write_text(json.dumps(space))
    assert main(["sweep", str(tmp_path / "space.json"), "--sampler", "grid"]) == 0
    said = capsys.readouterr().out
    assert "oracle-4x16-k4: first 400 of 12,544 tokens\n" in said and "of at most" not in said


@pytest.mark.slow
def test_words_for_static_schedules_are_those_of_their_numbers():
    base = {"hw": "a100", "trace": "switch", "tokens": 600, "budget": "25%"}
    for name, number in (("chunks", {"prefill_chunk": 16}), ("batches", {"batch": 2})):
        assert simmoe.run(**base, schedule=name, **number).to_json() == simmoe.run(**base, **number).to_json()


@BUNDLED
def test_kv_memory_is_reserved_for_the_sequences_that_may_run_together():
    base = {"hw": "a100", "trace": "switch", "tokens": 2000}
    one = simmoe.Scenario(**base).workload().kv_bytes
    kv = {n: simmoe.Scenario(**base, schedule="continuous", max_batch=n).workload().kv_bytes for n in (1, 3, None, 900)}
    held = len(np.unique(simmoe.Scenario(**base).workload().trace.sequence))
    assert kv == {1: one, 3: 3 * one, None: held * one, 900: held * one}


@BUNDLED
def test_a_clock_driven_run_can_be_looked_at_launch_by_launch(tmp_path):
    scenario = simmoe.Scenario("a100", "switch", tokens=300, budget="25%", schedule="continuous", arrivals="every:1s")
    spans, w = Spans(), scenario.workload()
    run = play(w, scenario.plan(w), named("simpy"), spans)
    assert len(spans.decisions) == run.workload.requests.n_events and spans.decisions == sorted(spans.decisions)
    busy = sum(lasts for _, start, lasts in spans.launches)
    assert busy + int(run.clocks.stall_ps.sum()) == int(run.pass_ps.sum())
    assert len(spans.transfers) == len(run.decisions.loads)


@pytest.mark.slow
def test_the_shape_of_a_whole_trace_plays(tmp_path):
    """More sequences than places and more sizes than the first pass had: tables and arrays grow."""
    rows = [
        [[(row * 5 + s) % 8, (row * 3 + s) % 8] if (row + s) % 8 * 5 % 8 != 9 else [0, 1]]
        for s in range(9)
        for row in range(12)
    ]
    rows = [[[a, b if b != a else (a + 1) % 8] for a, b in own] for own in rows]
    layout = [(PREFILL if step == 0 else DECODE, [s] * (4 if step == 0 else 1)) for s in range(9) for step in range(9)]
    sequences = [one for _, mine in layout for one in mine]
    trace = build_trace(rows, [len(mine) for _, mine in layout], [p for p, _ in layout], sequences, 8, [0])
    machine = Workload("a100", trace, shape_for(trace), schedule="continuous", max_batch=6)
    runs = [
        everything(play(machine, Plan(machine.model.all_expert_bytes // 2, arrivals="poisson:900/s"), named(name)))
        for name in NAMES
    ]
    assert all(one == runs[0] for one in runs)
