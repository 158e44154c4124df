"""`simmoe hw` and --set as a user types them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from simmoe.cli.main import main
from simmoe.hardware_profiles import available, load
from simmoe.workloads.format.trace import names
from tests.test_hardware import changed
from tests.test_house import ROOT

needs_traces = pytest.mark.skipif("switch" not in names(), reason="the bundled traces are not made yet")


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["hw", *arguments]) == 0
    return capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(output(capsys, *arguments, "--json"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.slow
def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "list")
    for name in available():
        assert f"\n{name} " in text
    row = re.search(r"^jetson_orin .*$", text, re.M)
    assert row is not None
    assert row[0].split() == [
        "jetson_orin", "unified", "64", "GiB", "153", "GB/s", "4", "GB/s", "flash", "33.4", "TFLOP/s", "1,999", "USD", "18%"
    ]  # fmt: skip
    listed = data(capsys, "list")
    assert [row["name"] for row in listed["profiles"]] == available()
    orin = next(row for row in listed["profiles"] if row["name"] == "jetson_orin")
    assert (orin["bytes_per_s"], orin["price_usd"], orin["modes"]) == (152_800_000_000, 1999, ["50W", "30W", "15W"])


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "show", "jetson_orin")
    for part in ("Jetson AGX Orin 64 GB", "memory unified, device gpu, link.from flash", "jetson_orin@15W", "152.8 GB/s",
                 "145.16 GB/s – 160.44 GB/s", "infinigence/ApxInf@21ae1dc", "measured"):  # fmt: skip
        assert part in text, part
    shown = data(capsys, "show", "t4")
    assert shown["memory"] == "discrete"
    rows = {row["path"]: row for row in shown["figures"]}
    assert rows["link.efficiency"]["value"] == "1 MB: 0.787, 2 MB: 0.867, 8 MB: 0.953, 64 MB: 0.979"
    assert rows["reserved"]["range"] is None
    table = output(capsys, "show", "t4")
    assert "…" not in table  # no source is cut
    assert re.search(r"^link.efficiency +4 points ", table, re.M)
    assert "link.efficiency: 1 MB: 0.787, 2 MB: 0.867, 8 MB: 0.953, 64 MB: 0.979" in table
    hw = load("t4")
    assert len(rows) == len(hw.figures) + len(hw.curves)
    assert all(row["source"] and row["kind"] for row in rows.values())


def test_show_of_a_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert "101.9 GB/s" in output(capsys, "show", "jetson_orin@15W")


def test_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good, bad = tmp_path / "box.yaml", tmp_path / "bad.yaml"
    good.write_text(yaml.safe_dump(changed()))
    bad.write_text(yaml.safe_dump(changed(reserved=5)))
    assert output(capsys, "check", str(good)) == "box.yaml: ok, unified memory, 11 figures (11 assumed)\n"
    assert data(capsys, "check", str(good))["figures"] == {"assumed": 11}
    assert refused(capsys, "hw", "check", str(bad)).startswith("simmoe: bad.yaml: reserved: bare 5; write {value: ")
    assert "; modes 50W, 30W, 15W\n" in output(capsys, "check", "jetson_orin")


def test_check_looks_into_every_mode(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    too_fast = {"value": "200 GB/s", "kind": "assumed", "source": "chosen for a test"}
    path.write_text(yaml.safe_dump(changed(modes={"fast": {"units.gpu.bandwidth": too_fast}})))
    line = refused(capsys, "hw", "check", str(path))
    assert line.startswith(
        "simmoe: box.yaml@fast: units.gpu.bandwidth: 200000000000 B/s is more than tiers.dram.bandwidth"
    )


def test_the_machine_of_the_page_on_profiles_is_whole_and_plays(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "extending" / "profile.md").read_text("utf-8")
    whole, command = (re.search(rf"^```{kind}\n(.*?)^```$", page, re.M | re.S) for kind in ("yaml", "sh"))
    assert whole and command
    name = whole[1].splitlines()[0].removeprefix("# ")
    (tmp_path / name).write_text(whole[1], "utf-8")
    monkeypatch.chdir(tmp_path)
    assert ": ok, unified memory, 12 figures" in output(capsys, "check", name)
    words = shlex.split(command[1])
    assert words.pop(0) == "simmoe" and words[-1] == f"./{name}" and main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tok_s"] > 0
    (tmp_path / name).write_text(whole[1].replace("2.9 GB/s", "8 GB/s").replace("3.4 GB/s", "8 GB/s"), "utf-8")
    assert main(["hw", "check", name]) == 1
    (tmp_path / name).write_text(whole[1].replace("3.4 GB/s", "3.4"), "utf-8")
    assert main(["hw", "check", name]) == 2


def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "diff", "a100", "h100")
    assert re.search(r"units.gpu.bandwidth +1660 GB/s +2930 GB/s +× 1.77", text)
    assert re.search(r"units.gpu.flops.fp8 +– +1402.6 TFLOP/s", text)
    assert "tiers.hbm.capacity" not in text  # both 80 GiB
    rows = {row["path"]: row for row in data(capsys, "diff", "jetson_orin", "a100")["differences"]}
    assert (rows["memory"]["a"], rows["memory"]["b"], rows["memory"]["ratio"]) == ("unified", "discrete", None)
    assert rows["link.bandwidth"]["ratio"] == pytest.approx(25.1 / 4)
    assert output(capsys, "diff", "a100", "a100") == "no difference\n"
    curve = {row["path"]: row for row in data(capsys, "diff", "a100", "t4")["differences"]}["link.efficiency"]
    assert curve["a"] is None and curve["b"].startswith("1 MB: 0.787")


RUN = ["run", "--trace", "switch", "--tokens", "256", "--budget", "25%", "--json"]


@pytest.mark.slow
@needs_traces
def test_set_and_mode_reach_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    def speed(*arguments: str) -> float:
        assert main([*RUN, *arguments]) == 0
        return float(json.loads(capsys.readouterr().out)["tok_s"])

    plain = speed("--hw", "jetson_orin")
    assert speed("--hw", "jetson_orin@15W") < plain
    faster = ("--set", "link.bandwidth=8GB/s", "--set", "tiers.flash.bandwidth = 8 GB/s")
    assert speed("--hw", "jetson_orin", *faster) > plain


@pytest.mark.slow
@needs_traces
def test_set_applies_to_every_machine_of_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    def rows(*arguments: str) -> list[dict[str, Any]]:
        compare = [
            "compare",
            "--hw",
            "a100",
            "--hw",
            "jetson_orin@30W",
            "--trace",
            "switch",
            "--tokens",
            "256",
            "--budget",
            "25%",
        ]
        assert main([*compare, "--json", *arguments]) == 0
        return list(json.loads(capsys.readouterr().out)["rows"])

    plain, slower = rows(), rows("--set", "link.latency=10ms")
    assert [row["hardware"]["name"] for row in plain] == ["a100", "jetson_orin@30W"]
    assert all(one["run"]["tok_s"] > other["run"]["tok_s"] for one, other in zip(plain, slower))


@pytest.mark.slow
@needs_traces
def test_a_changed_machine_says_so_in_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN[:-1], "--hw", "a100", "--set", "link.bandwidth=12GB/s"]) == 0
    assert "pinned host memory), link.bandwidth = 12GB/s" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("setting", ["link.bandwidth", "=1 GB/s", "link.bandwidth=", ""])
@needs_traces
def test_a_setting_needs_path_and_value(capsys: pytest.CaptureFixture[str], setting: str) -> None:
    line = refused(capsys, *RUN, "--hw", "a100", "--set", setting)
    assert line == f"simmoe: --set {setting!r} is no change; write PATH=VALUE, such as link.bandwidth=12GB/s\n"
