"""simmoe calibrate: fits on machines with known answers, profiles that load and play, a disk that is left as it was."""

from __future__ import annotations

import errno
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simmoe import hardware_profiles
from simmoe.calibrate import backend, beside, cpu, disk, fit, gpu, machine, measure, profile, quantised, rows
from simmoe.calibrate.fit import Point
from simmoe.cli import calibrate as command
from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.simulator.link_time import load_ps
from simmoe.simulator.physics.gemm import gemm_ps
from simmoe.workloads import models
from tests.conftest import COMPILED
from tests.test_bad_input import refused

GB, MB = 10**9, 10**6
CACHE = 50 * 2**20


def noisy(value: float, percent: float = 2.0, seed: int = 0, n: int = 9) -> list[float]:
    return list(value * (1 + np.random.default_rng(seed).uniform(-percent, percent, n) / 100))


# --- a machine whose constants are known -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What is put into the rows and must come back."""

    read: float = 4.0e12  # bytes per second of device memory
    cached: float = 12.0e12  # of its last-level cache
    eager: float = 12e-6
    graph: float = 5e-6
    flops: float = 800e12
    softness: float = 2.5
    pinned: float = 55e9
    latency: float = 4e-6
    pageable: float = 8.4e9
    host: float = 90e9
    cpu_launch: float = 8e-6
    cpu_flops: float = 1.2e12
    cpu_int8: float = 6e12
    store: float = 4e9  # of a disk with four reads in flight
    store_latency: float = 80e-6
    grouped: float = 6e-6
    wait: float = 16e-6
    hand_over: float = 14e-6


@dataclass
class Timed:
    """A call whose time is known."""

    eager: float
    graph: float = 0.0

    def __call__(self) -> None:
        pass


class KnownGpu:
    """A device that takes the time of its laws, as `gpu` measures it."""

    name, made_by, unified, cache_bytes = "NVIDIA H200", "a library on NVIDIA H200", False, CACHE

    def __init__(self, known: Known) -> None:
        self.known, self.seed = known, 0

    def memory(self) -> tuple[int, int]:
        return 141 * GB, 140 * GB

    def samples(self, seconds: float) -> list[float]:
        self.seed += 1
        return noisy(seconds, 1.0, self.seed)

    def eager(self, calls: list[Any], seconds: float) -> list[float]:
        return self.samples(calls[0].eager)

    def graph(self, calls: list[Any], seconds: float) -> list[float]:
        return self.samples(calls[0].graph)

    def waited(self, call: Any, seconds: float) -> list[float]:
        return self.samples(call.eager)

    def products(self, format: str, rows: int, columns: int, pieces: int, tokens: int) -> list[Any]:
        size = rows * columns * {"fp32": 4, "bf16": 2, "fp16": 2}[format]
        rate = self.known.cached if size * pieces < CACHE else self.known.read
        work = 2 * rows * columns * tokens / self.known.flops * (1 if format != "fp32" else 16)
        took = gemm_ps(round(size / rate * 1e12), round(work * 1e12), self.known.softness, 0) / 1e12
        return [Timed(self.known.eager + took, self.known.graph + took)] * pieces

    def grouped(self, experts: int, rows: int, columns: int, pieces: int) -> list[Any]:
        return [Timed(0.0, self.known.grouped + experts * rows * columns * 2 / self.known.read)]

    def small(self) -> Any:
        return Timed(6e-6, 1e-6)

    def read_back(self) -> Any:
        return Timed(self.known.wait)

    def ping_pong(self) -> Any:
        return Timed(2 * self.known.hand_over)

    def copies(self, what: str, size: int) -> list[Any]:
        rate = self.known.pageable if "pageable" in what else self.known.pinned
        return [Timed(self.known.latency + size / rate)]


