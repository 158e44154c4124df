"""The bundled models: what training and routing promise, at a size that a continuous integration run can afford."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simmoe.simulator.errors import UserError
from simmoe.workloads.format import trace as trace_format
from simmoe.workloads.models import load as load_model
from simmoe.workloads.oracle_moe import quality, routers, zoo
from simmoe.workloads.oracle_moe.recipe import BRANCH_ONLY, PRESETS, choose, digest, evenly_spaced

pytest.importorskip("torch", reason="training needs PyTorch: pip install 'simmoe[moe]'")
pytest.importorskip("tokenizers", reason="training needs the package 'tokenizers': pip install 'simmoe[moe]'")

import torch

from simmoe.workloads.oracle_moe import make, training
from simmoe.workloads.oracle_moe.backbone import GPT
from simmoe.workloads.oracle_moe.text.windows import held_out_pure

STEPS = 300  # of the tiny preset: half dense, half branch


def make_tiny(router: str, out: Path, steps: int, work_dir: Path, seed: int = 0) -> Any:
    return make.make(zoo.Entry(out.stem, choose("tiny", steps, seed), router, guesses=True), out, work_dir=work_dir)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def traces(work: Path) -> dict[str, Any]:
    return {r: make_tiny(r, work / f"{r}.npz", STEPS, work) for r in ("oracle", "switch")}


@pytest.fixture(scope="module", params=["oracle", "switch"])
def model(request: pytest.FixtureRequest, traces: dict[str, Any], work: Path) -> GPT:
    return training.train(choose("tiny", STEPS), request.param, work).model


# --- the recipe -----------------------------------------------------------------------------------------------------


def test_the_9x24_preset_has_the_layers_and_experts_of_the_paper() -> None:
    recipe = PRESETS["9x24"]
    assert (recipe.n_layers, len(recipe.moe_layers), recipe.n_experts, recipe.top_k) == (24, 9, 24, 1)
    assert recipe.moe_layers == evenly_spaced(24, 9) == (1, 4, 7, 9, 12, 15, 17, 20, 23)


def test_digest_sees_every_part_of_a_recipe() -> None:
    recipe = PRESETS["tiny"]
    base = digest(recipe.describe("switch", {"a": 1}))
    assert base == digest(replace(recipe).describe("switch", {"a": 1}))
    others = [
        replace(recipe, seed=1).describe("switch", {"a": 1}),
        recipe.describe("switch", {"a": 2}),
        recipe.describe("oracle-ema", {"a": 1}),
        replace(recipe, d_ff=64).describe("switch", {"a": 1}),
    ]
    assert len({base, *map(digest, others)}) == 5


def test_a_warm_up_is_shared_by_whatever_differs_only_in_the_branch() -> None:
    base = PRESETS["4x8"]
    same = [
        PRESETS["2x4"],
        PRESETS["8x16"],
        PRESETS["12x64"],
        replace(base, top_k=2, branch_steps=9, shared_expert=True),
    ]
    assert {recipe.warm_up_digest() for recipe in same} == {base.warm_up_digest()}
    others = [replace(base, seed=1), replace(base, d_ff=96), replace(base, peak_lr=1e-3), replace(base, dense_steps=5)]
    assert len({recipe.warm_up_digest() for recipe in [base, *others]}) == 5
    assert set(base.describe("switch", {})) >= BRANCH_ONLY


def test_the_learning_rate_of_the_warm_up_does_not_see_the_branch() -> None:
    long, short = PRESETS["4x8"], replace(PRESETS["4x8"], branch_steps=10)
    rates = [[training.learning_rate(r, step) for step in range(r.dense_steps)] for r in (long, short)]
    assert rates[0] == rates[1] and rates[0][-1] == long.peak_lr
    assert training.learning_rate(short, short.steps) == pytest.approx(short.final_lr * short.peak_lr)


def test_wrong_names_and_numbers_are_one_clear_line() -> None:
    with pytest.raises(UserError, match="unknown preset 'huge': choose one of 2x4, 4x8, 8x16, 9x24, 12x64, tiny"):
        choose("huge")
    with pytest.raises(UserError, match="steps is 1: at least 2 are needed"):
        choose("tiny", 1)
    with pytest.raises(UserError, match="unknown router 'topk': choose one of attention-aware, cosine, dense"):
        routers.find("topk")
    with pytest.raises(UserError, match="unknown zoo model 'swich': did you mean 'switch'"):
        zoo.entry("swich")


@pytest.mark.train
def test_dense_leaves_a_record_but_no_trace(tmp_path: Path) -> None:
    assert make_tiny("dense", tmp_path / "x.npz", 2, tmp_path) is None
    record = json.loads((tmp_path / "x.training.json").read_text())
    assert record["quality"]["proxy_ppl"] > 1 and len(record["loss_nats_per_token"]) == 1
    assert not (tmp_path / "x.npz").exists()


# --- what the routers are for ---------------------------------------------------------------------------------------


@pytest.mark.train
def test_oracle_switches_far_less_than_switch(traces: dict[str, Any]) -> None:
    oracle, switch = (traces[r].meta["quality"] for r in ("oracle", "switch"))
    for name in ("inconsistency_per_100", "inconsistency_per_100_mixed"):
        assert max(oracle[name]) < min(switch[name]) / 3


@pytest.mark.train
def test_no_collapse(traces: dict[str, Any]) -> None:
    for trace in traces.values():
        figures = trace.meta["quality"]
        assert min(figures["load_entropy"]) > 0.7
        assert set(figures["experts_used"]) == {4.0}


@pytest.mark.train
def test_oracle_costs_no_perplexity(traces: dict[str, Any]) -> None:
    oracle, switch = (traces[r].meta["quality"]["proxy_ppl"] for r in ("oracle", "switch"))
    assert oracle < 1.2 * switch < 1.2 * 2048  # both have learnt: a uniform guess has perplexity 2048
    assert switch < 600


@pytest.mark.train
def test_oracle_experts_know_the_topic_better(traces: dict[str, Any]) -> None:
    oracle, switch = (traces[r].meta["quality"]["nmi_domain"] for r in ("oracle", "switch"))
    assert min(oracle) > max(switch)


# --- causality ------------------------------------------------------------------------------------------------------


@pytest.mark.train
def test_routing_of_a_prefix_does_not_depend_on_what_follows(model: GPT) -> None:
    tokens = held_out_pure(8, 128).tokens
    other = tokens.copy()
    other[:, 70:] = np.random.default_rng(0).integers(0, 2048, other[:, 70:].shape)
    a, b = make.route(model, tokens), make.route(model, other)
    assert (a.ids[:, :70] == b.ids[:, :70]).all()
    assert (a.gate[:, :70] == b.gate[:, :70]).all()
    assert (a.ids[:, 70:] != b.ids[:, 70:]).any()


@pytest.mark.train
def test_decoding_with_the_kv_cache_equals_the_parallel_pass(model: GPT) -> None:
    tokens = torch.from_numpy(held_out_pure(4, 128).tokens)
    with torch.no_grad():
        whole = model(tokens)
        parts = [model(tokens[:, :32])]  # prefill
        for t in range(32, tokens.shape[1]):
            parts.append(model(tokens[:, t : t + 1], parts[-1].past))
    torch.testing.assert_close(torch.cat([p.logits for p in parts], 1), whole.logits, rtol=1e-4, atol=1e-4)
    for layer, routing in enumerate(whole.routings):
        assert torch.equal(torch.cat([p.routings[layer].experts for p in parts], 1), routing.experts)
        torch.testing.assert_close(
            torch.cat([p.routings[layer].gate for p in parts], 1), routing.gate, atol=1e-4, rtol=1e-4
        )


@pytest.mark.train
def test_oracle_routing_of_a_shorter_text_is_bit_identical(traces: dict[str, Any], work: Path) -> None:
    model = training.train(choose("tiny", STEPS), "oracle", work).model
    tokens = held_out_pure(8, 128).tokens
    whole, part = make.route(model, tokens), make.route(model, tokens[:, :50])
    assert (whole.ids[:, :50] == part.ids).all()
    assert (whole.gate[:, :50] == part.gate).all()


# --- the trace ------------------------------------------------------------------------------------------------------


@pytest.mark.train
def test_both_traces_have_the_same_tokens_and_passes(traces: dict[str, Any]) -> None:
    agree(traces["oracle"], traces["switch"])


@pytest.mark.train
def test_trace_shape_and_passes(traces: dict[str, Any]) -> None:
    trace = traces["oracle"]
    assert trace.expert_ids.shape == (70 * 128, 2, 1)
    lengths = np.diff(trace.pass_ptr).reshape(70, -1)
    assert (lengths[:, 0] == 32).all() and (lengths[:, 1:] == 1).all()
    assert (trace.phase.reshape(70, -1)[:, 0] == 0).all() and (trace.phase.reshape(70, -1)[:, 1:] == 1).all()
    assert (trace.position[:128] == np.arange(128)).all()


@pytest.mark.train
def test_trace_reads_back_with_its_digest(traces: dict[str, Any], work: Path) -> None:
    again = trace_format.load(work / "oracle.npz")
    assert again.meta["digest"] == traces["oracle"].meta["digest"]
    assert (again.expert_ids == traces["oracle"].expert_ids).all()


@pytest.mark.train
def test_gate_weights_are_probabilities(traces: dict[str, Any]) -> None:
    for trace in traces.values():
        assert ((trace.gate_weights > 0) & (trace.gate_weights <= 1)).all()
        assert trace.gate_weights.std() > 0  # the straight-through 1 is not what is recorded


# --- determinism ----------------------------------------------------------------------------------------------------


@pytest.mark.train
def test_same_seed_same_trace(tmp_path: Path) -> None:
    made = [make_tiny("oracle", tmp_path / f"{i}.npz", 10, tmp_path / str(i), seed) for i, seed in enumerate((0, 0, 1))]
    assert made[0].meta["digest"] == made[1].meta["digest"]
    assert not np.array_equal(made[0].expert_ids, made[2].expert_ids)


@pytest.mark.train
def test_a_run_that_stopped_goes_on_to_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    recipe = choose("tiny", 12)
    for router in ("switch", "oracle"):
        straight = training.train(recipe, router, tmp_path / "straight")
        for at in (3, 9):  # once in the warm-up, once in the branch
            with pytest.raises(KeyboardInterrupt):
                training.train(recipe, router, tmp_path / "stopped", stop_at(at))
        resumed = training.train(recipe, router, tmp_path / "stopped")
        assert straight.losses == resumed.losses
        both = zip(straight.model.state_dict().values(), resumed.model.state_dict().values())
        assert all(torch.equal(a, b) for a, b in both)
        for path in (tmp_path / "stopped").glob("warm-up*"):
            path.unlink()  # so that the second router is stopped in its warm-up too


def stop_at(last: int) -> training.Progress:
    def progress(phase: str, step: int, total: int, loss: float) -> None:
        if step == last:
            raise KeyboardInterrupt

    return progress


@pytest.mark.train
def test_progress_reports_every_step(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    training.train(choose("tiny", 6), "switch", tmp_path, lambda *call: seen.append(call[:3]))
    assert seen == [("warm-up", i, 3) for i in (1, 2, 3)] + [("switch", i, 6) for i in (4, 5, 6)]


# --- the seams ------------------------------------------------------------------------------------------------------

ROUND_ROBIN = """
import torch
from simmoe.workloads.oracle_moe.backbone import Routing
SETTINGS = {}
class Router(torch.nn.Module):
    def __init__(self, recipe, settings):
        super().__init__()
        self.n = recipe.n_experts
    def forward(self, seen, state):
        e = (seen.tokens % self.n).unsqueeze(-1)
        return Routing(e, torch.ones(e.shape), torch.ones(e.shape), torch.zeros(()))
