"""Prices of profiles, limits on them, and exchange rates: hand-made amounts, and each mistake in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from simmoe.cli.main import main
from simmoe.hardware_profiles import available, load
from simmoe.play.money import Money, Price, converted, exchange_of, limit, meets, of_parts, per_kwh, price_of
from simmoe.simulator.errors import UserError

SEVERAL = ("2xrtx_3090:pcie5_x8", "rtx_3090+rtx_4090+ddr4_3200_2ch")


def box(folder: Path, **price: Any) -> Path:
    path = folder / "box.yaml"
    price = {"value": "2000 EUR", "kind": "nominal", "source": "a shop"} | price
    path.write_text(yaml.safe_dump({"name": "box", "title": "Box", "extends": "jetson_orin", "price": price}), "utf-8")
    return path


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as found:
        call(*arguments)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_a_price_says_amount_currency_condition_date_and_source(tmp_path: Path) -> None:
    assert price_of(load(box(tmp_path))) == Price(2000.0, "EUR", None, None, "a shop")  # nothing of what it extends
    full = box(tmp_path, value="1999.99 GBP", date="2026-11", condition="used")
    assert price_of(load(full)) == Price(1999.99, "GBP", "used", "2026-11", "a shop")
    assert price_of(load("jetson_orin", {"price": "900EUR"})) == Price(
        900.0, "EUR", None, None, "changed on the command line (was 1999 USD)"
    )
    assert price_of(load("a100")) is None
    spark = price_of(load("dgx_spark"))
    assert (spark.amount, spark.currency, spark.condition, spark.date) == (3999.0, "USD", "new", "2025-11")


def test_every_bundled_price_says_when_it_was_asked_and_of_what() -> None:
    prices = {name: price_of(load(name)) for name in available()}
    assert sum(price is not None for price in prices.values()) >= 12
    assert not [name for name, price in prices.items() if price and not (price.date and price.condition)]


@pytest.mark.parametrize(
    ("price", "line"),
    [
        ({}, 'does not say when it was asked and of a new or a used machine; add date: "2025-11", as far as it is known and condition'),
        ({"condition": "used"}, 'does not say when it was asked; add date: "2025-11", as far as it is known'),
        ({"date": "2026-11"}, "does not say of a new or a used machine; add condition: new, or used"),
        ({"date": "2026", "condition": "new"}, ""),
    ],
)  # fmt: skip
def test_the_check_of_a_profile_names_what_its_price_leaves_open(price, line, tmp_path, capsys) -> None:
    path = box(tmp_path, **price)
    assert main(["hw", "check", str(path)]) == bool(line)
    said = capsys.readouterr().out
    assert said.startswith(f"box.yaml: price: 2,000 EUR {line}" if line else "box.yaml: ok") and said.count("\n") == 1
    assert main(["hw", "check", str(path), "--json"]) == bool(line)
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] == (not line) and "impossible" not in found
    assert [f"box.yaml: {one}\n" for one in found.get("open", ())] == [said] * bool(line)


def test_a_machine_of_two_parts_is_not_blamed_for_dates_that_differ(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    name = host(tmp_path, "1000 USD", date="2026-11", condition="new")
    assert main(["hw", "check", f"rtx_3060+{name}"]) == 0
    assert main(["hw", "check", f"+{host(tmp_path, '1000 USD')}"]) == 1
    assert "price: 1,000 USD does not say when" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("price", "line"),
    [
        ({"date": "19.11.2025"}, "price.date: '19.11.2025' is no date; write it in quotes"),
        ({"date": "2025-13"}, "price.date: '2025-13' is no date"),
        ({"date": "2025-02-29"}, "price.date: '2025-02-29' is no date"),
        ({"date": 2025}, "price.date: 2025 is no date; write it in quotes"),
        ({"condition": "refurbished"}, "price.condition: unknown 'refurbished'; known: new, used"),
        ({"value": "2000 Taler"}, "price.value: unknown unit 'Taler' in '2000 Taler'"),
        ({"range": ["1800 USD", "2200 EUR"]}, "is in another currency than the price, '2000 EUR'"),
        ({"sold": "used"}, "unknown key 'sold'"),
    ],
)
def test_a_mistake_in_a_price_is_one_line(tmp_path: Path, price: dict[str, Any], line: str) -> None:
    assert line in refused(load, box(tmp_path, **price))


def test_only_a_price_has_a_date(tmp_path: Path) -> None:
    path = box(tmp_path)
    path.write_text(
        path.read_text("utf-8") + 'reserved: {value: 1 GiB, kind: assumed, source: me, date: "2025"}\n', "utf-8"
    )
    assert "reserved: unknown key 'date'" in refused(load, path)


def test_limits_and_rates() -> None:
    assert limit("2000 EUR") == limit("2000EUR") == Money(2000.0, "EUR") and str(limit("2000.5EUR")) == "2,000.50 EUR"
    assert per_kwh("0.305EUR/kWh") == per_kwh(" 0.305 EUR / kWh ") == Money(0.305, "EUR")
    rates = exchange_of(["EUR=1.25USD", "GBP = 1.2 EUR"])
    assert converted(Money(100, "EUR"), "USD", rates) == 125 and converted(Money(100, "USD"), "EUR", rates) == 80
    assert converted(Money(100, "JPY"), "JPY", {}) == 100
    price = price_of(load("jetson_orin"))  # 1999 USD
    assert meets(price, limit("1999 USD"), {}) and not meets(price, limit("1998.99 USD"), {})
    assert meets(price, limit("1600 EUR"), rates) and not meets(price, limit("1599 EUR"), rates)
    assert not meets(None, limit("2000 EUR"), {})


@pytest.mark.parametrize(
    ("call", "text", "line"),
    [
        (limit, "2000", "--price: '2000' is not a quantity with a unit; write it like '1999 USD'"),
        (limit, "-1 EUR", "--price: '-1 EUR' is negative"),
        (limit, "0 EUR", "--price: '0 EUR' buys nothing"),
        (limit, "2000 Eur", "unknown unit 'Eur' in '2000 Eur'; did you mean 'EUR'?"),
        (per_kwh, "0.30EUR", "--power-price: '0.30EUR' is no price of energy; write it like 0.30EUR/kWh"),
        (per_kwh, "0.30XYZ/kWh", "--power-price: unknown currency 'XYZ'"),
        (exchange_of, ["EUR:1.1USD"], "--exchange: 'EUR:1.1USD' is no exchange rate; write it like EUR=1.08USD"),
        (exchange_of, ["EUR=0USD"], "is no exchange rate"),
        (exchange_of, ["EUR=1EUR"], "EUR is the same on both sides"),
        (exchange_of, ["EUR=1.1USD", "USD=0.9EUR"], "USD and EUR have a rate already"),
    ],
)
def test_a_mistake_is_one_line(call: Any, text: Any, line: str) -> None:
    assert line in refused(call, text)


def test_two_currencies_are_not_compared_without_a_rate() -> None:
    price = price_of(load("jetson_orin"))
    line = refused(meets, price, limit("2000 EUR"), {})
    assert line.startswith(
        "1,999 USD is in another currency than EUR, and no rate is given; add one, such as --exchange EUR=1.08USD with"
    )


def test_commands_show_the_currency(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(box(tmp_path, range=["1800 EUR", "2200 EUR"]))
    assert main(["hw", "show", file]) == 0
    assert "1800 EUR – 2200 EUR" in capsys.readouterr().out
    assert main(["hw", "show", file, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["price_usd"] is None and shown["price"]["amount"] == 2000 and shown["price"]["currency"] == "EUR"
    assert main(["hw", "diff", "jetson_orin", file, "--json"]) == 0
    (row,) = (row for row in json.loads(capsys.readouterr().out)["differences"] if row["path"] == "price")
    assert (row["a"], row["b"], row["ratio"]) == ("1999 USD", "2000 EUR", None)
    assert main(["hw", "diff", "jetson_orin", "dgx_spark", "--json"]) == 0
    (row,) = (row for row in json.loads(capsys.readouterr().out)["differences"] if row["path"] == "price")
    assert row["ratio"] == pytest.approx(3999 / 1999)


def host(folder: Path, price: str, **more: str) -> str:
    """A bundled host with a price of its own."""
    cost = {"value": price, "kind": "nominal", "source": "a shop", **more}
    path = folder / "box.yaml"
    path.write_text(yaml.safe_dump({"name": "box", "title": "Box", "extends": "ddr4_3200_2ch", "price": cost}), "utf-8")
    return str(path)


def test_a_machine_in_two_parts_costs_both(tmp_path: Path) -> None:
    both = price_of(load(f"rtx_3090+{host(tmp_path, '600.50 USD', date='2020')}"))
    assert (both.amount, both.currency, both.date, both.condition) == (2100.5, "USD", "2020", None)
    assert "1500 USD: the card alone" in both.source and "box 600.50 USD: a shop" in both.source
    card = price_of(load("rtx_3090+ddr4_3200_2ch"))
    assert card.amount == 1500 and card.source.startswith("the card alone, without ddr4_3200_2ch: list price")
    assert price_of(load("a100+ddr4_3200_8ch")) is None and price_of(load("+ddr4_3200_2ch")) is None
    assert price_of(load(f"+{host(tmp_path, '600 EUR')}")).amount == 600
    assert "price is in USD, and that of box in EUR; write both in one currency" in refused(
        load, f"rtx_3090+{host(tmp_path, '600 EUR')}"
    )


BOXES = ("--hw", "jetson_orin", "--hw", "rtx_3090", "--hw", "jetson_orin_nx")
SMALL = ("--model", "gpt-oss-20b", "--prompt", "8", "--generate", "4")
ALONE = ": the price is that of the card alone or the module alone, beside prices of whole machines; --set price=…"


@pytest.mark.slow
@pytest.mark.parametrize("command", [("compare",), ("require", "--tok-s", "1")])
def test_a_price_of_a_part_beside_those_of_machines_is_said(command: tuple[str, ...], capsys) -> None:
    assert main([*command, *BOXES, *SMALL]) == 0
    before, said, _ = re.sub(r"\s+", " ", capsys.readouterr().out).partition(ALONE)
    assert said and {*before.replace(",", "").split()[-2:]} == {"rtx_3090", "jetson_orin_nx"}
    assert main([*command, *BOXES[2:4], *SMALL, "--set", "price=2000USD"]) == 0  # yours, of the whole
    assert "alone" not in capsys.readouterr().out


def test_a_price_says_of_itself_whether_it_buys_a_machine(tmp_path: Path) -> None:
    sums = f"rtx_3090+{host(tmp_path, '600.50 USD')}"
    prices = {
        name: price_of(load(name))
        for name in ("rtx_3090", "rtx_3090+ddr4_3200_2ch", sums, "jetson_orin_nx", "dgx_spark", "a100", *SEVERAL)
    }
    assert {name: price and price.part for name, price in prices.items()} == {
        "rtx_3090": "card", "rtx_3090+ddr4_3200_2ch": "card", sums: "", "jetson_orin_nx": "module", "dgx_spark": "", "a100": None,
        **dict.fromkeys(SEVERAL, "card"),
    }  # fmt: skip
    assert of_parts({"rtx_3090": prices["rtx_3090"]}).startswith("rtx_3090: the price is that of the card alone; --set")
    assert of_parts({"dgx_spark": prices["dgx_spark"], "a100": None}) == ""


@pytest.mark.parametrize(("one", "other", "text"), [("USD", "EUR", "EUR=1.08USD"), ("GBP", "USD", "GBP=RATEUSD")])
def test_the_sample_of_a_rate_is_the_right_way_round(one: str, other: str, text: str) -> None:
    with pytest.raises(UserError, match=f"--exchange {text} with the rate of the day"):
        converted(Money(100.0, one), other, {})
