"""Figures that cannot be true: a profile that holds them is named by `hw check` and labelled by a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.hardware_profiles import available


def profile(tmp_path: Path, base: str, text: str) -> str:
    path = tmp_path / "box.yaml"
    path.write_text(f"extends: {base}\nname: box\ntitle: My box\n{text}\n", "utf-8")
    return str(path)


def said(path: str, value: str, source: str = "my own log, 2026-05-02", kind: str = "measured") -> str:
    """One figure of a profile, as YAML."""
    text = f'{{value: {value}, kind: {kind}, source: "{source}"}}'
    for key in reversed(path.split(".")):
        text = f"{{{key}: {text}}}"
    return text[1:-1]


def rates(value: str, *paths: str, **how: str) -> str:
    """The same rate for several figures whose first keys differ."""
    return "\n".join(said(path, value, **how) for path in paths)


IMPOSSIBLE = {  # base, figures, the figure that is named, its bound
    "memory above the peak that the profile inherits": (
        "h200", rates("8.033 TB/s", "tiers.hbm.bandwidth", "units.gpu.bandwidth"), "units.gpu.bandwidth: 8.033 TB/s", "4.8 TB/s",
    ),
    "memory above the data sheet of the device that the source names": (
        "h200",
        "peak: null\n" + rates("8.033 TB/s", "tiers.hbm.bandwidth", "units.gpu.bandwidth",
                               source="a fit, torch 2.11.0 on NVIDIA H200"),
        "units.gpu.bandwidth: 8.033 TB/s", "4.8 TB/s, the peak of the NVIDIA H200",
    ),
    "a drive out of the page cache": (
        "desktop_ddr5_2ch", rates("60 GB/s", "tiers.flash.bandwidth", "link.bandwidth"), "tiers.flash.bandwidth: 60 GB/s", "30.25 GB/s",
    ),
    "a drive above its lanes": (
        "desktop_ddr5_2ch", rates("9 GB/s", "tiers.flash.bandwidth", "link.bandwidth", source="a drive on PCIe 4.0 x4, fio"),
        "link.bandwidth: 9 GB/s", "7.877 GB/s, PCIe 4.0 x4",
    ),
    "DRAM above its channels": (
        "server_ddr5_8ch",
        "peak: null\n" + rates("320 GB/s", "tiers.dram.bandwidth", "units.cpu.bandwidth", source="8 channels of DDR5-4800, STREAM"),
        "tiers.dram.bandwidth: 320 GB/s", "307.2 GB/s, 8 channels x 8 bytes x 4800 MT/s",
    ),
    "host memory above every socket": (
        "rtx_4090", said("tiers.host_dram.bandwidth", "9 TB/s"), "tiers.host_dram.bandwidth: 9 TB/s", "3.2768 TB/s",
    ),
    "a link above its lanes": ("rtx_4090", said("link.bandwidth", "55 GB/s"), "link.bandwidth: 55 GB/s", "31.508 GB/s"),
    "a link that no peak bounds": (
        "gh200", "peak: null\n" + said("link.bandwidth", "2 TB/s"), "link.bandwidth: 2 TB/s", "900 GB/s, NVLink-C2C",
    ),
    "compute above the peak": (
        "h200", said("units.gpu.flops.bf16", "1978 TFLOP/s", "with sparsity"), "units.gpu.flops.bf16: 1978 TFLOP/s", "989 TFLOP/s",
    ),
    "compute of a format whose twin has a peak": (
        "h200", said("units.gpu.flops.fp16", "1100 TFLOP/s"), "units.gpu.flops.fp16: 1100 TFLOP/s", "989 TFLOP/s",
    ),
    "compute of a CPU": ("rtx_4090", said("units.cpu.flops.fp32", "900 TFLOP/s"), "units.cpu.flops.fp32: 900 TFLOP/s", "500 TFLOP/s"),
    "the peak itself": (
        "rtx_4090", said("peak.memory_bandwidth", "9 TB/s"), "peak.memory_bandwidth: 9 TB/s", "2.048 TB/s, 512 bits of GDDR7",
    ),
    "a store before the link": ("rtx_4090_nvme", rates("60 GB/s", "tiers.nvme.bandwidth"), "tiers.nvme.bandwidth: 60 GB/s", "30.25 GB/s"),
}  # fmt: skip


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_fault_15_a_profile_that_cannot_be_true_is_named_and_labelled(what, tmp_path, capsys):
    base, text, figure, bound = IMPOSSIBLE[what]
    box = profile(tmp_path, base, text)
    assert main(["hw", "check", box]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if figure in line)
    assert line.startswith(f"box.yaml: {figure} ") and f"the most is {bound}" in line
    assert main(["hw", "check", box, "--json"]) == 1
    checked = json.loads(capsys.readouterr().out)
    assert checked["ok"] is False and any(one.startswith(figure) for one in checked["impossible"])
    if "dram" not in figure.split(":")[0]:
        run = simmoe.run(box, "switch", tokens=64, budget="50%")
        assert any(note.startswith(figure) for note in run.to_json()["notes"])


def test_fault_15_a_run_says_it_above_the_result(tmp_path, capsys):
    box = profile(tmp_path, "rtx_4090", said("link.bandwidth", "55 GB/s"))
    for command in (["run", "--budget", "50%"], ["run"], ["compare", "--budget", "50%"]):
        assert main([command[0], "--hw", box, "--trace", "switch", "--tokens", "64", *command[1:]]) == 0
        printed = capsys.readouterr().out
        assert 0 < printed.index("link.bandwidth: 55 GB/s (measured) cannot be true") < printed.index("tok/s"), command


def test_fault_15_a_mode_that_cannot_be_true(tmp_path, capsys):
    mode = f"modes: {{fast: {{units.gpu.flops.fp16: {said('x', '90 TFLOP/s')[3:]}}}}}"
    assert main(["hw", "check", profile(tmp_path, "jetson_orin", mode)]) == 1
    assert "units.gpu.flops.fp16: 90 TFLOP/s" in capsys.readouterr().out


@pytest.mark.parametrize("name", available())
def test_every_bundled_machine_can_be(name, capsys):
    assert main(["hw", "check", name]) == 0
    assert "ok" in capsys.readouterr().out


def test_what_the_source_says_of_its_lanes_wins_over_the_table(tmp_path, capsys):
    """Four drives behind one slot are faster than any one of them, and the source can say so."""
    four = rates("50 GB/s", "tiers.flash.bandwidth", "link.bandwidth", source="four drives on PCIe 5.0 x16, fio")
    assert main(["hw", "check", profile(tmp_path, "desktop_ddr5_2ch", four)]) == 0, capsys.readouterr().out


def test_a_boost_clock_may_exceed_the_peak_by_a_little(tmp_path, capsys):
    """GeForce cards pass their nominal rate: 167.1 of 165.2 TFLOP/s were measured on an RTX 4090."""
    assert main(["hw", "check", profile(tmp_path, "rtx_4090", said("units.gpu.flops.fp16", "173 TFLOP/s"))]) == 0
    capsys.readouterr()
    assert main(["hw", "check", profile(tmp_path, "rtx_4090", said("units.gpu.flops.fp16", "174 TFLOP/s"))]) == 1


def test_a_fitted_figure_states_its_range(tmp_path, capsys):
    box = profile(tmp_path, "rtx_4090", said("units.gpu.launch", "4 us", "a line", kind="fitted"))
    assert main(["hw", "check", box]) == 2
    assert "units.gpu.launch: fitted without a range" in capsys.readouterr().err
