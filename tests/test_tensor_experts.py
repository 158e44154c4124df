"""A tensor split of all but the experts, which are whole: all engines equal, a program of its own for the times."""

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
from simmoe.simulator.decide.devices import asked_of
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import Player
from simmoe.simulator.errors import UserError
from simmoe.simulator.lower import layer, oplist
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.lower.oplist import Ops
from simmoe.simulator.lower.tables import notes_of, tables_of, work_of
from simmoe.simulator.nouns.hardware import Fabric
from simmoe.simulator.nouns.layout import Layout
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from simmoe.simulator.time.engines import named
from tests.conftest import PAIRS
from tests.machines import TWO
from tests.scenarios import TB, Case, examples, tiny_trace
from tests.test_devices import clocks_of, ends_agree, engines_agree, hand_made, part_by_hand, played
from tests.test_engines import guesses_of
from tests.test_expert_parallel import FREE
from tests.test_tensor_parallel import divided, equal, gathered_by_hand, share_by_hand, summed_by_hand

GOLDEN = Path(__file__).parent / "golden" / "tensor_expert_parallel.txt"
NAME = "tensor_expert_parallel"
TIMELINE = policies.load("timeline", NAME)


@st.composite
def ranks(draw: st.DrawFn, prefetching: bool | None = None) -> tuple[Case, Layout]:
    """A scenario on one to four equal devices, with its experts anywhere."""
    case, n = draw(divided(prefetching=prefetching))
    trace, some = case.trace, np.random.default_rng(draw(st.integers(0, 99)))
    unit = some.integers(0, n, (trace.n_layers, trace.n_experts))
    return replace(case, timeline="tensor_expert_parallel"), Layout(n, unit, shared=n > 1)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("names", PAIRS)
def test_all_engines_are_equal(names):
    engines_agree(ranks(), clocks_of, names, 100)


@pytest.mark.slow
@pytest.mark.hypothesis
def test_the_times_are_those_of_a_program_of_its_own():
    ends_agree(ranks(prefetching=False), clocks_of, ends_by_hand, 150)


def ends_by_hand(case: Case, layout: Layout) -> list[int]:
    """End of every pass, without prefetches: a share of all but the experts, of each device its own; between them the quicker of two ways
    to add up. Knows nothing of operations, tables or lists."""
    n, trace, requests = layout.devices, case.trace, requests_of(case.trace)
    share = share_by_hand(case.model, n)
    layers = [replace(part, expert=whole.expert) for part, whole in zip(share.layers, case.model.layers)]
    costs = Costs(case.hw.alone(0), replace(share, layers=tuple(layers)), trace)
    sizes, lru = case.model.expert_bytes, policies.load("eviction", case.eviction)
    budget, asked = max(case.budget_bytes, int(sizes.max())), [asked_of(requests, layout.of(d)) for d in range(n)]
    decided = [decide(one, sizes, lru, budget, seed=case.seed) for one in asked]
    moved = []
    for q, v in zip(asked, decided):
        lasts = loading(costs, q, v, requests.no_guesses, write_back=case.write_back).demand_ps
        moved.append(dict(zip(v.loads.tolist(), lasts.tolist())))
    free, now, ends = [0] * n, 0, list[int]()
    for number, size in enumerate(costs.sizes):
        rows = range(trace.pass_ptr[number], trace.pass_ptr[number + 1])
        column, chains, one_sum = 0, iter(costs.chains(number)), summed_by_hand(case, n, len(rows))
        now += one_sum
        for one in case.model.layers:
            now += one_sum * (one.features != ("no_mixer",))
            if one.n_experts:
                now += next(chains).ps
                event = number * trace.n_layers + column
                now = max(
                    part_by_hand(event, column, size, costs, asked[d], decided[d], moved[d], free, d, now, True)
                    for d in range(n)
                )
                column += 1
            if one.n_experts or one.ffn.bytes:
                now += one_sum
        now += next(chains).ps + gathered_by_hand(case, n, rows)
        ends.append(now)
    return ends


@pytest.mark.slow
@pytest.mark.hypothesis
def test_one_device_is_overlapped():
    @settings(max_examples=examples(60), deadline=None)
    @given(ranks())
    def compare(made):
        case, layout = made
        one, case = Layout(1, np.zeros_like(layout.unit)), replace(case, hw=case.hw.alone(0))
        assert played(case, one, "plain")[0] == played(replace(case, timeline="overlapped"), one, "plain")[0]

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_over_a_free_fabric_they_are_no_slower_than_one_and_no_more_than_their_number_faster():
    """With all experts resident. What one launch does together takes no longer than its parts, but for the rounding of a soft maximum."""

    @settings(max_examples=examples(100), deadline=None)
    @given(ranks(prefetching=False))
    def compare(made):
        case, layout = made
        if (n := layout.devices) == 1:
            return
        case = replace(case, hw=replace(case.hw, fabric=FREE), budget_bytes=case.model.all_expert_bytes)
        alone = replace(case, hw=case.hw.alone(0), timeline="overlapped")
        one = played(alone, Layout(1, np.zeros_like(layout.unit)), "plain", "warm")[0].end_ps[-1]
        several, laid, *_ = played(case, layout, "plain", "warm")
        free = sum(sum(laid.costs.sums_ps(size)) for size in laid.costs.sizes)
        assert one <= n * several.end_ps[-1] and several.end_ps[-1] <= one + free

    compare()


