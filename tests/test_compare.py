"""Machines side by side: what the table and its JSON hold, and that a machine on which it does not fit is a row."""

from __future__ import annotations

import json
import re

import pytest

from simmoe.cli.main import main
from simmoe.workloads.format.trace import names

pytestmark = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
SHORT = ("--tokens", "256")


def compare(capsys, *arguments: str) -> list[dict]:
    assert main(["compare", *arguments, *SHORT, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["rows"]


@pytest.mark.slow
def test_every_combination_is_a_row_with_the_numbers_of_run(capsys):
    options = ("--budget", "12.5%", "--scope", "layer")
    rows = compare(capsys, "--hw", "a100", "--hw", "jetson_orin", "--trace", "oracle", "--trace", "switch", "--eviction", "lru",
                   "--eviction", "fifo", *options)  # fmt: skip
    assert [row["hardware"]["name"] for row in rows] == ["a100"] * 4 + ["jetson_orin"] * 4
    for row in rows:
        trace = {"oracle-ema": "oracle"}.get(row["trace"]["router"], row["trace"]["router"])
        arguments = ["run", "--hw", row["hardware"]["name"], "--trace", trace, "--eviction", row["eviction"]]
        assert main([*arguments, *options, *SHORT, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == row["run"]
        assert row["ratio_to_first"] == row["run"]["tok_s"] / rows[0]["run"]["tok_s"]
        assert row["bound_by"].startswith("bound by ") and 0 <= row["waiting"] <= 1
    orin = rows[4]
    assert orin["tok_s_per_1000_usd"] == pytest.approx(orin["run"]["tok_s"] / orin["price_usd"] * 1000)
    assert rows[0]["price_usd"] is None and rows[0]["tok_s_per_1000_usd"] is None


def test_without_a_budget_each_machine_plays_with_what_it_holds(capsys):
    machines = ("--hw", "jetson_xavier_nx", "--hw", "a100", "--trace", "oracle", "--format", "fp32")
    small, large = (row["run"]["memory_bytes"] for row in compare(capsys, *machines))
    assert small["experts"] < large["experts"]


def test_a_machine_on_which_it_does_not_fit_is_a_row(capsys):
    machines = ("--hw", "jetson_xavier_nx", "--hw", "a100", "--trace", "oracle", "--format", "fp32", "--budget", "100%")
    refused, fits = compare(capsys, *machines)
    assert refused["run"] is None and re.search(r"short by .* of .* usable", refused["why_not"])
    assert fits["run"]["tok_s"] > 0 and fits["ratio_to_first"] == 1
    assert main(["compare", *machines, *SHORT]) == 0
    out = capsys.readouterr().out
    assert "does not run" in out and "Row 1, jetson_xavier_nx: does not fit: short by" in out


def test_the_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    machines = ("--hw", "a100", "--hw", "jetson_orin", "--trace", "oracle", "--memory", "2GB")
    assert main(["compare", *machines, *SHORT]) == 0
    out = capsys.readouterr().out
    for part in ("Simulated (engine ", "A100 80 GB SXM", "Jetson AGX Orin", "router oracle-ema", "of 12,544 tokens", "inputs: bundled",
                 "ratio", "TTFT first", "TPOT p95", "hit rate", "waiting", "bound by", "memory bandwidth", "1,999 USD",
                 "per 1000 USD"):  # fmt: skip
        assert part in out, part
    assert "…" not in out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--hw", "a1000", "--trace", "oracle"), r"unknown hardware 'a1000'"),
        (("--hw", "a100", "--trace", "nope"), r"unknown trace 'nope'"),
        (("--hw", "a100", "--hw", "h100", "--trace", "oracle", "--budget", "2"), r"--budget: '2' is not a quantity"),
        (
            ("--hw", "a100", "--hw", "h100", "--trace", "oracle", "--scope", "word"),
            r"--scope: unknown 'word'; choose one of global, layer",
        ),
        (
            ("--hw", "a100", "--hw", "h100", "--trace", "oracle", "--engine", "gpu"),
            r"--engine: unknown 'gpu'; choose one of auto",
        ),
        (("--hw", "a100", "--trace", "oracle", "--eviction", "lru", "--eviction", "lruu"), r"unknown eviction policy"),
        (("--hw", "a100", "--trace", "oracle", "--model", "mixtral-8x7b"), r"9 MoE layers .* mixtral-8x7b has 32"),
    ],
)
def test_a_mistake_is_one_line(options, line, capsys):
    assert main(["compare", *options]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and re.search(line, out.err), out.err


def test_the_heading_says_what_all_rows_play_and_what_their_links_cannot(capsys):
    wide = (
        "--set",
        "link.bandwidth=500GB/s",
        "--miss",
        "balanced",
        "--schedule",
        "continuous",
        "--arrivals",
        "every:1ms",
    )
    assert main(["compare", "--hw", "rtx_4090", "--trace", "oracle-4x16-k4", "--budget", "25%", *wide, *SHORT]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"schedule continuous of at most \d+ sequences?, miss balanced, arrivals every:1ms", out)
    assert "rtx_4090: The link could carry 500 GB/s" in out


def test_a_machine_that_is_named_twice_is_one_row(capsys):
    parts = ("--gpu", "rtx_4090", "--host", "ddr5_6000_2ch", "--gpu", "rtx_3090", "--host", "ddr5_6000_2ch")
    rows = compare(capsys, *parts, "--trace", "oracle")
    assert [row["hardware"]["name"] for row in rows] == ["rtx_4090+ddr5_6000_2ch", "rtx_3090+ddr5_6000_2ch"]


def test_rows_that_say_the_same_are_counted_in_words(capsys):
    rows = ("--row", "--hw a100 --start warm", "--row", "--hw h100", "--row", "--hw jetson_orin", "--start", "cold")
    assert main(["compare", *rows, "--trace", "oracle", *SHORT]) == 0
    out = capsys.readouterr().out
    assert "Row 1 starts warm. " in out and "Rows 2, 3 start cold. " in out
