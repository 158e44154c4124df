"""Figures that cannot be true: a profile that holds them is named by `hw check` and labelled by a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.hardware_profiles import available, load


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
    "compute of a CPU": ("rtx_4090", said("units.cpu.flops.fp32", "900 TFLOP/s"), "units.cpu.flops.fp32: 900 TFLOP/s", "100 TFLOP/s"),
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
    space = tmp_path / "space.yaml"
    axes = f"hw: [{box}]\ntrace: [switch]\nbudget: [25%, 50%]\ntokens: 64"
    space.write_text(f"schema: 1\nname: two\n{axes}\nobjectives: {{tok_s: maximize}}\n", "utf-8")
    assert main(["sweep", str(space), "--trials", "2", "--sampler", "random"]) == 0
    printed = capsys.readouterr().out
    assert 0 < printed.index("link.bandwidth: 55 GB/s (measured) cannot be true") < printed.index("Pareto front")


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


# --- calibrate ----------------------------------------------------------------------------------------------------------


def known_rows(home: str, unified: bool, **constants: float) -> list[dict[str, Any]]:
    """Rows of a machine whose constants are known."""
    from tests import test_calibrate as made  # here, so that the tests above can be played on versions without rows

    return made.known_rows(made.Known(**constants), home, unified)


def calibrated(tmp_path: Path, rows: list[dict[str, Any]], *options: str) -> int:
    """The exit code of `simmoe calibrate` on those rows; it writes made.yaml."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return main(["calibrate", "--rows", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "made.yaml"), *options])


@pytest.mark.slow
def test_fault_15_small_products_and_eager_launches_do_not_make_8_tb_per_s(tmp_path, capsys):
    """Small matrices that stay in the cache, and launches that hide the read, once made a line of twice the rate of the memory."""
    rows = known_rows("memory", False, read=4.0e12, cached=12e12, eager=18e-6)
    assert calibrated(tmp_path, rows) == 0, capsys.readouterr().err
    hw = load(tmp_path / "made.yaml")
    assert hw.device.bytes_per_s == pytest.approx(4.0e12, rel=0.05)
    assert hw.device.graph_launch_ps == pytest.approx(5e6, rel=0.1) and hw.device.launch_ps == pytest.approx(
        18e6, rel=0.1
    )
    small = [row for row in rows if row["kind"] != "gemm" or row["bytes"] < 4 * 50 * 2**20]
    assert calibrated(tmp_path, small, "--force") == 2
    assert "no product reads 210 MB, 4 times the last-level cache" in capsys.readouterr().err


def test_fault_15_what_no_law_meets_is_fitted_and_never_measured(tmp_path, capsys):
    rows = known_rows("memory", False)
    for row in rows:
        if row["kind"] == "gemm" and row["how"] == "eager" and row["bytes"] == 2**22:
            row |= {key: 3 * row[key] for key in ("us", "lo", "hi")} | {"gbs": row["gbs"] / 3}
    assert calibrated(tmp_path, rows) == 0, capsys.readouterr().err
    launch = load(tmp_path / "made.yaml").figures["units.gpu.launch"]
    assert launch.kind == "fitted" and "0.3" in launch.source
    assert launch.value == pytest.approx(12e6, rel=0.15) and launch.high == pytest.approx(38e6, rel=0.1)


def test_fault_15_the_cpu_multiplies_quantised_weights_by_int8(tmp_path, capsys):
    """fp16 products of a CPU without their kernels are far slower than what any engine does."""
    rows = known_rows("memory", True, cpu_flops=1.2e12, cpu_int8=6e12)
    slow = {"kind": "cpu_flops", "format": "fp16", "threads": 8, "tflops": 0.0002, "us": 1.0, "lo": 1.0, "hi": 1.0}
    assert calibrated(tmp_path, [*rows, slow]) == 0, capsys.readouterr().err
    flops = load(tmp_path / "made.yaml").device.flops_per_s
    assert flops["int8"] == pytest.approx(6e12, rel=0.02) and flops["fp16"] == pytest.approx(1.2e12, rel=0.02)


@pytest.mark.parametrize("direct", [False, None])
def test_fault_15_reads_through_the_page_cache_are_no_disk(direct, tmp_path, capsys):
    rows = known_rows("disk", True, store=60e9)
    assert calibrated(tmp_path, rows) == 1  # O_DIRECT or not, no drive is that fast
    assert "tiers.disk.bandwidth: 59.93 GB/s" in capsys.readouterr().err
    rows = [{**row, "direct": direct} if row["kind"] == "disk" else row for row in known_rows("disk", True)]
    assert calibrated(tmp_path, rows, "--force") == 2
    assert "no reads of the disk past the page cache" in capsys.readouterr().err
    assert not (tmp_path / "made.yaml").exists()


def test_fault_15_rows_taken_beside_foreign_load_are_refused_or_labelled(tmp_path, capsys):
    rows = known_rows("memory", True)
    for share, code in ((0.2, 0), (0.21, 2), (0.88, 2)):
        rows[0]["foreign"] = share
        (tmp_path / "made.yaml").unlink(missing_ok=True)
        assert calibrated(tmp_path, rows) == code
        assert (tmp_path / "made.yaml").exists() == (code == 0)
    assert "foreign load 88%: other processes took more than 20% of the cores" in capsys.readouterr().err
    assert calibrated(tmp_path, rows, "--force") == 0
    assert (
        main(["run", "--hw", str(tmp_path / "made.yaml"), "--trace", "switch", "--tokens", "64", "--budget", "50%"])
        == 0
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert 0 < printed.index("beside foreign load of 88%") < printed.index("tok/s")


@pytest.mark.slow
def test_fault_15_a_calibration_beside_a_busy_machine_is_refused(tmp_path):
    """As many processes compute as there are cores."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        command = [
            sys.executable,
            "-m",
            "simmoe",
            "calibrate",
            "--quick",
            "--device",
            "cpu",
            "--home",
            "memory",
            "--out",
            "box.yaml",
        ]
        where = {**os.environ, "PYTHONPATH": str(Path(simmoe.__file__).parents[1])}
        done = subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True)
    finally:
        for one in busy:
            one.kill()
            one.wait()
    assert done.returncode == 2 and "foreign load" in done.stderr and list(tmp_path.iterdir()) == []
