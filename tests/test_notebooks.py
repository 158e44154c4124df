"""The notebooks of examples/ hold what their cells give now: every text, table and number, and of each figure what it shows."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from struct import unpack
from typing import Any

import pytest

from tests.notebooks import BOOKS, PICTURE, WIDTH, cells, digest, is_figure, outputs, played, read
from tests.test_house import ROOT

LARGEST = 300 * 1024  # bytes of a notebook
DRAWN = "application/vnd.plotly.v1+json"
MOMENT = "/(?:home|root|tmp|usr)/|0x[0-9a-f]{6}"  # a path of a machine, an address of an object
ANEW = "make notebooks writes the outputs anew"
each = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)


def figures_of(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in cell["outputs"] if PICTURE in one.get("data", {})]


@pytest.mark.slow
@each
def test_every_cell_gives_what_the_notebook_holds(path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("plotly")
    for number, (cell, text, value) in enumerate(played(read(path)), 1):
        held = cell["outputs"]
        if is_figure(value):
            assert held[-1]["data"].pop(PICTURE), f"cell {number} of {path.name} has no picture; {ANEW}"
        assert held == outputs(number, text, value), f"cell {number} of {path.name}; {ANEW}"


@each
def test_a_notebook_is_small_tidy_and_of_no_machine(path: Path) -> None:
    book, text = read(path), path.read_text("utf-8")
    assert len(text.encode()) <= LARGEST, (
        f"{path.name} is too large to be shown in full: {ANEW}, without figures that move"
    )
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5) and len({one["id"] for one in book["cells"]}) == len(
        book["cells"]
    )
    assert book["cells"][0]["source"][0].startswith("# ")
    assert [cell["execution_count"] for cell in cells(book)] == list(range(1, len(cells(book)) + 1))
    assert all(cell["outputs"] for cell in cells(book)), "a cell that shows nothing belongs to the one behind it"
    assert not re.search(MOMENT, text), "what a machine or a moment says"
    said = "".join(line for cell in book["cells"] if cell["cell_type"] == "markdown" for line in cell["source"])
    for target in re.findall(r"\]\(([^)#]+)", said):
        assert (path.parent / target).exists(), target


@each
def test_every_figure_is_a_picture_of_its_size(path: Path) -> None:
    shown = [one for cell in cells(read(path)) for one in figures_of(cell)]
    assert len(shown) >= 3
    for one in shown:
        picture = base64.b64decode(one["data"][PICTURE])
        assert picture.startswith(b"\x89PNG") and unpack(">I", picture[16:20]) == (WIDTH,)
        assert one["data"]["text/plain"][0].startswith("Figure: ") and len(one["metadata"]["digest"]) == 64


@pytest.mark.real
@each
def test_jupyter_gives_the_same(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    theirs = nbclient.NotebookClient(nbformat.read(path, 4), resources={"metadata": {"path": str(tmp_path)}}).execute()
    for mine, other in zip(cells(read(path)), cells(theirs), strict=True):
        assert _texts(mine) == _texts(other)
        drawn = [one["data"][DRAWN]["data"] for one in other["outputs"] if DRAWN in one.get("data", {})]
        assert list(map(digest, drawn)) == [one["metadata"]["digest"] for one in figures_of(mine)]


def _texts(cell: Any) -> list[str]:
    """What a cell prints and shows, but for figures and warnings."""
    shown = [one for one in cell["outputs"] if one.get("name") != "stderr" and not figures_of({"outputs": [one]})]
    texts = [one.get("data", {"text/plain": one.get("text", "")}) for one in shown]
    return ["".join(one[kind]) for one in texts for kind in ("text/plain", "text/html") if kind in one]
