"""What a newcomer and an attacker met in 0.1.0 and after it, through the command line and the public names only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import simmoe
from simmoe.cli.main import main
from tests.test_faults_show import output, refused, shown

OBJECTIVES = {"tok_s": "maximize", "memory_bytes": "minimize"}
SPACE: dict[str, Any] = {
    "schema": 1, "name": "small", "hw": "rtx_3090", "trace": "oracle-2x4", "eviction": ["lru", "lfu"], "tokens": 300,
    "objectives": OBJECTIVES,
}  # fmt: skip


def space(folder: Path, **changes: Any) -> str:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**SPACE, **changes}))
    return str(file)


def flat(text: str) -> str:
    return " ".join(text.split())


def rows(text: str, head: str) -> list[list[str]]:
    """The cells of the first table whose heading begins with that word, the heading among them."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(head))
    cells = [re.split(r"  +", line.strip()) for line in lines[first:]]
    return cells[: next((i for i, row in enumerate(cells) if len(row) != len(cells[0])), len(cells))]


# --- 25: which columns leave -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fault_25_on_a_narrow_terminal_the_rows_of_a_front_still_differ(tmp_path: Path) -> None:
    """Five axes that vary and two that do not, in 80 columns: what is the same in every row leaves first and is said once."""
    file = space(
        tmp_path, miss=["fetch", "cpu"], placement=["none", "n_cpu_moe=6"], start=["cold"], budget=["30%", "60%"],
        timeline=["overlapped", "serial"],
    )  # fmt: skip
    ((text,),) = shown([["sweep", file, "--sampler", "grid"]], tmp_path, (80,))
    head, *found = rows(text, "#  ")
    assert found and "trace" not in head and "hw" not in head
    assert {"timeline", "placement", "budget"} <= set(head)  # in which its rows differ; the hit rate has left for them
    assert "hw rtx_3090" in flat(text) and "trace oracle-2x4" in flat(text) and "all rows: " in text
    front = [[cell for name, cell in zip(head, row) if name not in ("#", "memory", "tok/s", "equal")] for row in found]
    assert len({tuple(row) for row in front}) == len(front), text
    assert max(map(len, text.splitlines())) <= 80 or "simmoe run" in max(text.splitlines(), key=len)


@pytest.mark.slow
def test_fault_25_a_column_that_says_the_same_in_every_row_leaves_before_others(tmp_path: Path) -> None:
    command = [
        "compare",
        "--hw",
        "rtx_3090",
        "--hw",
        "rtx_4090",
        "--trace",
        "oracle-2x4",
        "--tokens",
        "300",
        "--budget",
        "50%",
    ]
    (narrow,), (wide,) = shown([command], tmp_path, (80, 200))
    assert {"trace", "policy"} <= set(rows(wide, "machine")[0]) and "all rows" not in wide
    assert not {"trace", "policy"} & set(rows(narrow, "machine")[0])
    assert re.search(r"^all rows: .*trace oracle-2x4, policy lru", narrow, re.M)
    gone = flat(narrow).partition("Not shown at 80 columns: ")[2].partition(". ")[0].split(", ")
    assert not {"trace", "policy"} & set(gone)


# --- 25: where prose breaks ------------------------------------------------------------------------------------------

OPTION = re.compile(r"(?:^|[\s(])--[a-z][a-z-]*\n *(?=\w)|-\n *(?=\w)")  # at the end of a line that goes on


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, None])
def test_fault_25_no_line_ends_inside_a_word_or_between_an_option_and_its_value(
    width: int | None, tmp_path: Path
) -> None:
    """A path of 200 characters stays whole in a pipe; a terminal breaks what is wider than it, and nothing else."""
    folder = tmp_path / ("long-" * 30)
    folder.mkdir()
    simmoe.save_trace(simmoe.load_trace("oracle-2x4"), folder / "mine.npz")
    commands = [["run", "--hw", "rtx_4090", "--trace", str(folder / "mine.npz"), "--tokens", "300", "--budget", f"{share}%"]
                for share in (13, 25, 38, 50)]  # fmt: skip
    (texts,) = shown(commands, tmp_path, (width,) if width else ())
    for text in texts:
        assert " gives " in flat(text)
        assert width or str(folder / "mine.npz") in text
        found = OPTION.search(text.replace(str(folder), "") if width is None else re.sub(r"long-\n", "long-", text))
        assert not found, text


