"""Faults of sweeps in 0.1.0, through the command line and the public API alone, so that they can be played there."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

import simmoe
from simmoe import policies
from simmoe.cli.main import main

SPACE = {
    "schema": 1, "name": "faults", "trace": ["oracle", "switch"], "hw": ["jetson_orin", "a100"], "eviction": ["fifo", "lru"],
    "budget": {"low": "2.5%", "high": "100%", "step": "2.5%"}, "tokens": 256,
    "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}  # fmt: skip


def written(folder: Path, **keys) -> str:
    """The path of a space with these keys in place of those of SPACE; None leaves one out."""
    content = {key: value for key, value in {**SPACE, **keys}.items() if value is not None}
    (folder / "space.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "space.yaml")


def told(capsys, *arguments: str) -> str:
    assert main(["sweep", *arguments]) == 0
    return capsys.readouterr().out


def found(capsys, *arguments: str) -> dict:
    return json.loads(told(capsys, *arguments, "--json"))


def refused(capsys, *arguments: str) -> str:
    assert main(["sweep", *arguments]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1, out.err
    return out.err


def started(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "simmoe", "sweep", *arguments, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def trial_lines(journal: Path) -> int:
    return sum(b'"point"' in line for line in journal.read_bytes().splitlines()) if journal.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "stops"),
    [("nsga2", (50, 62, 120)), ("tpe", (11, 40)), ("random", (80, 120)), ("grid", (60, 83, 110))],
)
def test_fault_19_a_sweep_that_was_stopped_goes_on_as_the_same_sweep(sampler, stops, capsys, tmp_path):
    path, journal = written(tmp_path), tmp_path / "stopped.journal"
    whole = found(capsys, path, "--sampler", sampler, "--trials", str(stops[-1]))
    for stop in stops:
        resumed = found(capsys, path, "--sampler", sampler, "--trials", str(stop), "--study", str(journal))
        assert resumed["trials"] == whole["trials"][:stop]
    assert resumed == whole


@pytest.mark.slow
def test_fault_19_a_study_that_goes_on_with_another_sampler_says_so(capsys, tmp_path):
    """The kind: a heading that is true of the last trials only."""
    path, journal = written(tmp_path), str(tmp_path / "two.journal")
    told(capsys, path, "--study", journal, "--trials", "3", "--sampler", "random")
    both = told(capsys, path, "--study", journal, "--trials", "5", "--sampler", "tpe", "--seed", "7")
    assert "sampler random, seed 0, then tpe, seed 7" in both
    assert told(capsys, path, "--study", journal, "--trials", "5", "--sampler", "grid") == both  # it played nothing


@pytest.mark.slow
def test_fault_22_eviction_and_budget_are_no_required_axes(capsys, tmp_path):
    path = written(tmp_path, eviction=None, budget=None)
    trials = found(capsys, path, "--sampler", "grid")["trials"]
    assert {(t["point"]["trace"], t["point"]["hw"]) for t in trials} == {
        (trace, hw) for trace in SPACE["trace"] for hw in SPACE["hw"]
    }
    assert main([*trials[0]["command"].split()[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == trials[0]["digest"]


@pytest.mark.slow
def test_fault_22_a_bound_is_on_no_front_and_no_sampler_is_told_of_it(capsys, tmp_path):
    path = written(tmp_path, eviction=["lru", "belady"], budget=["10%", "40%"], trace="switch", hw="a100", tokens=256)
    sweep = found(capsys, path, "--sampler", "grid")
    assert [t["point"]["eviction"] for t in sweep["trials"]] == ["lru", "lru"]
    assert sweep["front"] and sweep["space"]["scenarios"] == 2
    bounds = {bound["beside"]: bound for bound in sweep["bounds"]}
    assert sorted(bounds) == sorted(sweep["front"])
    for number, bound in bounds.items():
        trial = sweep["trials"][number]
        assert bound["point"] == {**trial["point"], "eviction": "belady"} and bound["hit_rate"] > trial["hit_rate"]
        assert main([*bound["command"].split()[1:], "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["tok_s"] == bound["tok_s"]
    rows = told(capsys, path, "--sampler", "grid").split(
        "Bound at the same settings, on no front: belady reads the future"
    )
    assert len(rows) == 2 and "belady" not in rows[0] and rows[1].count(" belady ") == 2
    assert re.search(
        "eviction belady of the space reads the future.*such as lru",
        refused(capsys, written(tmp_path, eviction="belady")),
    )


@pytest.mark.slow
def test_fault_22_a_placement_that_counts_the_scored_text_is_a_bound_too(capsys, tmp_path):
    """The kind: 0.1.0 gave popular=50%, which counts the very text that it is scored on, to the sampler and had it on the front."""
    own = ["popular=50%", "popular=25%:switch"]
    keys = {"trace": "switch", "hw": "rtx_4090", "eviction": ["lru", "belady"], "budget": ["20%"], "tokens": 256}
    path = written(tmp_path, **keys, placement=["none", *own])
    sweep = found(capsys, path, "--sampler", "grid")
    assert [(t["point"]["eviction"], t["point"]["placement"]) for t in sweep["trials"]] == [("lru", "none")]
    assert sweep["front"] == [0] and sweep["space"]["scenarios"] == 1
    points = [(bound["point"]["eviction"], bound["point"]["placement"]) for bound in sweep["bounds"]]
    assert points == [("belady", "none"), ("lru", own[0]), ("lru", own[1])]
    for bound in sweep["bounds"]:
        assert main([*bound["command"].split()[1:], "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["tok_s"] == bound["tok_s"]
    front, below = told(capsys, path, "--sampler", "grid").split("Bound at the same settings, on no front: ")
    assert "belady" not in front and "popular" not in front and re.match("belady reads the future", below)
    assert re.search(r"popular=50%, popular=25%:switch counts\s+the\s+very\s+text", below)
    assert all(re.search(rf"^0 .* {re.escape(word)} .*%$", below, re.M) for word in own)
    line = refused(capsys, written(tmp_path, **keys, placement=own[0]))
    assert re.search("placement popular=50% of the space counts the very text.*such as popular=50%:first=20%", line)


@pytest.mark.slow
def test_fault_22_a_placement_that_counts_other_rows_is_searched(capsys, tmp_path):
    """The first rows or another trace can be known beforehand; what is played of the text is said. 0.1.0 knew neither."""
    other, switch = str(tmp_path / "other.npz"), simmoe.load_trace("switch")
    simmoe.save_trace(switch.taken(slice(switch.pass_ptr[40]), switch.pass_ptr[:41], switch.phase[:40]), other)
    keys = {"trace": "switch", "hw": "rtx_4090", "eviction": "lru", "budget": ["20%"], "tokens": 256}
    placements = ["popular=50%:first=20%", f"popular=50%:{other}", "random=50%", "n_cpu_moe=4"]
    for beside, rows_differ in (([], False), (placements[1:], True)):
        path = written(tmp_path, **keys, placement=[placements[0], *beside])
        sweep = found(capsys, path, "--sampler", "grid")
        assert sweep["bounds"] == [] and all(trial["state"] == "played" for trial in sweep["trials"])
        assert {trial["point"]["placement"] for trial in sweep["trials"]} == {placements[0], *beside}
        out = " ".join(told(capsys, path, "--sampler", "grid").split())
        assert "counted the first 2,509 of 12,544 tokens, which are not played" in out
        assert ("their rates are of another part of the text" in out) == rows_differ


@pytest.mark.slow
def test_fault_22_scenarios_with_equal_values_are_one_row_with_a_count(capsys, tmp_path):
    path = written(
        tmp_path, eviction=["fifo", "lru", "random"], budget=["20%", "100%"], trace="switch", hw="a100", tokens=256
    )
    sweep = found(capsys, path, "--sampler", "grid")
    values = [(sweep["trials"][n]["tok_s"], sweep["trials"][n]["memory_bytes"]) for n in sweep["front"]]
    assert len(values) == len(set(values))  # nothing is evicted at 100 %, so that all policies give the same
    (full,) = (n for n in sweep["front"] if sweep["trials"][n]["point"]["budget"] == "100%")
    same = [t["number"] for t in sweep["trials"] if t["point"]["budget"] == "100%"]
    assert full == min(same) and sweep["equal"][str(full)] == [n for n in same if n != full] and len(same) == 3
    out = told(capsys, path, "--sampler", "grid")
    assert re.search(rf"^ *{full} .*100%.* \+2$", out, re.M) and "equal: so many other scenarios" in out


@pytest.mark.slow
def test_fault_22_one_scenario_in_two_spellings_is_played_once(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count = "from pathlib import Path\n\n\ndef value(run):\n    Path('log').open('a').write('played\\n')\n    return run.tok_s\n"
    (tmp_path / "count.py").write_text(count)
    keys = {"trace": "switch", "hw": "a100", "eviction": "lru", "objectives": {"count.py": "maximize"}}
    half = found(capsys, written(tmp_path, **keys, budget="50%"), "--sampler", "grid")["trials"][0]["budget_bytes"]
    (tmp_path / "log").unlink()
    sweep = found(capsys, written(tmp_path, **keys, budget=["50%", f"{half}B"]), "--sampler", "grid")
    assert len(sweep["trials"]) == 2 and (tmp_path / "log").read_text() == "played\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "7",
        '{"op_code":4',
        "[" * 100_000,
        '{"op_code":99}',
        '{"op_code":"4"}',
        '{"op_code":5,"trial_id":{}}',
        '{"op_code":null}',
    ],
    ids=lambda line: line[:30],
)
def test_fault_33_a_journal_with_json_of_another_kind_is_refused_in_one_line(line, capsys, tmp_path):
    path, journal = written(tmp_path), tmp_path / "odd.journal"
    found(capsys, path, "--trials", "2", "--study", str(journal))
    whole = journal.read_bytes()
    journal.write_bytes(whole + line.encode() + b"\n")
    assert re.search(r"odd.journal (is damaged|is not a study journal)", refused(capsys, path, "--study", str(journal)))
    assert journal.read_bytes() == whole + line.encode() + b"\n"


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_fault_35_a_late_trial_costs_what_an_early_one_does(sampler):
    """Few scenarios, so that nearly all trials are answered from memory: what is left is the search."""
    space, marks = {**SPACE, "budget": ["10%", "20%"]}, [time.process_time()]
    simmoe.sweep(space, trials=2100, sampler=sampler, report=lambda *_: marks.append(time.process_time()))
    took = [after - before for before, after in pairwise(marks)]
    early, late = statistics.median(took[100:200]), statistics.median(took[2000:2100])
    assert late < 1.5 * early, (early, late)


@pytest.mark.slow
def test_fault_35_two_sweeps_on_one_journal_play_each_trial_once(capsys, tmp_path):
    path, journal = written(tmp_path, tokens=512), tmp_path / "shared.journal"
    both = [started(path, "--study", str(journal), "--trials", "60") for _ in range(2)]
    told = [json.loads(process.communicate(timeout=300)[0]) for process in both]
    assert trial_lines(journal) == 60
    assert told[0] == told[1] == found(capsys, path, "--trials", "60")


@pytest.mark.slow
def test_fault_35_a_sweep_waits_for_the_one_that_has_the_journal_and_goes_on_when_that_is_killed(capsys, tmp_path):
    path, journal = written(tmp_path, tokens=2048), tmp_path / "waits.journal"
    first = started(path, "--study", str(journal), "--trials", "5000", "--sampler", "random")
    while trial_lines(journal) < 5:
        assert first.poll() is None
        time.sleep(0.01)
    second = started(path, "--study", str(journal), "--trials", "1", "--sampler", "random")
    assert re.search(r"another sweep has .*waits.journal; waiting until it ends", second.stderr.readline())
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = trial_lines(journal)
    out, _ = second.communicate(timeout=60)
    trials = json.loads(out)["trials"]
    assert [t["number"] for t in trials] == list(range(trial_lines(journal))) and kept - 1 <= len(trials) <= kept


PEAK = """
import re, resource, runpy, sys
from pathlib import Path

