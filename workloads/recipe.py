"""What a bundled model is trained with: one frozen record, whose digest names the result. No torch here.

Geometry "9x24" is the layer and expert count of the 2.06 B-parameter model of Oracle-MoE (ICML 2025, PMLR 267,
Table 3: 24 transformer layers, 9 of them MoE, 24 experts, top-1). Its widths are far smaller than the paper's, so that
one CPU core trains it in minutes. Which 9 of the 24 layers are MoE is not stated in the paper: evenly spaced is our
choice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads import text


@dataclass(frozen=True)
class Recipe:
    name: str
    n_layers: int
    moe_layers: tuple[int, ...]
    n_experts: int
    d_model: int
    d_ff: int
    n_heads: int
    length: int  # tokens of a window = the context of the model
    batch: int
    steps: int  # dense warm-up and branch together; the first half is dense
    seed: int = 0
    top_k: int = 1
    peak_lr: float = 3e-3
    lr_warmup_steps: int = 60
    final_lr: float = 0.1  # x peak_lr, reached by a cosine
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    snippet_least: int = 16  # tokens of a snippet in a stitched training window
    snippet_most: int = 96
    fit_windows: int = 192  # training windows on which a router is fitted at the branch
    trace_sequences: int = 49
    prefill: int = 64  # tokens of the prefill pass of each traced sequence

    @property
    def dense_steps(self) -> int:
        return self.steps // 2

    def describe(self, router: str, settings: dict[str, Any]) -> dict[str, Any]:
        """What goes into a trace's meta: the recipe, the router's constants and the text, in JSON types."""
        return {
            **json.loads(json.dumps(asdict(self))),
            "router": router,
            "router_settings": settings,
            "corpus": text.digest(),
            "dense_steps": self.dense_steps,
            "tokens": self.steps * self.batch * self.length,
            "note": "layer and expert counts of the named model; the trained widths (d_model, d_ff) are smaller",
        }


def digest(description: dict[str, Any]) -> str:
    """sha256 of the canonical JSON of `Recipe.describe`."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def evenly_spaced(n_layers: int, n_moe: int) -> tuple[int, ...]:
    """The last layer of each of `n_moe` equal stretches, counted from 0."""
    return tuple((i + 1) * n_layers // n_moe - 1 for i in range(n_moe))


PRESETS = {
    "9x24": Recipe(
        "9x24",
        n_layers=24,
        moe_layers=evenly_spaced(24, 9),
        n_experts=24,
        d_model=96,
        d_ff=192,
        n_heads=2,
        length=256,
        batch=4,
        steps=3000,
        peak_lr=1.2e-3,
    ),
    "tiny": Recipe(
        "tiny",
        n_layers=2,
        moe_layers=(0, 1),
        n_experts=4,
        d_model=64,
        d_ff=128,
        n_heads=2,
        length=128,
        batch=8,
        steps=500,
        fit_windows=96,
        trace_sequences=70,
        prefill=32,
    ),
}


def choose(name: str, steps: int | None = None, seed: int = 0) -> Recipe:
    """A preset by name, with another number of steps or another seed."""
    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}': choose one of {', '.join(PRESETS)}")
    if steps is not None and steps < 2:
        raise UserError(f"steps is {steps}: at least 2 are needed, half of them for the dense warm-up")
    chosen = PRESETS[name]
    return replace(chosen, seed=seed, steps=chosen.steps if steps is None else steps)