@pytest.mark.slow
@pytest.mark.hypothesis
def test_a_faster_fabric_is_never_later_in_any_pass():
    @settings(max_examples=examples(60), deadline=None)
    @given(ranks(prefetching=False), st.integers(1, 9), st.integers(0, 5))
    def compare(made, faster, less):
        case, layout = made
        if layout.devices == 1:
            return
        slow = case.hw.fabric
        fast = Fabric(slow.bytes_per_s * faster, max(slow.latency_ps - less, 0))
        ends = [
            played(replace(case, hw=replace(case.hw, fabric=each)), layout, "plain")[0].end_ps for each in (slow, fast)
        ]
        assert (ends[1] <= ends[0]).all()

    compare()


def test_each_device_holds_its_experts_and_a_share_of_the_rest():
    """As much as under tensor_parallel, whose sums it has; the experts whole, as round_robin deals them."""
    options = {"model": "qwen3-30b-a3b", "prompt": 4, "generate": 4}
    whole = simmoe.run("8xh100:nvlink4", timeline="tensor_parallel", **options)
    apart = simmoe.run("8xh100:nvlink4", timeline="tensor_expert_parallel", placement="round_robin", **options)
    assert apart.memory_bytes == whole.memory_bytes
    assert [one["expert_count"] for one in apart.devices()] == [48 * 128 // 8] * 8
    found = apart.crossing
    assert (found.summed_bytes, found.dispatched_bytes, found.handed_bytes) == (whole.crossing.summed_bytes, 0, 0)
    assert found.imbalance > 1 and any("There are 4 KV heads" in note for note in apart.notes)


def test_what_it_cannot_do_is_one_line(tmp_path):
    (tmp_path / "two.yaml").write_text(TWO)
    options = {"timeline": "tensor_expert_parallel", "tokens": 60}
    with pytest.raises(UserError, match="say which has which experts"):
        simmoe.run("2xh100:nvlink4", "oracle-12x64", **options)
    with pytest.raises(UserError, match="5 devices cannot share evenly"):
        simmoe.run("5xh100:nvlink4", "oracle-12x64", placement="round_robin", **options)
    with pytest.raises(UserError, match="gpu1 of two is another device than gpu"):
        simmoe.run(tmp_path / "two.yaml", "oracle-4x16-k4", placement="round_robin", **options)


def test_a_users_copy_is_tried_and_plays_alike(tmp_path):
    (tmp_path / "mine.py").write_text(Path(TIMELINE.__file__).read_text("utf-8"))
    options = {"budget": "25%", "tokens": 100, "placement": "round_robin", "warm_up": 64}
    mine = simmoe.run("2xh100:nvlink4", "oracle-12x64", timeline=str(tmp_path / "mine.py"), **options)
    assert mine.clocks == simmoe.run("2xh100:nvlink4", "oracle-12x64", timeline=NAME, **options).clocks


def test_the_operations_are_those_of_the_golden_file():
    assert str(lowered()) == GOLDEN.read_text("utf-8"), "python -m tests.test_tensor_experts writes it anew"


def lowered() -> Ops:
    """Two passes of two layers on two devices, the second of which has experts 1 and 3 of layer 0, 2 and 3 of layer 1."""
    part = Part(2, 2, 2)
    moe = Layer(part, shared=part, expert=part, n_experts=4)
    trace = tiny_trace([[[0, 1]], [[1, 2], [1, 3]]], n_experts=4, n_layers=2)
    model = ModelShape("tiny", "fp16", "fp16", (moe, moe), 2, Part(80, 2, 1), NO_PART, width=8)
    layout = Layout(2, np.array([[0, 1, 0, 1], [0, 0, 1, 1]]), shared=True)
    case = Case(equal(hand_made().alone(0), 2, Fabric(TB, 1)), model, trace, 4, timeline=NAME)
    work = SimpleNamespace(hw=case.hw, model=model, trace=trace, graphs=False, requests=requests_of(trace))
    work.begun, work.counted = work, None
    plan = Plan(8, device_budgets=(4, 4))
    laid, guesses, decisions, loads = devices.decided(work, layout, plan, guesses_of(case, 4), named("plain"))
    fixed, tables = tables_of(laid.costs, laid.requests)
    lists, ops, last = Player().arrays, Ops(), 0
    done, notes = lists(work_of(laid.costs, laid.requests, decisions, guesses, loads)), lists(notes_of(2, 2))
    lower = bound(layer, TIMELINE, oplist).lower_pass
    for number in range(trace.n_passes):
        last = lower(number, last, fixed, lists(tables), done, notes, ops)
    return ops


if __name__ == "__main__":
    GOLDEN.write_text(str(lowered()), "utf-8")
