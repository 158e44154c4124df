"""`python -m benchmarks`: every figure of docs/performance.md, from one run."""

from __future__ import annotations

import argparse
import json
import shutil

from benchmarks import reference
from benchmarks.timing import command_cpu_s
from simmoe import load_hardware, load_model, load_trace
from tests import real_traces


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    figures = {**reference_figures(), **start_figures()}
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:70} {value:>14,.3f}" if value < 100 else f"{name:70} {value:>14,.0f}")


def reference_figures() -> dict[str, float]:
    hw, found = load_hardware("a100"), {}
    qwen = real_traces.load("qwen3_30b_general")
    model = load_model("qwen3-30b-a3b")
    found["reference engine, qwen3_30b_general, LRU 25 %, accesses/s"] = reference.accesses_per_s(hw, model, qwen)
    oracle = load_trace("oracle")
    found["reference engine, oracle.npz, LRU 25 %, accesses/s"] = reference.accesses_per_s(
        hw, load_model(oracle.meta["model"]), oracle
    )
    return found


def start_figures() -> dict[str, float]:
    simmoe = shutil.which("simmoe") or "simmoe"
    users = [simmoe, "run", "--hw", "jetson_orin.yaml", "--trace", "oracle.npz"]
    return {
        "simmoe --help, CPU s": command_cpu_s([simmoe, "--help"]),
        "simmoe run --hw jetson_orin.yaml --trace oracle.npz, CPU s": command_cpu_s(users),
    }


main()
