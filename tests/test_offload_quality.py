"""Miss rules in the offload runtime: what keeps the output keeps every bit, and what changes it computes what it says and is measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import simmoe
from simmoe import policies
from simmoe.cli.main import main
from simmoe.policies import arguments
from simmoe.simulator.decide import missing
from simmoe.simulator.decide.decisions import decide
from simmoe.simulator.decide.gather import Requests, requests_of
from simmoe.simulator.decide.missing import SUBSTITUTE, VERSION
from simmoe.simulator.errors import UserError
from simmoe.workloads.format import trace as traces
from simmoe.workloads.offload import measured

pytest.importorskip("torch", reason="the runtime needs PyTorch: pip install 'simmoe[moe]'")
pytest.importorskip("tokenizers", reason="the bundled text needs the package 'tokenizers': pip install 'simmoe[moe]'")

import torch

from simmoe.workloads.offload import quality, quality_tables
from simmoe.workloads.offload.layout import Layout, Weights, ffn, random_image
from simmoe.workloads.offload.missing import Rule, shares
from simmoe.workloads.offload.play import play_text, without
from simmoe.workloads.offload.record import Log, Played
from simmoe.workloads.offload.rounding import low_bytes, rounded
from simmoe.workloads.offload.runtime import Options, Runtime
from simmoe.workloads.oracle_moe import zoo
from simmoe.workloads.oracle_moe.recipe import TINY
from simmoe.workloads.oracle_moe.text.windows import held_out_pure
from simmoe.workloads.oracle_moe.zoo_tables import filled
from tests.test_offload import PREFILL, same_logits, untrained

SLOTS = (1, 5, 12)  # of 16 experts
LAYOUT = Layout(8, 16)


@pytest.fixture(scope="module")
def model() -> Any:
    return untrained()


@pytest.fixture(scope="module")
def tokens() -> Any:
    return held_out_pure(2, 24).tokens


@pytest.fixture(scope="module")
def resident(model: Any, tokens: Any) -> Played:
    return play_text(model, tokens, PREFILL, Options())


def bundled(word: str, low_bits: int = 4) -> Rule:
    module = policies.load("miss", word)
    return Rule(module, arguments.as_whole(arguments.given("miss", word, module)), low_bits)


def answering(answer: Callable[[int, Any], int]) -> Rule:
    """A rule that answers `answer(k, m)` for missing expert k."""
    module = ModuleType("answering")

    def serve(n: int, resident: Any, event: int, m: Any) -> None:
        for k in range(n):
            m.unit[k] = answer(k, m)

    module.serve = serve  # type: ignore[attr-defined]
    return Rule(module)


# --- rules that keep the output -------------------------------------------------------------------------------------


def test_a_fetched_expert_counts_as_the_simulator_and_changes_no_bit(model: Any, tokens: Any, resident: Played) -> None:
    for slots in SLOTS:
        budget = slots * resident.expert_bytes
        played = play_text(model, tokens, PREFILL, Options(budget, "lfu", rule=bundled("fetch")))
        said = simmoe.replay(played.trace, [played.expert_bytes] * 2, budget, "lfu")
        assert (played.hits, played.misses, played.bytes) == (said.hits, said.misses, said.bytes)
        assert (played.on_cpu, played.substituted, played.dropped, played.low) == (0, 0, 0, 0)
        assert np.array_equal(played.hit, said.hit) and same_logits(played, resident)


def test_an_expert_of_the_cpu_moves_nothing_and_changes_no_bit(model: Any, tokens: Any, resident: Played) -> None:
    played = play_text(model, tokens, PREFILL, Options(5 * resident.expert_bytes, rule=bundled("cpu")))
    assert (played.hits, played.misses, played.bytes, played.peak_resident_bytes) == (0, 0, 0, 0)
    assert played.on_cpu == resident.hits and same_logits(played, resident)


# --- rules that change it -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_dropped_leaves_the_rest_of_the_model(model: Any, tokens: Any, resident: Played) -> None:
    """With a share of 100 % nothing is ever loaded: what is left is the model without its experts."""
    played = play_text(model, tokens, PREFILL, Options(5 * resident.expert_bytes, rule=bundled("drop=100%")))
    assert (played.hits, played.misses, played.bytes) == (0, 0, 0) and played.dropped > 0
    before = [block.ffn for block in model.blocks]
    for block in model.blocks:
        block.ffn = Nothing()
    with torch.no_grad():
        bare = torch.cat([model(row[None]).logits[0] for row in torch.from_numpy(tokens)])
    for block, experts in zip(model.blocks, before):
        block.ffn = experts
    torch.testing.assert_close(torch.cat(played.logits), bare)


class Nothing(torch.nn.Module):
    def forward(self, x: Any, routing: Any) -> Any:
        return torch.zeros_like(x)


def test_what_is_left_of_a_token_adds_up_to_as_much() -> None:
    weights = torch.tensor([[[0.5, 0.3, 0.2], [0.6, 0.2, 0.1], [0.5, 0.25, 0.25]]])
    kept = without(weights, [1, 6, 7, 8])
    want = torch.tensor([[[5 / 7, 0, 2 / 7], [0.6, 0.2, 0.1], [0, 0, 0]]])
    torch.testing.assert_close(kept, want)


def outputs(events: Sequence[Any], options: Options, gates: Sequence[Any] | None = None) -> tuple[list[Any], Runtime]:
    """Events of one layer of six experts, on three given rows."""
    x = rows()
    with torch.no_grad(), Runtime(LAYOUT, random_image(LAYOUT, 6, 0), Log(6, {}), 1, options) as runtime:
        found = []
        for number, ids in enumerate(events):
            runtime.log.begin(1, np.zeros(1, np.int64), np.zeros(1, np.int64))
            gate = np.array(gates[number], np.float16) if gates else None
            found.append(runtime.layer(0, x[: len(ids)], np.array(ids), gate))
    return found, runtime


def rows() -> Any:
    return torch.randn(3, LAYOUT.d_model, generator=torch.Generator().manual_seed(0))


def expert(number: int) -> Weights:
    return LAYOUT.views(random_image(LAYOUT, 6, 0)[number])


def test_a_stand_in_computes_and_is_pinned_and_stamped() -> None:
    """Slots for 0, 1, 2. Then 3 and 4 are asked for: 0 stands in for 3, and 4 is loaded, for which 1, the oldest that is free, leaves."""
    rule = answering(lambda k, m: SUBSTITUTE if m.obj[k] == 3 else 0)
    found, runtime = outputs([[[0, 1]], [[2, -1]], [[3, 4]], [[5, -1]]], Options(3 * LAYOUT.nbytes, rule=rule))
    torch.testing.assert_close(found[2][0, 0], ffn(rows()[:1], expert(0), 1)[0])
    torch.testing.assert_close(found[2][0, 1], ffn(rows()[:1], expert(4), 1)[0])
    log = runtime.log
    assert log.loads == [(0, 0), (0, 1), (1, 2), (2, 4), (3, 5)]
    assert (log.hits, log.misses, log.substituted) == (0, 5, 1)
    assert set(runtime.slots.slot_of) == {0, 4, 5}, (
        "2 is the oldest when 5 comes: the use of 0 in another's place counts"
    )


def test_a_stand_in_that_the_event_requests_computes_for_both() -> None:
    rule = answering(lambda k, m: SUBSTITUTE)
    for n in (1, 3):
        found, runtime = outputs([[[0, -1]], [[0, 1]] * n], Options(2 * LAYOUT.nbytes, rule=rule_after_first(rule)))
        want = torch.stack([ffn(rows()[:n], expert(0), 1)] * 2, 1)
        torch.testing.assert_close(found[1], want)
        assert (runtime.log.hits, runtime.log.substituted, runtime.log.loads) == (1, 1, [(0, 0)])


def rule_after_first(rule: Rule) -> Rule:
    """Loads in the first event, then as `rule` says."""
    module = ModuleType("later")
    module.serve = lambda n, resident, event, m: event and rule.module.serve(n, resident, event, m)  # type: ignore[attr-defined]
    return Rule(module)


def test_a_prefetch_that_nothing_has_requested_cannot_stand_in() -> None:
    seen: list[list[int]] = []
    rule = answering(lambda k, m: seen.append(m.here[: m.n_here[0]].tolist()) or 0)
    outputs(
        [[[0, -1]], [[1, -1]], [[3, -1]], [[4, -1]]], Options(6 * LAYOUT.nbytes, rule=rule, guesses=[[3], [2], [], []])
    )
    assert seen == [[], [0], [0, 1, 3]], "3 was requested and hit, 2 was not"


def test_a_copy_of_low_precision_is_computed_and_forgotten() -> None:
    rule = replace(answering(lambda k, m: VERSION + 1), low_bits=2)
    found, runtime = outputs([[[3, 4]], [[3, -1]]], Options(3 * LAYOUT.nbytes, rule=rule))
    torch.testing.assert_close(found[0][0, 1], ffn(rows()[:1], rounded(expert(4), 2), 1)[0])
    assert not torch.equal(found[0][0, 1], ffn(rows()[:1], expert(4), 1)[0])
    assert (runtime.log.misses, runtime.log.low, runtime.log.loads, runtime.slots.slot_of) == (3, 3, [], {})


def test_rounding_keeps_within_half_a_step() -> None:
    weights = expert(2)
    worst = []
    for bits in (2, 3, 4, 8):
        low = rounded(weights, bits)
        assert torch.equal(low.b1, weights.b1) and torch.equal(low.b2, weights.b2)
        for before, after in zip((weights.w1, weights.w2), (low.w1, low.w2)):
            blocks, error = before.reshape(-1, 32), (after - before).reshape(-1, 32).abs()
            step = (blocks.max(1).values - blocks.min(1).values) / (2**bits - 1)
            assert bool((error.max(1).values <= 0.51 * step + 1e-4).all())
            levels = [len(set(row.tolist())) for row in after.reshape(-1, 32)]
            assert max(levels) <= 2**bits
        worst.append(float((low.w1 - weights.w1).abs().max()))
    assert worst == sorted(worst, reverse=True) and worst[0] > 5 * worst[2]
    flat = rounded(Weights(torch.full((8, 16), 0.25), weights.b1, torch.full((16, 8), -0.5), weights.b2), 2)
    assert bool((flat.w1 == 0.25).all()) and bool((flat.w2 == -0.5).all())
    assert low_bytes(LAYOUT, 4) == 256 // 2 + 8 * 4 + 24 * 4  # weights, blocks, biases
    assert low_bytes(LAYOUT, 3) == 96 + 32 + 96


def test_a_rule_is_told_what_tokens_gave() -> None:
    ids = np.array([[0, 1], [1, 2], [3, -1]])
    gate = np.array([[0.5, 0.3], [0.1, 0.3], [0.0, 0.0]], np.float16)
    want = {0: 0.625, 1: (0.375 + 0.25) / 2, 2: 0.75, 3: 1.0}
    assert all(abs(share / 65536 - want[e]) < 1e-3 for e, share in shares(ids, gate).items())
    assert shares(ids, None) == {0: 32768, 1: 32768, 2: 32768, 3: 65536}
    seen: list[Any] = []
    rule = answering(lambda k, m: seen.append((int(m.obj[k]), int(m.tokens[k]), int(m.gate[m.obj[k]]))) or 0)
    outputs([ids], Options(4 * LAYOUT.nbytes, rule=rule))
    assert seen == [(0, 1, 32768), (1, 2, 32768), (2, 1, 32768), (3, 1, 65536)]


def always(answer: int, k: int, m: Any) -> int:
    return answer


def test_an_answer_that_cannot_be_is_one_line() -> None:
    for wrong in (SUBSTITUTE + 1, VERSION + 2, 7, -1):
        with pytest.raises(
            UserError, match=rf"the miss rule answered {wrong} for expert 1; the offload runtime knows LOAD"
        ):
            outputs(
                [[[0, -1]], [[1, -1]]],
                Options(3 * LAYOUT.nbytes, rule=rule_after_first(answering(partial(always, wrong)))),
            )
    with pytest.raises(UserError, match="the miss rule balanced weighs times of a machine"):
        bundled("balanced")


# --- measuring ------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_next_token(model: Any, tokens: Any, resident: Played) -> None:
    mine = quality.losses(resident, quality.Text(tokens, PREFILL))
    for row, found in zip(torch.from_numpy(tokens), mine):
        with torch.no_grad():
            p = model(row[None]).logits[0].double().softmax(-1)
        want = -sum(math.log(p[t, row[t + 1]]) for t in range(len(row) - 1)) / (len(row) - 1)
        assert found == pytest.approx(want, rel=1e-4)


def test_a_result_is_the_change_on_the_same_text(resident: Played) -> None:
    setting = quality.Setting("fetch", {}, 3, bundled("fetch"))
    mine, base = np.array([2.1, 3.3, 1.2]), np.array([2.0, 3.0, 1.0])
    row = quality.compared(zoo.entry("switch-4x8-k2"), setting, "lru", resident, mine, base).to_json()
    assert row["proxy_ppl"] == round(math.exp(2.2), 3) and row["proxy_ppl_resident"] == round(math.exp(2.0), 3)
    assert row["ratio"] == round(math.exp(0.2), 5)
    assert row["ratio_error"] == round(math.exp(0.2) * 0.1 / math.sqrt(3), 5)
    assert (row["hit_rate"], row["sequences"], row["experts"], row["low_bits"]) == (1, 3, 16, None)
    assert row["recipe_digest"] == traces.load(traces.find("switch-4x8-k2")).meta["recipe_digest"]


@pytest.mark.slow
@pytest.mark.train
def test_the_command_measures_and_keeps(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    tiny = zoo.Entry(
        "tiny-switch", replace(TINY, dense_steps=3, branch_steps=3, top_k=2, length=32, prefill=8), "switch"
    )
    monkeypatch.setattr(zoo, "entry", lambda name: tiny)
    out, work = tmp_path / "quality.json", str(tmp_path / "work")
    asked = ["offload", "quality", "tiny-switch", "--work", work, "--sequences", "3", "--out", str(out)]
    assert main([*asked, "--rule", "fetch", "--rule", "drop=60%", "--budget", "50%", "--json"]) == 0
    fetch, drop = json.loads(capsys.readouterr().out)["rows"]
    assert (fetch["ratio"], fetch["ratio_error"], fetch["slots"]) == (1, 0, 4)
    assert (
        fetch["hits"] + fetch["misses"] == fetch["requests"]
        and fetch["bytes"] == fetch["misses"] * fetch["expert_bytes"]
    )
    assert drop["dropped"] > 0 and drop["ratio"] != 1 and drop["bytes"] < fetch["bytes"]
    assert drop["hits"] + drop["misses"] + drop["dropped"] == drop["requests"]
    assert main([*asked, "--rule", "drop=60%", "--slots", "3"]) == 0
    assert "drop=share=60%" in capsys.readouterr().out
    kept = measured.rows(out)
    assert [(row["rule"], row["slots"]) for row in kept] == [("drop", 3), ("drop", 4), ("fetch", 4)]
    assert main([*asked, "--rule", "drop=60%", "--slots", "3"]) == 0 and measured.rows(out) == kept
    capsys.readouterr()
    assert main([*asked, "--rule", "hobbit=60%", "--slots", "3", "--low-bits", "2", "--json"]) == 0
    (low,) = json.loads(capsys.readouterr().out)["rows"]
    assert low["low"] > 0 and low["low_bits"] == 2 and low["hits"] + low["misses"] == low["requests"]
    assert low["bytes"] == (low["misses"] - low["low"]) * low["expert_bytes"] + low["low"] * low_bytes(
        Layout(64, 128), 2
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["swich"], "unknown zoo model 'swich'"),
        (["dense-4x8"], "dense-4x8 has no experts"),
        (["switch-4x8-k2", "--budget", "half"], "--budget 'half' is no share of the experts; write a percentage such as 25%"),
        (["switch-4x8-k2", "--slots", "33"], "33 experts cannot be resident: switch-4x8-k2 has 32"),
        (["switch-4x8-k2", "--budget", "1%"], "0 experts cannot be resident"),
        (["switch-4x8-k2", "--low-bits", "5"], "--low-bits 5: choose one of 2, 3, 4, 8"),
        (["switch-4x8-k2", "--sequences", "1"], "--sequences 1: give 2 to 49"),
        (["switch-4x8-k2", "--rule", "balanced"], "weighs times of a machine"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(words: list[str], line: str, capsys: Any) -> None:
    assert main(["offload", "quality", *words]) == 2
    assert line in capsys.readouterr().err


# --- what a run says ------------------------------------------------------------------------------------------------

ROW = {
    "model": "switch-4x8-k2", "recipe_digest": "abc", "rule": "drop", "argument": {"share": 0.1}, "low_bits": None, "eviction": "lru",
    "slots": 8, "experts": 32, "sequences": 14, "tokens": 3584, "proxy_ppl": 61.25, "proxy_ppl_resident": 59.5, "ratio": 1.02941,
    "ratio_error": 0.0031, "requests": 1000, "hits": 600, "misses": 300, "on_cpu": 0, "substituted": 0, "dropped": 100, "low": 0,
    "bytes": 45_000_000, "expert_bytes": 150_000, "hit_rate": 0.6,
}  # fmt: skip


def test_a_run_says_what_was_measured_or_how_to(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(measured, "COMMITTED", tmp_path / "quality.json")
    monkeypatch.setattr(measured.rows, "__defaults__", (tmp_path / "quality.json",))
    digest = json.loads((measured.BUNDLED / "switch-4x8-k2.training.json").read_text())["recipe_digest"]
    asked = ({"recipe_digest": digest}, "drop", {"share": 0.1}, "lru", 8)
    command = (
        "Quality not measured: simmoe offload quality switch-4x8-k2 --rule drop=share=10% --eviction lru --slots 8"
    )
    assert measured.said(*asked) == command
    measured.write(tmp_path / "quality.json", [ROW | {"recipe_digest": digest, "sequences": 2, "proxy_ppl": 99.0}])
    measured.write(tmp_path / "quality.json", [ROW | {"recipe_digest": digest}])
    assert measured.said(*asked) == (
        "Proxy perplexity 61.25 with drop, 59.50 without: +2.94 ± 0.31 %, measured on 3,584 tokens"
    )
    assert measured.said(asked[0], "drop", {"share": 0.2}, "lru", 8).startswith("Quality not measured: simmoe offload")
    assert measured.said(asked[0], "drop", {"share": 0.1}, "lfu", 8).startswith("Quality not measured")
    assert measured.said(asked[0], "drop", {"share": 0.1}, "lru", 9).startswith("Quality not measured")
    assert "has no weights of this model" in measured.said({}, "drop", {"share": 0.1}, "lru", 8)
    cells = dict(zip(*measured.table([ROW])))
    assert (cells["rule"], cells["hits"], cells["dropped"], cells["MB loaded"]) == (
        "drop=share=10%",
        "60.0 %",
        "10.0 %",
        "45",
    )


def test_pages_show_the_committed_results() -> None:
    found = quality_tables.tables(measured.rows())
    pages = [Path(__file__).parents[1] / "docs" / name for name in ("offload.md", "policies.md")]
    texts = [page.read_text("utf-8") for page in pages]
    assert [f"<!-- {name} -->" in text for name, text in zip(("quality", "quality-at-half"), texts)] == [True, True]
    assert texts == [filled(text, found) for text in texts], (
        "run python -m simmoe.workloads.offload.quality_tables docs/offload.md docs/policies.md"
    )
    for row in measured.rows():
        assert row["hits"] + row["misses"] + row["on_cpu"] + row["substituted"] + row["dropped"] == row["requests"]
        assert row["ratio"] == 1 or row["substituted"] + row["dropped"] + row["low"] > 0
        low = low_bytes(sizes(row["model"]), row["low_bits"]) * row["low"] if row["low"] else 0
        assert row["bytes"] == (row["misses"] - row["low"]) * row["expert_bytes"] + low


def sizes(model: str) -> Layout:
    recipe = quality.entry_of(model).recipe
    return Layout(recipe.d_model, recipe.d_ff // recipe.slices)


# --- beside the simulator -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("eviction", ["lru", "lfu", "random"])
@pytest.mark.parametrize("word", ["drop=40%", "substitute", "cache_aware=90%", "hobbit=50%,skip=30%"])
def test_what_is_dropped_and_replaced_is_what_the_simulator_says(
    model: Any, tokens: Any, resident: Played, word: str, eviction: str
) -> None:
    """On the trace that the runtime recorded, with the gates that it saw, the simulator decides the same."""
    layout = Layout(TINY.d_model, TINY.d_ff // TINY.slices)
    for slots in SLOTS:
        budget = slots * resident.expert_bytes
        played = play_text(model, tokens, PREFILL, Options(budget, eviction, rule=bundled(word), seed=3))
        requests = requests_of(played.trace)
        said = decide(
            requests,
            np.full(2, played.expert_bytes),
            policies.load("eviction", eviction),
            budget,
            rule=of_simulator(word, requests),
            seed=3,
        )
        assert (
            played.hits == said.hit.sum()
            and played.misses - played.low == len(said.loads)
            and played.evictions == len(said.evicted)
        )
        assert [obj for _, obj in played.loads] == requests.obj[said.loads].tolist()
        assert (played.dropped, played.substituted, played.low) == (len(said.dropped), len(said.stands), len(said.low))
        assert played.bytes == len(said.loads) * played.expert_bytes + len(said.low) * low_bytes(layout, 4)
        assert slots == 1 or played.dropped + played.substituted + played.low > 0


def of_simulator(word: str, requests: Requests) -> missing.Rule:
    """The rule for a machine without a CPU, whose times it does not read."""
    rule, none = bundled(word), np.zeros(0, np.int64)
    tables, shape = (np.zeros((1, 0), np.int64),) * 2, np.zeros(requests.n_objects, np.int64)
    return missing.Rule(
        rule.module,
        requests.widest,
        requests.tokens,
        none,
        np.zeros(1, np.int64),
        none,
        *tables,
        shape,
        rule.argument,
        requests.gate,
        8,
    )
