"""Break-even maps: who wins in each cell is what two runs give, and the border is where the winner changes."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise

import pytest

import simmoe
from simmoe.cli.main import main
from simmoe.sweeps import maps
from simmoe.workloads.format.trace import names
from tests.machines import TWO

pytestmark = pytest.mark.skipif("switch-4x8" not in names(), reason="the bundled traces are not made yet")
SMALL = ("--trace", "switch-4x8", "--tokens", "128")
CASES = {
    "copy_or_cpu": ("--hw", "rtx_4090_nvme", *SMALL, "--budget", "50%"),
    "cache_or_layers": ("--gpu", "rtx_4090", "--host", "ddr5_6000_2ch", *SMALL),
    "kv_or_experts": (
        "--gpu",
        "rtx_4090",
        "--host",
        "ddr5_6000_2ch",
        "--runtime",
        "llama_cpp_cuda",
        "--model",
        "qwen3-30b-a3b",
        "--format",
        "Q4_K_M",
        "--prompt",
        "16",
        "--generate",
        "4",
    ),
}


def said(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_border_is_where_two_runs_change_places(name, capsys) -> None:
    found = said(capsys, "sensitivity", "--map", name, *CASES[name])
    a, b, cells = found["A"], found["B"], found["cells"]
    assert len(cells) == 49 and {cell["winner"] for cell in cells} == {"A", "B"}
    grid = [cells[row * 7 : row * 7 + 7] for row in range(7)]
    rows = [*grid, *map(list, zip(*grid))]
    changes = {
        id(cell) for row in rows for pair in pairwise(row) if pair[0]["winner"] != pair[1]["winner"] for cell in pair
    }
    assert {id(cell) for cell in cells if cell["border"]} == changes
    for row in grid:  # a faster link helps who copies; more positions need more of the device
        assert [cell["winner"] for cell in row] == sorted(
            (cell["winner"] for cell in row), reverse=name != "kv_or_experts"
        )
    for cell in [cell for cell in cells if cell["border"]][::3]:
        one, other = (again(cell[way], capsys) for way in (a, b))
        assert cell["winner"] == ("A" if one > other else "B")
        assert cell["factor"] == (None if 0 in (one, other) else pytest.approx(max(one, other) / min(one, other)))


def again(side: dict, capsys) -> float:
    """The speed that the command of a side gives; 0 where it refuses, as the map says."""
    words = shlex.split(side["command"])[1:]
    if side["tok_s"] is None:
        assert main(words) == 2 and side["why_not"] in capsys.readouterr().err
        return 0.0
    assert said(capsys, *words)["tok_s"] == side["tok_s"]
    return side["tok_s"]


@pytest.mark.slow
def test_both_ways_have_the_same_memory(capsys) -> None:
    cells = said(capsys, "sensitivity", "--map", "cache_or_layers", *CASES["cache_or_layers"])["cells"]
    layer = simmoe.load_model("oracle-moe-4x8").layers[-1].expert_bytes
    for cell in cells[::7]:
        cache, layers = (
            said(capsys, *shlex.split(cell[way]["command"])[1:])["memory_bytes"]["experts"]
            for way in ("cache", "layers")
        )
        assert 0 <= cache - layers < layer and layers % layer == 0


@pytest.mark.slow
def test_the_table_fits_a_terminal(capsys) -> None:
    assert main(["sensitivity", "--map", "copy_or_cpu", *CASES["copy_or_cpu"]]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if re.match(r"(CPU GB/s|[0-9.]+ )", line)]
    assert len(table) == 8 and max(map(len, table)) <= 80
    assert sum(line.count("*") for line in table) >= 7 and "A: copy, B: CPU is faster" in "\n".join(lines)


def test_every_map_is_played_here_and_stands_in_the_help(capsys) -> None:
    assert maps.names() == sorted(CASES)
    with pytest.raises(SystemExit):
        main(["sensitivity", "--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in maps.names())


def test_a_machine_of_several_devices_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "two.yaml").write_text(TWO, "utf-8")
    layout = ("--timeline", "distributed", "--placement", "layer_split=1/1")
    assert main(["sensitivity", "--map", "copy_or_cpu", "--hw", str(tmp_path / "two.yaml"), *SMALL, *layout]) == 2
    assert "plays one device, and two has several" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "need"),
    [
        (("--trace", "switch-4x8", "--tokens", "40"), "(first 64 of 12,544 tokens); play more with --tokens"),
        (("--model", "qwen3-30b-a3b", "--prompt", "8", "--generate", "0"), "(all 8 tokens); play some, such as --generate 16"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("map", CASES)
def test_a_text_without_decode_passes_is_refused_with_what_would_play_some(map, text, need, capsys) -> None:
    machine = (*CASES["kv_or_experts"][:6], "--format", "Q4_K_M") if map == "kv_or_experts" else ("--hw", "gh200")
    assert main(["sensitivity", "--map", map, *machine, *text]) == 2
    printed = capsys.readouterr()
    said = f"--map {map} is about the speed of decoding, and no decode pass is played {need}\n"
    assert printed.err == f"simmoe: {said}" and not printed.out
    assert main(["sensitivity", *machine, *text]) == 2
    assert need.partition("; ")[2] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--map", "copy", "--hw", "gh200"), "--map copy: known: cache_or_layers, copy_or_cpu, kv_or_experts"),
        (("--map", "copy_or_cpu", "--hw", "jetson_orin"), "jetson_orin states no CPU that could compute experts"),
        (
            ("--map", "copy_or_cpu", "--hw", "gh200", "--miss", "balanced"),
            "--miss: the map copy_or_cpu varies it; leave it out",
        ),
        (
            ("--map", "cache_or_layers", "--hw", "gh200", "--budget", "50%"),
            "--budget: the map cache_or_layers varies it",
        ),
        (("--map", "kv_or_experts", "--hw", "gh200"), "name one, such as --runtime llama_cpp_cuda"),
        (("--map", "cache_or_layers", "--hw", "gh200", "--eviction", "everything"), "a bound is no cache"),
        (
            ("--map", "copy_or_cpu", "--hw", "gh200", "--runtime", "usual"),
            "llama_cpp_cuda loads no experts while it runs",
        ),
        (("--map", "cache_or_layers", "--hw", "gh200", "--runtime", "usual"), "so this map says nothing of it"),
    ],
)
def test_a_mistake_is_one_line(arguments, line, capsys) -> None:
    assert main(["sensitivity", *arguments, *SMALL]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
