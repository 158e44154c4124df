"""Plays the notebooks of examples/ without Jupyter: each cell as Python runs it, its outputs as a notebook keeps them.

`python -m tests.notebooks` (`make notebooks`) writes their outputs anew; headless Chromium draws the figures.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import html
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.browser import Browser, browser
from tests.test_house import ROOT

BOOKS = tuple(sorted((ROOT / "examples").glob("*.ipynb")))
WIDTH, HEIGHT = 660, 360  # of a figure, in pixels
PICTURE = "image/png"
Json = dict[str, Any]


def cells(book: Json) -> list[Json]:
    """Those that hold code."""
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def read(path: Path) -> Json:
    found: Json = json.loads(path.read_text("utf-8"))
    return found


def played(book: Json) -> Iterator[tuple[Json, str, Any]]:
    """Every cell of code in order, in a folder of its own: the cell, what it prints, and the value of its last expression."""
    import pandas as pd

    names: Json = {"__name__": "__main__"}
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        pd.option_context("display.max_columns", 20),
    ):
        for cell in cells(book):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                value = _value("".join(cell["source"]), names)
            yield cell, out.getvalue(), value


def _value(source: str, names: Json) -> Any:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if isinstance(last, ast.Expr) else None


def outputs(number: int, text: str, value: Any) -> list[Json]:
    """What a notebook keeps; of a figure all but its picture."""
    printed = [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] * bool(text)
    if value is None:
        return printed
    shown, metadata = {"text/plain": repr(value)}, {}
    if is_figure(value):
        shown, metadata = (
            {"text/plain": f"Figure: {html.unescape(value.layout.title.text)}"},
            {"digest": digest(value.to_dict()["data"])},
        )
    elif hasattr(value, "_repr_html_"):
        shown["text/html"] = value._repr_html_()
    data = {kind: content.splitlines(keepends=True) for kind, content in sorted(shown.items())}
    return [*printed, {"data": data, "execution_count": number, "metadata": metadata, "output_type": "execute_result"}]


def is_figure(value: Any) -> bool:
    return hasattr(value, "to_plotly_json")


def digest(data: Any) -> str:
    """Of what a figure shows: by it a test knows a picture that is out of date."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def written(book: Json, tab: Browser) -> None:
    """Puts new outputs into the notebook."""
    for number, (cell, text, value) in enumerate(played(book), 1):
        cell |= {"execution_count": number, "outputs": outputs(number, text, value)}
        if is_figure(value):
            cell["outputs"][-1]["data"] = {PICTURE: picture(value, tab), **cell["outputs"][-1]["data"]}


def picture(figure: Any, tab: Browser) -> str:
    """A figure as PNG in base64."""
    size = f"{{format: 'png', width: {WIDTH}, height: {figure.layout.height or HEIGHT}, scale: 1}}"
    found: str = tab.value(f"Plotly.toImage({figure.to_json()}, {size})")
    return found.partition(",")[2]


def main() -> None:
    from plotly.offline import get_plotlyjs

    with browser() as tab, tempfile.TemporaryDirectory() as folder:
        (page := Path(folder) / "page.html").write_text(f"<script>{get_plotlyjs()}</script>", "utf-8")
        tab.open(page)
        for path in BOOKS:
            written(book := read(path), tab)
            path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
