"""The pages name only files, modules, pages, sections and options that exist, and are short."""

from __future__ import annotations

import argparse
import inspect
import re
from functools import cache, reduce
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from simmoe.cli.main import parser
from simmoe.policies.flags import ENGINES
from simmoe.simulator.decide import hooks
from simmoe.simulator.lower import emitter
from tests.test_house import FLOORS, ROOT

HISTORY = {"decisions.md"}  # what was true on its day
QUOTES = {
    "validation.md"
}  # made by `simmoe validate`, of sources that name files of other projects; head.md is its own text
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SUFFIX = r"\.(?:py|md|yaml|json|xz)\b(?!\.?\w)"
PATH = re.compile(rf"(?<![\w./@-])\w[\w.-]*(?:/[\w.-]+)*/[\w.-]+{SUFFIX}")
BARE = re.compile(r"`(\w+\.py)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"simmoe ([a-z]+(?:-[a-z]+)*)\b([^`\n]*)")
LINES = {"README.md": 140, "architecture.md": 80}  # of a page; else 250
LOGS = {"decisions.md", "validation.md"}  # as long as they must be
OTHERS = {
    "--bytes-per-s",
    "--d-ff",
    "--d-model",
    "--policies",
    "--direct",
    "--enable-return-routed-experts",
}  # of other programs
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


def anchors(page: Path) -> set[str]:
    """What a link behind # may name: each heading as GitHub writes it."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    titles = [re.sub(r"\]\([^)]*\)", "", title) for title in re.findall(r"^#+ (.*)$", text, re.M)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[tuple[Path, str]]:
    """(file, section or "") of each link of a page that stays in the project."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    parts = [link.partition("#") for link in LINK.findall(text) if "://" not in link]
    return [((page.parent / name).resolve() if name else page, section) for name, _, section in parts]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = [f"{target.name}#{section}" for target, section in links(page) if not target.exists()]
    lost += [f"{target.name}#{section}" for target, section in links(page)
             if section and target.exists() and section not in anchors(target)]  # fmt: skip
    assert not lost, f"{ids(page)} links to what is not there: {lost}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, new = set(), {ROOT / "README.md"}
    while new:
        seen |= new
        new = {target for page in new if page.suffix == ".md" for target, _ in links(page)} - seen
    assert not (lost := {ids(page) for page in PAGES} - {ids(page) for page in seen if page.is_file()}), lost


def test_pages_are_short() -> None:
    long = {ids(p): n for p in PAGES if (n := len(p.read_text("utf-8").splitlines())) > LINES.get(p.name, 250)}
    assert not (long := {name: n for name, n in long.items() if Path(name).name not in LOGS}), long


def options() -> dict[str, set[str]]:
    """The options of each command, those of its sub-commands included."""

    def of(one: argparse.ArgumentParser) -> set[str]:
        found = {name for action in one._actions for name in action.option_strings}
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction):
                found |= {name for sub in action.choices.values() for name in of(sub)}
        return found

    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {name: of(one) for name, one in commands.choices.items()}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY | QUOTES], ids=ids)
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    known, text = options(), page.read_text("utf-8")
    shown = "\n".join([*re.findall(r"^```.*?^```$", text, re.M | re.S), *re.findall(r"`([^`\n]+)`", text)])
    lost = []
    for name, rest in COMMAND.findall(shown):
        if name not in known:
            lost.append(f"simmoe {name}")
        lost += [
            f"simmoe {name} {one}"
            for one in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)
            if one not in known.get(name, {one})
        ]
    of_engines = (table.known for table in ENGINES.values())
    alone = set(re.findall(r"`(--[a-z][a-z-]*)", text)) - set().union(*known.values(), *of_engines)
    assert not lost + sorted(alone - OTHERS), f"{ids(page)} shows {lost + sorted(alone - OTHERS)}, which no command has"


def first_cells(page: str) -> list[list[str]]:
    """What stands in backticks in the first cell of each row of a page's tables."""
    rows = re.findall(r"^\| ([^|]*) \|", (ROOT / "docs" / page).read_text("utf-8"), re.M)
    return [names for row in rows if (names := re.findall(r"`([^`]+)`", row))]


def test_the_architecture_names_the_floors_of_the_house() -> None:
    assert [
        tuple(row)
        for row in first_cells("architecture.md")
        if "/" in row[0] or row[0] in ("simulator", "policies", "sweeps")
    ] == list(FLOORS)


def test_the_pages_on_policies_name_what_the_machine_calls_and_offers() -> None:
    wanted = {f"{name}({', '.join(inspect.signature(one).parameters)})" for name, one in functions(hooks).items()}
    assert {row[0] for row in first_cells("extending/eviction.md") if row[0][:2] != "x."} == wanted
    offered = {name for row in first_cells("extending/timeline.md") for name in row if name.startswith("op_")}
    assert offered == functions(emitter).keys() - {"op_gap"}  # of gaps a timeline has no say


def functions(module: ModuleType) -> dict[str, FunctionType]:
    return {
        name: one
        for name, one in vars(module).items()
        if isinstance(one, FunctionType) and one.__module__ == module.__name__
    }
