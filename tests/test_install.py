"""Installing: from a clone without symbolic links and in place, what the wheel holds, and what an editor resolves."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import simmoe
from tests.test_house import CONFIG, ROOT

pytestmark = pytest.mark.slow

PIP = (sys.executable, "-m", "pip")
PLAIN = ("-q", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
PLAYED = (
    "run",
    "--hw",
    "a100",
    "--trace",
    "oracle",
    "--budget",
    "25%",
    "--tokens",
    "256",
    "--engine",
    "simpy",
    "--json",
)
WHERE = "import simmoe, simmoe.simulator as s; print(simmoe.__file__, s.__file__, sep='\\n')"


def call(*command: object, cwd: Path, path: Path | None = None) -> str:
    """What a command prints, run in `cwd`, with no module path but `path` from outside."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def needs_history() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a checkout of git")


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed files, links as links, as `git archive` gives them."""
    needs_history()
    copy = tmp_path_factory.mktemp("archived")
    call("git", "-C", ROOT, "archive", "-o", copy / "all.tar", "HEAD", cwd=copy)
    call("tar", "-x", "-f", copy / "all.tar", cwd=copy)
    (copy / "all.tar").unlink()
    return copy


@pytest.fixture(scope="module")
def linkless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone as git makes it where links are not allowed (Windows): each link is a text file that holds its target."""
    needs_history()
    copy = tmp_path_factory.mktemp("linkless") / "simmoe"
    call("git", "clone", "-q", "--shared", "-c", "core.symlinks=false", ROOT, copy, cwd=copy.parent)
    assert (copy / "src/simmoe/simulator").read_text() == "../../simulator"
    return copy


def plays_like_this_checkout(printed: str) -> bool:
    here = simmoe.run("a100", "oracle", budget="25%", tokens=256, engine="simpy")
    return bool(json.loads(printed)["tok_s"] == here.tok_s)


def test_a_clone_without_links_installs_and_plays(linkless: Path, tmp_path: Path) -> None:
    call(*PIP, "install", *PLAIN, "--target", tmp_path / "installed", linkless, cwd=tmp_path)
    found = call(sys.executable, "-c", WHERE, cwd=tmp_path, path=tmp_path / "installed").split()
    assert [Path(file).is_relative_to(tmp_path / "installed") for file in found] == [True, True]
    assert plays_like_this_checkout(
        call(sys.executable, "-m", "simmoe", *PLAYED, cwd=tmp_path, path=tmp_path / "installed")
    )


def test_a_clone_without_links_plays_in_place_from_an_editable_install(linkless: Path, tmp_path: Path) -> None:
    """In a virtual environment of its own, which borrows the packages that the running one has."""
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    paths = {key: call(python, "-c", f"import sysconfig; print(sysconfig.get_path({key!r}))", cwd=tmp_path).strip()
             for key in ("purelib", "scripts")}  # fmt: skip
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(paths["purelib"]) / "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    call(python, "-m", "pip", "install", *PLAIN, "-e", linkless, cwd=tmp_path)
    found = call(python, "-c", WHERE, cwd=tmp_path).split()
    assert found == [str(linkless / "src/simmoe/__init__.py"), str(linkless / "simulator/__init__.py")]
    assert plays_like_this_checkout(call(Path(paths["scripts"]) / "simmoe", *PLAYED, cwd=tmp_path))


def test_the_wheel_holds_the_tracked_files_of_the_mapped_folders(archived: Path, tmp_path: Path) -> None:
    call(*PIP, "wheel", *PLAIN, "-w", tmp_path, archived, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = set()
    for name, folder in CONFIG["tool"]["setuptools"]["package-dir"].items():
        for line in call("git", "-C", ROOT, "ls-tree", "-r", "HEAD", folder, cwd=ROOT).splitlines():
            entry, file = line.split("\t")
            if not entry.startswith("120000"):  # a link from src/simmoe to a root folder
                tracked.add(f"{name.replace('.', '/')}/{Path(file).relative_to(folder)}")
    assert held == tracked


def test_an_editor_resolves_every_import_of_a_plain_checkout(archived: Path, tmp_path: Path) -> None:
    """pyright takes a minute to look through all files, so it looks through one that imports all that they import."""
    pytest.importorskip("pyright", reason="pyright is not installed: pip install 'simmoe[test]'")
    copy = shutil.copytree(archived, tmp_path / "copy", symlinks=True)
    config = copy / "pyproject.toml"
    said = re.search(r"\[tool\.pyright\].*?^include = (\[.*?\])$", config.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert said is not None
    files = [file for folder in json.loads(said[1]) for file in copied(copy / folder)]
    found = {
        ast.unparse(node) for file in files for node in ast.walk(ast.parse(file.read_text("utf-8"))) if is_import(node)
    }
    assert len(files) > 300 and len(found) > 1000 and "from simmoe.simulator.errors import UserError" in found
    found -= {one for one in found if one.startswith("from __future__")}
    (copy / "imports.py").write_text("\n".join([*sorted(found), "import simmoe.no_such_module", ""]), "utf-8")
    config.write_text(config.read_text("utf-8").replace(said[1], '["imports.py"]'), "utf-8")
    words = (sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson")
    told = json.loads(subprocess.run(words, cwd=copy, capture_output=True, text=True, check=False).stdout)
    assert told["summary"]["filesAnalyzed"] == 1
    errors = [one["message"] for one in told["generalDiagnostics"] if one["severity"] == "error"]
    assert len(errors) == 1 and "no_such_module" in errors[0], errors


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def copied(folder: Path) -> Iterator[Path]:
    """The Python files below a folder, behind links too."""
    for where, _, names in os.walk(folder, followlinks=True):
        yield from (Path(where) / name for name in names if name.endswith(".py"))
