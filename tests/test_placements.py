"""Placements over equal devices: what each is by definition, what it sends on real texts, and the figures that say so."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe import policies
from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace
from tests import real_traces
from tests.scenarios import examples

EIGHT = "8xh100:nvlink4"
PLAY = {"timeline": "distributed", "budget": "100%"}
FITTED = ("round_robin", "balanced:first=50%", "affinity:first=50%")


def unit_of(name: str, text: np.ndarray, experts: int, devices: int) -> np.ndarray:
    module = policies.load("placement", name)
    use = np.stack([np.bincount(column[column >= 0], minlength=experts) for column in np.moveaxis(text, 1, 0)])
    more = [text] if "text" in getattr(module, "NEEDS", ()) else []
    return module.unit_of(use, devices, 0, devices, *more)


@st.composite
def texts(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Rows that chose k of some experts in each layer, or fewer, how many experts there are, and devices."""
    devices, rows, layers = draw(st.integers(1, 4)), draw(st.integers(1, 30)), draw(st.integers(1, 4))
    experts = draw(st.integers(devices, 12))
    rng, k = np.random.default_rng(draw(st.integers(0, 999))), draw(st.integers(1, min(3, experts)))
    ids = np.argsort(rng.random((rows, layers, experts)), axis=2)[:, :, :k].astype(np.int16)
    ids[rng.random(ids.shape) < draw(st.sampled_from((0, 0.3)))] = -1
    return ids, experts, devices


def kept_pairs(unit: np.ndarray, text: np.ndarray) -> int:
    """Pairs of experts on one device that one row uses in one layer (each once), or in one and the next: counted one by one."""
    kept = 0
    for row in text.tolist():
        used = [[expert for expert in layer if expert >= 0] for layer in row]
        for layer, experts in enumerate(used):
            kept += sum(unit[layer, a] == unit[layer, b] for a, b in combinations(experts, 2))
            for a in experts if layer + 1 < len(used) else ():
                kept += sum(unit[layer, a] == unit[layer + 1, b] for b in used[layer + 1])
    return kept


