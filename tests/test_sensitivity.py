"""Elasticities: their law over machines, rules and engines, what a step does to a machine, and what the command shows."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log

import pytest

import simmoe
from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.hardware_profiles.ranges import with_figures
from simmoe.simulator.errors import UserError
from simmoe.simulator.units import text
from simmoe.sweeps.figures_varied import NOT_OF_TIME, of_machine, of_runtime
from simmoe.sweeps.sensitivity import sensitivity
from simmoe.workloads.format.trace import names
from tests.machines import TWO

pytestmark = pytest.mark.skipif("switch-4x8" not in names(), reason="the bundled traces are not made yet")
SMALL = {"trace": "switch-4x8", "tokens": 192, "budget": "50%"}
DRAWN = {"model": "qwen3-30b-a3b", "format": "Q4_K_M", "prompt": 64, "generate": 16}
CARD = {"gpu": "rtx_4090", "host": "ddr5_6000_2ch"}
CUDA = {**CARD, "runtime": "llama_cpp_cuda", **DRAWN}
LAW = {
    "unified, experts on flash": {"hw": "jetson_orin", **SMALL},
    "a link that is the limit": {"hw": "phone_ufs4", **SMALL},
    "two hops": {"hw": "rtx_4090_nvme", **SMALL},
    "the CPU computes": {"hw": "gh200", "miss": "cpu", **SMALL},
    "the quicker of both": {"hw": "gh200", "miss": "idle_cheaper", **SMALL},
    "link and CPU share": {"hw": "gh200", "miss": "balanced", **SMALL},
    "experts left out": {"hw": "a100", "miss": "drop=10%", **SMALL, "trace": "oracle-4x16-k2"},
    "serial": {"hw": "a100", "timeline": "serial", **SMALL},
    "the host waits": {"hw": "a100", "timeline": "sync", "set": "units.gpu.host_wait=20us", **SMALL},
    "prefetch, withdrawn": {"hw": "jetson_orin", "prefetch": "last_token", "cancel": True, **SMALL},
    "graphs, batches": {"hw": "h100", "graphs": True, "batch": 2, "set": "units.gpu.graph_launch=1us", **SMALL},
    "llama.cpp, blocks on the CPU": {**CUDA, "placement": "n_cpu_moe=20"},
    "llama.cpp, layers on the CPU": {**CUDA, "gpu_layers": 20, "kv_offload": False},
    "llama.cpp on a CPU": {**CUDA, "gpu": None, "runtime": "llama_cpp_cpu"},
    "KTransformers": {**CUDA, "runtime": "ktransformers", "placement": "popular=50%"},
    "an engine that streams": {"hw": "phone_ufs4", "runtime": "big_moe_on_edge", **DRAWN},
    "a published system": {**CARD, "system": "fiddler", **DRAWN},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", LAW.values(), ids=LAW)
def test_rates_less_times_are_one(options: dict) -> None:
    found = sensitivity(**options)
    assert found.rates - found.times == pytest.approx(1, abs=0.01)
    assert found.rates > 0.2 and found.times < 0  # both sides of the law are at work


@pytest.mark.slow
def test_of_several_devices_too(tmp_path) -> None:
    (tmp_path / "two.yaml").write_text(TWO, "utf-8")
    found = sensitivity(hw=tmp_path / "two.yaml", timeline="distributed", placement="expert_split=1/1", **SMALL)
    assert found.rates - found.times == pytest.approx(1, abs=0.01)
    each = {one.path: one.mean for one in found.figures}
    assert each["links.gpu1.bandwidth"] > 0.1 and each["fabric.latency"] < 0 < each["fabric.bandwidth"]


@pytest.mark.slow
def test_elasticities_are_what_runs_with_set_give() -> None:
    found, here = sensitivity(hw="jetson_orin", **SMALL), simmoe.run("jetson_orin", **SMALL).tok_s
    each = {one.path: one for one in found.figures}
    for path, lower, higher in (
        ("units.gpu.bandwidth", "152.6472 GB/s", "152.9528 GB/s"),
        ("units.gpu.launch", "4.995 us", "5.005 us"),
    ):
        one, ends = (
            each[path],
            [simmoe.run("jetson_orin", set=f"{path}={end}", **SMALL).tok_s for end in (lower, higher)],
        )
        assert one.left == pytest.approx(log(ends[0] / here) / log(0.999)) and one.right == pytest.approx(
            log(ends[1] / here) / log(1.001)
        )
    smaller = simmoe.run("jetson_orin", set="link.bandwidth=3.996GB/s", **SMALL).tok_s
    link = each["link.bandwidth"]  # as fast as the drive behind it: a faster link alone gives nothing
    assert link.left == pytest.approx(log(smaller / here) / log(0.999)) and link.right == 0 and link.differs
    assert link.mean == pytest.approx(link.left / 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "both"),
    [
        (("--model", "qwen3-30b-a3b", "--format", "Q4_K_M", "--prompt", "16", "--generate", "8", "--runtime", "usual"), False),
        (("--trace", "switch-4x8", "--tokens", "192", "--budget", "50%"), True),
    ],
)  # fmt: skip
def test_both_sides_have_columns_only_where_they_are_told_apart(text, both, capsys) -> None:
    assert main(["sensitivity", "--hw", "rtx_4090", *text]) == 0
    out = capsys.readouterr().out
    (head,) = (line for line in out.splitlines() if line.startswith("figure "))
    assert head.split()[3:] == ["elasticity", *["down", "up"] * both]
    assert ("Where these differ" in out) == both


@pytest.mark.slow
def test_the_largest_stands_first_and_each_has_its_source(capsys) -> None:
    arguments = ["sensitivity", "--hw", "jetson_orin", "--trace", "switch-4x8", "--tokens", "192", "--budget", "50%"]
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    means = [abs(one["mean"]) for one in said["figures"]]
    assert means == sorted(means, reverse=True) and means[0] > 0.3
    profile = hardware_profiles.load("jetson_orin").figures
    for one in said["figures"]:
        assert (one["kind"], one["source"], one["value"]) == (
            profile[one["path"]].kind,
            profile[one["path"]].source,
            profile[one["path"]].text,
        )
    units = {one["path"]: one["unit"] for one in said["figures"]}
    assert (
        units["link.latency"] == "time"
        and units["units.gpu.clock"] == "rate"
        and units["tiers.dram.capacity"] == "other"
    )
    assert said["rates_less_times"] == pytest.approx(1, abs=0.01)
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "1 as it must be" in out and said["figures"][0]["path"] in out
    assert main(said["command"].split()[1:] + ["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == said["digest"]


@pytest.mark.slow
def test_knobs() -> None:
    options = {**SMALL, "hw": "a100", "batch": 8, "context": 4096, "tokens": None}
    each = {one.path: one for one in sensitivity(**options).knobs}
    assert set(each) == {"budget", "batch", "context"}
    here = simmoe.run(**options).tok_s
    ends = [simmoe.run(**{**options, "batch": batch}).tok_s for batch in (7, 9)]
    assert each["batch"].left == pytest.approx(log(ends[0] / here) / log(7 / 8))
    assert each["batch"].right == pytest.approx(log(ends[1] / here) / log(9 / 8))
    assert (
        each["budget"].mean > 0 and each["context"].mean == 0
    )  # the budget is said, so KV memory takes nothing from it


@pytest.mark.slow
def test_every_figure_is_varied_as_the_loader_changes_it() -> None:
    """A machine with a changed figure is the one that --set gives, where --set takes it."""
    same = ("tiers", "units", "link", "more_links", "fabric", "reserved_bytes", "dram_bytes_per_loaded_byte")
    compared, refused = 0, 0
    for name in ("jetson_orin", "rtx_4090_nvme", "phone_ufs4", "gh200", "rtx_4090+ddr5_6000_2ch", "+ddr4_2666_6ch_2s"):
        hw = hardware_profiles.load(name)
        for one in of_machine(hw):
            for value in (int(one.lower), int(one.higher)):
                said = text(value, one.dimension)
                figure = replace(hw.figures[one.path], value=value)
                try:
                    wanted = hardware_profiles.load(name, {one.path: said})
                    if one.path.startswith("peak."):  # varied alone: what a lower peak takes along stays
                        along = {
                            path: f.text for path, f in hw.figures.items() if wanted.figures[path].value != f.value
                        }
                        wanted = hardware_profiles.load(name, {**along, one.path: said})
                except UserError:  # a rate above that of the memory that it reads
                    refused += 1
                    continue
                got = with_figures(hw, {one.path: figure}, "")
                for part in same:
                    mine, other = getattr(got, part), getattr(wanted, part)
                    if (
                        part == "link" and not hw.unified
                    ):  # runs at its memory's rate; the loader leaves that to the costs
                        cut = min(other.bytes_per_s, wanted.tiers[other.src].bytes_per_s)
                        other = replace(
                            other,
                            bytes_per_s=cut,
                            pageable_bytes_per_s=other.pageable_bytes_per_s and min(other.pageable_bytes_per_s, cut),
                        )
                    assert mine == other, (name, one.path, said, part)
                compared += 1
    assert compared > 250 and refused < compared / 10


@pytest.mark.slow
def test_no_figure_of_a_profile_is_left_out() -> None:
    """But for those of energy and money, and numbers that are too small to be varied by a little."""
    for name in hardware_profiles.available():
        hw = hardware_profiles.load(name)
        varied = {one.path for one in of_machine(hw)}
        left = {
            path: figure
            for path, figure in hw.figures.items()
            if path not in varied and not path.startswith(NOT_OF_TIME)
        }
        assert all(figure.dimension == "count" or figure.value == 0 for figure in left.values()), (name, left)


@pytest.mark.slow
def test_upgrades(capsys) -> None:
    both = "link.bandwidth=7GB/s,tiers.flash.bandwidth=7GB/s"
    found = sensitivity(hw="jetson_orin", **SMALL, upgrades=["link.latency=50us:400EUR", f"{both}:150 EUR"])
    here, there = (simmoe.run("jetson_orin", **SMALL, set=changes).tok_s for changes in ((), both.split(",")))
    first, second = found.upgrades
    assert str(first.upgrade) == both.replace(",", ", ") and str(first.upgrade.price) == "150 EUR"
    assert (first.before, first.tok_s) == (here, there) and first.gain == pytest.approx(there / here - 1)
    assert first.gain_per_hundred == pytest.approx(first.gain / 1.5)
    assert first.gain_per_hundred > second.gain_per_hundred > 0
    assert main([*first.command.split()[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tok_s"] == there


def test_every_constant_of_a_runtime_is_varied() -> None:
    from simmoe.policies import runtime as runtimes

    for name in runtimes.names()[1:]:
        one = runtimes.load(name)
        paths = {varied.path for varied in of_runtime(one)}
        assert {f"runtime.{path}" for path in one.constants} <= paths
        assert ("runtime.decode.kernel.clock" in paths) == ("decode.kernel" in one.constants)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--hw", "a1000", "--trace", "switch-4x8"), "unknown hardware 'a1000'"),
        (
            ("--hw", "a100", "--model", "qwen3-30b-a3b", "--format", "Q4_K_M", "--generate", "0"),
            "no decode pass is played",
        ),
        (
            ("--hw", "a100", "--trace", "switch-4x8", "--upgrade", "link.bandwidth=7GB/s"),
            "is no change with a price; write",
        ),
        (
            ("--hw", "a100", "--trace", "switch-4x8", "--upgrade", "link.bandwidth=7GB/s:150"),
            "'150' is not a quantity with a unit",
        ),
        (
            ("--hw", "a100", "--trace", "switch-4x8", "--upgrade", "link.bandwith=7GB/s:150USD"),
            "no figure 'link.bandwith' to change",
        ),
        (
            ("--hw", "a100", "--trace", "switch-4x8", "--upgrade", "link.latency=1us:1USD", "--map", "copy_or_cpu"),
            "leave one of them out",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, line, capsys) -> None:
    assert main(["sensitivity", *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_it_is_a_public_name_that_takes_the_options_of_run() -> None:
    found = simmoe.sensitivity("jetson_orin", **SMALL)
    assert isinstance(found, simmoe.Sensitivity) and found.to_json() == sensitivity("jetson_orin", **SMALL).to_json()
    assert {"sensitivity", "Sensitivity"} <= set(dir(simmoe))
