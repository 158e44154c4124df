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
from simmoe.workloads.oracle_moe import text


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
    dense_steps: int  # the warm-up, shared by every recipe with the same dense model, text and seed
    branch_steps: int
    seed: int = 0
    top_k: int = 1
    slices: int = 1  # a routed expert is 1/slices as wide as the dense layer and starts as a slice of it
    shared_expert: bool = False  # one more expert of width d_ff, used by every token beside the routed ones
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
    def steps(self) -> int:
        return self.dense_steps + self.branch_steps

    def describe(self, router: str, settings: dict[str, Any]) -> dict[str, Any]:
        """What goes into a trace's meta: the recipe, the router's constants and the text, in JSON types."""
        return {
            **json.loads(json.dumps(asdict(self))),
            "router": router,
            "router_settings": settings,
            "corpus": text.digest(),
            "tokens": self.steps * self.batch * self.length,
            "note": "layer and expert counts of the named model; the trained widths (d_model, d_ff) are smaller",
        }

    def warm_up_digest(self) -> str:
        """Names the dense warm-up: everything that its weights depend on, and nothing that only the branch sees."""
        description = self.describe("warm-up", {})
        return digest({key: value for key, value in description.items() if key not in BRANCH_ONLY})


BRANCH_ONLY = {  # fields that the dense warm-up does not see
    "name", "moe_layers", "n_experts", "branch_steps", "top_k", "slices", "shared_expert", "final_lr", "fit_windows",
    "trace_sequences", "prefill", "tokens", "note",
}  # fmt: skip


def digest(description: dict[str, Any]) -> str:
    """sha256 of the canonical JSON of `Recipe.describe`."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def evenly_spaced(n_layers: int, n_moe: int) -> tuple[int, ...]:
    """The last layer of each of `n_moe` equal stretches, counted from 0."""
    return tuple((i + 1) * n_layers // n_moe - 1 for i in range(n_moe))


def _twelve_layers(name: str, n_moe: int, n_experts: int, **changes: Any) -> Recipe:
    """The 12-layer backbone of the paper's smaller models; all its recipes share one dense warm-up."""
    return Recipe(
        name,
        n_layers=12,
        moe_layers=evenly_spaced(12, n_moe),
        n_experts=n_experts,
        d_model=96,
        d_ff=192,
        n_heads=2,
        length=256,
        batch=4,
        dense_steps=4200,
        branch_steps=700,
        peak_lr=2e-3,
        **changes,
    )


TINY = Recipe(
    "tiny",
    n_layers=2,
    moe_layers=(0, 1),
    n_experts=4,
    d_model=64,
    d_ff=128,
    n_heads=2,
    length=128,
    batch=8,
    dense_steps=250,
    branch_steps=250,
    fit_windows=96,
    trace_sequences=70,
    prefill=32,
)

PRESETS = {
    recipe.name: recipe
    for recipe in (
        _twelve_layers("2x4", 2, 4),
        _twelve_layers("4x8", 4, 8),
        replace(_twelve_layers("8x16", 8, 16), moe_layers=(1, 2, 4, 5, 7, 8, 10, 11)),
        replace(_twelve_layers("9x24", 9, 24), n_layers=24, moe_layers=evenly_spaced(24, 9), peak_lr=1.2e-3),
        # Three times as long: an expert gets a tenth of the tokens.
        replace(_twelve_layers("12x64", 12, 64, top_k=6, slices=6), branch_steps=2100),
        TINY,
    )
}


def choose(name: str, steps: int | None = None, seed: int = 0) -> Recipe:
    """A preset by name, with another number of steps (shared out as in the preset) or another seed."""
    if name not in PRESETS:
        raise UserError(f"unknown preset '{name}': choose one of {', '.join(PRESETS)}")
    chosen = replace(PRESETS[name], seed=seed)
    if steps is None:
        return chosen
    if steps < 2:
        raise UserError(f"steps is {steps}: at least 2 are needed, some of them for the dense warm-up")
    dense = min(steps - 1, max(1, round(steps * chosen.dense_steps / chosen.steps)))
    return replace(chosen, dense_steps=dense, branch_steps=steps - dense)
