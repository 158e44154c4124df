"""Every bundled machine obeys physics and plays a trace; extends, modes, changes and bounds do what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import simmoe
from simmoe.hardware_profiles import FOLDER, available, bounds, doubts, load, merged
from simmoe.hardware_profiles.figures import figure
from simmoe.hardware_profiles.ranges import spread
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware, Link, Power, Thermal, Upstream
from simmoe.workloads.format.trace import names
from tests.conftest import for_each
from tests.test_hardware import UNIFIED, W, changed, number

NAMES = available()
TB = 10**12
needs_traces = pytest.mark.skipif("switch" not in names(), reason="the bundled traces are not made yet")

DENSE = {  # TFLOP/s of FP16 without sparsity, FP32 accumulation on GeForce, GPU only on Jetson: nothing may exceed them
    "a10": 125, "a100": 312, "a100_pcie_40": 312, "a100_pcie_80": 312, "a100_sxm_40": 312, "b200": 2250, "dgx_spark": 125,
    "gh200": 989, "h100": 989, "h100_pcie": 756, "h200": 989, "jetson_agx_thor": 258.5, "jetson_orin": 42.6,
    "jetson_orin_nano": 10.2, "jetson_orin_nano_super": 16.7, "jetson_orin_nx": 15, "jetson_xavier_nx": 6.76, "l4": 121,
    "l40s": 362, "m2_max": 13.6, "m2_ultra": 27.2, "m3_ultra": 28.4, "m4_max": 34.1, "mi300x": 1307, "rtx_3060": 25.6,
    "rtx_3090": 71, "rtx_4090": 165.2, "rtx_4090_nvme": 165.2, "rtx_5090": 209.5, "rtx_pro_6000": 504, "strix_halo": 59.4, "t4": 65,
    "a40": 149.7, "gtx_1080_ti": 11.3, "gtx_1650_super": 8.8, "jetson_agx_xavier": 11.3, "m1": 2.3, "m1_max": 10.6, "m2_max_30": 10.7,
    "m3_max": 14.1, "quadro_rtx_6000": 130.5, "r9700": 191, "rtx_2080": 40.3, "rtx_2080_ti": 53.8, "rtx_3070": 40.6, "rtx_3080": 59.5,
    "rtx_3080_ti": 68.2, "rtx_4000_ada": 106.9, "rtx_4070": 58.3, "rtx_4070_ti": 80.2, "rtx_4080": 97.5, "rtx_4090_48gb": 165.2,
    "rtx_4090_d": 147, "rtx_5000_ada": 261, "rtx_5060_ti": 47.4, "rtx_5070": 61.7, "rtx_5070_ti": 87.9, "rtx_5080": 112.6,
    "rtx_6000_ada": 364.2, "rtx_a6000": 154.8, "rtx_pro_4500": 202, "rx_7600": 43.5, "rx_7900_xt": 103, "rx_7900_xtx": 122.8,
    "tesla_p100": 19, "tesla_v100": 113,
}  # fmt: skip
TWINS = {  # profiles of the very device that they extend
    "jetson_orin_nano_super": "jetson_orin_nano", "a100_pcie_40": "a100_sxm_40", "rtx_4090_nvme": "rtx_4090",
    "rtx_4090_48gb": "rtx_4090",
}  # fmt: skip
PCIE = {15.754, 31.508, 63.015}  # GB/s raw of x16 in generations 3, 4 and 5


def peak(hw: Hardware, name: str) -> int | None:
    found = hw.figures.get(f"peak.{name}")
    return found.value if found else None


# --- physics --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@for_each("name", NAMES)
def test_nothing_is_faster_than_its_peak(name: str) -> None:
    hw = load(name)
    memory, link = peak(hw, "memory_bandwidth"), peak(hw, "link_bandwidth")
    assert memory is not None
    for rate in (hw.device.bytes_per_s, hw.device.grouped_bytes_per_s or 0, hw.device_memory.bytes_per_s):
        assert rate <= 1.02 * memory
    if link is not None:
        assert hw.link.bytes_per_s < link
    for number_format, rate in hw.device.flops_per_s.items():
        assert rate <= 1.02 * (peak(hw, f"flops.{number_format}") or rate)


@pytest.mark.slow
@for_each("name", NAMES)
def test_every_unit_has_its_processors_and_every_memory_its_peak(name: str) -> None:
    """GPUs also a clock. Only the rate of a drive has no peak beside it."""
    hw = load(name)
    read = {unit.memory for unit in hw.units.values()} | ({hw.link.src} if not hw.unified else set())
    assert all(hw.tiers[tier].peak_bytes_per_s for tier in read)
    assert all(unit.processors for unit in hw.units.values())
    assert all(unit.clock_hz for unit in hw.units.values() if unit.name.startswith("gpu"))
    for mode in hw.modes:
        capped = load(f"{name}@{mode}").device
        assert (capped.processors, capped.clock_hz) != (hw.device.processors, hw.device.clock_hz), mode


FP32_CORES = {  # of one processor, by generation: what a card computes in FP32 is cores x 2 x clock
    128: [
        "rtx_3060", "rtx_3070", "rtx_3080", "rtx_3080_ti", "rtx_3090", "rtx_4070", "rtx_4070_ti", "rtx_4080", "rtx_4090", "rtx_4090_d",
        "rtx_5060_ti", "rtx_5070", "rtx_5070_ti", "rtx_5080", "rtx_5090", "rtx_a6000", "rtx_4000_ada", "rtx_5000_ada", "rtx_6000_ada",
        "rtx_pro_4500", "rtx_pro_6000", "a10", "a40", "l4", "l40s", "h100", "h100_pcie", "h200", "gh200", "b200", "gtx_1080_ti",
        "dgx_spark", "jetson_agx_thor", "jetson_orin", "jetson_orin_nx", "jetson_orin_nano", "jetson_orin_nano_super",
        "r9700", "rx_7600", "rx_7900_xt", "rx_7900_xtx", "m1", "m1_max", "m2_max_30", "m3_max",
    ],
    64: [
        "a100", "t4", "rtx_2080", "rtx_2080_ti", "quadro_rtx_6000", "gtx_1650_super", "tesla_p100", "tesla_v100", "jetson_xavier_nx",
        "jetson_agx_xavier",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("cores", "name"), [(cores, name) for cores, some in FP32_CORES.items() for name in some])
def test_processors_and_clock_give_the_fp32_rate_without_tensor_cores(cores: int, name: str) -> None:
    """The rates were written down from other sources, so that a slip in either shows."""
    unit = load(name).device
    assert unit.processors and unit.clock_hz
    rate = unit.processors * cores * 2 * unit.clock_hz
    assert 0.87 * rate < unit.flops_per_s["fp32"] <= 1.02 * rate  # some state what is reached


@pytest.mark.slow
@for_each("name", NAMES)
def test_a_discrete_link_is_pcie_or_named(name: str) -> None:
    hw = load(name)
    raw = peak(hw, "link_bandwidth")
    assert hw.unified or (raw is not None and raw / 1e9 in PCIE) or name == "gh200"


@pytest.mark.slow
@for_each("name", list(DENSE))
def test_flops_are_dense(name: str) -> None:
    rates = load(name).device.flops_per_s
    assert rates["fp16"] <= 1.02 * DENSE[name] * TB
    assert rates["fp16"] > 0.4 * DENSE[name] * TB
    for half in ("fp8", "int8"):  # half the bits: at most about four times the rate, on GeForce
        assert rates.get(half, 0) <= 4.3 * DENSE[name] * TB


@pytest.mark.slow
def test_every_gpu_stands_in_the_table() -> None:
    assert {name for name in NAMES if load(name).device.name == "gpu"} == set(DENSE)


@pytest.mark.slow
@for_each("name", NAMES)
def test_a_profile_that_extends_another_states_its_own_bandwidth_and_peak(name: str) -> None:
    own = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    if "extends" not in own or TWINS.get(name) == own["extends"]:
        return
    assert "memory_bandwidth" in own["peak"]
    (unit,) = load(name).devices
    assert "bandwidth" in own["units"][unit]
    assert set(own) >= {"name", "title", "tiers", "units"}


@pytest.mark.slow
def test_a_measured_figure_of_one_gpu_is_not_passed_on_to_another() -> None:
    """What a profile inherits about its device and link is no measurement of it."""
    for name in NAMES:
        own = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        if "extends" not in own or TWINS.get(name) == own["extends"]:
            continue
        base, hw = load(own["extends"]), load(name)
        for path, mine in hw.figures.items():
            if path.startswith((f"units.{hw.device.name}.", "link.")) and mine == base.figures.get(path):
                assert mine.kind != "measured", f"{name}: {path} comes from {base.name}"


# --- they play ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_traces
@for_each("name", NAMES)
def test_every_machine_plays_the_bundled_trace(name: str) -> None:
    slow, fast = (simmoe.run(hw, "switch", tokens=256, engine="simpy") for hw in bounds(load(name)))
    run = simmoe.run(name, "switch", tokens=256, engine="simpy")
    assert slow.tok_s and run.tok_s and fast.tok_s
    assert slow.tok_s < run.tok_s < fast.tok_s or load(name).unified
    assert slow.tok_s < fast.tok_s


@pytest.mark.slow
@needs_traces
@pytest.mark.parametrize(
    ("path", "more", "sign"),
    [
        ("units.gpu.bandwidth", "830 GB/s", -1),
        ("link.bandwidth", "50.2 GB/s", 1),
        ("units.gpu.launch", "10.4 us", -1),
        ("units.gpu.flops.fp16", "135.6 TFLOP/s", -1),
        ("link.latency", "14 us", -1),
    ],
)
def test_a_changed_rate_moves_the_speed_in_its_direction(path: str, more: str, sign: int) -> None:
    def total(hw: Hardware) -> int:
        return int(simmoe.run(hw, "switch", budget="25%", tokens=256, engine="simpy").pass_ps.sum())

    before, after = total(load("a100")), total(load("a100", {path: more}))
    assert (before - after) * sign > 0


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@for_each("name", NAMES)
def test_bounds_enclose_the_machine_and_are_machines(name: str) -> None:
    hw = load(name)
    slow, fast = bounds(hw)
    for one, other in ((slow, hw), (hw, fast)):
        assert one.device.bytes_per_s <= other.device.bytes_per_s
        assert one.link.bytes_per_s <= other.link.bytes_per_s
        assert one.device.launch_ps >= other.device.launch_ps
        assert one.link.latency_ps >= other.link.latency_ps
        for number_format, rate in one.device.flops_per_s.items():
            assert rate <= other.device.flops_per_s[number_format]
        for tier, mine in one.tiers.items():
            assert mine.bytes_per_s <= other.tiers[tier].bytes_per_s
            assert mine.capacity_bytes == other.tiers[tier].capacity_bytes
    for end in (slow, fast):
        for unit in end.units.values():
            assert unit.bytes_per_s <= end.tiers[unit.memory].bytes_per_s
            assert unit.bytes_per_s % 1000 == 0
        assert end.link.bytes_per_s <= end.tiers[end.link.src].bytes_per_s
        if end.unified:
            assert end.device_memory.bytes_per_s > end.dram_bytes_per_loaded_byte * end.link.bytes_per_s
    assert len({slow.digest, hw.digest, fast.digest}) == 3
    assert (slow.name, fast.name) == (f"{name} (pessimistic)", f"{name} (optimistic)")
    assert slow.figures["units." + hw.device.name + ".launch"].value == slow.device.launch_ps


def test_bounds_of_a_tight_unified_machine_leave_the_gpu_a_rest(tmp_path: Path) -> None:
    doc = changed(dram_bytes_per_loaded_byte={**number(30), "range": [1, 49]})
    slow, fast = bounds(write(tmp_path, doc))
    assert slow.device_memory.bytes_per_s == 75 * 10**9
    assert slow.dram_bytes_per_loaded_byte * slow.link.bytes_per_s < slow.device_memory.bytes_per_s
    assert (slow.dram_bytes_per_loaded_byte, fast.dram_bytes_per_loaded_byte) == (49, 1)


@pytest.mark.parametrize(
    ("value", "dimension", "kind", "ends"),
    [
        (100_000, "bandwidth", "measured", (95_000, 105_000)),
        (100_000, "bandwidth", "nominal", (70_000, 100_000)),
        (100_000, "bandwidth", "assumed", (75_000, 125_000)),
        (1000, "bandwidth", "assumed", (1000, 1000)),
        (1000, "compute", "nominal", (700, 1000)),
        (1000, "time", "nominal", (1000, 1000)),
        (1000, "time", "assumed", (750, 1250)),
        (0, "time", "assumed", (0, 0)),
        (1000, "size", "assumed", (1000, 1000)),
        (1000, "bytes", "measured", (1000, 1000)),
        (1100, "exponent", "assumed", (1000, 1375)),
    ],
)
def test_a_figure_without_a_range_has_the_spread_of_its_kind(value: int, dimension: str, kind: str, ends: Any) -> None:
    assert spread(value, dimension, kind) == ends


def test_a_memory_has_its_peak_and_no_range_reaches_past_it(tmp_path: Path) -> None:
    """That of the device's memory is stated once, under `peak`; of the others beside their bandwidth."""
    host = {
        "host_dram": {
            "capacity": number("64 GiB"),
            "bandwidth": number("60 GB/s"),
            "peak_bandwidth": number("66 GB/s", "nominal"),
        }
    }
    cpu = {**EXTRAS["units__cpu"], "memory": "host_dram", "bandwidth": number("55 GB/s")}
    doc = changed(
        memory="discrete", tiers={**UNIFIED["tiers"], **host}, units={**UNIFIED["units"], "cpu": cpu}, **{W: None},
        peak={"memory_bandwidth": number("120 GB/s", "nominal")}, link={**UNIFIED["link"], "from": "host_dram"},
    )  # fmt: skip
    hw = write(tmp_path, doc)
    assert {name: tier.peak_bytes_per_s for name, tier in hw.tiers.items()} == {
        "dram": 120 * 10**9, "host_dram": 66 * 10**9, "flash": None,
    }  # fmt: skip
    assert bounds(hw)[1].tiers == {
        **bounds(hw)[1].tiers,
        "host_dram": replace(hw.tiers["host_dram"], bytes_per_s=66 * 10**9),
    }
    assert hw.figures["units.cpu.bandwidth"].high == hw.figures["tiers.host_dram.bandwidth"].high == 66 * 10**9
    assert (hw.figures["tiers.host_dram.peak_bandwidth"].low, doubts(hw)) == (66 * 10**9, [])
    faster = load("rtx_4090", {"tiers.host_dram.bandwidth": "110 GB/s"})  # its host is one of many: its peak is assumed
    assert (faster.figures["tiers.host_dram.bandwidth"].high, doubts(faster)) == (137_500_000_000, [])


