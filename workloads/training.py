"""Trains the bundled models: a dense warm-up, then branches that turn it into a Mixture of Experts and go on.

The Oracle-MoE paper (section 3) warms up a token-level MoE; here the warm-up is dense and its feed-forward weights,
with their Adam moments, are copied to every expert ("sparse upcycling", Komatsuzaki et al. 2022), so that all branches
start from the same model. Everything is a function of the recipe: with one thread the same recipe gives the same bits,
and a run that stopped goes on from its last checkpoint to the same result.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simmoe.workloads import routers
from simmoe.workloads.backbone import GPT, next_token_loss
from simmoe.workloads.recipe import Recipe, digest
from simmoe.workloads.text import VOCABULARY
from simmoe.workloads.text.windows import training_batch

Progress = Callable[[str, int, int, float], None]
CHECKPOINT_EVERY = 100  # steps
FIT_STEP = 1 << 30  # a step number no training batch has: the windows on which routers are fitted


@dataclass(frozen=True)
class Checkpoint:
    """A model between two steps."""

    step: int
    model: dict[str, Tensor]
    moments: dict[str, list[Tensor]]  # Adam: parameter name -> [first moment, second moment, number of updates]
    losses: list[float]  # of every step of this phase

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        torch.save(self.__dict__, temporary)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        return cls(**torch.load(path, weights_only=True))


@contextmanager
def one_thread() -> Iterator[None]:
    """The order of floating-point sums depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_dense(recipe: Recipe, work_dir: Path, progress: Progress | None = None) -> Checkpoint:
    """The dense warm-up, shared by all branches of a recipe."""
    path = work_dir / f"warm-up-{digest(recipe.describe('warm-up', {}))[:16]}.pt"
    torch.manual_seed(recipe.seed)
    start = Checkpoint(0, GPT(recipe).state_dict(), {}, [])
    return _train(GPT(recipe), start, recipe, recipe.dense_steps, "warm-up", path, progress)


def train(recipe: Recipe, router: str, work_dir: Path, progress: Progress | None = None) -> tuple[GPT, list[float]]:
    """The finished model of one branch, in evaluation mode, and the losses of all its steps."""
    with one_thread():
        warm = train_dense(recipe, work_dir, progress)
        file = routers.find(router)
        name = digest(recipe.describe(routers.full_name(router), file.SETTINGS))[:16]
        path = work_dir / f"{routers.full_name(router)}-{name}.pt"
        model = build(recipe, file)
        start = warm if path.exists() else branch(warm, model, recipe, file)
        done = _train(model, start, recipe, recipe.steps, routers.full_name(router), path, progress)
        model.load_state_dict(done.model)
        return model.eval(), warm.losses + done.losses


def build(recipe: Recipe, file: Any) -> GPT:
    """A model with that router file's routers at the recipe's MoE layers, untrained."""
    torch.manual_seed(recipe.seed + 1)
    if file.Router is None:
        return GPT(recipe)
    return GPT(recipe, {i: file.Router(recipe.d_model, recipe.n_experts, VOCABULARY) for i in recipe.moe_layers})


def branch(warm: Checkpoint, model: GPT, recipe: Recipe, file: Any) -> Checkpoint:
    """The warm-up's weights and moments, repeated for every expert, in a model whose routers are fitted."""
    shapes = {name: value.shape for name, value in model.state_dict().items()}

    def widen(name: str, value: Tensor) -> Tensor:
        return value.expand(shapes[name]).clone() if name in shapes and value.dim() else value

    model.load_state_dict({**model.state_dict(), **{name: widen(name, value) for name, value in warm.model.items()}})
    windows = training_batch(
        recipe.seed, FIT_STEP, recipe.fit_windows, recipe.length, (recipe.snippet_least, recipe.snippet_most)
    )[:, :-1]
    file.fit([b.router for b in model.blocks if b.router is not None], model, torch.from_numpy(windows), recipe.seed)
    moments = {name: [widen(name, value) for value in values] for name, values in warm.moments.items()}
    return Checkpoint(warm.step, model.state_dict(), moments, [])


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then a cosine down to final_lr over warm-up phase and branch together."""
    if step < recipe.lr_warmup_steps:
        return recipe.peak_lr * (step + 1) / recipe.lr_warmup_steps
    done = (step - recipe.lr_warmup_steps) / max(1, recipe.steps - recipe.lr_warmup_steps)
    return recipe.peak_lr * (recipe.final_lr + (1 - recipe.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))


def _train(
    model: GPT, start: Checkpoint, recipe: Recipe, last: int, phase: str, path: Path, progress: Progress | None
) -> Checkpoint:
    """Train from `start`, or from the checkpoint at `path` if there is one, up to step `last`."""
    if path.exists():
        start = Checkpoint.load(path)
    model.load_state_dict(start.model)
    model.train()
    optimizer = _optimizer(model, start, recipe)
    losses = list(start.losses)
    now = start
    for step in range(start.step, last):
        losses.append(_step(model, optimizer, recipe, step))
        if progress:
            progress(phase, step + 1, last, losses[-1])
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == last:
            now = _checkpoint(step + 1, model, optimizer, losses)
            now.save(path)
    return now


def _step(model: GPT, optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> float:
    batch = torch.from_numpy(
        training_batch(recipe.seed, step, recipe.batch, recipe.length, (recipe.snippet_least, recipe.snippet_most))
    )  # (B, T + 1)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, step)
    output = model(batch[:, :-1])
    loss = next_token_loss(output.logits, batch[:, 1:])
    total = loss
    for routing in output.routings:
        total = total + routing.loss
    optimizer.zero_grad()
    total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return float(loss.detach())


def _optimizer(model: GPT, start: Checkpoint, recipe: Recipe) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.peak_lr,
        betas=(recipe.beta1, recipe.beta2),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    for name, parameter in model.named_parameters():
        if name in start.moments:
            first, second, updates = start.moments[name]
            optimizer.state[parameter] = {
                "exp_avg": first.clone(),
                "exp_avg_sq": second.clone(),
                "step": updates.clone(),
            }
    return optimizer


def _checkpoint(step: int, model: GPT, optimizer: torch.optim.Optimizer, losses: list[float]) -> Checkpoint:
    state = {name: optimizer.state[p] for name, p in model.named_parameters() if p in optimizer.state}
    moments = {name: [s["exp_avg"].clone(), s["exp_avg_sq"].clone(), s["step"].clone()] for name, s in state.items()}
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return Checkpoint(step, weights, moments, list(losses))
