"""Rows with options of their own and what tokens cost: the commands of the rows give their numbers, and costs are reckoned anew here."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

import simmoe
from simmoe.cli.main import main
from simmoe.workloads.format.trace import names

pytestmark = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
SHORT = ("--trace", "oracle", "--tokens", "256")
COST = ("--life", "2y", "--used", "25%", "--power-price", "0.40EUR/kWh")


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["compare", *SHORT, *words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["compare", *SHORT, *words]) == 0, capsys.readouterr().err
    return " ".join(capsys.readouterr().out.split())


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["compare", *SHORT, *words]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1
    return out.err


def board(folder: Path, price: str | None = "2200 EUR", **more: Any) -> str:
    """A proposed machine: a bundled one with a faster drive."""
    rate = {"value": "6 GB/s", "kind": "assumed", "source": "a drive that is planned"}
    content = {"name": "board", "title": "A proposed board", "extends": "jetson_orin", "link": {"bandwidth": rate},
               "tiers": {"flash": {"bandwidth": rate}}, "price": None, **more}  # fmt: skip
    if price:
        content["price"] = {
            "value": price,
            "kind": "assumed",
            "source": "an offer",
            "condition": "new",
            "date": "2026-11",
        }
    (folder / "board.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return str(folder / "board.yaml")


def test_rows_have_options_of_their_own_and_their_commands_give_their_numbers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = board(tmp_path)
    rows = compared(
        capsys, "--hw", "a100", "--batch", "2", "--row", "--hw jetson_orin --eviction lfu --budget 25%",
        "--row", f"--hw {file} --batch 4 --tokens 512",
        "--row", "--scope=layer", "--row", "--gpu rtx_3060 --host ddr4_3200_2ch --set link.bandwidth=5GB/s --miss cpu --budget 30%",
    )["rows"]  # fmt: skip
    assert [row["hardware"]["name"] for row in rows] == ["jetson_orin", "board", "a100", "rtx_3060+ddr4_3200_2ch"]
    assert [row["trace"]["batch"] for row in rows] == [2, 4, 2, 2]
    assert [row["own"] for row in rows] == [
        "--eviction lfu --budget 25%", "--tokens 512 --batch 4", "--scope layer", "--set link.bandwidth=5GB/s --miss cpu --budget 30%"
    ]  # fmt: skip
    for row in rows:
        words = shlex.split(row["command"])
        assert words[:2] == ["simmoe", "run"] and main([*words[1:], "--band", "--json"]) == 0
        run = json.loads(capsys.readouterr().out)
        band = run.pop("band")
        assert run == row["run"] and band["hardware"] == row["range_tok_s"]
        assert row["range_tok_s"][0] <= run["tok_s"] <= row["range_tok_s"][1]


def test_a_part_of_a_machine_in_a_row_goes_with_the_other_part_of_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ("--row", "--gpu rtx_3060", "--row", "--gpu rtx_4090 --host ddr5_5600_2ch", "--row", "--hw a100")
    found = compared(capsys, *rows, "--host", "ddr4_3200_2ch", "--budget", "25%")["rows"]
    names = ["rtx_3060+ddr4_3200_2ch", "rtx_4090+ddr5_5600_2ch", "a100"]
    assert [row["hardware"]["name"] for row in found] == names and [row["own"] for row in found] == [""] * 3
    assert "rtx_3060+ddr4_3200_2ch" in printed(capsys, *rows[:2], "--host", "ddr4_3200_2ch", "--budget", "25%")
    assert "--host is missing" in refused(capsys, *rows)


def test_rows_of_different_parts_of_a_trace_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    part = "play the others alone: their speeds are of another part of it than the rest"
    words = (
        "--hw",
        "2xh100:nvlink4",
        "--timeline",
        "distributed",
        "--budget",
        "100%",
        "--row",
        "--placement balanced:first=50%",
        "--row",
    )
    assert part in printed(capsys, *words, "--placement round_robin")
    same = printed(capsys, *words, "--placement round_robin:first=50%")
    assert part not in same and "round_robin:first=50% counts nothing of the first 6,272 of 12,544 tokens" in same
    one, other = compared(capsys, *words, "--placement round_robin:first=50%")["rows"]
    assert one["run"]["scenario"]["trace"] == other["run"]["scenario"]["trace"]


def test_from_python_a_row_is_a_mapping() -> None:
    table = simmoe.compare(
        trace="oracle",
        tokens=256,
        budget="20%",
        row=[{"hw": "a100"}, {"hw": simmoe.load_hardware("h100"), "graphs": True}],
    )
    assert [row.workload.hw.name for row in table.rows] == ["a100", "h100"] and table.rows[1].command is None
    assert table.rows[1].run.tok_s == simmoe.run("h100", "oracle", tokens=256, budget="20%", graphs=True).tok_s


def test_what_a_million_tokens_cost(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Price over 2 years of 365.25 days of which a quarter decodes, and watts while decoding: with power of the profile, and at most."""
    file, rate = board(tmp_path, power={"max": {"value": "40 W", "kind": "nominal", "source": "planned"}}), 0.8
    paid = tmp_path / "paid.yaml"
    paid.write_text(
        'name: paid\ntitle: Paid\nextends: a100\nprice: {value: 9000 USD, kind: assumed, source: "an offer"}\n', "utf-8"
    )
    machines = ("--hw", file, "--hw", str(paid), "--hw", "a100")
    found = compared(capsys, *machines, "--budget", "25%", *COST, "--exchange", "USD=0.8EUR")
    mine, card, a100 = found["rows"]
    assert found["money"]["currency"] == "EUR"
    seconds = 2 * 365.25 * 24 * 3600 * 0.25
    for row, price, watts in ((mine, 2200, 40), (card, 9000 * rate, card["run"]["energy"]["decode_watts"])):
        speed, cost = row["run"]["tok_s"], row["cost_per_million_tokens"]
        assert cost["amount"] == pytest.approx(1e6 * price / (seconds * speed) + 1e6 / speed * watts / 3.6e6 * 0.40)
        assert (
            cost["low"] == pytest.approx(cost["amount"] * speed / row["range_tok_s"][1])
            and cost["low"] <= cost["amount"]
        )
        assert cost["high"] == pytest.approx(cost["amount"] * speed / row["range_tok_s"][0])
        assert row["tok_s_per_1000"] == pytest.approx(1000 * speed / price) and row["tok_s_per_1000_usd"] is None
    assert (mine["cost_per_million_tokens"]["at_most"], card["cost_per_million_tokens"]["at_most"]) == (True, False)
    assert a100["price"] is a100["cost_per_million_tokens"] is a100["tok_s_per_1000"] is None
    assert mine["price"] == {
        "amount": 2200.0,
        "currency": "EUR",
        "condition": "new",
        "date": "2026-11",
        "source": "an offer",
    }


