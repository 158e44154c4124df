"""Trains the bundled models: a dense warm-up, then branches that turn it into a Mixture of Experts and go on.

The Oracle-MoE paper (section 3) warms up a token-level MoE; here the warm-up is dense and its feed-forward weights,
with their Adam moments, are copied to every expert ("sparse upcycling", Komatsuzaki et al. 2022), so that all branches
start from the same model. Everything is a function of the recipe: with one thread the same recipe gives the same bits,
and a run that stopped goes on from its last checkpoint to the same result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from simmoe.simulator.files import atomic
from simmoe.workloads.oracle_moe import routers
from simmoe.workloads.oracle_moe.backbone import GPT, next_token_loss
from simmoe.workloads.oracle_moe.recipe import Recipe, digest
from simmoe.workloads.oracle_moe.text.windows import training_batch

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
    seconds: float = 0.0  # of wall time spent on this phase

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path, "wb") as stream:
            torch.save(self.__dict__, stream)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        return cls(**torch.load(path, weights_only=True))


class Trained(NamedTuple):
    model: GPT
    losses: list[float]  # nats per token of every step, warm-up and branch
    seconds: list[float]  # of wall time, of warm-up and of branch


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
    path = work_dir / f"warm-up-{recipe.warm_up_digest()[:16]}.pt"
    torch.manual_seed(recipe.seed)
    start = Checkpoint(0, GPT(recipe).state_dict(), {}, [])
    return _train(GPT(recipe), start, recipe, recipe.dense_steps, "warm-up", path, progress)


def train(
    recipe: Recipe,
    router: str,
    work_dir: Path,
    progress: Progress | None = None,
    settings: dict[str, Any] | None = None,
) -> Trained:
    """The finished model of one branch, in evaluation mode. `settings` replaces some of the router file's SETTINGS."""
    with one_thread():
        file = routers.find(router)
        chosen = file.SETTINGS | (settings or {})
        name = routers.full_name(router)
        path = work_dir / f"{name}-{digest(recipe.describe(name, chosen))[:16]}.pt"
        warm = train_dense(recipe, work_dir, progress)
        model = build(recipe, file, chosen)
        start = warm if path.exists() else branch(warm, model, recipe, file)
        done = _train(model, start, recipe, recipe.steps, name, path, progress)
        model.load_state_dict(done.model)
        return Trained(model.eval(), warm.losses + done.losses, [warm.seconds, done.seconds])


def build(recipe: Recipe, file: Any, settings: dict[str, Any]) -> GPT:
    """A model with that router file's routers at the recipe's MoE layers, untrained."""
    torch.manual_seed(recipe.seed + 1)
    if file.Router is None:
        return GPT(recipe)
    return GPT(recipe, {i: file.Router(recipe, settings) for i in recipe.moe_layers})


def branch(warm: Checkpoint, model: GPT, recipe: Recipe, file: Any) -> Checkpoint:
    """The warm-up's weights and moments, repeated for every expert, in a model whose routers are fitted."""
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    names = {name.replace(".shared.", ".ffn."): name for name in shapes if ".shared." in name}
    everything = {**warm.model, **{shared: warm.model[dense] for dense, shared in names.items()}}
    fresh = model.state_dict()
    model.load_state_dict(fresh | {n: widen(n, v, shapes[n]) for n, v in everything.items() if n in fresh})
    windows = training_batch(
        recipe.seed, FIT_STEP, recipe.fit_windows, recipe.length, (recipe.snippet_least, recipe.snippet_most)
    )[:, :-1]
    file.fit([b.router for b in model.blocks if b.router is not None], model, torch.from_numpy(windows), recipe.seed)
    moments = {**warm.moments, **{shared: warm.moments[dense] for dense, shared in names.items()}}
    wide = {n: [widen(n, v, shapes[n]) for v in values] for n, values in moments.items()}
    return Checkpoint(warm.step, model.state_dict(), wide, [])


def widen(name: str, value: Tensor, shape: torch.Size) -> Tensor:
    """A dense parameter (1, …) or its moment, cut into slices along its FFN width and repeated over the experts."""
    if value.dim() == 0 or value.shape == shape:
        return value.clone()
    width = {"w1": 2, "b1": 1, "w2": 1}.get(name.rpartition(".")[2])
    if width is None:
        return value.expand(shape).clone()
    slices = torch.cat(torch.split(value, shape[width], width))  # (slices, …)
    return slices.repeat(-(-shape[0] // len(slices)), *[1] * (value.dim() - 1))[: shape[0]].clone()


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, constant to the end of the dense phase, then a cosine down to final_lr over the branch.

    So the dense phase does not depend on how long a branch is, and branches of any length share it.
    """
    if step < recipe.dense_steps:
        return recipe.peak_lr * min(1.0, (step + 1) / recipe.lr_warmup_steps)
    done = (step - recipe.dense_steps) / recipe.branch_steps
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
    began = time.perf_counter() - start.seconds
    now = start
    for step in range(start.step, last):
        losses.append(_step(model, optimizer, recipe, step))
        if progress:
            progress(phase, step + 1, last, losses[-1])
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == last:
            now = _checkpoint(step + 1, model, optimizer, losses, time.perf_counter() - began)
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


def _checkpoint(
    step: int, model: GPT, optimizer: torch.optim.Optimizer, losses: list[float], seconds: float
) -> Checkpoint:
    state = {name: optimizer.state[p] for name, p in model.named_parameters() if p in optimizer.state}
    moments = {name: [s["exp_avg"].clone(), s["exp_avg_sq"].clone(), s["step"].clone()] for name, s in state.items()}
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return Checkpoint(step, weights, moments, list(losses), seconds)
