"""Axes, metrics, constraints and samplers of a sweep: the zoo as one axis, figures of a profile, prices, what fronts leave out."""

from __future__ import annotations

import json
import math
import re
import shlex
from itertools import product
from pathlib import Path

import pytest
import yaml

from simmoe.cli.main import main
from simmoe.simulator.errors import UserError
from simmoe.sweeps import metrics, sampling, zoo
from simmoe.sweeps.search import sweep
from simmoe.sweeps.swept import Sweep
from simmoe.workloads.format import trace as traces
from simmoe.workloads.oracle_moe.zoo_tables import records
from tests.test_house import ROOT
from tests.test_sweep import plain

pytestmark = pytest.mark.skipif("oracle" not in traces.names(), reason="the bundled traces are not made yet")
SPACE = {
    "schema": 1, "name": "axes", "trace": "oracle-4x8", "eviction": "lru", "budget": ["50%"], "hw": "a100", "tokens": 300,
    "objectives": {"tok_s": "maximize", "memory_bytes": "minimize"},
}  # fmt: skip
ZOO = {name: value for name, value in SPACE.items() if name != "trace"}
GRID = {"experts": [8, 16], "top_k": [1, 2], "router": ["switch", "oracle-ema"]}


def grid(space: dict, **axes) -> Sweep:
    return sweep({**space, **axes}, sampler="grid")


def rerun(capsys, command: str) -> dict:
    words = shlex.split(command)
    assert words[:2] == ["simmoe", "run"] and main([*words[1:], "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- experts, top-k and router ------------------------------------------------------------------------------------------


def test_the_view_of_the_zoo_is_the_trained_models_of_four_moe_layers():
    rows = re.findall(
        r"^\| `(\S+)` \| (\S+) \| (\d+) \| (\d+) \| 0 \| 5.02 M ", (ROOT / "docs/zoo.md").read_text(), re.M
    )
    page = {name: (int(experts), int(k), router) for name, router, experts, k in rows}
    view = zoo.view()
    assert all(page[name] == one for name, one in view.items())
    assert len(set(view.values())) == len(view)  # no two models of one combination
    grid_of_two = {(e, k) for e, k, router in view.values() if router == "switch"}
    assert grid_of_two == {*product((8, 16, 24), (1, 2, 4)), (4, 1), (32, 1)}
    for name in view:
        trace = traces.load(name)
        assert (trace.n_experts, trace.meta["router"], trace.n_layers) == (view[name].experts, view[name].router, 4)
        assert trace.meta["seed"] == 0


def test_the_zoo_is_one_axis_and_its_parts_are_shown():
    done = grid(ZOO, **GRID)
    played = {t.user_attrs["point"]["trace"]: tuple(t.user_attrs[key] for key in zoo.KEYS) for t in done.trials}
    assert sorted(played.values()) == sorted(product(*GRID.values())) and len(done.trials) == done.space.size == 8
    assert done.trials[0].params.keys() == {"hw", "trace", "eviction", "budget"}
    assert {trial["experts"] for trial in done.to_json()["trials"]} == {8, 16}
    for trace, (experts, top_k, router) in played.items():
        meta = traces.load(trace).meta
        assert (meta["n_experts"], meta["top_k"], meta["router"]) == (experts, top_k, router)


def test_untrained_combinations_are_never_sampled():
    names = {"experts": [4, 8, 32], "top_k": [1, 2], "router": ["switch", "cosine"]}
    done = sweep({**ZOO, **names}, trials=40, sampler="random")
    assert {t.user_attrs["point"]["trace"] for t in done.trials} == {
        "switch-4x4", "switch-4x8", "cosine-4x8", "switch-4x8-k2", "switch-4x32",
    }  # fmt: skip


@pytest.mark.slow
def test_the_table_has_a_column_for_each_part_of_the_zoo(capsys, tmp_path):
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**ZOO, **GRID}))
    assert main(["sweep", str(tmp_path / "space.yaml"), "--sampler", "grid"]) == 0
    out = capsys.readouterr().out
    (header,) = {tuple(line.split()) for line in out.splitlines() if line.startswith("#") and "tok/s" in line}
    assert header[:6] == ("#", "experts", "top-k", "router", "hw", "eviction") and "trace" not in header
    assert "8 models of the zoo: first 256 of 12,544 tokens of each" in out


