"""Expert parallelism with data-parallel attention: all engines equal, a program of its own for the times, and what must hold of ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.play import devices
from simmoe.play.plan import Plan
from simmoe.simulator.binding import bound
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.devices import asked_of, rows_of_ports
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower import layer, oplist
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.lower.oplist import Ops
from simmoe.simulator.lower.tables import notes_of, rows_sent_by_event, tables_of, work_of
from simmoe.simulator.nouns.hardware import Fabric
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.time.engines import named
from tests.conftest import PAIRS
from tests.scenarios import TB, Case, examples, tiny_trace
from tests.test_devices import clocks_of, ends_agree, engines_agree, hand_made, part_by_hand, played, split
from tests.test_engines import guesses_of

GOLDEN = Path(__file__).parent / "golden" / "expert_parallel.txt"
EXPERT_PARALLEL = policies.load("timeline", "expert_parallel")
FREE = Fabric(10**18, 0)  # a message lasts one picosecond


@st.composite
def ranks(draw: st.DrawFn, prefetching: bool | None = None, most: int = 4) -> tuple[Case, Layout]:
    """A scenario on one to four unequal devices, its rows dealt anew to up to five sequences."""
    case, layout = draw(split(prefetching=prefetching, most=most))
    owners = np.random.default_rng(draw(st.integers(0, 99))).integers(0, draw(st.integers(1, 5)), case.trace.n_tokens)
    trace = replace(case.trace, sequence=owners.astype(np.int32), position=np.arange(len(owners), dtype=np.int32))
    return replace(case, trace=trace, timeline="expert_parallel"), replace(layout, replicated=True)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
def test_all_engines_are_equal(names):
    engines_agree(ranks(), clocks_of, names, 120)


@pytest.mark.slow
@pytest.mark.hypothesis
def test_the_times_are_those_of_a_program_of_its_own():
    ends_agree(ranks(prefetching=False), clocks_of, ends_by_hand, 150)


def ends_by_hand(case: Case, layout: Layout) -> list[int]:
    """End of every pass, without prefetches: of each layer the slowest rank's attention, then of each destination latency + the bytes
    of the busiest port / rate, its experts, and the same way back; knows nothing of shares, operations, tables or lists."""
    n, trace, requests = layout.devices, case.trace, requests_of(case.trace)
    asked = [asked_of(requests, layout.of(d)) for d in range(n)]
    whole = [Costs(case.hw.alone(d), case.model, trace) for d in range(n)]
    budget, lru = max(case.budget_bytes, int(case.model.expert_bytes.max())), policies.load("eviction", case.eviction)
    decided = [decide(one, case.model.expert_bytes, lru, budget, seed=case.seed) for one in asked]
    moved = [
        dict(
            zip(v.loads.tolist(), loading(c, q, v, requests.no_guesses, write_back=case.write_back).demand_ps.tolist())
        )
        for c, q, v in zip(whole, asked, decided)
    ]
    fabric, free, now, ends, k = case.hw.fabric or FREE, [0] * n, 0, list[int](), trace.n_layers * trace.top_k
    for number in range(trace.n_passes):
        rows = range(trace.pass_ptr[number], trace.pass_ptr[number + 1])
        mine = [[row for row in rows if trace.sequence[row] % n == d] for d in range(n)]
        alone = [
            Costs(case.hw.alone(d), case.model, trace.taken(rows, [0, len(rows)], trace.phase[number : number + 1]))
            if rows
            else None
            for d, rows in enumerate(mine)
        ]
        for column in range(trace.n_layers + 1):
            now += max(costs.chains(0)[column].ps for costs in alone if costs)
            if column == trace.n_layers:
                break
            event, done = number * trace.n_layers + column, []
            goes = [
                {(slot // k, d) for slot in q.use_slot[q.use_ptr[event] : q.use_ptr[event + 1]].tolist()}
                for d, q in enumerate(asked)
            ]
            pairs = {(int(trace.sequence[row]) % n, d, row) for one in goes for row, d in one}
            pairs = {pair for pair in pairs if pair[0] != pair[1]}
            for d, q in enumerate(asked):
                ports = [sum(p[1] == d for p in pairs)]
                ports += [sum(p[0] == s for p in pairs) for s in {p[0] for p in pairs if p[1] == d}]
                most = max(ports)
                message = most and fabric.latency_ps + -(-most * case.model.width * 2 * 10**12 // fabric.bytes_per_s)
                size = SimpleNamespace(tokens=len(mine[d]))
                ended = part_by_hand(
                    event, column, size, whole[d], q, decided[d], moved[d], free, d, now + message, bool(mine[d])
                )
                done.append(ended + message)
            now = max(done)
        ends.append(now)
    return ends


@pytest.mark.slow
@pytest.mark.hypothesis
def test_one_rank_is_one_device():
    """One device; and two of which the second has no expert and no sequence, whatever the fabric."""

    @settings(max_examples=examples(80), deadline=None)
    @given(ranks(most=2))
    def compare(made):
        case, layout = made
        nothing = np.zeros_like(layout.unit)
        single = replace(case, hw=case.hw.alone(0), timeline="overlapped")
        clocks = played(single, Layout(1, nothing), "plain")[0]
        assert played(replace(single, timeline="expert_parallel"), Layout(1, nothing, True), "plain")[0] == clocks
        if layout.devices == 2:
            even = replace(case, trace=replace(case.trace, sequence=case.trace.sequence * 2))
            alone = played(replace(single, trace=even.trace), Layout(1, nothing), "plain")[0]
            assert played(even, Layout(2, nothing, True), "plain")[0] == alone

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_equal_ranks_over_a_free_fabric_are_no_slower_than_one_and_no_more_than_their_number_faster():
    """With all experts resident. What one launch does together takes no longer than its parts, and each part no longer than all; a soft
    maximum has that too, but for the rounding of its table."""

    @settings(max_examples=examples(100), deadline=None)
    @given(ranks(prefetching=False))
    def compare(made):
        case, layout = made
        hw, n = case.hw, layout.devices
        unit = replace(hw.device, softness=None, grouped_softness=None)
        units = {name: replace(unit, name=name, memory=hw.units[name].memory) for name in hw.devices}
        hw = replace(hw, units=units, fabric=FREE if n > 1 else None)
        case = replace(case, hw=hw, budget_bytes=case.model.all_expert_bytes)
        one = played(replace(case, hw=hw.alone(0)), Layout(1, np.zeros_like(layout.unit), True), "plain", "warm")[0]
        several = played(case, layout, "plain", "warm")[0]
        messages = 2 * case.trace.n_layers * case.trace.n_passes * (n > 1)
        assert one.end_ps[-1] <= n * several.end_ps[-1]
        assert several.end_ps[-1] <= one.end_ps[-1] + messages

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_a_faster_fabric_is_never_later_in_any_pass():
    @settings(max_examples=examples(80), deadline=None)
    @given(
        ranks(prefetching=False),
        st.sampled_from((TB // 8, TB // 3)),
        st.integers(0, 5),
        st.integers(1, 9),
        st.integers(0, 5),
    )
    def compare(made, rate, latency, faster, less):
        case, layout = made
        if layout.devices == 1:
            return
        ends = [
            played(replace(case, hw=replace(case.hw, fabric=fabric)), layout, "plain")[0].end_ps
            for fabric in (Fabric(rate, latency), Fabric(rate * faster, max(latency - less, 0)))
        ]
        assert (ends[1] <= ends[0]).all()

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_a_row_goes_once_to_each_other_rank_that_has_an_expert_of_it():
    @settings(max_examples=examples(80), deadline=None)
    @given(ranks())
    def compare(made):
        case, layout = made
        _, laid, *_ = played(case, layout, "plain")
        if layout.devices == 1:
            return
        sent = rows_sent_by_event(laid.costs, laid.requests).reshape(
            case.trace.n_passes, case.trace.n_layers, layout.devices
        )
        wanted = np.zeros_like(sent)
        for number in range(case.trace.n_passes):
            for row in range(case.trace.pass_ptr[number], case.trace.pass_ptr[number + 1]):
                for column, experts in enumerate(case.trace.expert_ids[row].tolist()):
                    there = {int(layout.unit[column, expert]) for expert in experts if expert >= 0}
                    for device in there - {int(case.trace.sequence[row]) % layout.devices}:
                        wanted[number, column, device] += 1
        assert np.array_equal(sent, wanted)
        assert int(np.diff(laid.requests.use_ptr).sum()) == int(
            (case.trace.expert_ids >= 0).sum()
        )  # every choice is computed once

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_a_dispatch_takes_as_long_as_its_busiest_port():
    @settings(max_examples=examples(200), deadline=None)
    @given(ranks())
    def compare(made):
        case, layout = made
        _, laid, *_ = played(case, layout, "plain")
        n, trace = layout.devices, case.trace
        if n == 1:
            return
        ports = rows_of_ports(laid.requests, trace.n_layers * trace.top_k, n, laid.costs.owner).reshape(-1, n)
        sent = rows_sent_by_event(laid.costs, laid.requests).reshape(-1, n)
        out = np.zeros_like(sent)
        for number in range(trace.n_passes):
            for row in range(trace.pass_ptr[number], trace.pass_ptr[number + 1]):
                for column, experts in enumerate(trace.expert_ids[row].tolist()):
                    owner = int(trace.sequence[row]) % n
                    there = {int(layout.unit[column, expert]) for expert in experts if expert >= 0} - {owner}
                    out[number * trace.n_layers + column, owner] += len(there)
        assert (ports.max(axis=1) == np.maximum(sent, out).max(axis=1)).all()
        assert (ports >= sent).all() and ((ports > 0) == (sent > 0)).all()

    compare()


def test_one_sequence_sends_to_all_others_through_one_port():
    """A pass of one row whose three experts are on the three other devices: three rows leave one port, and come back through it."""
    part = Part(1, 1, 1)
    model = ModelShape("tiny", "fp16", "fp16", (Layer(part, expert=part, n_experts=4),), 3, part, NO_PART, width=500)
    unit = replace(hand_made().device, launch_ps=0, bytes_per_s=TB)
    names = ("gpu0", "gpu1", "gpu2", "gpu3")
    units = {name: replace(unit, name=name, memory=name) for name in names}
    tiers = {name: replace(hand_made().tiers["gpu0"], name=name) for name in names} | {
        "home": hand_made().tiers["home"]
    }
    links = {name: replace(hand_made().link, dst=name) for name in names[1:]}
    hw = replace(hand_made(), units=units, tiers=tiers, devices=names, more_links=links, fabric=Fabric(TB, 7))
    case = Case(hw, model, tiny_trace([[[1, 2, 3]]], n_experts=4, n_layers=1), 4, timeline="expert_parallel")
    ends = played(case, Layout(4, np.array([[0, 1, 2, 3]]), True), "plain", "warm")[0].end_ps
    assert ends.tolist() == [1 + 2 * (7 + 3 * 1000) + 1 + 1]  # attention, both ways, an expert, the head


def test_each_device_has_the_dense_weights_and_the_cache_of_its_own_sequences():
    options = {"placement": "round_robin", "timeline": "expert_parallel", "budget": "25%", "tokens": 1600, "batch": 4}
    made = simmoe.run("2xh100:nvlink4", "oracle-12x64", **options)
    model, held = made.workload.model, [one["memory_bytes"] for one in made.to_json()["devices"]]
    assert [one["dense"] for one in held] == [model.dense_bytes] * 2
    assert made.memory_bytes == {name: held[0][name] + held[1][name] for name in held[0]}
    one = simmoe.run("h100", "oracle-12x64", **{**options, "placement": None}).memory_bytes["kv"]
    assert held[0]["kv"] + held[1]["kv"] == one and held[0]["kv"] == held[1]["kv"]  # two of four sequences each


@pytest.mark.parametrize("timeline", ["distributed", "expert_parallel"])
def test_the_cache_is_that_of_the_whole_text_however_little_of_it_is_played(timeline):
    """As on one device: the first 200 tokens are prompts, of one sequence each, and four sequences decode together behind them."""
    options = {"placement": "round_robin", "timeline": timeline, "budget": "25%", "batch": 4}
    few, many = (simmoe.run("2xh100:nvlink4", "oracle-4x8", **options, tokens=tokens) for tokens in (200, 1600))
    assert few.memory_bytes == many.memory_bytes
    one = simmoe.run("h100", "oracle-4x8", **{**options, "placement": None, "timeline": "overlapped"}, tokens=200)
    assert few.memory_bytes["kv"] == one.memory_bytes["kv"]


def test_bytes_of_the_fabric_are_those_of_the_messages():
    options = {"placement": "round_robin", "timeline": "expert_parallel", "budget": "25%", "tokens": 300, "batch": 4}
    made = simmoe.run("4xh100:nvlink4", "oracle-4x16-k2", **options)
    trace, unit, width = made.workload.trace, made.workload.costs.layout.unit, made.workload.model.width
    rows = sum(
        len({int(unit[column, expert]) for expert in experts} - {int(sequence) % 4})
        for row, sequence in zip(trace.expert_ids.tolist(), trace.sequence)
        for column, experts in enumerate(row)
    )
    assert made.crossing.dispatched_bytes == rows * width * 2 and made.crossing.handed_bytes == 0


def test_it_is_faster_with_more_ranks_and_a_faster_fabric():
    """Eight sequences, each on a device of its own."""
    options = {
        "timeline": "expert_parallel",
        "budget": "100%",
        "tokens": 2000,
        "batch": 8,
        "placement": "balanced",
        "engine": "plain",
    }
    slow, fast = (
        simmoe.run(f"8xh100:{fabric}", "oracle-12x64", **options).tok_s for fabric in ("ethernet_10g", "nvlink4")
    )
    assert slow < fast


def test_what_one_device_has_is_refused_as_with_distributed():
    options = {"placement": "round_robin", "timeline": "expert_parallel", "budget": "25%", "tokens": 60}
    with pytest.raises(UserError, match="--scope layer is not modelled on several devices"):
        simmoe.run("2xh100:nvlink4", "oracle-12x64", scope="layer", **options)
    with pytest.raises(UserError, match="say which has which experts"):
        simmoe.run("2xh100:nvlink4", "oracle-12x64", **{**options, "placement": None})


def test_a_users_copy_is_tried_and_plays_alike(tmp_path):
    (tmp_path / "mine.py").write_text(Path(EXPERT_PARALLEL.__file__).read_text("utf-8"))
    options = {"placement": "round_robin", "budget": "25%", "tokens": 60}
    mine = simmoe.run("2xh100:nvlink4", "oracle-12x64", timeline=str(tmp_path / "mine.py"), **options)
    assert mine.clocks == simmoe.run("2xh100:nvlink4", "oracle-12x64", timeline="expert_parallel", **options).clocks


def test_the_operations_are_those_of_the_golden_file():
    assert str(lowered()) == GOLDEN.read_text("utf-8"), "python -m tests.test_expert_parallel writes it anew"


def lowered() -> Ops:
    """Two passes of two layers on two devices: one token of one sequence, then one of each of two."""
    part = Part(1, 1, 1)
    moe = Layer(part, shared=part, expert=part, n_experts=4)
    trace = tiny_trace([[[0, 1]], [[1, 2], [1, 3]]], n_experts=4, n_layers=2, sequences=[[0], [0, 1]])
    model = ModelShape("tiny", "fp16", "fp16", (moe, moe), 2, part, NO_PART, width=8)
    layout = Layout(2, np.array([[0, 1, 0, 1], [0, 0, 1, 1]]), True)
    case = Case(hand_made(), model, trace, 2, timeline="expert_parallel")
    work = SimpleNamespace(hw=case.hw, model=model, trace=trace, graphs=False, requests=requests_of(trace))
    work.begun, work.counted = work, None
    plan = Plan(4, device_budgets=(2, 2))
    laid, guesses, decisions, loads = devices.decided(work, layout, plan, guesses_of(case, 4), named("plain"))
    fixed, tables = tables_of(laid.costs, laid.requests)
    lists, ops, last = Player().arrays, Ops(), 0
    done, notes = lists(work_of(laid.costs, laid.requests, decisions, guesses, loads)), lists(notes_of(2, 2))
    lower = bound(layer, EXPERT_PARALLEL, oplist).lower_pass
    for number in range(trace.n_passes):
        last = lower(number, last, fixed, lists(tables), done, notes, ops)
    return ops


if __name__ == "__main__":
    GOLDEN.write_text(str(lowered()), "utf-8")
