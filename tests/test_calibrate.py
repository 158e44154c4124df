"""simmoe calibrate: fits on data with known answers, profiles that load and play, a disk that is left as it was."""

from __future__ import annotations

import errno
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml

import simmoe
from simmoe import hardware_profiles
from simmoe.calibrate import backend, beside, copies, disk, fit, kernels, machine, measure, observed, profile
from simmoe.calibrate.beside import Beside
from simmoe.calibrate.kernels import Kernels
from simmoe.calibrate.machine import Memory
from simmoe.calibrate.measure import Disk, Measured
from simmoe.calibrate.replayed import Given, again
from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import load_ps
from simmoe.simulator.physics.gemm import gemm_ps
from tests.test_bad_input import refused

GB = 10**9


def noisy(values, percent: float = 3.0, seed: int = 0) -> list[float]:
    return list(np.asarray(values) * (1 + np.random.default_rng(seed).uniform(-percent, percent, len(values)) / 100))


# --- fits ---------------------------------------------------------------------------------------------------------------


def test_a_line_is_found_in_noise():
    sizes = [2**n for n in range(14, 28) for _ in range(20)]
    found = fit.line(sizes, noisy([5e-6 + size / 20e9 for size in sizes]))
    assert found.fixed_s == pytest.approx(5e-6, rel=0.02)
    assert found.bytes_per_s == pytest.approx(20e9, rel=0.01)


def test_the_fixed_part_of_a_line_has_bounds():
    sizes = [10**6, 10**7, 10**8]
    assert fit.line(sizes, [1.0e-4, 1.1e-3, 1.11e-2]).fixed_s == 0.0  # a straight line would start below zero
    assert fit.line(sizes, [s / 1e10 + 1e-6 for s in sizes], least=1e-5).fixed_s == pytest.approx(1e-5)
    falling = fit.line(sizes, [3e-3, 2e-3, 1e-3], least=1e-6)
    assert falling.bytes_per_s > 0 and falling.fixed_s == 1e-6


def test_a_transfer_meets_every_time():
    sizes, seconds = [10**5, 10**6, 10**7], [1.1e-4, 4.5e-4, 3.2e-3]
    found = fit.transfer(sizes, seconds)
    assert max(share for _, share in found.shares) == 1.0
    for (size, share), took in zip(found.shares, seconds):
        assert found.latency_s + size / (found.bytes_per_s * share) == pytest.approx(took, rel=1e-3)


