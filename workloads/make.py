"""Makes a bundled trace: train a small model (or reuse its checkpoints), route held-out text, write trace format v1.

    make_trace("oracle", Path("oracle.npz"), work_dir=Path("work"))

Every router sees the same held-out tokens in the same passes, so that traces differ in the routing only: sequences of
one held-out document each, interleaved over the domains, as one prefill pass and then one decode pass per token.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from simmoe.simulator.errors import UserError
from simmoe.simulator.types import DECODE, PREFILL, Trace
from simmoe.workloads import quality, routers, training
from simmoe.workloads import trace as trace_format
from simmoe.workloads.backbone import GPT, next_token_loss
from simmoe.workloads.recipe import Recipe, choose, digest
from simmoe.workloads.text.windows import held_out_mixed, held_out_pure

SCHEMA_VERSION = 1
QUALITY_WINDOWS = 196  # held-out windows on which quality is measured: 28 per domain
ABRUPT = (16, 32)  # tokens of a snippet in the mixed held-out windows
CURVE_EVERY = 10  # steps that one point of a saved loss curve averages


class Routes(NamedTuple):
    """What a model does with windows of text."""

    ids: npt.NDArray[np.int16]  # [sequences, T, layers, k], experts
    gate: npt.NDArray[np.float16]  # [sequences, T, layers, k], their probabilities
    perplexity: float  # exp of the mean next-token loss


def make_trace(
    router: str,
    out: Path,
    *,
    preset: str = "9x24",
    steps: int | None = None,
    seed: int = 0,
    work_dir: Path,
    progress: training.Progress | None = None,
) -> Trace:
    """Train, route, save to `out`; beside it `<stem>.curve.json`, the loss curve.

    `steps` counts warm-up and branch together. Checkpoints in `work_dir` are reused by every router of a recipe.
    """
    recipe = choose(preset, steps, seed)
    if routers.find(router).Router is None:
        raise UserError(
            f"router '{router}' has no experts, so there is no trace to make: choose another of "
            f"{', '.join(routers.names())}"
        )
    model, losses = training.train(recipe, router, work_dir, progress)
    tokens = held_out_pure(recipe.trace_sequences, recipe.length).tokens
    meta = describe(recipe, router, tokens) | {"quality": measure(model, recipe)}
    saved = trace_format.save(as_trace(recipe, route(model, tokens), meta), out)
    save_curve(out.with_suffix(".curve.json"), recipe, losses, meta["recipe_digest"])
    return saved


def describe(recipe: Recipe, router: str, tokens: npt.NDArray[np.int64]) -> dict[str, Any]:
    """`meta` but for the measured quality and the digest."""
    description = recipe.describe(routers.full_name(router), routers.find(router).SETTINGS)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": f"oracle-moe-{recipe.name}",
        "router": routers.full_name(router),
        "n_experts": recipe.n_experts,
        "top_k": recipe.top_k,
        "seed": recipe.seed,
        "corpus": description["corpus"],
        "text_tokens": hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest(),
        "recipe": description,
        "recipe_digest": digest(description),
    }


def route(model: GPT, tokens: npt.NDArray[np.int64], batch: int = 4) -> Routes:
    """Teacher-forced routing of every token in every MoE layer; tokens int64 [sequences, T]."""
    ids, gates, loss = [], [], 0.0
    with torch.no_grad(), training.one_thread():
        for part in torch.split(torch.from_numpy(tokens), batch):
            logits, routings = model(part)
            loss += float(next_token_loss(logits[:, :-1], part[:, 1:])) * len(part) / len(tokens)
            none = [torch.empty(*part.shape, 0)]  # a dense model has no columns
            ids.append(torch.stack([r.experts for r in routings] or none, 2).numpy().astype(np.int16))
            gates.append(torch.stack([r.gate for r in routings] or none, 2).numpy().astype(np.float16))
    return Routes(np.concatenate(ids), np.concatenate(gates), math.exp(loss))


def as_trace(recipe: Recipe, routes: Routes, meta: dict[str, Any]) -> Trace:
    """Sequences laid end to end; in each, one prefill pass and then one decode pass per token."""
    sequences, length = routes.ids.shape[:2]
    per_sequence = [recipe.prefill] + [1] * (length - recipe.prefill)
    phase = [PREFILL] + [DECODE] * (length - recipe.prefill)
    return Trace(
        expert_ids=routes.ids.reshape(sequences * length, *routes.ids.shape[2:]),
        layer_index=np.array(recipe.moe_layers, np.int16),
        pass_ptr=np.concatenate([[0], np.cumsum(per_sequence * sequences)]).astype(np.int64),
        phase=np.array(phase * sequences, np.int8),
        sequence=np.repeat(np.arange(sequences), length).astype(np.int32),
        position=np.tile(np.arange(length), sequences).astype(np.int32),
        meta=meta,
        gate_weights=routes.gate.reshape(sequences * length, *routes.gate.shape[2:]),
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
        figures |= quality.summary(a.ids[..., 0], b.ids[..., 0], recipe.n_experts, pure.domain, mixed.domain)
    return figures


def save_curve(path: Path, recipe: Recipe, losses: list[float], recipe_digest: str) -> None:
    """Training loss in nats per token, averaged over CURVE_EVERY steps."""
    points = [round(float(np.mean(losses[i : i + CURVE_EVERY])), 4) for i in range(0, len(losses), CURVE_EVERY)]
    curve = {
        "recipe_digest": recipe_digest,
        "dense_steps": recipe.dense_steps,
        "steps_per_point": CURVE_EVERY,
        "tokens_per_step": recipe.batch * recipe.length,
        "loss_nats_per_token": points,
    }
    path.write_text(json.dumps(curve) + "\n", encoding="ascii")


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A Markdown table of `meta.quality` by model; a list of layers is shown as least-greatest."""
    keys = list(dict.fromkeys(key for figures in rows.values() for key in figures))
    lines = ["| measure | " + " | ".join(rows) + " |", "|---|" + "---|" * len(rows)]
    return "\n".join(lines + [f"| {k} | " + " | ".join(_cell(f.get(k)) for f in rows.values()) + " |" for k in keys])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{min(value):g}-{max(value):g}" if isinstance(value, list) else f"{value:g}"


def main(preset: str, folder: Path, work_dir: Path, seed: int = 0) -> None:
    """Both bundled traces and the table with the dense yardstick (a maintainers' command)."""
    recipe = choose(preset, seed=seed)
    rows = {"dense": measure(training.train(recipe, "dense", work_dir)[0], recipe)}
    for router in ("switch", "oracle"):
        made = make_trace(router, folder / f"{router}.npz", preset=preset, seed=seed, work_dir=work_dir)
        rows[router] = dict(made.meta["quality"])
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
