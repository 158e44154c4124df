"""`simmoe hw detect`: reports that owners of machines published name the right parts, and what is written can be played."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import pytest

from simmoe import hardware_profiles
from simmoe.cli import hw_parts
from simmoe.cli.main import main
from simmoe.hardware_profiles import detecting, host, reported, reports
from simmoe.hardware_profiles.reports import Facts, Gpu
from simmoe.simulator.errors import UserError
from simmoe.simulator.plain import plain
from tests.test_house import ROOT

REPORTS = ROOT / "tests/detect"  # README.md there says where they are from
GIB = 2**30
# folder -> (GPU or whole machine, exact?), (host, exact?); None: no report names it
PARTS = {
    "rtx_3060": (("rtx_3060", True), None),
    "rtx_3090": (("rtx_3090", True), None),
    "tesla_t4": (("t4", True), None),
    "two_rtx_5090": (("rtx_5090", True), None),
    "mi300x": (("mi300x", True), None),
    "four_mi100": (("mi300x", False), None),
    "radeon_rx_6700_xt": (("rx_7900_xt", False), None),  # the card with the nearest name
    "a100_two_epyc_7713": (("a100", True), ("ddr4_3200_8ch_2s", True)),
    "a100_pcie_epyc_7232p": (("a100_pcie_80", True), ("ddr4_3200_8ch", True)),
    "eight_rtx_4090_two_epyc_7543": (("rtx_4090", True), ("ddr4_3200_8ch_2s", True)),
    "eight_a800_two_xeon_8358p": (("a100", False), ("ddr4_3200_8ch_xeon_2s", True)),
    "two_rtx_3090_ryzen_5700x": (("rtx_3090", True), ("ddr4_3200_2ch", True)),
    "rtx_3070_ryzen_5800x": (("rtx_3070", True), ("ddr4_3200_2ch", True)),
    "ryzen_7950x": (None, ("ddr5_5200_2ch_7950x", True)),  # and not another Ryzen's
    "cloud_xeon_8481c": (None, ("ddr5_4800_8ch", True)),
    "cloud_xeon_8481c_nested": (None, ("ddr5_4800_8ch", True)),
    "two_xeon_silver_4410y": (None, ("ddr5_4800_8ch_2s", True)),
    "two_xeon_gold_6226r": (None, ("ddr4_2933_6ch_2s", True)),
    "graviton4": (None, ("ddr5_5600_12ch_arm", True)),
    "dgx_spark": (("dgx_spark", True), None),
    "macbook_m4_max": (("m4_max", True), None),
    "macbook_m5_max": (("m4_max", False), None),
}


def detected(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["hw", "detect", *map(str, words), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_every_report_has_its_parts_here_and_its_source_beside_it():
    folders = {path.name for path in REPORTS.iterdir() if path.is_dir()}
    assert folders == {*PARTS, "memory_of_a_nas"}
    said = (REPORTS / "README.md").read_text()
    assert all(f"`{name}`" in said for name in folders)
    for path in REPORTS.rglob("*.*"):
        assert not re.search(r"serial_number|[Ss]erial Number|<serial>|<uuid>|UUID:|UDID", path.read_text()), path


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_a_published_report_names_the_parts_of_its_machine(name, capsys):
    card, box = PARTS[name]
    found = detected(capsys, "--from", REPORTS / name)
    first = found["machine"] or found["gpu"]
    assert (first and (first["name"], first["exact"])) == card
    assert (found["host"] and (found["host"]["name"], found["host"]["exact"])) == box
    assert all(bool(part["missing"]) for part in (first, found["host"]) if part and not part["exact"])


def test_a_machine_is_written_with_the_sizes_and_the_slot_that_it_reports(tmp_path, capsys):
    """The lscpu of one machine, the card of another and the modules of a third, as one owner would have them."""
    out = tmp_path / "mine.yaml"
    three = [REPORTS / name for name in ("two_rtx_3090_ryzen_5700x", "rtx_3090", "memory_of_a_nas")]
    assert main(["hw", "detect", "--from", *map(str, three), "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "NVIDIA GeForce RTX 3090, 24 GiB: rtx_3090" in said
        and "2 modules of DDR4-3200 on 2 channels: ddr4_3200_2ch" in said
    )
    machine, bundled = hardware_profiles.load(out), hardware_profiles.load("rtx_3090+ddr4_3200_2ch")
    assert machine.home.capacity_bytes == 32 * GIB and machine.device_memory.capacity_bytes == 24 * GIB
    assert machine.link == bundled.link and machine.units == bundled.units and machine.name == "mine"
    assert main(["hw", "check", str(out)]) == 0
    capsys.readouterr()
    assert main(["hw", "detect", "--from", *map(str, three), "--out", str(out)]) == 2
    assert "mine.yaml exists" in capsys.readouterr().err


def test_slower_modules_and_a_narrower_slot_slow_what_they_carry(tmp_path, capsys):
    lscpu = (REPORTS / "two_rtx_3090_ryzen_5700x/collect_env.txt").read_text()
    modules = (
        (REPORTS / "memory_of_a_nas/dmidecode.txt").read_text().replace("Memory Speed: 3200", "Memory Speed: 2133")
    )
    card = (REPORTS / "rtx_3090/nvidia-smi.xml").read_text().replace("<max_link_width>16x", "<max_link_width>4x")
    for number, text in enumerate((lscpu, modules, card)):
        (tmp_path / f"{number}.txt").write_text(text)
    assert main(["hw", "detect", "--from", str(tmp_path), "--out", str(tmp_path / "mine.yaml")]) == 0
    assert "the rate of its memory" in " ".join(capsys.readouterr().out.split())
    machine = hardware_profiles.load(tmp_path / "mine.yaml")
    assert machine.home.bytes_per_s == pytest.approx(34.8e9 * 2133 / 3200, rel=1e-6)
    assert machine.home.peak_bytes_per_s == 2 * 8 * 2133 * 10**6
    assert machine.cpu and machine.cpu.bytes_per_s == machine.home.bytes_per_s
    assert machine.link.bytes_per_s == pytest.approx(25.6e9 / 4, rel=1e-3)


@pytest.mark.slow
def test_empty_channels_and_a_kind_of_memory_that_is_unusual_for_the_cpu():
    epyc = Facts(
        cpu="AMD EPYC 7302P 16-Core Processor (family 23 model 49 )",
        sockets=1,
        dram="ddr4",
        mega_transfers=3200,
        modules=4,
        channels=4,
    )
    part = detecting.detect(epyc).host
    assert part and (part.name, part.exact) == ("ddr4_3200_8ch", False)
    facts = replace(epyc, gpus=(Gpu("NVIDIA GeForce RTX 3090"),))
    content = reported.profile(detecting.detect(facts), facts, "half")
    assert content["tiers"]["host_dram"]["bandwidth"]["value"] == "62.5 GB/s"  # four of eight channels of 125 GB/s
    old = Facts(
        cpu="12th Gen Intel(R) Core(TM) i7-12700K (family 6 model 151 )",
        sockets=1,
        dram="ddr4",
        mega_transfers=3200,
        modules=2,
    )
    part = detecting.detect(old).host
    assert part and (part.name, part.exact) == ("ddr4_3200_2ch", False) and "with this memory" in part.missing[0]


def test_a_whole_machine_is_written_with_its_memory(tmp_path, capsys):
    assert main(["hw", "detect", "--from", str(REPORTS / "macbook_m4_max"), "--out", str(tmp_path / "mac.yaml")]) == 0
    mac, bundled = hardware_profiles.load(tmp_path / "mac.yaml"), hardware_profiles.load("m4_max")
    assert mac.device_memory.capacity_bytes == 48 * GIB and mac.units == bundled.units and mac.unified


def test_a_host_without_a_gpu_is_written_too(tmp_path, capsys):
    (tmp_path / "meminfo").write_text("MemTotal:       131072000 kB\n")
    words = (
        "--from",
        str(REPORTS / "two_xeon_silver_4410y"),
        str(tmp_path / "meminfo"),
        "--out",
        str(tmp_path / "x.yaml"),
    )
    assert main(["hw", "detect", *words]) == 0
    machine = hardware_profiles.load(tmp_path / "x.yaml")
    assert (
        machine.unified
        and machine.devices == ("cpu",)
        and machine.device.bytes_per_s == pytest.approx(330.8e9 / 1.82, rel=1e-6)
    )
    assert machine.device.processors == 2 * 12  # as lscpu says, not as the bundled host has
    assert machine.device_memory.capacity_bytes == 131072000 * 1024 and machine.device_memory.bytes_per_s == int(
        330.8e9
    )
    assert main(["hw", "check", str(tmp_path / "x.yaml")]) == 0
    capsys.readouterr()


def test_a_file_may_hold_several_reports_and_the_richer_one_of_a_card_counts():
    facts = reports.read([(REPORTS / "eight_rtx_4090_two_epyc_7543/collect_env.txt").read_text()])
    table = reports.read([(REPORTS / "two_rtx_5090/nvidia-smi.txt").read_text()])
    assert table.gpus == (Gpu("NVIDIA GeForce RTX 5090", 32607 * 2**20),) * 2
    assert (len(facts.gpus), facts.sockets, facts.cores, facts.instructions) == (8, 2, 32, "avx2")
    texts = ["GPU 0: NVIDIA GeForce RTX 3060 (UUID: GPU-1)\n", (REPORTS / "rtx_3060/nvidia-smi.xml").read_text()]
    for order in (texts, texts[::-1]):
        assert reports.read(order).gpus == (Gpu("NVIDIA GeForce RTX 3060", 12 * GIB, "PCIe 4.0 x16"),)
    both = reports.read(["MemTotal:       24683652 kB\n", (REPORTS / "memory_of_a_nas/dmidecode.txt").read_text()])
    assert (both.memory_bytes, both.channels, both.modules, both.mega_transfers) == (24683652 * 1024, 2, 2, 3200)


@pytest.mark.parametrize(
    ("flags", "best"),
    [
        ("avx2 avx512f amx_tile", "amx"),
        ("avx2 avx512f", "avx512"),
        ("sse4_2 avx2", "avx2"),
        ("fp asimd sve", "neon"),
        ("sse", None),
    ],
)
def test_the_best_instructions_are_named(flags, best):
    assert reports.read([f"Model name: X\nSocket(s): 1\nFlags: {flags}\n"]).instructions == best


def test_this_machine_is_asked_and_names_its_host(monkeypatch, capsys):
    """What cannot be asked is left out; what is asked is read as from a file."""
    found = detecting.detect(reports.read(hw_parts._ask()))
    assert found.host or found.machine or found.gpu
    monkeypatch.setattr(hw_parts, "ASKED", ("no-such-command -x", "false"))
    monkeypatch.setattr(hw_parts, "MEMINFO", Path("/no/such/file"))
    assert main(["hw", "detect"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "no report names a GPU or a CPU" in line


def test_a_card_is_called_by_its_product_and_not_by_its_chip(capsys):
    assert detected(capsys, "--from", REPORTS / "four_mi100")["gpu"]["reported"] == "Instinct MI100, 32 GiB"


def test_a_virtual_machine_is_said_to_have_a_share(capsys):
    assert main(["hw", "detect", "--from", str(REPORTS / "cloud_xeon_8481c")]) == 0
    assert "a virtual machine: the figures are those of the whole host" in " ".join(capsys.readouterr().out.split())


def test_a_cpu_that_is_not_bundled_gets_the_nearest_host():
    strange = detecting.detect(
        Facts(
            cpu="Some CPU (family 1 model 2 )",
            sockets=2,
            instructions="amx",
            dram="ddr5",
            cores=60,
            mega_transfers=4000,
        )
    )
    assert strange.host and strange.host.name == "ddr5_5600_8ch_2s" and not strange.host.exact
    assert "no bundled host has it" in strange.host.missing[0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("<nvidia_smi_log><gpu>", r"a report of nvidia-smi is no XML .*nvidia-smi -q -x"),
        (
            "<!DOCTYPE x [<!ENTITY a 'b'>]><nvidia_smi_log></nvidia_smi_log>",
            r"holds an XML entity, which nvidia-smi never writes",
        ),
        ('{"lscpu": [', r"a report is not a plain JSON file"),
        ("nothing that anybody knows\n", r"no report names a GPU or a CPU"),
        ("", r"no report names a GPU or a CPU"),
        ("[1, 2]", r"no report names a GPU or a CPU"),
        ('{"lscpu": 5}', r"a report of lscpu -J or rocm-smi --json has another form"),
        ('{"SPHardwareDataType": []}', r"a report of .* has another form"),
        ('{"card0": 7}', r"a report of .* has another form"),
    ],
)
def test_a_report_that_is_none_is_refused_in_one_line(content, line, tmp_path, capsys):
    (tmp_path / "r.txt").write_text(content)
    assert main(["hw", "detect", "--from", str(tmp_path / "r.txt")]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and re.search(line, out.err), out.err


@pytest.mark.slow
def test_reports_that_are_cut_and_garbled_end_in_an_answer_or_in_one_line(monkeypatch):
    random, read = Random(12), host.load
    monkeypatch.setattr(host, "load", cache(read))  # 26 files, read again for each report
    texts = [path.read_text() for path in sorted(REPORTS.rglob("*.*")) if path.name != "README.md"]
    ends = {"answer": 0, "refused": 0}
    for _ in range(400):
        text = random.choice(texts)
        for _ in range(random.randint(1, 4)):
            at, length = random.randrange(len(text) + 1), random.choice([1, 3, 40])
            text = (
                text[:at]
                + random.choice(["", "9" * 30, "²", "<gpu>", "\n", '"', "-1", "{}", "\x1b[31m"])
                + text[at + length :]
            )
        try:
            facts = reports.read([text])
            reported.profile(detecting.detect(facts), facts, "mine")
            ends["answer"] += 1
        except UserError as error:
            assert "\n" not in plain(str(error))
            ends["refused"] += 1
    assert min(ends.values()) > 40


def test_a_machine_without_a_part_is_not_written(tmp_path, capsys):
    (tmp_path / "strange.txt").write_text("GPU 0: Moore Threads\nModel name: Neoverse-V2\nSocket(s): 1\n")
    for path, what in ((REPORTS / "rtx_3060", "host"), (tmp_path / "strange.txt", "GPU")):
        assert main(["hw", "detect", "--from", str(path), "--out", str(tmp_path / "x.yaml")]) == 2
        assert f"no {what} was recognised, so there is no machine to write" in capsys.readouterr().err
        assert not (tmp_path / "x.yaml").exists()
    assert main(["hw", "detect", "--from", str(tmp_path / "nowhere")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["hw", "detect", "--force"]) == 2
    assert "--force overwrites the file of --out" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(set(detecting.CARDS.values()) | set(detecting.WHOLE.values())))
def test_what_a_name_leads_to_is_bundled(name):
    assert name in hardware_profiles.available()


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("NVIDIA GeForce RTX 4070", "rtx_4070"),
        ("NVIDIA GeForce RTX 4070 Ti", "rtx_4070_ti"),
        ("NVIDIA GeForce RTX 4090 D", "rtx_4090_d"),
        ("Tesla V100-PCIE-16GB", "tesla_v100"),
        ("AMD Radeon AI PRO R9700", "r9700"),
        ("Radeon RX 7900 XTX", "rx_7900_xtx"),
    ],
)
def test_a_card_is_known_by_its_whole_name(card, name):
    part = detecting.detect(Facts(gpus=(Gpu(card),))).gpu
    assert part and (part.name, part.exact) == (name, True)


@pytest.mark.slow
def test_a_card_whose_name_is_like_none_gets_one_with_its_memory():
    for gib, names in ((11, {"gtx_1080_ti", "rtx_2080_ti"}), (192, {"mi300x"})):
        part = detecting.detect(Facts(gpus=(Gpu("Moore Threads", gib * GIB),))).gpu
        assert part and part.name in names and not part.exact


@pytest.mark.parametrize(
    ("cpu", "sockets", "name"),
    [
        ("AMD Ryzen 9 7950X 16-Core Processor", 1, "ddr5_5200_2ch_7950x"),
        ("AMD Ryzen 7 7700X 8-Core Processor", 1, "ddr5_5200_2ch"),
        ("AMD Ryzen Threadripper 7960X 24-Cores", 1, "ddr5_5200_4ch"),
        ("AMD Ryzen Threadripper PRO 7965WX 24-Cores", 1, "ddr5_4800_8ch_7965wx"),
        ("AMD Ryzen Threadripper PRO 7995WX 96-Cores", 1, "ddr5_5200_8ch"),
        ("AMD EPYC 9355 32-Core Processor", 2, "ddr5_6000_12ch_2s"),
        ("Intel(R) Core(TM) i9-10980XE CPU @ 3.00GHz", 1, "ddr4_2933_4ch"),
        ("Intel(R) Xeon(R) CPU E5-2697A v4 @ 2.60GHz", 2, "ddr4_2400_4ch_2s_2697a"),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 2, "ddr4_2400_4ch_2s"),
        ("Intel(R) Xeon(R) Gold 6138 CPU @ 2.00GHz", 2, "ddr4_2666_6ch_2s"),
        ("Intel(R) Xeon(R) Platinum 8480+", 1, "ddr5_4800_8ch"),
        ("Intel(R) Xeon(R) Gold 6454S", 2, "ddr5_4800_8ch_2s"),
    ],
)
def test_the_cpus_of_published_speeds_lead_to_their_memory(cpu, sockets, name):
    part = detecting.detect(Facts(cpu=f"{cpu} (family ? model ? )", sockets=sockets)).host
    assert part and (part.name, part.exact) == (name, True)
