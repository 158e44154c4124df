"""Equal devices joined by a fabric, "8xh100:nvlink4": the same machine as a profile that lists them, through every door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.hardware_profiles import ranks
from simmoe.hardware_profiles.reading import merged
from simmoe.hardware_profiles.schema import Checked
from simmoe.play.money import price_of
from simmoe.play.scenario import Scenario
from simmoe.simulator import files
from simmoe.simulator.errors import UserError

FABRICS = files.available(ranks.FABRICS, ".yaml")
FABRIC = """
schema: 1
name: mine
title: a cable
bandwidth: {value: 20 GB/s, kind: nominal, source: test}
latency: {value: 5 us, kind: assumed, source: test}
"""
PLAY = {"timeline": "distributed", "budget": "25%", "tokens": 200, "placement": "expert_split=1/1"}


@pytest.fixture
def cable(tmp_path: Path) -> Path:
    (tmp_path / "cable.yaml").write_text(FABRIC)
    return tmp_path / "cable.yaml"


@pytest.mark.parametrize("name", FABRICS)
def test_a_fabric_is_what_its_name_says_and_can_be_true(name):
    checked = Checked(merged(ranks.find(name), folder=ranks.FABRICS), name, ranks.SHAPE)
    assert set(checked.figures) == {"bandwidth", "latency"}
    hw = hardware_profiles.load(f"2xa100:{name}")
    assert hw.fabric.bytes_per_s == checked.figures["bandwidth"].value and hardware_profiles.doubts(hw) == []


def test_there_are_fabrics_of_every_usual_kind():
    assert {name.split("_")[0].rstrip("345") for name in FABRICS} == {"nvlink", "pcie", "rdma", "ethernet"}


def test_each_device_is_the_one(cable):
    hw, one = hardware_profiles.load(f"8xa100:{cable}"), hardware_profiles.load("a100")
    assert hw.devices == ("gpu", *(f"gpu{number}" for number in range(1, 8)))
    for number in range(8):
        alone = hw.alone(number)
        assert replace(alone.device, name="gpu", memory=one.device.memory) == one.device
        assert replace(alone.link, dst=one.link.dst) == one.link and alone.home == one.home
        assert replace(alone.device_memory, name=one.device.memory) == one.device_memory
    assert (hw.fabric.bytes_per_s, hw.fabric.latency_ps) == (20 * 10**9, 5 * 10**6)


def test_it_plays_as_a_profile_that_lists_the_same_devices(tmp_path, cable):
    one, fabric = merged(hardware_profiles.find("a100")), yaml.safe_load(FABRIC)
    listed = {
        "extends": "a100", "name": "listed", "title": "two", "devices": ["gpu", "gpu1"], "tiers": {"hbm1": one["tiers"]["hbm"]},
        "units": {"gpu1": {**one["units"]["gpu"], "memory": "hbm1"}}, "links": {"gpu1": {**one["link"], "to": "hbm1"}},
        "fabric": {key: fabric[key] for key in ("bandwidth", "latency")},
    }  # fmt: skip
    (tmp_path / "listed.yaml").write_text(yaml.safe_dump(listed))
    by_list = simmoe.run(tmp_path / "listed.yaml", "oracle-4x16-k4", **PLAY)
    by_name = simmoe.run(f"2xa100:{cable}", "oracle-4x16-k4", **PLAY)
    assert by_name.clocks == by_list.clocks and by_name.memory_bytes == by_list.memory_bytes


def test_the_price_is_that_of_all():
    one, four = (price_of(hardware_profiles.load(name)) for name in ("rtx_3090", "4xrtx_3090:pcie5_x8"))
    assert four.amount == 4 * one.amount and four.currency == one.currency


def test_no_range_of_any_device_reaches_past_the_peak():
    hw = hardware_profiles.load("3xh100:nvlink4")
    for path in ("units.{}.flops.fp16", "units.{}.bandwidth"):
        highs = {hw.figures[path.format(name)].high for name in hw.devices}
        assert len(highs) == 1
    assert {hw.figures[f"tiers.{hw.units[name].memory}.bandwidth"].high for name in hw.devices} == {
        hw.figures["tiers.hbm.bandwidth"].high
    }


def test_they_stand_in_a_host_and_their_figures_can_be_changed():
    hw = hardware_profiles.load("2xrtx_5090:pcie5_x8+ddr5_5600_2ch", {"fabric.latency": "3 us"})
    assert len(hw.devices) == 2 and hw.cpu is not None and hw.fabric.latency_ps == 3 * 10**6
    assert hw.links[0].bytes_per_s == hw.links[1].bytes_per_s


def test_a_saved_scenario_plays_again(tmp_path, cable, monkeypatch):
    asked = {**PLAY, "tokens": 60}
    (tmp_path / "there").mkdir()
    for name in ("2xa100:nvlink3", f"2xa100:{cable}", f"2xrtx_5090:{cable}+ddr5_5600_2ch"):
        wanted = simmoe.run(name, "oracle-4x16-k4", **asked)
        Scenario(name, "oracle-4x16-k4", **asked).save(tmp_path / "there" / "s.yaml", force=True)
        monkeypatch.chdir("/")
        again = simmoe.run(simmoe.load_scenario(tmp_path / "there" / "s.yaml"))
        assert again.clocks == wanted.clocks and again.digest == wanted.digest
    assert f"2xrtx_5090:../{cable.name}+ddr5_5600_2ch" in (tmp_path / "there" / "s.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("1xa100:nvlink3", "1xa100:nvlink3: a machine of several devices has 2 to 100 of them; name one device alone"),
        ("101xa100:nvlink3", "has 2 to 100 of them"),
        ("2xa100:nvlnk3", "unknown fabric 'nvlnk3': .* did you mean 'nvlink3'"),
        ("2xa1000:nvlink3", "unknown hardware 'a1000'"),
        ("2xa1000", "unknown hardware '2xa1000'"),
        ("8xh100", r"^8xh100: name what joins them, such as 8xh100:nvlink4 \(ethernet_10g, .*nvlink3"),
        ("2xjetson_orin:nvlink3", "devices lists 2 units of one unified memory"),
        ("2xrtx_4090_nvme:pcie5_x8", "a store before the links"),
        ("2x2xa100:nvlink3:nvlink3", "lists 2 devices already; write 2x before a machine of one"),
    ],
)
def test_what_is_no_such_machine_is_one_line(name, line):
    with pytest.raises(UserError, match=line):
        hardware_profiles.load(name)


def test_a_mistake_in_a_fabric_names_it(tmp_path):
    (tmp_path / "odd.yaml").write_text(FABRIC.replace("20 GB/s", "20"))
    with pytest.raises(UserError, match=r"odd\.yaml: bandwidth"):
        hardware_profiles.load(f"2xa100:{tmp_path / 'odd.yaml'}")


def test_the_command_shows_them(capsys):
    assert main(["hw", "show", "2xa100:nvlink3"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("2 x A100") and "fabric.latency" in shown


@pytest.mark.parametrize(
    ("path", "value", "of"),
    [
        ("link.bandwidth", "1 GB/s", lambda hw, n: hw.links[n].bytes_per_s / 10**9),
        ("units.gpu.bandwidth", "2 TB/s", lambda hw, n: hw.alone(n).device.bytes_per_s / 10**12),
        ("peak.memory_bandwidth", "1 TB/s", lambda hw, n: hw.alone(n).device.bytes_per_s / 10**12),
        ("tiers.hbm.capacity", "3 GB", lambda hw, n: hw.alone(n).device_memory.capacity_bytes / 10**9),
    ],
)
def test_a_figure_that_is_changed_is_that_of_each_device(path, value, of):
    changed = hardware_profiles.load("4xh100:nvlink4", {path: value})
    assert [of(changed, n) for n in range(4)] == [float(value.split()[0])] * 4
    assert changed.title.count(path) == 1
    usual = hardware_profiles.load("4xh100:nvlink4")
    less = hardware_profiles.load("4xh100:nvlink4", {"tiers.hbm2.capacity": "3 GB"})
    assert [less.alone(n).device_memory.capacity_bytes == 3 * 10**9 for n in range(4)] == [False, False, True, False]
    one = hardware_profiles.load("4xh100:nvlink4", {"links.gpu2.bandwidth": "1 GB/s"})
    assert [link.bytes_per_s for link in one.links] == [
        10**9 if n == 2 else link.bytes_per_s for n, link in enumerate(usual.links)
    ]
