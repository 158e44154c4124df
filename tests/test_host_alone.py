"""A box without a GPU: the host alone through every door, what llama.cpp takes on it by hand, and what is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.hardware_profiles import host
from simmoe.workloads import models

HOST = "ddr5_6000_2ch"
BOX = ("--host", HOST)
MODEL = ("--model", "qwen3-30b-a3b", "--format", "Q4_K_M", "--routing", "uniform")
SHORT = ("--prompt", "64", "--generate", "8")
ENGINE = ("--runtime", "llama_cpp_cpu")
GB = 10**9


def played(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], line: str, *words: str) -> None:
    assert main(list(words)) == 2
    said = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("run: ")]  # what it will take
    assert len(said) == 1 and re.search(line, said[0]), said


@pytest.mark.parametrize("name", host.available())
def test_every_host_is_a_machine_whose_cpu_computes(name):
    content, figures = host.load(name)[0], {path: one.value for path, one in host.load(name)[1].figures.items()}
    machine = hardware_profiles.load(f"+{name}")
    assert machine.name == name and machine.devices == ("cpu",) and machine.cpu is None and machine.unified
    assert machine.device.processors == content["is"]["cores"] * content["is"]["sockets"]
    assert machine.device_memory.capacity_bytes == figures["memory.capacity"]
    assert machine.device_memory.peak_bytes_per_s == figures["peak.memory_bandwidth"]
    assert machine.device.bytes_per_s == figures["cpu.bandwidth"] * 1000 // figures.get("numa", 1000) // 1000 * 1000
    assert not hardware_profiles.doubts(machine)


def test_a_host_alone_is_one_machine_through_every_door(tmp_path, monkeypatch, capsys):
    mine = played(capsys, "run", *BOX, *MODEL, *SHORT)
    assert mine["scenario"]["hardware"]["name"] == HOST
    options = {"model": "qwen3-30b-a3b", "format": "Q4_K_M", "routing": "uniform", "prompt": 64, "generate": 8}
    assert simmoe.run(host=HOST, **options).to_json()["digest"] == mine["digest"]
    rows = played(capsys, "compare", *BOX, "--host", "ddr4_3200_2ch", *MODEL, *SHORT)["rows"]
    assert [one["run"]["scenario"]["hardware"]["name"] for one in rows] == [HOST, "ddr4_3200_2ch"]
    assert rows[0]["run"]["digest"] == mine["digest"] and rows[1]["run"]["tok_s"] < mine["tok_s"]
    space = {
        "schema": 1,
        "name": "boxes",
        "host": [HOST, "ddr4_3200_2ch"],
        "objectives": {"tok_s": "maximize"},
        **options,
    }
    done = simmoe.sweep(space, sampler="grid")
    assert {trial.params["hw"] for trial in done.trials} == {f"+{HOST}", "+ddr4_3200_2ch"}
    (tmp_path / "boxes").mkdir()
    own = {"extends": HOST, "name": "box", "title": "My box"}
    (tmp_path / "boxes/box.yaml").write_text(yaml.safe_dump(own))
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--host", "boxes/box.yaml", *MODEL, *SHORT, "--save", "boxes/run.yaml"]) == 0
    capsys.readouterr()
    assert yaml.safe_load(Path("boxes/run.yaml").read_text())["hw"] == "+./box.yaml"
    monkeypatch.chdir("/")
    again = played(capsys, "run", str(tmp_path / "boxes/run.yaml"))
    assert again["scenario"]["hardware"]["name"] == "box" and again["tok_s"] == mine["tok_s"]
    assert main(["run", *BOX, *MODEL, *SHORT, "--save", str(tmp_path / "bundled.yaml")]) == 0
    assert yaml.safe_load((tmp_path / "bundled.yaml").read_text())["hw"] == f"+{HOST}"


def test_what_a_host_says_to_set_can_be_set_there_too(capsys):
    words = ("run", *BOX, "--model", "qwen3-235b-a22b", "--format", "Q4_K_M", *SHORT)
    refused(capsys, r"does not fit on ddr5_6000_2ch|no experts while it runs", *words, *ENGINE)
    more = played(capsys, *words, *ENGINE, "--set", "tiers.host_dram.capacity=256GiB")
    assert more["tok_s"] > 0


# --- llama.cpp on it --------------------------------------------------------------------------------------------------


def test_a_token_takes_its_bytes_at_the_share_of_the_peak_or_at_what_its_threads_take_in(capsys):
    model = models.load("qwen3-30b-a3b", "Q4_K_M")
    layer, words = (
        model.layers[0],
        ("run", *BOX, *MODEL, "--prompt", "1", "--generate", "2", "--depth", "4096", *ENGINE),
    )
    cache = (
        48 * 2 * 4 * 128 * 2 * 4097
    )  # 48 layers, 4 heads of 128, keys and values of 2 bytes, behind one token of the prompt
    read = model.head.bytes + cache + sum(one.attention.bytes + 8 * one.expert.bytes for one in model.layers)
    assert layer.n_experts == 128
    for threads, rate in ((None, 0.46 * 96 * GB), (24, 0.46 * 96 * GB), (2, 2 * 12 * GB)):
        more = () if threads is None else ("--flags", f"-t {threads} -ngl 99")
        seconds = read / rate + 48 * 3e-6
        assert played(capsys, *words, *more)["tok_s"] == pytest.approx(1 / seconds, rel=2e-3)


def test_a_measured_rate_of_the_kernels_stands_in_place_of_the_share(capsys):
    words = ("run", *BOX, *MODEL, *SHORT, *ENGINE, "--set", "units.cpu.quantised_bandwidth=")
    slow, fast = (played(capsys, *words[:-1], f"{words[-1]}{rate} GB/s")["tok_s"] for rate in (20, 40))
    assert fast == pytest.approx(2 * slow, rel=0.01)


@pytest.mark.slow
def test_a_prompt_goes_by_cores_and_clock_and_by_the_profile_where_no_clock_is_known(capsys):
    words = ("run", *BOX, *MODEL, "--prompt", "512", "--generate", "1", *ENGINE)
    flops = (
        2
        * sum(one.attention.params + 8 * one.expert.params for one in models.load("qwen3-30b-a3b", "Q4_K_M").layers)
        * 512
    )
    attention = 48 * 32 * 128 * 4 * 512 * 513 // 2  # 32 heads of 128, two products, each position with those up to it
    clocked = played(capsys, *words, "--set", "units.cpu.clock=4GHz")
    rate = 22 * 24 * 4e9
    assert clocked["prompt_tok_s"] == pytest.approx(512 * rate / (flops + attention), rel=0.05)
    assert not any("units.cpu.clock" in note for note in clocked["notes"])
    half = played(capsys, *words, "--set", "units.cpu.clock=4GHz", "--threads", "12")
    assert half["prompt_tok_s"] == pytest.approx(
        clocked["prompt_tok_s"] / 2, rel=0.03
    )  # with less of the one row in 32 that is wasted
    bare = played(capsys, *words)
    assert bare["prompt_tok_s"] == pytest.approx(512 * 1e12 / (flops + attention), rel=0.05)
    assert any("states no units.cpu.clock" in note and "1 TFLOP/s" in note for note in bare["notes"])
    assert played(capsys, *words, "--threads", "12")["prompt_tok_s"] == pytest.approx(
        bare["prompt_tok_s"] / 2, rel=0.03
    )


def test_a_host_of_one_cpu_states_the_clock_that_all_its_cores_keep():
    clocks = {"ddr5_5200_2ch_7950x": 4.5, "ddr5_4800_8ch_7965wx": 4.2, "ddr4_2400_4ch_2s_2697a": 2.6}
    assert {name: hardware_profiles.load(f"+{name}").device.clock_hz / GB for name in clocks} == clocks


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((*BOX, *ENGINE, "--placement", "n_cpu_moe=4"), r"--placement n_cpu_moe=4: .* computes all on the CPU.*leave it out"),
        ((*BOX, *ENGINE, "--flags", "-ncmoe 4"), r"--placement n_cpu_moe=4: .* computes all on the CPU"),
        ((*BOX, "--runtime", "llama_cpp_cuda"), r"computes on a GPU, and ddr5_6000_2ch has none: choose llama_cpp_cpu"),
        (("--gpu", "rtx_3090", *BOX, *ENGINE), r"on the CPU alone, and rtx_3090\+ddr5_6000_2ch computes on its gpu"),
        (("--host", "ddr5_6000_2c"), r"unknown host .*did you mean 'ddr5_6000_2ch'\?"),
        (("--hw", "a100", *BOX), r"--hw names a whole machine, and --host a part of one"),
        (("--hw", "+"), r"unknown hardware '\+'"),
    ],
)  # fmt: skip
def test_what_no_such_box_can_be_asked_is_refused_in_one_line(words, line, capsys):
    refused(capsys, line, "run", *words, *MODEL, *SHORT)