def host_rows(known: Known) -> list[rows.Row]:
    """Products of a CPU in two formats, plain reads, and what a loader and a disk do."""
    found = []
    for threads in (1, 8):
        for format in ("fp32", "int8"):
            for size in (2**20, 2**22, 2**24, 4 * CACHE):
                rate = known.host * (1 if threads == 8 and format == "fp32" else 0.6)
                took = noisy(known.cpu_launch + size / rate, 1.0, size)
                found.append(rows.timed_row("cpu", took, what="rows", format=format, threads=threads, bytes=size))
    for format, rate in (("fp32", known.cpu_flops), ("bf16", known.cpu_flops / 2), ("int8", known.cpu_int8)):
        row = rows.timed_row("cpu_flops", noisy(1e12 / rate), format=format, threads=8)
        found.append({**row, "tflops": 1e6 / row["us"]})
    found.append(rows.timed_row("memread", noisy(8 * CACHE / known.host / 1.05, 1.0), threads=8, bytes=8 * CACHE))
    for size in cpu.COPIES:
        found.append(
            rows.timed_row(
                "copy", noisy(7e-6 + size / 8e9, 1.0, size), what="host to host", how="back to back", bytes=size
            )
        )
    for size, depth in ((2**16, 1), (2**20, 1), (2**22, 1), (2**22, 4), (2**24, 1)):
        took = known.store_latency + size / known.store * 2 if depth == 1 else size / known.store
        row = rows.timed_row("disk", noisy(took, 1.0, size), what="read", direct=True, bytes=size, depth=depth)
        found.append(row)
    for other, rate in (("alone", 20e9), ("load", 16e9)):
        found.append(
            {**rows.rate_row("beside", "per_s", noisy(rate, 1.0), kernel="one token", other=other), "load_gbs": 1.9}
        )
    return found


def machine_row(**facts: Any) -> rows.Row:
    return {
        "kind": "machine", "unit": "cpu", "unified": True, "home": "disk", "device": "", "library": "a library on the CPU",
        "day": "2026-05-02", "llc_bytes": CACHE, "host_llc_bytes": CACHE, "threads": 8, "memory_bytes": [64 * GB, 48 * GB],
        "device_bytes": [0, 0], "disk_bytes": 1000 * GB, "foreign": 0.01, **facts,
    }  # fmt: skip


def known_rows(known: Known, home: str, unified: bool) -> list[rows.Row]:
    device = KnownGpu(known)
    if unified:
        return [machine_row(home=home), *host_rows(known)]
    facts = {"device": device.name, "library": device.made_by, "device_bytes": list(device.memory())}
    return [
        machine_row(home=home, unit="gpu", unified=False, **facts),
        *gpu.kernels(device, 0.0), *gpu.copies(device, 0.0), *host_rows(known),
    ]  # fmt: skip


def written(tmp_path: Path, found: list[rows.Row], force: bool = False) -> hardware_profiles.Hardware:
    return profile.write(profile.content(found, "mine"), tmp_path / "mine.yaml", force)


@pytest.mark.parametrize("unified", [True, False], ids=["unified", "discrete"])
@pytest.mark.parametrize("home", ["disk", "memory"])
def test_the_constants_of_a_known_machine_come_back(tmp_path, home, unified):
    known = Known()
    hw = written(tmp_path, known_rows(known, home, unified))
    assert hw == hardware_profiles.load(tmp_path / "mine.yaml") and hw.unified is unified
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert hardware_profiles.doubts(hw) == []
    chosen = {"tiers.dram.capacity", "tiers.host_buffer.capacity"} if unified and home == "memory" else set()
    for path, item in (hw.figures | hw.curves).items():
        if not path.startswith("peak.") and path not in (
            "units.gpu.processors",
            "units.gpu.clock",
        ):  # of the data sheet
            assert item.kind in (("assumed",) if path in chosen else ("measured", "fitted")), path
            assert path in chosen or "simmoe calibrate" in item.source
    host = hw.units["cpu"]
    assert host.bytes_per_s == pytest.approx(known.host, rel=0.02)
    assert host.launch_ps == pytest.approx(known.cpu_launch * 1e12, rel=0.05)
    assert host.flops_per_s["int8"] == pytest.approx(known.cpu_int8, rel=0.02)
    assert host.flops_per_s["fp16"] == host.flops_per_s["bf16"] == host.flops_per_s["fp32"]  # converted on the way
    if unified:
        left = hw.device_memory.bytes_per_s - hw.dram_bytes_per_loaded_byte * hw.link.bytes_per_s
        assert left == pytest.approx(0.8 * hw.device.bytes_per_s, rel=0.03)
    else:
        _check_gpu(hw, known)
        assert (hw.link.upstream is None) == (home == "memory")
        assert hw.tiers["dram"].bytes_per_s == pytest.approx(known.host * 1.05, rel=0.02)
    if home == "disk":
        assert hw.home.name == "disk" and hw.home.bytes_per_s == pytest.approx(known.store, rel=0.02)
        assert dict(hw.home.queue)[1] == pytest.approx(0.46, abs=0.03)
    size = 2**22
    seconds = {
        ("disk", True): known.store_latency + size / known.store * 2, ("memory", True): 7e-6 + size / 8e9,
    }.get((home, unified), known.latency + size / known.pinned)  # fmt: skip
    assert load_ps(size, replace(hw, link=replace(hw.link, upstream=None))) / 1e12 == pytest.approx(seconds, rel=0.03)


