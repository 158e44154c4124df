"""The commands as a user types them: what they print, and what they leave behind."""

from __future__ import annotations

import ast
import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from simmoe.cli.main import main
from simmoe.workloads.format.trace import names
from tests.test_house import FOLDERS, ROOT, imports, sources

RUN = ["run", "--hw", "jetson_orin.yaml", "--trace", "oracle.npz"]
needs_traces = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")


def output(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.slow
@needs_traces
def test_the_users_command(capsys):
    text = output(capsys, *RUN)
    for part in ("Simulated", "Jetson AGX Orin", "12.5 %", "100 % = device holds", "bound: nothing", "bound: everything", "hit rate",
                 "tokens; eviction lru", "inputs: bundled", "reaches 95 % of the best rung", "With what this device holds"):  # fmt: skip
        assert part in text, part


@needs_traces
def test_a_ladder_of_prompts_alone_says_nothing_of_decoding(capsys):
    assert main(["run", "--hw", "rtx_4090", "--trace", "oracle-4x16-k4", "--tokens", "64"]) == 0
    out = capsys.readouterr().out
    assert "bound: everything" in out and "With what this device holds" not in out


@pytest.mark.slow
@needs_traces
def test_json_is_the_same_bytes_each_time_and_names_no_place(capsys):
    one = [output(capsys, *RUN, "--budget", "25%", "--tokens", "512", "--json") for _ in range(2)]
    assert one[0] == one[1]
    run = json.loads(one[0])
    for name in (
        "hits",
        "misses",
        "evictions",
        "bytes",
        "prefill",
        "decode",
        "tok_s",
        "ttft_s",
        "tpot_ms",
        "bytes_per_token",
        "digest",
        "engine",
    ):
        assert name in run, name
    assert str(Path.cwd()) not in one[0] and "hostname" not in one[0]
    assert run["decode"]["hits"] + run["decode"]["misses"] == run["decode"]["requests"]


@pytest.mark.slow
@needs_traces
def test_per_token_and_perfetto(capsys, tmp_path):
    table, lanes = tmp_path / "tokens.csv", tmp_path / "lanes.json"
    output(capsys, *RUN, "--budget", "12.5%", "--tokens", "512", "--per-token", str(table), "--perfetto", str(lanes))
    run = json.loads(output(capsys, *RUN, "--budget", "12.5%", "--tokens", "512", "--json"))
    rows = list(csv.DictReader(table.open()))
    assert sum(int(row["misses"]) for row in rows) == run["misses"]
    assert sum(float(row["ms"]) for row in rows) == pytest.approx(run["total_ps"] / 1e9, abs=1e-3)
    events = json.loads(lanes.read_text())["traceEvents"]
    loads = [e for e in events if e["ph"] == "X" and e["tid"] == 2]
    assert len(loads) == run["misses"] and sum(e["dur"] for e in loads) == pytest.approx(run["link_busy_ps"] / 1e6)
    busy = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["ph"] == "X" and e["tid"] == 1)
    assert all(end <= start + 1e-6 for (_, end), (start, _) in itertools.pairwise(busy))
    assert sum(e["name"].startswith("evict") for e in events) == run["evictions"]


@needs_traces
def test_trace_info(capsys):
    facts = json.loads(output(capsys, "trace", "info", "oracle", "--json"))
    assert facts["moe_layers"] == 9 and facts["experts per layer"] == 24 and facts["reuse at next token"] > 0.5
    assert "router" in output(capsys, "trace", "info", "switch")


@pytest.mark.slow
def test_help_and_version_start_without_the_heavy_packages():
    script = (
        "import sys; from simmoe.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit as e: assert not e.code\n"
        "heavy = {'numpy', 'simpy', 'torch', 'optuna', 'rich', 'yaml'} & set(sys.modules); assert not heavy, heavy"
    )
    for arguments in (["--help"], ["--version"], ["run", "--help"], ["compare", "--help"], ["trace", "make", "--help"]):
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.slow
def test_core_commands_do_not_import_the_optional_packages(tmp_path):
    script = "import sys\nfor name in ('torch', 'numba', 'plotly', 'tokenizers', 'optuna'): sys.modules[name] = None\n" \
             "from simmoe.cli.main import main\nsys.exit(main(sys.argv[1:]))"  # fmt: skip

    def run(*arguments: str):
        return subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
        )

    made = run("trace", "make", "--router", "oracle")
    assert made.returncode == 2 and "pip install 'simmoe[moe]'" in made.stderr and made.stderr.count("\n") == 1
    if "oracle" in names():
        assert run(*RUN, "--budget", "50%", "--tokens", "100").returncode == 0


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m simmoe run --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("usage") and "Traceback" not in done.stderr


@pytest.mark.slow
def test_text_for_people_goes_through_the_screen():
    """Only there are texts of others made plain: no other file has rich draw a table or read mark-up, or prints what is no JSON."""
    drawn = ("rich.table", "rich.markup", "rich.text", "rich.console")
    bars = {"progress.py", "calibrate.py"}  # of progress, on standard error, without texts of others
    for folder in FOLDERS:
        for path in sources(folder):
            wanted = {name for name in imports(path) if name.startswith(drawn)} - (
                {"rich.console.Console"} if path.name in bars else set()
            )
            assert not wanted or path.name in ("screen.py", "tabular.py"), (
                path,
                wanted,
            )  # what repr prints is made plain there
    for path in (ROOT / "src" / "simmoe" / "cli").glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print":
                text = ast.unparse(call)
                assert "json.dumps(" in text or "file=sys.stderr" in text, (path, text)
