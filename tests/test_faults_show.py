"""What a person sees: faults of 0.1.0 in tables, mark-up, messages and advice, through the command line and the public names only."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.cli.main import main

ESC, RTL = "\x1b[31m", "\u202e"  # colours what follows; turns the direction of what follows
ONE = ["run", "--hw", "rtx_3090", "--trace", "oracle-2x4", "--tokens", "300", "--budget", "25%"]
LADDER = ["run", "--hw", "rtx_3060", "--trace", "oracle-2x4", "--tokens", "300"]
COMMANDS = {
    "run": ONE,
    "ladder": LADDER,
    "compare": ["compare", "--hw", "rtx_3090", "--hw", "rtx_4090", "--hw", "jetson_orin_nano_super", "--trace", "oracle-2x4",
                "--tokens", "300"],
    "sweep": ["sweep", "space.yaml", "--trials", "6", "--sampler", "random"],
    "hw list": ["hw", "list"],
    "hw diff": ["hw", "diff", "jetson_orin_nano_super", "rtx_4090_nvme"],
    "hw show": ["hw", "show", "rtx_4090_nvme"],
    "validate": ["validate", "kernel_gemv_a40", "v6_ktransformers_uniform", "v7_n_cpu_moe_rocm"],
    "zoo list": ["zoo", "list"],
    "locality": ["locality", "oracle-2x4", "switch-2x4"],
}  # fmt: skip
SPEEDS = ("run", "ladder", "compare", "sweep")  # whose tables have a column tok/s
WIDTHS = (80, 100, 120, 150)
PLAY = """import fcntl, json, struct, sys, termios
from simmoe.cli.main import main
commands, widths = json.loads(sys.argv[1])
for width in widths or [None]:
    if width:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    for command in commands:
        assert main(command) == 0
        print(chr(30), flush=True)
"""


SPACE = {
    "schema": 1, "name": "small", "hw": ["a100", "rtx_4090_nvme", "jetson_orin_nano_super"], "trace": ["oracle-2x4", "switch-2x4"],
    "eviction": ["lru", "lfu"], "budget": ["25%", "50%", "100%"], "tokens": 300,
    "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}  # fmt: skip


def shown(commands: list[list[str]], folder: Path, widths: tuple[int, ...] = ()) -> list[list[str]]:
    """What each command prints, started in that folder, on a terminal of each width; without widths: into a pipe."""
    keep = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "FORCE_COLOR")}
    script = [sys.executable, "-c", PLAY, json.dumps([commands, widths])]
    options = {
        "stderr": subprocess.DEVNULL,
        "env": {**keep, "TERM": "xterm-256color", "PYTHONPATH": str(Path(simmoe.__file__).parent.parent)},
        "cwd": folder,
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    if widths:
        mine, its = pty.openpty()
        child = subprocess.Popen(script, stdin=its, stdout=its, **options)
        os.close(its)
        text = b"".join(iter(lambda: read(mine), b"")).decode()
        os.close(mine)
        assert child.wait() == 0, text[-1000:]
    else:
        text = subprocess.run(script, stdout=subprocess.PIPE, check=True, **options).stdout.decode()
    each = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", text).replace("\r", "").split("\x1e\n")[:-1]
    return [each[i : i + len(commands)] for i in range(0, len(each), len(commands))]


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return dict(zip(COMMANDS, shown(list(COMMANDS.values()), tmp_path_factory.mktemp("piped"))[0], strict=True))


@pytest.fixture(scope="module")
def terminals(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, str]]:
    found = shown(list(COMMANDS.values()), tmp_path_factory.mktemp("terminals"), WIDTHS)
    return {width: dict(zip(COMMANDS, each, strict=True)) for width, each in zip(WIDTHS, found, strict=True)}


def numbers(text: str) -> set[str]:
    """Quantities in the rows of tables: lines of three or more cells."""
    rows = [cells for line in text.splitlines() if len(cells := re.split(r"  +", line.strip())) > 2]
    return {cell for cells in rows for cell in cells if re.fullmatch(r"[\d,.]+( [a-zA-Z/]+)?|[\d.]+%", cell)}


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line of a command that ends with code 2."""
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("simmoe: ") and error.count("\n") == 1
    return error