def peak():  # ru_maxrss begins with what the process had that started this one
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(re.search(r"VmHWM:\\s*([0-9]+)", status.read_text())[1])

try:
    runpy.run_module("simmoe", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    print(ended.code, peak())
"""


def peak_kib(*arguments: str) -> tuple[int, int]:
    """(exit code, most memory) of a command."""
    done = subprocess.run([sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True)
    code, kib = done.stdout.splitlines()[-1].split()
    return int(code), int(kib)


def long_trace(path, tokens: int) -> str:
    """48 layers, 8 of 128 experts: 384 accesses a token, in sequences of 1,000 tokens."""
    layers, top_k, experts, rows = 48, 8, 128, np.arange(tokens)
    ids = (rows[:, None, None] * np.arange(1, layers + 1)[:, None] // 5 + np.arange(top_k)) % experts
    meta = {
        "schema_version": 1,
        "model": "qwen3-30b-a3b",
        "router": "made up",
        "synthetic": "counted up by a test",
        "n_experts": experts,
        "top_k": top_k,
        "null_experts": False,
    }
    np.savez(
        path, expert_ids=ids.astype(np.int16), layer_index=np.arange(layers, dtype=np.int16), pass_ptr=np.arange(tokens + 1),
        phase=np.ones(tokens, np.int8), sequence=(rows // 1000).astype(np.int32), position=(rows % 1000).astype(np.int32),
        meta=np.array(json.dumps(meta)),
    )  # fmt: skip
    return str(path)


@pytest.mark.slow
def test_fault_36_what_does_not_fit_is_refused_before_the_trace_is_expanded(tmp_path):
    trace = long_trace(tmp_path / "long.npz", 20_000)  # 7.7 M accesses
    checked, read = peak_kib("trace", "check", trace)
    code, most = peak_kib("run", "--hw", "rtx_3090", "--trace", trace, "--budget", "100%")
    assert (checked, code) == (0, 2) and most < 1.5 * read, (read, most)


@pytest.mark.slow
def test_fault_36_a_long_run_takes_at_most_30_bytes_for_an_access(tmp_path):
    """0.1.0 took 118. What is beyond a run of half the length is what accesses take: the rest is the same for both."""
    asked = ("--hw", "rtx_3090", "--budget", "25%", "--json")
    short, long = (long_trace(tmp_path / f"{tokens}.npz", tokens) for tokens in (12_000, 24_000))
    peak_kib("run", "--trace", short, *asked)  # compiles what is not kept yet
    (one, less), (other, more) = (peak_kib("run", "--trace", trace, *asked) for trace in (short, long))
    assert (one, other) == (0, 0)
    assert (more - less) * 1024 / (12_000 * 384) <= 30, (less, more)


@pytest.mark.slow
def test_fault_37_a_space_that_names_code_says_that_it_was_executed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text((policies.FOLDER / "eviction" / "fifo.py").read_text())
    (tmp_path / "speed.py").write_text("def value(run):\n    return run.tok_s\n")
    path = written(tmp_path, eviction=["lru", "mine.py"], objectives={"speed.py": "maximize"})
    out = told(capsys, path, "--trials", "2")
    assert "Python code, which was executed: mine.py, speed.py" in out
    assert "executed" not in told(capsys, written(tmp_path), "--trials", "2")
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    assert "Python code and is executed" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_heading_says_nothing_of_one_budget_and_nothing_twice(capsys, tmp_path):
    figure = '{value: 1978 TFLOP/s, kind: nominal, source: "with sparsity"}'
    box = tmp_path / "box.yaml"
    box.write_text(f"name: box\ntitle: a box\nextends: h200\nunits: {{gpu: {{flops: {{bf16: {figure}}}}}}}\n")
    out = told(capsys, written(tmp_path, hw=["rtx_4090"], placement=["n_cpu_moe=8"], trace="switch"), "--trials", "1")
    assert "llama.cpp would refuse" not in out
    out = told(capsys, written(tmp_path, hw=[str(box)], trace="switch"), "--trials", "1")
    assert out.count("1978 TFLOP/s") == 1


@pytest.mark.slow
def test_a_journal_of_another_version_is_refused_in_one_line(capsys, tmp_path):
    path, journal = written(tmp_path), tmp_path / "old.journal"
    found(capsys, path, "--trials", "2", "--study", str(journal))
    lines = journal.read_bytes().splitlines(keepends=True)
    old = b"".join(line for line in lines if b"simmoe_journal" not in line)
    assert len(old) < journal.stat().st_size
    journal.write_bytes(old)
    assert "old.journal is of another version of simmoe" in refused(capsys, path, "--study", str(journal))
    assert journal.read_bytes() == old


@pytest.mark.slow
def test_fault_22_scenarios_with_another_warm_up_are_of_another_part_of_the_text(capsys, tmp_path):
    """The sibling of a placement that counts the first rows: the passes behind 100 tokens are not those behind 300."""
    keys = {"trace": "switch-4x8", "hw": "a100", "eviction": "lru", "budget": ["25%"], "tokens": 400}
    said = "another warm_up time other passes"
    assert said in " ".join(told(capsys, written(tmp_path, **keys, warm_up=["none", 100]), "--sampler", "grid").split())
    assert said not in " ".join(told(capsys, written(tmp_path, **keys, warm_up=[100]), "--sampler", "grid").split())
