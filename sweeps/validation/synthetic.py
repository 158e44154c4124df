"""Routing made up from one published number, for cases whose routing was not published.

Every layer draws on its own. Each expert of a token stays for the next one with probability `reuse`; the others are drawn
evenly from those that the last token did not use. So a cache of k experts per layer that holds the last token's hits with
probability `reuse`, whatever else it does. Guesses for the next layer name a true expert with probability `recall`, else another.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simmoe.simulator.nouns.model import ModelShape
from simmoe.simulator.nouns.trace import DECODE, Trace

SEED = 0


def routing(model: ModelShape, tokens: int, reuse: float | None, recall: float | None = None) -> Trace:
    """One sequence of `tokens` decode passes. reuse None: every token draws anew."""
    rng = np.random.default_rng(SEED)
    layers, n_experts, k = len(model.moe_layers), model.layers[model.moe_layers[0]].n_experts, model.top_k
    ids = np.empty((tokens, layers, k), np.int16)
    ids[0] = _draw(rng, np.zeros((layers, n_experts), bool), k)
    for token in range(1, tokens):
        before = ids[token - 1]
        ids[token] = (
            _next(rng, before, n_experts, reuse)
            if reuse is not None
            else _draw(rng, np.zeros((layers, n_experts), bool), k)
        )
    guesses = None if recall is None else _guesses(rng, ids, n_experts, recall)
    return Trace(
        expert_ids=ids, layer_index=np.array(model.moe_layers, np.int16), pass_ptr=np.arange(tokens + 1),
        phase=np.full(tokens, DECODE, np.int8), sequence=np.zeros(tokens, np.int32), position=np.arange(tokens, dtype=np.int32),
        meta={"n_experts": n_experts, "top_k": k, "model": model.name},
        predict_lead=None if guesses is None else np.ones(1, np.int16), predicted_ids=guesses,
    )  # fmt: skip


def _next(
    rng: np.random.Generator, before: npt.NDArray[np.int16], n_experts: int, reuse: float
) -> npt.NDArray[np.int16]:
    """int16 [layers, k]: the next token's experts."""
    used = np.zeros((len(before), n_experts), bool)
    np.put_along_axis(used, before.astype(np.int64), True, axis=1)
    return np.where(rng.random(before.shape) < reuse, before, _draw(rng, used, before.shape[1]))


def _draw(rng: np.random.Generator, barred: npt.NDArray[np.bool_], k: int) -> npt.NDArray[np.int16]:
    """int16 [layers, k]: k different experts of each layer that are not barred."""
    order = np.argsort(rng.random(barred.shape) + barred, axis=1)
    return order[:, :k].astype(np.int16)


def _guesses(
    rng: np.random.Generator, ids: npt.NDArray[np.int16], n_experts: int, recall: float
) -> npt.NDArray[np.int16]:
    """int16 [1, tokens, layers, k] of lead 1; nothing is known before the first layer."""
    tokens, layers, k = ids.shape
    flat = ids.reshape(-1, k)
    used = np.zeros((len(flat), n_experts), bool)
    np.put_along_axis(used, flat.astype(np.int64), True, axis=1)
    guesses = np.where(rng.random(flat.shape) < recall, flat, _draw(rng, used, k)).reshape(1, tokens, layers, k)
    guesses[:, :, 0] = -1
    return guesses
