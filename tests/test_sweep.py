"""Sweeps: a real kill loses no trial, the front is Optuna's, every row's command gives its number, a bad space is one line."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from simmoe.cli.main import main
from simmoe.play.result import Run
from simmoe.simulator.errors import UserError
from simmoe.sweeps import metrics
from simmoe.workloads.format.trace import names
from tests.test_house import ROOT

pytestmark = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
SPACE = """
schema: 1
name: small
trace: [oracle, switch]
eviction: [fifo, lru]
budget: {low: 2.5%, high: 40%, step: 2.5%}
hw: [jetson_orin, a100]
tokens: 256
objectives: {tok_s: maximize, memory_bytes: minimize}
"""


@pytest.fixture
def space(tmp_path):
    """Writes a space with some lines replaced and returns its path."""

    def write(text: str = SPACE, **lines: str) -> str:
        for key, value in lines.items():
            changed = re.sub(rf"(?m)^{key}:.*$", f"{key}: {value}", text)
            text = changed if f"\n{key}:" in text else f"{text}{key}: {value}\n"
        (tmp_path / "space.yaml").write_text(text)
        return str(tmp_path / "space.yaml")

    return write


def sweep(capsys, *arguments: str) -> dict:
    assert main(["sweep", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def trial_lines(journal: Path) -> int:
    return sum(b'"point"' in line for line in journal.read_bytes().splitlines()) if journal.exists() else 0


def killed(journal: Path, space: str, trials: int, after: int) -> None:
    """Start a sweep and kill it, for real, when `after` trials are in the journal."""
    command = [sys.executable, "-m", "simmoe", "sweep", space, "--study", str(journal), "--trials", str(trials)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while trial_lines(journal) < after:
        assert process.poll() is None, "the sweep ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_sweep_goes_on_as_if_it_had_not_been(space, tmp_path, capsys):
    journal, path, trials = tmp_path / "small.journal", space(tokens="1024"), 70  # more than one NSGA-II generation
    kept = 0
    for more in (6, 30):
        killed(journal, path, trials, kept + more)
        assert kept + more <= trial_lines(journal) < trials
        kept = trial_lines(journal)
    resumed = sweep(capsys, path, "--study", str(journal), "--trials", str(trials))
    assert [t["number"] for t in resumed["trials"]] == list(range(trials)) and trial_lines(journal) == trials
    assert resumed == sweep(capsys, path, "--trials", str(trials))
    done = journal.read_bytes()
    assert sweep(capsys, path, "--study", str(journal), "--trials", str(trials)) == resumed  # nothing is left to do
    assert journal.read_bytes() == done


@pytest.mark.slow
def test_a_last_line_that_was_cut_costs_that_trial_only(space, tmp_path, capsys):
    journal, path = tmp_path / "cut.journal", space()
    whole = sweep(capsys, path, "--study", str(journal), "--trials", "6")
    content = journal.read_bytes()
    last = content[:-1].rfind(b"\n") + 1
    for end in (last + 1, (last + len(content)) // 2, len(content) - 1, 5):
        journal.write_bytes(content[:end])
        assert sweep(capsys, path, "--study", str(journal), "--trials", "6") == whole
        assert trial_lines(journal) == 6 and journal.read_bytes().endswith(b"\n")


@pytest.mark.slow
def test_what_another_process_left_behind(space, tmp_path, capsys):
    import optuna

    journal, path = tmp_path / "left.journal", space()
    sweep(capsys, path, "--study", str(journal), "--trials", "4")
    plain(journal).ask()  # a trial that runs for ever
    (tmp_path / "left.journal.lock").touch()
    done = sweep(capsys, path, "--study", str(journal), "--trials", "6")
    assert len(done["trials"]) == 6 and trial_lines(journal) == 6
    states = [trial.state for trial in plain(journal).trials]
    assert states.count(optuna.trial.TrialState.RUNNING) == 1 and len(states) == 7


def plain(journal: Path):
    """The study as Optuna alone reads it."""
    import optuna

    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    return optuna.load_study(study_name=None, storage=storage)


@pytest.mark.slow
def test_the_front_is_optunas(space, tmp_path, capsys):
    journal = tmp_path / "front.journal"
    found = sweep(capsys, space(), "--study", str(journal), "--trials", "30", "--sampler", "random")
    study = plain(journal)
    assert found["front"] == firsts([(trial.number, trial.values) for trial in study.best_trials]) != []
    for hw, front in found["front_by_hw"].items():
        mine = [t for t in found["trials"] if t["point"]["hw"] == hw and t["state"] == "played"]
        best = [t for t in mine if not any(beats(other, t) for other in mine)]
        assert front == firsts([(t["number"], [t["tok_s"], t["memory_bytes"]]) for t in best]) != []
    assert study.metric_names == ["tok_s", "memory_bytes"]


def firsts(trials: list) -> list[int]:
    """The first number of each combination of values."""
    return sorted({tuple(values): number for number, values in reversed(trials)}.values())


def beats(a: dict, b: dict) -> bool:
    ours, theirs = (a["tok_s"], -a["memory_bytes"]), (b["tok_s"], -b["memory_bytes"])
    return ours != theirs and all(x >= y for x, y in zip(ours, theirs))


@pytest.mark.slow
def test_each_command_gives_its_number(space, capsys):
    lines = {"scope": "[global, layer]", "format": "[fp16, fp32]", "overlap": "[on, none]", "budget": "[7.5%, 600MB]"}
    found = sweep(capsys, space(**lines, tokens="300"), "--trials", "8", "--sampler", "random")
    assert {t["point"]["overlap"] for t in found["trials"]} == {"on", "none"}
    for trial in found["trials"]:
        words = shlex.split(trial["command"])
        assert words[:2] == ["simmoe", "run"]
        assert main([*words[1:], "--json"]) == 0
        run = json.loads(capsys.readouterr().out)
        assert run["tok_s"] == trial["tok_s"] and run["digest"] == trial["digest"]
        assert run["ttft_s"]["first"] == trial["ttft_first_s"] and run["memory_bytes"]["total"] == trial["memory_bytes"]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nsga2", "tpe", "random", "grid"])
def test_a_seed_gives_the_same_trials(sampler, space, capsys, tmp_path):
    arguments = (space(), "--trials", "14", "--sampler", sampler)
    one, two, other = (sweep(capsys, *arguments, "--seed", seed) for seed in ("1", "1", "2"))
    assert one == two and one["trials"] != other["trials"]
    journal = str(tmp_path / "parts.journal")
    sweep(capsys, *arguments[:1], "--trials", "5", "--sampler", sampler, "--seed", "1", "--study", journal)
    assert sweep(capsys, *arguments, "--seed", "1", "--study", journal) == one


@pytest.mark.slow
def test_the_grid_plays_every_scenario_once_whatever_is_known(space, capsys, tmp_path):
    path, journal = space(budget="[5%, 10%]", hw="a100"), str(tmp_path / "grid.journal")
    sweep(capsys, path, "--study", journal, "--trials", "3", "--sampler", "grid")
    found = sweep(capsys, path, "--study", journal, "--sampler", "grid")
    points = [tuple(t["point"].values()) for t in found["trials"]]
    assert len(points) == len(set(points)) == found["space"]["scenarios"] == 8


@pytest.mark.slow
def test_what_cannot_run_is_a_finished_trial_with_its_reason(space, capsys):
    path = space(hw="[jetson_xavier_nx]", format="[fp16, fp32]", budget="[0.01%, 10%, 100%]", tokens="256")
    found = sweep(capsys, path, "--sampler", "grid")
    reasons = {(t["point"]["budget"], t["point"]["format"]): t.get("why_not", "") for t in found["trials"]}
    assert len(found["trials"]) == 24 and reasons["10%", "fp16"] == reasons["100%", "fp16"] == ""
    assert "below the least that works" in reasons["0.01%", "fp16"] and "do not fit" in reasons["100%", "fp32"]
    cannot = {t["number"] for t in found["trials"] if t["state"] == "cannot run"}
    assert len(cannot) == 12 and not cannot & set(found["front"])
    assert main(["sweep", path, "--sampler", "grid"]) == 0
    assert "12 trials cannot run, such as #" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_samplers_go_on_past_what_cannot_run(sampler, space, capsys, tmp_path, monkeypatch):
    from simmoe import hardware_profiles

    monkeypatch.chdir(tmp_path)
    profile = yaml.safe_load((hardware_profiles.FOLDER / "a100.yaml").read_text())
    del profile["units"]["gpu"]["flops"]["fp16"]
    (tmp_path / "half.yaml").write_text(yaml.safe_dump(profile))
    path = space(hw="[half.yaml, a100]", objectives="{tok_s: maximize}")
    found = sweep(capsys, path, "--trials", "30", "--sampler", sampler)
    refused = [t for t in found["trials"] if t["point"]["hw"] == "half.yaml"]
    assert 0 < len(refused) < 30 and all("states no FLOP rate for fp16" in t["why_not"] for t in refused)
    assert found["front_by_hw"]["half.yaml"] == [] and found["front"] == found["front_by_hw"]["a100"] != []
    assert main(["sweep", path, "--trials", "5", "--sampler", sampler]) == 0


@pytest.mark.slow
def test_a_metric_of_ones_own_that_fails_is_one_line(space, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for body, line in {
        "def value(run): return 1 / 0": r"metric mine.py fails: ZeroDivisionError",
        "def value(run): return float('nan')": r"metric mine.py gives nan; it must be a finite number",
        "def value(run): return 'fast'": r"metric mine.py fails: ValueError",
        "def worth(run): return 1": r"metric mine.py cannot be loaded: AttributeError",
    }.items():
        metrics._load.cache_clear()
        (tmp_path / "mine.py").write_text(body)
        refused(capsys, line, space(objectives="{mine.py: maximize}"), "--trials", "2")


@pytest.mark.slow
def test_the_table(space, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waiting_ps.py").write_text("def value(run): return run.where_ps()['waiting for experts']\n")
    path = space(eviction="[lru, belady]", objectives="{waiting_ps.py: minimize, memory_bytes: minimize}")
    assert main(["sweep", path, "--trials", "20", "--top", "2"]) == 0
    out, err = capsys.readouterr()
    for part in ("Simulated (engine ", "20 trials of small", "first 256 of 12,544 tokens", "inputs: bundled",
                 "2 of ", "Pareto front on a100", "tok/s", "simmoe run --hw ", "waiting_ps.py", "belady reads the future",
                 "distinct of 64 scenarios", "executed: waiting_ps.py"):  # fmt: skip
        assert part in out, part
    assert "sweep: 20 of 20 trials, 0 cannot run" in err and "Optuna" not in err and "[I " not in err


@pytest.mark.slow
def test_the_whole_files_of_the_page_on_metrics_play(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "extending" / "metric.md").read_text("utf-8")
    files = dict(re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", text, re.M | re.S))
    assert files.keys() == {"wait_share.py", "waiting.yaml"}
    for name, source in files.items():
        (tmp_path / name).write_text(source, "utf-8")
    (line,) = re.search(r"^```sh\n(.*?)^```$", text, re.M | re.S)[1].splitlines()
    found = sweep(capsys, *shlex.split(line)[2:])
    shares = {t["point"]["budget"]: t["wait_share.py"] for t in found["trials"] if t["point"]["trace"] == "switch"}
    assert len(found["trials"]) == 12 and 1 > shares["25%"] > shares["50%"] > shares["75%"] > 0
    assert {name for name in re.findall(r"`run\.(\w+)", text) if not hasattr(Run, name)} <= set(
        Run.__dataclass_fields__
    )


def test_without_numba_the_recurrence_is_interpreted_and_says_so(space, monkeypatch, capsys):
    from simmoe.simulator.time import compile as compiled

    monkeypatch.setattr(compiled, "missing", lambda: True)
    assert main(["sweep", space(), "--trials", "3"]) == 0
    assert "engine plain" in (out := capsys.readouterr().out) and "pip install 'simmoe[fast]'" in out


BAD = {
    "not a mapping": ("- 1\n", r"space.yaml: \[1\] is not a mapping"),
    "no YAML": ("a: [1\n", r"space.yaml: line 2: not valid YAML"),
    "Python tag": ("a: !!python/object/apply:os.system [exit]\n", r"is not read, only plain YAML: remove it"),
    "unknown key": ({"evictoin": "lru"}, r"unknown key 'evictoin'; did you mean 'eviction'"),
    "missing key": (SPACE.replace("name: small\n", ""), r"missing key 'name'; required: schema, name"),
    "another schema": ({"schema": "2"}, r"schema is 2; this release reads 1"),
    "no name": ({"name": "7"}, r"name is 7; give the study a name"),
    "a long name": ({"name": "a" * 513}, r"name has 513 characters; a study.s name has 512 at most"),
    "empty axis": ({"hw": "[]"}, r"hw: the list is empty"),
    "number in a list": ({"hw": "[4090]"}, r"hw: 4090 is no text"),
    "twice": ({"hw": "[a100, a100]"}, r"hw: 'a100' stands there twice"),
    "unknown machine": ({"hw": "[a1000]"}, r"unknown hardware 'a1000'.*a100"),
    "unknown trace": ({"trace": "nope"}, r"unknown trace 'nope'"),
    "unknown policy": ({"eviction": "[lru, lruu]"}, r"unknown eviction policy 'lruu'.*did you mean 'lru'"),
    "a bound": ({"eviction": "everything"}, r"eviction 'everything' of the space is a bound"),
    "unknown model": ({"model": "[nope]"}, r"unknown model 'nope'"),
    "another model": ({"model": "mixtral-8x7b"}, r"the trace has 9 MoE layers but the model mixtral-8x7b has 32"),
    "unknown format": ({"format": "fp17"}, r"fp17.*fp16"),
    "unknown scope": ({"scope": "word"}, r"scope: unknown 'word'; choose one of global, layer"),
    "overlap": ({"overlap": "[on, maybe]"}, r"overlap: unknown 'maybe'; choose one of on, none"),
    "bare budget": ({"budget": "[25]"}, r"budget: 25 is no text"),
    "unknown unit": ({"budget": "[2QB]"}, r"budget: unknown unit 'QB'"),
    "more than all": ({"budget": "[120%]"}, r"budget: 120% is more than all experts"),
    "half a range": ({"budget": "{low: 5%}"}, r"budget: has the keys low; a range has low, high and step"),
    "mixed range": ({"budget": "{low: 5%, high: 2GB, step: 1GB}"}, r"mix percentages and bytes"),
    "range upside down": ({"budget": "{low: 50%, high: 5%, step: 1%}"}, r"50 to 5 by 1 is no range"),
    "no step": ({"budget": "{low: 5%, high: 50%, step: 0%}"}, r"is no range; it needs 0 < low <= high and step > 0"),
    "uneven range": ({"budget": "{low: 5%, high: 99%, step: 10%}"}, r"the nearest below is 95%"),
    "tokens": ({"tokens": "0"}, r"tokens 0 is no number of tokens; give 1 or more, or all"),
    "no objectives": ({"objectives": "tok_s"}, r"objectives is 'tok_s'; write"),
    "direction": ({"objectives": "{tok_s: up}"}, r"objectives.tok_s is 'up'; choose from maximize, minimize"),
    "metric": ({"objectives": "{tok_ss: maximize}"}, r"unknown metric 'tok_ss'.*did you mean 'tok_s'"),
}


def refused(capsys, line: str, *arguments: str) -> None:
    assert main(["sweep", *arguments]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and re.search(line, out.err), out.err


@pytest.mark.parametrize("name", BAD)
def test_bad_space(name, space, capsys):
    changes, line = BAD[name]
    refused(capsys, line, space(changes) if isinstance(changes, str) else space(**changes))


@pytest.mark.slow
def test_bad_options(space, capsys, tmp_path):
    path, journal = space(), tmp_path / "a.journal"
    for line, *options in (
        (r"unknown sampler 'cma'; choose one of nsga2", "--sampler", "cma"),
        (r"--trials 0 plays nothing", "--trials", "0"),
        (r"--seed -1 is out of range", "--seed", "-1"),
        (r"--top 0 shows nothing", "--top", "0"),
        (r"--top is for the printed fronts", "--top", "3", "--json"),
        (r"folder .* does not exist", "--study", str(tmp_path / "no" / "a.journal")),
        (r"it is a folder", "--study", str(tmp_path)),
        (r"is not a study journal", "--study", path),
    ):
        refused(capsys, line, path, *options)
    refused(
        capsys,
        r"unknown space 'nope'.*bundled: experts_on_the_cpu, mission, oracle_vs_switch, two_cards_or_one",
        "nope",
    )
    assert Path(path).read_text() == SPACE  # naming another file as the study did not touch it

    sweep(capsys, path, "--study", str(journal), "--trials", "2")
    content = journal.read_bytes()
    refused(capsys, r"holds the study 'small' of another space", space(hw="[h100]"), "--study", str(journal))
    refused(capsys, r"holds the study 'small' of another space", space(SPACE, name="big"), "--study", str(journal))
    assert journal.read_bytes() == content
    journal.write_bytes(content.replace(b'"op_code":4', b'"op_code":4"', 1))
    refused(capsys, r"a.journal is damaged", space(), "--study", str(journal))


def test_a_journal_made_with_another_profile_of_the_same_name_is_refused(space, capsys, tmp_path, monkeypatch):
    from simmoe import hardware_profiles

    monkeypatch.chdir(tmp_path)
    profile = (hardware_profiles.FOLDER / "a100.yaml").read_text()
    (tmp_path / "box.yaml").write_text(profile)
    path = space(hw="box.yaml")
    sweep(capsys, path, "--study", "box.journal", "--trials", "2")
    (tmp_path / "box.yaml").write_text(profile.replace("25.1 GB/s", "12.5 GB/s"))
    refused(capsys, r"another space or of other inputs", path, "--study", "box.journal")


def test_the_api_takes_a_mapping():
    from simmoe.sweeps.search import sweep as search

    done = search(yaml.safe_load(SPACE), trials=3, sampler="random")
    assert [t.number for t in done.front] == done.to_json()["front"] and len(done.trials) == 3
    with pytest.raises(UserError, match="space: missing key 'schema'"):
        search({})