def _check_gpu(hw: hardware_profiles.Hardware, known: Known) -> None:
    device = hw.device
    assert device.bytes_per_s == pytest.approx(known.read, rel=0.05)  # the launch is part of the product that was timed
    assert device.bytes_per_s <= known.read * 1.01
    assert device.launch_ps == pytest.approx(known.eager * 1e12, rel=0.1)
    assert device.graph_launch_ps == pytest.approx(known.graph * 1e12, rel=0.1)
    assert device.grouped_launch_ps == pytest.approx(known.grouped * 1e12, rel=0.1)
    assert device.host_wait_ps == pytest.approx(known.wait * 1e12, rel=0.03)
    assert hw.figures["units.gpu.hand_over"].value == pytest.approx(known.hand_over * 1e12, rel=0.03)
    assert device.flops_per_s["bf16"] == pytest.approx(known.flops, rel=0.03)
    assert device.flops_per_s["fp32"] == pytest.approx(known.flops / 16, rel=0.03)
    assert device.softness == pytest.approx(known.softness, rel=0.15)
    assert hw.link.bytes_per_s == pytest.approx(known.pinned, rel=0.02)
    assert hw.link.pageable_bytes_per_s == pytest.approx(known.pageable, rel=0.02)


def test_the_cache_does_not_lift_the_bandwidth_of_memory():
    """The large matrix alone tells it; where none is large enough the rows are refused, whatever the small ones reached."""
    points = [Point(2**20, 2**20 / 12e12), Point(2**26, 2**26 / 12e12), Point(4 * CACHE, 4 * CACHE / 4e12)]
    assert fit.out_of_cache(points, CACHE) == points[-1]
    with pytest.raises(UserError, match="no product reads 210 MB, 4 times the last-level cache; the largest reads 67"):
        fit.out_of_cache(points[:2], CACHE)


H200 = [  # medians of one H200, us: products of one token in a CUDA graph and eager, measured with torch 2.11 on 2026-11-28
    ("graph", 262144, 5.674), ("graph", 1048576, 6.704), ("graph", 4194304, 7.236), ("graph", 16777216, 9.531),
    ("graph", 67108864, 19.891), ("graph", 268435456, 66.008), ("eager", 3145728, 13.56), ("eager", 8388608, 13.791),
    ("eager", 20971520, 14.328), ("eager", 117440512, 31.977),
]  # fmt: skip
H200_COPIES = [
    (65536, 7.247),
    (262144, 7.807),
    (1048576, 22.194),
    (4194304, 78.81),
    (16777216, 306.267),
    (268435456, 4844.171),
]


