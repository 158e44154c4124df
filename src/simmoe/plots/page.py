"""A page of figures: one self-contained HTML file. It asks no network for anything and runs no script but its own.

Every page of simmoe is made here: the style, what a control is, what a reader who sees no drawing gets.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from simmoe.plots.figure import ORIGINS, Figure, Table, escaped
from simmoe.plots.markup import figure_html, table_html
from simmoe.simulator.errors import Missing
from simmoe.simulator.files import atomic

FOLDER = Path(__file__).parent
OLDEST = 6  # of plotly: the script of older ones makes code out of text, which the page's own policy forbids


@dataclass(frozen=True)
class Filter:
    """A control that leaves some trials: their value of one axis. of: number of the trial -> place of its value."""

    name: str
    values: tuple[str, ...]
    of: Mapping[int, int]


@dataclass(frozen=True)
class Page:
    """What a page says. facts: where it comes from, by name. tables: of numbers that no figure shows."""

    title: str
    lead: tuple[str, ...]
    figures: tuple[Figure, ...]
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    tables: tuple[Table, ...] = ()


def plotly_script(option: str = "--html") -> str:
    """The text of plotly.js, to stand in the page. Raises Missing."""
    try:
        from plotly import __version__  # type: ignore[import-not-found,import-untyped,unused-ignore]
        from plotly.offline import get_plotlyjs  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise Missing(f"{option} needs plotly, which is not installed; run: pip install 'simmoe[sweep]'") from None
    if int(__version__.partition(".")[0]) < OLDEST:
        raise Missing(
            f"{option} needs plotly {OLDEST} or later, and {__version__} is installed; run: pip install -U plotly"
        )
    return str(get_plotlyjs()).replace("\r", "")


def write(path: Path, page: Page, plotly_js: str) -> None:
    """The page, in one step."""
    scripts = plotly_js, (FOLDER / "page.js").read_text("utf-8")
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)
    with atomic(path) as stream:
        stream.write(
            HEAD.format(hashes=hashes, title=escaped(page.title), css=(FOLDER / "page.css").read_text("utf-8"))
        )
        stream.writelines(_body(page))
        stream.write(f'<script type="application/json" id="page-data">{_data(page)}</script>\n')
        stream.writelines(f"<script>{one}</script>\n" for one in scripts)
        stream.write("</body></html>\n")


def _data(page: Page) -> str:
    figures = [
        {"data": one.data, "layouts": {choice: one.layout(choice) for choice in one.choices or ("",)}, "least_width": one.least_width}
        for one in page.figures
    ]  # fmt: skip
    filters = [{"of": dict(one.of)} for one in page.filters]
    content = json.dumps(
        {"figures": figures, "filters": filters}, sort_keys=True, allow_nan=False, separators=(",", ":")
    )
    return content.replace("<", "\\u003c")


def _body(page: Page) -> Iterator[str]:
    yield f"<h1>{escaped(page.title)}</h1>\n"
    yield from _paragraphs(page.lead)
    yield _origins(page)
    yield from _paragraphs(page.notes)
    yield _filters(page.filters)
    yield "<main>\n"
    for number, figure in enumerate(page.figures):
        yield from figure_html(number, figure)
    yield "</main>\n"
    if page.tables:
        yield "<section>"
        yield from (table_html(one) for one in page.tables)
        yield "</section>\n"
    if page.facts:
        yield "<section><h2>Where this comes from</h2><dl>"
        yield from (f"<dt>{escaped(name)}</dt><dd>{_said(name, text)}</dd>" for name, text in page.facts)
        yield "</dl></section>\n"


def _paragraphs(lines: tuple[str, ...]) -> Iterator[str]:
    return (f'<p class="soft">{escaped(line)}</p>\n' for line in lines)


def _said(name: str, text: str) -> str:
    return f"<code>{escaped(text)}</code>" if name.startswith("command") else escaped(text)


def _origins(page: Page) -> str:
    """The key to the marks of the figures."""
    used = [name for name in ORIGINS if any(one.origin == name for one in page.figures)]
    parts = (f'<span class="origin {name}">{ORIGINS[name][0]}</span> {ORIGINS[name][1]}' for name in used)
    return f'<p class="soft">{"; ".join(parts)}.</p>\n' if used else ""


def _filters(filters: tuple[Filter, ...]) -> str:
    if not filters:
        return ""
    controls = "".join(
        f'<label>{escaped(one.name)} <select data-filter="{number}"><option value="">all</option>'
        + "".join(f'<option value="{i}">{escaped(value)}</option>' for i, value in enumerate(one.values))
        + "</select></label>"
        for number, one in enumerate(filters)
    )
    return (
        f'<div class="filters" role="group" aria-label="Show some trials only">{controls}'
        '<button type="button" id="clear">Show all</button> <span id="filtered" class="soft" aria-live="polite"></span></div>\n'
    )


HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title><meta name="viewport" content="width=device-width, initial-scale=1">
<style>{css}</style></head><body>
"""
