"""`simmoe report`: what a page says equals what was played, nothing of others runs in it, and what cannot be drawn is refused."""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

import simmoe
from simmoe.cli.main import main
from simmoe.play.held import held
from simmoe.plots import comparison, curve, page, run, study
from simmoe.plots import held as plots_of_held
from simmoe.plots.figure import COLOURS, Figure
from simmoe.plots.order import order
from simmoe.plots.parallel import parallel
from simmoe.simulator.errors import UserError
from simmoe.sweeps.opening import opened
from simmoe.sweeps.reports.study import data_of
from simmoe.workloads.format import trace as traces

pytest.importorskip("plotly")
SPACE = {
    "schema": 1, "name": "small", "trace": ["oracle-4x8", "switch-4x8"], "eviction": ["fifo", "lru"], "hw": ["jetson_orin", "a100"],
    "budget": {"low": "10%", "high": "90%", "step": "10%"}, "tokens": 600, "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}  # fmt: skip
HOSTILE = "</script><script>document.hacked=1</script><img src=x onerror=document.hacked=2>"


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def swept(folder: Path, trials: int = 60, **more: Any) -> Path:
    """The journal of a small sweep."""
    space, journal = folder / "space.yaml", folder / "study.journal"
    space.write_text(yaml.safe_dump({**SPACE, **more}, sort_keys=False))
    assert main(["sweep", str(space), "--study", str(journal), "--trials", str(trials), "--json"]) == 0
    return journal


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return swept(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def report(journal: Path) -> Path:
    out = journal.with_name("study.html")
    assert main(["report", str(journal), "--out", str(out)]) == 0
    return out


def content(file: Path) -> list[dict[str, Any]]:
    """The figures in a page, as plotly gets them."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', file.read_text("utf-8"))
    assert found
    figures: list[dict[str, Any]] = json.loads(found[1])["figures"]
    return figures


class Tables(HTMLParser):
    """Cells of every table of a page, and what its tags load."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tables, self.rows, self.loads, self._cell, self._row = (
            list[Any](),
            dict[int, list[str]](),
            list[str](),
            False,
            -1,
        )
        self.feed(re.sub(r"<script>.*?</script>\n", "", file.read_text("utf-8"), flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href", "onerror", "onload")]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
            self._row = int(dict(attrs).get("data-row") or -1)
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self._cell = tag in ("td", "th") or (self._cell and tag not in ("caption", "tr"))

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.tables[-1][-1][-1] += data


def trace_of(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in figure["data"] if one.get("legendgroup") == name)


def stored(journal: Path) -> optuna.Study:
    """The study as Optuna reads it, without simmoe."""
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=None, storage=storage)


# --- a study ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_common_front_is_the_best_trials_of_optuna(journal: Path, report: Path) -> None:
    best = stored(journal).best_trials
    ring = trace_of(content(report)[0], "common front")
    first = {}
    for trial in sorted(best, key=lambda one: one.number):
        first.setdefault(tuple(trial.values), trial.number)
    assert sorted(ring["meta"]["rows"]) == sorted(first.values()) and len(first) > 4
    assert {(y, round(1e9 * x)) for x, y in zip(ring["x"], ring["y"])} == first.keys()


@pytest.mark.slow
def test_each_machine_has_its_front(journal: Path, report: Path) -> None:
    trials = [one for one in stored(journal).trials if one.values]
    for hw in SPACE["hw"]:
        values = {tuple(one.values) for one in trials if one.user_attrs["point"]["hw"] == hw}
        front = {(s, m) for s, m in values if not any(a >= s and b <= m and (a, b) != (s, m) for a, b in values)}
        behind, drawn = (one for one in content(report)[0]["data"] if one.get("legendgroup") == hw)
        assert {(y, round(1e9 * x)) for x, y in zip(drawn["x"], drawn["y"])} == {(s, round(m)) for s, m in front}
        assert len(front) > 2 and drawn["line"]["shape"] == "hv" and behind["opacity"] < 1


@pytest.mark.slow
def test_ten_commands_in_the_page_give_its_numbers(
    journal: Path, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns, *rows = Tables(report).tables[0]
    figures = content(report)
    places = {
        row: (x, y) for one in figures[0]["data"][:4] for row, x, y in zip(one["meta"]["rows"], one["x"], one["y"])
    }
    texts = {row: text for one in figures[0]["data"][:4] for row, text in zip(one["meta"]["rows"], one["hovertext"])}
    assert len(rows) >= 10
    for row in rows[:10]:
        number, command = int(re.findall(r"\d+", row[0])[0]), row[columns.index("command")]
        played = json.loads(output(capsys, *shlex.split(command)[1:], "--json"))
        x, y = places[number]
        assert played["tok_s"] == y and played["memory_bytes"]["total"] == round(1e9 * x)
        assert (
            shlex.split(html.unescape(texts[number].split("<br>simmoe ")[1].replace("<br>", "\n")))
            == shlex.split(command)[1:]
        )


@pytest.mark.slow
def test_the_belady_bound_is_a_run_of_it(report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hits, speeds = content(report)[-2:]
    assert [one["legendgroup"] for one in hits["data"]][:3] == ["fifo", "lru", "belady (bound)"] or "lru" in str(
        hits["data"][0]["legendgroup"]
    )
    bounds = [one for one in speeds["data"] if one["legendgroup"] == "belady (bound)"]
    assert len(bounds) == 4 and all(one["line"]["dash"] == "dot" for one in bounds)  # a setting: machine and trace
    cells = [row for table in Tables(report).tables for row in table if row[1:2] == ["belady"] and "tok/s" in table[0]]
    for row in cells[:: len(cells) // 5]:
        played = json.loads(output(capsys, *shlex.split(row[-1])[1:], "--json"))
        assert played["tok_s"] in {y for one in bounds for y in one["y"]}
    for bound, rate in zip(bounds, (one for one in hits["data"] if one["legendgroup"] == "belady (bound)")):
        choice = bound["meta"]["choice"]
        others = [
            one for one in speeds["data"] if one["meta"]["choice"] == choice and one["legendgroup"] in ("fifo", "lru")
        ]
        best = {x: y for one in others for x, y in zip(one["x"], one["y"])}
        assert all(y >= best.get(x, 0) * (1 - 1e-9) for x, y in zip(bound["x"], bound["y"])) and max(rate["y"]) <= 1


@pytest.mark.slow
def test_lines_of_all_axes_stand_at_the_values_of_their_trial(journal: Path, report: Path) -> None:
    figure = content(report)[1]
    axes = figure["layouts"][""]["xaxis"]["ticktext"]
    assert axes[:4] == ["machine", "trace", "policy", "budget"] and axes[4].startswith("tok/s")
    trials = {one.number: one for one in stored(journal).trials}
    drawn = 0
    for one in figure["data"][:-1]:
        for start in range(0, len(one["x"]), len(axes) + 1):
            row, heights = one["meta"]["rows"][start], one["y"][start : start + len(axes)]
            point = trials[row].user_attrs["point"]
            assert one["x"][start + len(axes)] is None and heights[0] == sorted(SPACE["hw"]).index(point["hw"])
            assert heights[3] == pytest.approx((float(point["budget"][:-1]) - 10) / 80, abs=1e-3)
            drawn += 1
    assert drawn >= len(set(content(report)[0]["data"][1]["meta"]["rows"]))
    assert all(
        one["type"] in ("scatter", "bar", "heatmap") for figure in content(report) for one in figure["data"]
    )  # none in WebGL


def test_importances_name_what_decides_the_best() -> None:
    """The budget decides the fastest trials, the machine the slowest."""
    trials = []
    for n in range(240):
        budget, box = n % 20 + 1, n % 3
        value = 100.0 + budget if budget > 10 else box + n / 1000
        trials.append(fact(n, hw=f"box{box}", budget=f"{5 * budget}%", value=value))
    found = data_of(made_study(trials))["importances"]["tok_s"]
    assert found["budget"] > 0.9 and found["hw"] < 0.1 and sum(found.values()) == pytest.approx(1)


@pytest.mark.slow
def test_twenty_thousand_trials(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    trials = [
        fact(
            n,
            hw=f"box{n % 3}",
            budget=f"{rng.integers(1, 400) / 4:g}%",
            eviction=f"p{n % 5}",
            value=float(rng.random() * 100),
            memory=int(rng.integers(1e9, 9e9)),
        )
        for n in range(20_000)
    ]
    made = made_study(trials)
    data = data_of(made)
    assert {tuple(made.trials[n].values) for n in data["front"]} == {tuple(one.values) for one in made.best_trials}
    written = study.page(data)
    page.write(tmp_path / "large.html", written, page.plotly_script())
    assert (tmp_path / "large.html").stat().st_size < 15e6
    left = int(
        re.search(r"([\d,]+) trials that lie on others are not drawn", written.figures[0].said)[1].replace(",", "")
    )
    points = {row for one in written.figures[0].data for row in one["meta"]["rows"]}
    assert len(points) + left == 20_000 and len(points) < 4000
    assert re.search(r"150 of 19,\d{3} others, evenly", written.figures[1].said)


def fact(number: int, hw: str, budget: str, value: float, memory: int = 0, eviction: str = "lru") -> dict[str, Any]:
    """Facts of a trial on a machine that does not exist, so that no bound is played."""
    memory = memory or number * 10**6
    command = f"simmoe run --hw {hw} --trace oracle --eviction {eviction} --budget {budget}"
    return {
        "point": {"hw": hw, "eviction": eviction, "budget": budget}, "command": command, "tok_s": value, "memory_bytes": memory,
        "hit_rate": 0.5, "budget_bytes": memory, "engine": "fast", "digest": "0",
    }  # fmt: skip


def made_study(facts: list[dict[str, Any]], name: str = "made", **more: Any) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(study_name=name, directions=["maximize", "minimize"])
    made.set_metric_names(["tok_s", "memory_bytes"])
    values = ([one["tok_s"], float(one["memory_bytes"])] for one in facts)
    made.add_trials(
        [optuna.trial.create_trial(values=two, user_attrs={**one, **more}) for one, two in zip(facts, values)]
    )
    return made


def test_what_breaks_a_constraint_or_cannot_run_is_on_no_front() -> None:
    kept = [fact(n, "m", "10%", value=float(n), memory=10**9 + n) for n in range(5)]
    data = data_of(made_study(kept))
    broken = {**kept[4], "number": 5, "state": "played", "tok_s": 99.0, "constraints": {"tok_s <= 50": 0.98}}
    cannot = {
        "point": kept[0]["point"],
        "command": kept[0]["command"],
        "number": 6,
        "state": "cannot run",
        "why_not": "too small",
    }
    written = study.page({**data, "trials": [*data["trials"], broken, cannot]})
    series = {one["legendgroup"]: one for one in written.figures[0].data}
    assert series["breaks a constraint"]["meta"]["rows"] == [5] and 5 not in series["common front"]["meta"]["rows"]
    assert written.notes == ("1 trial cannot run: too small.", "On no front, since a constraint is broken: 1 trial.")


def test_where_every_trial_breaks_a_constraint_no_line_and_no_value_is_drawn() -> None:
    """The axes bore a 0 that nobody had measured."""
    data = data_of(made_study([fact(n, "m", "10%", value=float(n), memory=10**9 + n) for n in range(3)]))
    broken = [{**one, "constraints": {"tok_s >= 9": 0.5}} for one in data["trials"]]
    titles = [one.title for one in study.page({**data, "trials": broken, "front": [], "front_by_hw": {}}).figures]
    assert titles[0] == "Pareto fronts" and "All axes at once" not in titles


def test_an_objective_of_one_value_bears_it_once() -> None:
    data = data_of(made_study([fact(n, "m", f"{n + 1}0%", value=5.0, memory=10**9 + n) for n in range(3)]))
    labels = parallel(data).data[-1]
    assert labels["text"].count(" 5") == 1 and len(labels["text"]) == 3 + 1 + 5


def test_a_study_of_which_nothing_has_finished_is_refused() -> None:
    with pytest.raises(UserError, match=r"no trial of the study '.*' has finished: let `simmoe sweep` play some first"):
        data_of(made_study([]))


def test_three_objectives_are_chosen_in_pairs() -> None:
    data = data_of(made_study([fact(n, "m", "10%", value=float(n)) for n in range(5)]))
    data["objectives"]["ttft_first_s"] = "minimize"
    data["trials"] = [{**one, "ttft_first_s": 1.0} for one in data["trials"]]
    figure = study.page(data).figures[0]
    assert figure.choices == ("tok/s by memory (GB)", "tok/s by ttft first (s)", "memory (GB) by ttft first (s)")
    assert "lines" not in figure.data[1]["mode"]  # a front of three objectives is no line in a plane of two


# --- nothing of others is mark-up -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_page_loads_nothing(report: Path) -> None:
    text = report.read_text("utf-8")
    assert Tables(report).loads == [] and text.count("* plotly.js v") == 1
    policy = re.search(r'Content-Security-Policy"\s+content="([^"]*)"', text)
    assert policy and policy[1].startswith("default-src 'none'; script-src 'sha256-") and "unsafe-eval" not in policy[1]
    assert "unsafe-inline" not in policy[1].partition("style-src")[0]


@pytest.mark.slow
def test_names_of_others_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A study, a trace file and a machine with names that are mark-up."""
    bad = tmp_path / "<img src=x onerror=document.hacked=3>.npz"
    bad.write_bytes((traces.BUNDLED / "oracle-4x8.npz").read_bytes())
    found = swept(tmp_path, trials=6, name=HOSTILE, trace=[str(bad), "switch-4x8"])
    capsys.readouterr()
    out = tmp_path / "page.html"
    output(capsys, "report", str(found), "--out", str(out))
    text = out.read_text("utf-8")
    assert Tables(out).loads == [] and "<img" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert (
        text.count("<script")
        - sum(one.count("<script") for one in re.findall(r"<script>(.*?)</script>", text, re.DOTALL))
        == 3
    )
    assert html.escape(HOSTILE) in text
    hovers = [text for one in content(out)[0]["data"] for text in one["hovertext"]]
    assert any("&lt;img src=x" in one for one in hovers) and not any("<img" in one for one in hovers)


def test_the_same_input_gives_the_same_page(journal: Path, report: Path) -> None:
    out = journal.with_name("again.html")
    assert main(["report", str(journal), "--out", str(out)]) == 0
    assert out.read_bytes() == report.read_bytes()


# --- a run ------------------------------------------------------------------------------------------------------------

PLANS: dict[str, dict[str, Any]] = {
    "lru": {"budget": "25%"},
    "a quota for each layer": {"budget": "30%", "scope": "layer"},
    "cold for each sequence": {"budget": "10%", "cold_per_sequence": True},
    "prefetched": {"budget": "30%", "prefetch": "last_token"},
    "prefetched into buffers": {"budget": "30%", "prefetch": "last_token", "prefetch_into": "buffers"},
    "the CPU computes": {"budget": "40%", "miss": "idle_cheaper", "hw": "rtx_4090"},
    "placed": {"budget": "50%", "placement": "popular=50%:first=20%", "hw": "rtx_4090"},
    "warm": {"budget": "100%"},
    "everything": {"eviction": "everything"},
    "nothing": {"eviction": "nothing"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_what_is_resident_has_the_bytes_of_the_run(name: str) -> None:
    played = simmoe.run(**{"hw": "jetson_orin", "trace": "switch-4x8", **PLANS[name]})
    found = held(played)
    bytes_held = (found.resident.sum(2) * played.workload.model.expert_bytes).sum(1)
    assert bytes_held.tolist() == played.decisions.used[found.last_event].tolist()
    assert int(found.hits.sum()) == played.hits and int(found.requests.sum()) == played.counts.requests
    ids = played.workload.trace.expert_ids
    assert (
        found.asked.sum(0)[0].tolist()
        == np.bincount(ids[:, 0][ids[:, 0] >= 0], minlength=found.asked.shape[2]).tolist()
    )
    assert (
        found.tokens[-1] == len(ids)
        and found.asked[: len(found.tokens) // 2].sum() == (ids[: found.tokens[len(found.tokens) // 2 - 1]] >= 0).sum()
    )


@pytest.mark.slow
def test_residency_follows_the_passes_one_by_one() -> None:
    """Against a replay of the policy by hand: the slots of LRU in a dictionary."""
    played = simmoe.run("a100", "switch-4x8", budget="40%", tokens=300)
    found, requests = held(played), played.workload.requests
    slots, capacity = dict[int, None](), played.plan.budget_bytes // int(played.workload.model.expert_bytes[0])
    ends = {int(event): number for number, event in enumerate(found.last_event)}
    for event in range(requests.n_events):
        mine = requests.obj[requests.ptr[event] : requests.ptr[event + 1]].tolist()
        assert len(mine) <= capacity
        for one in mine:
            if one not in slots:
                if len(slots) == capacity:
                    slots.pop(next(old for old in slots if old not in mine))
                slots[one] = None
        for one in requests.use_obj[requests.use_ptr[event] : requests.use_ptr[event + 1]].tolist():
            slots[one] = slots.pop(one)  # on top in the order of its last occurrence
        if event in ends:
            assert set(np.flatnonzero(found.resident[ends[event]].ravel()).tolist()) == set(slots)


@pytest.mark.slow
def test_a_long_run_is_read_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    played = simmoe.run("a100", "switch-4x8", budget="20%", cold_per_sequence=True)
    whole = held(played).to_json()
    monkeypatch.setattr("simmoe.simulator.decide.stretches.LONGEST", 500)
    assert held(played).to_json() == whole


@pytest.mark.slow
def test_behind_a_warm_up_the_warm_up_is_shown_too() -> None:
    whole, behind = (
        simmoe.run("a100", "switch-4x8", budget="20%", start="cold", **more) for more in ({}, {"warm_up": 500})
    )
    assert held(behind).to_json() == held(whole).to_json()


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["--trace", "oracle-4x8", "--budget", "25%", "--tokens", "700"],
    ["--trace", "oracle-4x8", "--budget", "300MB", "--eviction", "lfu_resident", "--scope", "layer"],
    ["--model", "mixtral-8x7b", "--prompt", "40", "--generate", "20"],
    ["--trace", "switch-4x8", "--budget", "40%", "--warm-up", "300", "--prefill-chunk", "64"],
])  # fmt: skip
def test_a_run_is_played_again_from_its_result(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, out = tmp_path / "run.json", tmp_path / "run.html"
    result.write_text(output(capsys, "run", "--hw", "a100", *words, "--json"))
    output(capsys, "report", str(result), "--out", str(out))
    titles = re.findall(r"<h2>(.*?)</h2>", out.read_text("utf-8").partition("<script>")[0])
    assert {
        "Experts resident, by layer over time",
        "Popularity of experts, by layer",
        "Where a token&#x27;s time goes",
    } <= set(titles)
    found = json.loads(result.read_text())
    bar = [one["x"][0] for one in content(out)[0]["data"]]
    assert sum(bar) == pytest.approx(1e3 / found["tok_s"], rel=1e-9)
    said = html.unescape(re.search(r"<dt>command</dt><dd><code>(.*?)</code>", out.read_text("utf-8"))[1])
    again = json.loads(output(capsys, *shlex.split(said)[1:], "--json"))
    for left_open in ("band", "routing"):
        again.pop(left_open, None), found.pop(left_open, None)
    assert again == found


@pytest.mark.slow
def test_a_run_of_other_inputs_says_what_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, result, out, saved = (tmp_path / name for name in ("own.npz", "run.json", "run.html", "run.yaml"))
    simmoe.save_trace(traces.first_tokens(simmoe.load_trace("switch-4x8"), 320), own)
    words = ["run", "--hw", "a100", "--trace", str(own), "--budget", "30%"]
    result.write_text(output(capsys, *words, "--json", "--save", str(saved)))
    output(capsys, "report", str(result), "--out", str(out))
    text = out.read_text("utf-8").partition("<script>")[0]
    assert (
        "Which experts are resident is not shown: the run cannot be played again: no bundled trace has its digest"
        in text
    )
    assert "Experts resident" not in text and "Where a token" in text
    output(capsys, "report", str(result), "--out", str(out), "--scenario", str(saved), "--force")
    assert "Experts resident, by layer over time" in out.read_text("utf-8").partition("<script>")[0]
    other = json.loads(result.read_text())
    other["scenario"]["plan"]["budget_bytes"], other["digest"] = 1, "0" * 64
    result.write_text(json.dumps(other))
    error = refused(capsys, "report", str(result), "--out", str(out), "--scenario", str(saved), "--force")
    assert "the scenario is another one" in error


def test_a_run_on_a_machine_of_a_file_says_how_to_name_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It said that the machine is unknown, and how to write one."""
    mine, result, out = tmp_path / "mine.yaml", tmp_path / "run.json", tmp_path / "run.html"
    mine.write_text("name: mine\ntitle: Mine\nextends: a100\n")
    words = ["--trace", "switch-4x8", "--tokens", "64", "--budget", "30%"]
    result.write_text(output(capsys, "run", "--hw", str(mine), *words, "--json"))
    output(capsys, "report", str(result), "--out", str(out))
    text = html.unescape(out.read_text("utf-8").partition("<script>")[0])
    assert "again: unknown hardware 'mine': no such file or bundled name; write the scenario too (simmoe run" in text


@pytest.mark.slow
def test_a_ladder_is_drawn_between_its_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(capsys, "run", "--hw", "a100", "--trace", "oracle-4x8", "--json"))
    hits, speeds, where = run.ladder_page(found).figures
    played = [row["run"] for row in found["rungs"] if row["run"]]
    assert hits.data[0]["y"] == [one["decode"]["hit_rate"] for one in played]
    assert speeds.data[0]["y"] == [one["tok_s"] for one in played] and speeds.data[0]["x"][-1] == 100
    assert [one["y"][0] for one in speeds.data[1:]] == [
        found["bounds"][which]["tok_s"] for which in ("nothing", "everything")
    ]
    sums = np.sum([one["x"] for one in where.data], axis=0)
    assert sums == pytest.approx([1e3 / one["tok_s"] for one in (*played, found["bounds"]["everything"])], rel=1e-9)


@pytest.mark.slow
def test_a_comparison_has_its_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "mixtral-8x7b", "--prompt", "32", "--generate", "16", "--format", "Q4_K_M"]
    found = json.loads(output(capsys, "compare", "--hw", "rtx_4090", "--hw", "a100", *words, "--json"))
    figure = comparison.page(found).figures[0]
    for bars, name in zip(figure.data, ("tok_s", "prompt_tok_s")):
        for row, value, up, down in zip(
            found["rows"], bars["x"], bars["error_x"]["array"], bars["error_x"]["arrayminus"]
        ):
            assert value == row["run"][name] and [value - down, value + up] == pytest.approx(row[f"range_{name}"])
    assert figure.choices[0] == "decoded tokens a second" and "price (USD, as the profile states it)" in figure.choices
    assert "error_x" not in figure.data[2]


def test_an_axis_of_a_comparison_shows_where_the_order_changes() -> None:
    slow, fast = (
        {"value": speed, "low": speed - 1, "high": speed + 1, "why_not": "", "command": "simmoe run"}
        for speed in (10.0, 20.0)
    )
    none = {"value": None, "low": 0.0, "high": 0.0, "why_not": "does not fit", "command": None}
    sides = {"below": {"value": 1, "word": "1", "points": []}, "above": {"value": 2, "word": "2", "points": []}}
    change = {"faster_below": 2, "faster_above": 1, "alone": False, "undecided": None, **sides}
    data = {
        "axis": "batch", "measure": "tok_s", "values": [1, 2, 4],
        "words": ["1", "2", "4"], "points": [[slow, fast, none], [fast, slow, slow]],
        "pairs": [{"rows": [1, 2], "stretches": [], "changes": [change]}],
    }  # fmt: skip
    figure = order(data, ["1. a", "2. <b>"])
    lines = [one for one in figure.data if one["mode"] == "lines+markers"]
    assert [one["y"] for one in lines] == [[10, 20], [20, 10, 10]] and lines[1]["name"] == "2. &lt;b&gt;"
    upright = figure.data[-1]
    assert upright["x"] == [1.5, 1.5] and upright["hovertext"] == "up to 1: 2. &lt;b&gt;; from 2: 1. a"
    assert figure.tables[0].rows == (("1", "2. <b>", "2", "1. a", "–"),)
    assert figure.tables[1].rows[2] == ("4", "does not fit", "10 (9–11)")
    assert figure.plotly().layout.xaxis.type == "log"
    (rates,) = order({**data, "axis": "link.bandwidth", "unit": "bandwidth", "values": [10**9, 2 * 10**9, 4 * 10**9],
        "pairs": [{"rows": [1, 2], "changes": [{**change, "undecided": [10**9, 2 * 10**9]}]}]}, ["a", "b"]).tables[:1]  # fmt: skip
    assert rates.rows[0][-1] == "1 GB/s to 2 GB/s"


@pytest.mark.parametrize("values", [list(range(10, 210, 10)), [1, 2, 4, 8, 16, 32, 64], [5, 6]])
def test_labels_of_an_axis_do_not_meet(values: list[int]) -> None:
    """Twenty budgets, evenly, stand close on an axis of factors."""
    point = {"value": 1.0, "low": 1.0, "high": 1.0, "why_not": "", "command": "simmoe run"}
    data = {
        "axis": "budget",
        "measure": "tok_s",
        "unit": "bytes",
        "words": list(map(str, values)),
        "points": [[point] * len(values)],
        "pairs": [],
    }
    axis = order({**data, "values": [one * 10**6 for one in values]}, ["a"]).axes[""]["xaxis"]
    marks = axis["tickvals"]
    assert marks[0] == values[0] * 10**6 and axis["ticktext"][0] == f"{values[0]} MB" and len(marks) >= 2
    assert all(np.log(b / a) >= np.log(values[-1] / values[0]) / 9 - 1e-9 for a, b in pairwise(marks))


@pytest.mark.slow
def test_a_curve_is_the_page_of_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result, one, other = (tmp_path / name for name in ("curve.json", "one.html", "other.html"))
    result.write_text(
        output(
            capsys, "curve", "--trace", "oracle-4x8", "--tokens", "200", "--hw", "a100", "--html", str(one), "--json"
        )
    )
    output(capsys, "report", str(result), "--out", str(other))
    assert one.read_bytes() == other.read_bytes() and len(content(one)) == 3
    belady = next(line for line in content(one)[0]["data"] if line["legendgroup"] == "belady")
    assert belady["line"] == {
        "color": "#7d8590",
        "width": 2,
        "dash": "dash",
        "shape": "linear",
    }  # no policy looks like it


@pytest.mark.slow
def test_the_json_of_a_sweep_and_of_locality_are_drawn_too(
    journal: Path, report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, out = tmp_path / "sweep.json", tmp_path / "page.html"
    space = journal.with_name("space.yaml")
    result.write_text(output(capsys, "sweep", str(space), "--study", str(journal), "--trials", "60", "--json"))
    output(capsys, "report", str(result), "--out", str(out))
    assert trace_of(content(out)[0], "common front")["meta"] == trace_of(content(report)[0], "common front")["meta"]
    result.write_text(output(capsys, "locality", "oracle-4x8", "--json"))
    output(capsys, "report", str(result), "--out", str(out), "--force")
    assert "Routing locality" in out.read_text("utf-8")


# --- figures ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_figure_is_one_of_plotly_and_has_a_table(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    played = simmoe.run("a100", "oracle-4x8", budget="25%", tokens=300)
    climbed = simmoe.ladder("a100", "oracle-4x8", tokens=300)
    compared = simmoe.compare(["a100", "h100"], "oracle-4x8", budget="50%", tokens=300)
    pages = [
        study.page(data_of(opened(journal))), run.page(played.to_json(), plots_of_held.figures(held(played).to_json())),
        run.ladder_page(climbed.to_json()), comparison.page(compared.to_json()),
        curve.page(simmoe.curve("oracle-4x8", hw="a100", tokens=300).to_json()),
    ]  # fmt: skip
    figures = [figure for one in pages for figure in one.figures]
    assert len(figures) > 15
    for figure in figures:
        drawn = figure.plotly()  # plotly's own check of every name
        assert isinstance(figure, Figure) and len(drawn.data) >= 1 and drawn.layout.title.text
        assert figure.tables and all(
            len(table.rows) and len({len(row) for row in (table.columns, *table.rows)}) == 1 for table in figure.tables
        )


def test_colours_stand_out_in_light_and_in_dark() -> None:
    css = (page.FOLDER / "page.css").read_text("utf-8")
    for paper in (*re.findall(r"--paper:(#[0-9a-f]{6})", css), *re.findall(r"--box:(#[0-9a-f]{6})", css)):
        assert min(contrast(colour, paper) for colour in COLOURS) >= 3, paper
    for ink, soft, paper in (("#1b1f24", "#57606a", "#ffffff"), ("#e6e8eb", "#a9b1bb", "#1a1e24")):
        assert ink in css and soft in css and min(contrast(ink, paper), contrast(soft, paper)) >= 4.5


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- refused ----------------------------------------------------------------------------------------------------------

FILES = {
    "absent": (None, "no file"), "empty": ("", "is empty"), "a list": ("[1]", "holds no result"),
    "no result": ('{"a": 1}', "holds no result that can be drawn"),
    "require": ('{"schema": 2, "versions": {}, "rows": [], "targets": {}}', "holds no result that can be drawn"),
    "a plan": ('{"schema": 1, "goal": "both", "best": []}', "holds no result that can be drawn"),
    "a comparison of 0.1.0": ('{"schema": 1, "versions": {}, "rows": []}', "its schema is 1"),
    "another version": ('{"schema": 1, "rungs": [], "bounds": {}}', "its schema is 1"), "no JSON": ("{", "is not a plain JSON file"),
    "a damaged ladder": ('{"schema": 2, "rungs": [], "bounds": {}}', "is not as simmoe wrote it: KeyError"),
    "a torn journal": ('{"op_code":0}\n', "input.json is "),
    "a database": ("SQLite format 3\0 ", "is a database; name it by its address: sqlite:///"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_cannot_be_drawn_is_refused_in_a_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line = FILES[name]
    file, out = tmp_path / "input.json", tmp_path / "out.html"
    if text is not None:
        file.write_text(text)
    assert line in refused(capsys, "report", str(file), "--out", str(out))
    assert not out.exists()


def test_options_that_mean_nothing_are_refused(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, result = tmp_path / "out.html", tmp_path / "x.json"
    result.write_text('{"schema": 2, "rungs": [], "bounds": {}}')
    words = ["report", str(journal), "--out", str(out)]
    assert "is of one run" in refused(capsys, *words, "--scenario", "x.yaml")
    assert "is of a study in a database" in refused(capsys, *words, "--name", "small")
    assert "is of one run" in refused(capsys, "report", str(result), "--out", str(out), "--scenario", "x.yaml")
    assert "would overwrite" in refused(capsys, "report", str(journal), "--out", str(journal))
    out.write_text("x")
    assert "exists" in refused(capsys, *words) and out.read_text() == "x"


def test_without_plotly(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    line = "a report needs plotly, which is not installed; run: pip install 'simmoe[sweep]'"
    assert line in refused(capsys, "report", "nowhere", "--out", str(tmp_path / "x.html"))
    monkeypatch.undo()
    monkeypatch.setattr("plotly.__version__", "5.24.1")
    line = "a report needs plotly 6 or later, and 5.24.1 is installed; run: pip install -U plotly"
    assert line in refused(capsys, "report", "nowhere", "--out", str(tmp_path / "x.html"))