@pytest.mark.parametrize("width", [*range(50, 70), 80, 100])
def test_fault_25_the_help_breaks_between_words(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for command in ("run", "sweep", "calibrate"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out.partition("\n\n")[2]  # behind the usage
        assert not re.findall(r"(?:.*[\s(]--[a-z][a-z-]*|.*-)\n {10,}(?=\w).*", text)


# --- 29: words -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fault_29_the_later_requests_are_not_called_warm(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A run that starts cold has a time to first token of the later requests; `warm` is the name of a start only."""
    command = ["run", "--hw", "rtx_3090", "--trace", "oracle", "--tokens", "2048", "--start", "cold", "--budget", "50%"]
    text = output(capsys, *command)
    assert "TTFT later" in text and "warm" not in text
    found = json.loads(output(capsys, *command, "--json"))["ttft_s"]
    assert set(found) == {"first", "later"} and found["first"] > found["later"] > 0
    assert "TTFT later" in output(capsys, "compare", *command[1:]).partition("\nratio")[0]
    file = space(tmp_path, objectives={"ttft_warm_s": "minimize"})
    assert "the metric ttft_warm_s is now called ttft_later_s" in refused(capsys, "sweep", file)
    file = space(tmp_path, trace="oracle", tokens=2048, budget="50%", objectives={"ttft_later_s": "minimize"})
    assert "ttft_later_s" in output(capsys, "sweep", file, "--sampler", "grid")


@pytest.mark.parametrize(("arguments", "line"), [
    ("--hw a100 --trace gpt-oss-20b", "unknown trace 'gpt-oss-20b': a model has that name, which --model takes; `simmoe zoo list` lists "),
    ("--hw a100 --trace gpt-oss-20b.yaml", "'gpt-oss-20b.yaml': a model has that name, which --model takes"),
    ("--hw oracle --trace oracle", "unknown hardware 'oracle': a trace has that name, which --trace takes; `simmoe hw list` lists "),
    ("--hw a100 --trace oracle --model a100", "unknown model 'a100': a machine has that name, which --hw takes"),
    ("--hw a100 --trace oracle --eviction next_layer", "a prefetch policy has that name, which --prefetch takes; bundled: arc, belady"),
    ("--hw a100 --trace oracle --prefetch lru", "an eviction policy has that name, which --eviction takes; bundled: "),
])  # fmt: skip
def test_fault_29_a_name_of_another_kind_says_which_option_takes_it(
    arguments: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "run", *arguments.split())
    assert line in said and "nearest" not in said and "did you mean" not in said


@pytest.mark.slow
def test_fault_29_a_path_is_told_what_is_there_and_no_bundled_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "traces").mkdir()
    simmoe.save_trace(simmoe.load_trace("oracle-2x4"), tmp_path / "traces" / "mine.npz")
    for name, line in {
        "traces": "it is a folder; name a file in it, such as mine.npz",
        "traces/mini.npz": f"no such file; did you mean {str(tmp_path / 'traces/mine.npz')!r}?",
        "traces/other-name.npz": "no such file; make one",
        "none/mine.npz": f"there is no folder {str(tmp_path / 'none')!r}",
    }.items():
        for command in (["run", "--hw", "a100", "--trace"], ["locality"]):
            said = refused(capsys, *command, str(tmp_path / name))
            assert line in said and "nearest" not in said and "oracle" not in said
    assert "no such file" in refused(capsys, "run", "--trace", "oracle", "--hw", str(tmp_path / "a100.yaml"))
    assert "did you mean" not in refused(capsys, "sweep", str(tmp_path / "oracle_vs_switch"))
    assert "nearest: oracle" in refused(capsys, "run", "--hw", "a100", "--trace", "oracl")  # of names it still is


# --- 15: times and rates that cannot be true -------------------------------------------------------------------------


@pytest.mark.parametrize(("hw", "path", "value", "said"), [
    ("a100", "link.latency", "90 ps", "the least is 260 ns"),
    ("a100", "link.latency", "15 s", "the most is 10 ms"),
    ("a100", "units.gpu.launch", "10 ns", "the least is 300 ns"),
    ("a100", "units.gpu.launch", "2 s", "the most is 10 ms"),
    ("a100", "units.gpu.graph_launch", "1 ns", "the least is 300 ns"),
    ("a100", "units.gpu.host_wait", "1 s", "the most is 100 ms"),
    ("a100", "units.cpu.launch", "90 ps", "the least is 10 ns"),
    ("jetson_orin", "link.latency", "1 us", "the least is 3 us"),
    ("jetson_orin", "link.latency", "20 s", "the most is 100 ms"),
    ("rtx_4090_nvme", "link.upstream.latency", "90 ps", "the least is 3 us"),
    ("jetson_orin_nano", "units.gpu.flops.fp32", "90 TFLOP/s", "the most is 62 TFLOP/s"),
    ("m4_max", "peak.flops.fp16", "600 TFLOP/s", "the most is 518 TFLOP/s"),
    ("desktop_ddr5_2ch", "units.cpu.flops.bf16", "2000 TFLOP/s", "the most is 1.7 PFLOP/s"),
    ("a100", "units.cpu.flops.fp32", "120 TFLOP/s", "the most is 100 TFLOP/s"),
])  # fmt: skip
def test_fault_15_a_time_or_a_rate_that_no_machine_has_is_named(
    hw: str, path: str, value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node: dict[str, Any] = {"value": value, "kind": "measured", "source": "a slip of the unit"}
    for key in reversed(path.split(".")):
        node = {key: node}
    file = tmp_path / "box.yaml"
    file.write_text(yaml.safe_dump({"schema": 1, "name": "box", "title": "Mine", "extends": hw, **node}))
    assert main(["hw", "check", str(file)]) == 1
    line = capsys.readouterr().out
    assert line.startswith(f"box.yaml: {path}: {value} (measured) cannot be true: {said}, ")
    run = ["run", "--hw", str(file), "--trace", "oracle-2x4", "--tokens", "60", "--budget", "50%"]
    assert f"{path}: {value} (measured) cannot be true" in flat(output(capsys, *run))


@pytest.mark.slow
def test_fault_15_no_bundled_machine_is_questioned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hw", "list", "--json"]) == 0
    for one in json.loads(capsys.readouterr().out)["profiles"]:
        assert main(["hw", "check", one["name"]]) == 0, one["name"]


# --- 29: options of others, options twice ----------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "like"), [
    ("--n-cpu-moe 25", "--placement n_cpu_moe=25"), ("--n-cpu-moe=25", "--placement n_cpu_moe=25"),
    ("-ncmoe 25", "--placement n_cpu_moe=25"),
    ("--cpu-moe", "--placement n_cpu_moe=99"), ("-ngl 20", "--placement n_cpu_moe=N"), ("-ot exps=CPU", "--placement n_cpu_moe=N"),
    ("-c 4096", "--context 4096"), ("--max-model-len 4096", "--context 4096"), ("-ts 3,1", "--placement layer_split=3/1"),
    ("-np 4", "--batch 4"), ("-ctk q8_0", "--kv-format q8_0, of keys and values alike"), ("-n 20", "--generate 20"),
    ("-d 8192", "--depth 8192"), ("-m model.gguf", "--model model.gguf"),
])  # fmt: skip
def test_fault_29_an_option_of_another_engine_is_told_in_words_of_this_one(
    words: str, like: str, capsys: pytest.CaptureFixture[str]
) -> None:
    option = words.split()[0].partition("=")[0]
    for command in ("run", "compare"):
        for line in (f"--hw a100 --trace oracle {words}", f"{words} --hw a100 --trace oracle"):
            said = refused(capsys, command, *line.split())
            assert said.startswith(f"simmoe: unknown option {option}; here: ") and like in said, said
    assert "here:" not in refused(capsys, "sweep", "oracle_vs_switch", *words.split())
    if "N" not in like and not re.search("layer_split|alike|gguf", like):  # what is named is taken
        assert (
            main(["run", "--hw", "a100", "--trace", "oracle-2x4", "--tokens", "60", "--budget", "50%", *like.split()])
            == 0
        )