# --- figures of a profile -----------------------------------------------------------------------------------------------


def test_a_figure_of_the_profile_is_an_axis(capsys):
    done = grid(
        SPACE,
        **{"link.bandwidth": ["8GB/s", "16 GB/s"], "link.latency": {"low": "5us", "high": "25us", "step": "20us"}},
    )
    speed = {}
    for trial in done.trials:
        facts, run = trial.user_attrs, rerun(capsys, trial.user_attrs["command"])
        assert (run["tok_s"], run["digest"]) == (facts["tok_s"], facts["digest"])
        assert f"--set link.latency={facts['point']['link.latency']}" in facts["command"]
        speed[facts["point"]["link.bandwidth"], facts["point"]["link.latency"]] = facts["tok_s"]
    assert len(speed) == 4 and speed["16 GB/s", "5us"] > speed["16 GB/s", "25us"] > speed["8GB/s", "25us"]


def test_a_range_of_a_figure_is_drawn_by_every_sampler_at_its_steps():
    axes = {"link.bandwidth": {"low": "8GB/s", "high": "32GB/s", "step": "4GB/s"}, "set": ["none", "link.latency=20us"]}
    done = sweep({**SPACE, **axes}, trials=12, sampler="tpe")
    assert {t.user_attrs["point"]["link.bandwidth"] for t in done.trials} <= {f"{n}GB/s" for n in range(8, 33, 4)}
    assert any(t.user_attrs["command"].count("--set") == 2 for t in done.trials)


def test_a_figure_that_one_machine_has_not_is_a_trial_that_cannot_run():
    done = grid(SPACE, hw=["a100", "jetson_orin"], **{"units.cpu.bandwidth": ["20GB/s"]})
    reasons = {t.user_attrs["point"]["hw"]: t.user_attrs.get("why_not", "") for t in done.trials}
    assert reasons["a100"] == "" and "no figure 'units.cpu.bandwidth'" in reasons["jetson_orin"]


# --- metrics ------------------------------------------------------------------------------------------------------------


def test_quality_is_told_in_steps_of_the_gap_between_two_seeds_and_kept_as_it_is():
    ppl = {name: record["quality"]["proxy_ppl"] for name, record in records().items()}
    step = metrics.load("proxy_ppl").STEP
    assert step == round(abs(ppl["switch-4x8"] - ppl["switch-4x8-seed1"]), 1) == 0.4
    done = grid(ZOO, **GRID, objectives={"proxy_ppl": "minimize", "tok_s": "maximize"})
    for trial in done.trials:
        facts = trial.user_attrs
        assert facts["proxy_ppl"] == ppl[facts["point"]["trace"]]
        assert trial.values[0] == pytest.approx(0.4 * round(facts["proxy_ppl"] / 0.4), abs=1e-9)
        assert abs(trial.values[0] - facts["proxy_ppl"]) <= 0.2 and trial.values[1] == facts["tok_s"]
    assert any(trial.values[0] != trial.user_attrs["proxy_ppl"] for trial in done.trials)


def test_quality_follows_a_rule_that_changes_the_output_or_is_not_known():
    told = {"objectives": {"tok_s": "maximize"}, "miss": ["fetch", "drop=10%"]}
    facts = {t.user_attrs["point"]["miss"]: t.user_attrs for t in grid(SPACE, **told).trials}
    assert facts["fetch"]["proxy_ppl"] == 59.524
    assert facts["drop=10%"]["proxy_ppl"] is None  # nobody has measured that rule on that model at that budget
    done = grid(SPACE, **told | {"objectives": {"proxy_ppl": "minimize"}})
    assert [t.user_attrs.get("why_not") for t in done.trials].count("a run of trace oracle-4x8 has no proxy_ppl") == 1


def test_each_metric_is_what_run_prints(capsys):
    short = {"tok_s": "maximize", "tpot_p99": "minimize", "ttft": "minimize", "memory": "minimize", "prompt_tok_s": "maximize",
             "joules_per_token": "minimize", "power": "minimize"}  # fmt: skip
    (trial,) = grid(SPACE, objectives=short).trials
    run, facts = rerun(capsys, trial.user_attrs["command"]), trial.user_attrs
    said = {
        "tok_s": run["tok_s"], "tpot_p99_ms": run["tpot_ms"]["p99"], "ttft_first_s": run["ttft_s"]["first"],
        "memory_bytes": run["memory_bytes"]["total"], "prompt_tok_s": run["prompt_tok_s"],
        "joules_per_token": run["energy"]["joules_per_token"], "power_w": run["energy"]["decode_watts"],
    }  # fmt: skip
    assert trial.values == list(said.values()) and {name: facts[name] for name in said} == said
    assert all(value > 0 for value in said.values())