def test_what_an_h200_measured_gives_its_figures(tmp_path):
    """The same machine gave 8.03 TB/s and 980 TFLOP/s by a line through all sizes and a softness at the end of its search."""
    rest = [row for row in known_rows(Known(), "memory", False) if row["kind"] not in ("gemm", "copy", "grouped")]
    own = [{"kind": "gemm", "what": "rows", "tokens": 1, "how": how, "bytes": size, "us": us} for how, size, us in H200]
    square = {"kind": "gemm", "what": "8192^3", "tokens": 8192, "how": "eager", "bytes": 134217728, "us": 1400.395}
    copies = [
        {"kind": "copy", "what": "h2d pinned", "how": "back to back", "bytes": n, "us": us} for n, us in H200_COPIES
    ]
    slow = {"kind": "copy", "what": "h2d pageable", "how": "back to back", "bytes": 268435456, "us": 31913.1}
    rest[0] = {**rest[0], "llc_bytes": 60 * 2**20}
    hw = written(tmp_path, [*rest, *own, square, *copies, slow])
    assert hw.device.bytes_per_s == pytest.approx(4.07e12, rel=0.01)
    assert hw.device.flops_per_s["bf16"] == pytest.approx(785e12, rel=0.01)
    assert hw.link.bytes_per_s == pytest.approx(55.4e9, rel=0.01)
    assert hw.link.pageable_bytes_per_s == pytest.approx(8.41e9, rel=0.01)
    assert 3.6e6 < hw.device.graph_launch_ps + 3145728 / hw.device.bytes_per_s * 1e12 < 8.8e6
    assert hw.figures["units.gpu.launch"].kind == "fitted" and hw.figures["link.latency"].kind == "fitted"
    assert (
        hw.figures["units.gpu.launch"].low < hw.figures["units.gpu.launch"].value < hw.figures["units.gpu.launch"].high
    )
    assert "x the measured time" in hw.figures["units.gpu.launch"].source and hw.device.softness is None
    assert hw.figures["peak.memory_bandwidth"].text == "4800 GB/s"  # the data sheet of the device that was named
    assert (hw.device.processors, hw.device.clock_hz) == (132, 1_980_000_000)
    for size, us in H200_COPIES:
        assert load_ps(size, hw) / 1e6 == pytest.approx(us, rel=0.01)


def test_single_launches_are_no_grouped_launch(tmp_path):
    found = [
        {**row, "way": "loop"} if row["kind"] == "grouped" else row for row in known_rows(Known(), "memory", False)
    ]
    assert written(tmp_path, found).device.grouped_launch_ps is None


@pytest.mark.slow
@pytest.mark.parametrize("unified", [True, False], ids=["unified", "discrete"])
@pytest.mark.parametrize("home", ["disk", "memory"])
def test_rows_that_miss_a_kind_are_one_line(tmp_path, capsys, home, unified):
    whole, out = known_rows(Known(), home, unified), str(tmp_path / "x.yaml")
    for kind in {row["kind"] for row in whole} - {"machine"}:
        left = [row for row in whole if row["kind"] != kind]
        (tmp_path / "left.jsonl").write_text(rows.text_of(left), "utf-8")
        code = main(["calibrate", "--rows", str(tmp_path / "left.jsonl"), "--out", out, "--force"])
        needed = (
            {"cpu", "cpu_flops"}
            | ({"beside"} if unified else {"gemm", "copy"})
            | ({"disk"} if home == "disk" else {"copy"})
        )
        assert code == (2 if kind in needed else 0), (kind, capsys.readouterr().err)
        assert code == 0 or capsys.readouterr().err.count("\n") == 1


# --- fits ---------------------------------------------------------------------------------------------------------------


def test_a_fixed_part_says_how_far_its_law_is_from_the_points():
    good = [Point(size, 5e-6 + size / 20e9) for size in (10**3, 10**4, 10**7)]
    found = fit.fixed(good, 20e9, 0.0)
    assert found.value == pytest.approx(5e-6) and found.kind == "measured"
    found = fit.fixed([*good, Point(10**5, 40e-6)], 20e9, 0.0)
    assert (
        found.kind == "fitted"
        and found.ratios[0] == pytest.approx(10e-6 / 40e-6)
        and found.high == pytest.approx(35e-6)
    )
    assert fit.fixed([Point(10**7, 6e-4)], 20e9, 0.0).value == pytest.approx(
        1e-4
    )  # no small one: what the smallest leaves
    cached = [
        Point(size, size / 60e9) for size in (10**4, 10**5, 10**6)
    ]  # faster than the memory: a launch is not free for that
    assert fit.fixed(cached, 20e9, 1e-6).low == fit.fixed(cached, 20e9, 1e-6).value == 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_a_transfer_meets_every_time_and_is_never_faster_than_its_best_copy(seed):
    sizes = [2**n for n in range(16, 29, 2)]
    points = [Point(s, noisy(5e-6 + s / 50e9 + 3e-6 * (s < 10**6), 1.0, seed * 100 + s, 1)[0]) for s in sizes]
    found = fit.transfer(points)
    assert found.bytes_per_s == pytest.approx(50e9, rel=0.02)
    for (size, share), (_, took) in zip(found.shares, points):
        assert found.latency.value + size / (found.bytes_per_s * share) == pytest.approx(took, rel=0.06)


