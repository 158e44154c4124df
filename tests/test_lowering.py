"""Lowering: the operations of tiny traces, row by row, against files that `python -m tests.test_lowering` writes anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simmoe import policies
from simmoe.simulator.binding import bound
from simmoe.simulator.costs import Costs
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.decide.player import Player
from simmoe.simulator.lower import layer, oplist
from simmoe.simulator.lower.durations import loading
from simmoe.simulator.lower.oplist import CARRIED, FIRST_HOP, KINDS, MOVE, ONE, RUN, WAIT, Ops
from simmoe.simulator.lower.tables import UNIT, cpu_of, link_of, notes_of, tables_of, upstream_of, work_of
from simmoe.simulator.nouns.decisions import Guesses
from simmoe.simulator.nouns.hardware import ComputeUnit, Hardware, Link, Tier, Upstream
from simmoe.simulator.nouns.model import NO_PART, Layer, ModelShape, Part
from tests.scenarios import tiny_trace

FOLDER = Path(__file__).parent / "golden"
TB = 10**12
CASES = {
    # name: (passes, experts that fit, timeline, prefetch, shared experts, experts 1 and 3 are left to the CPU)
    "hits_and_loads": ([[[0, 1]], [[1, 2]], [[0, 1]]], 2, "overlapped", None, False, False),
    "shared_experts": ([[[0, 1]], [[1, 2]]], 3, "overlapped", None, True, False),
    "larger_than_the_cache": ([[[0, 1], [2, 3], [0, 2]]], 2, "overlapped", None, False, False),
    "serial": ([[[0, 1]], [[1, 2]], [[0, 1]]], 2, "serial", None, True, False),
    "prefetches": ([[[0]], [[1]], [[2]], [[1]]], 3, "overlapped", [[1], [2], [1], []], False, False),
    "prefetches_serial": ([[[0]], [[1]], [[2]], [[1]]], 3, "serial", [[1], [2], [1], []], False, False),
    "withdrawn": ([[[0]], [[1]], [[2]], [[1]]], 3, "overlapped", [[1, 3], [2], [1], []], False, False),
    "sync": ([[[0, 1]], [[1, 2]], [[0, 1]]], 2, "sync", None, True, True),
    "experts_on_the_cpu": ([[[0, 1]], [[1, 2]], [[2, 3]]], 2, "overlapped", None, False, True),
    "carried": ([[[0, 1]], [[1, 2]]], 2, "overlapped", None, False, True),
    "experts_on_the_cpu_unified": ([[[0, 1]], [[1, 2]], [[2, 3]]], 2, "overlapped", None, False, True),
    "two_hops": ([[[0, 1]], [[2, 3]]], 3, "overlapped", [[2], []], False, False),
    "two_hops_pipelined": ([[[0, 1]], [[2, 3]]], 3, "overlapped", [[2], []], False, False),
}


def machine(host_wait_ps: int, unified: bool, hops: str) -> Hardware:
    upstream = Upstream("store", TB, 0, "pipelined" in hops) if hops else None
    units = {
        name: ComputeUnit(name, memory, TB, 1, {"fp16": TB}, host_wait_ps=host_wait_ps)
        for name, memory in (("gpu", "dram"), ("cpu", "home"))
    }
    tiers = {name: Tier(name, 10**15, TB) for name in ("dram", "home", "store")}
    return Hardware(
        "tiny",
        "a machine of a few bytes",
        unified,
        tiers,
        units,
        Link("home", "dram", TB // 2, 0, upstream=upstream),
        ("gpu",),
        0,
        1,
    )


def lowered(name: str, other_timeline: str | None = None, host_wait_ps: int = 1) -> Ops:
    """The operations of all passes of a case in one list; by another timeline than its own where one is given."""
    passes, slots, timeline, wanted, shared, on_cpu = CASES[name]
    trace = tiny_trace(passes, n_experts=4, n_layers=1)
    part = Part(1, 1, 1)
    moe = Layer(part, shared=part if shared else NO_PART, expert=part, n_experts=4)
    costs = Costs(
        machine(host_wait_ps, "unified" in name, name if "hops" in name else ""),
        ModelShape("tiny", "fp16", "fp16", (moe,), 2, part, NO_PART),
        trace,
    )
    if name == "carried":
        costs.may_carry, costs.carries, costs.carry_ps = True, lambda size: True, lambda column, count: 5 * count
    requests = requests_of(trace)
    guesses = Guesses(
        np.cumsum([0, *map(len, wanted or [[]] * requests.n_events)]),
        np.array([o for one in wanted or [] for o in one], np.int64),
        cancel=name == "withdrawn",
    )
    unit_of = np.arange(requests.n_objects, dtype=np.int8) % 2 if on_cpu else None
    decisions = decide(
        requests, costs.model.expert_bytes, policies.load("eviction", "lru"), slots, guesses=guesses, unit_of=unit_of
    )
    fixed, tables = tables_of(costs, requests)
    work = work_of(costs, requests, decisions, guesses, loading(costs, requests, decisions, guesses))
    lists, ops, last = Player().arrays, Ops(), 0
    lower = bound(layer, policies.load("timeline", other_timeline or timeline), oplist).lower_pass
    notes = lists(notes_of(requests.widest))
    for number in range(trace.n_passes):
        last = lower(number, last, fixed, lists(tables), lists(work), notes, ops)
    return ops


@pytest.mark.parametrize("name", CASES)
def test_the_operations_are_those_of_the_golden_file(name):
    assert str(lowered(name)) == (FOLDER / f"{name}.txt").read_text("utf-8"), (
        "python -m tests.test_lowering writes them anew"
    )


@pytest.mark.parametrize("name", CASES)
def test_a_row_follows_rows_before_it_only(name):
    ops = lowered(name)
    for row in range(1, len(ops.kind)):
        assert 0 <= ops.after[row] < row
        if ops.kind[row] in (ONE, WAIT, CARRIED):
            assert 0 <= ops.what[row][-1] < row
        if ops.kind[row] in (ONE, CARRIED):
            assert ops.kind[ops.what[row][-1]] == MOVE
        move = upstream_of(1) if str(ops.what[row][0]).startswith(FIRST_HOP) else link_of(0, 1)
        assert ops.resource[row] == (
            move if ops.kind[row] == MOVE else cpu_of(1) if ops.what[row][0] == "cpu" else UNIT
        )


def test_every_kind_of_operation_stands_in_some_golden_file():
    seen = {KINDS[kind] for name in CASES for kind in lowered(name).kind}
    assert seen == set(KINDS) - {"SEND"}  # of several devices: tests/golden/distributed.txt


def test_serial_issues_no_load_before_the_launch_before_it():
    ops = lowered("serial")
    moves = [row for row in range(1, len(ops.kind)) if ops.kind[row] == MOVE]
    assert moves
    for row in moves:
        launch_before = max(r for r in range(row) if ops.resource[r] == UNIT)
        assert ops.after[row] == launch_before
        assert ops.kind[row + 1] == ONE and ops.what[row + 1][-1] == row


def test_sync_parts_attention_from_everything_else_of_its_layer():
    """What follows attention is the wait alone; the event is decided at its end, and everything of the layer stands behind that."""
    ops = lowered("sync")
    gaps = [row for row in range(1, len(ops.kind)) if ops.what[row][0] == "gap" and ops.what[row][2] == 0]
    assert len(gaps) == 3
    for event, row in enumerate(gaps):
        assert (ops.kind[row + 1], ops.what[row + 1], ops.after[row + 1]) == (RUN, ("host", event), row)
        assert ops.decided[event] == row + 1
        assert row not in ops.after[row + 2 :]


def test_an_event_is_decided_behind_its_attention_where_the_host_does_not_wait():
    ops = lowered("hits_and_loads")
    assert [ops.what[row] for row in ops.decided.values()] == [("gap", number, 0) for number in range(3)]


@pytest.mark.parametrize("name", CASES)
def test_a_host_that_does_not_wait_is_no_operation(name):
    assert str(lowered(name, "sync", host_wait_ps=0)) == str(lowered(name, "overlapped"))


def main() -> None:
    for name in CASES:
        (FOLDER / f"{name}.txt").write_text(str(lowered(name)), "utf-8")


if __name__ == "__main__":
    main()
