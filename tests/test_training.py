"""The bundled models: what training and routing promise, at a size that a continuous integration run can afford."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simmoe.simulator.errors import UserError
from simmoe.workloads import quality, routers
from simmoe.workloads import trace as trace_format
from simmoe.workloads.models import load as load_model
from simmoe.workloads.recipe import PRESETS, choose, digest, evenly_spaced

pytest.importorskip("torch", reason="training needs PyTorch: pip install 'simmoe[moe]'")
pytest.importorskip("tokenizers", reason="training needs the package 'tokenizers': pip install 'simmoe[moe]'")

import torch

from simmoe.workloads import make, training
from simmoe.workloads.backbone import GPT
from simmoe.workloads.text.windows import held_out_pure

STEPS = 300  # of the tiny preset: half dense, half branch


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def traces(work: Path) -> dict[str, Any]:
    return {
        r: make.make_trace(r, work / f"{r}.npz", preset="tiny", steps=STEPS, work_dir=work)
        for r in ("oracle", "switch")
    }


@pytest.fixture(scope="module", params=["oracle", "switch"])
def model(request: pytest.FixtureRequest, traces: dict[str, Any], work: Path) -> GPT:
    return training.train(choose("tiny", STEPS), request.param, work)[0]


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


def test_wrong_names_and_numbers_are_one_clear_line() -> None:
    with pytest.raises(UserError, match="unknown preset 'huge': choose one of 9x24, tiny"):
        choose("huge")
    with pytest.raises(UserError, match="steps is 1: at least 2 are needed"):
        choose("tiny", 1)
    with pytest.raises(UserError, match="unknown router 'topk': choose one of dense, oracle-ema, switch"):
        routers.find("topk")


def test_dense_has_no_trace(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="router 'dense' has no experts"):
        make.make_trace("dense", tmp_path / "x.npz", preset="tiny", work_dir=tmp_path)


# --- what the routers are for ---------------------------------------------------------------------------------------


def test_oracle_switches_far_less_than_switch(traces: dict[str, Any]) -> None:
    oracle, switch = (traces[r].meta["quality"] for r in ("oracle", "switch"))
    for name in ("inconsistency_per_100", "inconsistency_per_100_mixed"):
        assert max(oracle[name]) < min(switch[name]) / 3


def test_no_collapse(traces: dict[str, Any]) -> None:
    for trace in traces.values():
        figures = trace.meta["quality"]
        assert min(figures["load_entropy"]) > 0.7
        assert set(figures["experts_used"]) == {4.0}


def test_oracle_costs_no_perplexity(traces: dict[str, Any]) -> None:
    oracle, switch = (traces[r].meta["quality"]["proxy_ppl"] for r in ("oracle", "switch"))
    assert oracle < 1.2 * switch < 1.2 * 2048  # both have learnt: a uniform guess has perplexity 2048
    assert switch < 600


def test_oracle_experts_know_the_topic_better(traces: dict[str, Any]) -> None:
    oracle, switch = (traces[r].meta["quality"]["nmi_domain"] for r in ("oracle", "switch"))
    assert min(oracle) > max(switch)


# --- causality ------------------------------------------------------------------------------------------------------


def test_routing_of_a_prefix_does_not_depend_on_what_follows(model: GPT) -> None:
    tokens = held_out_pure(8, 128).tokens
    other = tokens.copy()
    other[:, 70:] = np.random.default_rng(0).integers(0, 2048, other[:, 70:].shape)
    a, b = make.route(model, tokens), make.route(model, other)
    assert (a.ids[:, :70] == b.ids[:, :70]).all()
    assert (a.gate[:, :70] == b.gate[:, :70]).all()
    assert (a.ids[:, 70:] != b.ids[:, 70:]).any()


def test_streaming_router_equals_parallel_router(model: GPT) -> None:
    tokens = torch.from_numpy(held_out_pure(4, 128).tokens)
    x = torch.randn(4, 128, 64, generator=torch.Generator().manual_seed(0))
    for block in model.blocks:
        state, parts = None, []
        with torch.no_grad():
            whole = block.router(x, tokens)
            for t in range(tokens.shape[1]):
                state, routing = block.router.stream(state, x[:, t : t + 1], tokens[:, t : t + 1])
                parts.append(routing)
        assert torch.equal(torch.cat([p.experts for p in parts], 1), whole.experts)
        torch.testing.assert_close(torch.cat([p.gate for p in parts], 1), whole.gate)


def test_oracle_routing_of_a_shorter_text_is_bit_identical(traces: dict[str, Any], work: Path) -> None:
    model, _ = training.train(choose("tiny", STEPS), "oracle", work)
    tokens = held_out_pure(8, 128).tokens
    whole, part = make.route(model, tokens), make.route(model, tokens[:, :50])
    assert (whole.ids[:, :50] == part.ids).all()
    assert (whole.gate[:, :50] == part.gate).all()


# --- the trace ------------------------------------------------------------------------------------------------------


def test_both_traces_have_the_same_tokens_and_passes(traces: dict[str, Any]) -> None:
    agree(traces["oracle"], traces["switch"])


def test_trace_shape_and_passes(traces: dict[str, Any]) -> None:
    trace = traces["oracle"]
    assert trace.expert_ids.shape == (70 * 128, 2, 1)
    lengths = np.diff(trace.pass_ptr).reshape(70, -1)
    assert (lengths[:, 0] == 32).all() and (lengths[:, 1:] == 1).all()
    assert (trace.phase.reshape(70, -1)[:, 0] == 0).all() and (trace.phase.reshape(70, -1)[:, 1:] == 1).all()
    assert (trace.position[:128] == np.arange(128)).all()


def test_trace_reads_back_with_its_digest(traces: dict[str, Any], work: Path) -> None:
    again = trace_format.load(work / "oracle.npz")
    assert again.meta["digest"] == traces["oracle"].meta["digest"]
    assert (again.expert_ids == traces["oracle"].expert_ids).all()


def test_gate_weights_are_probabilities(traces: dict[str, Any]) -> None:
    for trace in traces.values():
        assert ((trace.gate_weights > 0) & (trace.gate_weights <= 1)).all()
        assert trace.gate_weights.std() > 0  # the straight-through 1 is not what is recorded


# --- determinism ----------------------------------------------------------------------------------------------------


def test_same_seed_same_trace(tmp_path: Path) -> None:
    made = [
        make.make_trace("oracle", tmp_path / f"{i}.npz", preset="tiny", steps=10, seed=seed, work_dir=tmp_path / str(i))
        for i, seed in enumerate((0, 0, 1))
    ]
    assert made[0].meta["digest"] == made[1].meta["digest"]
    assert not np.array_equal(made[0].expert_ids, made[2].expert_ids)


def test_a_run_that_stopped_goes_on_to_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    recipe = choose("tiny", 12)
    for router in ("switch", "oracle"):
        straight, losses = training.train(recipe, router, tmp_path / "straight")
        for at in (3, 9):  # once in the warm-up, once in the branch
            with pytest.raises(KeyboardInterrupt):
                training.train(recipe, router, tmp_path / "stopped", stop_at(at))
        resumed, again = training.train(recipe, router, tmp_path / "stopped")
        assert losses == again
        assert all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), resumed.state_dict().values()))
        for path in (tmp_path / "stopped").glob("warm-up*"):
            path.unlink()  # so that the second router is stopped in its warm-up too


def stop_at(last: int) -> training.Progress:
    def progress(phase: str, step: int, total: int, loss: float) -> None:
        if step == last:
            raise KeyboardInterrupt

    return progress


def test_progress_reports_every_step(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    training.train(choose("tiny", 6), "switch", tmp_path, lambda *call: seen.append(call[:3]))
    assert seen == [("warm-up", i, 3) for i in (1, 2, 3)] + [("switch", i, 6) for i in (4, 5, 6)]


# --- the seams ------------------------------------------------------------------------------------------------------

ROUND_ROBIN = """
import torch
from simmoe.workloads.backbone import Routing
SETTINGS = {}
class Router(torch.nn.Module):
    def __init__(self, d_model, n_experts, vocabulary):
        super().__init__()
        self.n = n_experts
    def forward(self, x, tokens):
        e = (tokens % self.n).unsqueeze(-1)
        return Routing(e, torch.ones(e.shape), torch.ones(e.shape), torch.zeros(()))
