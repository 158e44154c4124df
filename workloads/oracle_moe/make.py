"""Makes a trace: train a small model (or reuse its checkpoints), route held-out text, write trace format v1.

    make(zoo.entry("oracle"), Path("oracle.npz"), work_dir=Path("work"))

Every router sees the same held-out tokens in the same passes, so that traces differ in the routing only: sequences of
one held-out document each, interleaved over the domains, as one prefill pass and then one decode pass per token.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from simmoe.simulator.files import atomic
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.format import trace as trace_format
from simmoe.workloads.oracle_moe import foresight, quality, routers, training
from simmoe.workloads.oracle_moe.backbone import GPT, next_token_loss
from simmoe.workloads.oracle_moe.recipe import Recipe, digest
from simmoe.workloads.oracle_moe.text.windows import held_out_mixed, held_out_pure
from simmoe.workloads.oracle_moe.zoo import Entry

SCHEMA_VERSION = 1
QUALITY_WINDOWS = 196  # held-out windows on which quality is measured: 28 per domain
ABRUPT = (16, 32)  # tokens of a snippet in the mixed held-out windows
CURVE_EVERY = 10  # steps that one point of a saved loss curve averages


class Routes(NamedTuple):
    """What a model does with windows of text."""

    ids: npt.NDArray[np.int16]  # [sequences, T, layers, k], experts
    gate: npt.NDArray[np.float16]  # [sequences, T, layers, k], their probabilities
    perplexity: float  # exp of the mean next-token loss


def make(entry: Entry, out: Path, *, work_dir: Path, progress: training.Progress | None = None) -> Trace | None:
    """Train, measure, route, save to `out`; beside it `<stem>.training.json`. A dense model leaves no trace.

    Checkpoints in `work_dir` are reused; a warm-up by every entry that can share it.
    """
    recipe = entry.recipe
    trained = training.train(recipe, entry.router, work_dir, progress, entry.settings)
    figures = measure(trained.model, recipe)
    meta = describe(entry) | {"proxy_ppl": figures["proxy_ppl"], "quality": figures, "top_k": recipe.top_k}
    saved = None
    if routers.find(entry.router).Router is not None:
        tokens = held_out_pure(recipe.trace_sequences, recipe.length).tokens
        routes = route(trained.model, tokens)
        meta["top_k"] = routes.ids.shape[-1]  # a router with a varying number has more slots
        meta |= {"text_tokens": hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest()}
        guesses = foresight.guess(trained.model, recipe, tokens) if entry.guesses else None
        saved = trace_format.save(as_trace(recipe, routes, meta, guesses), out)
    save_training(out.with_suffix(".training.json"), recipe, trained, meta)
    return saved


def describe(entry: Entry) -> dict[str, Any]:
    """`meta` but for what is measured, the text and the digest."""
    recipe, file = entry.recipe, routers.find(entry.router)
    description = recipe.describe(routers.full_name(entry.router), file.SETTINGS | entry.settings)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": f"oracle-moe-{recipe.name}",
        "router": routers.full_name(entry.router),
        "n_experts": recipe.n_experts,
        "null_experts": getattr(file, "NULL_EXPERTS", False),
        "seed": recipe.seed,
        "corpus": description["corpus"],
        "recipe": description,
        "recipe_digest": digest(description),
    }


def route(model: GPT, tokens: npt.NDArray[np.int64], batch: int = 4) -> Routes:
    """Teacher-forced routing of every token in every MoE layer; tokens int64 [sequences, T]."""
    ids, gates, loss = [], [], 0.0
    with torch.no_grad(), training.one_thread():
        for part in torch.split(torch.from_numpy(tokens), batch):
            logits, routings, _ = model(part)
            loss += float(next_token_loss(logits[:, :-1], part[:, 1:])) * len(part) / len(tokens)
            none = [torch.empty(*part.shape, 0)]  # a dense model has no columns
            ids.append(torch.stack([r.experts for r in routings] or none, 2).numpy().astype(np.int16))
            gates.append(torch.stack([r.gate for r in routings] or none, 2).numpy().astype(np.float16))
    return Routes(np.concatenate(ids), np.concatenate(gates), math.exp(loss))


def as_trace(recipe: Recipe, routes: Routes, meta: dict[str, Any], guesses: foresight.Guesses | None) -> Trace:
    """Sequences laid end to end; in each, one prefill pass and then one decode pass per token."""
    sequences, length = routes.ids.shape[:2]
    per_sequence = [recipe.prefill] + [1] * (length - recipe.prefill)
    phase = [PREFILL] + [DECODE] * (length - recipe.prefill)
    optional: dict[str, Any] = {}
    if guesses is not None:
        optional = {
            "gate_weights": routes.gate.reshape(sequences * length, *routes.gate.shape[2:]),
            "predict_lead": guesses.lead,
            "predicted_ids": guesses.ids,
        }
    return Trace(
        expert_ids=routes.ids.reshape(sequences * length, *routes.ids.shape[2:]),
        layer_index=np.array(recipe.moe_layers, np.int16),
        pass_ptr=np.concatenate([[0], np.cumsum(per_sequence * sequences)]).astype(np.int64),
        phase=np.array(phase * sequences, np.int8),
        sequence=np.repeat(np.arange(sequences), length).astype(np.int32),
        position=np.tile(np.arange(length), sequences).astype(np.int32),
        meta=meta,
        **optional,
    )


def measure(model: GPT, recipe: Recipe) -> dict[str, Any]:
    """`meta.quality`: held-out perplexity of the small model, and its routing on pure and on mixed text."""
    pure = held_out_pure(QUALITY_WINDOWS, recipe.length)
    mixed = held_out_mixed(recipe.seed, QUALITY_WINDOWS, recipe.length, ABRUPT)
    a, b = route(model, pure.tokens), route(model, mixed.tokens)
    figures: dict[str, Any] = {
        "proxy_ppl": round(a.perplexity, 3),
        "proxy_ppl_mixed": round(b.perplexity, 3),
        "held_out_tokens": pure.tokens.size,
    }
    if a.ids.size:
        figures |= quality.summary(a.ids, b.ids, a.gate, recipe.n_experts, pure.domain, mixed.domain)
        figures |= foresight.figures(model, pure.tokens)
    return figures


def save_training(path: Path, recipe: Recipe, trained: training.Trained, meta: dict[str, Any]) -> None:
    """The recipe, what it reached, how long it took, and the loss averaged over CURVE_EVERY steps."""
    losses = trained.losses
    points = [round(float(np.mean(losses[i : i + CURVE_EVERY])), 4) for i in range(0, len(losses), CURVE_EVERY)]
    record = meta | {
        "warm_up_seconds": round(trained.seconds[0]),
        "branch_seconds": round(trained.seconds[1]),
        "steps_per_point": CURVE_EVERY,
        "tokens_per_step": recipe.batch * recipe.length,
        "loss_nats_per_token": points,
    }
    with atomic(path) as stream:
        stream.write(json.dumps(record, sort_keys=True) + "\n")
