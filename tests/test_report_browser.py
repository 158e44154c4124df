"""Pages of `simmoe report` in a real browser: quiet, drawn, readable in light, dark, on paper and on a phone, worked by the keyboard."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import simmoe
from simmoe.cli.main import main
from simmoe.play.held import held
from simmoe.plots import comparison, curve, locality, page, run, serve_curve, study
from simmoe.plots import held as plots_of_held
from simmoe.sweeps.opening import opened
from simmoe.sweeps.reports.study import data_of
from tests.browser import CHROMIUM, Browser, browser
from tests.test_report import HOSTILE, SPACE

pytest.importorskip("plotly")
pytestmark = [pytest.mark.real, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")]

DRAWN = """[...document.querySelectorAll('.plot')].map(plot => plot.querySelectorAll(
  '.scatterlayer path, .barlayer .point path, .heatmaplayer image, .scatterlayer .textpoint').length)"""
CONTRASTS = """(() => {
  const parse = text => { const parts = text.match(/[\\d.]+/g).map(Number);
    return {rgb: parts.slice(0, 3), a: parts.length > 3 ? parts[3] : 1}; };
  const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = start => { for (let e = start; e; e = e.parentElement) {
    const found = parse(getComputedStyle(e).backgroundColor); if (found.a === 1) return found.rgb; } return [255, 255, 255]; };
  const low = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); let count = 0;
  for (let node; node = walker.nextNode();) {
    const e = node.parentElement, text = node.textContent.trim();
    if (!text || e.closest('script, style, option') || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg');
    const ink = light(parse(svg ? style.fill : style.color).rgb), paper = light(ground(svg ? e.closest('div') : e));
    const ratio = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
    count += 1;
    if (ratio < 4.5 || Number(style.opacity) < 1) low.push([text.slice(0, 40), ratio]);
  }
  return [count, low];
})()"""
TAB, SPACE_BAR, DOWN, ENTER = ("Tab", 9, ""), (" ", 32, " "), ("ArrowDown", 40, ""), ("Enter", 13, "\r")


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened_tab:
        yield opened_tab


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "space.yaml").write_text(yaml.safe_dump({**SPACE, "name": f"small {HOSTILE}"}, sort_keys=False))
    assert (
        main(["sweep", str(folder / "space.yaml"), "--study", str(folder / "study"), "--trials", "50", "--json"]) == 0
    )
    played = simmoe.run("a100", "oracle-4x8", budget="25%", tokens=600)
    machines = simmoe.compare(["rtx_4090", "a100"], model="mixtral-8x7b", prompt=16, generate=8, format="Q4_K_M")
    made = {
        "study": study.page(data_of(opened(folder / "study"))),
        "run": run.page(json.loads(json.dumps(played.to_json())), plots_of_held.figures(held(played).to_json())),
        "ladder": run.ladder_page(simmoe.ladder("jetson_orin", "oracle-4x8", tokens=600).to_json()),
        "comparison": comparison.page(machines.to_json()),
        "curve": curve.page(simmoe.curve("oracle-4x8", hw="a100", tokens=300).to_json()),
        "locality": locality.page(
            [(HOSTILE, simmoe.locality("oracle-4x8")), ("switch", simmoe.locality("switch-4x8"))]
        ),
    }
    served = simmoe.serve_curve("a100", "oracle-4x8", tokens=300, max_batch=2, ttft="60ms", budgets=["25%", "50%"])
    made["serve_curve"] = serve_curve.page(served.to_json())
    script = page.plotly_script()
    for name, one in made.items():
        page.write(folder / f"{name}.html", one, script)
    return {name: folder / f"{name}.html" for name in made}


LOOKS = (
    ("study", 1280, "light"), ("study", 390, "dark"), ("run", 390, "dark"), ("ladder", 1280, "light"), ("comparison", 390, "light"),
    ("curve", 1280, "dark"), ("locality", 390, "dark"), ("serve_curve", 390, "light"), ("serve_curve", 1280, "dark"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "width", "scheme"), LOOKS)
def test_a_page_is_quiet_drawn_and_readable(
    name: str, width: int, scheme: str, tab: Browser, pages: dict[str, Path]
) -> None:
    tab.open(pages[name], width, scheme)
    assert tab.complaints == [] and tab.requests == []
    drawn = tab.value(DRAWN)
    assert len(drawn) >= 2 and min(drawn) > 0, drawn
    assert tab.value("document.querySelectorAll('canvas').length") == 0  # WebGL draws on one
    assert tab.value("document.hacked === undefined && !document.querySelector('main img, h1 img')")
    count, low = tab.value(CONTRASTS)
    assert count > 40 and low == []
    tab.value("document.querySelectorAll('option').forEach(one => { one.text += ' and so on'.repeat(9); })")
    assert tab.value("document.documentElement.scrollWidth <= innerWidth"), f"{width} pixels are too few"


def test_both_schemes_are_another_and_paper_is_white(tab: Browser, pages: dict[str, Path]) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    tab.open(pages["study"], scheme="dark")
    assert tab.value(background) == "rgb(20, 23, 28)"
    tab.scheme("dark", media="print")
    assert tab.value(background) == "rgb(255, 255, 255)"
    assert tab.value(CONTRASTS)[1] == []
    tab.value("dispatchEvent(new Event('beforeprint'))")
    assert tab.value("[...document.querySelectorAll('details')].every(one => one.open)")
    tab.value("dispatchEvent(new Event('afterprint'))")
    assert not tab.value("[...document.querySelectorAll('details')].some(one => one.open)")
    tab.scheme("light")
    assert tab.value(background) == "rgb(255, 255, 255)"


def test_figures_follow_the_width(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["run"], 1280)
    fits = "[...document.querySelectorAll('.plot')].every(p => Math.abs(p.querySelector('.main-svg').clientWidth - p.clientWidth) < 2)"
    assert tab.value(fits)
    tab.resize(390)
    assert until(tab, fits)
    tab.value("dispatchEvent(new Event('beforeprint'))")
    assert until(tab, "[...document.querySelectorAll('.main-svg')].every(one => one.clientWidth === 680)")
    tab.value("dispatchEvent(new Event('afterprint'))")
    assert until(tab, fits)


@pytest.mark.parametrize("name", ["study", "comparison"])
def test_what_a_screen_reader_says(name: str, tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages[name])
    said = tab.value(
        "[...document.querySelectorAll('.plot')].map(p => [p.getAttribute('role'), p.getAttribute('aria-label').length])"
    )
    assert said and all(role == "img" and length > 40 for role, length in said)
    inputs = "[...document.querySelectorAll('select, input')].filter(one => !one.hidden)"
    named = f"{inputs}.every(one => one.labels.length === 1 && one.labels[0].innerText.trim())"
    assert tab.value(named) and tab.value("document.documentElement.lang") == "en"
    assert tab.value("document.querySelectorAll('h1').length") == 1
    assert tab.value(
        "[...document.querySelectorAll('figure')].every(f => f.querySelector('h2') && f.querySelector('details table'))"
    )
    regions = "[...document.querySelectorAll('.scroll')].every(s => s.tabIndex === 0 && s.getAttribute('aria-label'))"
    assert tab.value(regions) and tab.value("document.querySelectorAll('tbody th[scope=row]').length") >= 4


def test_the_keyboard_reaches_every_control(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["study"])
    controls = "[...document.querySelectorAll('select:not([hidden]), input, button, summary, figure > .scroll')]"
    wanted = tab.value(f"{controls}.length")
    assert wanted > 20
    for _ in range(wanted + 2):
        tab.key(*TAB)
        tab.value("document.activeElement.dataset.reached = getComputedStyle(document.activeElement).outlineStyle; 0")
    reached = tab.value(f"{controls}.map(one => [one.tagName, one.dataset.reached])")
    assert all(outline in ("solid", "auto") for _, outline in reached), reached


def test_keys_take_a_series_out_choose_and_open_a_table(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["study"])
    series = "document.querySelectorAll('#figure0 .scatterlayer .trace').length"
    before = tab.value(series)
    tab.value("document.querySelector('#figure0 input').focus()")
    tab.key(*SPACE_BAR)
    assert until(tab, f"{series} < {before}")
    tab.key(*SPACE_BAR)
    assert until(tab, f"{series} === {before}")
    last = tab.value("document.querySelectorAll('figure').length") - 1
    shown = f"document.querySelector('#figure{last} .scatterlayer path.js-line').getAttribute('d')"
    path = tab.value(shown)
    tab.value(f"document.querySelector('#figure{last} select').focus()")
    tab.key(*DOWN)
    assert until(tab, f"{shown} !== {json.dumps(path)}")
    tab.value("document.querySelector('#figure0 summary').focus()")
    tab.key(*ENTER)
    assert until(tab, "document.querySelector('#figure0 details').open")


def test_a_filter_leaves_the_rows_and_points_of_a_machine(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["study"])
    points = "[...document.querySelectorAll('#figure0 .point')].filter(one => one.style.display !== 'none').length"
    before = tab.value(points)
    tab.value(
        "document.querySelector('#figure0 details').open = true; document.querySelector('.filters select').focus()"
    )
    tab.key(*DOWN)
    assert until(tab, f"{points} < {before} && {points} > 0")
    machine = tab.value("document.querySelector('.filters select').selectedOptions[0].text")
    rows = "[...document.querySelector('#figure0 tbody').rows].filter(row => row.offsetParent).map(row => row.cells[1].innerText)"
    assert set(tab.value(rows)) == {machine} and machine in SPACE["hw"]
    assert "trials" in tab.value("document.getElementById('filtered').innerText")
    tab.value("document.getElementById('clear').focus()")
    tab.key(*ENTER)
    assert until(tab, f"{points} === {before}") and len(set(tab.value(rows))) == 2


def test_a_click_says_the_command_of_a_point(tab: Browser, pages: dict[str, Path]) -> None:
    tab.open(pages["study"])
    box = "[...document.querySelectorAll('#figure0 .trace')][1].querySelector('.point').getBoundingClientRect()"
    place: Any = tab.value(f"(() => {{ const r = {box}; return [r.x + r.width / 2, r.y + r.height / 2]; }})()")
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    time.sleep(0.2)
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
    assert until(tab, "document.querySelector('#figure0 .picked').innerText.includes('simmoe run --hw')")


def until(tab: Browser, expression: str) -> bool:
    """Whether it comes true within five seconds."""
    end = time.monotonic() + 5
    while not (found := tab.value(expression)) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(found)
