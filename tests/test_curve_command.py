"""`simmoe curve` and `simmoe.curve`: equal to runs and replays, in 80 columns, as a page, refused in one line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import simmoe
from simmoe.cli import curve as command
from simmoe.cli.main import main
from simmoe.show import screen
from tests.conftest import make_trace


def small() -> simmoe.Trace:
    random = np.random.default_rng(3)
    passes = [
        [[random.permutation(6)[:2].tolist() for _ in range(2)] for _ in range(1 + 3 * (i % 9 == 0))] for i in range(40)
    ]
    return make_trace(passes, 6, phase=[int(i % 9 != 0) for i in range(40)])


def test_without_a_model_sizes_count_experts():
    trace = small()
    found = simmoe.curve(trace, eviction=["lru", "belady", "belady_bypass", "fifo"])
    assert found.budgets == (1, 3, 4, 6, 7, 9, 10, 12) and not found.sized
    for name, curve in found.curves.items():
        assert curve.every == (name != "fifo") and len(curve.hits) == (8 if name == "fifo" else 12)
        for number, budget in enumerate(curve.budget_bytes.tolist()):
            want = simmoe.replay(trace, [1, 1], budget, name)
            assert (curve.hits[number], curve.misses[number], curve.bytes[number]) == (
                want.hits,
                want.misses,
                want.bytes,
            )
            assert curve.decode_hits[number] == want.decode.hits and curve.decode_bytes[number] == want.decode.bytes
    bypass = found.curves["belady_bypass"]
    assert found.least_bytes.tolist() == [bypass.bytes[bypass.at(budget)] for budget in found.budgets]


def test_with_a_machine_each_row_is_a_run():
    found = simmoe.curve("oracle", "a100", eviction=["lru", "lfu"], scope="layer", tokens=120, engine="plain")
    assert found.scope == "layer" and found.curves["lru"].every and not found.curves["lfu"].every
    for name, runs in found.runs.items():
        curve = found.curves[name]
        for run, budget, most in zip(runs, found.budgets, found.most_tok_s):
            assert (run.hits, run.misses, run.bytes) == tuple(
                each[curve.at(budget)] for each in (curve.hits, curve.misses, curve.bytes)
            )
            same = simmoe.run(
                "a100", "oracle", eviction=name, scope="layer", tokens=120, budget=budget, start="cold", engine="plain"
            )
            assert run.tok_s == same.tok_s <= most and same.decode.hits == curve.decode_hits[curve.at(budget)]


def eighty(out: screen.Screen) -> None:
    """A terminal of 80 columns."""
    out.width = 80
    out._console = screen._Output(width=80, markup=False, emoji=False, highlight=False)


@pytest.mark.parametrize("options", [[], ["--hw", "jetson_orin", "--engine", "plain"]])
def test_the_tables_fit_80_columns(options, capsys, monkeypatch):
    monkeypatch.setattr(screen.Screen, "__init__", eighty)
    words = [
        "curve",
        "--trace",
        "oracle-4x8",
        "--eviction",
        "lru,belady,fifo,lfu,belady_bypass",
        "--tokens",
        "400",
        *options,
    ]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "50.0%" in text and "belady reads the future" in text and ("Tok/s" in text) == bool(options)


def test_json_and_page(tmp_path, capsys):
    page = tmp_path / "curve.html"
    words = ["curve", "--trace", "oracle-4x8", "--eviction", "lru,w_tinylfu,belady", "--tokens", "200"]
    assert main([*words, "--html", str(page), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["eviction"] for one in found["curves"]] == ["lru", "w_tinylfu", "belady"]
    assert [one["every"] for one in found["curves"]] == [True, False, True]
    told = found["trace"]
    assert told["tokens"] == 200 and f"digest {told['digest'][:16]}" in page.read_text("utf-8")
    figures = json.loads(re.search(r'id="page-data">(.*?)</script>', page.read_text("utf-8"))[1])["figures"]
    hits, loaded = figures
    assert [line["name"] for line in loaded["data"]] == ["lru", "w_tinylfu", "belady", "bound"]
    bound = loaded["data"][-1]
    assert bound["line"]["shape"] == "vh"  # between two sizes as high as at the larger one
    for one in loaded["data"][:-1]:
        least = [bound["y"][next(n for n, size in enumerate(bound["x"]) if size >= x - 1e-3)] for x in one["x"]]
        assert all(y >= lowest - 1e-6 for y, lowest in zip(one["y"], least))
    assert len(hits["data"][0]["x"]) == 32 == len(found["curves"][0]["hits"]) and hits["data"][0]["mode"] == "lines"


@pytest.mark.parametrize(("options", "line"), [
    (["--budget", "10%"], "--budget 10%: every budget is played; leave it out"),
    (["--eviction", "lru,everything"], "eviction 'everything' is a bound without a budget"),
    (["--eviction", "lru,lru"], "--eviction names lru twice"),
    (["--eviction", "lru,lrru"], "unknown eviction policy 'lrru'"),
    (["--batch", "4"], "--batch 4 is about a machine: name one with --hw"),
    (["--hw", "a100", "--prefetch", "whole_layer"], "a curve is of experts that are loaded when they are missing"),
    (["--hw", "a100", "--schedule", "continuous"], "forms passes while the clock runs"),
    (["--hw", "rtx_4090", "--runtime", "llama_cpp_cuda"], "loads no experts while it runs"),
    (["--scope", "world"], "unknown scope|--scope: unknown 'world'"),
])  # fmt: skip
def test_what_a_curve_cannot_be_of(options, line, capsys):
    assert main(["curve", "--trace", "oracle-4x8", *options]) == 2
    assert re.search(line, capsys.readouterr().err)


def test_numbers_behind_a_name_belong_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
    words = ["lru,./mine.py=8,share=20%:switch,belady", "fifo"]
    assert command.policies_of(words) == ["lru", "./mine.py=8,share=20%:switch", "belady", "fifo"]


@pytest.mark.parametrize(
    "options",
    [{}, {"warm_up": 150}, {"scope": "layer"}, {"cold_per_sequence": True}, {"start": "auto", "budget": "100%"}],
)
def test_the_bound_is_played_by_both_executors(options):
    """SimPy's memories overflow where more is resident than the experts that there are."""
    asked = {"eviction": "belady_bypass", "budget": "30%", "tokens": 300, **options}
    one, other = (
        simmoe.run("jetson_orin", "oracle-4x8", engine=engine, **asked).to_json() for engine in ("simpy", "plain")
    )
    assert {**one, "engine": ""} == {**other, "engine": ""}
    assert any("belady_bypass reads the future" in note for note in one["notes"])
    demand = simmoe.run("jetson_orin", "oracle-4x8", engine="plain", **{**asked, "eviction": "lru"})
    assert one["misses"] <= demand.misses and one["hits"] + one["misses"] == demand.hits + demand.misses


@pytest.mark.parametrize(
    "options",
    [["--prefetch", "whole_layer"], ["--placement", "n_cpu_moe=1"], ["--miss", "cpu"], ["--schedule", "continuous"]],
)
def test_what_the_bound_cannot_be_played_with(options, capsys):
    assert (
        main(
            [
                "run",
                "--hw",
                "rtx_4090",
                "--trace",
                "oracle-4x8",
                "--eviction",
                "belady_bypass",
                "--budget",
                "30%",
                "--tokens",
                "40",
                *options,
            ]
        )
        == 2
    )
    assert re.search("bound of runs that load|looks ahead", capsys.readouterr().err)
