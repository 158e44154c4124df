"""What layers keep of each position: sizes of passes, KV bytes and times against plain counting; laws of windows; files by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simmoe.play.plan import Plan
from simmoe.play.run import play
from simmoe.play.workload import Workload
from simmoe.simulator.costs import Costs
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.model import NO_PART, Cache, Layer, ModelShape, Part, Span
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.pass_sizes import pass_sizes
from simmoe.simulator.time.engines import named
from simmoe.workloads.models import load, shape
from tests import scenarios
from tests.scenarios import Case, cases, examples
from tests.test_models import STORED, TINY, changed
from tests.test_oracles import machine, part

BYTE = part(2)
MOE = Layer(BYTE, expert=part(2), n_experts=4)


def tiny(*layers: Layer) -> ModelShape:
    return ModelShape("tiny", "fp16", "fp16", layers, 1, BYTE, NO_PART)


SPANS = st.sampled_from(
    (Span(0, 0, False), Span(3, 0, False), Span(3, 3, False), Span(4, 0, True), Span(5, 0, True), Span(0, 2, False), Span(5, 2, False),
     Span(6, 4, True), Span(1, 0, False), Span(1, 0, True), Span(10**6, 0, False))
)  # fmt: skip


def trace_of(passes: Sequence[Sequence[Sequence[int]]]) -> Trace:
    """Passes of consecutive positions of each sequence: [passes][sequences] (first position, tokens)."""
    rows = [(s, p) for one in passes for s, (first, tokens) in enumerate(one) for p in range(first, first + tokens)]
    sizes = [sum(tokens for _, tokens in one) for one in passes]
    trace = scenarios.build_trace([[[0]]] * len(rows), sizes, [0] * len(sizes), [s for s, _ in rows], 4, [0])
    return replace(trace, position=np.array([p for _, p in rows], np.int32))


@st.composite
def passes(draw: st.DrawFn) -> list[list[tuple[int, int]]]:
    """Each row of tokens goes on where its sequence stopped."""
    reached, found = [draw(st.integers(0, 20)) for _ in range(3)], []
    for _ in range(draw(st.integers(1, 4))):
        tokens = draw(st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any))
        found.append([(at, n) for at, n in zip(reached, tokens)])
        reached = [at + n for at, n in zip(reached, tokens)]
    return found


def may_see(span: Span, position: int) -> set[int]:
    if span.chunked:
        return {one for one in range(position + 1) if one // span.kept == position // span.kept}
    return {one for one in range(position + 1) if not span.kept or one > position - span.kept}


@pytest.mark.hypothesis
@settings(max_examples=examples(300), deadline=None)
@given(passes(), st.lists(SPANS, max_size=3))
def test_the_size_of_a_pass_is_that_of_plain_counting(made: Any, spans: list[Span]) -> None:
    for one, size in zip(made, pass_sizes(trace_of(made), spans)):
        there = [range(first, first + n) for first, n in one if n]
        assert (size.tokens, size.sequences) == (sum(map(len, there)), len(there))
        for i, span in enumerate(spans):
            pairs = [sum(min(len(may_see(span, p)), span.read or p + 1) for p in rows) for rows in there]
            seen = [len(set().union(*(may_see(span, p) for p in rows))) for rows in there]
            assert size.attended[i] == sum(pairs)
            assert size.kv_positions[i] == sum(map(min, seen, pairs))


# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.hypothesis
@settings(max_examples=examples(200), deadline=None)
@given(st.data())
def test_kv_bytes_are_those_of_plain_counting(data: st.DataObject) -> None:
    number = st.integers(0, 40)
    context, microbatch = data.draw(st.integers(1, 60)), data.draw(number)
    layers, due = [], 0
    for _ in range(data.draw(st.integers(1, 4))):
        caches = []
        for _ in range(data.draw(st.integers(0, 2))):
            each, kept = data.draw(number), data.draw(number)
            caches.append(Cache(each, 1, kept))
            slots = [p for p in range(context) if not kept or p >= context - kept - microbatch]
            due += each * len(slots)
        state = data.draw(number)
        due += state
        layers.append(Layer(Part(1, 1, 1), tuple(caches), state))
    model = tiny(*layers)
    assert model.kv_bytes(context, microbatch) == due


def test_each_sequence_has_its_states_and_windows() -> None:
    model = tiny(Layer(BYTE, (Cache(2, 1, kept=4),)), Layer(BYTE, (), 7), MOE)
    trace = scenarios.tiny_trace([[[0], [1]], [[0], [1]]], 4, sequences=[[0, 1], [0, 1]])
    trace = replace(trace, layer_index=np.array([2], np.int16))
    assert Workload(machine(), trace, model, context=100).kv_bytes == 2 * (2 * 100 + 7)
    assert Workload(machine(), trace, model, context=100, microbatch=3).kv_bytes == 2 * (2 * 7 + 7)
    full = tiny(Layer(BYTE, (Cache(2, 1),)), Layer(BYTE), MOE)
    with pytest.raises(UserError, match="--microbatch 3: no layer of tiny has a window or chunks"):
        Workload(machine(), trace, full, microbatch=3)


# --- costs -----------------------------------------------------------------------------------------------------------


def test_what_stands_in_place_of_attention_costs_its_state_and_a_layer_without_ffn_has_no_launch_for_it() -> None:
    """A pass of two sequences with positions 8 and 9, and 20: 2 bytes/ps, 1 FLOP/ps, a launch takes 1 ps."""
    layers = (
        Layer(BYTE, state_bytes=50, ffn=part(4)),  # (2 + 2 × 2 × 50) / 2, then 4 / 2
        Layer(BYTE, (Cache(6, 1, kept=3), Cache(1, 0))),  # 4 + 3 positions of 6 bytes, 10 + 21 of 1: (2 + 42 + 31) / 2
        Layer(BYTE, (Cache(0, 5, kept=4, chunked=True),)),  # pairs 1 + 2 and 1: 20 FLOPs
        MOE,
    )
    trace = trace_of([[(8, 2), (20, 1)]])
    trace = replace(trace, layer_index=np.array([3], np.int16))
    costs = Costs(machine(), tiny(*layers), trace)
    (size,) = costs.sizes
    found = [[costs.pieces(size)[i].ps for i in gap] for gap in costs.gaps]
    assert found == [[1 + 101, 1 + 2, 1 + 38, 1 + 20, 1 + 1], [1 + 1]]
    attention, head = (2 + 200) + (2 + 42 + 31) + 2 + 2, 2
    assert costs.traffic(size) == (attention + 4 + head, (3 + 3 + 3) * 1 + 20)


# --- laws ------------------------------------------------------------------------------------------------------------


def with_spans(model: ModelShape, kept: int, chunked: bool) -> ModelShape:
    layers = [
        replace(x, caches=tuple(replace(c, kept=kept, read=0, chunked=chunked) for c in x.caches)) for x in model.layers
    ]
    return replace(model, layers=tuple(layers))


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("chunked", [False, True])
def test_a_window_or_chunk_of_all_positions_is_full_attention_to_the_picosecond(chunked: bool) -> None:
    @settings(max_examples=examples(100), deadline=None)
    @given(cases())
    def compare(case: Case) -> None:
        longest = int(case.trace.position.max()) + 1
        full, limited = with_spans(case.model, 0, False), with_spans(case.model, longest, chunked)
        runs = [
            play(
                Workload(case.hw, case.trace, model), Plan(case.budget_bytes, case.eviction, case.scope), named("plain")
            )
            for model in (full, limited)
        ]
        assert runs[0].clocks == runs[1].clocks

    compare()


@pytest.mark.hypothesis
@settings(max_examples=examples(100), deadline=None)
@given(cases())
def test_a_longer_window_never_costs_less(case: Case) -> None:
    each = [Costs(case.hw, with_spans(case.model, kept, False), case.trace).dense_ps for kept in (1, 2, 3, 5, 9, 0)]
    assert all((longer >= shorter).all() for shorter, longer in pairwise(each))


# --- files -----------------------------------------------------------------------------------------------------------


def spans(model: ModelShape) -> list[list[Span]]:
    return [[cache.span for cache in layer.caches] for layer in model.layers]


FULL, WINDOW = Span(0, 0, False), Span(3, 0, False)


def by_layer(**words: Any) -> dict[str, Any]:
    """TINY with four layers, all MoE but the first, and kinds of attention."""
    data = changed(changed(TINY, "architecture.layers", 4), "architecture.moe_layers", {"first": 1})
    for name, value in words.items():
        data = changed(data, f"architecture.attention.{name}", value)
    return data


def test_an_architecture_names_the_kinds_of_its_layers() -> None:
    assert spans(shape(by_layer(), "x")) == [[FULL]] * 4
    assert spans(shape(by_layer(window=3, layers=["window", "full"]), "x")) == [[WINDOW], [FULL]] * 2
    mixed = shape(by_layer(window=3, chunk=8, layers=["window", "chunk", "none"]), "x")
    assert spans(mixed) == [[WINDOW], [Span(8, 0, True)], [], [WINDOW]]
    router, matrices = 4 * 8, 4 * (2 * 4 * 2 + 2 * 2 * 2)
    assert [layer.attention.params for layer in mixed.layers[1:3]] == [matrices + router + 2 * 4, router + 4]
    recurrent = {"matrix_params": 100, "vector_params": 10, "state_elements": 6, "state_bits": 16}
    layer = shape(by_layer(layers=["full", "recurrent"], recurrent=recurrent), "x").layers[1]
    assert layer.caches == () and layer.state_bytes == 12
    assert layer.attention.params == 100 + 10 + 2 * 4 + 4 * 8
    assert layer.attention.flops_per_token == 2 * (100 + 4 * 8) + 5 * 6


DEEPSEEK = {
    "kind": "mla", "heads": 128, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope": 128, "qk_rope": 64, "v_head_dim": 128,
}  # fmt: skip


def test_latent_attention_with_an_indexer_or_without_a_latent_cache() -> None:
    """DeepSeek-V3.2: 64 heads of 128 pick 2,048 positions."""
    latent = changed(changed(TINY, "architecture.d_model", 7168), "architecture.attention", DEEPSEEK)
    plain, sparse, expanded = (
        shape(changed(latent, "architecture.attention", {**DEEPSEEK, **more}), "x").layers[0]
        for more in ({}, {"indexer": {"topk": 2048, "heads": 64, "head_dim": 128}}, {"latent_cache": False})
    )
    per_position = 2 * 128 * (512 + 64 + 512)
    assert plain.caches == (Cache(2 * 576, per_position, heads=128),)
    assert sparse.caches == (Cache(2 * 576, per_position, read=2048, heads=128), Cache(2 * 128, 2 * 64 * 128))
    assert sparse.attention.params - plain.attention.params == 64 * 128 * 1536 + 7168 * (128 + 64) + 2 * 128
    assert expanded.caches == (Cache(2 * 128 * (192 + 128), 2 * 128 * (192 + 128), heads=128, kv_heads=128),)
    assert expanded.attention == plain.attention


def test_parts_name_caches_and_states() -> None:
    keys = {"kv_elements_per_position": None, "flops_per_position": None}
    data = STORED
    for key in keys:
        data = changed(data, f"parts.layers.0.{key}", None)
    caches = [{"elements_per_position": 4, "flops_per_position": 9, "kept": 5, "chunked": True},
              {"elements_per_position": 1, "flops_per_position": 2, "read": 7}]  # fmt: skip
    model = shape(changed(data, "parts.layers.0.caches", caches), "x")
    assert model.layers[0].caches == (Cache(8, 9, 5, 0, True), Cache(2, 2, 0, 7, False))
    assert model.layers[1].caches == (Cache(16, 16),)  # the short form
    assert model.has_windows and model.kv_bytes_per_position == 8 + 2 + 16
    without = changed(changed(data, "parts.layers.0.caches", []), "parts.layers.0.state_elements", 3)
    assert shape(without, "x").layers[0].caches == () and shape(without, "x").layers[0].state_bytes == 12


def test_parts_without_bytes_take_those_of_a_format() -> None:
    data = changed(STORED, "parts.head.stored_bytes", None)
    for i in range(2):
        for name in ("attention", "expert"):
            data = changed(data, f"parts.layers.{i}.{name}.stored_bytes", None)
    assert shape(data, "x").format == "fp16" and shape(data, "x").layers[0].expert.bytes == 512
    assert shape(data, "x", "q8_0").layers[0].expert.bytes == 256 * 34 // 32
    with pytest.raises(UserError, match="format 'stored' needs the real bytes of a file"):
        shape(data, "x", "stored")


MISTAKES = [
    (by_layer(window=3), r"attention: layers names full but window is given; give both or neither"),
    (by_layer(layers=["window"]), r"attention: layers names window but window is not given; give both or neither"),
    (by_layer(layers=["recurrent"]), r"layers names recurrent but recurrent is not given"),
    (by_layer(window=3, layers=["full"] * 4 + ["window"]), "attention.layers names 5 layers but there are 4"),
    (by_layer(layers=[]), r"attention.layers is \[\]; it must be a list with at least one entry"),
    (
        by_layer(layers=["sliding"]),
        r"attention.layers\[0\] is 'sliding'; it must be one of full, window, chunk, recurrent, none",
    ),
    (
        changed(
            TINY,
            "architecture.attention",
            {**DEEPSEEK, "window": 3, "layers": ["window"], "indexer": {"topk": 2, "heads": 1, "head_dim": 1}},
        ),
        "an indexer picks in layers of kind full, but layers names window",
    ),
    (changed(STORED, "parts.layers.0.caches", []), r"parts.layers\[0\]: a layer has either caches"),
    (changed(STORED, "parts.layers.0.flops_per_position", None), r"parts.layers\[0\]: a layer has either caches"),
    (changed(STORED, "parts.layers.0.caches", 3), r"layers\[0\].caches is 3; it must be a list, \[\] for none"),
]


@pytest.mark.parametrize(("data", "line"), MISTAKES)
def test_a_mistake_is_one_clear_line(data: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        shape(data, "x.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cache", "line"),
    [
        ({"chunked": True}, "chunked is true but kept is 0"),
        ({"kept": 3, "read": 4}, "read is 4 but only 3 positions are kept"),
    ],
)
def test_a_cache_that_denies_itself_is_refused(cache: dict[str, Any], line: str) -> None:
    data = changed(
        changed(STORED, "parts.layers.0.flops_per_position", None), "parts.layers.0.kv_elements_per_position", None
    )
    one = {"elements_per_position": 1, "flops_per_position": 1, **cache}
    with pytest.raises(UserError, match=line):
        shape(changed(data, "parts.layers.0.caches", [one]), "x.yaml")


@pytest.mark.parametrize(("name", "kinds"), [("gpt-oss-20b", [(128, False), (0, False)]), ("gpt-oss-120b", [(128, False), (0, False)]),
                                             ("llama-4-scout", [(8192, True)] * 3 + [(0, False)])])  # fmt: skip
def test_the_bundled_shapes_with_windows(name: str, kinds: list[tuple[int, bool]]) -> None:
    model = load(name)
    found = [(layer.caches[0].kept, layer.caches[0].chunked) for layer in model.layers]
    assert found == kinds * (len(model.layers) // len(kinds)) and model.caution == ""