def test_the_table_says_prices_costs_and_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = board(tmp_path, power={"max": {"value": "40 W", "kind": "nominal", "source": "planned"}})
    text = printed(capsys, "--hw", file, "--hw", "a100", "--budget", "25%", *COST)
    for part in ("per 1000 EUR", "EUR per M tokens", "board 2,200 EUR new, 2026-11: an offer", "prompt tok/s", "≤ ",
                 "a100: the profile states no price, which --set price=… gives", "board: the profile states no energy per byte",
                 "cost the price over 2 years, 0.25 of them spent on decoding, and energy at 0.4 EUR/kWh"):  # fmt: skip
        assert part in text, part
    without = printed(capsys, "--hw", file, "--hw", "a100", "--budget", "25%")
    assert "per M tokens" not in without and "A million" not in without and "per 1000 EUR" in without
    bare = printed(capsys, "--hw", "h100", "--hw", "a100", "--budget", "25%")
    assert not re.search(r"\bprice\b|per 1000|Prices", bare)


def test_a_free_kwh_leaves_the_price_of_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    free = ("--life", "1000d", "--used", "100%", "--power-price", "0USD/kWh")
    (row,) = compared(capsys, "--hw", "jetson_orin", "--budget", "25%", *free)["rows"]
    assert row["cost_per_million_tokens"]["amount"] == pytest.approx(1999 * 1e6 / (86.4e6 * row["run"]["tok_s"]))
    assert not row["cost_per_million_tokens"]["at_most"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (COST[:2], "--used and --power-price are missing: what a token costs needs --life, --used and --power-price"),
        (COST[:4], "--power-price is missing"),
        (COST, "1,999 USD is in another currency than EUR, and no rate is given"),
        (("--life", "3"), "--life: '3' is no time of use; write it in years or days, like 3y or 400d"),
        (("--life", "0y"), "--life: '0y' is no time of use"),
        (("--used", "120%"), "--used: '120%' is no share of the time"),
        (("--used", "0%"), "--used: '0%' is no share of the time"),
        (("--exchange", "USD=0.9"), "--exchange: 'USD=0.9' is no exchange rate"),
        (("--row", "--hw a100 --bach 2"), "--row '--hw a100 --bach 2': unknown option --bach; did you mean --batch?"),
        (("--row", "--hw a100 --budget 2"), "--row '--hw a100 --budget 2': --budget: '2' is not a quantity"),
        (("--row", "a100"), "--row 'a100': 'a100' belongs to no option"),
        (("--row", "--hw 'a100"), "No closing quotation"),
        (("--row", " "), "says no option"),
        (("--row", "--hw a1000"), "unknown hardware 'a1000'"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in refused(capsys, "--hw", "jetson_orin", "--budget", "25%", *words)


def test_prices_in_two_currencies_need_a_rate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--hw", "jetson_orin", "--hw", board(tmp_path), "--budget", "25%")
    found = compared(capsys, *words)
    assert found["money"]["currency"] is None and all(row["tok_s_per_1000"] is None for row in found["rows"])
    text = printed(capsys, *words)
    assert (
        " 1,999 USD " in text
        and " 2,200 EUR " in text
        and "per 1000" not in text
        and "a rate such as --exchange" in text
    )
    assert "2,200 EUR is in another currency than USD" in refused(
        capsys, *words, *COST[:4], "--power-price", "0.1USD/kWh"
    )
    rows = compared(capsys, *words, "--exchange", "EUR=1.25USD")["rows"]
    assert rows[1]["tok_s_per_1000"] == pytest.approx(rows[1]["run"]["tok_s"] / 2.75)


def test_a_policy_that_counts_the_first_rows_is_played_on_the_others_as_run_plays_it() -> None:
    options = {"trace": "oracle", "tokens": 600, "budget": "25%"}
    pinned, usual = simmoe.compare("a100", **options, eviction=["static_pin:first=20%", "lru"]).rows
    assert pinned.run.tok_s == simmoe.run("a100", **options, eviction="static_pin:first=20%").tok_s
    assert usual.run.tok_s == simmoe.run("a100", **options).tok_s
