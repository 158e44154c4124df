"""Results as tables: what repr prints, what a notebook shows, what pandas gets."""

from __future__ import annotations

import builtins
from html.parser import HTMLParser
from typing import Any

import pytest

import simmoe
from simmoe.play.tabular import MOST, Tabular, cell
from simmoe.show.grid import Column, Grid, fitted
from simmoe.simulator.errors import UserError
from simmoe.sweeps.break_even import break_even
from simmoe.sweeps.sensitivity import sensitivity

SMALL = {"trace": "switch-4x8", "tokens": 96, "budget": "50%"}


SPACE = {
    "schema": 1, "name": "s", "hw": ["a100", "h100"], "trace": "oracle-4x8", "eviction": "lru", "tokens": 100,
    "objectives": {"tok_s": "maximize", "memory": "minimize"},
}  # fmt: skip


@pytest.fixture(scope="module")
def results() -> dict[str, Tabular]:
    return {
        "run": simmoe.run("a100", "oracle", budget="25%", tokens=200),
        "ladder": simmoe.ladder("jetson_xavier_nx", "oracle", tokens=200, format="fp32"),
        "policies": simmoe.compare_policies("a100", "oracle", eviction=["lru", "fifo"], tokens=200),
        "curve": simmoe.curve("oracle", hw="a100"),
        "replay": simmoe.replay("oracle", [1] * 9, 100),
        "compare": simmoe.compare(["a100", "phone_ufs4"], ["oracle"], budget="25%", tokens=100, format="fp32"),
        "sweep": simmoe.sweep({**SPACE, "budget": ["25%", "50%"]}, sampler="grid"),
        "require": simmoe.require(["jetson_orin", "phone_ufs4"], **SMALL, tok_s=100),
        "least": simmoe.require("jetson_orin", **{**SMALL, "budget": None}, tok_s=200, least="budget"),
        "sensitivity": sensitivity(hw="jetson_orin", **SMALL),
        "map": break_even("copy_or_cpu", {"hw": "rtx_4090_nvme", **SMALL}),
    }


NAMES = ("run", "ladder", "policies", "curve", "replay", "compare", "sweep", "require", "least", "sensitivity", "map")