@pytest.mark.parametrize("p", [1.5, 3.0, 8.0])
def test_flop_rate_and_softness_are_found_in_noise(p):
    tokens, bandwidth, peak, params = [2**n for n in range(12)], 20 * GB, 500 * GB, 2**22
    memory_ps = params * 4 * 10**12 // bandwidth
    ps = [gemm_ps(memory_ps, 2 * params * n * 10**12 // peak, p, 5_000_000) for n in tokens]
    found = fit.roof(tokens, noisy([x / 1e12 for x in ps], 1.0), params * 4, 2 * params, fit.Line(5e-6, bandwidth))
    assert found.flops_per_s == pytest.approx(peak, rel=0.03)
    assert found.softness == pytest.approx(p, rel=0.2)


@pytest.mark.parametrize(
    "own, beside_, load, natural, w", [(20, 18, 3, 1, 1), (20, 12, 3, 1, 3), (20, 20, 3, 2, 2), (20, 9, 8, 2, 2)]
)
def test_the_shared_memory_slows_as_measured(own, beside_, load, natural, w):
    found = fit.shared(own, beside_, load, natural)
    assert found.bytes_per_loaded_byte == w and found.bytes_per_s >= own
    assert min(own, found.bytes_per_s - w * load) == pytest.approx(beside_)


def test_a_factor_is_found_or_refused():
    assert fit.factor(lambda f: 1 / (0.01 + 0.1 / f), 1 / (0.01 + 0.1 / 0.37)) == pytest.approx(0.37, rel=1e-3)
    with pytest.raises(UserError, match="no one factor"):
        fit.factor(lambda f: 1 / (0.01 + 0.1 / f), 101.0)


# --- profiles -----------------------------------------------------------------------------------------------------------


SIZES = (2**18, 2**20, 2**22, 2**24)


def cells(fixed: float, rate: float, sizes=SIZES) -> dict[int, list[float]]:
    return {size: noisy([fixed + size / rate] * 9, 2.0, size) for size in sizes}


def unit(rate: float, peak: float, main_format: str) -> Kernels:
    params, width = 2**22, kernels.width(main_format)
    memory = round(params * width / rate * 1e12)
    gemm = {
        n: noisy([gemm_ps(memory, round(2 * params * n / peak * 1e12), 4.0, 5 * 10**6) / 1e12] * 5, 1.0)
        for n in (1, 8, 64, 512)
    }
    formats = dict.fromkeys((main_format, "fp16", "fp32"), gemm)
    return Kernels(
        "a library",
        main_format,
        [4e-6] * 9,
        cells(5e-6, rate, [size * (1 if rate < 1e12 else 64) for size in SIZES]),
        formats,
        params,
    )


def synthetic(home: str, unified: bool) -> Measured:
    """GEMV 20 GB/s (GPU 1000), at 80 % beside loads; copies 8 GB/s, reads 2 GB/s, with four in flight 4."""
    device = unit(20e9, 400e9, "fp32") if unified else unit(1e12, 5e13, "fp16")
    reads = {(size, 1): [size / t for t in times] for size, times in cells(100e-6, 2e9).items()} | {
        (2**22, 4): noisy([4e9] * 9)
    }
    return Measured(
        home, "cpu" if unified else "gpu", unified, device, cells(7e-6, 8e9), Beside([20e9] * 9, [16e9] * 9, [1.9e9] * 9),
        Memory(64 * GB, 48 * GB, "a test"), None if unified else unit(20e9, 400e9, "fp32"),
        None if unified else {2**24: [2**24 / 3e9] * 5}, (24 * GB, 23 * GB), Disk(reads, 1000 * GB, "") if home == "disk" else None,
    )  # fmt: skip


@pytest.mark.parametrize("unified", [True, False], ids=["unified", "discrete"])
@pytest.mark.parametrize("home", ["disk", "memory"])
def test_a_profile_loads_with_every_source_and_the_figures_that_were_measured(tmp_path, home, unified):
    hw = profile.write(profile.content(synthetic(home, unified), "mine"), tmp_path / "mine.yaml", False)
    assert hw == hardware_profiles.load(tmp_path / "mine.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    chosen = {"tiers.dram.capacity", "tiers.host_buffer.capacity"} if unified and home == "memory" else set()
    for path, item in (hw.figures | hw.curves).items():
        assert item.kind == ("assumed" if path in chosen else "measured"), path
        assert path in chosen or "simmoe calibrate" in item.source
    assert hw.unified is unified
    assert hw.device.bytes_per_s == pytest.approx(20e9 if unified else 1e12, rel=0.03)
    assert hw.device.launch_ps == pytest.approx(5e6, rel=0.3)
    assert hw.device.flops_per_s["fp16"] == pytest.approx(400e9 if unified else 5e13, rel=0.05)
    if unified:
        beside_rate = hw.device_memory.bytes_per_s - hw.dram_bytes_per_loaded_byte * hw.link.bytes_per_s
        assert beside_rate == pytest.approx(0.8 * hw.device.bytes_per_s, rel=0.01)
    else:
        assert hw.cpu is not None and hw.link.pageable_bytes_per_s == pytest.approx(3e9, rel=0.01)
        assert (hw.link.upstream is None) == (home == "memory")
    took = load_ps(2**22, replace(hw, link=replace(hw.link, upstream=None))) / 1e12
    assert took == pytest.approx(100e-6 + 2**22 / 2e9 if unified and home == "disk" else 7e-6 + 2**22 / 8e9, rel=0.03)
    if home == "disk":
        assert hw.home.name == "disk" and hw.home.queue[0][1] == pytest.approx(0.5, rel=0.06)
    slow, fast = hardware_profiles.bounds(hw)
    assert slow.device.bytes_per_s < hw.device.bytes_per_s < fast.device.bytes_per_s or not unified


def test_a_profile_is_not_overwritten_and_a_refused_one_leaves_nothing(tmp_path):
    content = profile.content(synthetic("disk", True), "mine")
    profile.write(content, tmp_path / "mine.yaml", False)
    with pytest.raises(UserError, match=r"mine\.yaml exists; .*--force"):
        profile.write(content, tmp_path / "mine.yaml", False)
    before = (tmp_path / "mine.yaml").read_text()
    with pytest.raises(UserError, match="unknown key"):
        profile.write({**content, "surprise": 1}, tmp_path / "mine.yaml", True)
    assert (tmp_path / "mine.yaml").read_text() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_doubts_are_told():
    fine = synthetic("disk", True)
    assert fine.doubts() == []
    slow = {
        "fp32": fine.kernels.gemm["fp32"],
        "fp16": {1: [1.0] * 3, 64: [1.0] * 3},
        "bf16": {1: [1e-4] * 3, 64: [1.0] * 3},
    }
    doubtful = replace(
        fine,
        busy=("steal",),
        kernels=replace(fine.kernels, gemm=slow, gemv={**fine.kernels.gemv, 2**26: [1.0] * 3}),
        disk=replace(fine.disk, why_not="no such flag"),
    )
    text = "\n".join(doubtful.doubts())
    for word in (
        "steal",
        "page cache",
        "with 67.1 MB of weights took",
        "one token reads fp16 weights",
        "64 tokens with bf16 weights",
    ):
        assert word in text
    content = profile.content(doubtful, "mine")
    assert "page cache" in content["notes"]
    assert content["dram_bytes_per_loaded_byte"]["value"] == profile.CACHED


# --- the disk -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_file(monkeypatch):
    monkeypatch.setattr(disk, "LEAST", 2**24)
    return 2**24


def test_reads_without_o_direct_say_why(tmp_path, monkeypatch, small_file):
    def refuse(name):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(disk, "open_direct", refuse)
    with disk.scratch(tmp_path, small_file, 0.0) as file:
        assert (file.direct, file.why_not, file.size) == (False, "Invalid argument", small_file)
        found = disk.by_size_and_depth(file, (2**16, 2**18, 2**20), (1, 2), 0.05)
    assert {(2**16, 1), (2**18, 1), (2**20, 1), (2**18, 2)} == set(found)
    assert all(rate > 0 for rates in found.values() for rate in rates)


def test_a_first_direct_read_that_fails_falls_back(tmp_path, monkeypatch, small_file):
    monkeypatch.setattr(disk, "_refused", lambda handle: "not here")
    monkeypatch.setattr(disk, "open_direct", lambda name: disk.os.open(name, disk.os.O_RDONLY))
    with disk.scratch(tmp_path, small_file, 0.0) as file:
        assert (file.direct, file.why_not) == (False, "not here")
        assert file.reader(2**16)() == 2**16


def test_no_file_is_left_or_even_seen(tmp_path, small_file):
    with pytest.raises(RuntimeError), disk.scratch(tmp_path, small_file, 0.0) as file:
        assert list(tmp_path.iterdir()) == []
        raise RuntimeError
    with pytest.raises(OSError):
        file.reader(2**16)()  # closed as well


def test_a_disk_that_cannot_be_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: disk.shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match=r"has 1 B free; 268 MB are needed"), disk.scratch(tmp_path, 2**24, 0.0):
        pass


# --- the machine --------------------------------------------------------------------------------------------------------


def test_a_busy_machine_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
    (tmp_path / "stat").write_text("cpu 100 0 0 1000 0 0 0 0 0 0\n")
    watch = machine.Watch()
    assert watch.warnings() == []
    (tmp_path / "stat").write_text("cpu 100000 0 0 101000 0 0 0 50000 0 0\n")
    assert [line.split(":")[0] for line in watch.warnings()] == ["steal 20%", "foreign load 40%"]
    (tmp_path / "stat").unlink()
    assert watch.warnings() == machine.Watch().warnings() == []


def test_loads_that_fail_beside_a_product_are_not_hidden():
    def fail():
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        beside.both(lambda: 1e-3, 2**20, fail, 2**20, 0.01)


# --- the command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("home", ["disk", "memory"])
def test_quick_writes_a_profile_that_plays(tmp_path, monkeypatch, capsys, home, small_file):
    """With a tenth of the samples; memory: as it goes without torch."""
    monkeypatch.setattr(measure, "QUICK", 1.0)
    monkeypatch.setattr(measure, "FILE_BYTES", (small_file, small_file))
    monkeypatch.setattr(kernels, "SIZES", kernels.SIZES[:3])
    if home == "memory":
        monkeypatch.setitem(sys.modules, "torch", None)
    out = tmp_path / "box.yaml"
    where = ["--disk", str(tmp_path)] if home == "disk" else ["--home", "memory"]
    assert main(["calibrate", "--quick", "--device", "cpu", "--out", str(out), *where]) == 0
    said = capsys.readouterr()
    assert [path.name for path in tmp_path.iterdir()] == ["box.yaml"]
    assert "GEMV fp32" in said.out and "samples" in said.out and f"{out}: written and checked" in said.out
    assert ("torch is not installed" in said.out) == (home == "memory")
    assert "copies by size" in said.err
    assert main(["run", "--hw", str(out), "--trace", "switch", "--tokens", "200", "--budget", "50%", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tok_s"] > 0
    text = out.read_text()
    assert str(tmp_path) not in text and (
        machine.os.uname().nodename in ("", "localhost") or machine.os.uname().nodename not in text
    )


@pytest.mark.slow
def test_a_gpu_with_memory_of_its_own(tmp_path, monkeypatch, small_file):
    """The whole course with a CPU that claims to be one."""
    pytest.importorskip("torch")

    class Gpu(backend.Backend):
        unit, unified = "gpu", False

        def device_bytes(self):
            return 24 * GB, 23 * GB

    monkeypatch.setattr(measure, "QUICK", 0.5)
    monkeypatch.setattr(measure, "FILE_BYTES", (small_file, small_file))
    monkeypatch.setattr(kernels, "SIZES", kernels.SIZES[:3])
    told = []
    found = measure.machine(Gpu(), "disk", tmp_path, True, lambda *step: told.append(step))
    assert [number for _, number, _ in told] == [1, 2, 3, 4, 5] and {steps for *_, steps in told} == {5}
    hw = profile.write(profile.content(found, "box"), tmp_path / "box.yaml", False)
    assert list(hw.units) == ["gpu", "cpu"] and hw.home.name == "disk" and hw.reserved_bytes == GB


def test_bad_options_are_one_line(tmp_path, capsys):
    (tmp_path / "there.yaml").write_text("")
    run, ladder, other = (str(tmp_path / name) for name in ("run.json", "ladder.json", "other.json"))
    scenario = simmoe.run("a100", "switch", tokens=100, budget="50%").to_json()
    with open(run, "w") as stream:
        json.dump(scenario, stream)
    with open(other, "w") as stream:
        json.dump({**scenario, "scenario": {**scenario["scenario"], "context": None}}, stream)
    (tmp_path / "ladder.json").write_text('{"rungs": []}')
    (tmp_path / "text.json").write_text("{")
    there = str(tmp_path / "there.yaml")
    for options, line in {
        ("--out", there): r"there\.yaml exists; name another file with --out, or overwrite it with --force",
        ("--out", str(tmp_path / "no" / "x.yaml")): r"folder .*no does not exist; create it first",
        ("--name", "a b"): r"--name 'a b' is no name",
        ("--hw", "a100"): r"--hw works only together with --observed",
        ("--quick", "--observed", "tok_s=1", run): r"--quick works only without --observed",
        ("--home", "memory", "--disk", "."): r"--disk is for experts on a disk",
        ("--observed", "tok_s=fast", run): r"--observed 'tok_s=fast': write tok_s=NUMBER",
        ("--observed", "tok_s=0", run): r"write tok_s=NUMBER",
        ("--observed", "tok_s=1", str(tmp_path / "none.json")): r"no file .*none\.json; write it with: simmoe run",
        ("--observed", "tok_s=1", ladder): r"ladder\.json: holds no single run; write one with",
        ("--observed", "tok_s=1", str(tmp_path / "text.json")): r"text\.json: not JSON",
        ("--observed", "tok_s=1", other): r"other\.json: the context is not the one of the run",
        ("--observed", "tok_s=1e9", run): r"write tok_s=NUMBER",
        ("--observed", "tok_s=999999999", run): r"no one factor on the bandwidths explains tok_s=1e\+09",
        (
            "--observed",
            "tok_s=1",
            run,
            "--hw",
            "h100",
        ): r"run\.json: the run used a100 with digest .* but h100 has .*--hw",
        ("--observed", "tok_s=1", run, "--trace", "oracle"): r"run\.json: the trace is not the one of the run.*--trace",
        (
            "--observed",
            "tok_s=1",
            run,
            "--eviction",
            "fifo",
        ): r"run\.json: the plan is not the one of the run.*--eviction",
        ("--observed", "tok_s=1", run, "--out", there): r"there\.yaml exists",
        ("--observed", "tok_s=1", run, "--name", "x"): r"--name is about the profile that --out writes: add --out FILE",
        ("--observed", "tok_s=1", run, "--force"): r"--force is about the profile that --out writes: add --out FILE",
    }.items():
        refused(capsys, ["calibrate", *options], line)


# --- one constant -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_machine_at_seventy_percent_is_recognised(tmp_path, capsys):
    """The same run with all bandwidths × 0.7 is what the user saw."""
    played = simmoe.run("jetson_orin", "switch", tokens=300, budget="50%")
    slower = hardware_profiles.load("jetson_orin", observed.changes(played.workload.hw, 0.7))
    seen = simmoe.run(slower, "switch", tokens=300, budget="50%").tok_s
    (tmp_path / "run.json").write_text(json.dumps(played.to_json()))
    name, run = again(tmp_path / "run.json", Given())
    found = observed.explain(name, run, seen)
    assert run.digest == played.digest
    assert found.factor == pytest.approx(0.7, rel=0.01)
    assert sum(found.shares.values()) == pytest.approx(1.0, abs=0.05)
    assert observed.cautions(found) == []
    out = tmp_path / "orin_70.yaml"
    assert main(["calibrate", "--observed", f"tok_s={seen:.4f}", str(tmp_path / "run.json"), "--out", str(out)]) == 0
    assert "all bandwidths × 0.7" in capsys.readouterr().out
    content = yaml.safe_load(out.read_text())
    assert content["extends"] == "jetson_orin" and set(content) == {
        "extends",
        "name",
        "title",
        "tiers",
        "units",
        "link",
    } | ({"modes"} if "modes" in content else set())
    assert simmoe.run(str(out), "switch", tokens=300, budget="50%").tok_s == pytest.approx(seen, rel=0.01)


def test_no_gap_and_a_gap_too_wide(tmp_path):
    run = simmoe.run("a100", "switch", tokens=100, budget="25%")
    same = observed.explain("a100", run, run.tok_s)
    assert same.factor == pytest.approx(1.0, rel=1e-3) and same.shares == {}
    assert [label for label, *_ in same.budgets] == ["25 %", "50 %", "75 %", "100 %"]
    assert all(before == pytest.approx(after, rel=1e-3) for *_, before, after in same.budgets)
    wide = observed.explain("a100", run, run.tok_s / 8)
    assert "one constant does not explain this" in observed.cautions(wide)[0]


def test_runs_on_files_of_ones_own_are_replayed_by_name(tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: a100\nname: mine\ntitle: My box\n")
    policy = tmp_path / "my_lru.py"
    policy.write_text((hardware_profiles.FOLDER.parent / "policies/eviction/lru.py").read_text())
    run = simmoe.run(str(mine), "switch", tokens=100, budget="50%", eviction=str(policy))
    (tmp_path / "run.json").write_text(json.dumps(run.to_json()))
    arguments = ["calibrate", "--observed", "tok_s=20", str(tmp_path / "run.json")]
    refused(capsys, arguments, r"the run used the hw 'mine', which is not bundled; name its file with --hw")
    refused(
        capsys, [*arguments, "--hw", str(mine)], r"the eviction policy was the file my_lru\.py; name it with --eviction"
    )
    both = [*arguments, "--hw", str(mine), "--eviction", str(policy), "--force"]
    assert main([*both, "--out", str(tmp_path / "fitted.yaml")]) == 0
    assert hardware_profiles.load(tmp_path / "fitted.yaml").title.startswith("My box")
    (tmp_path / "sub").mkdir()
    with pytest.raises(UserError, match="so it must lie beside it"):
        observed.profile(observed.explain(str(mine), run, 20.0), tmp_path / "sub" / "x.yaml", "x")


def test_copies_take_every_size():
    calls = []
    found = copies.by_size(lambda size: lambda: calls.append(size), (1, 2), 0.0)
    assert set(found) == set(calls) == {1, 2} and all(len(times) >= 2 for times in found.values())
