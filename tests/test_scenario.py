"""Scenario: each option declared once, the same through every door, honoured or refused, and played again to the byte."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import simmoe
from simmoe import hardware_profiles, policies
from simmoe.cli.main import main
from simmoe.play import ladder as laddering
from simmoe.play.curve import REFUSED
from simmoe.play.kinds import OFF
from simmoe.play.options import Declared
from simmoe.play.scenario import OPTIONS, Scenario
from simmoe.simulator.errors import UserError
from simmoe.simulator.time import compile as compiled
from simmoe.sweeps.comparing import EXTRA
from simmoe.sweeps.search import sweep
from simmoe.workloads import models
from simmoe.workloads.format import trace as traces
from tests.test_house import ROOT

pytestmark = pytest.mark.skipif("switch" not in traces.names(), reason="the bundled traces are not made yet")
BASE = {"hw": "a100", "trace": "switch", "tokens": 200, "budget": "25%"}
ENGINE = "simpy" if compiled.missing() else "fast"  # what auto would not choose for a trace this short
WINDOWED = str(ROOT / "tests" / "windowed.yaml")
NVME = {"hw": "rtx_4090_nvme"}
RESIDENT = {"budget": "100%"}
ENGINE_OF = RESIDENT | {"runtime": "llama_cpp_cuda"}
ON_CPU = ENGINE_OF | {"hw": "rtx_4090+ddr4_3200_2ch", "placement": "n_cpu_moe=9"}
DRAFT = {"draft": 2, "acceptance": "60%"}
# option -> the word of the command, the value in Python, what the options beside it must be
OTHER = {
    "hw": ("h100", "h100", {}), "trace": ("oracle", "oracle", {}),
    "gpu": ("rtx_3060", "rtx_3060", {"hw": None, "gpu": "rtx_4090", "host": "ddr4_3200_2ch"}),
    "host": ("ddr4_2133_4ch", "ddr4_2133_4ch", {"hw": None, "gpu": "rtx_4090", "host": "ddr4_3200_2ch"}),
    "set": ("link.bandwidth=12GB/s", ["link.bandwidth=12GB/s"], {}),
    "model": ("oracle-moe-9x24", "oracle-moe-9x24", {"format": "fp32"}), "format": ("q4_k", "q4_k", {}),
    "low_format": ("Q4_0", "Q4_0", {"miss": "hobbit"}), "tokens": ("300", 300, {}),
    "kv_format": ("q8_0", "q8_0", {}), "prompt": ("16", 16, {}), "generate": ("32", 32, {}), "depth": ("1024", 1024, {}),
    "routing": ("like:mixtral", "like:mixtral", {"trace": None, "model": "oracle-moe-4x8"}),
    "context": ("512", 512, {}), "microbatch": ("0", 0, {"model": WINDOWED}), "batch": ("3", 3, {}),
    "prefill_chunk": ("16", 16, {}),
    "schedule": ("continuous", "continuous", {}), "arrivals": ("every:500ms", "every:500ms", {"schedule": "continuous"}),
    "rate": ("2/s", "2/s", {"schedule": "continuous"}),
    "ttft": ("2s", "2s", {"schedule": "continuous"}), "tpot": ("10ms", "10ms", {"schedule": "continuous"}),
    "max_batch": ("1", 1, {"schedule": "continuous", "tokens": 600}),
    "max_tokens": ("64", 64, {"schedule": "vllm"}), "kv_blocks": ("20", 20, {"schedule": "vllm"}),
    "kv_memory": ("64MB", "64MB", {"schedule": "vllm"}), "prefix_cache": ("on", True, {"schedule": "vllm"}),
    "requests": ("3", 3, {"schedule": "continuous", "prompt": 8, "generate": 4}),
    "draft": ("2", 2, {"draft": 4, "acceptance": "60%"}), "acceptance": ("80%", "80%", DRAFT), "draft_cost": ("3ms", "3ms", DRAFT),
    "draft_model": ("oracle-moe-2x4", "oracle-moe-2x4", DRAFT),
    "draft_format": ("q4_k", "q4_k", DRAFT | {"draft_model": "oracle-moe-2x4"}), "rejected": ("drawn", "drawn", DRAFT),
    "rollback": ("redecode", "redecode", DRAFT),
    "runtime": ("llama_cpp_cuda", "llama_cpp_cuda", RESIDENT), "flags": ("-ub 64", "-ub 64", ENGINE_OF),
    "threads": ("2", 2, ON_CPU), "batch_threads": ("2", 2, ON_CPU), "op_offload": ("none", False, ON_CPU),
    "system": ("oracle_moe", "oracle_moe", {}), "eviction": ("lfu", "lfu", {}),
    "scope": ("layer", "layer", {}), "timeline": ("serial", "serial", {}), "overlap": ("none", False, {}),
    "prefetch": ("next_layer", "next_layer", {}),
    "prefetch_into": ("buffers", "buffers", {"prefetch": "next_layer"}), "cancel": ("on", True, {"prefetch": "whole_layer"}),
    "miss": ("cpu", "cpu", {}),
    "placement": ("random=50%", "random=50%", {}), "gpu_layers": ("3", 3, ENGINE_OF | {"hw": "rtx_4090+ddr4_3200_2ch"}),
    "kv_offload": ("none", False, ON_CPU), "tensor_split": ("3/1", "3/1", ENGINE_OF | {"hw": "rtx_4090+rtx_3060+ddr4_3200_2ch"}),
    "mmap": ("none", False, ON_CPU),
    "write_back": ("on", True, {}), "cold_per_sequence": ("on", True, {}),
    "start": ("cold", "cold", {}), "warm_up": ("64", 64, {"tokens": 200}),
    "graphs": ("on", True, {}), "page_cache": ("4GB", "4GB", NVME), "budget": ("50%", "50%", {}),
    "low_budget": ("20%", "20%", {"miss": "hobbit"}),
    "memory": ("2GB", "2GB", {"budget": None}), "engine": (ENGINE, ENGINE, {}), "seed": ("7", 7, {"eviction": "random"}),
}  # fmt: skip
SAME_NUMBERS = {"engine", "model"}  # the engines agree, and the trace names that model


def words(options: dict) -> list[str]:
    """What the command line takes for plain options."""
    found = []
    for name, value in options.items():
        if value is not None:
            found += [OPTIONS[name].flag, str(value)]
    return found


def told(name: str, word: str) -> list[str]:
    return [OPTIONS[name].flag] if OPTIONS[name].default is False else [OPTIONS[name].flag, word]


def played(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return {key: value for key, value in found.items() if key not in ("band", "routing", "draft")}  # runs beside it


def refused(capsys, line: str, *arguments: str) -> None:
    assert main(list(arguments)) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and re.search(line, out.err), out.err


def test_every_option_has_a_case_here():
    assert list(OTHER) == list(OPTIONS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "max_batch" else name for name in OTHER]
)
def test_an_option_does_the_same_through_every_door_and_is_never_dropped(name, capsys):
    word, value, beside = OTHER[name]
    base = {**BASE, **beside}
    rest = {key: one for key, one in base.items() if key != name}
    plain, mine = simmoe.run(**base).to_json(), simmoe.run(**rest, **{name: value}).to_json()
    assert (mine["digest"] == plain["digest"]) == (name in SAME_NUMBERS)
    assert played(capsys, "run", *words(rest), *told(name, word)) == mine
    (row,) = played(capsys, "compare", *words(rest), *told(name, word))["rows"]
    assert row["run"] == mine
    (row,) = simmoe.compare(**rest, **{name: value}).rows
    assert row.run.to_json() == mine
    if OPTIONS[name].about.axis:
        space = {axis: one for axis, one in rest.items() if axis != "tokens" and one is not None}
        given = {"schema": 1, "name": "one", "objectives": {"tok_s": "maximize"}, "tokens": base["tokens"]}
        usual = (
            [str(base[name])]
            if base.get(name)
            else []
            if default_word(OPTIONS[name]) == "None"
            else [default_word(OPTIONS[name])]
        )
        axis = [value if isinstance(value, int) else word, *(int(one) if one.isdigit() else one for one in usual)]
        done = sweep({**given, **space, name: axis}, sampler="grid")
        found = {trial.params[name]: trial.user_attrs for trial in done.trials}
        assert len(found) == len(axis) == (1 if name in ("model", "format", "kv_format", "memory", "routing") else 2)
        for one, expected in zip((word, *usual), (mine, plain)):
            assert (found[one]["tok_s"], found[one]["digest"]) == (expected["tok_s"], expected["digest"])
            assert played(capsys, *found[one]["command"].split()[1:]) == expected


def test_a_bundled_policy_is_the_same_with_its_suffix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = {
        "eviction": "lru",
        "timeline": "serial",
        "overlap": False,
        "placement": "popular=50%",
        "schedule": "batches",
    }
    bare = Scenario("a100", "oracle", batch=2, **named)
    assert bare == Scenario("a100", "oracle", batch=2, **named | {
        "eviction": "lru.py", "timeline": "serial.py", "placement": "popular.py=50%", "schedule": "batches.py"
    })  # fmt: skip
    assert Scenario("a100", "oracle", schedule="recorded.py", batch=2).schedule == "recorded"
    (tmp_path / "lru.py").write_text("")
    assert Scenario("a100", "oracle", eviction="lru.py").eviction == "lru.py"  # a file of the user's wins


@pytest.mark.slow
def test_a_ladder_takes_the_same_options_but_for_the_budget():
    rest = {"hw": "a100", "trace": "switch", "tokens": 64}
    for name, (_, value, beside) in OTHER.items():
        if name not in ("hw", "trace", "tokens", "budget", "memory"):
            options = {**rest, **beside, name: value}
            options.pop("budget", None)
            if "runtime" in options:  # which keeps all resident
                with pytest.raises(UserError, match="a ladder of budgets says nothing of it"):
                    simmoe.ladder(**options)
                continue
            rung = simmoe.ladder(**options).runs[-1]
            start = {"start": "cold", "warm_up": rung.plan.warm_up}
            one = simmoe.run(**{**options, **start}, budget=rung.plan.budget_bytes)
            assert (rung.digest, rung.tok_s) == (one.digest, one.tok_s), name
    with pytest.raises(UserError, match="a ladder plays every budget: leave budget and memory out"):
        simmoe.ladder("a100", "switch", budget="25%")
    with pytest.raises(UserError, match="eviction 'everything' is a bound"):
        simmoe.ladder("a100", "switch", eviction="everything")


def test_help_and_signatures_show_every_option(capsys):
    shown = {
        function: inspect.signature(function).parameters for function in (simmoe.run, simmoe.ladder, simmoe.compare)
    }
    assert list(shown[simmoe.run]) == list(OPTIONS) and list(shown[simmoe.compare]) == [*OPTIONS, *EXTRA]
    assert set(OPTIONS) - set(shown[simmoe.ladder]) == {"budget", "memory"}
    for function, parameters in shown.items():
        for name, parameter in parameters.items():
            option = OPTIONS.get(name) or EXTRA[name]
            assert parameter.default == (None if option.required else option.default)  # hw: or gpu and host
            begins = option.about.help[:16].replace("none: ", "False: ")
            assert f"\n  {name}: {begins}" in function.__doc__
    for command in ("run", "compare"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        out = " ".join(capsys.readouterr().out.split())
        assert all(f" {option.flag} " in out for option in OPTIONS.values())
        assert all(f" {group}: " in out for group in ("machine", "memory", "policy", "engine's behaviour", "output"))


def test_a_function_shows_what_it_takes_and_takes_what_it_shows() -> None:
    """Completion offers what stands in the signature; behind hw and trace all of it is given by name."""
    beside = {simmoe.sensitivity: {"upgrades"}, simmoe.compare: set(EXTRA), simmoe.compare_policies: {"report"}}
    never = {simmoe.ladder: {"budget", "memory"}, simmoe.curve: set(REFUSED)}
    for function in (
        simmoe.run,
        simmoe.ladder,
        simmoe.compare,
        simmoe.sensitivity,
        simmoe.compare_policies,
        simmoe.curve,
    ):
        shown = inspect.signature(function).parameters
        assert set(shown) == set(OPTIONS) - never.get(function, set()) | beside.get(function, set())
        by_place = [name for name, one in shown.items() if one.kind is not inspect.Parameter.KEYWORD_ONLY]
        assert by_place == (["trace", "hw"] if function is simmoe.curve else ["hw", "trace"])
    assert inspect.signature(simmoe.curve).parameters["eviction"].default == ("lru", "belady")
    assert (
        "lru (default)" not in simmoe.compare_policies.__doc__
    )  # its own text says what stands in place of the default
    with pytest.raises(TypeError):
        simmoe.run("a100", "oracle", "rtx_4090")


BAD_VALUES = [
    ({"tokens": "2"}, r"--tokens '2' is no number of tokens; give 1 or more, or all"),
    ({"tokens": 0}, r"--tokens 0 is no number of tokens"),
    ({"tokens": True}, r"--tokens True is no number of tokens"),
    ({"batch": 2.0}, r"--batch 2\.0 is no number of sequences; give 1 or more"),
    ({"prefill_chunk": 10**20}, r"--prefill-chunk 1\d+ is no number of tokens; give at most 2,147,483,647"),
    ({"context": 0}, r"--context 0 is no number of positions"),
    ({"seed": -1}, r"--seed -1 is no seed; give 0 or more"),
    ({"seed": 2**32}, r"--seed 4294967296 is no seed; give at most 4,294,967,295"),
    ({"seed": None}, r"--seed None is no seed"),
    ({"budget": True}, r"--budget: True is no size; write it like '2 GB' or '25%'"),
    ({"budget": -1}, r"--budget: -1 is no size"),
    ({"budget": "2"}, r"--budget: '2' is not a quantity with a unit"),
    ({"budget": "9" * 5000 + "GB"}, r"--budget: '9+\.\.\.9+GB' has 5,002 characters"),
    ({"budget": None, "memory": "25%"}, r"--memory: unknown unit '%'|--memory: '25%' is not a quantity"),
    ({"memory": "2GB"}, r"give --budget .* or --memory .*, not both"),
    ({"graphs": 1}, r"--graphs: unknown 1; choose one of on, none"),
    ({"overlap": "off"}, r"--overlap: unknown 'off'; choose one of on, none"),
    ({"overlap": None}, r"--overlap: unknown None"),
    ({"scope": "word"}, r"--scope: unknown 'word'; choose one of global, layer"),
    ({"engine": "fats"}, r"--engine: unknown 'fats'; did you mean 'fast'\? choose one of"),
    ({"eviction": 5}, r"--eviction: 5 is no text"),
    ({"hw": 4090}, r"--hw: 4090 is no text"),
    ({"trace": None}, r"--trace and --model are missing: name a model"),
    ({"set": ["link.bandwidth"]}, r"--set 'link.bandwidth' is no change; write PATH=VALUE"),
    ({"set": ["a.b=1 GB", "a.b=2 GB"]}, r"--set changes a\.b twice"),
    ({"set": {"a": "b"}}, r"--set: .* is no list of changes"),
    ({"prefetch_into": "buffers"}, r"--prefetch-into buffers says where guesses land: name them with --prefetch"),
    (
        {"cold_per_sequence": True, "eviction": "everything"},
        r"--cold-per-sequence: the bound everything fills the slots for good; leave one of them out",
    ),
    ({"hw": "rtx_4090", "graphs": True}, r"--graphs: rtx_4090 states no graph_launch, so nothing would change"),
    ({"evicton": "lru"}, r"unknown option 'evicton'; did you mean 'eviction'\? nearest: eviction, "),
]


@pytest.mark.parametrize(("change", "line"), BAD_VALUES)
def test_a_bad_value_is_one_line(change, line):
    for play in (simmoe.run, simmoe.compare):
        with pytest.raises(UserError) as caught:
            play(**{**BASE, **change})
        assert re.search(f"^({line})", str(caught.value)) and "\n" not in str(caught.value), caught.value


def test_loaded_objects_are_taken_where_they_can_be():
    hw, trace = simmoe.load_hardware("a100"), simmoe.load_trace("switch")
    model = simmoe.load_model("oracle-moe-9x24")
    loaded = simmoe.run(hw, trace, model=model, tokens=np.int64(200), budget=np.int64(10**9))
    assert loaded.digest == simmoe.run("a100", Path(traces.find("switch")), tokens=200, budget=10**9).digest
    with pytest.raises(UserError, match="a loaded model has its format"):
        simmoe.run(hw, trace, model=model, format="fp32")
    with pytest.raises(UserError, match="set changes a profile by name or file"):
        simmoe.run(hw, trace, set=["link.bandwidth=12GB/s"])
    with pytest.raises(UserError, match="hw is a loaded object"):
        Scenario(hw, "switch").save("never.yaml")
    assert not Path("never.yaml").exists()


# --- files --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Files of the user's in a folder in/, the current folder beside it: a profile on top of another, a trace, a model, policies."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "base.yaml").write_text((hardware_profiles.FOLDER / "a100.yaml").read_text())
    (folder / "box.yaml").write_text("extends: base.yaml\nname: box\ntitle: My box\n")
    (folder / "small.yaml").write_text((models.FOLDER / "oracle-moe-9x24.yaml").read_text())
    (folder / "text.npz").write_bytes(traces.find("switch").read_bytes())
    for kind, name in (("eviction", "lru"), ("prefetch", "whole_layer"), ("miss", "fetch"), ("placement", "popular")):
        (folder / f"my_{kind}.py").write_text(policies.find(kind, name).read_text())
    return folder


OWN = (
    "--hw", "in/box.yaml", "--trace", "in/text.npz", "--model", "in/small.yaml", "--eviction", "in/my_eviction.py", "--prefetch",
    "in/my_prefetch.py", "--miss", "in/my_miss.py", "--placement", "in/my_placement.py=75%",
)  # fmt: skip
RUNS = {
    "a plain run": (*words(BASE),),
    "a ladder": ("--hw", "jetson_orin.yaml", "--trace", "oracle.npz"),
    "a short ladder": ("--hw", "jetson_orin@30W", "--trace", "oracle", "--tokens", "300", "--scope", "layer"),
    "all tokens": ("--hw", "a100", "--trace", "oracle-2x4", "--tokens", "all", "--memory", "1GB"),
    "a bound": ("--hw", "a100", "--trace", "switch", "--tokens", "100", "--eviction", "everything"),
    "own files": (*OWN, "--tokens", "200", "--budget", "25%", "--set", "link.bandwidth=12GB/s", "--set", "launch=4us"),
    "switches": (*words(BASE), "--overlap", "none", "--write-back", "--graphs", "--cold-per-sequence", "--batch", "2"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "a ladder" else name for name in RUNS]
)
def test_a_saved_scenario_is_played_again_to_the_byte(name, own, capsys, monkeypatch):
    arguments = RUNS[name]
    (own.parent / "kept").mkdir()
    if "launch=4us" in arguments:
        arguments = tuple(one.replace("launch=4us", "units.gpu.launch=4us") for one in arguments)
    assert main(["run", *arguments, "--json", "--save", "kept/s.yaml"]) == 0
    first = capsys.readouterr().out
    for folder, file in ((own.parent, "kept/s.yaml"), (own.parent / "kept", "s.yaml"), (own, "../kept/s.yaml")):
        monkeypatch.chdir(folder)
        assert main(["run", file, "--json"]) == 0
        assert capsys.readouterr().out == first
    assert str(own.parent) not in Path(file).read_text()


@pytest.mark.slow
def test_a_ladder_that_was_cut_short_says_so_and_stays_cut(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(laddering, "TOKENS", 128)
    monkeypatch.setattr(laddering, "SHORT", 1)  # as if the trace were long
    arguments = ("run", "--hw", "a100", "--trace", "switch")
    cut = played(capsys, *arguments, "--save", "cut.yaml")
    every = played(capsys, *arguments, "--tokens", "192", "--save", "told.yaml")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert (cut["trace"]["tokens"], every["trace"]["tokens"]) == (128, 192)
    assert yaml.safe_load(Path("cut.yaml").read_text())["tokens"] == 128
    assert played(capsys, "run", "cut.yaml") == cut and played(capsys, "run", "told.yaml") == every


@pytest.mark.slow
def test_a_ladder_of_all_tokens_is_not_cut_when_it_is_played_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = (
        "run",
        "--hw",
        "a100",
        "--trace",
        "switch",
        "--tokens",
        "all",
        "--scope",
        "layer",
        "--save",
        "all.yaml",
    )
    every = played(capsys, *arguments)
    monkeypatch.setattr(laddering, "SHORT", 1)
    assert played(capsys, "run", "all.yaml") == every and every["trace"]["tokens"] == every["trace"]["of_tokens"]


@pytest.mark.slow
def test_the_file_holds_what_is_not_the_default_and_nothing_else(own, capsys):
    arguments = (*OWN, "--budget", "25%", "--tokens", "100", "--eviction", "in/my_eviction.py")
    assert main(["run", *arguments, "--save", "s.yaml"]) == 0
    content = yaml.safe_load(Path("s.yaml").read_text())
    digests = content.pop("digests")
    assert content == {
        "schema": 1, "hw": "./in/box.yaml", "trace": "./in/text.npz", "model": "./in/small.yaml", "tokens": 100, "budget": "25%",
        "eviction": "./in/my_eviction.py", "prefetch": "./in/my_prefetch.py", "miss": "./in/my_miss.py",
        "placement": "./in/my_placement.py=75%",
    }  # fmt: skip
    assert digests["hw"] == hardware_profiles.load("in/box.yaml").digest
    assert digests["trace"] == simmoe.load_trace("in/text.npz").meta["digest"]
    assert digests["model"] == models.load("in/small.yaml").digest
    assert set(digests) == {"hw", "trace", "model", "schedule", "eviction", "timeline", "prefetch", "miss", "placement"}
    capsys.readouterr()


def test_a_scenario_of_bundled_names_comes_back_equal(tmp_path):
    scenario = Scenario("jetson_orin@30W", "oracle", tokens=64, budget=10**9, graphs=False, overlap=False, page_cache=0)
    scenario.save(tmp_path / "s.yaml")
    back = simmoe.load_scenario(tmp_path / "s.yaml")
    assert back == scenario and simmoe.run(back).to_json() == simmoe.run(scenario).to_json()
    assert simmoe.ladder(replace(back, budget=None)).runs
    with pytest.raises(UserError, match="a Scenario holds all options"):
        simmoe.run(back, tokens=3)


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


CHANGES = {
    "hw": lambda own: changed(own / "box.yaml", "My box", "Your box"),
    "hw that is extended": lambda own: changed(own / "base.yaml", "25.1 GB/s", "25.2 GB/s"),
    "trace": lambda own: (own / "text.npz").write_bytes(traces.find("oracle").read_bytes()),
    "model": lambda own: changed(own / "small.yaml", "name:", "layers_are: same\nname:"),
    "eviction": lambda own: changed(own / "my_eviction.py", "def ", "print('executed')\n\n\ndef "),
    "prefetch": lambda own: changed(own / "my_prefetch.py", "def ", "\ndef "),
    "miss": lambda own: changed(own / "my_miss.py", "def ", "\ndef "),
    "placement": lambda own: changed(own / "my_placement.py", "def ", "\ndef "),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_an_input_that_has_changed_is_refused_before_it_is_executed(what, own, capsys):
    assert main(["run", *OWN, "--tokens", "100", "--budget", "25%", "--save", "s.yaml"]) == 0
    capsys.readouterr()
    then = yaml.safe_load(Path("s.yaml").read_text())["digests"]
    CHANGES[what](own)
    option = what.partition(" ")[0]
    if option == "model":
        changed(own / "small.yaml", "layers_are: same\n", "# nothing that counts\n")
        assert main(["run", "s.yaml"]) == 0 and capsys.readouterr().out  # a comment is no change
        text = (own / "small.yaml").read_text()
        (own / "small.yaml").write_text(re.sub(r"(?m)^name: .*$", "name: another", text))
    assert main(["run", "s.yaml"]) == 2
    out = capsys.readouterr()
    now = r"[0-9a-f]{12}"
    named = {"hw": "box.yaml", "trace": "text.npz", "model": "small.yaml"}.get(option, f"my_{option}.py")
    line = rf"s\.yaml: {option} in/{named}\S* is not what it was .*: its digest is {now} now, {then[option][:12]} then$"
    assert out.out == "" and re.search(line, out.err.strip()), out.err


BAD_FILES = {
    "no mapping": ("- 1\n", r"s\.yaml is no scenario: it holds no keys"),
    "no YAML": ("a: [1\n", r"s\.yaml: line 2: not valid YAML"),
    "Python tag": (
        "schema: !!python/object/apply:os.system ['touch exploded']\n",
        r"s\.yaml: line 1: the tag .* is not read",
    ),
    "no schema": ("hw: a100\ntrace: switch\n", r"s\.yaml: schema is None; this release reads 1"),
    "another schema": ("schema: true\nhw: a100\n", r"s\.yaml: schema is True; this release reads 1"),
    "unknown key": (
        "schema: 1\nhw: a100\ntrace: switch\nevicton: lru\n",
        r"unknown key 'evicton'; did you mean 'eviction'",
    ),
    "missing": ("schema: 1\nhw: a100\n", r"s\.yaml: --trace and --model are missing"),
    "type": ("schema: 1\nhw: a100\ntrace: switch\ntokens: '64'\n", r"s\.yaml: --tokens '64' is no number of tokens"),
    "no such file": ("schema: 1\nhw: ./no.yaml\ntrace: switch\ndigests: {hw: a}\n", r"unknown hardware 'no\.yaml'"),
    "digests": ("schema: 1\nhw: a100\ntrace: switch\ndigests: [1]\n", r"digests is \[1\]; it must name a digest"),
    "half of the digests": (
        "schema: 1\nhw: a100\ntrace: switch\ndigests: {hw: x}\n",
        r"hw a100 is not what it was .* x then",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_one_line(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, line = BAD_FILES[name]
    Path("s.yaml").write_text(text)
    refused(capsys, line, "run", "s.yaml")
    assert not Path("exploded").exists()


def test_a_file_without_digests_is_played_as_it_stands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text("schema: 1\nhw: a100\ntrace: switch\ntokens: 200\nbudget: 25%\noverlap: none\n")
    assert played(capsys, "run", "s.yaml") == simmoe.run(**BASE, overlap=False).to_json()


@pytest.mark.slow
def test_saving_refuses_what_is_there_and_writes_all_or_nothing(own, capsys):
    plain = ("run", *words(BASE))
    Path("there.yaml").write_text("mine\n")
    refused(
        capsys,
        r"there\.yaml exists; name another file with --save, or overwrite it with --force",
        *plain,
        "--save",
        "there.yaml",
    )
    assert Path("there.yaml").read_text() == "mine\n"
    refused(capsys, r"--force overwrites the file of --save", *plain, "--force")
    assert main([*plain, "--save", "there.yaml", "--force"]) == 0 and "schema: 1" in Path("there.yaml").read_text()
    capsys.readouterr()
    large = ("--hw", "jetson_xavier_nx", "--trace", "switch", "--format", "fp32", "--budget", "100%")
    refused(capsys, r"do not fit", "run", *large, "--save", "no.yaml")
    assert sorted(path.name for path in Path().iterdir()) == ["in", "there.yaml"]
    assert main([*plain, "--save", "no/such/folder.yaml", "--json"]) == 2
    assert "no/such does not exist; create it first" in capsys.readouterr().err


@pytest.mark.slow
def test_nothing_but_output_options_stands_beside_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", *words(BASE), "--save", "s.yaml"]) == 0
    capsys.readouterr()
    for name, (word, _, _) in OTHER.items():
        refused(
            capsys,
            rf"s\.yaml says all that is played: leave {OPTIONS[name].flag} out",
            "run",
            "s.yaml",
            *told(name, word),
        )
    outputs = ("--json", "--band", "--per-token", "t.csv", "--perfetto", "t.json", "--save", "again.yaml")
    assert main(["run", "s.yaml", *outputs]) == 0
    assert json.loads(capsys.readouterr().out)["band"] and Path("t.csv").exists() and Path("t.json").exists()
    one, two = (yaml.safe_load(Path(name).read_text()) for name in ("s.yaml", "again.yaml"))
    assert one == two
    refused(capsys, r"no file gone\.yaml; write one with: simmoe run … --save gone\.yaml", "run", "gone.yaml")


# --- the command line ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run --evicton lru", r"unknown option --evicton; did you mean --eviction\? simmoe run --help lists"),
        ("compare --hw a100 --trace switch --budgets=1GB", r"unknown option --budgets; did you mean --budget\? simmoe compare"),
        ("trace info oracle --jsn", r"unknown option --jsn; did you mean --json\? simmoe trace info --help"),
        ("sweep oracle_vs_switch more", r"'more' belongs to no option; simmoe sweep --help"),
        ("rum", r"unknown COMMAND 'rum'; did you mean 'run'\?"),
        ("run --hw", r"argument --hw: expected one argument"),
        ("run --hw a100 --trace switch --budget 1GB --budget 2GB", r"--budget is given 2 times \(1GB, 2GB\); give it once"),
        ("run --hw a100 --hw h100 --trace switch", r"--hw is given 2 times"),
        ("run --hw a100", r"--trace and --model are missing: name a model"),
        ("compare --trace switch", r"--hw is missing: name at least one"),
        ("run --hw a100 --trace switch --tokens ²", r"--tokens '²' is no number of tokens"),
        ("run --hw a100 --trace switch --seed -1 --placement random=50%", r"--seed -1 is no seed"),
        ("run --hw a100 --trace switch --tokens 32 --budget 25% --band", r"no decode pass is played \(first 64 of 12,544 tokens\)"),
    ],
)  # fmt: skip
def test_a_mistake_at_the_command_line_is_one_line(arguments, line, capsys):
    refused(capsys, line, *arguments.split())


# --- spaces -------------------------------------------------------------------------------------------------------------

SPACE = {
    "schema": 1,
    "name": "s",
    "objectives": {"tok_s": "maximize"},
    "hw": ["a100", "h100"],
    "trace": "switch",
    "tokens": 200,
}


@pytest.mark.slow
def test_a_space_that_names_no_budget_plays_with_what_each_machine_holds(capsys):
    done = sweep({**SPACE, "hw": ["a100", "jetson_xavier_nx"], "format": "fp32"}, sampler="grid")
    for trial in done.trials:
        run = simmoe.run(trial.params["hw"], "switch", format="fp32", tokens=200)
        assert trial.user_attrs["digest"] == run.digest and run.plan.eviction == "lru"
        assert played(capsys, *trial.user_attrs["command"].split()[1:]) == run.to_json()
    assert len({trial.user_attrs["budget_bytes"] for trial in done.trials}) == 2


@pytest.mark.parametrize(
    ("axes", "line"),
    [
        ({"budget": "25%", "memory": "2GB"}, "space: budget and memory both say how much may be resident"),
        ({"memory": "25%"}, "space: memory: unknown unit '%'|space: memory: '25%' is not a quantity"),
        ({"page_cache": "4GB"}, "page_cache '4GB' of the space works with none.*no memory between it and the device"),
        ({"set": "link.bandwith=1GB/s"}, "set 'link.bandwith=1GB/s' of the space works with none.*link.bandwidth"),
        ({"graphs": "on", "hw": "rtx_4090"}, "graphs 'on' of the space works with none.*states no graph_launch"),
        ({"seed": [-1]}, "space: seed -1 is no seed"),
        ({"engine": "fast"}, "space: unknown key 'engine'"),
        ({"prefetch_into": "bufers"}, "space: prefetch_into: unknown 'bufers'; did you mean 'buffers'"),
    ],
)
def test_a_bad_axis_is_one_line(axes, line):
    with pytest.raises(UserError, match=line) as caught:
        sweep({**SPACE, **axes})
    assert "\n" not in str(caught.value)


def test_a_combination_that_cannot_be_is_a_trial_and_no_end(tmp_path, capsys):
    axes = {"hw": "a100", "budget": "25%", "prefetch": ["none", "next_layer"], "prefetch_into": ["buffers", "cache"]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**SPACE, **axes}))
    assert main(["sweep", str(tmp_path / "s.yaml"), "--sampler", "grid"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "4 trials of s" in out and "1 trials cannot run" in out and "name them with --prefetch" in out


def test_the_page_on_sweeps_lists_every_axis_with_its_default():
    page = (ROOT / "docs/sweeps.md").read_text()
    table = page.partition("| key | value |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = {name: row for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    axes = {name: option for name, option in OPTIONS.items() if option.about.axis}
    assert set(rows) == {*axes, "objectives", "tokens"}
    for name, option in axes.items():
        assert option.required or f"`{default_word(option)}` (default" in rows[name] or "default:" in rows[name], name


def default_word(option: Declared) -> str:
    return OFF if option.about.off else option.about.kind.word(option.default)


def test_a_place_that_cannot_be_saved_to_is_said_before_anything_is_played(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    policy = tmp_path / "mine.py"
    policy.write_text((ROOT / "policies/eviction/lru.py").read_text())
    (tmp_path / "link.yaml").symlink_to("nowhere.yaml")
    cases = {"": "is a folder", ".": "is a folder", "no/x.yaml": "does not exist", "link.yaml": "exists"}
    for target, said in cases.items():
        assert main(["run", *words_of_base(), "--save", target]) == 2
        out, err = capsys.readouterr()
        assert out == "" and said in err and err.count("\n") == 1
    before = policy.read_text()
    assert main(["run", *words_of_base(), "--eviction", "mine.py", "--save", "mine.py", "--force"]) == 2
    assert (
        "--save mine.py would overwrite mine.py, which is read" in capsys.readouterr().err
        and policy.read_text() == before
    )


def words_of_base() -> list[str]:
    return words(BASE)