def test_what_a_million_tokens_cost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("box.yaml").write_text(
        "extends: a100\nname: box\ntitle: A box\nprice: {value: 10800 USD, kind: assumed, source: test}\n"
    )
    assumed = {"life": "3y", "used": "25%", "power_price": "0.30EUR/kWh", "exchange": "EUR=1.08USD"}
    objectives = {"cost_per_m_tokens": "minimize", "price": "minimize"}
    (trial,) = grid(SPACE, hw="box.yaml", objectives=objectives, **assumed).trials
    facts, tokens = trial.user_attrs, 3 * 365.25 * 86400 * 0.25 * trial.user_attrs["tok_s"]
    of_power = facts["joules_per_token"] / 3.6e6 * 0.30
    assert facts["price"] == pytest.approx(10_000) and facts["currency"] == "EUR"
    assert facts["cost_per_m_tokens"] == pytest.approx(1e6 * (10_000 / tokens + of_power), rel=1e-12)
    assert 0.001 < of_power * 1e6 < facts["cost_per_m_tokens"]
    (alone,) = grid(SPACE, hw="box.yaml").trials
    assert (alone.user_attrs["price"], alone.user_attrs["currency"]) == (10_800, "USD")
    assert alone.user_attrs["cost_per_m_tokens"] is None


# --- constraints --------------------------------------------------------------------------------------------------------

