"""The zoo: every trained model of the project and the trace it leaves, as one table of recipes. No torch here.

All models of twelve layers with one seed branch from one dense warm-up, and all models that a table compares train on the
same batches for the same number of steps, so that they differ in what the name says and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from simmoe.simulator.errors import UserError
from simmoe.workloads.oracle_moe.recipe import PRESETS, Recipe


@dataclass(frozen=True)
class Entry:
    """One model: a recipe, a router and the constants in which it differs from the router file's."""

    name: str
    recipe: Recipe
    router: str
    settings: dict[str, Any] = field(default_factory=dict)
    guesses: bool = False  # the trace also holds gate weights and predicted experts


HIDDEN = {"input": "hidden", "alpha": 0.7, "hysteresis": 0.25}
RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "oracle-hidden": ("oracle-ema", HIDDEN),
    "oracle-groups": ("oracle-groups", {}),
    "oracle-groups-embedding": ("oracle-groups", {"input": "embedding"}),
    "noisy": ("noisy-top-k", {}),
    "noisy-unbalanced": ("noisy-top-k", {"importance_loss": 0.0, "load_loss": 0.0}),
    "noisy-two-level": ("noisy-two-level", {}),
    "loss-free": ("loss-free", {}),
    "cosine": ("cosine", {}),
    "online-kmeans": ("online-kmeans", {}),
    "attention-aware": ("attention-aware", {}),
    "top-p": ("top-p", {}),
    "null-experts": ("null-experts", {}),
    "recurrent": ("recurrent", {}),
    "hash": ("hash-token", {}),
}
GRID = [(e, k) for e in (8, 16, 24) for k in (1, 2, 4)] + [(4, 1), (32, 1)]  # experts, top-k


def entries() -> dict[str, Entry]:
    """Every model of the zoo by name, in the order in which they are best trained."""
    return {entry.name: entry for entry in _entries()}


def entry(name: str) -> Entry:
    """The model of that name."""
    found = entries()
    if name not in found:
        near = get_close_matches(name, found, 1) or list(found)[:1]
        raise UserError(f"unknown zoo model '{name}': did you mean '{near[0]}'? `simmoe zoo list` shows all")
    return found[name]


def _entries() -> Iterator[Entry]:
    pair = {"switch": "switch", "oracle": "oracle-ema"}
    for seed, suffix in ((0, ""), (1, "-seed1")):
        base = replace(PRESETS["4x8"], seed=seed)
        for short, router in {"dense": "dense", **pair}.items():
            yield Entry(f"{short}-4x8{suffix}", base, router)
    four = PRESETS["4x8"]
    for short, (router, settings) in RIVALS.items():
        yield Entry(f"{short}-4x8", four, router, settings)
    for short, router in {"dense": "dense", **pair}.items():  # as many steps behind the branch as before it
        yield Entry(f"{short}-4x8-long", replace(four, branch_steps=four.dense_steps), router)
    for short in ("noisy", "noisy-unbalanced"):  # the paper's k is at least 2
        router, settings = RIVALS[short]
        yield Entry(f"{short}-4x8-k2", replace(four, name="4x8-k2", top_k=2), router, settings)
    yield Entry("switch-shared-4x8", replace(four, name="4x8-shared", shared_expert=True), "switch")
    for seed, suffix in ((0, ""), (1, "-9x24-seed1")):
        base = replace(PRESETS["9x24"], seed=seed)
        yield Entry("dense-9x24" + suffix[5:], base, "dense")
        for short, router in pair.items():
            yield Entry(short + suffix, base, router, guesses=not seed)
    for name in ("2x4", "8x16"):
        for short, router in pair.items():
            yield Entry(f"{short}-{name}", PRESETS[name], router)
    for short, router in {**pair, "oracle": "oracle-balanced"}.items():
        yield Entry(f"{short}-12x64", PRESETS["12x64"], router, guesses=True)
    for e, k in GRID:
        if (e, k) != (8, 1):
            name = f"4x{e}" + (f"-k{k}" if k > 1 else "")
            for short, router in pair.items():
                yield Entry(f"{short}-{name}", replace(four, name=name, n_experts=e, top_k=k), router)