@pytest.mark.hypothesis
@pytest.mark.parametrize("name", ["round_robin", "balanced", "affinity"])
def test_every_device_has_as_many_experts_of_each_layer(name):
    @settings(max_examples=examples(100), deadline=None)
    @given(texts())
    def compare(made):
        text, experts, devices = made
        unit = unit_of(name, text, experts, devices)
        for layer in unit:
            held = np.bincount(layer, minlength=devices)
            assert held.max() <= -(-experts // devices) and held.sum() == experts
        if name == "round_robin":
            assert unit.tolist() == [[expert % devices for expert in range(experts)]] * len(unit)

    compare()


@pytest.mark.hypothesis
def test_balanced_is_the_longest_processing_time_rule():
    """An implementation of its own: a list of devices by (tokens, number), the first with room."""

    @settings(max_examples=examples(100), deadline=None)
    @given(texts())
    def compare(made):
        text, experts, devices = made
        unit = unit_of("balanced", text, experts, devices)
        for layer in range(text.shape[1]):
            use = [int((text[:, layer] == expert).sum()) for expert in range(experts)]
            has = [list[int]() for _ in range(devices)]
            for expert in sorted(range(experts), key=lambda one: -use[one]):
                open_ones = [d for d in range(devices) if len(has[d]) < -(-experts // devices)]
                has[min(open_ones, key=lambda d: (sum(use[one] for one in has[d]), d))].append(expert)
            assert [sorted(np.flatnonzero(unit[layer] == d).tolist()) for d in range(devices)] == [
                sorted(x) for x in has
            ]

    compare()


@pytest.mark.hypothesis
def test_affinity_keeps_no_fewer_pairs_than_round_robin_and_no_exchange_keeps_more():
    @settings(max_examples=examples(60), deadline=None)
    @given(texts())
    def compare(made):
        text, experts, devices = made
        unit = unit_of("affinity", text, experts, devices)
        kept = kept_pairs(unit, text)
        assert kept >= kept_pairs(unit_of("round_robin", text, experts, devices), text)
        last = len(unit) - 1  # the layer that was changed last; with one layer that is all
        for a, b in combinations(range(experts), 2):
            other = unit.copy()
            other[last, [a, b]] = unit[last, [b, a]]
            assert kept_pairs(other, text) <= kept

    compare()


def test_affinity_finds_groups_that_are_there():
    """Tokens of two kinds, each of which uses experts of its own, in another order in every layer."""
    rng, layers, experts = np.random.default_rng(3), 5, 8
    kinds = [rng.permutation(experts).reshape(2, 4) for _ in range(layers)]
    text = np.stack(
        [np.stack([rng.permutation(kinds[layer][n % 2])[:2] for layer in range(layers)]) for n in range(200)]
    )
    unit = unit_of("affinity", text.astype(np.int16), experts, 2)
    device = unit[np.arange(layers)[:, None], text]
    assert (device == device[:, :1, :1]).all()  # each token stays where it is, in every layer


@pytest.mark.parametrize("placement", ["round_robin", "layer_split=1/1/1", "expert_split=2/1/1", "affinity"])
def test_what_crosses_is_counted_as_by_hand(placement):
    made = simmoe.run(
        "3xa100:nvlink3", "oracle-4x16-k4", placement=placement, tokens=300, prefill_chunk=9, batch=3, **PLAY
    )
    costs, trace = made.workload.costs, made.workload.trace
    unit, homes, width = costs.layout.unit, costs.homes, made.workload.model.width
    dispatched = handed = same = pairs = 0
    slots = np.zeros((trace.n_layers, 3), int)
    for row in trace.expert_ids.tolist():
        before, last = homes[0], list[int]()
        for layer, experts in enumerate(row):
            handed += homes[layer] != before
            before = homes[layer]
            on = [unit[layer, expert] for expert in experts if expert >= 0]
            dispatched += len({*on} - {homes[layer]})
            for device in on:
                slots[layer, device] += 1
            same += sum(a == b for a in on for b in last)
            pairs += len(on) * len(last)
            last = on
    found = made.crossing
    assert found.dispatched_bytes == dispatched * width * 2 and found.handed_bytes == handed * width * 2
    assert found.bytes_per_token == pytest.approx((2 * dispatched + handed) * width * 2 / trace.n_tokens)
    assert found.elsewhere == pytest.approx(1 - same / pairs)
    ratios = [max(layer) / (sum(layer) / 3) for layer in slots.tolist()]
    assert (found.imbalance, found.worst_imbalance) == pytest.approx((sum(ratios) / len(ratios), max(ratios)))


def crossings(trace: str | Trace, model: str | None = None) -> list[tuple[float, float, float]]:
    """Bytes per token, share elsewhere and imbalance of each placement, fitted on the first half and scored behind it."""
    found = []
    for placement in FITTED:
        more = {"set": ["tiers.host_dram.capacity=1TB"], "tokens": 1000, "engine": "plain"}
        made = simmoe.run(EIGHT, trace, model=model, placement=placement, **more, **PLAY).crossing
        found.append((made.bytes_per_token, made.elsewhere, made.imbalance))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("trace", ["oracle-12x64", "switch-12x64"])
def test_affinity_sends_least_on_a_bundled_text(trace):
    robin, balanced, affinity = crossings(trace)
    assert affinity[0] < min(robin[0], balanced[0]) and affinity[1] < min(robin[1], balanced[1])


@pytest.mark.slow
@pytest.mark.traces
@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("qwen3_30b_general", "qwen3-30b-a3b"),
        ("gptoss20b_gpqa", "gpt-oss-20b"),
        ("dsv2lite_intent", "deepseek-v2-lite"),
    ],
)
def test_affinity_sends_least_on_a_real_text_and_balanced_is_the_most_even(name, model):
    robin, balanced, affinity = crossings(str(real_traces.path(name)), model)
    assert affinity[0] < min(robin[0], balanced[0]) and affinity[1] < min(robin[1], balanced[1])
    assert balanced[2] < robin[2] < affinity[2]  # what it costs: the busiest device has more to do


def test_the_figures_stand_in_table_json_frame_and_metrics(capsys):
    made = simmoe.run(EIGHT, "oracle-12x64", placement="round_robin", tokens=100, **PLAY)
    (record,) = made.records()
    assert record["fabric_bytes_per_token"] == made.crossing.bytes_per_token > 0
    assert record["imbalance"] == made.crossing.imbalance > 1
    words = ["run", "--hw", EIGHT, "--trace", "oracle-12x64", "--placement", "round_robin", "--tokens", "100"]
    words += ["--timeline", "distributed", "--budget", "100%"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fabric"]["bytes_per_token"] == made.crossing.bytes_per_token
    assert [one["expert_count"] for one in found["devices"]] == [96] * 8
    assert {one["capacity_bytes"] for one in found["devices"]} == {80 * 2**30}
    assert main(words) == 0
    assert "Over the fabric" in capsys.readouterr().out
    one = simmoe.run("h100", "oracle-12x64", tokens=100, budget="25%")
    assert one.crossing is None and "fabric" not in one.to_json() and one.records()[0]["imbalance"] is None


def test_a_sweep_and_compare_take_devices_and_placements():
    space = {
        "schema": 1, "name": "ranks", "hw": ["h100", "2xh100:nvlink4", EIGHT], "trace": "oracle-12x64", "timeline": "distributed",
        "budget": "50%", "tokens": 200, "placement": ["round_robin", "affinity:first=50%"],
        "objectives": {"tok_s": "maximize", "fabric_bytes_per_token": "minimize"},
    }  # fmt: skip
    trials = simmoe.sweep(space, sampler="grid").trials
    sent = {(trial.params["hw"], trial.params["placement"]): trial.values[1] for trial in trials}
    assert len(sent) == 6 and sent["h100", "round_robin"] == sent["h100", "affinity:first=50%"] == 0
    assert 0 < sent["2xh100:nvlink4", "round_robin"] < sent[EIGHT, "round_robin"]
    options = {"placement": "balanced", **PLAY, "tokens": 60}
    rows = simmoe.compare(["h100", "2xh100:nvlink4", EIGHT], "oracle-12x64", **options).rows
    assert [row.why_not for row in rows] == [""] * 3


@pytest.mark.slow
def test_two_cards_or_one_is_asked_of_machines_that_hold_all_and_that_do_not():
    trials = simmoe.sweep("two_cards_or_one", sampler="grid").trials
    speed = {(trial.params["hw"], trial.params["placement"]): trial.values[0] for trial in trials}
    one, two = "rtx_3090", "2xrtx_3090:pcie5_x8"
    assert (
        speed[one, "layer_split"]
        == speed[one, "round_robin"]
        < speed[two, "layer_split"]
        < speed["rtx_5090", "layer_split"]
    )
    for card in (
        "rtx_3090",
        "rtx_4090",
    ):  # one after the other: what two cards hold is decoded no faster than the memory of one allows
        assert speed[f"2x{card}:pcie5_x8", "round_robin"] < speed[f"2x{card}:pcie5_x8", "layer_split"]


def test_the_command_of_a_trial_plays_it(capsys):
    space = {
        "schema": 1, "name": "two", "model": "oracle-moe-12x64", "hw": "2xh100:nvlink4", "placement": ["layer_split"], "prompt": 16,
        "generate": 16, "timeline": "distributed", "objectives": {"tok_s": "maximize"},
    }  # fmt: skip
    (trial,) = simmoe.sweep(space, sampler="grid").trials
    assert main([*trial.user_attrs["command"].split()[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tok_s"] == trial.values[0]


def test_shares_that_are_left_out_are_alike():
    options = {"tokens": 100, **PLAY}
    for name in ("layer_split", "expert_split"):
        even = simmoe.run("2xh100:nvlink4", "oracle-12x64", placement=name, **options)
        assert even.clocks == simmoe.run("2xh100:nvlink4", "oracle-12x64", placement=f"{name}=1/1", **options).clocks


@pytest.mark.parametrize("placement", ["round_robin", "balanced", "affinity"])
def test_one_device_has_all(placement):
    options = {"budget": "25%", "tokens": 300}
    alone = simmoe.run("h100", "oracle-12x64", **options)
    assert simmoe.run("h100", "oracle-12x64", placement=placement, **options).clocks == alone.clocks


@pytest.mark.parametrize(
    ("placement", "line"),
    [
        ("round_robin=3", "--placement round_robin=3: round_robin takes no number; write round_robin"),
        ("affinity=1/1", "affinity takes no number; write affinity"),
        (
            "round_robin:oracle",
            "round_robin counts no use of experts; leave out .* or write round_robin:first=50% to play what",
        ),
        ("affinity:switch", "switch has 9 layers of 24 experts"),
    ],
)
def test_what_a_placement_is_not_told_is_one_line(placement, line):
    with pytest.raises(UserError, match=line):
        simmoe.run(EIGHT, "oracle-12x64", placement=placement, tokens=60, **PLAY)


def test_one_that_is_fitted_on_what_it_is_scored_on_says_so():
    for name in ("balanced", "affinity"):
        (note,) = simmoe.run("2xh100:nvlink4", "oracle-12x64", placement=name, tokens=60, **PLAY).notes
        assert f"{name} counts the experts of the very text that it is scored on" in note


def test_a_users_file_may_ask_for_the_text(tmp_path: Path):
    text = Path(policies.load("placement", "affinity").__file__).read_text("utf-8")
    (tmp_path / "mine.py").write_text(text)
    options = {"tokens": 60, **PLAY}
    mine = simmoe.run("2xh100:nvlink4", "oracle-12x64", placement=f"{tmp_path / 'mine.py'}:first=30%", **options)
    assert mine.clocks == simmoe.run("2xh100:nvlink4", "oracle-12x64", placement="affinity:first=30%", **options).clocks