def test_a_range_ends_at_the_peak_beside_it(tmp_path: Path) -> None:
    doc = changed(peak={"memory_bandwidth": number("85 GB/s"), "flops": {"fp16": number("9 TFLOP/s")}})
    figures = write(tmp_path, doc).figures
    assert figures["units.gpu.bandwidth"].high == 85 * 10**9
    assert figures["units.gpu.flops.fp16"].high == 10 * TB  # the value itself stays, even above a peak
    assert figures["peak.memory_bandwidth"].low == figures["peak.memory_bandwidth"].high


# --- what may be added to a profile ---------------------------------------------------------------------------------


def write(tmp_path: Path, doc: Any, name: str = "box") -> Hardware:
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(doc, sort_keys=False), encoding="utf-8")
    return load(tmp_path / f"{name}.yaml")


CURVE = {"points": [["1 MB", 0.5], ["10 MB", 1]], "kind": "assumed", "source": "chosen for a test"}
EXTRAS: dict[str, Any] = {
    "units__gpu__softness": number(2.5),
    "units__gpu__grouped_launch": number("33 us"),
    "units__gpu__grouped_bandwidth": number("90 GB/s"),
    "units__gpu__graph_launch": number("2 us"),
    "units__gpu__host_wait": number("40 us"),
    "units__gpu__hand_over": number("15 us"),
    "units__gpu__kernel_floor": number("6 us"),
    "units__gpu__graph_kernel_floor": number("0.84 us"),
    "units__gpu__processors": {**number(16), "range": [14, 18]},
    "units__gpu__clock": number("1.3 GHz"),
    "units__cpu": {"memory": "dram", "bandwidth": number("40 GB/s"), "launch": number("9 us"), "flops": {"fp32": number("1 TFLOP/s")}},
    "link__efficiency": CURVE,
    "link__pageable": number("1 GB/s"),
    "link__duplex": "half",
    "link__upstream": {"from": "nvme", "bandwidth": number("1 GB/s"), "latency": number("90 us"), "pipelined": True},
    "tiers__nvme": {"capacity": number("2 TB"), "bandwidth": number("1 GB/s"), "queue": {**CURVE, "points": [[1, 0.5], [4, 1]]}},
    "power": {"idle": number("5 W"), "per_byte": number("60 pJ"), "per_link_byte": number("1 nJ"), "per_flop": number("0.7 pJ")},
    "thermal": {"resistance": number("2.3 K/W"), "limit": number("99 C"), "ambient": number("25 C")},
    "modes": {"15W": {"units.gpu.bandwidth": number("50 GB/s"), "units.gpu.flops.fp16": number("2 TFLOP/s")}},
}  # fmt: skip


