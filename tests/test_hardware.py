"""Hardware profiles: the bundled machines are complete and ordered as in the world; every mistake is one line."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from simmoe import hardware_profiles
from simmoe.hardware_profiles import available, find, load, merged
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.hardware import Hardware
from simmoe.simulator.reading import read_yaml

NAMES = available()  # a profile that is added to the folder is checked without being listed here
SHIPPED = ["a100", "h100", "jetson_orin", "jetson_orin_nano", "jetson_xavier_nx", "rtx_4090"]
W = "dram_bytes_per_loaded_byte"


def number(value: Any, kind: str = "assumed", source: str = "chosen for a test") -> dict[str, Any]:
    return {"value": value, "kind": kind, "source": source}


UNIFIED: dict[str, Any] = {
    "schema": 1,
    "name": "box",
    "title": "A box for tests",
    "memory": "unified",
    "tiers": {
        "dram": {"capacity": number("8 GiB"), "bandwidth": number("100 GB/s")},
        "flash": {"capacity": number("1 TB"), "bandwidth": number("3 GB/s")},
    },
    "units": {
        "gpu": {
            "memory": "dram",
            "bandwidth": number("80 GB/s"),
            "launch": number("5 us"),
            "flops": {"fp16": number("10 TFLOP/s")},
        }
    },
    "link": {"from": "flash", "to": "dram", "bandwidth": number("2 GB/s"), "latency": number("100 us")},
    "devices": ["gpu"],
    "reserved": number("2 GB"),
    W: number(1),
}


def changed(**paths: Any) -> dict[str, Any]:
    """UNIFIED with some values replaced: `tiers__dram__capacity=...`; a value of None removes the key."""
    doc = copy.deepcopy(UNIFIED)
    for path, value in paths.items():
        *parents, key = path.split("__")
        node = doc
        for parent in parents:
            node = node[parent]
        if value is None:
            del node[key]
        else:
            node[key] = value
    return doc


def load_text(tmp_path: Path, text: str) -> Hardware:
    path = tmp_path / "box.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def refused(tmp_path: Path, text: str) -> str:
    """The one line with which `text` is refused."""
    with pytest.raises(UserError) as info:
        load_text(tmp_path, text)
    message = str(info.value)
    assert "\n" not in message
    assert message.startswith("box.yaml: ")
    return message


# --- the bundled machines -------------------------------------------------------------------------------------------


def test_available_lists_the_bundled_profiles() -> None:
    assert set(SHIPPED) <= set(available())
    assert available() == sorted(path.stem for path in hardware_profiles.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_profile_is_complete(name: str) -> None:
    hw = load(name)
    assert hw.name == name
    assert hw.link.dst == hw.device.memory
    assert hw.home != hw.device_memory
    assert hw.unified == (hw.dram_bytes_per_loaded_byte > 0)
    assert {"fp32", "fp16"} <= set(hw.device.flops_per_s)
    assert 0 < hw.reserved_bytes < hw.device_memory.capacity_bytes


@pytest.mark.parametrize("name", NAMES)
def test_every_number_says_how_it_is_known_and_where_it_comes_from(name: str) -> None:
    figures = load(name).figures
    doc = merged(find(name))

    def count_numbers(node: Any) -> int:
        if not isinstance(node, dict):
            return 0
        return 1 if "value" in node else sum(map(count_numbers, node.values()))

    assert len(figures) == count_numbers(doc) > 10
    for path, figure in figures.items():
        assert figure.kind in hardware_profiles.KINDS, path
        assert len(figure.source) > 5, path


@pytest.mark.parametrize("name", NAMES)
def test_what_was_remembered_chosen_or_carried_over_is_never_called_measured(name: str) -> None:
    for path, figure in load(name).figures.items():
        if any(words in figure.source for words in ("from memory", "carried over", "no figure found", "not measured")):
            assert figure.kind == "assumed", path


@pytest.mark.parametrize("name", SHIPPED)
def test_achieved_bandwidth_stays_below_the_peak_beside_it(name: str) -> None:
    hw = load(name)
    peak = hw.figures["peak.memory_bandwidth"].value
    assert hw.device.bytes_per_s <= hw.device_memory.bytes_per_s < peak
    assert hw.device.bytes_per_s > 0.7 * peak
    if "peak.link_bandwidth" in hw.figures:
        assert hw.link.bytes_per_s < hw.figures["peak.link_bandwidth"].value


def test_machines_are_ordered_as_in_the_world() -> None:
    hw = {name: load(name) for name in SHIPPED}
    assert [name for name in SHIPPED if hw[name].unified] == [name for name in SHIPPED if "jetson" in name]
    by_memory = ["jetson_xavier_nx", "jetson_orin_nano", "jetson_orin", "rtx_4090", "a100", "h100"]
    by_link = ["jetson_xavier_nx", "jetson_orin_nano", "jetson_orin", "a100", "rtx_4090", "h100"]
    assert sorted(SHIPPED, key=lambda n: hw[n].device.bytes_per_s) == by_memory
    assert sorted(SHIPPED, key=lambda n: hw[n].link.bytes_per_s) == by_link
    assert "fp8" not in hw["a100"].device.flops_per_s  # the A100 has none, whatever an old table says
    for machine in hw.values():
        assert machine.device.flops_per_s["fp32"] < machine.device.flops_per_s["fp16"]


def test_values_arrive_in_base_units() -> None:
    hw = load("jetson_orin")
    assert hw.device_memory.capacity_bytes == 64 * 2**30
    assert hw.device.bytes_per_s == 152_800_000_000
    assert hw.device.launch_ps == 5_000_000
    assert hw.device.flops_per_s["bf16"] == 33_400_000_000_000
    assert hw.home.name == "flash"
    assert hw.figures["units.gpu.bandwidth"].text == "152.8 GB/s"
    assert hw.figures["units.gpu.bandwidth"].kind == "measured"


# --- names and paths ------------------------------------------------------------------------------------------------


def test_a_name_is_found_with_and_without_suffix() -> None:
    assert load("jetson_orin") == load("jetson_orin.yaml") == load(find("jetson_orin"))


def test_an_existing_file_wins_over_a_bundled_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a100.yaml").write_text(yaml.safe_dump(UNIFIED), encoding="utf-8")
    (tmp_path / "h100").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("a100.yaml").title == "A box for tests"
    assert load("a100").title.startswith("A100 80 GB")
    assert load("h100").title.startswith("H100 80 GB")  # a folder is no profile


@pytest.mark.parametrize("name", ["jetson_orinn", "jetson_orin.yml", ""])
def test_an_unknown_name_says_what_exists_and_where_to_add_one(name: str) -> None:
    with pytest.raises(UserError) as info:
        load(name)
    message = str(info.value)
    assert message.startswith(f"unknown hardware {name!r}: no such file or bundled name")
    assert (
        f"; `simmoe hw list` lists all {len(NAMES)}; to add a machine, write a YAML file (docs/hardware_format.md)"
        in message
    )
    assert ("did you mean 'jetson_orin'?" in message) == bool(name)


def test_digest_is_of_the_content_not_of_the_layout(tmp_path: Path) -> None:
    plain = load_text(tmp_path, yaml.safe_dump(UNIFIED)).digest
    assert load_text(tmp_path, "# a comment\n" + yaml.safe_dump(UNIFIED, sort_keys=False)).digest == plain
    assert load_text(tmp_path, yaml.safe_dump(changed(reserved=number("2 GB", source="other")))).digest != plain
    canonical = json.dumps(UNIFIED, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert plain == hashlib.sha256(canonical.encode()).hexdigest()


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "box.yaml: the file is empty; start from a bundled profile"),
        ("# nothing\n", "box.yaml: the file is empty"),
        ("- a\n- b\n", "box.yaml: ['a', 'b'] is not a filled mapping; its keys: schema, name, title"),
        ("just words", "box.yaml: 'just words' is not a filled mapping"),
        ("name: box\n  title: x: y\n", "box.yaml: line 2: not valid YAML: mapping values are not allowed here"),
        ("name: [box\n", "box.yaml: line 2: not valid YAML"),
        ("name: \x01", "box.yaml: not valid YAML: unacceptable character"),
        ("a: 2020-13-45", "box.yaml: not valid YAML: month must be in 1..12"),
        ("? [a, b]\n: c\n", "box.yaml: line 1: a list or a mapping is no key; write a text"),
    ],
)
def test_what_is_not_a_profile_at_all(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_a_python_tag_is_refused_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    message = refused(tmp_path, f"schema: 1\nname: !!python/object/apply:pathlib.Path.touch ['{victim}']\n")
    assert "line 2: the tag tag:yaml.org,2002:python/object/apply:pathlib.Path.touch is not read" in message
    assert message.endswith("only plain YAML: remove it")
    assert not victim.exists()


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "box.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"^box.yaml cannot be read as a YAML file: byte 0 is no UTF-8"):
        load(tmp_path / "box.yaml")


MISTAKES: list[tuple[dict[str, Any], str]] = [
    # keys and words
    ({"tier": {}}, "box.yaml: unknown key 'tier'; did you mean 'tiers'?; known: schema, name"),
    ({"link__latncy": number("1 us")}, "link: unknown key 'latncy'; did you mean 'latency'?; known: from, to"),
    ({"units__gpu__flops": {"fp17": number("1 TFLOP/s")}}, "units.gpu.flops: unknown key 'fp17'; did you mean 'fp"),
    ({"reserved": None}, "box.yaml: missing key 'reserved'; required: schema, name, title"),
    ({"tiers__dram__bandwidth": None}, "tiers.dram: missing key 'bandwidth'; required: capacity, bandwidth"),
    ({"schema": 2}, "schema: unknown 2; known: 1"),
    ({"memory": "unifed"}, "memory: unknown 'unifed'; did you mean 'unified'?; known: discrete, unified"),
    ({"title": 5}, "title: 5 is no text; write words"),
    ({"name": " "}, "name: ' ' is no text"),
    ({"tiers": {}}, "tiers: {} is not a filled mapping; its keys: names of your choice"),
    ({"tiers__my.dram": {}}, "tiers: 'my.dram' is no name; use letters"),
    ({"units__gpu__flops": {}}, "units.gpu.flops: {} is not a filled mapping; its keys: fp32, fp16, bf16, fp8, int8"),
    ({"devices": "gpu"}, "devices: 'gpu' must list the compute units that run the model, each once, such as [gpu]"),
    ({"devices": ["gpu", "gpu"]}, "devices: ['gpu', 'gpu'] must list the compute units that run the model, each once"),
    (
        {"fabric": {"bandwidth": number("1 GB/s"), "latency": number("1 us")}},
        "fabric joins several devices, and there is one",
    ),
    # numbers
    ({"link__bandwidth": 2e9}, 'link.bandwidth: bare 2000000000.0; write {value: "204.8 GB/s", kind: measured'),
    ({"reserved": "2 GB"}, "reserved: bare '2 GB'; write {value: \"64 GB\", kind: measured, source:"),
    ({W: 1}, f"{W}: bare 1; write {{value: 1, kind: measured, source:"),
    ({"reserved": number(2)}, "reserved.value: 2 is not a quantity with a unit; write it like '64 GB or 64 GiB'"),
    (
        {"reserved": number("2 Gb")},
        "reserved.value: '2 Gb' counts bits, and bytes are asked for: 8 Gbit = 1 GB; write '0.25 GB'",
    ),
    ({"link__latency": number("1 MB")}, "link.latency.value: unknown unit 'MB' in '1 MB'"),
    ({"reserved": number("-2 GB")}, "reserved.value: '-2 GB' is negative"),
    ({"link__bandwidth": number("-2 GB/s")}, "link.bandwidth.value: '-2 GB/s' is negative"),
    ({"link__bandwidth": number("0 GB/s")}, "link.bandwidth.value: '0 GB/s' must be more than zero"),
    ({"tiers__dram__capacity": number("0 GB")}, "tiers.dram.capacity.value: '0 GB' must be more than zero"),
    ({"units__gpu__flops__fp16": number("0 FLOP/s")}, "units.gpu.flops.fp16.value: '0 FLOP/s' must be more than zero"),
    ({"link__bandwidth": number("1234.5 kB/s")}, "'1234.5 kB/s' is not a whole number of bytes per ms; the nearest is"),
    ({"link__bandwidth": number("7 B/s")}, "'7 B/s' is not a whole number of bytes per ms; the nearest is '1000 B/s'"),
    ({"reserved": {"value": "2 GB", "kind": "assumed"}}, "reserved: missing key 'source'; required: value, kind, so"),
    ({"reserved": number("2 GB", source=" ")}, "reserved.source: ' ' names no source; say who"),
    ({"reserved": number("2 GB", kind="mesured")}, "reserved.kind: unknown 'mesured'; did you mean 'measured'?"),
    ({W: number("1 GB")}, f"{W}.value: '1 GB' is not a whole number; write a count without a unit"),
    ({W: number(True)}, f"{W}.value: True is not a whole number"),
    ({W: number(1.5)}, f"{W}.value: 1.5 is not a whole number"),
    ({W: number(0)}, f"{W}.value: 0 must be more than zero"),
    # the machine as a whole
    ({"link__from": "flsh"}, "link.from: unknown 'flsh'; did you mean 'flash'?; known: dram, flash"),
    ({"link__to": "hbm"}, "link.to: unknown 'hbm'; known: dram, flash"),
    ({"units__gpu__memory": "dam"}, "units.gpu.memory: unknown 'dam'; did you mean 'dram'?"),
    ({"devices": ["cpu"]}, "devices: unknown 'cpu'; did you mean 'gpu'?; known: gpu"),
    ({"link__to": "flash", "link__from": "dram"}, "link.to is 'flash', but a load must end in the memory of 'gpu'"),
    ({"memory": "discrete", "link__to": "flash", W: None}, "link.to is 'flash', but a load must end"),
    ({"link__from": "dram"}, "link.from and link.to are both 'dram'"),
    ({W: None}, f"missing key '{W}'; a unified machine needs it"),
    (
        {
            "units__cpu": {
                "memory": "flash",
                "bandwidth": number("1 GB/s"),
                "launch": number("1 us"),
                "flops": {"fp16": number("1 TFLOP/s")},
            }
        },
        "units.cpu.memory is 'flash', but a unified machine has one memory: write 'dram'",
    ),
    ({"memory": "discrete"}, f"{W} is only for memory: unified"),
    ({W: number(50)}, f"dram.bandwidth - {W} x link.bandwidth = 100000000000 - 50 x 2000000000 = 0 B/s; it must"),
    ({W: number(60)}, "= -20000000000 B/s; it must be > 0: lower link.bandwidth"),
    ({"units__gpu__bandwidth": number("101 GB/s")}, "units.gpu.bandwidth: 101000000000 B/s is more than tiers.dram"),
    ({"link__bandwidth": number("4 GB/s")}, "link.bandwidth: 4000000000 B/s is more than tiers.flash.bandwidth, which"),
    ({"reserved": number("8 GiB")}, "reserved, 8589934592 B, leaves nothing of tiers.dram; lower it"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[message[:40] for _, message in MISTAKES])
def test_a_mistake_is_one_line_with_path_value_and_fix(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert message in refused(tmp_path, yaml.safe_dump(changed(**change)))


def test_what_is_allowed(tmp_path: Path) -> None:
    zero = changed(reserved=number("0 B"), link__latency=number("0 us"), units__gpu__launch=number("0 ps"))
    assert load_text(tmp_path, yaml.safe_dump(zero)).link.latency_ps == 0
    assert load_text(tmp_path, yaml.safe_dump(changed(**{W: number(49)}))).dram_bytes_per_loaded_byte == 49
    discrete = load_text(tmp_path, yaml.safe_dump(changed(memory="discrete", **{W: None})))
    assert (discrete.unified, discrete.dram_bytes_per_loaded_byte) == (False, 0)
    optional = changed(notes="mine", price=number("9.99 USD"), power={"idle": number("5 W")})
    extra = load_text(tmp_path, yaml.safe_dump(optional))
    assert (extra.figures["price"].value, extra.figures["power.idle"].value) == (999, 5_000_000)


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent / "docs" / "hardware_format.md"
    example = page.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert load_text(tmp_path, example).name == "my_box"


def test_what_a_caller_changes_in_a_file_that_it_has_read_is_its_own(tmp_path: Path) -> None:
    """The text of a file is parsed once in a process, and each caller gets content of its own; a changed file is parsed again."""
    path = tmp_path / "box.yaml"
    path.write_text("tiers: &here {dram: [1]}\nsame: *here\n", encoding="utf-8")
    first = read_yaml(path)
    first["tiers"]["dram"].append(2)
    assert read_yaml(path) == {"tiers": {"dram": [1]}, "same": {"dram": [1]}}
    path.write_text("tiers: {dram: [3]}\n", encoding="utf-8")
    assert read_yaml(path) == {"tiers": {"dram": [3]}}


def test_a_slower_link_of_a_file_slows_the_pageable_copies_that_it_inherits(tmp_path: Path) -> None:
    """The bundled RTX 4090 copies 20 GB/s of pageable memory; what the file says itself is held to the rule."""
    own = "schema: 1\nname: box\ntitle: A box\nextends: rtx_4090\nlink:\n  bandwidth: {value: 12.8 GB/s, kind: assumed, source: half}\n"
    link = load_text(tmp_path, own).link
    assert (link.bytes_per_s, link.pageable_bytes_per_s) == (12_800_000_000, 12_800_000_000)
    with pytest.raises(UserError, match=r"link\.pageable: 20000000000 B/s is more than link\.bandwidth"):
        load_text(tmp_path, own + "  pageable: {value: 20 GB/s, kind: assumed, source: mine}\n")
    broken = own.replace("{value: 12.8 GB/s, kind: assumed, source: half}", "12.8 GB/s")
    with pytest.raises(UserError, match=r"link\.bandwidth"):
        load_text(tmp_path, broken)


@pytest.mark.parametrize(
    ("peak", "value", "lowered"),
    [
        (
            "memory_bandwidth",
            "500 GB/s",
            {"tiers.gddr.bandwidth", "units.gpu.bandwidth", "units.gpu.grouped_bandwidth"},
        ),
        ("flops.fp16", "20 TFLOP/s", {"units.gpu.flops.fp16", "units.gpu.flops.bf16"}),
        ("link_bandwidth", "8 GB/s", {"link.bandwidth", "link.pageable"}),
        ("memory_bandwidth", "5000 GB/s", set()),
    ],
)
def test_a_lower_peak_lowers_what_nears_it(peak: str, value: str, lowered: set[str]) -> None:
    """So that no figure of the profile contradicts a what-if; what is stated beside the peak is held to it as before."""
    was = hardware_profiles.load("rtx_3090").figures
    now = hardware_profiles.load("rtx_3090", {f"peak.{peak}": value}).figures
    changed = {path for path in was if now[path].value != was[path].value}
    assert changed - {f"peak.{peak}"} == lowered & set(was)
    assert all(
        now[path].value == now[f"peak.{peak}"].value and now[path].kind == "assumed" for path in lowered & set(was)
    )
    assert (lowered & set(was) == set()) == (not lowered)
    both = {"peak.memory_bandwidth": "500 GB/s", "tiers.gddr.bandwidth": "783 GB/s"}
    assert any("cannot be true" in line for line in hardware_profiles.doubts(hardware_profiles.load("rtx_3090", both)))