def fit(routers, model, windows, seed):
    pass
"""


def test_a_router_file_outside_the_package_works(tmp_path: Path) -> None:
    path = tmp_path / "round_robin.py"
    path.write_text(ROUND_ROBIN)
    trace = make.make_trace(str(path), tmp_path / "x.npz", preset="tiny", steps=2, work_dir=tmp_path)
    assert trace.meta["router"] == "round-robin"
    tokens = held_out_pure(70, 128).tokens.reshape(-1)
    assert (trace.expert_ids[:, 0, 0] == tokens % 4).all()


def test_upcycled_model_starts_as_the_dense_one(tmp_path: Path) -> None:
    recipe = choose("tiny", 8)
    warm = training.train_dense(recipe, tmp_path)
    dense = GPT(recipe)
    dense.load_state_dict(warm.model)
    file = routers.find("oracle")
    mixture = training.build(recipe, file)
    mixture.load_state_dict(training.branch(warm, mixture, recipe, file).model)
    tokens = torch.from_numpy(held_out_pure(4, 128).tokens)
    with torch.no_grad():
        for run in (mixture.eval(), mixture.train()):  # all experts at once, and sorted by expert
            torch.testing.assert_close(run(tokens).logits, dense.eval()(tokens).logits, rtol=1e-4, atol=1e-5)


# --- measures -------------------------------------------------------------------------------------------------------


def test_measures_on_a_small_example() -> None:
    ids = np.array([[0, 0, 1, 1], [2, 2, 2, 3]])[..., None]  # [2 sequences, 4 tokens, 1 layer]
    assert quality.inconsistency_per_100(ids) == [pytest.approx(100 * 2 / 6)]
    assert quality.load_share(ids, 5).tolist() == [[0.25, 0.25, 0.375, 0.125, 0.0]]
    assert quality.nmi(ids, np.array([[0, 0, 1, 1], [2, 2, 2, 3]])) == [pytest.approx(1.0)]
    assert quality.nmi(ids, np.array([[0, 1, 0, 1], [0, 1, 0, 1]]))[0] < 0.2
    assert quality.load_entropy(np.arange(4).reshape(1, 4, 1), 4) == [pytest.approx(1.0)]


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


@pytest.mark.parametrize("name", BUNDLED)
def test_committed_trace_fits_the_model_shape_it_names(name: str) -> None:
    meta, index = trace_format.load(name).meta, trace_format.load(name).layer_index
    assert load_model(meta["model"]).moe_layers == tuple(index.tolist()) == PRESETS["9x24"].moe_layers


@pytest.mark.parametrize("name", BUNDLED)
def test_committed_quality_figures_are_those_of_its_routing(name: str) -> None:
    """meta.quality was measured on more held-out text than the trace holds: the same within a few per cent."""
    trace = trace_format.load(name)
    recipe = PRESETS["9x24"]
    ids = trace.expert_ids[..., 0].reshape(recipe.trace_sequences, recipe.length, -1)
    figures = trace.meta["quality"]
    np.testing.assert_allclose(quality.inconsistency_per_100(ids), figures["inconsistency_per_100"], rtol=0.25)
    np.testing.assert_allclose(quality.load_entropy(ids, 24), figures["load_entropy"], atol=0.06)


def test_committed_oracle_is_local_even_and_not_blind() -> None:
    """What docs/bundled_models.md says was reached; the goals it says were missed are not asserted."""
    oracle, switch = (trace_format.load(name).meta["quality"] for name in BUNDLED)
    assert max(oracle["inconsistency_per_100"]) < min(switch["inconsistency_per_100"]) / 5
    assert min(oracle["load_entropy"]) >= 0.85
    assert max(oracle["max_load"] + switch["max_load"]) <= 3.6 / 24
    assert min(oracle["nmi_domain_mixed"]) > 2 * max(switch["nmi_domain_mixed"])