@pytest.mark.parametrize("command", [
    "sweep oracle_vs_switch --seed 3 --seed 4", "calibrate --rows a.jsonl --rows b.jsonl", "locality oracle --html a --html b",
    "run --hw a100 --trace oracle --budget 50% --per-token a.csv --per-token b.csv", "model import x --out a --out b",
])  # fmt: skip
def test_fault_29_an_option_that_is_given_twice_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    option = command.split()[-2]
    assert f"{option} is given more than once; give it once" in refused(capsys, *command.split())


def test_fault_15_joined_rows_and_rows_of_no_machine_name_the_files_that_a_user_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.test_faults_calibrate import calibrated, known_rows  # here: 0.1.0 has no rows

    one, other = known_rows("memory", True), known_rows("memory", False)
    assert calibrated(tmp_path, [*one, *(row for row in other if row["kind"] != "machine")]) == 2
    line = capsys.readouterr().err
    assert re.match(
        r"simmoe: rows\.jsonl: lines \d+ and \d+ time the same, \{.*\}; keep the rows of one run\n$", line
    ), line
    for row in one:
        if row["kind"] == "machine":
            row["memory_bytes"] = [10**9, 0]  # no byte was free
    assert calibrated(tmp_path, one) == 2
    line = capsys.readouterr().err
    assert line.startswith("simmoe: made.yaml: tiers.host_buffer.capacity.value: '0 B' must be more than zero"), line
    assert not (tmp_path / "made.yaml").exists()


