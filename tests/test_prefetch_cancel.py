"""WITHDRAW: prefetches that have not started when the layer that they are for does without them leave the queue of the link."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.cli.main import main
from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.nouns.run import WAS_LATE, WITHDRAWN, Spans
from simmoe.simulator.time.engines import named
from tests import oracle_simpy
from tests.conftest import COMPILED, FAST, PAIRS
from tests.scenarios import MISSES, Case, cases, examples, few_kernels, physics, queued, tiny_trace
from tests.test_engines import enough, half, run, same

ENGINES = ["simpy", "plain", FAST]


@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
def test_all_engines_are_equal_bit_for_bit_where_prefetches_are_withdrawn(names):
    @settings(max_examples=examples(300), deadline=None)
    @given(
        cases(prefetching=True, misses=MISSES),
        physics(),
        st.one_of(st.none(), st.integers(0, 5)),
        st.sampled_from((1, 7, 30)),
    )
    def compare(case, changed, cpu_seed, factor):
        left = half(case, cpu_seed)
        case = replace(case, hw=changed(case.hw))
        case = enough(queued(few_kernels(case) if "fast" in names else case, factor), left)
        one, other = (run(case, named(name), left) for name in names)
        assert one[0].fate.tolist() == other[0].fate.tolist()
        assert one[:2] == other[:2]
        assert same(one[3], other[3])

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_the_drawn_scenarios_withdraw_prefetches_and_bring_some_of_them_after_all():
    seen = {"withdrawn": 0, "late": 0}

    @settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(cases(prefetching=True))
    def count(case):
        fate = run(queued(case, 30), named("plain"))[0].fate
        seen["withdrawn"] += int((fate == WITHDRAWN).sum())
        seen["late"] += int((fate == WAS_LATE).sum())

    count()
    assert seen["withdrawn"] > 5 and seen["late"] > 5, seen


# A launch starts in 1 ps, a byte is read in 1 ps and crosses the link in 10. Attention reads 15 bytes, an expert and the LM head 1.
ONE = Part(1, 1, 0)
MODEL = ModelShape("tiny", "fp16", "fp16", (Layer(Part(15, 15, 0), expert=ONE, n_experts=6),), 2, ONE, NO_PART)
HW = Hardware(
    "tie", "a machine of a few bytes", False, {"dram": Tier("dram", 10**15, 10**12), "home": Tier("home", 10**15, 10**11)},
    {"gpu": ComputeUnit("gpu", "dram", 10**12, 1, {"fp16": 10**15})}, Link("home", "dram", 10**11, 0), ("gpu",), 0, 1,
)  # fmt: skip


def hand(passes, wanted, cancel: bool = True) -> Case:
    """Pass 0 loads expert 0 from 16 to 26 ps; its guesses follow, 10 ps each; it ends at 30, and attention of pass 1 at 46."""
    trace = tiny_trace([[row] for row in passes], n_experts=6)
    return Case(HW, MODEL, trace, 6, prefetch=[wanted, *[[]] * (len(passes) - 1)], cancel=cancel)


@pytest.mark.parametrize("name", ENGINES)
def test_what_has_not_started_leaves_the_queue_and_what_starts_at_that_picosecond_stays(name):
    """Guesses 1, 2 and 3 start at 26, 36 and 46 ps, 4 would at 56; event 1 is decided at 46 and loads 5."""
    rows, guesses = [[0, -1], [1, 5]], [1, 2, 3, 4]
    clocks, counts, link_bytes, _ = run(hand(rows, guesses), named(name))
    assert clocks.fate.tolist() == [0, 0, 0, WITHDRAWN]
    assert clocks.end_ps.tolist() == [30, 66 + 2 + 2]  # 5 follows 3, from 56 to 66
    assert (clocks.link_busy_ps, counts.bytes, counts.prefetches, link_bytes.tolist()) == (50, 5, 3, [4, 1])
    clocks, counts, link_bytes, _ = run(hand(rows, guesses, cancel=False), named(name))
    assert clocks.end_ps.tolist() == [30, 76 + 2 + 2]
    assert (clocks.link_busy_ps, counts.bytes, counts.prefetches, link_bytes.tolist()) == (60, 6, 4, [5, 1])


@pytest.mark.parametrize("name", ENGINES)
def test_a_guess_that_the_event_hits_stays_and_moves_up(name):
    """4 leaves the queue at 46 ps, so that 1 starts at 56 and not at 66."""
    clocks = run(hand([[0], [1]], [2, 3, 5, 4, 1]), named(name))[0]
    assert clocks.fate.tolist() == [0, 0, 0, WITHDRAWN, WAS_LATE]
    assert clocks.end_ps.tolist() == [30, 66 + 2 + 2]


@pytest.mark.parametrize("name", ENGINES)
def test_what_was_withdrawn_and_is_hit_after_all_is_loaded_when_it_is_asked_for(name):
    """Its slot was given up for it, so it counts as a hit, a late one: the transfer starts with the decision of pass 2, at 86 ps."""
    clocks, counts, _, _ = run(hand([[0, -1], [1, 5], [4, -1]], [1, 2, 3, 4]), named(name))
    assert clocks.fate.tolist() == [0, 0, 0, WAS_LATE]
    assert clocks.end_ps.tolist() == [30, 70, 86 + 10 + 2 + 2]
    assert (counts.misses, counts.hits, counts.bytes, clocks.link_busy_ps) == (2, 2, 6, 60)


@pytest.mark.parametrize("name", ENGINES)
def test_a_guess_for_a_later_event_stays_and_moves_up(name):
    """Two layers: 1, 2 and 3 of layer 1 are guessed, then 1 of layer 0, for the next pass; event 1 asks for 0 of layer 1 at 44 ps."""
    model = replace(MODEL, layers=MODEL.layers * 2)
    case = Case(
        HW, model, tiny_trace([[[0]], [[1]]], 6, n_layers=2), 12, prefetch=[[7, 8, 9, 1], [], [], []], cancel=True
    )
    clocks, counts, _, _ = run(case, named(name))
    assert clocks.fate.tolist() == [0, 0, WITHDRAWN, 0]  # 9 would start at 46
    assert clocks.end_ps.tolist() == [
        66 + 2 + 2,
        70 + 2 * 18 + 2,
    ]  # 1 moves from 46 to 56, then what event 1 asks for to 66
    assert (counts.misses, counts.hits, clocks.link_busy_ps) == (2, 2, 50)


@pytest.mark.parametrize("name", ENGINES)
def test_what_stays_keeps_its_order(name):
    """6, which event 1 hits, stands before 1, which a later event asks for; 9 leaves the queue at 44 ps."""
    model = replace(MODEL, layers=MODEL.layers * 2)
    case = Case(
        HW, model, tiny_trace([[[0]], [[1]]], 6, n_layers=2), 12, prefetch=[[8, 7, 9, 6, 1], [], [], []], cancel=True
    )
    clocks = run(case, named(name))[0]
    assert clocks.fate.tolist() == [0, 0, WITHDRAWN, WAS_LATE, 0]
    assert clocks.end_ps.tolist() == [56 + 2 + 2, 60 + 2 * 18 + 2]


TWO_LAYERS = replace(MODEL, layers=MODEL.layers * 2)
BY_HAND = {
    "starts at that picosecond": hand([[0, -1], [1, 5]], [1, 2, 3, 4]),
    "moves up": hand([[0], [1]], [2, 3, 5, 4, 1]),
    "after all": hand([[0, -1], [1, 5], [4, -1]], [1, 2, 3, 4]),
    "for a later event": Case(HW, TWO_LAYERS, tiny_trace([[[0]], [[1]]], 6, 2), 12, prefetch=[[7, 8, 9, 1], [], [], []], cancel=True),
    "keeps its order": Case(HW, TWO_LAYERS, tiny_trace([[[0]], [[1]]], 6, 2), 12, prefetch=[[8, 7, 9, 6, 1], [], [], []], cancel=True),
    "two after all, one between": hand([[0, -1], [1, 5], [4, 3]], [1, 2, 5, 4, 3]),
}  # fmt: skip


@pytest.mark.parametrize("what", BY_HAND)
def test_the_idiomatic_model_withdraws_the_same_by_hand(what):
    case = BY_HAND[what]
    want = oracle_simpy.simulate(case.hw, case.model, case.trace, **case.kwargs)
    clocks, counts, link_bytes, _ = run(case, named("plain"))
    assert (clocks.end_ps - clocks.start_ps).tolist() == want.pass_ps and link_bytes.tolist() == want.link_bytes
    cancelled, _ = want.prefetched["cancelled"]
    assert cancelled == int((clocks.fate == WITHDRAWN).sum()) and clocks.link_busy_ps == want.link_busy_ps
    assert cancelled + counts.prefetches == len(clocks.fate)


def test_a_result_says_what_became_of_the_prefetches(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n\n\ndef wanted(trace, ask):\n    return np.zeros(4, np.int64), np.array([1, 2, 3, 4])\n"
    )
    said = {}
    for passes in ([[0, -1], [1, 5]], [[0, -1], [1, 5], [4, -1]]):
        for cancel in (False, True):
            plan = Plan(6, prefetch=str(tmp_path / "mine.py"), cancel=cancel, start="cold")
            made = play(Workload(HW, tiny_trace([[row] for row in passes], n_experts=6), MODEL), plan).to_json()
            said[len(passes), cancel] = {name: (one["count"], one["bytes"]) for name, one in made["prefetched"].items()}
            assert any("--cancel" in note for note in made.get("notes", [])) == cancel
            assert made["scenario"]["plan"].get("cancel", False) == cancel
    zero, one, two, three = ((n, n) for n in range(4))
    assert said[2, False] == {"useful": one, "late": zero, "wasted": three, "cancelled": zero}
    assert said[2, True] == {"useful": one, "late": zero, "wasted": two, "cancelled": one}
    assert said[3, False] == {"useful": two, "late": zero, "wasted": two, "cancelled": zero}
    assert said[3, True] == {"useful": two, "late": one, "wasted": two, "cancelled": zero}


@pytest.mark.slow
@pytest.mark.parametrize("into", ["cache", "buffers"])
@pytest.mark.parametrize("schedule", ["recorded", "continuous"])
@pytest.mark.parametrize("hw", ["a100", "rtx_4090_nvme", "jetson_orin"])
def test_engines_agree_and_bytes_are_those_of_the_transfers(hw, schedule, into):
    found = []
    for engine in ("simpy", "plain"):
        scenario = simmoe.Scenario(
            hw, "switch", tokens=200, budget="50%", prefetch="whole_layer", prefetch_into=into, cancel=True, schedule=schedule,
            warm_up=60 if schedule == "recorded" else None,
        )  # fmt: skip
        workload, spans = scenario.workload(), Spans() if engine == "simpy" else None
        found.append(play(workload, scenario.plan(workload), named(engine), spans))
        if spans is not None:
            sizes = found[0].workload.model.expert_bytes
            moved = sum(int(sizes[obj // found[0].workload.trace.n_experts]) for obj, _, _ in spans.transfers)
    simpy, plain = found
    assert simpy.clocks == plain.clocks and simpy.prefetched == plain.prefetched
    assert moved == simpy.bytes == plain.bytes
    assert len(spans.transfers if spans else ()) in (0, simpy.misses + simpy.counts.prefetches)
    became = simpy.prefetched
    assert became.useful.count + became.wasted.count == simpy.counts.prefetches
    assert became.cancelled.count > 0 and became.late.count <= became.useful.count


@COMPILED
@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["recorded", "continuous"])
def test_the_compiled_clock_withdraws_the_same(schedule):
    options = {"tokens": 300, "budget": "50%", "prefetch": "whole_layer", "cancel": True, "schedule": schedule}
    plain, fast = (simmoe.run("a100", "switch", engine=engine, **options) for engine in ("plain", "fast"))
    assert plain.clocks == fast.clocks and plain.prefetched.cancelled.count > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--cancel"], "--cancel says what becomes of prefetches: name who guesses them with --prefetch"),
        (["--cancel", "--prefetch", "last_token", "--write-back"], "--cancel with --write-back is not modelled"),
        (
            ["--cancel", "--prefetch", "last_token", "--hw", "rtx_4090_nvme", "--page-cache", "4GB"],
            "--cancel with --page-cache is not",
        ),
    ],
)
def test_what_cannot_be_together_is_one_line(capsys, words, says):
    hw = [] if "--hw" in words else ["--hw", "a100"]
    assert main(["run", *hw, "--trace", "switch", "--tokens", "64", "--budget", "50%", *words]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_a_timeline_of_a_user_that_withdraws_nothing_is_refused(tmp_path, capsys):
    text = Path(str(policies.load("timeline", "serial").__file__)).read_text()
    line = "    now = withdraw(unit, link, event, late, now, f, t, w, s, e)\n"
    assert line in text
    (tmp_path / "mine.py").write_text(text.replace(line, ""))
    command = [
        "run",
        "--hw",
        "a100",
        "--trace",
        "switch",
        "--tokens",
        "64",
        "--budget",
        "50%",
        "--prefetch",
        "whole_layer",
        "--json",
    ]
    assert main([*command, "--cancel", "--timeline", str(tmp_path / "mine.py")]) == 2
    assert "each event must take useless prefetches off the link's queue once, by withdraw()" in capsys.readouterr().err
    (tmp_path / "mine.py").write_text(text)
    played = []
    for timeline in ("serial", str(tmp_path / "mine.py")):
        assert main([*command, "--cancel", "--timeline", timeline]) == 0
        played.append(json.loads(capsys.readouterr().out)["total_ps"])
    assert played[0] == played[1]


def at(link: str, **options):
    return simmoe.run("a100", "switch", tokens=1024, budget="25%", set=[f"link.bandwidth={link}"], **options)


def test_a_prefetcher_that_is_right_four_times_of_five_loses_on_a_saturated_link_and_wins_with_slack():
    """docs/policies.md has these numbers. More hits, and yet slower."""
    slow, slow_guesses = at("5GB/s"), at("5GB/s", prefetch="dial=80%")
    fast, fast_guesses = at("100GB/s"), at("100GB/s", prefetch="dial=80%")
    assert [round(one.decode.hit_rate, 2) for one in (slow, slow_guesses)] == [0.41, 0.87]
    assert [round(one.tok_s, 1) for one in (slow, slow_guesses)] == [54.1, 42.1]
    assert [round(one.tok_s) for one in (fast, fast_guesses)] == [619, 691]


@pytest.mark.slow
def test_to_cancel_gives_back_what_useless_prefetches_cost_on_a_saturated_link_but_no_more():
    """docs/policies.md has these numbers: what is guessed without sense costs nothing like as much, and still more than no guess."""
    kept, cancelled = (at("5GB/s", prefetch="whole_layer", cancel=one) for one in (False, True))
    assert [round(one.tok_s, 1) for one in (kept, cancelled)] == [1.4, 17.0]
    assert cancelled.bytes < 0.1 * kept.bytes
    assert cancelled.hits == kept.hits and np.array_equal(cancelled.hit, kept.hit)
    few, fewer = (at("5GB/s", prefetch="dial=80%,lead=2", cancel=one) for one in (False, True))
    assert [round(one.tok_s, 1) for one in (few, fewer)] == [41.9, 42.4]


def test_passes_that_become_known_one_by_one_withdraw_what_the_same_passes_withdraw_as_a_whole():
    scenario = simmoe.Scenario(
        "a100", "switch", tokens=600, budget="25%", prefetch="pregated=3", cancel=True, schedule="continuous", max_batch=2,
        set=["link.bandwidth=8GB/s"],
    )  # fmt: skip
    workload = scenario.workload()
    one = play(workload, scenario.plan(workload), named("plain"))
    other = play(Workload(workload.hw, one.workload.trace, workload.model), one.plan, named("plain"))
    assert one.clocks == other.clocks and one.prefetched == other.prefetched
    assert one.prefetched.useful.count > 0
