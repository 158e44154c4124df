"""What the README and docs/results.md show is what the commands print now, and what docs/validation.md says.

`python -m tests.test_claims` (`make examples`) writes what they and the pages of PAGES show anew; it needs numba and some minutes.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tempfile
from pathlib import Path
from unittest import mock

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.simulator.time import compile as compiled
from tests.test_house import ROOT

README, RESULTS = ROOT / "README.md", ROOT / "docs" / "results.md"
PAGES = tuple(
    ROOT / "docs" / f"{name}.md"
    for name in ("sweeps", "spaces", "compare", "require", "sensitivity", "tour", "speculation")
)
FILE = re.compile(r"^```yaml\n# (\w+\.yaml)\n(.*?)^```$", re.M | re.S)
BLOCK = re.compile(r"^```text\n(\$ simmoe [^\n]*\n)?(.*?)^```$", re.M | re.S)
INSTALL = re.compile(r"^python3 -m venv .* && \.venv/bin/(simmoe run .*)$", re.M)
ERRORS = re.compile(
    r"(\d+) predictions in \d+ cases, none of them fitted: mean \|error\| ([\d.]+)% .* (\d+ of \d+) cases reach"
)
WHOLE_TRACES = pytest.mark.skipif(
    compiled.missing(), reason="plays whole traces: needs numba (pip install 'simmoe[fast]')"
)


def printed(command: str, page: str = "") -> list[str]:
    """The lines that a command prints, started in a folder of its own, in which the files of the page are."""
    out = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(out):
        for name, content in FILE.findall(page):
            Path(name).write_text(content, "utf-8")
        assert main(shlex.split(command)[1:]) == 0
    return [line.rstrip() for line in out.getvalue().splitlines()]


def readme(text: str) -> str:
    """The README with what its commands print (the first installs no numba) and with the figures of validation.md."""
    with mock.patch.object(compiled, "missing", lambda: True):
        lines = printed(INSTALL.search(text)[1])
    text = BLOCK.sub(lambda _: "\n".join(["```text", *lines, "```"]), text, count=1)
    text = re.sub(r"^```text\n\$ (simmoe .*)\n((?:.*\n)*?)```$", _shown, text, flags=re.M)
    page = " ".join((ROOT / "docs" / "validation.md").read_text("utf-8").split())
    rows, error, reached = ERRORS.search(page).groups()
    text = re.sub(r"Over \d+ predictions", f"Over {rows} predictions", text)
    text = re.sub(r"error is [\d.]+ %; \d+ of \d+ cases", f"error is {error} %; {reached} cases", text)
    return text


def _shown(block: re.Match[str]) -> str:
    """A block that ends with … shows the first lines only."""
    lines, shown = printed(block[1]), block[2].splitlines()
    cut = shown[-1:] == ["…"]
    return "\n".join(["```text", f"$ {block[1]}", *(lines[: len(shown) - 1] if cut else lines), *["…"] * cut, "```"])


def blocks(text: str) -> str:
    """A page with each text block as its command prints it: the block's first line, or else the last one named before it.

    A block that ends with … shows the first lines only.
    """

    def anew(block: re.Match[str]) -> str:
        lines, head = block[2].splitlines(), block[1] or ""
        command = head.removeprefix("$ ") or re.findall(r"`(simmoe [^`]+)`", text[: block.start()])[-1]
        if lines:
            cut = lines[-1] == "…"
            now = printed(command, text)
            lines = [*now[: len(lines) - 1], "…"] if cut else now
        return f"```text\n{head}" + "".join(f"{line}\n" for line in lines) + "```"

    return BLOCK.sub(anew, text)


def routing(text: str) -> str:
    """docs/results.md with the rows of its table of two routers on two machines."""
    runs = [simmoe.ladder(hw, trace).runs for hw in ("a100", "jetson_orin") for trace in ("oracle", "switch")]
    rows = []
    for eighths, (a, b, c, d) in enumerate(zip(*runs), start=1):
        rates = f"{a.decode.hit_rate:.1%} | {b.decode.hit_rate:.1%}"
        speeds = " | ".join(f"{x.tok_s:,.1f} | {y.tok_s:,.1f} | {x.tok_s / y.tok_s:.2f}" for x, y in ((a, b), (c, d)))
        rows.append(f"| {12.5 * eighths:g} % | {rates} | {speeds} |\n")
    return re.sub(r"^(\| experts resident .*\n.*\n)(\|.*\n)+", lambda found: found[1] + "".join(rows), text, flags=re.M)


@pytest.mark.slow
def test_the_readme_shows_what_its_command_prints_and_the_figures_of_validation() -> None:
    text = README.read_text("utf-8")
    assert readme(text) == text, "make examples writes it anew"


@pytest.mark.slow
@WHOLE_TRACES
def test_the_table_of_routers_is_what_ladders_give() -> None:
    text = RESULTS.read_text("utf-8")
    assert routing(text) == text, "make examples writes it anew"


@pytest.mark.slow
@WHOLE_TRACES
@pytest.mark.parametrize("page", [RESULTS, *PAGES], ids=lambda page: page.stem)
def test_the_results_are_what_the_commands_print(page: Path) -> None:
    text = page.read_text("utf-8")
    assert blocks(text) == text, "make examples writes it anew"


@pytest.mark.slow
@WHOLE_TRACES
@pytest.mark.parametrize("hw", ["a100", "jetson_orin"])
def test_oracle_is_faster_than_switch_until_nearly_everything_is_resident(hw: str) -> None:
    oracle, switch = (simmoe.ladder(hw, trace).runs for trace in ("oracle", "switch"))
    for rung, (one, other) in enumerate(zip(oracle, switch), start=1):
        assert one.tok_s > (other.tok_s if rung <= 6 else 0.99 * other.tok_s)


def test_both_traces_play_the_same_text() -> None:
    oracle, switch = simmoe.load_trace("oracle"), simmoe.load_trace("switch")
    assert oracle.meta["text_tokens"] == switch.meta["text_tokens"]
    for name in ("pass_ptr", "phase", "sequence", "position", "layer_index"):
        assert (getattr(oracle, name) == getattr(switch, name)).all()
    assert (oracle.n_layers, oracle.n_experts, oracle.meta["router"]) == (9, 24, "oracle-ema")


def write(path: Path, *changes) -> None:
    text = path.read_text("utf-8")
    for change in changes:
        text = change(text)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    write(README, readme)
    write(RESULTS, routing, blocks)
    for page in PAGES:
        write(page, blocks)