def fit(routers, model, windows, seed):
    pass
"""


@pytest.mark.train
def test_a_router_file_outside_the_package_works(tmp_path: Path) -> None:
    path = tmp_path / "round_robin.py"
    path.write_text(ROUND_ROBIN)
    trace = make_tiny(str(path), tmp_path / "x.npz", 2, tmp_path)
    assert trace.meta["router"] == "round-robin"
    tokens = held_out_pure(70, 128).tokens.reshape(-1)
    assert (trace.expert_ids[:, 0, 0] == tokens % 4).all()


@pytest.mark.train
@pytest.mark.parametrize(
    "change",
    [{}, {"shared_expert": True}, {"n_experts": 8, "top_k": 2}, {"n_experts": 8, "top_k": 4, "slices": 4}],
    ids=str,
)
def test_upcycled_model_starts_as_the_dense_one(tmp_path: Path, change: dict[str, Any]) -> None:
    recipe = replace(choose("tiny", 8), **change)
    warm = training.train_dense(recipe, tmp_path)
    dense = GPT(recipe)
    dense.load_state_dict(warm.model)
    path = tmp_path / "first_k.py"
    path.write_text(FIRST_K)
    file = routers.find(str(path))
    mixture = training.build(recipe, file, file.SETTINGS)
    mixture.load_state_dict(training.branch(warm, mixture, recipe, file).model)
    tokens = torch.from_numpy(held_out_pure(4, 128).tokens)
    with torch.no_grad():
        for run in (mixture.eval(), mixture.train()):  # all experts at once, and sorted by expert
            torch.testing.assert_close(run(tokens).logits, dense.eval()(tokens).logits, rtol=1e-4, atol=1e-5)


FIRST_K = """
import torch
from simmoe.workloads.oracle_moe.backbone import Routing
SETTINGS = {}
class Router(torch.nn.Module):
    def __init__(self, recipe, settings):
        super().__init__()
        self.k = recipe.top_k
    def forward(self, seen, state):
        e = torch.arange(self.k).expand(*seen.tokens.shape, self.k)
        return Routing(e, torch.full(e.shape, 1 / self.k), torch.ones(e.shape), torch.zeros(()))
