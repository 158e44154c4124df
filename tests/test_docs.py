"""The pages name only files and modules that exist."""

from __future__ import annotations

import re
from functools import cache, reduce
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_house import ROOT

HISTORY = {"decisions.md"}  # what was true on its day
QUOTES = {
    "validation.md"
}  # made by `simmoe validate`, of sources that name files of other projects; head.md is its own text
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SUFFIX = r"\.(?:py|md|yaml|json|xz)\b(?!\.?\w)"
PATH = re.compile(rf"(?<![\w./@-])\w[\w.-]*(?:/[\w.-]+)*/[\w.-]+{SUFFIX}")
BARE = re.compile(r"`(\w+\.py)`")
MODULE = re.compile(r"(?<![\w./-])simmoe(?:\.[A-Za-z_]\w*)+")


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def file_names() -> set[str]:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return {path.name for folder in folders for path in folder.rglob("*.py")}


def found(name: str) -> bool:
    """Whether a dotted name is a module of simmoe, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            if find_spec(".".join(parts[:end])) is None:
                continue
        except ModuleNotFoundError:  # the part before is a module and no package
            continue
        if end == len(parts):
            return True
        try:
            reduce(getattr, parts[end:], import_module(".".join(parts[:end])))
        except AttributeError:
            return False
        return True
    return False


@pytest.mark.parametrize(
    "page",
    [*(page for page in PAGES if page.name not in HISTORY | QUOTES), ROOT / "sweeps/validation/head.md"],
    ids=ids,
)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    lost = [name for name in PATH.findall(text) if not ((ROOT / name).exists() or (page.parent / name).exists())]
    lost += [name for name in BARE.findall(text) if name not in file_names()]
    assert not lost, f"{ids(page)} names files that are not there: {lost}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=ids)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    lost = [name for name in MODULE.findall(page.read_text("utf-8")) if not found(name)]
    assert not lost, f"{ids(page)} names modules that are not there: {lost}"
