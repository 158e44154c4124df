"""`python -m benchmarks`: every figure of docs/performance.md, from one run (some minutes).

`--rounds 3 --page` writes them into that page, with the table of benchmarks/lanes.py: about six minutes of an idle machine.
`--only equality` compares the engines on whole real traces instead (an hour).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from benchmarks import curves, engines, executors, lanes, page
from benchmarks import equality as both
from benchmarks.timing import command_cpu_s
from simmoe import load_hardware, load_model, load_trace
from simmoe.play.workload import Workload
from tests import real_traces
from tests.scenarios import shape_for

Figures = dict[str, float]
PASSES = 800
TRACES = ("qwen3_30b_general", "dsv2lite_intent", "gptoss20b_gpqa", "phone_gemma4_26b")


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments.add_argument(
        "--rounds", type=int, default=5, help="rounds that take turns; medians are printed (default 5)"
    )
    arguments.add_argument(
        "--only", choices=[group.__name__ for group in (*GROUPS, equality)], help="one group of figures"
    )
    arguments.add_argument("--page", action="store_true", help="write the tables of docs/performance.md anew")
    options = arguments.parse_args()
    found: Figures = {}
    for group in (*GROUPS, equality):
        if options.only == group.__name__ or (options.only is None and group in GROUPS):
            found |= group(options.rounds)
    if options.page:
        rows = list(lanes.table(*page.LANES)) if options.only is None else []
        page.write(page.tables(found, rows, options.rounds))
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"| {name} | {value:,.3g} |" if value < 1000 else f"| {name} | {value:,.0f} |")


def interpreted_engines(rounds: int) -> Figures:
    """Accesses/s of the engines that need no compiler, a whole `play` with its checks; operations/s of the SimPy executor."""
    a100, oracle = load_hardware("a100"), load_trace("oracle")
    qwen = real_traces.load("qwen3_30b_general")
    models = {"qwen3_30b_general": ("qwen3-30b-a3b", qwen), "oracle.npz": (oracle.meta["model"], oracle)}
    found: Figures = {}
    for name, (model, trace) in models.items():
        rates = executors.accesses_per_s(a100, load_model(model), trace, rounds)
        found |= {f"engine {engine}, {name}, accesses/s": rate for engine, rate in rates.items()}
    shape = shape_for(qwen)
    for what, workload in {
        "oracle.npz, a100": Workload(a100, oracle, tokens=2048),
        "oracle.npz, jetson_orin": Workload("jetson_orin", oracle, tokens=2048),
        "qwen3_30b_general, a100": Workload(a100, qwen, shape, tokens=150),
    }.items():
        served, lowered = executors.operations_per_s(workload, rounds)
        found |= {f"SimPy executor, {what}, operations/s": served, f"lowering alone, {what}, operations/s": lowered}
    return found


def engines_with_time(rounds: int) -> Figures:
    """The three that compute time, on the first passes of Qwen3."""
    rates = engines.against_simpy(real_traces.load("qwen3_30b_general"), PASSES, rounds)
    quick = rates["compiled"]
    found = {f"qwen3_30b_general, {PASSES} tokens, {name}, accesses/s": rate for name, rate in rates.items()}
    return found | {f"compiled ÷ {name}": quick / rates[name] for name in rates if name != "compiled"}


def libcachesim(rounds: int) -> Figures:
    """ns per access of each policy at 25 %, equal misses on one-expert events asserted first."""
    found: Figures = {}
    for name in TRACES:
        for eviction, ns in engines.against_libcachesim(real_traces.load(name), rounds).items():
            head = f"{name}, {eviction}"
            found |= {f"{head}, {what}, ns/access": value for what, value in ns.items()}
            found[f"{head}, libcachesim ÷ events + clock"] = ns["libcachesim"] / ns["events + clock"]
            found[f"{head}, libcachesim ÷ one-expert events"] = ns["libcachesim"] / ns["one-expert events"]
    return found


def whole_curves(rounds: int) -> Figures:
    """LRU and Belady at all sizes, each in one pass, against libcachesim at 16; 960,000 drawn accesses and a real trace."""
    found = {
        f"960,000 accesses, {what}": value for what, value in curves.against_libcachesim(curves.drawn(), rounds).items()
    }
    real = curves.against_libcachesim(real_traces.load("qwen3_30b_general"), rounds)
    return found | {f"qwen3_30b_general, {what}": value for what, value in real.items()}


def equality(rounds: int) -> Figures:
    """Prints a line for each cell of the grid; the number of cells. Raises AssertionError at the first that is not equal."""
    cells = 0
    for name, eviction in both.grid(TRACES[::-1]):
        for line in both.compare(real_traces.load(name), eviction):
            print(f"{name}, {line}", flush=True)
            cells += 1
    return {"cells of the equality grid, all equal": cells}


def start(rounds: int) -> Figures:
    """CPU seconds of whole commands: help, the user's command warm, and its first run with an empty kernel cache."""
    simmoe = [sys.executable, "-m", "simmoe"]  # a command on the PATH may be missing, or of another environment
    users = [*simmoe, "run", "--hw", "jetson_orin.yaml", "--trace", "oracle.npz"]
    command_cpu_s([*users, "--tokens", "all"], 1)  # fill the kernel cache
    return {
        "simmoe --help, CPU s": command_cpu_s([*simmoe, "--help"], rounds),
        **{
            f"user's command, engine {engine}, 2,048 tokens, CPU s": command_cpu_s(
                [*users, "--engine", engine, "--tokens", "2048"], rounds
            )
            for engine in ("simpy", "plain")
        },
        "user's command, compiled engine, all tokens, first run, CPU s": _first_run(users),
        "user's command, compiled engine, all tokens, warm, CPU s": command_cpu_s([*users, "--tokens", "all"], rounds),
    }


def _first_run(command: list[str]) -> float:
    """With an empty kernel cache, as after an install."""
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys; from benchmarks.timing import command_cpu_s; print(command_cpu_s(sys.argv[1:], 1))"
        environment = {**os.environ, "SIMMOE_CACHE": folder}
        done = subprocess.run([sys.executable, "-c", code, *command], env=environment, capture_output=True, check=True)
    return float(done.stdout)


GROUPS: tuple[Callable[[int], Figures], ...] = (
    interpreted_engines,
    engines_with_time,
    libcachesim,
    whole_curves,
    start,
)

main()
