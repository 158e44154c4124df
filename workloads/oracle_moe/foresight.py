"""How far ahead a layer's experts can be told by a linear rule on states that are known earlier (Oracle-MoE, section 5.4).

Two uses: figures for a trace's `meta.quality` (accuracy from token states and from pooled states), and the guesses that
a trace carries for prefetching (`predict_lead`, `predicted_ids`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simmoe.workloads.locality import distance, prediction
from simmoe.workloads.oracle_moe.backbone import GPT, Routing
from simmoe.workloads.oracle_moe.oracle_space import moving_average
from simmoe.workloads.oracle_moe.quality import used
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.text.windows import training_batch

LEADS = (0, 1, 2)  # 0: from the previous token; n: from the same token, n MoE layers before
LEAST_GUESSES = 2  # experts guessed per token and layer, or top-k where that is more
RIDGE = 1.0  # added to the diagonal of the features' scatter
LEARNING_STEP = (1 << 30) + 1  # a step number no training batch has: the windows on which the guesses are learned
LEARNING_WINDOWS = 64
FIGURE_WINDOWS = 63  # of the held-out windows, 9 per domain
POOL = 0.9  # decay of the moving average that makes a pooled state
Array = npt.NDArray[np.float64]


class Guesses(NamedTuple):
    lead: npt.NDArray[np.int16]  # [P]
    ids: npt.NDArray[np.int16]  # [P, tokens, layers, p], -1 where there is no guess


class Watched(NamedTuple):
    """What entered the MoE layers and what the routers said: layers in front."""

    states: npt.NDArray[np.float32]  # [layers, sequences, T, d], the residual stream at the start of the layer
    ids: npt.NDArray[np.int16]  # [layers, sequences, T, k]
    space: list[Array | None]  # per layer [sequences, T, r], where the router has a space of its own


def look(model: GPT, tokens: npt.NDArray[np.int64]) -> Watched:
    """Runs the model over windows int64 [sequences, T]."""
    blocks = [block for block in model.blocks if block.router is not None]
    entered: list[list[Tensor]] = [[] for _ in blocks]
    hooks = [b.register_forward_pre_hook(lambda _, a, rows=rows: rows.append(a[0])) for b, rows in zip(blocks, entered)]
    said: list[list[Routing]] = []
    with torch.no_grad():
        for part in torch.split(torch.from_numpy(tokens), 4):
            said.append(model(part).routings)
    for hook in hooks:
        hook.remove()
    by_layer = list(zip(*said))
    return Watched(
        torch.stack([torch.cat(rows) for rows in entered]).numpy(),
        torch.stack([torch.cat([r.experts for r in rows]) for rows in by_layer]).numpy().astype(np.int16),
        [None if rows[0].space is None else np.concatenate([r.space for r in rows]) for rows in by_layer],
    )


def figures(model: GPT, tokens: npt.NDArray[np.int64]) -> dict[str, Any]:
    """`meta.quality.predictability` and `.distance`, on the first held-out windows."""
    seen = look(model, tokens[:FIGURE_WINDOWS])
    layers, n, t, d = seen.states.shape
    groups = np.repeat(np.arange(n), t)
    first = seen.ids[..., 0].reshape(layers, n * t).T  # (n·T, layers)
    flat = seen.states.reshape(layers * n, t, d).astype(np.float64)
    pooled = moving_average(flat, POOL, np.zeros((layers * n, d)), 0.0)[0]
    predictability = {
        name: _rounded(prediction.from_states(x.transpose(1, 0, 2), first, groups))
        for name, x in (("token", flat.reshape(layers, n * t, d)), ("pooled", pooled.reshape(layers, n * t, d)))
    }
    return {"predictability": predictability, "distance": _distances(seen, groups)}


def _distances(seen: Watched, groups: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Per layer, the curve of "another expert" over the distance of states, and over that in the router's own space."""
    found: dict[str, Any] = {"token_state": [], "oracle_space": []}
    for ids, states, space in zip(seen.ids, seen.states, seen.space):
        for name, x in {"token_state": states, "oracle_space": space}.items():
            if x is not None:
                flat = x.reshape(len(groups), -1)
                curve = distance.random_pairs(flat, ids.reshape(len(groups), 1, -1), groups)
                found[name].append(_rounded(curve or {}))
    return {name: curves for name, curves in found.items() if curves}


def guess(model: GPT, recipe: Recipe, tokens: npt.NDArray[np.int64]) -> Guesses:
    """Least squares from the state that enters a layer to the experts of a later one, or of the next token."""
    snippet = (recipe.snippet_least, recipe.snippet_most)
    learning = training_batch(recipe.seed, LEARNING_STEP, LEARNING_WINDOWS, recipe.length, snippet)[:, :-1]
    past, now = look(model, learning), look(model, tokens)
    count = max(LEAST_GUESSES, recipe.top_k)
    ids = np.full((len(LEADS), *tokens.shape, len(now.states), count), -1, np.int16)
    for i, lead in enumerate(LEADS):
        for layer in range(lead, len(now.states)):
            known, told = (slice(None, -1), slice(1, None)) if lead == 0 else (slice(None), slice(None))
            y = used(past.ids[layer][:, told, None], recipe.n_experts)[:, :, 0].reshape(-1, recipe.n_experts)
            weights = _ridge(_features(past.states[layer - lead][:, known]), y.astype(np.float64))
            scores = _features(now.states[layer - lead][:, known]) @ weights  # (n·T, E)
            best = np.argsort(-scores, 1, kind="stable")[:, :count]
            ids[i, :, told, layer] = best.reshape(len(tokens), -1, count)
    return Guesses(np.array(LEADS, np.int16), ids.reshape(len(LEADS), -1, *ids.shape[3:]))


def _features(states: npt.NDArray[np.float32]) -> Array:
    """(n·T, d + 1), layer-normed, with a one."""
    x = states.reshape(-1, states.shape[-1]).astype(np.float64)
    normed = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    return np.hstack([normed, np.ones((len(x), 1))])


def _ridge(x: Array, y: Array) -> Array:
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return np.asarray(weights, np.float64)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value
