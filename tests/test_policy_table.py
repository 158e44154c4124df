"""`simmoe policies` and `simmoe.compare_policies`: rows are runs, gaps are to bounds, one's own file checked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.play.gaps import BOUNDS
from simmoe.play.policy_table import USUAL
from simmoe.show import progress, screen
from simmoe.simulator.errors import UserError
from simmoe.workloads.format import trace as traces
from simmoe.workloads.offload import measured
from tests.test_house import ROOT

pytestmark = pytest.mark.skipif("switch" not in traces.names(), reason="the bundled traces are not made yet")
HW, TRACE = "rtx_4090+ddr4_3200_2ch", "switch"
BASE = {"tokens": 300, "budget": "25%"}
WORDS = ["--hw", HW, "--trace", TRACE, "--tokens", "300"]
LISTS = {"eviction": ["lru", "fifo", "lfu"], "scope": ["global", "layer"], "prefetch": [None, "next_layer"]}


@pytest.fixture(scope="module")
def table():
    return simmoe.compare_policies(HW, TRACE, **LISTS, **BASE)


def chosen(table):
    return [row for row in table.rows if row.scenario is not None]


def test_every_combination_is_a_run(table):
    assert len(chosen(table)) == 3 * 2 * 2
    for row in chosen(table):
        eviction, scope, prefetch = row.label.split(", ")
        run = simmoe.run(
            HW, TRACE, eviction=eviction, scope=scope, prefetch=None if prefetch == "none" else prefetch, **BASE
        )
        assert (row.run.digest, row.tok_s, row.run.bytes_per_token) == (run.digest, run.tok_s, run.bytes_per_token)
        assert (
            row.hit_rate == run.decode.hits / run.decode.requests == run.decode.hit_rate and row.quality.said == "same"
        )
        assert row.waste == run.prefetched.wasted.bytes / run.bytes and (row.waste > 0) == (prefetch == "next_layer")
        low, high = row.band.hardware
        assert low <= row.tok_s <= high and low < high
    speeds = [row.tok_s for row in table.rows]
    assert speeds == sorted(speeds, reverse=True)


def test_gaps_are_milliseconds_to_bounds_of_the_same_scope_and_memory(table):
    everything = simmoe.run(HW, TRACE, eviction="everything", tokens=300)
    for row in chosen(table):
        belady = simmoe.run(HW, TRACE, eviction="belady", scope=row.run.plan.scope, **BASE)
        for name, tok_s in (("belady", belady.tok_s), ("everything", everything.tok_s)):
            assert row.gap_ms[name] == pytest.approx(1000 / row.tok_s - 1000 / tok_s, abs=1e-9)
        assert row.gap_ms["everything"] > row.gap_ms["belady_bypass"] >= 0
        if row.run.plan.prefetch is None:
            assert row.gap_ms["belady"] >= 0


def fewest_loads(trace, slots: int) -> int:
    """Of any policy from empty slots, top-1: an expert that is kept from one request to its next takes a slot in between, and as many of
    these intervals are kept as slots allow, the one that ends first before the others."""
    keys = (trace.expert_ids[:, :, 0] + np.arange(trace.n_layers) * trace.n_experts).ravel().tolist()
    busy, before, kept = [0] * len(keys), dict[int, int](), 0
    for end, key in enumerate(keys):
        start = before.get(key)
        if start is not None and max(busy[start:end]) < slots:
            kept += 1
            for moment in range(start, end):
                busy[moment] += 1
        before[key] = end
    return len(keys) - kept


def test_the_bypass_bound_is_launches_and_the_fewest_bytes():
    whole = traces.load(TRACE)
    first = int(whole.pass_ptr[np.flatnonzero(whole.phase == 1)[0]])  # decode alone, from empty slots
    trace = whole.taken(slice(first, first + 60), np.arange(61), np.ones(60, np.int8))
    hw = simmoe.load_hardware("rtx_4090")
    found = simmoe.compare_policies(hw, trace, eviction=["lru", "sieve"], budget="20%", start="cold")
    bar = next(row for row in found.rows if row.label == "belady_bypass")
    model = found.workload.model
    size = int(model.expert_bytes[0])
    loads = fewest_loads(trace, found.plan.budget_bytes // size)
    everything = simmoe.run(hw, trace, eviction="everything")
    computing, loading = Fraction(int(everything.pass_ps.sum()), 10**12), Fraction(loads * size, hw.link.bytes_per_s)
    seconds = max(computing, loading)
    assert loading > computing  # here the link binds
    assert bar.tok_s == pytest.approx(60 / float(seconds), rel=1e-6)
    assert loads <= bar.run.misses  # a miss in a slot of its own


def test_bounds_are_marked_and_stand_there_once(table):
    bounds = [row for row in table.rows if row.bound]
    assert sorted(row.label for row in bounds) == ["belady, global", "belady, layer", "belady_bypass", "everything"]
    assert {row.label.split(",")[0] for row in bounds} == set(BOUNDS)
    again = simmoe.compare_policies(HW, TRACE, eviction=["belady", "lru"], **BASE)
    assert [row.label for row in again.rows if row.bound].count("belady") == 1 and next(
        r for r in again.rows if r.label == "belady"
    ).bound


def test_bounds_that_do_not_hold_are_left_out():
    found = simmoe.compare_policies(HW, TRACE, miss=["fetch", "cpu"], **BASE)
    by = {(row.run.plan.miss, row.run.plan.eviction): row for row in chosen(found)}
    assert set(by) == {(miss, eviction) for miss in ("fetch", "cpu") for eviction in USUAL}
    for (miss, _), row in by.items():
        assert (row.gap_ms["belady"] is None) == (row.gap_ms["belady_bypass"] is None) == (miss == "cpu")
        assert row.gap_ms["everything"] > 0
    warm = simmoe.compare_policies(HW, TRACE, eviction="lru", warm_up=64, **BASE)
    (row,) = chosen(warm)
    assert row.gap_ms["belady_bypass"] is None and row.gap_ms["belady"] >= 0


def test_systems_stand_beside_each_other_with_the_bounds_of_their_engines():
    found = simmoe.compare_policies(HW, TRACE, system=["mixtral_offloading", "ktransformers", "oracle_moe"], tokens=300)
    by = {row.label: row for row in found.rows}
    assert {"everything, ideal", "everything, mixtral_offloading", "everything, ktransformers"} <= set(by)
    assert by["ktransformers"].resident == 0 and by["oracle_moe"].resident == pytest.approx(0.25, abs=0.01)
    for system in ("mixtral_offloading", "ktransformers"):
        full = simmoe.run(HW, TRACE, eviction="everything", runtime=system, tokens=300)
        gap = 1000 / by[system].tok_s - 1000 / full.tok_s
        assert by[system].gap_ms["everything"] == pytest.approx(gap, abs=1e-9)


def test_what_cannot_run_is_a_row_with_its_reason(capsys):
    assert main(["policies", *WORDS, "--eviction", "lru", "--prefetch", "none,recorded=7"]) == 0
    out = capsys.readouterr().out
    assert "recorded=7 (does not run)" in out and "recorded=7: " in out
    assert main(["policies", *WORDS, "--eviction", "lru", "--prefetch", "recorded=7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_one_row_counts_no_row_plays():
    found = simmoe.compare_policies(HW, TRACE, eviction=["lru", "static_pin:first=20%"], budget="25%", tokens=300)
    digests = {row.run.workload.trace_digest for row in found.rows}
    plain = simmoe.run(HW, TRACE, tokens=300, budget="25%").workload
    assert len({row.run.workload.trace.n_tokens for row in found.rows}) == len(digests) == 1
    first = next(row.run.workload.trace.expert_ids for row in found.rows if row.label == "lru")
    assert not np.array_equal(first, plain.trace.expert_ids)
    with pytest.raises(UserError, match="count different first rows; count the same share"):
        simmoe.compare_policies(HW, TRACE, eviction=["static_pin:first=10%", "static_pin:first=20%"], budget="25%")


def test_the_command_says_the_same_as_json_and_in_80_columns(table, capsys, monkeypatch):
    words = [
        "policies",
        *WORDS,
        "--budget",
        "25%",
        "--eviction",
        "lru,fifo",
        "--eviction",
        "lfu",
        "--scope",
        "global,layer",
    ]
    words += ["--prefetch", "none,next_layer"]
    assert main([*words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [(row["label"], row["tok_s"], row["gap_ms"], row["digest"]) for row in data["rows"]] == [
        (row.label, row.tok_s, row.gap_ms, row.run.digest) for row in table.rows
    ]
    assert data == json.loads(json.dumps(table.to_json()))

    def narrow(out) -> None:
        out.width = 80
        out._console = screen._Output(width=80, markup=False, emoji=False, highlight=False)

    monkeypatch.setattr(screen.Screen, "__init__", narrow)
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith("bound: everything")]
    for word in ("hit rate", "loaded/token", "to belady", "to bypass", "to all"):
        assert any(word in line for line in lines if line.startswith("policy "))


@pytest.mark.slow
def test_a_policy_of_ones_own_is_checked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "extending" / "eviction.md").read_text()
    text = page.partition("```python\n# second_use.py\n")[2].partition("```")[0]
    Path("second_use.py").write_text(text)
    assert len(text.splitlines()) <= 40
    assert main(["policies", "check", "./second_use.py"]) == 0
    assert "48 scenarios: room and pins kept" in capsys.readouterr().out
    Path("broken.py").write_text(text.replace("return o if o >= 0 else", "return -1 if o >= 0 else"))
    assert main(["policies", "check", "./broken.py"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "policy broken.py" in err
    assert main(["policies", *WORDS, "--eviction", "lru,./second_use.py"]) == 0
    assert "./second_use.py" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--eviction", "lru,lruu"], "unknown eviction policy 'lruu'"),
        (["--system", "fidler"], "unknown system 'fidler'"),
        (["--miss", ""], "is no text"),
        (["check"], "the following arguments are required: NAME|FILE"),
    ],
)
def test_a_mistake_is_one_line(words, line, capsys):
    assert main(["policies", *([] if words == ["check"] else WORDS), *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and line in err


def test_replaced_scenarios_of_rows_play_alike(table):
    row = chosen(table)[0]
    assert simmoe.run(replace(row.scenario)).digest == row.run.digest


def test_quality_is_what_was_measured_of_that_rule_model_and_budget(monkeypatch, capsys):
    meta = traces.load(TRACE).meta
    slots = 54  # a quarter of 9 * 24 experts
    row = {
        "model": TRACE, "recipe_digest": meta["recipe_digest"], "rule": "substitute", "argument": {}, "low_bits": None, "eviction": "lru",
        "slots": slots, "sequences": 8, "ratio": 1.25, "ratio_error": 0.01, "proxy_ppl": 75.0, "proxy_ppl_resident": 60.0,
        "tokens": 2048,
    }  # fmt: skip
    monkeypatch.setattr(measured, "rows", lambda *_: [row])
    options = {"miss": ["fetch", "substitute", "drop=10%"], "eviction": "lru", "tokens": 200}
    found = simmoe.compare_policies(HW, TRACE, **options, budget="25%")
    said = {one.label: one.quality and one.quality.said for one in found.rows if one.scenario is not None}
    assert said == {"fetch": "same", "substitute": "+25.00 %", "drop=10%": None}
    by = {one["label"]: one["quality"] for one in found.to_json()["rows"]}
    assert (
        by["substitute"] == {"ratio": 1.25, "error": 0.01}
        and by["drop=10%"] is None
        and by["fetch"] == {"ratio": 1.0, "error": 0.0}
    )
    for other in ({"budget": "50%"}, {"budget": "25%", "scope": "layer"}):  # what was measured is one cache of 54
        again = simmoe.compare_policies(HW, TRACE, **options, **other)
        assert {one.label: one.quality for one in again.rows if one.scenario is not None}["substitute"] is None
    assert main(["policies", *WORDS, "--eviction", "lru", "--miss", "fetch,substitute"]) == 0
    assert "+25.00 %" in capsys.readouterr().out
    notes = simmoe.run(HW, TRACE, miss="substitute", tokens=200, budget="25%").notes
    assert any(
        "Proxy perplexity 75.00 with substitute, 60.00 without: +25.00 ± 1.00 %, measured on 2,048 tokens" in one
        for one in notes
    )


def test_the_legend_explains_only_columns_that_are_shown(capsys):
    words = [
        "policies",
        "--hw",
        "rtx_4090",
        "--trace",
        "oracle-4x8",
        "--tokens",
        "40",
        "--eviction",
        "lru,fifo",
        "--engine",
        "plain",
    ]
    for more, shown in (([], False), (["--system", "oracle_moe,ktransformers"], True)):
        assert main([*words, *more]) == 0
        text = capsys.readouterr().out
        assert any("resident" in line.split() for line in text.splitlines() if line.startswith("policy ")) == shown
        assert ("resident: share" in " ".join(text.split())) == shown
        assert "No decode pass is played (first 64 of 12,544 tokens)" in text  # why all speeds are dashes


def test_a_long_table_says_how_far_it_is(capsys, monkeypatch):
    told = list[tuple[str, int, int]]()
    found = simmoe.compare_policies(HW, TRACE, eviction=["lru", "fifo"], **BASE, report=lambda *at: told.append(at))
    assert told == [("lru", 0, 2), ("fifo", 1, 2)] and len(chosen(found)) == 2
    monkeypatch.setattr(progress, "EVERY_S", 0.005)
    assert main(["policies", *WORDS, "--budget", "25%", "--eviction", "lru,fifo,lfu", "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["rows"]) > 3
    assert set(re.findall(r"^policies: (\w+): (\d) of 3$", err, re.M)) >= {("lru", "0"), ("lfu", "2")}
    monkeypatch.undo()
    assert main(["policies", *WORDS, "--budget", "25%", "--eviction", "lru,fifo", "--json"]) == 0
    assert capsys.readouterr().err == ""  # what is short says nothing