# --- 29: what a reader must know -------------------------------------------------------------------------------------


def small(folder: Path, name: str, capacity: str = "3 GB", **figures: str) -> str:
    """An RTX 3060 with less memory, and figures that a user has changed."""
    node: dict[str, Any] = {"schema": 1, "name": name, "title": name, "extends": "rtx_3060"}
    for path, value in {"tiers.gddr.capacity": capacity, **figures}.items():
        *parents, last = path.split(".")
        at = node
        for key in parents:
            at = at.setdefault(key, {})
        at[last] = {"value": value, "kind": "measured", "source": "mine"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(node))
    return str(folder / f"{name}.yaml")


@pytest.mark.slow
def test_fault_22_a_sweep_says_what_a_run_of_its_scenarios_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page cache that is full before the run, and a machine with a figure that cannot be: the last of the words of their axes."""
    bad = small(tmp_path, "bad", **{"link.latency": "90 ps"})
    file = space(
        tmp_path, hw=["rtx_4090_nvme", bad], trace="oracle", page_cache=["none", "4GB"], budget=["25%", "50%"], eviction="lru",
        start=["cold", "auto"],
    )  # fmt: skip
    run = [
        "run",
        "--hw",
        "rtx_4090_nvme",
        "--trace",
        "oracle",
        "--tokens",
        "300",
        "--budget",
        "25%",
        "--page-cache",
        "4GB",
        "--json",
    ]
    full = next(
        note for note in json.loads(output(capsys, *run))["notes"] if note.startswith("The page cache holds all")
    )
    impossible = "bad: link.latency: 90 ps (measured) cannot be true: "
    for sampler in ("grid", "random"):
        text = flat(output(capsys, "sweep", file, "--sampler", sampler, "--trials", "4"))
        assert full in text and impossible in text
        notes = json.loads(output(capsys, "sweep", file, "--sampler", sampler, "--trials", "4", "--json"))["notes"]
        assert full in notes and any(note.startswith(impossible) for note in notes) and len(notes) == len(set(notes))
    file = space(tmp_path, hw="rtx_4090_nvme", trace="oracle", page_cache="4GB", budget=["25%"], start="cold")
    assert "notes" not in json.loads(output(capsys, "sweep", file, "--sampler", "grid", "--json"))


@pytest.mark.slow
@pytest.mark.parametrize("table", ["run", "ladder", "compare", "sweep"])
def test_fault_29_below_each_table_stands_what_its_columns_are(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--hw", "rtx_3090", "--trace", "oracle-2x4", "--tokens", "300"]
    command = {
        "run": ["run", *options, "--budget", "50%"], "ladder": ["run", *options], "compare": ["compare", *options],
        "sweep": ["sweep", space(tmp_path, budget=["50%", "100%"]), "--sampler", "grid"],
    }[table]  # fmt: skip
    text = flat(output(capsys, *command))
    shown = "TTFT first" in text or "ttft_first_s" in text  # the rungs begin behind the prompt of the one sequence
    assert ("TTFT: time to the first token, of the first sequence; " in text) == shown == (table != "ladder")
    assert "hit rate: share of the requests for experts in decode that find the expert resident" in text
    assert ("waiting: share of decode time in which the device waits" in text) == (table != "sweep")
    assert ("TPOT p95: " in text, "TPOT p50, " in text) == (table == "compare", table in ("run", "ladder"))


@pytest.mark.slow
def test_fault_01_the_bound_everything_is_marked_where_it_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3,652 MB of experts on 3 GB, and on 12 GB."""
    options = ["--trace", "oracle", "--tokens", "300"]
    for hw, fits in ((small(tmp_path, "box"), False), ("rtx_3060", True)):
        text = output(capsys, "run", "--hw", hw, *options)
        assert bool(re.search(r"^bound: everything, does not fit  ", text, re.M)) is not fits
        note = f"The bound everything does not fit on box: {'2.39 GB'} are missing beside the usable "
        assert (note in flat(output(capsys, "run", "--hw", hw, *options, "--eviction", "everything"))) is not fits
        ladder = json.loads(output(capsys, "run", "--hw", hw, *options, "--json"))["bounds"]
        assert any(one.startswith(note) for one in ladder["everything"].get("notes", [])) is not fits
        assert "notes" not in ladder["nothing"]


