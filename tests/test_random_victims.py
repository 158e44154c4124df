"""`random` finds its victim by counts of residents; here the same rule looks at every object. All victims are equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import simmoe
from tests.conftest import COMPILED

RULE = """
import numpy as np

NEEDS = ("random",)


def init(n_objects, capacity_bytes, x):
    return (np.zeros(1, np.int64),)


def victim(s, free, event, x):
    eligible = 0
    for o in range(len(free)):
        eligible += free[o]
    if eligible == 0:
        return -1
    n = s[0][0]
    pick = ((x.random_high[n] % eligible) * (4294967296 % eligible) + x.random_low[n]) % eligible
    for o in range(len(free)):
        if free[o]:
            if pick == 0:
                return o
            pick -= 1
    return -1


def remove(s, o, event, x):
    s[0][0] += 1
"""
SCENARIOS: dict[str, dict[str, Any]] = {
    "tokens of several experts": {"trace": "oracle-12x64"},
    "many objects": {"trace": "switch", "budget": "30%"},
    "prompts that fill all": {"budget": "1%"},
    "by layer": {"scope": "layer", "budget": "20%"},
    "guesses in the cache": {"prefetch": "next_layer"},
    "guesses in the cache, little room": {"prefetch": "last_token", "budget": "1%", "trace": "oracle-12x64"},
    "guesses in buffers": {"prefetch": "next_layer", "prefetch_into": "buffers"},
    "what stands in": {"miss": "substitute", "budget": "20%"},
    "what stands in beside guesses": {"miss": "substitute", "prefetch": "next_layer", "budget": "4%"},
    "the CPU": {"miss": "balanced", "prefetch": "next_layer"},
    "pass by pass": {"schedule": "continuous", "budget": "20%"},
    "another seed": {"seed": 11, "cold_per_sequence": True},
}  # fmt: skip


def told(eviction: str, **options: Any) -> dict[str, Any]:
    """All that a run says but what names the policy, and its victims in order."""
    asked = {"hw": "a100", "trace": "oracle", "tokens": 150, "budget": "3%", "eviction": eviction, **options}
    run = simmoe.run(**asked)
    said = {name: it for name, it in run.to_json().items() if name not in ("scenario", "digest", "notes")}
    return {**said, "victims": run.decisions.evicted.tolist(), "for": run.decisions.evicted_for.tolist()}


@pytest.mark.slow
@pytest.mark.parametrize("options", SCENARIOS.values(), ids=SCENARIOS)
def test_victims_are_those_of_the_rule_that_looks_at_every_object(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "every.py").write_text(RULE)
    found = told("random", engine="plain", **options)
    assert found == told(str(tmp_path / "every.py"), engine="plain", **options)
    assert len(found["victims"]) > 10


@pytest.mark.slow
@COMPILED
def test_compiled_victims_are_the_same() -> None:
    few = {"trace": "oracle-12x64", "tokens": 300}
    plain, fast = (told("random", engine=engine, **few) for engine in ("plain", "fast"))
    assert {**plain, "engine": None} == {**fast, "engine": None}