def test_without_the_optional_keys_nothing_is_set(tmp_path: Path) -> None:
    hw = write(tmp_path, changed())
    unit = hw.device
    assert (unit.softness, unit.grouped_launch_ps, unit.grouped_bytes_per_s, unit.graph_launch_ps) == (None,) * 4
    assert unit.host_wait_ps == 0
    assert (unit.hand_over_ps, unit.kernel_floor_ps, unit.graph_kernel_floor_ps, unit.processors, unit.clock_hz) == (
        None,
    ) * 5
    assert {tier.peak_bytes_per_s for tier in hw.tiers.values()} == {None}
    assert hw.link == Link("flash", "dram", 2 * 10**9, 100_000_000)
    assert (hw.link.efficiency, hw.link.duplex, hw.link.upstream, hw.tiers["flash"].queue) == ((), "full", None, ())
    assert (hw.cpu, hw.power, hw.thermal, hw.modes, hw.home.name) == (None, None, None, (), "flash")


def test_every_optional_key_arrives_in_base_units(tmp_path: Path) -> None:
    hw = write(tmp_path, changed(**EXTRAS))
    unit = hw.device
    assert (unit.softness, unit.grouped_launch_ps, unit.graph_launch_ps) == (2.5, 33_000_000, 2_000_000)
    assert unit.grouped_bytes_per_s == 90 * 10**9
    assert (unit.host_wait_ps, unit.hand_over_ps) == (40_000_000, 15_000_000)
    assert (unit.kernel_floor_ps, unit.graph_kernel_floor_ps) == (6_000_000, 840_000)
    assert (unit.processors, unit.clock_hz) == (16, 1_300_000_000)
    assert hw.cpu is not None
    assert (hw.cpu.name, hw.cpu.bytes_per_s) == ("cpu", 40 * 10**9)
    assert hw.link.efficiency == ((10**6, 0.5), (10**7, 1.0))
    assert (hw.link.pageable_bytes_per_s, hw.link.duplex) == (10**9, "half")
    assert hw.link.upstream == Upstream("nvme", 10**9, 90_000_000, True)
    assert hw.home.name == "nvme"
    assert hw.tiers["nvme"].queue == ((1, 0.5), (4, 1.0))
    assert hw.power == Power(5_000_000, None, 60_000_000, 10**9, 700_000)
    assert hw.thermal == Thermal(2300, 99_000, 25_000)
    assert hw.modes == ("15W",)
    assert set(hw.curves) == {"link.efficiency", "tiers.nvme.queue"}
    slow, fast = bounds(hw)
    assert slow.device.softness == 1.875 and fast.device.softness == 3.125
    assert slow.link.upstream is not None and slow.link.upstream.bytes_per_s == 750_000_000
    assert fast.link.pageable_bytes_per_s == 1_250_000_000
    assert fast.device.grouped_launch_ps == 24_750_000
    assert (slow.device.host_wait_ps, fast.device.host_wait_ps) == (50_000_000, 30_000_000)
    assert (slow.device.hand_over_ps, fast.device.kernel_floor_ps, slow.device.graph_kernel_floor_ps) == (
        18_750_000,
        4_500_000,
        1_050_000,
    )
    assert (slow.device.clock_hz, fast.device.clock_hz) == (975_000_000, 1_625_000_000)  # a clock is a rate
    assert slow.device.processors == slow.figures["units.gpu.processors"].value == 16  # a count is what was sold


