"""Every router file keeps the contract of backbone.py (a kit without a list), and each does its own paper's arithmetic."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from simmoe.simulator.errors import UserError
from simmoe.workloads.oracle_moe import routers
from simmoe.workloads.oracle_moe.recipe import TINY, Recipe

pytest.importorskip("torch", reason="training needs PyTorch: pip install 'simmoe[moe]'")
pytest.importorskip("tokenizers", reason="training needs the package 'tokenizers': pip install 'simmoe[moe]'")

import torch
from torch import Tensor

from simmoe.workloads.oracle_moe import training
from simmoe.workloads.oracle_moe.backbone import GPT, Output, Routing, Seen, next_token_loss
from simmoe.workloads.oracle_moe.oracle_space import squared_distances
from simmoe.workloads.oracle_moe.routers import (
    attention_aware,
    cosine,
    hash_token,
    loss_free,
    noisy_top_k,
    noisy_two_level,
    null_experts,
    online_kmeans,
    oracle_balanced,
    recurrent,
    top_p,
)
from simmoe.workloads.oracle_moe.routers.switch import balance_loss
from simmoe.workloads.oracle_moe.text.windows import held_out_pure

RECIPE = replace(
    TINY, n_layers=3, moe_layers=(0, 2), n_experts=8, d_model=32, d_ff=32, length=48, batch=2, fit_windows=4,
    dense_steps=2, branch_steps=12,
)  # fmt: skip
NAMES = [name for name in routers.names() if routers.find(name).Router is not None]
Array = npt.NDArray[np.float64]


# --- the conformance kit ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    name: str
    file: ModuleType
    recipe: Recipe
    dense: GPT
    branched: GPT  # at the branch, before any training step
    trained: GPT
    losses: list[float]
    tokens: Tensor  # int64 (B, T)
    output: Output  # of `trained`


@pytest.fixture(
    scope="module",
    params=[pytest.param(f"{name}, top-{k}", marks=pytest.mark.train) for name in NAMES for k in (1, 2)],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    name, k = request.param.split(", top-")
    recipe, file, work = replace(RECIPE, top_k=int(k)), routers.find(name), tmp_path_factory.getbasetemp() / "work"
    tokens = torch.from_numpy(held_out_pure(6, recipe.length).tokens)
    with training.one_thread():
        warm = training.train_dense(recipe, work)
        dense = GPT(recipe).eval()
        dense.load_state_dict(warm.model)
        branched = training.build(recipe, file, file.SETTINGS)
        branched.load_state_dict(training.branch(warm, branched, recipe, file).model)
        trained, losses, *_ = training.train(recipe, name, work)
        yield Made(name, file, recipe, dense, branched.eval(), trained, losses, tokens, run(trained, tokens))


@torch.no_grad()
def run(model: GPT, tokens: Tensor, past: Any = None) -> Output:
    output: Output = model(tokens, past)
    return output


def test_shapes_and_types(made: Made) -> None:
    assert len(made.output.routings) == len(made.recipe.moe_layers)
    for routing in made.output.routings:
        assert routing.experts.dtype == torch.int64
        assert routing.weights.dtype == routing.gate.dtype == torch.float32
        assert routing.experts.shape == routing.weights.shape == routing.gate.shape
        assert routing.experts.shape[:2] == made.tokens.shape
        assert routing.loss.shape == ()


def test_a_token_uses_distinct_experts_with_weights_that_add_up_to_one(made: Made) -> None:
    for output in (made.output, run(made.branched, made.tokens)):
        for experts, weights, gate, *_ in output.routings:
            used = experts >= 0
            assert experts.min() >= -1 and experts.max() < made.recipe.n_experts
            assert (
                ((experts.unsqueeze(-1) == experts.unsqueeze(-2)) & used.unsqueeze(-1))
                .sum((-1, -2))
                .equal(used.sum(-1))
            )
            assert (used == (weights != 0)).all() and (gate[~used] == 0).all()
            assert (gate >= 0).all() and (gate <= 1).all()
            assert used.any(-1).all() or getattr(made.file, "NULL_EXPERTS", False)
            torch.testing.assert_close(weights.sum(-1), used.any(-1).float())


def test_slots_stand_in_falling_order_of_the_gate(made: Made) -> None:
    if "hysteresis" in made.file.SETTINGS and made.recipe.top_k > 1:
        pytest.skip("experts in use come before nearer ones")
    for routing in made.output.routings:
        assert (routing.gate.diff(dim=-1) <= 0).all()
        assert ((routing.experts < 0).int().diff(dim=-1) >= 0).all()


def test_a_prefix_is_bit_identical_whatever_follows(made: Made) -> None:
    other = made.tokens.clone()
    other[:, 20:] = torch.randint(2048, other[:, 20:].shape, generator=torch.Generator().manual_seed(0))
    changed = run(made.trained, other)
    assert torch.equal(made.output.logits[:, :20], changed.logits[:, :20])
    for a, b in zip(made.output.routings, changed.routings):
        assert torch.equal(a.experts[:, :20], b.experts[:, :20])
        assert torch.equal(a.weights[:, :20], b.weights[:, :20])
        assert torch.equal(a.gate[:, :20], b.gate[:, :20])


def test_streaming_equals_one_parallel_pass(made: Made) -> None:
    past, parts = None, []
    for part in torch.split(made.tokens, [17, 1, 1, 20, 9], dim=1):
        parts.append(run(made.trained, part, past))
        past = parts[-1].past
    torch.testing.assert_close(torch.cat([p.logits for p in parts], 1), made.output.logits, atol=1e-4, rtol=1e-4)
    for layer, whole in enumerate(made.output.routings):
        pieces = [p.routings[layer] for p in parts]
        assert torch.equal(torch.cat([p.experts for p in pieces], 1), whole.experts)
        torch.testing.assert_close(torch.cat([p.gate for p in pieces], 1), whole.gate)


def test_the_branch_starts_as_the_dense_model(made: Made) -> None:
    """Up to the first token of a window that no expert computes."""
    output = run(made.branched, made.tokens)
    skipped = torch.stack([(r.experts < 0).all(-1) for r in output.routings]).any(0)  # bool (B, T)
    same = skipped.cumsum(1) == 0
    assert same.any()
    torch.testing.assert_close(output.logits[same], run(made.dense, made.tokens).logits[same], atol=1e-5, rtol=1e-4)


def test_training_is_finite_and_the_text_teaches_every_parameter_of_the_router(made: Made) -> None:
    assert len(made.losses) == made.recipe.steps and all(map(math.isfinite, made.losses))
    model = copy.deepcopy(made.trained).train()
    output = model(made.tokens)
    assert all(r.loss.isfinite() for r in output.routings)
    next_token_loss(output.logits[:, :-1], made.tokens[:, 1:]).backward()  # type: ignore[no-untyped-call]
    reached: dict[str, float] = {}
    for i in made.recipe.moe_layers:
        for name, p in model.blocks[i].router.named_parameters():
            assert p.grad is not None and p.grad.isfinite().all()
            reached[name] = reached.get(name, 0.0) + float(p.grad.abs().sum())
    assert all(reached.values())


def test_a_state_dict_carries_all_of_the_router(made: Made) -> None:
    other = training.build(replace(made.recipe, seed=7), made.file, made.file.SETTINGS)
    other.load_state_dict(made.trained.state_dict())
    again = run(other.eval(), made.tokens)
    assert torch.equal(again.logits, made.output.logits)
    assert all(torch.equal(a.experts, b.experts) for a, b in zip(again.routings, made.output.routings))


@pytest.mark.train
@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_stopped_ends_in_the_same_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 2)
    recipe = replace(RECIPE, dense_steps=1, branch_steps=3)
    tokens = torch.from_numpy(held_out_pure(2, recipe.length).tokens)
    straight, losses, *_ = training.train(recipe, name, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        training.train(recipe, name, tmp_path / "stopped", stop_after_step_3)
    resumed, again, *_ = training.train(recipe, name, tmp_path / "stopped")
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(straight.state_dict().values(), resumed.state_dict().values()))
    for a, b in zip(run(straight, tokens).routings, run(resumed, tokens).routings):
        assert torch.equal(a.experts, b.experts)


def stop_after_step_3(phase: str, step: int, last: int, loss: float) -> None:
    if step == 3:
        raise KeyboardInterrupt


# --- each router's own arithmetic -------------------------------------------------------------------------------------


def build(file: ModuleType, experts: int = 4, k: int = 1, width: int = 6, **settings: Any) -> Any:
    """One router with random weights, in evaluation mode."""
    torch.manual_seed(0)
    recipe = replace(TINY, n_experts=experts, d_model=width, top_k=k)
    router = file.Router(recipe, file.SETTINGS | settings).eval()
    for p in router.parameters():
        torch.nn.init.normal_(p)
    return router


def inputs(x: Tensor, attention: Tensor | None = None, carried: Tensor | None = None, tokens: Any = None) -> Seen:
    def given() -> Tensor:
        assert attention is not None
        return attention.unsqueeze(1)  # one head

    return Seen(x, torch.zeros(x.shape[:2], dtype=torch.int64) if tokens is None else tokens, given, carried)


def some_x(batch: int = 2, length: int = 5, width: int = 6) -> Tensor:
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(1))


def array(x: Tensor) -> Array:
    return x.detach().double().numpy()


def softmax(h: Array) -> Array:
    e = np.exp(h - h.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cv2(x: Array) -> float:
    return float(np.std(x) ** 2 / np.mean(x) ** 2)


def chance(clean: Array, noisy: Array, scale: Array, k: int) -> Array:
    """P(x, i) of Shazeer et al., eqs. 8-9, one number after the other; (N, E)."""
    out = np.empty_like(clean)
    for n, i in np.ndindex(*clean.shape):
        threshold = np.sort(np.delete(noisy[n], i))[-k]
        out[n, i] = 0.5 * (1 + math.erf((clean[n, i] - threshold) / scale[n, i] / math.sqrt(2)))
    return out


@pytest.mark.parametrize("k", [1, 2])
def test_noisy_top_k_losses_are_those_of_the_paper(k: int) -> None:
    router, x = build(noisy_top_k, k=k), some_x()
    flat = array(x).reshape(-1, 6)
    h = flat @ array(router.logits.gate.weight).T
    scale = np.log1p(np.exp(flat @ array(router.logits.noise.weight).T))
    gate = np.zeros_like(h)
    for n, row in enumerate(h):
        kept = np.argsort(-row)[:k]
        gate[n, kept] = softmax(row[kept])  # eqs. 3 and 5
    expected = 0.1 * cv2(gate.sum(0)) + 0.1 * cv2(chance(h, h, scale, k).sum(0))
    routing = router(inputs(x), None)
    assert float(routing.loss.detach()) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(array(routing.weights).reshape(-1, k), -np.sort(-gate)[:, :k], rtol=1e-5)
    only_load = build(noisy_top_k, k=k, importance_loss=0)(inputs(x), None).loss
    assert float(only_load.detach()) == pytest.approx(0.1 * cv2(chance(h, h, scale, k).sum(0)), rel=1e-4)
    assert build(noisy_top_k, k=k, importance_loss=0, load_loss=0)(inputs(x), None).loss == 0


@pytest.mark.parametrize("k", [1, 2])
def test_noisy_top_k_chance_to_stay_with_noise(k: int) -> None:
    clean, noise, scale = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(2)).unbind()
    h = noisy_top_k.Logits(clean, clean + noise, scale.abs() + 0.1)
    expected = chance(array(h.clean), array(h.noisy), array(h.scale), k)
    np.testing.assert_allclose(array(noisy_top_k.chance_to_stay(h, k)), expected, atol=1e-5)


def test_noise_is_new_in_every_step_and_absent_in_evaluation() -> None:
    router, x = build(noisy_top_k), some_x()
    assert torch.equal(router.logits(x).noisy, router.logits(x).clean)
    router.train()
    first, second = router.logits(x), router.logits(x)
    assert not torch.equal(first.noisy, second.noisy) and torch.equal(first.clean, second.clean)
    router.logits.step.zero_()
    assert torch.equal(router.logits(x).noisy, first.noisy)
    many = router.logits(torch.zeros(200, 50, 6))  # W x = 0, so noise of standard deviation log 2
    assert float(many.noisy.detach().std()) == pytest.approx(math.log(2), rel=0.03)


@pytest.mark.slow
def test_noisy_top_k_starts_with_equal_chances() -> None:
    router = noisy_top_k.Router(replace(TINY, n_experts=4, d_model=6), noisy_top_k.SETTINGS).train()
    load = torch.bincount(router(inputs(torch.ones(40, 50, 6)), None).experts.flatten(), minlength=4) / 2000
    torch.testing.assert_close(load, torch.full((4,), 0.25), atol=0.04, rtol=0)


@pytest.mark.parametrize("k", [1, 2])
def test_noisy_two_level_is_a_product_of_two_gates(k: int) -> None:
    router, x = build(noisy_two_level, experts=6, k=k), some_x()
    flat = array(x).reshape(-1, 6)
    h = [flat @ array(level.gate.weight).T for level in (router.primary, router.secondary)]
    scale = [np.log1p(np.exp(flat @ array(level.noise.weight).T)) for level in (router.primary, router.secondary)]
    outer, group = softmax(h[0]), h[0].argmax(1)
    importance, load = np.zeros(6), np.zeros(6)
    routing = router(inputs(x), None)
    for g in range(2):
        mine, columns = group == g, slice(3 * g, 3 * g + 3)
        inner = h[1][mine, columns]
        for row in inner:
            kept = np.argsort(-row)[:k]
            importance[3 * g + kept] += softmax(row[kept])  # eq. 13
        stay = chance(inner, inner, scale[1][mine, columns], k).sum(0)
        load[columns] = chance(h[0], h[0], scale[0], 1)[:, g].sum() * stay / mine.sum()  # eq. 14
        gate = outer[mine, g : g + 1] * -np.sort(-softmax(inner))[:, :k]
        np.testing.assert_allclose(array(routing.gate).reshape(-1, k)[mine], gate, rtol=1e-5)
        assert (routing.experts.reshape(-1, k)[torch.from_numpy(mine)] // 3 == g).all()
    assert float(routing.loss.detach()) == pytest.approx(0.1 * cv2(importance) + 0.1 * cv2(load), rel=1e-4)


def test_noisy_two_level_needs_groups_of_equal_size() -> None:
    with pytest.raises(UserError, match="groups is 3: it must divide the 4 experts of a layer"):
        build(noisy_two_level, groups=3)


def test_loss_free_bias_rises_for_experts_with_too_few_tokens() -> None:
    router = build(loss_free, update=0.5).train()
    with torch.no_grad():
        router.gate.weight.zero_()
        router.gate.weight[2] = 1.0
    routing = router(inputs(torch.ones(2, 5, 6)), None)
    assert (routing.experts == 2).all() and float(routing.loss.detach()) == 0
    assert router.bias.tolist() == [0.5, 0.5, -0.5, 0.5]
    router.eval()(inputs(torch.ones(2, 5, 6)), None)
    assert router.bias.tolist() == [0.5, 0.5, -0.5, 0.5]  # evaluation leaves it alone
    assert loss_free.load_shortfall(torch.tensor([[0], [0], [0], [1]]), 2).tolist() == [-1.0, 1.0]


def test_loss_free_bias_decides_the_choice_but_not_the_weight() -> None:
    router, x = build(loss_free, k=2), some_x()
    s = 1 / (1 + np.exp(-array(x) @ array(router.gate.weight).T))
    router.bias[3] = 10.0
    routing = router(inputs(x), None)
    assert (routing.experts == 3).any(-1).all()
    gate = np.take_along_axis(s, routing.experts.numpy(), -1)
    np.testing.assert_allclose(array(routing.gate), gate, rtol=1e-5)
    np.testing.assert_allclose(array(routing.weights), gate / gate.sum(-1, keepdims=True), rtol=1e-5)


@pytest.mark.slow
def test_cosine_sees_directions_only() -> None:
    router, x = build(cosine), some_x()
    tau = float(router.log_temperature.detach().exp())
    token, expert = array(x) @ array(router.project.weight).T, array(router.embedding)
    cosines = token @ expert.T / np.linalg.norm(token, axis=-1)[..., None] / np.linalg.norm(expert, axis=-1)
    routing = router(inputs(x), None)
    np.testing.assert_allclose(array(routing.gate)[..., 0], softmax(cosines / tau).max(-1), rtol=1e-4)
    with torch.no_grad():
        router.embedding *= torch.tensor([0.1, 1.0, 5.0, 20.0]).unsqueeze(1)
    longer = router(inputs(x * 7), None)
    assert torch.equal(routing.experts, longer.experts)
    torch.testing.assert_close(routing.gate, longer.gate)


def test_cosine_starts_at_the_temperature_of_its_settings_on_a_small_sphere() -> None:
    router = cosine.Router(replace(TINY, n_experts=8, d_model=6), cosine.SETTINGS | {"temperature": 0.25})
    assert float(router.log_temperature.detach().exp()) == pytest.approx(0.25)
    assert router.embedding.shape == (8, 4)


def test_online_kmeans_moves_a_centroid_towards_the_mean_of_its_tokens() -> None:
    router = build(online_kmeans, experts=3, width=2, decay=0.9, update=0.25)
    router.centroids.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
    router.update(
        torch.tensor([[3.0, 0.0], [1.0, 2.0], [0.0, 5.0]], dtype=torch.float64), torch.tensor([[0], [0], [1]])
    )
    expected = torch.tensor([[1.1, 0.1], [0.0, 1.4], [-1.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(router.centroids, expected)  # the third has no token and stays
    assert router.bias.tolist() == [-0.25, 0.0, 0.25]


def test_online_kmeans_chooses_the_nearest_direction() -> None:
    router, x = build(online_kmeans, k=2), some_x()
    h = array(x) - array(x).mean(-1, keepdims=True)
    c = array(router.centroids)
    cosines = h @ c.T / np.linalg.norm(h, axis=-1)[..., None] / np.linalg.norm(c, axis=-1)
    routing = router(inputs(x), None)
    assert (routing.experts.numpy() == np.argsort(-cosines, -1)[..., :2]).all()
    np.testing.assert_allclose(array(routing.gate), -np.sort(-softmax(cosines / 0.1))[..., :2], rtol=1e-3)
    before = router.centroids.clone()
    router(inputs(x), None)
    assert torch.equal(before, router.centroids)
    router.train()(inputs(x), None)
    assert not torch.equal(before, router.centroids) and not list(router.parameters())


def test_attention_aware_with_identity_attention_is_a_plain_softmax_gate() -> None:
    router, x = build(attention_aware, k=2), some_x()
    p = softmax(array(x) @ array(router.gate.weight).T)
    routing = router(inputs(x, torch.eye(5).expand(2, 5, 5)), None)
    assert (routing.experts.numpy() == np.argsort(-p, -1)[..., :2]).all()
    np.testing.assert_allclose(array(routing.gate), -np.sort(-p)[..., :2], rtol=1e-5)


def test_attention_aware_mixes_the_gates_of_earlier_tokens() -> None:
    router, x = build(attention_aware), some_x()
    attention = torch.ones(2, 5, 5).tril()
    attention /= attention.sum(-1, keepdim=True)
    p = softmax(array(x) @ array(router.gate.weight).T)
    running_mean = p.cumsum(1) / np.arange(1, 6)[:, None]
    start = router(inputs(x[:, :3], attention[:, :3, :3]), None)
    rest = router(inputs(x[:, 3:], attention[:, 3:]), start.state)
    assert start.state.shape == (2, 3, 4) and rest.state.shape == (2, 5, 4)
    np.testing.assert_allclose(array(rest.gate)[..., 0], running_mean[:, 3:].max(-1), rtol=1e-5)


def test_top_p_takes_the_smallest_set_that_reaches_the_threshold() -> None:
    top = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.3, 0.3, 0.2, 0.2], [0.25, 0.25, 0.25, 0.25]])
    assert top_p.smallest_set(top, 0.55).sum(-1).tolist() == [2, 2, 3]
    router, x = build(top_p, experts=8, threshold=0.6, most=3), some_x(4, 20)
    p = -np.sort(-softmax(array(x) @ array(router.gate.weight).T), -1)  # falling
    routing = router(inputs(x), None)
    needed = (p.cumsum(-1) < 0.6).sum(-1) + 1
    assert ((routing.experts >= 0).sum(-1).numpy() == np.minimum(needed, 3)).all()
    assert routing.experts.shape[-1] == 3 and needed.min() == 1 and needed.max() >= 3
    assert (build(top_p, threshold=1e-9)(inputs(x), None).experts >= 0).sum(-1).unique().tolist() == [1]


def test_top_p_losses() -> None:
    router, x = build(top_p, experts=8, threshold=0.6), some_x(4, 20)
    p = softmax(array(x) @ array(router.gate.weight).T).reshape(-1, 8)
    routing = router(inputs(x), None)
    share = np.array([(routing.experts == i).any(-1).float().mean() for i in range(8)])
    entropy = -(p * np.log(p)).sum(-1).mean()
    expected = 0.01 * 8 * (share * p.mean(0)).sum() + 1e-4 * entropy
    assert float(routing.loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_a_chosen_null_expert_is_minus_one() -> None:
    router = build(null_experts, experts=4, n_null=2, extra=1)
    with torch.no_grad():
        router.gate.weight.zero_()
        router.gate.weight[:, :4] = torch.tensor(
            [[9.0, 1, 0, 0], [8, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 9, 9, 0], [0, 0, 8, 0]]
        )
    routing = router(inputs(torch.eye(6)[None, :3]), None)  # two true experts; a null and a true one; two nulls
    assert routing.experts.tolist() == [[[0, 1], [0, -1], [-1, -1]]]
    assert routing.weights.sum(-1).tolist() == [[1.0, 1.0, 0.0]]
    assert routing.weights[0, 1].tolist() == [1.0, 0.0]
    assert (routing.gate[routing.experts < 0] == 0).all()


def test_null_experts_count_as_one_class_in_the_balancing_loss() -> None:
    chosen = torch.tensor([[[0, 4], [1, 4], [4, 0], [2, 4]]])  # the second null, 5, is never chosen
    p = torch.tensor([0.3, 0.2, 0.1, 0.1, 0.2, 0.1]).expand(1, 4, 6)
    share = np.array([2, 1, 1, 0, 2, 2]) / 8
    expected = 6 * (share * p[0, 0].numpy()).sum()
    assert float(null_experts.balance_loss(p, chosen, 4)) == pytest.approx(expected, rel=1e-5)
    assert float(balance_loss(p, chosen)) != pytest.approx(expected, rel=1e-5)


def test_recurrent_router_goes_on_from_the_previous_layer() -> None:
    router, x = build(recurrent, width=6), some_x()
    first: Routing = router(inputs(x), None)
    assert first.carried is not None and first.carried.shape == (2, 5, 32)
    p = softmax(array(first.carried) @ array(router.gate.weight).T)
    np.testing.assert_allclose(array(first.gate)[..., 0], p.max(-1), rtol=1e-4)
    zeros = router(inputs(x, carried=torch.zeros(2, 5, 32)), None)
    assert torch.equal(first.gate, zeros.gate)
    second = router(inputs(x, carried=first.carried), None)
    assert not torch.equal(first.gate, second.gate)
    second.weights.sum().backward()
    assert router.cell.weight_hh.grad.abs().sum() > 0


def test_recurrent_state_reaches_the_earlier_layer_by_gradient() -> None:
    router, x = build(recurrent, width=6), some_x()
    before = torch.zeros(2, 5, 32, requires_grad=True)
    router(inputs(x, carried=before), None).weights.sum().backward()
    assert before.grad is not None and before.grad.abs().sum() > 0


def test_hash_table_gives_the_most_frequent_token_left_to_the_emptiest_expert() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([5, 4, 3, 3, 2, 1])
    table = hash_token.balanced(counts, 2, 1, rng)[:, 0]
    assert np.bincount(table, counts).tolist() == [9.0, 9.0]
    zipf = (10_000 / np.arange(1, 2049)).astype(np.int64)
    for k in (1, 3):
        table = hash_token.balanced(zipf, 8, k, rng)
        load = np.bincount(table.ravel(), zipf.repeat(k), 8)
        assert load.max() - load.min() <= 0.02 * load.mean()
        assert all(len(set(row)) == k for row in table.tolist())


def test_hash_router_looks_at_the_token_alone() -> None:
    router = build(hash_token, k=2)
    tokens = torch.tensor([[5, 6, 5], [6, 6, 5]])
    routing = router(inputs(some_x(2, 3), tokens=tokens), None)
    assert torch.equal(routing.experts, router.table[tokens])
    assert (routing.weights == 0.5).all() and not list(router.parameters())


def test_offsets_let_every_centroid_be_among_the_nearest_as_often_as_any_other() -> None:
    rng = np.random.default_rng(3)
    points, centroids = rng.normal(size=(4000, 3)), rng.normal(size=(24, 3)) * rng.uniform(0.2, 1.8, (24, 1))
    d2, k = squared_distances(points, centroids), 6

    def share(b: np.ndarray) -> np.ndarray:
        return np.bincount(np.argsort(d2 + b, -1)[:, :k].ravel(), minlength=24) * 24 / (4000 * k)

    balanced = oracle_balanced.offsets(d2, k, {"rounds": 400, "step": 0.1})
    assert share(np.zeros(24)).min() < 0.3 and share(np.zeros(24)).max() > 1.7
    assert share(balanced).min() > 0.9 and share(balanced).max() < 1.1
    assert not oracle_balanced.offsets(d2, 24, {"rounds": 10, "step": 0.1}).any()  # all are chosen: nothing to balance