def fit(routers, model, windows, seed):
    pass
"""


# --- measures -------------------------------------------------------------------------------------------------------


def test_measures_on_a_small_example() -> None:
    ids = np.array([[0, 0, 1, 1], [2, 2, 2, 3]])[..., None, None]  # [2 sequences, 4 tokens, 1 layer, 1 slot]
    experts = quality.used(ids, 5)
    assert quality.inconsistency_per_100(experts) == [pytest.approx(100 * 2 / 6)]
    assert quality.load_share(experts).tolist() == [[0.25, 0.25, 0.375, 0.125, 0.0]]
    assert quality.nmi(experts, np.array([[0, 0, 1, 1], [2, 2, 2, 3]])) == [pytest.approx(1.0)]
    assert quality.nmi(experts, np.array([[0, 1, 0, 1], [0, 1, 0, 1]]))[0] < 0.2
    even = quality.used(np.arange(4).reshape(1, 4, 1, 1), 4)
    assert quality.load_entropy(quality.load_share(even)) == [pytest.approx(1.0)]
    assert quality.variation(np.array([[1.0, 3.0]])) == [pytest.approx(0.5)]


def test_measures_of_sets_and_of_unused_slots() -> None:
    ids = np.array([[[0, 1], [1, 2], [2, -1], [-1, -1]]])[:, :, None]  # [1 sequence, 4 tokens, 1 layer, 2 slots]
    experts = quality.used(ids, 3)
    assert quality.inconsistency_per_100(experts) == [pytest.approx(100 * 1 / 3)]  # only 2 is new, of {1,2} {2} {}
    assert quality.load_share(experts)[0] == pytest.approx([1 / 5, 2 / 5, 2 / 5])
    gate = np.array([[[0.5, 0.25], [0.25, 0.5], [1.0, 0.0], [0.0, 0.0]]])[:, :, None]
    assert quality.importance(ids, gate, 3).tolist() == [[0.5, 0.5, 1.5]]


# --- the committed traces -------------------------------------------------------------------------------------------

BUNDLED = ("oracle", "switch")


def agree(a: Any, b: Any) -> None:
    assert a.meta["text_tokens"] == b.meta["text_tokens"]
    assert a.meta["corpus"] == b.meta["corpus"]
    for name in ("pass_ptr", "phase", "sequence", "position", "layer_index"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    assert a.expert_ids.shape == b.expert_ids.shape


def test_committed_traces_agree_in_tokens_and_passes() -> None:
    agree(*(trace_format.load(name) for name in BUNDLED))


@pytest.mark.parametrize("name", BUNDLED)
def test_committed_trace_is_of_the_present_recipe_and_text(name: str) -> None:
    meta = trace_format.load(name).meta
    expected = PRESETS["9x24"].describe(routers.full_name(name), routers.find(name).SETTINGS)
    assert meta["recipe"] == expected
    assert meta["recipe_digest"] == digest(expected)
    assert meta["model"] == "oracle-moe-9x24"


@pytest.mark.parametrize("name", BUNDLED)
def test_committed_trace_is_large_enough_and_visits_all_domains_early(name: str) -> None:
    trace = trace_format.load(name)
    assert trace.n_tokens >= 8192
    assert len(set(trace.sequence[:2048].tolist())) >= 7  # sequence i is of domain i mod 7
    assert trace.expert_ids.shape[1:] == (9, 1)


def test_every_zoo_model_has_a_shape_of_its_geometry() -> None:
    for recipe in {entry.recipe for entry in zoo.entries().values()}:
        model = load_model(f"oracle-moe-{recipe.name}")
        assert (model.moe_layers, model.top_k) == (recipe.moe_layers, recipe.top_k), recipe.name
        assert model.layers[model.moe_layers[0]].n_experts == recipe.n_experts, recipe.name


@pytest.mark.parametrize("name", BUNDLED)
def test_committed_trace_fits_the_model_shape_it_names(name: str) -> None:
    meta, index = trace_format.load(name).meta, trace_format.load(name).layer_index
    assert load_model(meta["model"]).moe_layers == tuple(index.tolist()) == PRESETS["9x24"].moe_layers


@pytest.mark.parametrize("name", BUNDLED)
def test_committed_quality_figures_are_those_of_its_routing(name: str) -> None:
    """meta.quality was measured on more held-out text than the trace holds: the same within a few per cent."""
    trace = trace_format.load(name)
    recipe = PRESETS["9x24"]
    experts = quality.used(trace.expert_ids.reshape(recipe.trace_sequences, recipe.length, -1, 1), recipe.n_experts)
    figures = trace.meta["quality"]
    np.testing.assert_allclose(quality.inconsistency_per_100(experts), figures["inconsistency_per_100"], rtol=0.25)
    np.testing.assert_allclose(quality.load_entropy(quality.load_share(experts)), figures["load_entropy"], atol=0.06)


def test_committed_oracle_is_local_even_and_not_blind() -> None:
    """What docs/bundled_models.md says was reached; the goals it says were missed are not asserted."""
    oracle, switch = (trace_format.load(name).meta["quality"] for name in BUNDLED)
    assert max(oracle["inconsistency_per_100"]) < min(switch["inconsistency_per_100"]) / 5
    assert min(oracle["load_entropy"]) >= 0.85
    assert max(oracle["max_load"] + switch["max_load"]) <= 3.6 / 24
    assert min(oracle["nmi_domain_mixed"]) > 2 * max(switch["nmi_domain_mixed"])