@pytest.mark.parametrize(
    ("path", "said", "line"),
    [
        ("units.gpu.clock", "19.8 GHz", "19.8 GHz (assumed) cannot be true: the most is 6.2 GHz, a Core i9-14900KS"),
        ("units.gpu.clock", "20 MHz", "20 MHz (assumed) cannot be true: the least is 100 MHz, a third of a Jetson"),
        ("units.cpu.clock", "6201 MHz", "6201 MHz (assumed) cannot be true: the most is 6.2 GHz"),
        ("units.gpu.processors", "16384", "16384 (assumed) cannot be true: the most is 1024, three times the 304 compute units"),
        ("tiers.host_dram.bandwidth", "52 GB/s", "52 GB/s (assumed) cannot be true: the most is 51.2 GB/s, tiers.host_dram.peak_b"),
        ("tiers.host_dram.peak_bandwidth", "9 TB/s", "9 TB/s (assumed) cannot be true: the most is 3.2768 TB/s, two sockets with 16"),
    ],
)  # fmt: skip
def test_a_clock_a_count_or_a_rate_that_no_machine_has_is_doubted(path: str, said: str, line: str) -> None:
    name = "rtx_4090+ddr4_3200_2ch"
    assert doubts(load(name)) == []
    assert doubts(load(name, {path: said}))[0].startswith(f"{path}: {line}")