RULES = {
    "tok_s >= 1000": lambda f: f["tok_s"] >= 1000,
    "memory <= 0.6GB": lambda f: f["memory_bytes"] <= 0.6e9,
    "ttft_first <= 12 ms": lambda f: f["ttft_first_s"] <= 0.012,
    "hit_rate >= 90%": lambda f: f["hit_rate"] >= 0.9,
    "price <= 2000 EUR": lambda f: f["price"] is not None and f["price"] <= 2000,
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_constraint_is_kept_where_its_number_is(rule):
    axes = {"hw": ["jetson_orin", "a100"], "budget": ["10%", "60%"], "exchange": "EUR=1.08USD"}
    done = grid(ZOO, **GRID, **axes, constraints=[rule])
    kept = {t.number for t in done.trials if all(excess <= 0 for excess in t.constraints.values())}
    assert kept == {t.number for t in done.trials if RULES[rule](t.user_attrs)}
    assert 0 < len(kept) < len(done.trials)
    assert {t.number for t in done.front} <= kept and done.to_json()["constraints"] == {
        rule: len(done.trials) - len(kept)
    }
    assert all(t.user_attrs["constraints"] == dict(t.constraints) for t in done.trials)


def test_a_constraint_says_by_which_share_of_its_limit_it_is_broken():
    done = grid(SPACE, hw=["jetson_orin", "a100"], constraints=["tok_s >= 1000", "price <= 1000 USD", "power <= 100 W"])
    by_hw = {t.user_attrs["point"]["hw"]: (t.constraints, t.user_attrs) for t in done.trials}
    excess, facts = by_hw["jetson_orin"]
    assert excess["tok_s >= 1000"] == pytest.approx((1000 - facts["tok_s"]) / 1000)
    assert (
        excess["price <= 1000 USD"] == pytest.approx(0.999) and excess["power <= 100 W"] == 1.0
    )  # it states no powers
    excess, facts = by_hw["a100"]
    assert excess["price <= 1000 USD"] == 1.0 and excess["power <= 100 W"] == pytest.approx(facts["power_w"] / 100 - 1)


def test_constraints_are_counted_and_an_empty_front_says_why(capsys, tmp_path):
    space = {**SPACE, "hw": ["jetson_orin", "a100"], "constraints": ["price <= 100 USD"]}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    assert main(["sweep", str(tmp_path / "space.yaml"), "--sampler", "grid"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "2 of 2 played trials break price <= 100 USD (1 of them have no price, which is not known of their machine)"
        in out
    )
    assert "maximize): no trial keeps all constraints" in out


@pytest.mark.slow
def test_samplers_are_told_of_constraints():
    space = {**ZOO, **GRID, "budget": {"low": "5%", "high": "100%", "step": "5%"}, "hw": ["a100", "h100"]}
    space["objectives"] = {"tok_s": "maximize", "proxy_ppl": "minimize"}
    free, bound = (sweep({**space, **rules}, trials=200) for rules in ({}, {"constraints": ["memory <= 0.4GB"]}))

    def kept(done: Sweep) -> int:
        return sum(t.user_attrs["memory_bytes"] <= 0.4e9 for t in done.trials[100:])

    assert [t.params for t in free.trials[:50]] == [t.params for t in bound.trials[:50]]  # the random ones before
    assert kept(bound) > 1.5 * kept(free)


# --- fronts -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_front_is_optunas_best_trials_with_constraints_and_its_commands_give_its_numbers(capsys, tmp_path):
    journal = tmp_path / "front.journal"
    space = {**ZOO, **GRID, "budget": {"low": "10%", "high": "100%", "step": "10%"}, "hw": ["jetson_orin", "a100"]}
    rules = {
        "constraints": ["tok_s >= 300"],
        "objectives": {"tok_s": "maximize", "proxy_ppl": "minimize", "memory": "minimize"},
    }
    done = sweep({**space, **rules}, journal, 80)
    first: dict[tuple, int] = {}
    for trial in plain(journal).best_trials:
        first.setdefault(tuple(trial.values), trial.number)
    assert [t.number for t in done.front] == sorted(first.values()) and len(done.front) >= 10
    assert any(not all(e <= 0 for e in t.constraints.values()) for t in done.trials)
    for trial in done.front[:: max(len(done.front) // 10, 1)][:10]:
        run, facts = rerun(capsys, trial.user_attrs["command"]), trial.user_attrs
        assert run["digest"] == facts["digest"] and run["tok_s"] == facts["tok_s"] == trial.values[0]
        assert run["memory_bytes"]["total"] == facts["memory_bytes"] == trial.values[2]
        assert run["ttft_s"]["first"] == facts["ttft_first_s"] and run["tpot_ms"]["p99"] == facts["tpot_p99_ms"]


# --- samplers -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "trials", "stop"), [("nsga3", 120, 63), ("gp", 13, 12), ("qmc", 16, 5), ("nsga2", 120, 63)]
)
def test_a_study_with_each_sampler_goes_on_as_if_it_had_not_been_stopped(sampler, trials, stop, tmp_path):
    if sampler in sampling.NEEDS:
        for package in sampling.NEEDS[sampler][0]:
            pytest.importorskip(package)
    several = {"tok_s": "maximize", "proxy_ppl": "minimize", "memory": "minimize"}
    space = {
        **ZOO, **GRID, "budget": {"low": "5%", "high": "100%", "step": "5%"}, "hw": ["a100", "h100"], "tokens": 100,
        "objectives": {"tok_s": "maximize"} if sampler == "gp" else several, "constraints": ["memory <= 0.5GB"],
    }  # fmt: skip
    journal = tmp_path / "parts.journal"
    sweep(space, journal, stop, sampler=sampler)
    resumed, whole = sweep(space, journal, trials, sampler=sampler), sweep(space, trials=trials, sampler=sampler)
    assert [(t.params, t.values) for t in resumed.trials] == [(t.params, t.values) for t in whole.trials]
    assert resumed.to_json() == whole.to_json()


def test_qmc_spreads_over_every_axis_at_once():
    pytest.importorskip("scipy")
    names = {"hw": ["a100", "h100", "jetson_orin", "rtx_4090"], "eviction": ["lru", "fifo", "lfu", "arc"], "tokens": 50}
    counts = [1, 1]
    for number, sampler in enumerate(("qmc", "random")):
        done = sweep({**SPACE, **names}, trials=16, sampler=sampler)
        pairs = [tuple(t.user_attrs["point"][axis] for axis in ("hw", "eviction")) for t in done.trials]
        counts[number] = len(set(pairs))
        if sampler == "qmc":
            assert all(
                sum(pair[axis] == word for pair in pairs) == 4
                for axis, words in enumerate(list(names.values())[:2])
                for word in words
            )
    assert counts[0] > counts[1]


def test_a_sampler_that_needs_a_package_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(sampling, "find_spec", lambda name: None)
    for sampler, line in {
        "qmc": r"needs scipy, .*simmoe\[sweep\]'$",
        "gp": r"scipy and torch, .*simmoe\[sweep,moe\]'$",
    }.items():
        with pytest.raises(UserError, match=line):
            sweep(SPACE, trials=1, sampler=sampler)


# --- what is played once ------------------------------------------------------------------------------------------------


def test_what_means_the_same_is_played_once_across_names_and_stops(tmp_path, monkeypatch):
    from simmoe import hardware_profiles
    from simmoe.sweeps import scenarios

    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(f"{name}.yaml").write_text((hardware_profiles.FOLDER / "a100.yaml").read_text())
    played = list[str]()
    play = scenarios.play
    monkeypatch.setattr(scenarios, "play", lambda *a, **k: played.append("once") or play(*a, **k))
    space = {**SPACE, "hw": ["one.yaml", "two.yaml"], "overlap": ["on", "none"], "timeline": ["overlapped", "serial"]}
    done = grid(space)  # overlap none is the timeline serial
    assert len(done.trials) == 8 and len(played) == 2
    digests = {t.user_attrs["digest"] for t in done.trials}
    assert len(digests) == 2 and all(
        f"--hw {t.user_attrs['point']['hw']}" in t.user_attrs["command"] for t in done.trials
    )
    played.clear()
    sweep(space, "a.journal", 4, sampler="grid")
    before = len(played)
    resumed = sweep(space, "a.journal", 8, sampler="grid")
    assert len(played) == 2 >= before and resumed.to_json() == done.to_json()


# --- what decides -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_importances_say_which_axes_decide():
    budget = {"low": "5%", "high": "100%", "step": "5%"}
    both = {"objectives": {"memory_bytes": "minimize", "proxy_ppl": "minimize", "tok_s": "maximize"}}
    space = {
        **ZOO,
        **both,
        "experts": [8, 16, 24],
        "top_k": [1, 2, 4],
        "router": ["switch", "oracle-ema"],
        "budget": budget,
        "tokens": 128,
    }
    done = sweep({**space, "seed": [0, 1, 2]}, trials=300, sampler="random")
    found = done.to_json()["importances"]
    assert found.keys() == both["objectives"].keys()
    for shares in found.values():
        assert shares.keys() == {"experts", "top_k", "router", "budget", "seed"} and math.isclose(
            sum(shares.values()), 1
        )
        assert list(shares.values()) == sorted(shares.values(), reverse=True) and shares["seed"] < 0.1
    assert next(iter(found["proxy_ppl"])) == "top_k" and found["proxy_ppl"]["top_k"] > 0.5
    assert found["memory_bytes"]["budget"] > 0.5 > found["memory_bytes"]["experts"] > found["memory_bytes"]["router"]
    assert sweep({**space, "seed": 0}, trials=10).to_json()["importances"] == {}


# --- the bundled space --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_front_of_the_mission_holds_several_expert_counts_and_top_ks():
    done = sweep("mission", trials=150)
    assert {t.user_attrs["point"]["hw"] for t in done.trials} == {"jetson_orin", "a100", "h100"}
    assert "belady" not in {t.user_attrs["point"]["eviction"] for t in done.trials} and done.scenarios.bounds
    front = done.front
    assert len({t.user_attrs["experts"] for t in front}) > 1 and len({t.user_attrs["top_k"] for t in front}) > 1


BAD = {
    "untrained experts": ({"experts": [8, 12]}, r"no comparable model .* trained with experts 12; nearest: 16 experts, top-k 1"),
    "untrained pair": ({"experts": [4], "top_k": [1, 2]}, r"with top-k 2, experts 4; nearest: 4 experts, top-k 1, .*8 experts, top-k 2"),
    "another geometry": ({"experts": 64, "top_k": 6}, r"trained with experts 64, top-k 6; nearest: "),
    "unknown router": ({"router": ["swich"]}, r"trained with router swich; nearest: .*switch"),
    "no number of experts": ({"experts": ["8"]}, r"space: experts: '8' is no whole number"),
    "experts twice": ({"experts": [8, 8]}, r"space: experts: 8 stands there twice"),
    "no experts": ({"experts": []}, r"space: experts: the list is empty"),
    "experts and a trace": ({"experts": 8, "trace": "oracle"}, r"trace and experts both say which model is played"),
    "unknown figure": ({"link.bandwith": ["16GB/s"]}, r"no figure 'link.bandwith' to change; did you mean 'link.bandwidth'"),
    "unit of a figure": ({"link.bandwidth": ["16GB"]}, r"link.bandwidth.value: unknown unit 'GB' in '16GB'"),
    "mixed range": ({"link.bandwidth": {"low": "1GB/s", "high": "2GB/s", "step": "1MB/s"}}, r"mix GB/s and MB/s; write all three alike"),
    "figure of a list": ({"link.bandwidth": [["16GB/s"]]}, r"is no figure; write a quantity such as 32GB/s"),
    "figure twice": ({"link.latency": ["5us"], "set": ["link.latency=6us"]}, r"set and the axis link.latency both change that figure"),
    "half a rule": ({"constraints": ["tok_s > 10"]}, r"'tok_s > 10' is no constraint; write METRIC <= LIMIT or METRIC >= LIMIT"),
    "a share of more than all": ({"constraints": ["hit_rate >= 90"]}, r"'90' is more than all; write a share as 0.9 or 90%"),
    "a percentage of more than all": ({"constraints": ["hit_rate >= 101%"]}, r"'101%' is more than all"),
    "rule without a unit": ({"constraints": ["memory <= 8"]}, r"memory <= 8: '8' is no limit of it; write 8 GB"),
    "rule of another unit": ({"constraints": ["power <= 30 GB"]}, r"unknown unit 'GB' in '30 GB'"),
    "price without currency": ({"constraints": ["price <= 2000"]}, r"constraints: price <= 2000: .*2000.*unit"),
    "rule twice": ({"constraints": ["tok_s >= 1", "tok_s >= 1"]}, r"'tok_s >= 1' stands there twice"),
    "rule of no metric": ({"constraints": ["tok_ss >= 1"]}, r"unknown metric 'tok_ss'"),
    "no rate": (
        {"hw": "jetson_orin", "constraints": ["price <= 2000 EUR"]},
        r"price of jetson_orin: 1,999 USD is to be compared with EUR, and the space gives no rate; add the key exchange",
    ),
    "nothing assumed": ({"objectives": {"cost_per_m_tokens": "minimize"}}, r"needs the keys life, used, power_price"),
    "life": ({"life": "long"}, r"life: 'long' is no time of use; write it in years or days, like 3y or 400d"),
    "share": ({"used": "120%"}, r"used: '120%' is no share of the time"),
    "objective twice": ({"objectives": {"memory": "minimize", "memory_bytes": "minimize"}}, r"objectives name memory_bytes twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_one_line(name):
    axes, line = BAD[name]
    zoo_keys = set(zoo.KEYS) & set(axes) and "trace" not in axes
    with pytest.raises(UserError) as refused:
        sweep({**(ZOO if zoo_keys else SPACE), **axes}, trials=1)
    assert re.search(line, str(refused.value)) and "\n" not in str(refused.value), refused.value


def test_options_that_are_no_axis_are_those_that_the_page_names():
    from simmoe.play.scenario import OPTIONS

    page = (ROOT / "docs/sweeps.md").read_text()
    said = page.partition("Four options are no axis: ")[2].partition(". File names")[0]
    others = {name for name, option in OPTIONS.items() if not option.about.axis}
    assert others == {"gpu", "host", *re.findall(r"`(\w+)`", said)} and len(others) == 6  # gpu and host make a machine


def test_the_keys_that_the_page_shows_are_read():
    from simmoe.sweeps.space import load

    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/spaces.md").read_text(), re.M | re.S)
    keys = {key: value for block in blocks for key, value in yaml.safe_load(block).items()}
    space = load({**ZOO, **keys})
    assert len(space.trained) == 22 and space.figures == ["link.bandwidth", "link.latency"]
    assert [rule.metric for rule in space.constraints] == ["tok_s", "power_w", "ttft_first_s", "hit_rate", "price"]
    assert [rule.limit for rule in space.constraints] == [10, 30, 2, 0.9, 2000] and space.assumed.currency == "EUR"
    assert (space.assumed.used, space.assumed.life_s) == (0.25, 3 * 365.25 * 86_400)
    for rule in space.constraints:
        at_most = rule.metric in ("power_w", "ttft_first_s", "price")
        assert (rule.excess(rule.limit * 2) > 0) == at_most and rule.excess(rule.limit) == 0
