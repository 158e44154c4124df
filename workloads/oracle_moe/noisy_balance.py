"""How even noisy top-k is in the paper's own measure: Importance and Load of training batches, with noise (Shazeer et al. 2017, Table 6).

    python -m simmoe.workloads.oracle_moe.noisy_balance [WORK_DIR]

prints the Markdown table of docs/oracle_moe.md. A trace is routed without noise and is far less even as long as the noise
exceeds the differences of the clean logits. Models that are not in WORK_DIR are trained first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from simmoe.workloads.oracle_moe import training, zoo
from simmoe.workloads.oracle_moe.recipe import Recipe
from simmoe.workloads.oracle_moe.routers.noisy_top_k import Logits, NoisyLogits, chance_to_stay
from simmoe.workloads.oracle_moe.text.windows import training_batch

MODELS = ("noisy-4x8", "noisy-unbalanced-4x8", "noisy-4x8-k2", "noisy-unbalanced-4x8-k2")
BATCHES = 40  # the last ones of the training
Array = npt.NDArray[np.float64]


def loads(name: str, work_dir: Path) -> Array:
    """Load_i of eq. 10 in the last training batches, float64 (BATCHES, layers, E)."""
    entry = zoo.entry(name)
    model = training.train(entry.recipe, entry.router, work_dir, None, entry.settings).model.train()
    seen: list[Array] = []

    def note(_: torch.nn.Module, __: object, h: Logits) -> None:
        seen.append(chance_to_stay(h, entry.recipe.top_k).sum((0, 1)).numpy().astype(np.float64))

    for module in model.modules():
        if isinstance(module, NoisyLogits):
            module.register_forward_hook(note)
    with torch.no_grad(), training.one_thread():
        for step in range(entry.recipe.steps - BATCHES, entry.recipe.steps):
            model(_batch(entry.recipe, step))
    return np.reshape(seen, (BATCHES, len(entry.recipe.moe_layers), -1))


def _batch(recipe: Recipe, step: int) -> torch.Tensor:
    snippets = (recipe.snippet_least, recipe.snippet_most)
    return torch.from_numpy(training_batch(recipe.seed, step, recipe.batch, recipe.length, snippets)[:, :-1])


def row(name: str, load: Array) -> str:
    """Mean over batches of CV(Load) and max/mean Load, by MoE layer from first to last."""
    mean = load.mean(-1)
    cells = [" ".join(f"{x:.3g}" for x in (top / mean).mean(0)) for top in (load.std(-1), load.max(-1))]
    return f"| `{name}` | {' | '.join(cells)} |"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    print("| model | CV of the load in training batches | max / mean load |")
    print("|---|---|---|")
    for each in MODELS:
        print(row(each, loads(each, folder)), flush=True)