def both(**more: Any) -> dict[str, Any]:
    return {**EXTRAS, **more}


UP = EXTRAS["link__upstream"]
MORE_MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"reserved": {**number("2 GB"), "range": "1 GB"}}, "reserved.range: '1 GB' is no range; write [low, high]"),
    ({"reserved": {**number("2 GB"), "range": ["1 GB"]}}, "reserved.range: ['1 GB'] is no range"),
    ({"reserved": {**number("2 GB"), "range": ["1 GB", 3]}}, "reserved.range: 3 is not a quantity with a unit"),
    ({"reserved": {**number("2 GB"), "range": ["3 GB", "4 GB"]}}, "reserved.range: ['3 GB', '4 GB'] does not enclose"),
    ({"reserved": {**number("2 GB"), "rnge": 1}}, "reserved: unknown key 'rnge'; did you mean 'range'?"),
    ({"units__gpu__host_wait": number("40 GB")}, "units.gpu.host_wait.value: unknown unit 'GB' in '40 GB'; known: ps, ns, us"),
    ({"units__gpu__softness": number("4")}, "units.gpu.softness.value: '4' is no exponent of a soft maximum"),
    ({"units__gpu__softness": number(0.5)}, "units.gpu.softness.value: 0.5 is no exponent of a soft maximum"),
    ({"units__gpu__softness": number(1.0005)}, "units.gpu.softness.value: 1.0005 is no exponent"),
    ({"units__gpu__softness": 4}, "units.gpu.softness: bare 4; write {value: 1, kind: measured"),
    ({"units__gpu__grouped_bandwidth": number("101 GB/s")}, "units.gpu.grouped_bandwidth: 101000000000 B/s is more than"),
    ({"link__efficiency": {**CURVE, "points": []}}, "link.efficiency.points: [] is no list of pairs; write it like [[1 MB"),
    ({"link__efficiency": {**CURVE, "points": [["1 MB"]]}}, "link.efficiency.points: [['1 MB']] is no list of pairs"),
    ({"link__efficiency": {**CURVE, "points": [[1, 0.5]]}}, "link.efficiency.points: 1 is not a quantity with a unit"),
    ({"link__efficiency": {**CURVE, "points": [["1 MB", 1.5]]}}, "link.efficiency.points: 1.5 is no share of the bandwidth"),
    ({"link__efficiency": {**CURVE, "points": [["1 MB", "0.5"]]}}, "link.efficiency.points: '0.5' is no share"),
    ({"link__efficiency": {**CURVE, "points": [["1 MB", 1], ["1 MB", 1]]}}, "do not rise; list them from small to large"),
    ({"link__efficiency": {**CURVE, "source": ""}}, "link.efficiency.source: '' names no source"),
    ({"tiers__flash__queue": {**CURVE, "points": [[0.5, 1]]}}, "tiers.flash.queue.points: 0.5 is not a whole number"),
    ({"units__gpu__clock": number(1.3)}, "units.gpu.clock.value: 1.3 is not a quantity with a unit; write it like '1.98 GHz'"),
    ({"units__gpu__clock": number("1.3 GHZ")}, "units.gpu.clock.value: unknown unit 'GHZ' in '1.3 GHZ'; did you mean 'GHz'?"),
    ({"units__gpu__clock": number("0 GHz")}, "units.gpu.clock.value: '0 GHz' must be more than zero"),
    ({"units__gpu__processors": number("16")}, "units.gpu.processors.value: '16' is not a whole number; write a count"),
    ({"tiers__dram__peak_bandwidth": number("120 GB/s")}, "tiers.dram.peak_bandwidth: the peak of the memory that 'gpu', the device,"),
    ({"link__pageable": number("3 GB/s")}, "link.pageable: 3000000000 B/s is more than link.bandwidth, which is 2000000000"),
    ({"link__duplex": "both"}, "link.duplex: unknown 'both'; known: full, half"),
    (both(link__upstream={**UP, "from": "flash"}), "link.upstream.from is 'flash', which is an end of the link; it is"),
    (both(link__upstream={**UP, "from": "nvm"}), "link.upstream.from: unknown 'nvm'; did you mean 'nvme'?"),
    (both(link__upstream={**UP, "pipelined": "yes"}), "link.upstream.pipelined: 'yes' is neither yes nor no"),
    (both(link__upstream={**UP, "bandwidth": number("2 GB/s")}), "link.upstream.bandwidth: 2000000000 B/s is more than tiers"),
    ({"power": {"per_byte": number("60 W")}}, "power.per_byte.value: unknown unit 'W' in '60 W'; known: aJ, fJ, pJ, nJ, J"),
    ({"thermal": {"limit": number("99 C")}}, "thermal: missing key 'resistance'; required: resistance, limit, ambient"),
    ({"modes": []}, "modes: [] is not a filled mapping; its keys: names of power modes"),
    ({"modes": {15: {}}}, "modes: 15 is no name of a mode; use letters, digits"),
    ({"modes": {"15W": {}}}, "modes.15W: {} is not a filled mapping; list replaced figures by their path"),
    ({"modes": {"15W": {"units.gpu.bandwith": {}}}}, "modes.15W: no figure 'units.gpu.bandwith' in this file to replace; did"),
    ({"modes": {"15W": {"link.bandwidth": number("1 us")}}}, "modes.15W.link.bandwidth.value: unknown unit 'us' in '1 us'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), MORE_MISTAKES, ids=[message[:50] for _, message in MORE_MISTAKES])
def test_a_mistake_is_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as info:
        write(tmp_path, changed(**change))
    assert "\n" not in str(info.value)
    assert str(info.value).startswith("box.yaml: ")
    assert message in str(info.value)


def test_the_message_about_a_bare_number_shows_one_that_is_accepted() -> None:
    assert figure({"value": 1, "kind": "measured", "source": "x"}, "exponent", "here").value == 1000
    assert figure({"value": 1.005, "kind": "measured", "source": "x"}, "exponent", "here").value == 1005


# --- extends --------------------------------------------------------------------------------------------------------


def child(**own: Any) -> dict[str, Any]:
    return {"name": "child", "title": "Another box", "extends": "box.yaml", **own}


def test_a_profile_extends_another_key_by_key(tmp_path: Path) -> None:
    write(tmp_path, changed(**EXTRAS))
    hw = write(
        tmp_path, child(link={"latency": number("7 us")}, power=None, reserved=number("1 GB", "nominal")), "child"
    )
    assert (hw.name, hw.title, hw.link.latency_ps, hw.link.bytes_per_s) == (
        "child",
        "Another box",
        7_000_000,
        2 * 10**9,
    )
    assert hw.power is None and hw.thermal is not None
    assert hw.figures["reserved"].kind == "nominal"
    grandchild = write(
        tmp_path, {**child(tiers={"nvme": {"queue": {**CURVE, "points": [[9, 1]]}}}), "extends": "child.yaml"}, "third"
    )
    assert grandchild.tiers["nvme"].queue == ((9, 1.0),)  # a curve is replaced as a whole
    assert grandchild.link.latency_ps == 7_000_000


def test_the_digest_is_that_of_the_merged_content(tmp_path: Path) -> None:
    write(tmp_path, changed())
    short = write(tmp_path, child(reserved=number("1 GB")), "child")
    whole = write(tmp_path, changed(name="child", title="Another box", reserved=number("1 GB")), "whole")
    assert short == whole
    assert load("a100_pcie_80").digest != load("a100").digest


@pytest.mark.slow
@for_each("name", NAMES)
def test_written_out_in_full_a_profile_is_the_same_machine(tmp_path: Path, name: str) -> None:
    assert write(tmp_path, merged(FOLDER / f"{name}.yaml"), name) == load(name)


def test_a_bundled_profile_can_be_extended_from_anywhere(tmp_path: Path) -> None:
    hw = write(tmp_path, {"name": "mine", "title": "Mine", "extends": "h100", "price": number("30000 USD")}, "mine")
    assert hw.device == load("h100").device
    assert hw.figures["price"].value == 3_000_000


def test_what_cannot_be_extended(tmp_path: Path) -> None:
    write(tmp_path, changed())
    for own, message in (
        (child(extends="box.yml"), "child.yaml: extends: 'box.yml' is no file beside it and no bundled profile"),
        (child(extends="h10"), "no bundled profile; did you mean 'h100'? nearest: h100, "),
        (child(extends=["h100"]), "extends: ['h100'] is no file beside it"),
        (child(extends="child.yaml"), "child.yaml: extends: child -> child is a loop; a chain must end in"),
        (
            {"extends": "h100", "title": "x"},
            "child.yaml: missing key 'name'; a profile that extends another has a name",
        ),
        (child(link={"latncy": number("7 us")}), "child.yaml: link: unknown key 'latncy'; did you mean 'latency'?"),
        (child(link=None), "child.yaml: missing key 'link'; required"),
    ):
        with pytest.raises(UserError) as info:
            write(tmp_path, own, "child")
        assert message in str(info.value)
    (tmp_path / "child.yaml").write_text(yaml.safe_dump(child(extends="other.yaml")))
    with pytest.raises(UserError, match=r"^child.yaml: extends: other -> child -> other is a loop"):
        write(tmp_path, child(extends="child.yaml"), "other")


# --- modes and changes ----------------------------------------------------------------------------------------------


def test_a_mode_replaces_figures() -> None:
    whole, low = load("jetson_orin"), load("jetson_orin@15W")
    assert whole.modes == low.modes == ("50W", "30W", "15W")
    assert (low.name, low.title) == ("jetson_orin@15W", f"{whole.title}, mode 15W")
    assert low.device.bytes_per_s == 101_900_000_000 < whole.device.bytes_per_s
    assert low.figures["units.gpu.bandwidth"].text == "101.9 GB/s"
    assert low.digest != whole.digest
    with pytest.raises(UserError, match=r"^jetson_orin.yaml: no power mode '60W'; did you mean '50W'\?; modes of this"):
        load("jetson_orin@60W")
    with pytest.raises(UserError, match=r"no power mode '1'; modes of this profile: none"):
        load("a100@1")


@pytest.mark.slow
@for_each("name", NAMES)
def test_a_mode_is_never_faster_than_the_machine_without_cap(name: str) -> None:
    whole = load(name)
    for mode in whole.modes:
        capped = load(f"{name}@{mode}")
        assert capped.device.bytes_per_s <= whole.device.bytes_per_s, mode
        if (name, mode) != ("jetson_orin_nx", "40W"):  # a Super mode: faster than the profile's own clocks
            assert capped.device.flops_per_s["fp16"] < whole.device.flops_per_s["fp16"], mode


def test_an_existing_file_may_have_an_at_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "box@home.yaml").write_text(yaml.safe_dump(changed()), encoding="utf-8")
    assert load(tmp_path / "box@home.yaml").name == "box"


