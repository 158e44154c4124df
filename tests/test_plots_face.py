"""Figures and pages as Python people meet them: completion, what a notebook shows of a figure, a page from a result at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import simmoe
from simmoe import plots
from simmoe.cli.main import main
from simmoe.plots.figure import Figure, axes_of, line
from simmoe.simulator.errors import UserError

PLOTS = {"budgets", "comparison", "curve", "held", "importances", "locality", "parallel", "pareto", "run"}
SPACE = {
    "schema": 1, "name": "s", "hw": ["a100", "h100"], "trace": "oracle-4x8", "eviction": ["lru", "fifo"], "tokens": 100,
    "budget": ["25%", "50%"], "objectives": {"tok_s": "maximize", "memory": "minimize"},
}  # fmt: skip


def figure(*choices: str) -> Figure:
    """Two series with the same colour in each choice, as a band and its line are."""
    axes = axes_of({"title": "x"}, {"title": "y"})
    data = [
        line(n, name, [1, 2], [n, 3], meta={"choice": one})
        for one in choices or ("",)
        for n, name in ((0, "a"), (0, "a"), (1, "b"))
    ]
    return Figure("A & b", "said", "exact", tuple(data), {"": axes}, (), "pair" if choices else "")


def test_completion_finds_every_module_of_figures() -> None:
    assert set(dir(plots)) >= PLOTS and simmoe.plots is plots
    assert all(
        callable(getattr(getattr(plots, name), function))
        for name, function in (("pareto", "pareto"), ("curve", "hit_rates"))
    )
    assert all(getattr(plots, name).__name__ == f"simmoe.plots.{name}" for name in dir(plots))
    with pytest.raises(AttributeError, match=r"module 'simmoe\.plots' has no attribute 'bars'"):
        _ = plots.bars


def test_the_repr_of_a_figure_says_what_may_be_chosen() -> None:
    assert repr(figure()) == "<Figure 'A & b': .plotly() draws it>"
    assert repr(figure("p", "q")) == "<Figure 'A & b': .plotly(pair) draws it; pair: 'p', 'q'>"


def test_a_figure_of_plotly_has_each_series_once_in_its_legend_and_its_own_paper() -> None:
    pytest.importorskip("plotly")
    drawn = figure("p", "q").plotly("q")
    assert [(one.name, one.showlegend) for one in drawn.data] == [("a", False), ("a", True), ("b", True)]
    assert drawn.layout.paper_bgcolor == drawn.layout.plot_bgcolor == "white"  # plotly's ink is dark
    assert drawn.layout.legend.orientation == "h" and drawn.layout.showlegend


@pytest.mark.parametrize(
    ("choices", "line"),
    [
        (("speed", "price"), r"A & b has no pair 'sped'; did you mean 'speed'\? known: speed, price"),
        ((), "A & b has no choice 'sped'; there is nothing to choose"),
    ],
)  # fmt: skip
def test_a_choice_that_a_figure_does_not_have_is_refused(choices: tuple[str, ...], line: str) -> None:
    pytest.importorskip("plotly")
    with pytest.raises(UserError, match=line):
        figure(*choices).plotly("sped")


def results() -> dict[str, Any]:
    return {
        "run": simmoe.run("a100", "oracle-4x8", budget="25%", tokens=100),
        "ladder": simmoe.ladder("a100", "oracle-4x8", tokens=100),
        "compare": simmoe.compare(["a100", "h100"], "oracle-4x8", budget="25%", tokens=100),
        "curve": simmoe.curve("oracle-4x8", "a100", tokens=100),
        "sweep": simmoe.sweep(SPACE, sampler="grid"),
    }


@pytest.mark.slow
def test_a_result_at_hand_gives_the_page_of_its_json(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    for name, result in results().items():
        (tmp_path / "result.json").write_text(json.dumps(result.to_json()), "utf-8")
        by_command, at_hand = tmp_path / f"{name}.html", tmp_path / f"{name}.at_hand.html"
        assert main(["report", str(tmp_path / "result.json"), "--out", str(by_command)]) == 0
        assert simmoe.report(result, at_hand) == at_hand
        assert at_hand.read_bytes() == by_command.read_bytes(), name


@pytest.mark.slow
def test_a_run_of_loaded_inputs_shows_what_it_held(tmp_path: Path) -> None:
    """Its JSON alone cannot be played again: nobody could find its machine by name."""
    pytest.importorskip("plotly")
    hw = simmoe.load_hardware("a100", {"link.bandwidth": "7GB/s"})
    page = simmoe.report(simmoe.run(hw, "oracle-4x8", budget="25%", tokens=100), tmp_path / "run.html").read_text(
        "utf-8"
    )
    assert "Experts resident" in page and "is not shown" not in page


@pytest.mark.parametrize(
    ("result", "more", "line"),
    [
        (
            {"tok_s": 1},
            {},
            "a report is of what simmoe.run, ladder, compare, curve, serve_curve or sweep returned, or of a file, not of dict",
        ),
        (figure(), {}, "not of Figure"),
        (
            figure(),
            {"name": "s"},
            "scenario and name are of a file or a database, and this result is at hand; leave them out",
        ),
        ("no.json", {}, "no file 'no.json'; name a study"),
        ("no.json", {"name": "s"}, "--name s is of a study in a database, and no.json is a file; leave it out"),
    ],
)
def test_what_has_no_page_is_refused_and_nothing_is_written(
    tmp_path: Path, result: Any, more: dict[str, Any], line: str
) -> None:
    pytest.importorskip("plotly")
    with pytest.raises(UserError, match=line):
        simmoe.report(result, tmp_path / "page.html", **more)
    assert not list(tmp_path.iterdir())


def test_a_page_that_is_there_is_overwritten_on_demand_alone(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    (out := tmp_path / "page.html").write_text("mine", "utf-8")
    result = simmoe.run("a100", "oracle-4x8", budget="25%", tokens=40)
    with pytest.raises(UserError, match=r"page\.html exists; choose another name or overwrite it"):
        simmoe.report(result, out)
    assert out.read_text("utf-8") == "mine"
    assert simmoe.report(result, str(out), force=True) == out and out.read_text("utf-8").startswith("<!doctype html>")
