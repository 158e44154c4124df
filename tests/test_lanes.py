"""Lanes: runs that decide the same share what is decided and counted, and each gives what it gives alone, to the last byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simmoe import load_trace
from simmoe.play import lanes as sharing
from simmoe.play.calling import scenario_of
from simmoe.play.lanes import Lanes
from simmoe.play.result import Run
from simmoe.play.run import play
from simmoe.simulator.errors import UserError
from simmoe.sweeps.compare import compare
from simmoe.sweeps.search import sweep
from simmoe.workloads.format.trace import first_tokens, names

pytestmark = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
TOKENS = 96  # a prompt of 64, and decode passes
MACHINES: tuple[dict[str, Any], ...] = (
    {"hw": "a100"},
    {"hw": "a100", "set": ["link.bandwidth=3GB/s"]},
    {"hw": "a100", "set": ["units.gpu.bandwidth=400GB/s"]},
    {"hw": "a100", "set": ["units.cpu.bandwidth=20GB/s"]},
    {"hw": "a100", "graphs": True},
    {"hw": "rtx_3090"},
    {"hw": "jetson_orin"},  # unified
    {"hw": "jetson_orin", "set": ["link.bandwidth=1GB/s"]},
    {"hw": "rtx_4090_nvme"},
    {"hw": "phone_ufs4"},  # a store and a page cache before the link
    {"hw": "rtx_3090", "runtime": "llama_cpp_cuda", "placement": "n_cpu_moe=2", "budget": None},
    {
        "hw": "rtx_3090",
        "runtime": "llama_cpp_cuda",
        "placement": "n_cpu_moe=2",
        "budget": None,
        "op_offload": False,
    },  # carries nothing over the link
)
PLANS: dict[str, tuple[Any, ...]] = {
    "budget": ("20%", "50%", "100%"), "eviction": ("lru", "lfu", "belady", "random", "nothing"), "scope": ("global", "layer"),
    "miss": ("fetch", "cpu", "idle_cheaper", "balanced"), "placement": (None, "n_cpu_moe=3", "popular=50%"),
    "prefetch": (None, "next_layer"), "prefetch_into": ("cache", "buffers"), "page_cache": (0, "500MB"),
    "write_back": (False, True), "cold_per_sequence": (False, True), "start": ("auto", "cold"), "warm_up": (None, 64),
    "timeline": ("overlapped", "serial"), "seed": (0, 1),
}  # fmt: skip


@pytest.fixture(scope="module")
def trace():
    return first_tokens(load_trace("oracle"), TOKENS)


def played(options: dict[str, Any], lanes: Lanes | None) -> Run | str:
    try:
        scenario = scenario_of(options)
        workload = scenario.workload()
        return play(workload, scenario.plan(workload), lanes=lanes)
    except UserError as error:
        return str(error)


def said(outcome: Run | str) -> str:
    return outcome if isinstance(outcome, str) else json.dumps(outcome.to_json())


@st.composite
def plans(draw: Any) -> dict[str, Any]:
    """Few options at a time: most machines refuse many together."""
    chosen = draw(st.lists(st.sampled_from(sorted(PLANS)), max_size=4, unique=True))
    return {"budget": "20%"} | {name: draw(st.sampled_from(PLANS[name])) for name in chosen}


TOGETHER: tuple[dict[str, Any], ...] = (
    {"page_cache": "500MB", "warm_up": 64}, {"page_cache": "500MB", "miss": "idle_cheaper"}, {"prefetch": "next_layer", "warm_up": 64},
    {"prefetch": "next_layer", "prefetch_into": "buffers"}, {"placement": "popular=50%", "miss": "balanced"},
 {"placement": "popular=50%:first=20%"}, {"placement": "popular=50%:first=40%"},
)  # fmt: skip


@pytest.mark.slow
def test_lanes_of_all_plans_are_single_runs(trace):
    """Each option at each of its values, in one place: what is kept of one plan must not be taken for another."""
    plans = [{}, *({name: value} for name, values in PLANS.items() for value in values[1:]), *TOGETHER]
    lanes, ran = Lanes(), 0
    for plan in plans:
        for machine in MACHINES:
            options = {"trace": trace, "budget": "20%", **plan, **machine}
            alone = played(options, None)
            assert said(played(options, lanes)) == said(alone), options
            ran += isinstance(alone, Run)
    assert ran > len(plans) * len(MACHINES) // 2


@pytest.mark.slow
@given(st.lists(plans(), min_size=2, max_size=2), st.lists(st.sampled_from(MACHINES), min_size=2, max_size=3))
def test_a_lane_is_its_single_run(trace, several, machines):
    lanes = Lanes()
    for plan in several:
        for machine in machines:
            options = {"trace": trace, **plan, **machine}
            assert said(played(options, lanes)) == said(played(options, None)), options


def test_what_reads_no_figure_is_decided_once(trace):
    lanes = Lanes()
    runs = [played({"trace": trace, "budget": "20%", **machine}, lanes) for machine in MACHINES[:10]]
    assert all(isinstance(run, Run) for run in runs), runs
    assert len({id(run.decided) for run in runs}) == 1  # type: ignore[union-attr]
    assert len({run.tok_s for run in runs}) == 9  # all but the CPU's figure count


@pytest.mark.parametrize(("number", "alike"), [(1, False), (2, True), (3, False)])
def test_a_rule_that_weighs_link_and_cpu_decides_for_each(trace, number, alike):
    lanes = Lanes()
    one, other = (
        played({"trace": trace, "budget": "20%", "miss": "idle_cheaper", **MACHINES[n]}, lanes) for n in (0, number)
    )
    assert (one.decided is other.decided) == alike  # type: ignore[union-attr]


def test_what_an_engine_carries_over_the_link_is_counted_for_each():
    lanes, runs = Lanes(), []
    for carries in (True, False):
        options = {"model": "oracle-moe-9x24", "prompt": 2048, "generate": 2, **MACHINES[-2], "op_offload": carries}
        runs.append(played(options, lanes))
        assert said(runs[-1]) == said(played(options, None))
    assert runs[0].decided is runs[1].decided and runs[0].counts.carried > runs[1].counts.carried == 0  # type: ignore[union-attr]


def test_equal_rows_that_were_cut_apart_are_gathered_once():
    whole, lanes = load_trace("oracle"), Lanes()
    runs = [played({"trace": first_tokens(whole, TOKENS), "hw": hw, "budget": "20%"}, lanes) for hw in ("a100", "h100")]
    assert runs[0].workload.trace is not runs[1].workload.trace  # type: ignore[union-attr]
    assert runs[0].workload.requests is runs[1].workload.requests  # type: ignore[union-attr]


def test_other_text_is_decided_anew(trace):
    lanes = Lanes()
    for tokens in (TOKENS, TOKENS // 2):
        options = {"trace": first_tokens(trace, tokens), "hw": "a100", "budget": "20%"}
        assert said(played(options, lanes)) == said(played(options, None))


def test_what_is_kept_is_bounded(trace):
    alone = played({"trace": trace, "hw": "a100", "budget": "20%"}, None)
    room = 2 * alone.decided.size_bytes + 100  # type: ignore[union-attr]
    lanes = Lanes(room)
    for budget in ("20%", "30%", "40%", "50%"):
        played({"trace": trace, "hw": "a100", "budget": budget}, lanes)
    assert 1 <= len(lanes._kept) <= 3 and sum(one.size_bytes for one in lanes._kept.values()) <= room
    nothing = Lanes(0)
    assert said(played({"trace": trace, "hw": "a100", "budget": "20%"}, nothing)) == said(alone) and not nothing._kept


def counted(monkeypatch) -> list[str]:
    """The machine of each pass of decisions from here on."""
    made, real = list[str](), sharing.decided

    def noted(workload, *rest):
        made.append(workload.hw.name)
        return real(workload, *rest)

    monkeypatch.setattr(sharing, "decided", noted)
    return made


def test_compare_decides_once_for_all_machines(trace, monkeypatch):
    made = counted(monkeypatch)
    rows = compare(["a100", "rtx_3090", "jetson_orin"], trace, budget="20%", eviction=["lru", "fifo"]).rows
    assert all(row.run for row in rows) and made == ["a100", "a100"]


def test_a_sweep_decides_once_for_all_figures_of_a_machine(monkeypatch):
    space = {
        "schema": 1, "name": "figures", "hw": ["a100", "jetson_orin"], "trace": ["oracle"], "budget": ["20%", "50%"],
        "set": ["none", "link.bandwidth=3GB/s", "link.bandwidth=2GB/s"], "tokens": TOKENS, "objectives": {"tok_s": "maximize"},
    }  # fmt: skip
    made = counted(monkeypatch)
    done = sweep(space, sampler="grid")
    assert len(done.trials) == 12 and all(trial.values for trial in done.trials)
    assert len(made) == 2
    speeds = {json.dumps(trial.user_attrs["point"]): trial.values[0] for trial in done.trials}
    assert len(set(speeds.values())) == 12
    for trial in done.trials[:3]:
        point = trial.user_attrs["point"]
        change = [] if point["set"] == "none" else [point["set"]]
        options = {"hw": point["hw"], "trace": "oracle", "budget": point["budget"], "set": change, "tokens": TOKENS}
        assert played(options, None).tok_s == trial.values[0]  # type: ignore[union-attr]