def test_a_change_is_assumed_and_says_what_it_was() -> None:
    hw = load("a100", {"link.bandwidth": "50GB/s", "units.gpu.softness": "4", "link.duplex": "half"})
    assert (hw.link.bytes_per_s, hw.device.softness, hw.link.duplex) == (50 * 10**9, 4.0, "half")
    figure = hw.figures["link.bandwidth"]
    assert (figure.kind, figure.source) == ("assumed", "changed on the command line (was 25.1 GB/s)")
    assert hw.title.endswith("pinned host memory), link.bandwidth = 50GB/s, units.gpu.softness = 4, link.duplex = half")
    assert hw.digest != load("a100").digest == load("a100", {}).digest
    assert (
        "was not stated"
        in load("rtx_4090", {"price": "5 USD", "units.gpu.softness": "4"}).figures["units.gpu.softness"].source
    )
    assert load("jetson_orin@30W", {"reserved": "1 GiB"}).reserved_bytes == 2**30


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("link.bandwith", "1 GB/s", "a100.yaml: no figure 'link.bandwith' to change; did you mean 'link.bandwidth'?"),
        ("units.gp.launch", "1 us", "no figure 'units.gp.launch' to change; did you mean 'units.gpu.launch'?"),
        ("title", "x", "no figure 'title' to change; `simmoe hw show` lists them"),
        ("tiers.nvme.bandwidth", "1 GB/s", "no figure 'tiers.nvme.bandwidth' to change"),
        ("link.bandwidth", "1 GB", "link.bandwidth.value: unknown unit 'GB' in '1 GB'; did you mean 'GB/s'?"),
        ("link.duplex", "none", "link.duplex: unknown 'none'"),
        ("units.gpu.softness", "soft: [", "units.gpu.softness.value: 'soft: [' is no exponent"),
        ("thermal.limit", "99 C", "thermal: missing key 'resistance'"),
    ],
)
def test_a_change_that_cannot_be_is_one_line(path: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as info:
        load("a100", {path: value})
    assert message in str(info.value)
    assert "\n" not in str(info.value)