# --- 25: tables ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_fault_25_a_table_fits_its_terminal_and_cuts_no_number(
    width: int, terminals: dict[int, dict[str, str]], piped: dict[str, str]
) -> None:
    for name, text in terminals[width].items():
        for line in text.splitlines():
            assert len(line) <= width, (name, line)
            assert not re.search(r"[0-9]…", line), (name, line)
        assert numbers(text) <= numbers(piped[name]), (name, numbers(text) - numbers(piped[name]))
        assert name not in SPEEDS or re.search(r"\btok/s( |$)", text, re.M), name
    speed = f"{simmoe.run('rtx_3090', 'oracle-2x4', tokens=300, budget='25%').tok_s:,.0f}"
    assert re.search(rf"^25.0%.* {speed}( |$)", terminals[width]["run"], re.M)


@pytest.mark.slow
def test_fault_25_columns_that_leave_are_named(terminals: dict[int, dict[str, str]], piped: dict[str, str]) -> None:
    narrow = " ".join(terminals[80]["run"].split())
    table, _, named = narrow.partition("Not shown at 80 columns: ")
    gone = named.partition(".")[0].split(", ")
    assert {"p99", "p95"} <= set(gone) and "tok/s" not in gone
    for name in gone:
        assert name in piped["run"] and name not in table


EXPLAINED = {  # column -> how its explanation begins
    "TTFT first": "TTFT: time to", "TTFT later": "later: the median", "loaded/token": "loaded/token: bytes", "J/token": "J/token: est",
    "waiting": "waiting: share", "hit rate": "hit rate: share", "ratio": "ratio: tok/s", "range": "range: tok/s",
    "measured": "measured: share", "TPOT p95": "TPOT p95: a percentile",
    "prompt tok/s": "prompt tok/s: tokens", "power": "power: mean", "all of it": "all of it: whether",
}  # fmt: skip
TABLES = {
    **{name: COMMANDS[name] for name in ("ladder", "compare", "sweep", "hw list")},
    "require": ["require", "--model", "qwen3-30b-a3b", "--format", "Q4_K_M", "--hw", "rtx_4090", "--hw", "a100", "--tok-s", "40"],
}  # fmt: skip


@pytest.mark.slow
def test_fault_25_what_is_explained_below_a_table_can_be_read_in_it(tmp_path: Path) -> None:
    narrow, whole = (dict(zip(TABLES, shown([*TABLES.values()], tmp_path, at)[0], strict=True)) for at in ((80,), ()))
    gone = {
        name: {
            one
            for part in re.findall(r"Not shown at 80 columns: (.*?)\.", " ".join(text.split()))
            for one in part.split(", ")
        }
        for name, text in narrow.items()
    }
    left = {(name, column) for name, columns in gone.items() for column in columns & EXPLAINED.keys()}
    assert {("ladder", "loaded/token"), ("compare", "TPOT p95"), ("hw list", "measured")} <= left, left
    for name, text in narrow.items():
        for column, begins in EXPLAINED.items():
            piped = begins in " ".join(whole[name].split())
            assert (begins in " ".join(text.split())) == (piped and column not in gone[name]), (name, column)
    ladder = {"TPOT p50", "p95", "p99"} - gone["ladder"]
    assert f"{', '.join(one for one in ('TPOT p50', 'p95', 'p99') if one in ladder)}: percentiles" in " ".join(
        narrow["ladder"].split()
    )


@pytest.mark.slow
def test_fault_25_a_piped_row_is_one_line_of_as_many_cells_as_the_heading(piped: dict[str, str]) -> None:
    assert "Not shown" not in "".join(piped.values())
    lines = piped["compare"].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("machine"))
    head = re.split(r"  +", lines[start].strip())
    for line in lines[start + 1 : start + 4]:
        assert len(re.split(r"  +", line.strip())) == len(head), line


@pytest.mark.slow
def test_fault_25_a_long_name_goes_below_the_table(tmp_path: Path) -> None:
    """A path stands in a column of compare: on a narrow terminal the table has a mark in its place."""
    long = tmp_path / f"{'a-trace-with-a-long-name-' * 3}.npz"
    simmoe.save_trace(simmoe.load_trace("oracle-2x4"), long)
    commands = [["compare", "--hw", "a100", "--trace", str(long), "--tokens", "300"]]
    for width in (80, None):
        text = shown(commands, tmp_path, (width,) if width else ())[0][0]
        row = next(line for line in text.splitlines() if line.startswith("a100"))
        assert width is None or re.search("^machine .* memory .* tok/s .* hit rate", text, re.M)  # before columns leave
        assert ("(1)" in row) == (width == 80) and (str(long) in row) == (width is None)
        assert width is None or max(map(len, text.splitlines())) <= 80
        assert str(long) in text.replace("\n", "")