@pytest.mark.slow
def test_fault_04_a_budget_above_all_experts_says_that_it_holds_all(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--hw", "rtx_3090", "--trace", "oracle", "--tokens", "300"]
    note = "The budget is 496 GB more than all experts: the run holds them all, 3.63 GB"
    assert note in flat(output(capsys, "run", *options, "--budget", "500GB"))
    assert note in json.loads(output(capsys, "run", *options, "--budget", "500GB", "--json"))["notes"]
    assert note in flat(output(capsys, "compare", *options, "--budget", "500GB"))
    one, other = (json.loads(output(capsys, "run", *options, "--budget", size, "--json")) for size in ("500GB", "100%"))
    assert "notes" not in other and {**one, "notes": 0} == {**other, "notes": 0}  # the same run, of the same digest
    placed = [*options, "--placement", "n_cpu_moe=8", "--budget", "500GB"]
    assert "more than all experts that the placement left to the device" in flat(output(capsys, "run", *placed))


@pytest.mark.slow
def test_fault_11_a_context_that_is_smaller_than_what_is_played_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--hw", "rtx_3090", "--trace", "oracle", "--budget", "50%"]
    line = refused(capsys, "run", *options, "--tokens", "300", "--context", "255")
    assert "--context 255 reserves KV memory for fewer positions than are played, 256; " in line
    assert main(["run", *options, "--tokens", "300", "--context", "256"]) == 0
    assert main(["run", *options, "--tokens", "64", "--context", "64"]) == 0  # what is not played needs no room


# --- 4: what would fit -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("options", "kinds"), [
    ("--budget 100%", {"--budget", "--format", "--placement"}),
    ("--budget 3GB", {"--budget", "--format", "--placement"}),
    ("--budget 100% --placement n_cpu_moe=4", {"--budget", "--format", "--placement"}),
    ("--budget 10% --context 100000", {"--context"}),
    ("--context 100000", {"--context"}),
    ("--context 9000 --format fp32", {"--format", "--context"}),
    ("--budget 100% --set tiers.host_dram.capacity=2GB", {"--format"}),
])  # fmt: skip
def test_fault_04_what_does_not_fit_names_the_nearest_that_does(
    options: str, kinds: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every way that is named is played by hand, and the next blocks, positions or format before it are refused."""
    command = ["run", "--hw", small(tmp_path, "box"), "--trace", "oracle", "--tokens", "100", *options.split()]
    line = refused(capsys, *command)
    found = dict(re.findall(r"(--[a-z]+) ([^\s,]+)", line.partition("usable")[2]))
    assert set(found) == kinds, line
    for option, value in found.items():
        assert main(applied(command, option, value)) == 0, (option, value, capsys.readouterr().err)
        for nearer in NEARER[option](value):
            assert "fit" in refused(capsys, *applied(command, option, nearer)), (option, nearer)
    for play in (simmoe.run, simmoe.ladder):  # the ladder's own needs room for one expert alone
        with pytest.raises(ValueError, match=r"; what would fit: --context 12690$"):
            play(command[2], "oracle", tokens=100, context=100_000)


FORMATS = ("fp32", "fp16", "q8_0", "q6_k", "q4_k")  # of oracle-moe-9x24 by their bytes, where all matrices are covered
NEARER = {
    "--budget": lambda value: [f"{int(value.removesuffix('MB')) + 2}MB"],
    "--format": lambda value: [FORMATS[FORMATS.index(value) - 1]],
    "--context": lambda value: [str(int(value) + 1)],
    "--placement": lambda value: [f"n_cpu_moe={int(value.partition('=')[2]) - 1}"],
}


def applied(command: list[str], option: str, value: str) -> list[str]:
    """The command with that option in place of what it had."""
    if option in command:
        at = command.index(option)
        command = command[:at] + command[at + 2 :]
    return [*command, option, value]


def test_fault_04_what_nothing_makes_fit_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--hw", small(tmp_path, "tiny", "1.1 GB"), "--trace", "oracle", "--tokens", "100"]
    line = refused(capsys, *command)
    assert line.endswith(
        "no other --format, --kv-format, --context or --placement n_cpu_moe=N alone would fit: name a larger machine\n"
    )


# --- what a newcomer with a gaming PC writes ------------------------------------------------------------------------

PC = ["--gpu", "rtx_3060", "--host", "ddr4_3200_2ch", "--format", "Q4_K_M", "--prompt", "16", "--generate", "4"]


def test_a_bundled_machine_or_model_is_found_however_its_name_is_spelt(capsys: pytest.CaptureFixture[str]) -> None:
    exact = output(capsys, "run", "--model", "olmoe-1b-7b", *PC, "--json")
    spelt = ["RTX 3060" if word == "rtx_3060" else word.upper() for word in PC[:4] if word[0] != "-"]
    words = ["--gpu", spelt[0], "--host", spelt[1].replace("_", "-"), "--model", "OLMoE_1B-7B", *PC[4:], "--json"]
    assert json.loads(output(capsys, "run", *words))["tok_s"] == json.loads(exact)["tok_s"]
    assert "did you mean 'lru'" in refused(capsys, "run", "--model", "olmoe-1b-7b", *PC, "--eviction", "lru_")


def test_the_refusal_of_a_model_says_that_its_own_files_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert "a GGUF file, a config.json, or a YAML" in refused(capsys, "run", "--model", "DeepSeek-V5", *PC)


@pytest.mark.slow
def test_a_range_whose_ends_read_alike_is_one_value(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "mixtral-8x7b", *PC[:5], "Q4_0", "--prompt", "512", "--generate", "4"]
    text = flat(output(capsys, "run", *words, "--placement", "n_cpu_moe=32"))
    assert re.search(r"With the routing like:mixtral, [^:]+:llama-moe-v2: TTFT [\d.]+ s\.", text), text


def test_a_wait_names_the_cpu_where_no_subject_stands_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "olmoe-1b-7b", *PC, "--placement", "n_cpu_moe=1"]
    text = flat(output(capsys, "run", *words))
    assert "Bound by memory bandwidth" in text and "waits for the experts that the CPU computes" in text, text


@pytest.mark.parametrize(
    ("said", "meant"),
    [("Usual", "usual"), ("usuall", "usual"), ("Ideal", "ideal"), ("llama_cpp_cud", "llama_cpp_cuda")],
)
def test_a_runtime_that_is_nearly_a_name_is_answered_with_it(said: str, meant: str, capsys) -> None:
    assert main(["run", "--hw", "a100", "--trace", "oracle-2x4", "--tokens", "64", "--runtime", said]) == 2
    error = capsys.readouterr().err
    assert f"unknown runtime {said!r}: no such file or bundled name; did you mean {meant!r}?" in error
    count = int(re.search(r"lists all ([0-9]+)", error)[1])
    assert main(["runtime", "list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert len(listed) == count and meant in listed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("plan --model qwen3-999b --gpu rtx_3060", "option --model; here: MODEL stands without an option, simmoe plan qwen3-999b …"),
        ("plan --model=qwen3-30b-a3b --gpu rtx_3060", "MODEL stands without an option, simmoe plan qwen3-30b-a3b …; simmoe plan --help"),
        ("locality --trace oracle", "TRACE stands without an option, simmoe locality oracle …"),
        ("plan qwen3-30b-a3b --mdel x", "unknown option --mdel; did you mean"),
    ],
)  # fmt: skip
def test_an_option_that_is_a_word_of_the_command_is_answered_with_the_command(words: str, line: str, capsys) -> None:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
