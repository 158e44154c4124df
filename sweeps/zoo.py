"""Experts, top-k and router as keys of a space: a view of the zoo (docs/zoo.md), whose models are traces.

The models of the view have four MoE layers and were trained on the same batches with the same seed for as many steps, so that they
differ in these three and in nothing else. Only trained combinations exist, so the view is one axis, `trace`, and no sampler can propose
a combination that was never trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from difflib import SequenceMatcher
from functools import cache
from math import log2
from typing import Any, NamedTuple

from simmoe.simulator.errors import UserError
from simmoe.workloads.format import trace
from simmoe.workloads.oracle_moe import zoo
from simmoe.workloads.oracle_moe.recipe import PRESETS, Recipe


class Trained(NamedTuple):
    """What a model of the view is told from the others by."""

    experts: int
    top_k: int
    router: str

    def __str__(self) -> str:
        return f"{self.experts} experts, top-k {self.top_k}, {self.router}"


DOC = "docs/spaces.md#experts-top-k-and-router"
KEYS = Trained._fields
SHOWN = {"experts": "experts", "top_k": "top-k", "router": "router"}  # column names


@cache
def view() -> dict[str, Trained]:
    """Trace -> what was trained, of every model of the view, fewest experts first."""
    found = {}
    for one in zoo.entries().values():
        record = trace.BUNDLED / f"{one.name}.training.json"
        if _comparable(one.recipe) and not one.settings and (trace.BUNDLED / f"{one.name}.npz").exists():
            said = json.loads(record.read_text("utf-8"))  # a router such as top-p has another top-k than its recipe
            found[one.name] = Trained(said["n_experts"], said["top_k"], one.router)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _comparable(recipe: Recipe) -> bool:
    """Whether the recipe is that of four MoE layers but for experts and top-k."""
    base = PRESETS["4x8"]
    return replace(recipe, name=base.name, n_experts=base.n_experts, top_k=base.top_k) == base


def chosen(asked: Mapping[str, Any], where: str) -> dict[str, Trained]:
    """The trained combinations of what the keys of a space ask for; a key that is left out asks for all. Raises UserError.

    A value that is in none of them is refused: nothing would be played for it.
    """
    wanted = {key: _values(key, asked[key], f"{where}: {key}") for key in KEYS if key in asked}
    found = {name: one for name, one in view().items() if all(getattr(one, key) in wanted[key] for key in wanted)}
    for key, values in wanted.items():
        for value in values:
            if all(getattr(one, key) != value for one in found.values()):
                others = {other: wanted[other] for other in wanted if other != key}
                raise UserError(f"{where}: {_missing({key: [value], **others})}")
    return found


def _values(key: str, value: Any, at: str) -> list[int | str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UserError(f"{at}: the list is empty; name at least one")
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str if key == "router" else int):
            raise UserError(f"{at}: {one!r} is no {'router' if key == 'router' else 'whole number'}")
        if values.count(one) > 1:
            raise UserError(f"{at}: {one!r} stands there twice; name each once")
    return values


def _missing(wanted: Mapping[str, list[Any]]) -> str:
    """That nothing was trained so, and the nearest that was."""
    said = ", ".join(f"{SHOWN[key]} {' or '.join(map(str, values))}" for key, values in wanted.items())
    near = sorted(view().values(), key=lambda one: (sum(_far(getattr(one, k), v) for k, v in wanted.items()), one))
    return f"no comparable model of the zoo was trained with {said}; nearest: {'; '.join(map(str, near[:3]))} ({DOC})"


def _far(value: int | str, wanted: list[Any]) -> float:
    """0 for what is asked for; of numbers how many doublings they are apart, of names the share of unlike letters."""
    if isinstance(value, str):
        return min(1 - SequenceMatcher(None, value, one).ratio() for one in wanted)
    return min(abs(log2(value / one)) if one > 0 else 9.0 for one in wanted)
