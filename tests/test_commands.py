"""The command that stands beside an answer plays the same scenario: its digest is that of the run."""

from __future__ import annotations

import json
import shlex

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.play.calling import scenario_of
from simmoe.sweeps.commands import command
from simmoe.workloads.format.trace import names

pytestmark = pytest.mark.skipif("switch-4x8" not in names(), reason="the bundled traces are not made yet")
SMALL = {"hw": "a100", "trace": "switch-4x8", "tokens": 96}
BOX = {
    "gpu": "rtx_4090",
    "host": "ddr5_6000_2ch",
    "model": "qwen3-30b-a3b",
    "format": "Q4_K_M",
    "prompt": 16,
    "generate": 4,
}
CASES = {
    "what the machine holds": SMALL,
    "a budget in bytes": {**SMALL, "budget": 200_000_000},
    "memory, a scope, a seed": {**SMALL, "memory": "400 MB", "scope": "layer", "eviction": "random", "seed": 7},
    "a bound": {**SMALL, "eviction": "everything"},
    "switches": {**SMALL, "budget": "50%", "write_back": True, "cold_per_sequence": True, "overlap": False},
    "figures": {
        **SMALL,
        "budget": "50%",
        "set": ("link.bandwidth=12 GB/s", "units.gpu.graph_launch=1us"),
        "graphs": True,
    },
    "prefetch": {**SMALL, "hw": "jetson_orin", "budget": "50%", "prefetch": "last_token", "cancel": True},
    "a mode, batches": {**SMALL, "hw": "jetson_orin@50W", "batch": 2, "context": 4096, "tokens": None},
    "a machine in two parts": {**BOX, "runtime": "llama_cpp_cuda", "placement": "n_cpu_moe=20", "mmap": False},
    "an engine's flags": {**BOX, "runtime": "llama_cpp_cuda", "flags": "-ngl 99 -ncmoe 24 -ub 256 -nkvo"},
    "a host alone": {**BOX, "gpu": None, "runtime": "llama_cpp_cpu", "threads": 4},
    "a system": {**BOX, "system": "fiddler"},
    "a system without a part of it": {**BOX, "system": "mixtral_offloading", "prefetch": None},
    "requests that arrive": {**SMALL, "schedule": "continuous", "arrivals": "poisson:20/s", "max_batch": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_a_command_plays_its_scenario_again(options: dict, capsys) -> None:
    scenario = scenario_of(options)
    run = simmoe.run(scenario)
    words = shlex.split(command(scenario, scenario.plan(run.workload.begun)))
    assert words.pop(0) == "simmoe"
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    again = json.loads(capsys.readouterr().out)
    assert (again["digest"], again["tok_s"]) == (run.digest, run.tok_s)
