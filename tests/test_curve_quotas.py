"""Quotas that are fitted to a text: the best of all, within the budget, and never a path in a result."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simmoe
from simmoe.cli.main import main
from simmoe.simulator.decide import fitted
from simmoe.simulator.decide.curves import fitted_to
from simmoe.simulator.decide.decisions import quotas
from simmoe.simulator.decide.fitted import Fitted
from simmoe.simulator.decide.gather import requests_of
from simmoe.simulator.errors import UserError
from tests.conftest import make_trace
from tests.scenarios import examples


@st.composite
def fits(draw: st.DrawFn) -> tuple[list[int], list[int], list[list[int]]]:
    """Sizes and experts of each layer, and what so many slots hit."""
    layers, experts = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 5), min_size=layers, max_size=layers))
    left = draw(st.lists(st.integers(0, experts), min_size=layers, max_size=layers).filter(any))
    gains = st.lists(st.integers(0, 9), min_size=experts, max_size=experts)
    return sizes, left, [np.cumsum([0, *draw(gains)]).tolist() for _ in range(layers)]


@settings(max_examples=examples(200), deadline=None)
@given(fits(), st.integers(0, 80))
def test_fitted_quotas_are_the_best_of_all(drawn: tuple[list[int], list[int], list[list[int]]], more: int):
    sizes, left, hits = drawn
    least = sum(size for size, n in zip(sizes, left) if n)
    budget = least + more
    rooms = Fitted("fitted:x", np.array(hits)).rooms(np.array(sizes), np.array(left), budget)
    slots = [room // size for room, size in zip(rooms, sizes)]
    assert rooms == [slot * size for slot, size in zip(slots, sizes)] and sum(rooms) <= budget
    assert all((1 <= slot <= n) if n else slot == 0 for slot, n in zip(slots, left))
    all_ways = product(*(range(1, n + 1) if n else [0] for n in left))
    allowed = [way for way in all_ways if sum(slot * size for slot, size in zip(way, sizes)) <= budget]
    assert sum(h[slot] for h, slot in zip(hits, slots)) == max(sum(h[s] for h, s in zip(hits, way)) for way in allowed)


def test_rounded_sizes_stay_within_the_budget(monkeypatch: pytest.MonkeyPatch):
    """Sizes without a common measure, rounded up to a few steps of the budget."""
    monkeypatch.setattr(fitted, "STEPS", 40)
    sizes, hits = np.array([1009, 997, 1013]), np.arange(5).cumsum() * np.array([[1], [2], [3]])
    for budget in range(int(sizes.sum()), 12_100, 379):
        rooms = Fitted("fitted:x", hits).rooms(sizes, np.array([4, 4, 4]), budget)
        assert sum(rooms) <= budget and all(room >= size for room, size in zip(rooms, sizes))


def test_a_layer_that_needs_more_gets_more():
    """Layer 0 goes round three experts, layer 1 stays with one: of four slots three are worth something in layer 0."""
    trace = make_trace([[[[i % 3], [0]]] for i in range(30)], 3)
    fit = fitted_to("fitted", requests_of(trace), 2)
    assert fit.hits.tolist() == [[0, 0, 0, 27], [0, 29, 29, 29]]
    assert quotas(np.array([10, 10]), np.array([3, 3]), 40, fit) == [30, 10]
    hits = [simmoe.replay(trace, [10, 10], 40, scope=scope).hits for scope in ("global", "layer", "fitted")]
    assert hits == [56, 29, 56]
    with pytest.raises(UserError, match="below the least that works with scope fitted: 20 B"):
        simmoe.replay(trace, [10, 10], 19, scope="fitted")


@pytest.mark.slow
def test_a_text_of_its_own(tmp_path, capsys, monkeypatch):
    """Another trace, the first rows, and what a result says of them."""
    monkeypatch.chdir(tmp_path)
    simmoe.save_trace(simmoe.load_trace("switch"), tmp_path / "mine.npz")
    play = [
        "run",
        "--hw",
        "a100",
        "--trace",
        "oracle",
        "--budget",
        "30%",
        "--tokens",
        "60",
        "--engine",
        "plain",
        "--json",
    ]
    said = {}
    for scope in ("fitted:switch", "fitted:./mine.npz", "fitted:first=20%", "layer"):
        assert main([*play, "--scope", scope]) == 0
        said[scope] = json.loads(capsys.readouterr().out)
    assert said["fitted:switch"]["scenario"]["plan"]["scope"] == "fitted:switch"
    assert said["fitted:./mine.npz"]["scenario"]["plan"]["scope"].startswith("fitted:mine sha256:")
    assert said["fitted:./mine.npz"]["misses"] == said["fitted:switch"]["misses"]
    assert any("which are not played" in note for note in said["fitted:first=20%"]["notes"])
    assert main([*play, "--scope", "fitted:./mine.npz", "--save", "one.yaml"]) == 0
    saved = capsys.readouterr().out
    assert main(["run", "one.yaml", "--json"]) == 0 and capsys.readouterr().out == saved
    (tmp_path / "mine.npz").unlink()
    simmoe.save_trace(simmoe.load_trace("hash-4x8"), tmp_path / "mine.npz")
    assert main(["run", "one.yaml", "--json"]) == 2


@pytest.mark.parametrize("scope", ["fitted=3:oracle", "fit:oracle", "layers"])
def test_other_words_are_refused(scope, capsys):
    assert main(["run", "--hw", "a100", "--trace", "oracle", "--budget", "30%", "--scope", scope]) == 2
    assert "fitted:TRACE" in capsys.readouterr().err
