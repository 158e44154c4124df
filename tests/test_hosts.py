"""A machine in two parts, a GPU's profile in a host: what each part gives, the same through every door, and what is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.hardware_profiles import host
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import parse
from simmoe.workloads.format import trace as traces

GB, GIB = 10**9, 2**30
SLOTS = {
    "PCIe 3.0 x16": 15.754,
    "PCIe 4.0 x16": 31.508,
    "PCIe 5.0 x16": 63.015,
}  # GB/s one way, as data sheets state them
PAIR = ("--gpu", "rtx_3060", "--host", "ddr4_3200_2ch")
PLAY = ("--trace", "switch", "--budget", "25%", "--tokens", "200")
with_traces = pytest.mark.skipif("switch" not in traces.names(), reason="the bundled traces are not made yet")


def played(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], line: str, *words: str) -> None:
    assert main(list(words)) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and re.search(line, out.err), out.err


def test_there_are_hosts_of_every_usual_kind():
    kinds = [host.load(name)[0]["is"] for name in host.available()]
    assert len(kinds) >= 15
    assert {kind["channels"] for kind in kinds} >= {2, 4, 6, 8, 12} and {kind["sockets"] for kind in kinds} == {1, 2}
    assert {kind["instructions"] for kind in kinds} == {"avx2", "avx512", "amx", "neon"}
    assert {kind["slot"] for kind in kinds} == set(SLOTS)


@pytest.mark.parametrize("name", host.available())
def test_a_host_is_what_its_name_says_and_can_be_true(name):
    content, checked = host.load(name)
    kind, figures = content["is"], {path: figure.value for path, figure in checked.figures.items()}
    dram, speed, channels, *rest = content["name"].split("_")
    assert content["name"] == name and kind["dram"] == dram and kind["mega_transfers"] == int(speed)
    assert f"{kind['channels']}ch" == channels and ("2s" in rest) == (kind["sockets"] == 2) == ("numa" in content)
    peak = kind["channels"] * kind["sockets"] * 8 * kind["mega_transfers"] * 10**6
    assert figures["peak.memory_bandwidth"] == peak
    assert figures["cpu.bandwidth"] <= figures["memory.bandwidth"] <= checked.figures["memory.bandwidth"].high <= peak
    machine = hardware_profiles.load(f"rtx_5090+{name}")
    assert (
        machine.home.peak_bytes_per_s == peak
        and machine.cpu
        and machine.cpu.processors == kind["cores"] * kind["sockets"]
    )
    assert not hardware_profiles.doubts(machine)
    assert hardware_profiles.bounds(machine)[0].link.bytes_per_s < machine.link.bytes_per_s


def test_the_card_gives_its_own_and_the_host_the_rest():
    alone, machine = hardware_profiles.load("rtx_3060"), hardware_profiles.load("rtx_3060+ddr4_2133_4ch")
    assert machine.device == alone.device and machine.device_memory == alone.device_memory
    assert (machine.reserved_bytes, machine.power, machine.link.latency_ps) == (
        alone.reserved_bytes,
        alone.power,
        alone.link.latency_ps,
    )
    assert machine.cpu and machine.cpu.bytes_per_s == machine.home.bytes_per_s == 46 * GB
    assert machine.home.capacity_bytes == 64 * GIB and machine.home.name == alone.home.name
    assert machine.link.pageable_bytes_per_s == 7 * GB
    assert (
        machine.home.peak_bytes_per_s == 4 * 8 * 2133 * 10**6 and machine.cpu.processors == 12
    )  # of the host, not of the card's
    assert machine.name == "rtx_3060+ddr4_2133_4ch" and "X99" in machine.title and machine.digest != alone.digest


@pytest.mark.parametrize("gpu", ["rtx_3060", "rtx_5090", "t4", "a100", "h100", "mi300x"])
@pytest.mark.parametrize("name", ["ddr4_2133_4ch", "ddr4_3200_2ch", "ddr5_4800_12ch"])
def test_the_link_is_that_of_the_slower_slot(gpu, name):
    card, machine = hardware_profiles.load(gpu), hardware_profiles.load(f"{gpu}+{name}")
    own, slot = card.figures["peak.link_bandwidth"].value, SLOTS[host.load(name)[0]["is"]["slot"]] * GB
    if slot >= own:
        assert machine.link.bytes_per_s == card.link.bytes_per_s
        assert machine.figures["link.bandwidth"] == card.figures["link.bandwidth"]
    else:
        assert machine.link.bytes_per_s == pytest.approx(card.link.bytes_per_s * slot / own, rel=1e-6)
        figure = machine.figures["link.bandwidth"]
        assert (
            figure.kind == "assumed"
            and "PCIe" in figure.source
            and card.figures["link.bandwidth"].source in figure.source
        )
    assert machine.figures["peak.link_bandwidth"].value == pytest.approx(min(slot, own), rel=1e-6)


def test_a_rate_of_pageable_memory_is_no_more_than_the_link(tmp_path):
    slow = {"extends": "ddr5_6000_2ch", "name": "riser", "title": "A desktop whose card stands on a riser of one lane"}
    _, said = host.load("ddr5_6000_2ch")
    content = {**slow, "is": {**host.load("ddr5_6000_2ch")[0]["is"], "slot": "PCIe 3.0 x1"}}
    (tmp_path / "riser.yaml").write_text(yaml.safe_dump(content))
    machine = hardware_profiles.load(f"rtx_4090+{tmp_path / 'riser.yaml'}")
    assert (
        machine.link.bytes_per_s
        == machine.link.pageable_bytes_per_s
        == pytest.approx(25.6 * GB * 0.985 / 31.508, rel=1e-3)
    )
    assert said.figures["pageable"].value == 20 * GB


def test_reads_that_cross_the_sockets_slow_the_cpu_by_the_measured_factor():
    content, checked = host.load("ddr4_2666_6ch_2s")
    own, other = 90.9, 34.4  # GB/s by Intel MLC: from a socket's own memory, from the other's
    crossing = 2 / (0.5 / own + 0.5 / other)  # both sockets, half of each one's reads at the other
    assert checked.figures["numa"].value / 1000 == pytest.approx(2 * own / crossing, rel=0.005)
    machine = hardware_profiles.load("rtx_3060+ddr4_2666_6ch_2s")
    assert machine.cpu and machine.cpu.bytes_per_s == pytest.approx(181.2 * GB / 1.82, rel=1e-6)
    assert machine.home.bytes_per_s == parse(content["memory"]["bandwidth"]["value"], "bandwidth") == int(181.2 * GB)
    assert "cross the sockets" in machine.figures["units.cpu.bandwidth"].source


@with_traces
def test_two_cards_keep_their_links_and_both_stand_in_the_same_host(tmp_path, capsys):
    one = {key: {"value": value, "kind": "assumed", "source": "a test"} for key, value in
           {"capacity": "12 GiB", "bandwidth": "350 GB/s"}.items()}  # fmt: skip
    unit = {"memory": "gddr1", "bandwidth": one["bandwidth"], "launch": {**one["bandwidth"], "value": "4 us"},
            "flops": {"fp16": {**one["bandwidth"], "value": "50 TFLOP/s"}}}  # fmt: skip
    link = {"from": "host_dram", "to": "gddr1", "bandwidth": {**one["bandwidth"], "value": "20 GB/s"},
            "latency": {**one["bandwidth"], "value": "7 us"}}  # fmt: skip
    fabric = {"bandwidth": {**one["bandwidth"], "value": "20 GB/s"}, "latency": {**one["bandwidth"], "value": "5 us"}}
    two = {"name": "two", "title": "Two cards", "extends": "rtx_4090", "tiers": {"gddr1": one}, "units": {"gpu1": unit},
           "devices": ["gpu", "gpu1"], "links": {"gpu1": link}, "fabric": fabric}  # fmt: skip
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(two))
    machine = hardware_profiles.load(f"{tmp_path / 'two.yaml'}+ddr4_2133_4ch")
    assert machine.devices == ("gpu", "gpu1") and machine.cpu and machine.cpu.bytes_per_s == 46 * GB
    assert [one.bytes_per_s for one in machine.links] == pytest.approx([12.8 * GB, 10 * GB], rel=1e-3)
    how = ("--timeline", "distributed", "--placement", "expert_split=1/1", *PLAY)
    bare = ("run", "--gpu", str(tmp_path / "two.yaml"), "--host", "ddr4_2133_4ch", *how)
    mine = played(capsys, *bare, "--set", "link.pinned_capacity=1GiB")
    assert "the other 153 of 216 experts are loaded at the pageable rate" in mine["notes"][-1]  # as on one card
    assert mine["link_busy_ps"] > played(capsys, *bare)["link_busy_ps"]


@pytest.mark.slow
@with_traces
def test_two_parts_are_one_machine_through_every_door(tmp_path, capsys):
    mine = played(capsys, "run", *PAIR, *PLAY)
    assert mine["scenario"]["hardware"]["name"] == "rtx_3060+ddr4_3200_2ch"
    assert played(capsys, "run", "--hw", "rtx_3060+ddr4_3200_2ch", *PLAY) == mine
    options = {"trace": "switch", "budget": "25%", "tokens": 200}
    assert simmoe.run(gpu="rtx_3060", host="ddr4_3200_2ch", **options).to_json() == mine
    (row,) = played(capsys, "compare", *PAIR, *PLAY)["rows"]
    assert row["run"] == mine
    rows = played(capsys, "compare", *PAIR, "--host", "ddr4_2133_4ch", "--gpu", "rtx_4090", *PLAY)["rows"]
    assert [one["run"]["scenario"]["hardware"]["name"] for one in rows] == [
        f"{gpu}+{where}" for gpu in ("rtx_3060", "rtx_4090") for where in ("ddr4_3200_2ch", "ddr4_2133_4ch")
    ]
    top = simmoe.ladder(trace="switch", tokens=64, gpu="rtx_3060", host="ddr4_3200_2ch").runs[-1]
    assert top.workload.hw.name == "rtx_3060+ddr4_3200_2ch"
    space = {"schema": 1, "name": "parts", "gpu": ["rtx_3060", "rtx_4090"], "host": "ddr4_3200_2ch", "trace": "switch",
             "budget": "25%", "tokens": 200, "objectives": {"tok_s": "maximize"}}  # fmt: skip
    done = simmoe.sweep(space, sampler="grid")
    found = {trial.params["hw"]: trial.user_attrs["digest"] for trial in done.trials}
    assert set(found) == {"rtx_3060+ddr4_3200_2ch", "rtx_4090+ddr4_3200_2ch"}
    assert found["rtx_3060+ddr4_3200_2ch"] == mine["digest"]
    at = tmp_path / "saved.yaml"
    assert main(["run", *PAIR, *PLAY, "--save", str(at)]) == 0
    capsys.readouterr()
    assert yaml.safe_load(at.read_text())["hw"] == "rtx_3060+ddr4_3200_2ch"
    assert played(capsys, "run", str(at)) == mine


@pytest.mark.slow
@with_traces
def test_files_of_ones_own_are_parts_and_a_changed_one_is_noticed(tmp_path, monkeypatch, capsys):
    (tmp_path / "parts").mkdir()
    card = {"name": "mine", "title": "My card (in a drawer)", "extends": "rtx_3060"}
    (tmp_path / "parts/card.yaml").write_text(yaml.safe_dump(card))
    (tmp_path / "parts/box.yaml").write_text(
        yaml.safe_dump({"extends": "ddr4_3200_2ch", "name": "box", "title": "My box"})
    )
    monkeypatch.chdir(tmp_path)
    words = ("run", "--gpu", "parts/card.yaml", "--host", "parts/box.yaml", *PLAY)
    mine = played(capsys, *words)
    assert mine["tok_s"] == played(capsys, "run", *PAIR, *PLAY)["tok_s"]
    assert main([*words, "--save", "parts/run.yaml"]) == 0
    assert "card.yaml" in (out := capsys.readouterr().out) and "box.yaml" in out  # the result names the user's files
    assert yaml.safe_load(Path("parts/run.yaml").read_text())["hw"] == "./card.yaml+./box.yaml"
    monkeypatch.chdir("/")
    assert played(capsys, "run", str(tmp_path / "parts/run.yaml")) == mine
    own = {"extends": "ddr4_2133_4ch", "name": "box", "title": "My box"}
    (tmp_path / "parts/box.yaml").write_text(yaml.safe_dump(own))
    refused(capsys, "hw .* is not what it was when the file was written", "run", str(tmp_path / "parts/run.yaml"))
    content = {
        "schema": 1,
        "gpu": "./card.yaml",
        "host": "./box.yaml",
        "trace": "switch",
        "budget": "25%",
        "tokens": 200,
    }
    (tmp_path / "parts/hand.yaml").write_text(yaml.safe_dump(content))
    by_hand = played(capsys, "run", str(tmp_path / "parts/hand.yaml"))
    assert by_hand["scenario"]["hardware"]["name"] == "mine+box" and by_hand["digest"] != mine["digest"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--gpu", "rtx_3060"), r"--host is missing: a machine in two parts is --gpu NAME --host NAME"),
        (("--hw", "a100", *PAIR), r"--hw names a whole machine, and --gpu a part of one"),
        (
            ("--gpu", "m2_max", "--host", "ddr4_3200_2ch"),
            r"m2_max\.yaml: a machine of one piece, .*: name it with --hw",
        ),
        (("--gpu", "gh200", "--host", "ddr4_3200_2ch"), r"peak\.link_bandwidth is 450 GB/s, which is no PCIe slot"),
        (("--gpu", "rtx_3060", "--host", "ddr4_3200_2c"), r"unknown host .*did you mean 'ddr4_3200_2ch'\?"),
        (
            ("--hw", "rtx_5090+rtx_3060"),
            r"unknown host 'rtx_3060': a machine has that name; several cards are --gpu GPU\+rtx_3060 --host NAME",
        ),
        (
            ("--gpu", "rtx_3060+", "--host", "ddr4_3200_2ch"),
            r"--gpu rtx_3060\+: no card stands beside a \+; write it between two",
        ),
        (("--gpu", "rtx_306", "--host", "ddr4_3200_2ch"), r"unknown hardware .*did you mean 'rtx_3060'\?"),
        (("--gpu", "desktop_ddr4_2ch", "--host", "ddr4_3200_2ch"), r"a machine of one piece"),
    ],
)
def test_what_is_no_pair_is_refused_in_one_line(words, line, capsys):
    refused(capsys, line, "run", *words, "--trace", "switch")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"slot": "PCIe 7.0 x16"},
            r"is\.slot: 'PCIe 7\.0 x16' is no PCIe slot; write generation and lanes like PCIe 4\.0 x16",
        ),
        ({"channels": 0}, r"is\.channels: 0 is no whole number above 0"),
        ({"instructions": "avx"}, r"is\.instructions: unknown 'avx'"),
        ({"cpus": "i9"}, r"is\.cpus: 'i9' is no list of texts"),
        ({"core": 4}, r"is: unknown key 'core'; did you mean 'cores'\?"),
    ],
)
def test_a_mistake_in_a_host_is_one_line_with_its_path(change, line, tmp_path, capsys):
    kind = {**host.load("ddr4_3200_2ch")[0]["is"], **change}
    (tmp_path / "h.yaml").write_text(
        yaml.safe_dump({"extends": "ddr4_3200_2ch", "name": "h", "title": "Mine", "is": kind})
    )
    refused(capsys, line, "hw", "show", "--host", str(tmp_path / "h.yaml"))


def test_numa_is_a_factor_of_one_or_more(tmp_path):
    numa = {"value": 0.5, "kind": "assumed", "source": "a test"}
    (tmp_path / "h.yaml").write_text(
        yaml.safe_dump({"extends": "ddr4_2666_6ch_2s", "name": "h", "title": "Mine", "numa": numa})
    )
    with pytest.raises(
        UserError, match=r"h\.yaml: numa\.value: 0\.5 is no factor; write a number from 1 to 1000, such as 1\.5"
    ):
        host.load(tmp_path / "h.yaml")


def test_a_card_that_does_not_state_its_slot_cannot_be_moved(tmp_path):
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump({"extends": "rtx_3060", "name": "c", "title": "Mine", "peak": {"link_bandwidth": None}})
    )
    with pytest.raises(UserError, match=r"c\.yaml: missing key peak\.link_bandwidth, what the card's own slot carries"):
        hardware_profiles.load(f"{tmp_path / 'c.yaml'}+ddr4_3200_2ch")


@pytest.mark.slow
def test_hosts_are_listed_shown_checked_and_written(tmp_path, capsys):
    rows = played(capsys, "hw", "list", "--hosts")["hosts"]
    assert [row["name"] for row in rows] == host.available()
    assert next(r for r in rows if r["name"] == "ddr4_2666_6ch_2s")["cpu_bytes_per_s"] == 99_560_439_560
    assert main(["hw", "list", "--hosts"]) == 0 and "ddr5_4800_12ch" in capsys.readouterr().out
    shown = played(capsys, "hw", "show", "--host", "ddr4_2666_6ch_2s")
    assert {row["path"]: row["value"] for row in shown["figures"]}["numa"] == "1.82"
    machine = played(capsys, "hw", "show", *PAIR)
    assert machine["name"] == "rtx_3060+ddr4_3200_2ch" == played(capsys, "hw", "show", "rtx_3060+ddr4_3200_2ch")["name"]
    assert main(["hw", "check", "rtx_3060+ddr4_3200_2ch"]) == 0
    assert "rtx_3060.yaml in ddr4_3200_2ch.yaml: ok" in capsys.readouterr().out
    refused(capsys, "no machine is named: simmoe hw show NAME, or --gpu NAME --host NAME", "hw", "show")
    out = tmp_path / "box.yaml"
    assert main(["hw", "compose", "rtx_3060", "ddr4_2133_4ch", "--out", str(out)]) == 0
    capsys.readouterr()
    written, composed = hardware_profiles.load(out), hardware_profiles.load("rtx_3060+ddr4_2133_4ch")
    assert (written.name, written.figures, written.link) == ("box", composed.figures, composed.link)
    refused(capsys, "exists", "hw", "compose", "rtx_3060", "ddr4_2133_4ch", "--out", str(out))


@with_traces
def test_fault_23_a_host_is_not_baked_into_the_card(capsys):
    """0.1.0: unknown option --gpu."""
    slow, fast = (
        played(capsys, "run", "--gpu", "rtx_3060", "--host", name, *PLAY) for name in ("ddr4_2133_2ch", "ddr4_3200_2ch")
    )
    assert (
        fast["link_busy_ps"] * 1.8 < slow["link_busy_ps"] < fast["link_busy_ps"] * 2.05
    )  # half the lanes' rate, the same latency


@pytest.mark.slow
@with_traces
def test_fault_23_a_slow_link_needs_one_set(capsys):
    """0.1.0: link.pageable is more than link.bandwidth; lower it."""
    mine = played(capsys, "run", "--hw", "rtx_4090", "--set", "link.bandwidth=4GB/s", *PLAY)
    both = played(
        capsys, "run", "--hw", "rtx_4090", "--set", "link.bandwidth=4GB/s", "--set", "link.pageable=4GB/s", *PLAY
    )
    assert (
        mine["link_busy_ps"]
        == both["link_busy_ps"]
        > 5 * played(capsys, "run", "--hw", "rtx_4090", *PLAY)["link_busy_ps"]
    )
    machine = hardware_profiles.load("rtx_4090", {"link.bandwidth": "4 GB/s"})
    assert (
        machine.figures["link.pageable"].text == "4 GB/s" and "was 20 GB/s" in machine.figures["link.pageable"].source
    )
    refused(
        capsys, "link.pageable: 5000000000 B/s is more than link.bandwidth",
        "run", "--hw", "rtx_4090", "--set", "link.bandwidth=4GB/s", "--set", "link.pageable=5GB/s", "--trace", "switch",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("hw", "path", "value", "lowered"),
    [
        ("rtx_4090", "link.bandwidth", "4 GB/s", ["link.pageable"]),
        ("rtx_4090", "tiers.gddr.bandwidth", "500 GB/s", ["units.gpu.bandwidth"]),
        ("rtx_4090", "tiers.host_dram.bandwidth", "30 GB/s", ["units.cpu.bandwidth"]),
        ("rtx_4090_nvme", "tiers.nvme.bandwidth", "3 GB/s", ["link.upstream.bandwidth"]),
        ("jetson_orin", "tiers.flash.bandwidth", "1 GB/s", ["link.bandwidth"]),
        ("a100", "tiers.hbm.bandwidth", "1000 GB/s", ["units.gpu.bandwidth", "units.gpu.grouped_bandwidth"]),
    ],
)
def test_fault_23_a_rate_that_is_made_lower_lowers_what_it_bounds(hw, path, value, lowered, capsys):
    """0.1.0 asks for one --set after the other: … is more than …; lower the one or raise the other."""
    before, after = hardware_profiles.load(hw), hardware_profiles.load(hw, {path: value})
    moved = {p for p in before.figures if before.figures[p].value != after.figures[p].value}
    assert moved == {path, *(p for p in lowered if p in before.figures)}
    assert all(after.figures[p].text == value and path in after.figures[p].source for p in moved - {path})
    higher = {path: f"{2 * before.figures[path].value} B/s"}
    assert [f.value for p, f in hardware_profiles.load(hw, higher).figures.items() if p != path] == [
        f.value for p, f in before.figures.items() if p != path
    ]


@pytest.mark.slow
@with_traces
@pytest.mark.parametrize("limit", ["28GiB", "1GiB", "1B"])
def test_fault_23_experts_beyond_the_pinned_memory_come_at_the_pageable_rate(limit, capsys):
    """0.1.0: no figure 'link.pinned_capacity'. The bound `nothing` loads every expert that a pass uses, once."""
    trace, model = simmoe.load_trace("switch"), simmoe.load_model("oracle-moe-9x24")
    size, count = int(model.expert_bytes[0]), trace.n_experts
    loads = np.zeros(trace.n_layers, np.int64)
    rows = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    for layer in range(trace.n_layers):
        experts = trace.expert_ids[:200, layer]
        used = [(p, e) for p, row in zip(rows[:200].tolist(), experts.tolist()) for e in row if e >= 0]
        loads[layer] = len(set(used))
    fits = min(parse(re.sub(r"(?<=\d)(?=[GB])", " ", limit), "size") // size, count * trace.n_layers)
    pinned = [min(max(fits - layer * count, 0), count) for layer in range(trace.n_layers)]
    fast, slow = (7e6 + size / rate * 1e12 for rate in (25.6e9, 20e9))
    each = [(fast * n + slow * (count - n)) / count for n in pinned]
    bare = ("run", "--hw", "rtx_4090", "--trace", "switch", "--tokens", "200", "--eviction", "nothing")
    mine = played(capsys, *bare, "--set", f"link.pinned_capacity={limit}")
    assert mine["misses"] == loads.sum()
    assert mine["link_busy_ps"] == pytest.approx(float(loads @ np.array(each)), rel=1e-9)
    assert main([*bare, "--set", f"link.pinned_capacity={limit}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    beyond = count * trace.n_layers - fits
    assert (
        f"the other {beyond:,} of {count * trace.n_layers} experts are loaded at the pageable rate, 20 GB/s" in said
    ) == (beyond > 0)


@pytest.mark.slow
@with_traces
def test_a_limit_above_all_experts_changes_nothing_and_one_below_one_is_pageable_memory(capsys):
    bare = ("run", "--hw", "rtx_4090", *PLAY)
    plain, pageable = played(capsys, *bare), played(capsys, *bare, "--set", "link.host_memory=pageable")
    high, low = (played(capsys, *bare, "--set", f"link.pinned_capacity={limit}") for limit in ("1TB", "1B"))
    assert "0 B are in pinned host memory" in low.pop("notes")[0] and "notes" not in high
    for mine, other in ((high, plain), (low, pageable)):
        assert {k: v for k, v in mine.items() if k not in ("scenario", "digest")} == {
            k: v for k, v in other.items() if k not in ("scenario", "digest")
        }
    engines = [
        played(capsys, *bare, "--set", "link.pinned_capacity=1GiB", "--miss", "balanced", "--engine", e)
        for e in ("simpy", "plain")
    ]
    assert engines[0]["total_ps"] == engines[1]["total_ps"] != plain["total_ps"]


@pytest.mark.parametrize(
    ("hw", "changes", "line"),
    [
        ("h100", {}, r"link\.pinned_capacity: missing key 'link\.pageable', the rate of what is not pinned"),
        ("rtx_4090", {"link.host_memory": "pageable"}, r"link\.host_memory is 'pageable', so nothing is pinned"),
        ("rtx_4090_nvme", {}, r"the experts live on 'nvme', not in host memory"),
        ("rtx_4090", {"link.pinned_capacity": "0 B"}, r"link\.pinned_capacity\.value: '0 B' must be more than zero"),
    ],
)
def test_a_limit_of_pinned_memory_that_limits_nothing_is_refused(hw, changes, line):
    with pytest.raises(UserError, match=line):
        hardware_profiles.load(hw, {"link.pinned_capacity": "28 GiB", **changes})


def test_a_host_may_state_its_limit_of_pinned_memory(tmp_path):
    limit = {"value": "1 GiB", "kind": "measured", "source": "a test"}
    (tmp_path / "w.yaml").write_text(
        yaml.safe_dump({"extends": "ddr4_3200_2ch", "name": "w", "title": "A guest", "pinned_capacity": limit})
    )
    assert hardware_profiles.load(f"rtx_3060+{tmp_path / 'w.yaml'}").link.pinned_capacity_bytes == GIB
    assert hardware_profiles.load(f"rtx_4090_nvme+{tmp_path / 'w.yaml'}").link.pinned_capacity_bytes is None
