"""The conformance rows of docs/checks.md: hits, misses and evictions that two independent references agree on."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import simmoe
from tests import real_traces
from tests.conftest import make_trace, one_layer

SMOKE = make_trace([[[e] * 3] for e in ([0, 1], [0, 2], [0, 1], [0, 3], [0, 1])], 4)
ROWS = {  # trace, room, scope, accesses / hits / misses / evictions
    "smoke": (SMOKE, 2 * 3, "layer", (30, 12, 18, 12)),
    "A pinning": (one_layer([[0, 1], [2, 0], [1, 0], [3, 1], [0, 1]], 4), 2, "global", (10, 4, 6, 4)),
    "B union and unused slot": (one_layer([[[0, 1], [1, 2], [0, -1]], [2, 3], [0, 2]], 4), 3, "global", (7, 3, 4, 1)),
    "C event larger than the cache": (one_layer([[[0, 1], [2, 3], [0, 2]], [3, 2], [0, 3]], 4), 2, "global", (8, 3, 5, 3)),
    "D global, room 2": (make_trace([[[[0]] * 3]] * 4, 1), 2, "global", (12, 0, 12, 10)),
    "D global, room 3": (make_trace([[[[0]] * 3]] * 4, 1), 3, "global", (12, 9, 3, 0)),
    "E order within a large event": (one_layer([[0, 1], [[2, 1], [3, 0]], [1, 0], [2, 3]], 4), 2, "global", (10, 2, 8, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_conformance_row(name):
    trace, room, scope, want = ROWS[name]
    got = simmoe.replay(trace, [1] * trace.n_layers, room, "lru", scope)
    assert (got.hits + got.misses, got.hits, got.misses, got.evictions) == want


def test_flattened_accesses_would_give_other_hits():
    trace, room, _, _ = ROWS["A pinning"]
    assert simmoe.replay(trace, [1], room, contract="sequential").hits == 2


@pytest.fixture(scope="module")
def phone():
    return real_traces.load("phone_gemma4_26b"), real_traces.arrays("phone_gemma4_26b")


MIB = 2**20


@pytest.mark.traces
def test_phone_flags_and_bytes(phone):
    trace, raw = phone
    got = simmoe.replay(trace, raw["expert_bytes_per_layer"], 4000 * MIB)
    assert got.hit.size == 28_260
    assert np.array_equal(got.hit, raw["residency"] == 1)
    assert round(100 * got.decode.hits / got.decode.requests, 2) == 81.91
    assert round(got.decode.bytes / MIB, 1) == 15_753.2
    recorded = int(raw["read_bytes"][raw["phase"] == 1].sum())
    assert abs(got.decode.bytes / recorded - 1) < 0.005


@pytest.mark.traces
def test_phone_curve(phone):
    trace, raw = phone
    with open(real_traces.path("phone_gemma4_26b.curve.csv"), encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["policy"] in ("lru", "belady", "lfu")]
    assert len(rows) == 33
    for row in rows:
        got = simmoe.replay(trace, raw["expert_bytes_per_layer"], int(float(row["budget_mib"]) * MIB), row["policy"])
        assert 100 * got.hits / (got.hits + got.misses) == pytest.approx(float(row["hit_pct_cum"]), abs=0.01), row
        assert 100 * got.decode.hits / got.decode.requests == pytest.approx(float(row["hit_pct_decode"]), abs=0.01), row
        assert got.bytes / MIB == pytest.approx(float(row["read_mib"]), abs=0.06), row


QWEN = {  # room -> misses per token of column 24: event lru, event belady, one-expert lru, one-expert belady
    8: (4.165, 4.165, 5.1665, 3.175125), 17: (2.69375, 1.738125, 2.87525, 1.619875),
    25: (1.90625, 1.067, 1.9825, 1.027375), 38: (1.104125, 0.534875, 1.131625, 0.524),
    64: (0.327875, 0.14725, 0.331375, 0.146), 89: (0.08225, 0.03975, 0.0825, 0.0395),
}  # fmt: skip


@pytest.mark.traces
@pytest.mark.parametrize("room", QWEN)
def test_qwen3_column_24(room):
    trace = real_traces.load("qwen3_30b_general", slice(24, 25))
    got = [simmoe.replay(trace, [1], room, policy, contract=contract).misses / trace.n_tokens
           for contract in ("event", "sequential") for policy in ("lru", "belady")]  # fmt: skip
    assert tuple(got) == QWEN[room]
