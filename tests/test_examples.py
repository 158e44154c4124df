"""The examples print what is recorded beside them; the policy files of docs/extending play, in every engine alike.

`python -m tests.test_examples` (or `make examples`) writes the recorded outputs anew.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.simulator.time import compile as compiled
from tests.test_house import ROOT

FOLDER = ROOT / "examples"
PAGES = sorted(
    path
    for path in (ROOT / "docs" / "extending").glob("*.md")
    if re.search(r"```(python\n# |yaml\n# my_engine)", path.read_text("utf-8"))
    and path.stem not in ("metric", "importer")  # no policies
)
SCRIPTS = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.sh"))
EXAMPLES = sorted(p for p in FOLDER.iterdir() if p.suffix in (".sh", ".py") and f"./{p.name}" not in SCRIPTS)
ENGINES = ["plain", "simpy"] + ["fast"] * (not compiled.missing())
BUNDLED = {  # what a policy of its kind is compared with
    "eviction": "lru", "prefetch": "next_layer", "miss": "fetch", "placement": "n_cpu_moe=4", "timeline": "overlapped",
    "schedule": "continuous", "schedule_of_rows": "vllm", "runtime": "llama_cpp_cuda", "system": "mixtral_offloading"}  # fmt: skip
WHOLE = re.compile(r"^```(?:python|yaml)\n# (\w+\.(?:py|yaml))\n(.*?)^```$", re.M | re.S)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)


def printed(example: Path) -> str:
    """What an example prints, started as a reader would start it: `bash FILE` or `python FILE` in its folder."""
    here, tested = Path(sys.executable).parent, Path(simmoe.__file__).parents[1]
    path = {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(tested)}
    environment = {**os.environ, **path, "COLUMNS": "80", "NO_COLOR": "1"}
    starter = [shutil.which("bash") or "bash"] if example.suffix == ".sh" else [sys.executable]
    done = subprocess.run(
        [*starter, example.name], cwd=example.parent, env=environment, capture_output=True, text=True, check=True
    )
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_prints_what_is_recorded(example: Path) -> None:
    assert printed(example) == example.with_suffix(".out").read_text("utf-8"), "make examples writes the outputs anew"


def test_every_example_is_recorded_short_and_says_what_it_shows() -> None:
    assert set(FOLDER.glob("*.out")) == {p.with_suffix(".out") for p in EXAMPLES} and len(EXAMPLES) == 6
    for path in FOLDER.iterdir():
        if path.suffix not in (".out", ".ipynb"):
            lines = path.read_text("utf-8").splitlines()
            assert len(lines) <= 30 and lines[0].startswith(("# ", '"""')), path.name


def test_every_kind_of_policy_has_a_page_of_at_most_sixty_lines() -> None:
    pages = {path.stem: path.read_text("utf-8") for path in (ROOT / "docs" / "extending").glob("*.md")}
    kinds = {path.name for path in (ROOT / "policies").iterdir() if (path / "__init__.py").exists()}
    assert kinds - {"flags"} <= pages.keys()  # flags: of engines, no policy
    assert {name: len(text.splitlines()) for name, text in pages.items() if len(text.splitlines()) > 60} == {}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_whole_file_of_a_page_plays_and_changes_the_run(page: Path, tmp_path, monkeypatch, capsys) -> None:
    text = page.read_text("utf-8")
    for name, source in WHOLE.findall(text):
        assert len(source.splitlines()) <= 40
        (tmp_path / name).write_text(source, "utf-8")
    monkeypatch.chdir(tmp_path)
    (line,) = COMMANDS.search(text)[1].strip().splitlines()
    words = shlex.split(line)
    assert words.pop(0) == "simmoe" and words[-1].partition("=")[0] == f"./{WHOLE.search(text)[1]}"

    def played(*arguments: str) -> dict:
        assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    runs = [played(*words, "--engine", engine) for engine in ENGINES]
    assert all({**run, "engine": ""} == {**runs[0], "engine": ""} for run in runs)
    assert runs[0]["tok_s"] != played(*words[:-1], BUNDLED[page.stem])["tok_s"], "the policy changes nothing"


if __name__ == "__main__":
    for path in EXAMPLES:
        path.with_suffix(".out").write_text(printed(path), "utf-8")