# --- 26: nothing is decoded -------------------------------------------------------------------------------------------


def first_rows(meta: dict[str, str]) -> simmoe.Trace:
    """The first passes of a bundled trace, which say of themselves what `meta` says."""
    trace = simmoe.load_trace("oracle-2x4")
    keep = {name: trace.meta[name] for name in ("schema_version", "n_experts", "top_k", "model")}
    return part(trace, trace.pass_ptr[:201], trace.phase[:200], {**keep, **meta})


def part(trace: simmoe.Trace, pass_ptr: Any, phase: Any, meta: dict[str, Any]) -> simmoe.Trace:
    """The first rows of a trace, in these passes."""
    rows = slice(0, int(pass_ptr[-1]))
    return dataclasses.replace(
        trace, expert_ids=trace.expert_ids[rows], sequence=trace.sequence[rows].copy(), position=trace.position[rows].copy(),
        pass_ptr=np.array(pass_ptr, np.int64), phase=np.array(phase, np.int8), meta=meta, gate_weights=None, predict_lead=None,
        predicted_ids=None,
    )  # fmt: skip


def prompts(folder: Path) -> str:
    """A trace that reads prompts and decodes nothing."""
    trace = first_rows({"router": "none"})
    simmoe.save_trace(part(trace, trace.pass_ptr[:2], [0], dict(trace.meta)), folder / "prompts.npz")
    return str(folder / "prompts.npz")


def test_fault_26_a_ladder_without_a_decode_pass_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = prompts(tmp_path)
    for options in ([], ["--budget", "50%"]):
        text = " ".join(output(capsys, "run", "--hw", "a100", "--trace", trace, *options).split())
        assert "No decode pass is played (all " in text and "there is no tok/s" in text
        assert "no single change" not in text and "gives" not in text
        found = json.loads(output(capsys, "run", "--hw", "a100", "--trace", trace, *options, "--json"))
        one = found if options else found["rungs"][-1]["run"]
        assert one["tok_s"] is None and one["ttft_s"]["cold" if "cold" in one["ttft_s"] else "first"] > 0
    assert " – " in output(capsys, "compare", "--hw", "a100", "--hw", "h100", "--trace", trace)


def test_fault_26_a_sweep_without_a_decode_pass_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    space = {
        "schema": 1, "name": "prompts", "hw": ["a100"], "trace": [prompts(tmp_path)], "eviction": ["lru"], "budget": ["50%", "100%"],
        "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
    }  # fmt: skip
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(space))
    code = main(["sweep", str(file), "--trials", "2", "--sampler", "grid"])
    said = capsys.readouterr()
    assert (code == 0 and "cannot run" in said.out) or (code == 2 and said.err.count("\n") == 1), said
    assert "decode" in said.out + said.err


# --- 28: mark-up and control characters -------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[str, str]:
    """A profile and a trace whose texts are mark-up and steer terminals."""
    profile = tmp_path / "box.yaml"
    title = f"RTX [lab] box [/rack] [bold] {ESC}red{RTL}"
    profile.write_text(yaml.safe_dump({"schema": 1, "name": "box", "extends": "rtx_4090", "title": title}))
    trace = first_rows({"router": f"[/bold]{ESC}{RTL}", "text": f"[/x]{ESC}"})
    simmoe.save_trace(trace, tmp_path / "t[red]x.npz")
    return str(profile), str(tmp_path / "t[red]x.npz")


def harmless(text: str) -> str:
    assert "\x1b" not in text and RTL not in text
    return text


@pytest.mark.slow
def test_fault_28_a_title_or_a_router_is_text_and_no_mark_up(
    capsys: pytest.CaptureFixture[str], hostile: tuple[str, str]
) -> None:
    hw, trace = hostile
    for options in (["--budget", "50%"], []):
        text = harmless(output(capsys, "run", "--hw", hw, "--trace", trace, *options))
        assert "RTX [lab] box [/rack] [bold]" in text and "router [/bold]" in text and r"\x1b[31mred\u202e" in text
    text = harmless(output(capsys, "compare", "--hw", hw, "--hw", "a100", "--trace", trace))
    assert "[lab]" in text and "[/bold]" in text and "t[red]x.npz" in text


