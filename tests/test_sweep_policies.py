"""Prefetching, miss policy, placement and CUDA graphs as dimensions of a space: reproducible, checked at the door, kept apart."""

from __future__ import annotations

import hashlib
import json
import re
import shlex

import pytest
import yaml

from simmoe import hardware_profiles
from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.simulator.time import compile as compiled
from simmoe.sweeps import metrics
from simmoe.sweeps.search import sweep
from simmoe.sweeps.space import load
from simmoe.workloads import models
from simmoe.workloads.format.trace import load as load_trace
from simmoe.workloads.format.trace import names
from tests.test_sweep import plain

pytestmark = pytest.mark.skipif("oracle" not in names(), reason="the bundled traces are not made yet")
SPACE = {
    "schema": 1, "name": "small", "trace": "oracle", "eviction": "lru", "budget": ["10%"], "hw": "a100", "tokens": 300,
    "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}  # fmt: skip
EACH = {
    "prefetch": ["none", "next_layer", "whole_layer"],
    "miss": ["fetch", "cpu", "idle_cheaper", "balanced"],
    "placement": ["none", "popular=50%:first=20%", "n_cpu_moe=4", "random=25%"],
    "graphs": ["none", "on"],
    "batch": ["none", 2],
    "prefill_chunk": ["none", 16],
}


def grid(**axes):
    return sweep({**SPACE, **axes}, sampler="grid")


def rerun(capsys, command: str) -> dict:
    words = shlex.split(command)
    assert words[:2] == ["simmoe", "run"] and main([*words[1:], "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("axis", EACH)
def test_each_value_is_played_and_its_command_gives_the_same_numbers(axis, capsys):
    done = grid(**{axis: EACH[axis]})
    assert sorted(trial.params[axis] for trial in done.trials) == sorted(map(str, EACH[axis]))
    for trial in done.trials:
        run, facts = rerun(capsys, trial.user_attrs["command"]), trial.user_attrs
        assert (run["tok_s"], run["digest"]) == (facts["tok_s"], facts["digest"])
        assert run["ttft_s"]["first"] == facts["ttft_first_s"] and run["memory_bytes"]["total"] == facts["memory_bytes"]
    assert len({trial.user_attrs["digest"] for trial in done.trials}) == len(EACH[axis])  # none of them is dropped


@pytest.mark.slow
def test_all_of_them_together_and_the_words_of_the_command(capsys):
    done = sweep({**SPACE, **EACH}, trials=12, sampler="random")
    for trial in done.trials:
        point, command = trial.user_attrs["point"], trial.user_attrs["command"]
        for axis in ("prefetch", "placement"):
            option = f"--{axis} {point[axis]}"
            assert option in command if point[axis] != "none" else f"--{axis}" not in command
        assert f"--miss {point['miss']}" in command and ("--graphs" in command) == (point["graphs"] == "on")
        assert rerun(capsys, command)["digest"] == trial.user_attrs["digest"]


def test_a_space_that_names_none_of_them_plays_as_one_that_names_the_defaults():
    defaults = {"prefetch": "none", "miss": "fetch", "placement": "none", "graphs": "none"}
    silent, named = (grid(**axes).trials[0].user_attrs for axes in ({}, defaults))
    assert silent["digest"] == named["digest"] and silent["tok_s"] == named["tok_s"]
    assert silent["command"] == named["command"].replace(" --miss fetch", "")


@pytest.mark.slow
def test_where_a_machine_has_no_cpu_or_a_trace_no_guesses_is_a_trial_that_cannot_run():
    machines, ways = {"hw": ["a100", "jetson_orin"], "miss": ["fetch", "cpu"]}, {"prefetch": ["none", "next_layer"]}
    done = grid(**machines, **ways, trace=["oracle", "oracle-4x8"])
    reasons = {tuple(t.user_attrs["point"][a] for a in ("hw", "miss", "trace", "prefetch")): t.user_attrs.get("why_not")
               for t in done.trials}  # fmt: skip
    assert len(reasons) == 16
    for (hw, miss, trace, prefetch), reason in reasons.items():
        if hw == "jetson_orin" and miss == "cpu":
            assert "jetson_orin states no CPU" in reason
        elif prefetch == "next_layer" and trace == "oracle-4x8":
            assert "needs guesses of lead 1" in reason
        else:
            assert reason is None


BAD = {
    "no such prefetcher": ({"prefetch": ["next_layr"]}, "unknown prefetch policy 'next_layr'.*did you mean 'next_layer'"),
    "no such miss policy": ({"miss": "cpuu"}, "unknown miss policy 'cpuu'.*did you mean 'cpu'"),
    "no such placement": ({"placement": ["poplar=50%"]}, "unknown placement policy 'poplar'.*did you mean 'popular'"),
    "miss is never none": ({"miss": ["none"]}, "unknown miss policy 'none'.*bundled: balanced, cache_aware, cpu"),
    "no amount": ({"placement": ["none", "popular"]}, "placement 'popular' of the space works with none.*write popular=50%"),
    "half a block": ({"placement": "n_cpu_moe=1.5"}, "n_cpu_moe=1.5 is not a whole number of blocks of the model; write n_cpu_moe=4"),
    "no digit": ({"placement": "popular=5²%"}, "popular=5²% is not a share from 0 to 100%; write popular=50%"),
    "null": ({"prefetch": [None, "next_layer"]}, "space: prefetch: None is no text; write none or a name"),
    "twice": ({"placement": ["none", "none"]}, "space: placement: 'none' stands there twice"),
    "batch of none": ({"batch": [0]}, "space: batch 0 is no number of sequences; give 1 or more"),
    "half a chunk": ({"prefill_chunk": [8, 1.5]}, "space: prefill_chunk 1.5 is no number of tokens; give 1 or more"),
    "graphs off": ({"graphs": ["on", "off"]}, "space: graphs: unknown 'off'; choose one of on, none"),
    "no CPU anywhere": (
        {"miss": ["fetch", "balanced"], "hw": ["jetson_orin", "jetson_xavier_nx"]},
        "miss 'balanced' of the space works with none of its machines and traces: jetson_orin states no CPU",
    ),
    "placed on no CPU": ({"placement": "popular=50%", "hw": "jetson_orin"}, "placement 'popular=50%'.*states no CPU"),
    "no guesses anywhere": (
        {"prefetch": ["none", "next_layer"], "trace": ["oracle-4x8", "switch-4x8"]},
        "prefetch 'next_layer' of the space works with none.*needs guesses of lead 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_work_is_refused_at_the_door(name):
    axes, line = BAD[name]
    with pytest.raises(UserError) as refused:
        sweep({**SPACE, **axes})
    assert re.search(line, str(refused.value)) and "\n" not in str(refused.value), refused.value


def told(capsys, tmp_path, **axes) -> str:
    """What the command prints."""
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**SPACE, **axes}))
    assert main(["sweep", str(tmp_path / "space.yaml"), "--sampler", "grid"]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_column_for_what_the_space_varies_and_only_that(capsys, tmp_path):
    varied = told(
        capsys, tmp_path, miss=["fetch", "balanced"], placement=["none", "popular=50%:first=20%"], prefetch="next_layer"
    )
    (header,) = (line for line in varied.splitlines() if "eviction" in line and "tok/s" in line)
    assert header.split()[:8] == ["#", "trace", "hw", "eviction", "miss", "placement", "budget", "memory"]
    assert "--prefetch next_layer" in varied and "graph" not in varied


@pytest.mark.slow
def test_a_yaml_on_is_understood_and_a_machine_without_the_figure_cannot_run_it(capsys, tmp_path):
    out = told(capsys, tmp_path, hw=["a100", "jetson_orin"], graphs=[True, "none"])
    assert "1 trials cannot run" in out and "jetson_orin states no graph_launch" in out and "a100 states" not in out
    silent = grid(hw=["a100", "jetson_orin"], graphs=[True, False])  # YAML reads a bare on and off so
    assert sorted(trial.params["graphs"] for trial in silent.trials) == ["none", "none", "on", "on"]


@pytest.mark.slow
def test_files_of_the_users_are_named_and_belong_to_the_study(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine, space = tmp_path / "mine.py", {**SPACE, "miss": "mine.py"}
    mine.write_text('NEEDS = ("cpu",)\ndef serve(n, resident, event, m):\n    m.unit[0] = m.cpu[0]\n')
    assert "inputs: from mine.py;" in told(capsys, tmp_path, miss="mine.py")
    sweep(space, "mine.journal", 1)
    mine.write_text(mine.read_text().replace("unit[0]", "unit[n - 1]"))
    with pytest.raises(UserError, match="another space or of other inputs"):
        sweep(space, "mine.journal", 2)


def digest_before() -> str:
    """The digest that a study of SPACE holds which was made before a space could name these axes."""
    said = {
        "axes": {"hw": "('a100',)", "trace": "('oracle',)", "eviction": "('lru',)", "budget": "('10%',)"},
        "objectives": [["tok_s", "maximize"], ["memory_bytes", "minimize"]],
        "tokens": 300,
    }
    inputs = {
        "hw": {"a100": hardware_profiles.load("a100").digest},
        "trace": {"oracle": load_trace("oracle").meta["digest"]},
        "eviction": {"lru": "lru"},
        "model": [["oracle", "", "", models.load("oracle-moe-9x24").digest]],
        "metric": {name: hashlib.sha256(metrics.find(name).read_bytes()).hexdigest() for name in SPACE["objectives"]},
    }
    return hashlib.sha256(json.dumps([said, inputs], sort_keys=True).encode()).hexdigest()


@pytest.mark.slow
def test_a_study_made_before_these_axes_goes_on_and_one_that_names_them_is_another(tmp_path):
    journal = tmp_path / "old.journal"
    before = sweep(SPACE, journal, 2)
    assert plain(journal).user_attrs["space_digest"] == before.scenarios.digest == digest_before()
    after = sweep(SPACE, journal, 3)
    assert [t.user_attrs for t in after.trials[:2]] == [t.user_attrs for t in before.trials] and len(after.trials) == 3
    for axis, values in EACH.items():
        with pytest.raises(UserError, match="holds the study 'small' of another space"):
            sweep({**SPACE, axis: values}, journal, 4)


@pytest.mark.slow
def test_a_study_of_all_of_them_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    space, journal = {**SPACE, **EACH}, tmp_path / "all.journal"
    sweep(space, journal, 4)
    assert sweep(space, journal, 9).to_json() == sweep(space, trials=9).to_json()
    assert set(plain(journal).trials[0].params) == {*EACH, "hw", "trace", "eviction", "budget"}


@pytest.mark.slow
@pytest.mark.skipif(compiled.missing(), reason="plays whole traces: needs numba (pip install 'simmoe[fast]')")
def test_rare_experts_are_better_left_to_the_cpu_until_most_fit():
    axes = load("experts_on_the_cpu").axes
    assert (axes["hw"], axes["trace"]) == (("rtx_4090",), ("switch",))
    every = models.load(
        "oracle-moe-9x24"
    ).all_expert_bytes  # a percentage would be of what each placement leaves to the device
    sizes = {f"{every * share // 100}B": share for share in (10, 70, 90)}
    space = {**SPACE, "hw": "rtx_4090", "trace": "switch", "budget": [*sizes], "tokens": "all"}
    trials = sweep({**space, "placement": [*axes["placement"]]}, sampler="grid").trials
    fastest = {
        share: max((trial.values[0], point["placement"]) for trial in trials if (point := trial.user_attrs["point"])["budget"] == size)[1]
        for size, share in sizes.items()
    }  # fmt: skip
    assert fastest == {10: "popular=25%:first=20%", 70: "popular=75%:first=20%", 90: "none"}