@pytest.mark.parametrize("p", [1.5, 3.0, 8.0])
def test_softness_is_found_in_noise_and_left_out_at_the_end_of_its_search(p):
    tokens, bandwidth, peak, params = [2**n for n in range(13)], 20 * GB, 500 * GB, 2**22
    memory = params * 4 * 10**12 // bandwidth

    def times(softness):
        ps = [gemm_ps(memory, 2 * params * n * 10**12 // peak, softness, 5_000_000) for n in tokens]
        return [(n, noisy(x / 1e12, 0.5, n, 1)[0]) for n, x in zip(tokens, ps)]

    found = fit.softness(times(p), params * 4, 2 * params, bandwidth, peak)
    assert found.value == pytest.approx(p, rel=0.2) and found.low <= found.value <= found.high
    assert fit.softness(times(None), params * 4, 2 * params, bandwidth, peak) is None


@pytest.mark.parametrize(
    "own, beside_, load, natural, w", [(20, 18, 3, 1, 1), (20, 12, 3, 1, 3), (20, 20, 3, 2, 2), (20, 9, 8, 2, 2)]
)
def test_the_shared_memory_slows_as_measured(own, beside_, load, natural, w):
    found = fit.shared(own, beside_, load, natural)
    assert found.bytes_per_loaded_byte == w and found.bytes_per_s >= own
    assert min(own, found.bytes_per_s - w * load) == pytest.approx(beside_)


# --- profiles -----------------------------------------------------------------------------------------------------------


def test_a_profile_is_not_overwritten_and_a_refused_one_leaves_nothing(tmp_path):
    found = known_rows(Known(), "disk", True)
    content = profile.content(found, "mine")
    written(tmp_path, found)
    with pytest.raises(UserError, match=r"mine\.yaml exists; .*--force"):
        written(tmp_path, found)
    before = (tmp_path / "mine.yaml").read_text()
    with pytest.raises(UserError, match="unknown key"):
        profile.write({**content, "surprise": 1}, tmp_path / "mine.yaml", True)
    assert (tmp_path / "mine.yaml").read_text() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_true_is_not_written_without_force(tmp_path):
    impossible = known_rows(Known(read=9e12), "memory", False)
    with pytest.raises(
        profile.Impossible, match=r"units\.gpu\.bandwidth: 8\.\d+ TB/s .* the most is 4\.8 TB/s.*Nothing was written"
    ):
        written(tmp_path, impossible)
    assert list(tmp_path.iterdir()) == []
    assert hardware_profiles.doubts(written(tmp_path, impossible, force=True))


# --- the disk -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_file(monkeypatch):
    monkeypatch.setattr(disk, "LEAST", 2**24)
    return 2**24


def test_reads_that_the_page_cache_would_answer_are_not_made(tmp_path, monkeypatch, small_file):
    def refuse(name):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(disk, "open_direct", refuse)
    line = r"cannot go past the page cache \(Invalid argument\).*--home memory"
    with pytest.raises(UserError, match=line), disk.scratch(tmp_path, small_file, 0.0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_first_direct_read_that_fails_is_refused_too(tmp_path, monkeypatch, small_file):
    monkeypatch.setattr(disk, "open_direct", lambda name: disk.os.open(name, disk.os.O_WRONLY))
    with pytest.raises(UserError, match="cannot go past the page cache"), disk.scratch(tmp_path, small_file, 0.0):
        pass
    assert list(tmp_path.iterdir()) == []


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


def test_foreign_load_is_what_neither_idles_nor_is_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    (tmp_path / "stat").write_text("cpu 100 0 0 1000 0 0 0 0 0 0\n")
    watch = machine.Watch()
    assert watch.foreign() == 0.0
    (tmp_path / "stat").write_text("cpu 100100 0 0 101000 0 0 0 50000 0 0\n")  # 40 % others, 40 % idle, 20 % steal
    assert watch.foreign() == pytest.approx(0.6, abs=0.01)
    (tmp_path / "stat").unlink()
    assert watch.foreign() == machine.Watch().foreign() == 0.0


def test_loads_that_fail_beside_a_product_are_not_hidden():
    def fail():
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        beside.both(lambda: 1e-3, 2**20, fail, 2**20, 0.01)


# --- the command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch, small_file):
    """A tenth of the samples, a small cache, and nobody else on the machine."""
    monkeypatch.setattr(measure, "QUICK", 1.0)
    monkeypatch.setattr(measure, "FILE_BYTES", (small_file, small_file))
    monkeypatch.setattr(measure, "cache_bytes", lambda: 2**22)
    monkeypatch.setattr(command, "LISTEN", 0.0)
    monkeypatch.setattr(machine.Watch, "foreign", lambda watch: 0.05)
    monkeypatch.setattr(cpu, "ROWS", 256)


@pytest.mark.slow
@pytest.mark.parametrize("home", ["disk", "memory"])
def test_quick_writes_a_profile_that_plays(tmp_path, monkeypatch, capsys, home, quick):
    """memory: as it goes without torch. The CPU is the real one, whatever it does beside, so that its figures may be such as no CPU has."""
    if home == "memory":
        monkeypatch.setitem(sys.modules, "torch", None)
    out, saved = tmp_path / "box.yaml", tmp_path / "box.jsonl"
    where = ["--disk", str(tmp_path)] if home == "disk" else ["--home", "memory"]
    arguments = ["calibrate", "--quick", "--device", "cpu", "--save-rows", str(saved), "--out", str(out), *where]
    assert main([*arguments, "--force"]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert {path.name for path in tmp_path.iterdir()} == {"box.yaml", "box.jsonl"}
    assert "cpu, rows of 2048, fp32" in said.out and "samples" in said.out and f"{out}: written and checked" in said.out
    assert ("torch is not installed" in said.out) == (home == "memory") == ("int8" not in said.out)
    assert "products by threads" in said.err
    assert main(["run", "--hw", str(out), "--trace", "switch", "--tokens", "200", "--budget", "50%", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tok_s"] > 0
    text, node = out.read_text(), machine.os.uname().nodename
    assert str(tmp_path) not in text and (node in ("", "localhost") or node not in text)
    again_ = tmp_path / "again.yaml"  # the rows give the same profile
    assert main(["calibrate", "--rows", str(saved), "--name", "box", "--out", str(again_), "--force"]) == 0
    assert again_.read_text() == text


@pytest.mark.slow
def test_a_gpu_with_memory_of_its_own(tmp_path, quick):
    """The whole course with a device that keeps to known laws."""
    told = []
    asked = measure.Asked(backend.choose()[0], KnownGpu(Known()), "disk", tmp_path, True)
    found = measure.machine(asked, machine.Watch(), lambda *step: told.append(step))
    assert [number for _, number, _ in told] == [1, 2, 3, 4, 5, 6] and {steps for *_, steps in told} == {6}
    hw = written(tmp_path, found, force=True)  # the CPU is the real one, whatever it does beside: no law of this test
    assert list(hw.units) == ["gpu", "cpu"] and hw.home.name == "disk" and hw.reserved_bytes == GB
    _check_gpu(hw, Known())


def test_a_memory_too_small_to_pass_its_cache_is_refused():
    with pytest.raises(
        UserError, match=r"products of 210 MB, 4 times the last-level cache, need 839 MB of free memory"
    ):
        cpu.products(backend.Numpy(), CACHE, 500 * MB, 0.0)


@pytest.mark.slow
def test_bad_options_are_one_line(tmp_path, capsys):
    (tmp_path / "there.yaml").write_text("")
    (tmp_path / "text.json").write_text("{")
    bare = '{"kind": "disk", "what": "read", "bytes": 4096}'
    word = '{"kind": "cpu_flops", "format": "q4", "tflops": 1}'
    for name, text in (
        ("bare", bare),
        ("word", word),
        ("number", "5"),
        ("zero", '{"kind": "launch", "what": "x", "us": 0}'),
        ("copy", '{"kind": "other", "us": 1}'),
        ("beside", '{"kind": "beside", "other": "load", "per_s": 48, "lo": 15, "hi": 17}'),
        ("faster", bare.replace("}", ', "depth": 1, "us": 100, "gbs": 3}')),
    ):
        (tmp_path / f"{name}.jsonl").write_text(text)
    (tmp_path / "half.jsonl").write_text('{"kind": "machine"}')
    there = str(tmp_path / "there.yaml")
    for options, line in {
        ("--out", there): r"there\.yaml exists; name another file with --out, or overwrite it with --force",
        ("--out", str(tmp_path / "no" / "x.yaml")): r"folder .*no does not exist; create it first",
        ("--name", "a b"): r"--name 'a b' is no name",
        ("--home", "memory", "--disk", "."): r"--disk is for experts on a disk",
        (
            "--rows",
            str(tmp_path / "no.jsonl"),
        ): r"--rows: no file .*no\.jsonl; simmoe calibrate --save-rows FILE writes one",
        ("--rows", str(tmp_path / "text.json")): r"text\.json: line 1: not JSON",
        ("--rows", str(tmp_path / "number.jsonl")): r"number\.jsonl: line 1: '5' is no row",
        ("--rows", str(tmp_path / "zero.jsonl")): r"zero\.jsonl: line 1: us is 0; it must be a number above 0",
        ("--rows", str(tmp_path / "beside.jsonl")): r"line 1: per_s is 48 and not between lo 15 and hi 17",
        (
            "--rows",
            str(tmp_path / "faster.jsonl"),
        ): r"line 1: gbs is 3, and 4,096 bytes in 100 us are 0\.04096; correct",
        ("--rows", str(tmp_path / "copy.jsonl")): r"copy\.jsonl: 0 rows of kind machine; write exactly one",
        (
            "--rows",
            str(tmp_path / "half.jsonl"),
        ): r"half\.jsonl: line 1: unit is None; a machine row needs unit, unified",
        (
            "--rows",
            str(tmp_path / "bare.jsonl"),
        ): r"bare\.jsonl: line 1: a row of kind disk without depth; it needs what, bytes, depth",
        (
            "--rows",
            str(tmp_path / "word.jsonl"),
        ): r"word\.jsonl: line 1: unknown format 'q4'; known: fp32, fp16, bf16, int8",
        ("--rows", str(tmp_path / "copy.jsonl"), "--quick"): r"--quick is about measuring, and --rows reads",
        ("--save-rows", there, "--out", str(tmp_path / "x.yaml")): r"there\.yaml exists",
        (
            "--observed",
            "tok_s=11.2",
            "run.json",
        ): r"--observed is a command of its own now: simmoe explain tok_s=N --gpu NAME --host NAME --model NAME",
    }.items():
        refused(capsys, ["calibrate", *options], line)


# --- what engines of CPUs go by ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["interpreted", pytest.param("compiled", marks=[COMPILED, pytest.mark.slow])])
def test_products_of_4_bits_are_products(way):
    multiply = quantised.product if way == "interpreted" else quantised.compiled()[0]
    weights, scales, token, token_scales, out = quantised.draw(2, 3)
    multiply(weights, scales, token, token_scales, out)
    low, high = (weights & 15).astype(np.int64) - 8, (weights >> 4).astype(np.int64) - 8
    whole = np.concatenate([low, high], axis=2)
    assert whole.shape == (2, 3, 32, 32) and np.abs(whole).max() == 8
    expected = np.einsum("gbil,bi,gbl,b->gl", whole, token.astype(np.int64), scales.astype(float), token_scales)
    assert out == pytest.approx(expected, rel=1e-4, abs=1e-5 * np.abs(expected).max())


def engine_rows(known: Known, home: str) -> list[rows.Row]:
    """One thread takes in 10 GB/s, eight 40 GB/s; a core makes four million operations in a millisecond."""
    size = 4 * CACHE
    found = [
        rows.timed_row("quantised", noisy(size / rate, 1.0), threads=threads, bytes=size)
        for threads, rate in ((1, 10e9), (2, 19e9), (8, 40e9))
    ]
    return [
        machine_row(home=home),
        *host_rows(known),
        *found,
        rows.timed_row("clock", noisy(1e-3, 0.1), cycles=4_000_000),
    ]


def test_an_engine_of_the_cpu_plays_on_what_was_measured(tmp_path, capsys):
    """Decode reads at the rate of its threads, and no more than all of them; prompts go by cores and clock."""
    saved, out = tmp_path / "rows.jsonl", tmp_path / "box.yaml"
    saved.write_text(rows.text_of(engine_rows(Known(), "memory")))
    assert main(["calibrate", "--rows", str(saved), "--out", str(out)]) == 0
    unit = hardware_profiles.load(out).device
    assert unit.quantised_bytes_per_s == pytest.approx(40e9, rel=0.01)
    assert unit.thread_bytes_per_s == pytest.approx(10e9, rel=0.01)
    assert (unit.processors, unit.clock_hz) == (8, pytest.approx(4e9, rel=0.01))
    capsys.readouterr()
    words = ["run", "--hw", str(out), "--model", "olmoe-1b-7b", "--format", "Q4_0", "--runtime", "llama_cpp_cpu"]
    said = {}
    for threads in (1, 2, 4, 8):
        line = [
            *words,
            "--routing",
            "uniform",
            "--prompt",
            "512",
            "--generate",
            "2",
            "--threads",
            str(threads),
            "--json",
        ]
        assert main(line) == 0
        said[threads] = json.loads(capsys.readouterr().out)
    model = models.load("olmoe-1b-7b", "Q4_0")
    read = model.head.bytes + sum(one.attention.bytes + 8 * one.expert.bytes for one in model.layers)
    cache = 16 * 2 * 2048 * 2 * 513.5  # of 16 layers, keys and values of 2 bytes, behind the prompt
    for threads, rate in ((1, 10e9), (2, 20e9), (4, 40e9), (8, 40e9)):
        seconds = (read + cache) / rate + 16 * 3e-6
        assert said[threads]["tok_s"] == pytest.approx(1 / seconds, rel=0.02)
    products = 2 * 512 * sum(one.attention.params + 8 * one.expert.params for one in model.layers)
    attention = 16 * 2048 * 4 * 512 * 513 // 2
    for threads in said:
        rate = 22 * threads * 4e9
        assert said[threads]["prompt_tok_s"] == pytest.approx(512 * rate / (products + attention), rel=0.05)


def test_rows_without_them_give_a_profile_as_before(tmp_path):
    saved, out = tmp_path / "rows.jsonl", tmp_path / "box.yaml"
    saved.write_text(rows.text_of([machine_row(home="memory"), *host_rows(Known())]))
    assert main(["calibrate", "--rows", str(saved), "--out", str(out)]) == 0
    unit = hardware_profiles.load(out).device
    assert (unit.quantised_bytes_per_s, unit.thread_bytes_per_s, unit.clock_hz, unit.processors) == (None,) * 4


@COMPILED
@pytest.mark.slow
def test_the_clock_is_a_clock():
    """Between the slowest and the fastest that any core has."""
    found = quantised.rows(2**20, 0.2)
    (clock,) = rows.of(found, "clock")
    assert 0.2e9 < clock["cycles"] / clock["us"] * 1e6 < 6.5e9 or clock["lo"] < clock["us"] / 3  # a busy machine
    assert [row["threads"] for row in rows.of(found, "quantised")] == sorted({1, backend.cores()})