class Page(HTMLParser):
    """Cells of a table, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.inside = list[list[str]](), False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1].append(data)
            self.inside = False


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_records_have_the_same_columns_of_plain_values(results: dict[str, Tabular], name: str) -> None:
    records = results[name].records()
    assert records and all(list(record) == list(records[0]) for record in records)
    assert all(value is None or isinstance(value, str | int | float) for record in records for value in record.values())
    assert set(results[name].brief) <= set(records[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_has_every_record(results: dict[str, Tabular], name: str) -> None:
    pytest.importorskip("pandas")
    records, frame = results[name].records(), results[name].to_frame()
    assert list(frame.columns) == list(records[0]) and len(frame) == len(records)
    numbers = [column for column in frame.columns if isinstance(records[-1][column], float)]
    assert numbers or name == "replay"
    assert all(frame[column].iloc[-1] == records[-1][column] for column in numbers)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed_is_what_a_notebook_shows(results: dict[str, Tabular], name: str) -> None:
    result = results[name]
    title, *lines = repr(result).splitlines()
    page = Page()
    page.feed(result._repr_html_())
    assert title == result.title() and all(line == line.rstrip() for line in lines)
    shown = [line for line in lines if not line.startswith("…")]
    assert [row for row in page.rows if row] and len(page.rows) == len(shown)
    for row, line in zip(page.rows, shown):
        assert line.split() == " ".join(row).split()


def test_a_notebook_gets_the_same_text(results: dict[str, Tabular], monkeypatch: pytest.MonkeyPatch) -> None:
    """rich shows what is printed to any file as an output of its own where it finds itself in Jupyter, and the text would lack it."""
    outside = {name: repr(result) for name, result in results.items()}
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert {name: repr(result) for name, result in results.items()} == outside


def test_a_run_stands_upright_and_says_its_numbers(results: dict[str, Tabular]) -> None:
    run = results["run"]
    assert isinstance(run, simmoe.Run)
    found = dict(line.split() for line in repr(run).splitlines()[1:])
    assert found["tok_s"] == cell(run.tok_s) and found["hit_rate"] == cell(run.decode.hit_rate)
    record = run.records()[0]
    assert record["budget_bytes"] == run.plan.budget_bytes and record["hw"] == "a100" and record["kind"] == "simulated"
    assert record["waiting"] == pytest.approx(
        1 - 0.6895 / (1000 / run.tok_s), abs=0.01
    )  # all resident: .6895 ms a token


def test_a_rung_that_does_not_fit_is_a_row_with_its_reason(results: dict[str, Tabular]) -> None:
    records = results["ladder"].records()
    cannot = [record for record in records if record["why_not"]]
    assert cannot and all(record["tok_s"] is None and record["budget_bytes"] for record in cannot)
    assert records[0]["rung"] == "nothing" and records[-1]["rung"] == "everything"


def test_a_long_table_is_cut_and_says_so(results: dict[str, Tabular]) -> None:
    records, lines = results["curve"].records(), repr(results["curve"]).splitlines()
    assert len(records) > MOST and len(lines) == MOST + 3
    assert lines[-1] == f"… and {len(records) - MOST:,} more rows: to_frame() has all"


def test_a_hostile_name_is_shown_and_not_obeyed() -> None:
    class Hostile(Tabular):
        brief = ("name", "n")

        def title(self) -> str:
            return "<script>\x1b[2J"

        def records(self) -> list[dict[str, Any]]:
            return [{"name": "<b>[red]x\x1b[31m", "n": 1}, {"name": "y", "n": 12_345}]

    assert "\x1b" not in repr(Hostile()) and "[red]x" in repr(Hostile())
    page = Hostile()._repr_html_()
    assert "<script>" not in page and "<b>" not in page and "&lt;script&gt;" in page and "\x1b" not in page


def test_pandas_is_named_where_it_is_missing(results: dict[str, Tabular], monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pandas is not installed, .*: pip install 'simmoe\[frames\]'"):
        results["run"].to_frame()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (1234.5, "1,234"),
        (0.123456, "0.1235"),
        (12345, "12,345"),
        (True, "True"),
        ("x" * 70, "x" * 59 + "…"),
    ],
)
def test_a_cell_is_short(value: Any, text: str) -> None:
    assert cell(value) == text


def test_completion_knows_the_public_names() -> None:
    assert {"run", "ladder", "compare", "curve", "sweep", "Scenario", "report", "plots"} <= set(dir(simmoe))
    assert all(getattr(simmoe, name) is not None for name in dir(simmoe))


def test_the_table_of_a_comparison_has_what_its_rows_have(results: dict[str, Tabular]) -> None:
    done = results["compare"]
    assert isinstance(done, simmoe.Comparison)
    for row, record in zip(done.rows, done.records(), strict=True):
        assert record["hw"] == row.workload.hw.name and record["why_not"] == (row.why_not or None)
        assert record["tok_s"] == (row.run and row.run.tok_s)
        assert (record["tok_s_low"], record["tok_s_high"]) == (row.band.hardware if row.band else (None, None))
    assert any(record["tok_s"] for record in done.records())


def test_the_front_stands_first_in_the_table_of_a_sweep(results: dict[str, Tabular]) -> None:
    done = results["sweep"]
    assert isinstance(done, simmoe.Sweep)
    records, best = done.records(), [trial.number for trial in done.front]
    assert len(records) == 4 and [record["number"] for record in records[: len(best)]] == best
    assert [record["on_front"] for record in records] == [True] * len(best) + [False] * (4 - len(best)) and len(
        best
    ) < 4
    assert {record["number"] for record in records if record["on_front_of_its_hw"]} == {
        trial.number for hw in ("a100", "h100") for trial in done.front_on(hw)
    }
    for record in records:
        trial = next(trial for trial in done.trials if trial.number == record["number"])
        assert record["tok_s"] == trial.user_attrs["tok_s"] and record["command"] == trial.user_attrs["command"]


def test_the_note_of_a_column_that_leaves_leaves_too() -> None:
    grid = Grid((Column("machine", text=True), Column("tok/s"), Column("bound by", 1, text=True)),
                (("a", "1", "x" * 40), ("b", "2", "y")))  # fmt: skip
    (narrow,) = fitted(grid, 18)
    assert narrow.gone == ("bound by",) and narrow.notes == ()
    (wider,) = fitted(grid, 30)
    assert wider.gone == () and wider.notes == (f"(1) {'x' * 40}",)