def test_fault_28_every_command_that_shows_a_file(
    capsys: pytest.CaptureFixture[str], hostile: tuple[str, str], tmp_path: Path
) -> None:
    hw, trace = hostile
    assert "[lab] box [/rack]" in harmless(output(capsys, "hw", "show", hw))
    assert "[lab]" not in harmless(output(capsys, "hw", "check", hw))
    assert "title" not in harmless(output(capsys, "hw", "diff", hw, "a100"))
    assert "[/bold]" in harmless(output(capsys, "trace", "info", trace))
    assert "t[red]x" in harmless(output(capsys, "trace", "check", trace))
    assert "t[red]x" in harmless(output(capsys, "locality", trace))
    space = {
        "schema": 1, "name": f"[/s]{ESC}", "hw": [hw], "trace": [trace], "eviction": ["lru"], "budget": ["50%"],
        "objectives": {"tok_s": "maximize"},
    }  # fmt: skip
    (tmp_path / "[space].yaml").write_text(yaml.safe_dump(space))
    text = harmless(output(capsys, "sweep", str(tmp_path / "[space].yaml"), "--trials", "1", "--sampler", "grid"))
    assert "[/s]" in text and "t[red]x.npz" in text


def test_fault_28_error_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = f"[/x]{ESC}{RTL}\nsimmoe: all is well"
    for arguments in (["run", "--hw", name, "--trace", "oracle"], ["run", "--hw", "a100", "--trace", name], ["hw", "show", name],
                      ["sweep", name], ["locality", name], ["run", f"--{name}"]):  # fmt: skip
        assert "[/x]" in harmless(refused(capsys, *arguments))
    (tmp_path / f"p{ESC}.yaml").write_text("schema: 1\nname: x")
    harmless(refused(capsys, "hw", "check", str(tmp_path / f"p{ESC}.yaml")))


def test_fault_28_the_page_of_locality(
    hostile: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("plotly")
    page, other = tmp_path / "page.html", tmp_path / f"<b>{RTL}{ESC}.npz"
    Path(hostile[1]).rename(other)
    output(capsys, "locality", str(other), "--html", str(page))
    text = page.read_text("utf-8")
    assert "&lt;b&gt;" in text and "<b>" not in text
    assert RTL not in text and ESC not in text.partition("<script>")[0]


# --- 29: messages -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fault_29_a_trace_without_a_router_has_no_question_mark(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trace = first_rows({})
    simmoe.save_trace(trace, tmp_path / "plain.npz")
    for command in (["run", "--hw", "a100", "--budget", "50%"], ["run", "--hw", "a100"], ["compare", "--hw", "a100"]):
        assert "router" not in output(capsys, *command, "--trace", str(tmp_path / "plain.npz")).partition("A token")[0]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "near", "listing"), [
    (["run", "--hw", "rtx_3091", "--trace", "oracle"], "rtx_3090", ["hw", "list"]),
    (["run", "--hw", "a100", "--trace", "oracl"], "oracle", ["zoo", "list"]),
    (["run", "--hw", "a100", "--trace", "oracle", "--model", "mixtral"], "mixtral-8x7b", ["model", "list"]),
])  # fmt: skip
def test_fault_29_an_unknown_name_shows_the_nearest_three(
    arguments: list[str], near: str, listing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, *arguments)
    three = re.search(r"nearest: ([^;]*);", line)[1].split(", ")
    assert len(three) == 3 and near in three and len(line) < 300
    assert f"`simmoe {' '.join(listing)}` lists all" in line
    assert near in output(capsys, *listing)


def test_fault_29_an_unknown_option_or_command_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean --budget?" in refused(capsys, "run", "--bugdet", "3")
    assert "did you mean --version?" in refused(capsys, "--versoin")
    assert "did you mean --router?" in refused(capsys, "trace", "make", "--ruoter", "oracle")
    assert "did you mean 'compare'?" in refused(capsys, "compere", "--hw", "a100")
    assert "did you mean 'list'?" in refused(capsys, "hw", "lst")


@pytest.mark.parametrize(("figure", "bits", "right"), [
    ("link.bandwidth", "32Gbps", "'4 GB/s', or '32 GB/s'"), ("link.bandwidth", "32 Gbit/s", "'4 GB/s', or '32 GB/s'"),
    ("link.bandwidth", "32gb/s", "'4 GB/s', or '32 GB/s'"), ("tiers.gddr.capacity", "64Gb", "'8 GB', or '64 GB'"),
])  # fmt: skip
def test_fault_29_bits_are_never_taken_for_bytes(
    figure: str, bits: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "run", "--hw", "rtx_4090", "--trace", "oracle", "--set", f"{figure}={bits}")
    equal = "8 Gbps = 1 GB/s" if "bandwidth" in figure else "8 Gbit = 1 GB"
    assert equal in line and right in line


def test_fault_29_bits_in_sizes_and_profiles(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for option in ("--budget", "--memory", "--page-cache"):
        assert "8 Gbit = 1 GB" in refused(capsys, "run", "--hw", "rtx_4090", "--trace", "oracle", option, "16Gb")
    link = {"bandwidth": {"value": "200 Gbps", "kind": "nominal", "source": "a label"}}
    (tmp_path / "b.yaml").write_text(
        yaml.safe_dump({"schema": 1, "name": "b", "title": "b", "extends": "rtx_4090", "link": link})
    )
    assert "8 Gbps = 1 GB/s; write '25 GB/s'" in refused(capsys, "hw", "check", str(tmp_path / "b.yaml"))


def test_fault_29_a_session_shows_names_and_short_lines() -> None:
    assert {"run", "ladder", "compare", "sweep", "load_trace", "Run", "Hardware"} <= set(dir(simmoe))
    trace, hw, model = (
        simmoe.load_trace("oracle-2x4"),
        simmoe.load_hardware("a100"),
        simmoe.load_model("oracle-moe-2x4"),
    )
    run, ladder = simmoe.run(hw, trace, tokens=300, budget="50%"), simmoe.ladder(hw, trace, tokens=300)
    for thing in (trace, hw, model, ladder.rungs[0], run.workload):
        assert len(repr(thing)) < 200 and "\n" not in repr(thing) and "array" not in repr(thing), repr(thing)
    for thing in (run, ladder, simmoe.replay(trace, [1, 1], 8), simmoe.compare([hw], [trace], tokens=300)):  # tables
        assert len(repr(thing).splitlines()) < 20 and "array" not in repr(thing), repr(thing)
    assert "a100" in repr(run) and f"{run.tok_s:.4g}".rstrip("0") in repr(run).replace(",", "")


def test_fault_29_the_help_of_a_function_speaks_python() -> None:
    for function in (simmoe.run, simmoe.ladder, simmoe.compare):
        assert not re.search(r"--[a-z]|may be given again|see above", function.__doc__), function


# --- 9: advice ----------------------------------------------------------------------------------------------------------

EXAMPLES = max(20 * int(os.environ.get("SIMMOE_EXAMPLES_PERCENT", settings().max_examples)) // 100, 10)
GIVES = re.compile(
    r"(?:\(((?:--[^()]+))\)|(--[^(,:;]+?)) gives [+-][\d,]+% \(([\d,.e+-]+) tok/s(?:, another machine: this one cannot do that)?\)"
)


def advised(text: str) -> list[tuple[list[str], float]]:
    """(options, promised tok/s) of each change that the text says gives something."""
    text = " ".join(text.split())
    found = [(shlex.split(m[1] or m[2]), float(m[3].replace(",", ""))) for m in GIVES.finditer(text)]
    assert len(found) == len(re.findall(r" gives [+-][\d,]+%", text)), text
    return found


def applied(command: list[str], options: list[str]) -> list[str]:
    """The command with the options; a size of one's own takes the place of the command's."""
    made = list(command)
    for name in ("--budget", "--memory"):
        if name in made and "--budget" in options:
            at = made.index(name)
            del made[at : at + 2]
    if "--set" in options:
        new = {options[i + 1].partition("=")[0] for i, word in enumerate(options) if word == "--set"}
        for at in reversed(
            [i for i, word in enumerate(made) if word == "--set" and made[i + 1].partition("=")[0] in new]
        ):
            del made[at : at + 2]
    return [*made, *options]


def by_hand(ladder: str) -> list[str]:
    """What a ladder says that a run by hand needs too."""
    said = re.search(r"By hand: with (.+?) too, as played here", ladder, re.DOTALL)
    return shlex.split(said[1]) if said else []


def printed(*arguments: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(list(arguments)) == 0
    return out.getvalue()


def speed(command: list[str]) -> float:
    return float(json.loads(printed(*command, "--json"))["tok_s"])


runs = st.fixed_dictionaries({
    "--hw": st.sampled_from(["rtx_3060", "rtx_4090", "rtx_4090_nvme", "jetson_orin", "h100", "strix_halo"]),
    "--trace": st.sampled_from(["oracle-2x4", "switch-2x4", "oracle-4x8-k2", "switch-4x16-k4"]),
    "--tokens": st.sampled_from(["300", "600"]),
    "--budget": st.sampled_from(["13%", "25%", "60%", "100%", "100MB"]),
    "--eviction": st.sampled_from(["lru", "lfu", "belady"]),
    "--timeline": st.sampled_from(["overlapped", "serial"]),
})  # fmt: skip
EXTRAS = st.sampled_from(
    [[], ["--set", "link.latency=20us"], ["--miss", "cpu"], ["--batch", "4"], ["--placement", "n_cpu_moe=1"]]
)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None)
@given(runs, EXTRAS)
def test_fault_09_every_change_that_is_advised_gives_by_hand_what_was_promised(
    options: dict[str, str], extra: list[str]
) -> None:
    command = ["run", *(word for pair in options.items() for word in pair), *extra]
    if main([*command, "--json"]) != 0:  # such a machine has no CPU
        return
    text = printed(*command)
    found = advised(text)
    assert (
        found or "of the changes tried none gives 1 %: " in " ".join(text.split()) or "no change could be tried" in text
    )
    for changes, promised in found:
        assert speed(applied(command, changes)) == pytest.approx(promised, rel=0.01), (command, changes)


@pytest.mark.slow
def test_fault_09_a_ladder_gives_by_hand_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    for hw, more in (("rtx_3060", ["--set", "tiers.gddr.capacity=3GB"]), ("a100", [])):
        command = ["run", "--hw", hw, "--trace", "oracle", "--tokens", "600", *more]
        text = output(capsys, *command)
        for changes, promised in advised(text):
            beside = re.search(r"beside (--budget \S+):", text)
            options = [
                *changes,
                *(shlex.split(beside[1]) if beside and "--budget" not in changes else []),
                *by_hand(text),
            ]
            assert speed([*command, *options]) == pytest.approx(promised, rel=0.01)


@pytest.mark.slow
def test_fault_09_a_prompt_longer_than_what_is_tried_gets_advice(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """2,100 tokens of prompt, then 40 of decoding: what a change gives is told from the decode passes."""
    trace = simmoe.load_trace("switch-2x4")
    keep = {name: trace.meta[name] for name in ("schema_version", "n_experts", "top_k", "model")}
    made = part(trace, [0, *range(2100, 2141)], [0] + [1] * 40, keep)
    made.sequence[:], made.position[:] = 0, range(2140)
    simmoe.save_trace(made, tmp_path / "long.npz")
    command = ["run", "--hw", "rtx_4090", "--trace", str(tmp_path / "long.npz"), "--budget", "25%"]
    text = " ".join(output(capsys, *command).split())
    options, promised = advised(text)[0]
    assert promised > 1.3 * speed(command) and speed(applied(command, options)) == pytest.approx(promised, rel=0.01)


@pytest.mark.slow
def test_fault_09_the_advice_names_each_figure_that_it_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """The memory that the link reads is slower than twice the link: both are named, and the one alone gives less."""
    command = [
        "run",
        "--hw",
        "rtx_4090",
        "--trace",
        "switch",
        "--tokens",
        "300",
        "--budget",
        "25%",
        "--set",
        "link.bandwidth=60GB/s",
    ]
    text = " ".join(output(capsys, *command).split())
    found = {
        words: promised
        for options, promised in advised(text)
        for words in [" ".join(options)]
        if "link.bandwidth" in words
    }
    ((words, promised),) = found.items()
    assert words == "--set link.bandwidth=120GB/s --set tiers.host_dram.bandwidth=120GB/s"
    alone = speed(applied(command, ["--set", "link.bandwidth=120GB/s"]))
    assert alone < 0.9 * promised and speed(applied(command, shlex.split(words))) == pytest.approx(promised, rel=0.01)


@pytest.mark.slow
def test_fault_09_experts_on_the_cpu_are_among_the_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """A slow link and a fast CPU: a run and a ladder both name it."""
    machine = [
        "--hw",
        "rtx_4090",
        "--trace",
        "switch",
        "--tokens",
        "300",
        "--set",
        "link.bandwidth=6GB/s",
        "--set",
        "tiers.gddr.capacity=4GB",
    ]
    one = advised(output(capsys, "run", *machine, "--budget", "25%"))
    assert any({"--miss", "--placement"} & set(options) for options, _ in one)
    ladder = output(capsys, "run", *machine)
    assert "Experts on the CPU" in ladder
    ((options, promised),) = [each for each in advised(ladder) if {"--miss", "--placement"} & set(each[0])]
    budget = re.search(r"beside (--budget \S+):", ladder)[1].split()
    assert speed([*applied(["run", *machine, *budget], options), *by_hand(ladder)]) == pytest.approx(promised, rel=0.01)
