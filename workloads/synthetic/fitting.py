"""Fits a twin to a recorded trace: draws from it again and again, and moves each weight until the rates are those of the recording.

Statistics only: a twin holds at most a hundredth as many numbers as the trace has ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.locality import routing
from simmoe.workloads.synthetic.drawing import draw_ids
from simmoe.workloads.synthetic.measures import Ids, Rates, pairs_of, rates, topic_tokens
from simmoe.workloads.synthetic.twin import Floats, Twin, depth_ends

IDS_PER_NUMBER = 100
ROUNDS = 24
TOKENS = 2048  # drawn in each round, or the text if that is shorter
FARTHEST = 8.0  # a weight from even: beyond it an expert is always or never used
SPREAD_PER_SHARE = 4.0  # topic spread for a step of of_best: its slope is about a quarter in the recordings
GREATEST_SPREAD = 2.0
DECIMALS = 2  # that a weight is kept with: a hundredth is 1 % of its chance


def fit(trace: Trace, most_pairs: int | None = None) -> Twin:
    """The twin of a trace, which may hold several sequences. Raises UserError for a trace that is too short or lacks routing."""
    read = routing.of(trace)
    ids = read.ids
    if (ids < 0).any():
        raise UserError("a trace with unused slots (-1) has no twin: every token must use top_k experts in every layer")
    first = _first(trace, ids, np.bincount(read.stretch).tolist(), most_pairs)
    target = rates(ids, np.bincount(read.stretch).tolist(), trace.n_experts, first.ends, first.targets, first.partners)
    return _rounded(matched(_started(first, target), target, np.bincount(read.stretch).tolist()))


def _first(trace: Trace, ids: Ids, lengths: Sequence[int], most_pairs: int | None) -> Twin:
    """An even twin, with as many pairs as its budget of numbers leaves, or as are asked for."""
    n_layers, n_experts, k = trace.n_layers, trace.n_experts, trace.top_k
    ends = depth_ends(n_experts, k)
    most = ids.size // IDS_PER_NUMBER
    base = n_layers * (n_experts + len(ends) + 2) + len(ends) + 3
    if base > most:
        tokens = -(-base * IDS_PER_NUMBER // (n_layers * k))
        raise UserError(
            f"the trace has {len(ids):,} tokens; a twin of {n_layers} layers × top-{k} of {n_experts} needs {tokens:,}: it holds "
            f"{base:,} numbers, and may hold one for {IDS_PER_NUMBER} ids of the trace"
        )
    pairs = min((most - base) // (3 * n_layers), n_experts // 2) if n_layers > 1 else 0
    pairs = pairs if most_pairs is None else min(pairs, most_pairs)
    targets, partners = pairs_of(ids, n_experts, pairs)
    return Twin(
        str(trace.meta.get("model") or "a trace"), _source(trace, len(ids)), n_experts, k, trace.layer_index.astype(np.int64),
        np.zeros((n_layers, n_experts)), ends, np.zeros((n_layers, len(ends))), topic_tokens(ids, lengths, n_experts),
        np.full(n_layers, 0.3), targets, partners, np.zeros((n_layers, pairs)),
    )  # fmt: skip


def _source(trace: Trace, tokens: int) -> str:
    return f"{trace.meta.get('source') or 'a recorded trace'}, {tokens:,} tokens"


def _started(twin: Twin, target: Rates) -> Twin:
    """A first guess, as if popularity and stickiness each explained half."""
    popularity = _log_weight(target.by_expert)
    return replace(twin, popularity=0.5 * _centred(popularity), stickiness=_log_weight(target.by_depth))


def matched(twin: Twin, target: Rates, lengths: Sequence[int]) -> Twin:
    """The twin whose draws show the target rates. The later rounds are averaged: single ones scatter."""
    kept: list[Twin] = []
    for number in range(ROUNDS):
        some = _some(lengths, number)
        drawn = rates(draw_ids(twin, some, number), some, twin.n_experts, twin.ends, twin.targets, twin.partners)
        twin = _moved(twin, drawn, target, 0.8 if number < ROUNDS // 3 else 0.3)
        if number >= ROUNDS // 2:
            kept.append(twin)
    parts = ("popularity", "stickiness", "topic_spread", "lift")
    return replace(twin, **{part: np.mean([getattr(one, part) for one in kept], axis=0) for part in parts})


def _some(lengths: Sequence[int], number: int) -> list[int]:
    """Lengths of some sequences of the text, TOKENS in all or a few more; others in each round."""
    taken: list[int] = []
    while sum(taken) < min(TOKENS, sum(lengths)):
        taken.append(min(lengths[(number * 7 + len(taken)) % len(lengths)], TOKENS))
    return taken


def _moved(twin: Twin, drawn: Rates, target: Rates, step: float) -> Twin:
    def change(part: str) -> Floats:
        gap = _log_weight(getattr(target, part)) - _log_weight(getattr(drawn, part))
        return np.asarray(step * np.clip(gap, -1, 1))

    spread = twin.topic_spread
    if not np.isnan(target.of_best).any() and not np.isnan(drawn.of_best).any():
        spread = np.clip(spread + step * SPREAD_PER_SHARE * (target.of_best - drawn.of_best), 0, GREATEST_SPREAD)
    return replace(
        twin,
        popularity=np.clip(_centred(twin.popularity + 0.6 * change("by_expert")), -FARTHEST, FARTHEST),
        stickiness=np.clip(_centred(twin.stickiness + change("by_depth")), -FARTHEST, FARTHEST),
        topic_spread=spread,
        lift=np.clip(twin.lift + change("together"), -FARTHEST, FARTHEST),
    )


def _log_weight(rate: Floats) -> Floats:
    """Of the rate at which one is drawn in a time in which all clocks run alike: 1 - exp(-weight) = rate."""
    return np.asarray(np.log(-np.log1p(-np.clip(rate, 1e-6, 1 - 1e-6))))


def _centred(weights: Floats) -> Floats:
    return np.asarray(weights - weights.mean(1, keepdims=True))


def _rounded(twin: Twin) -> Twin:
    parts = ("popularity", "stickiness", "topic_spread", "lift")
    rounded = {part: np.round(getattr(twin, part), DECIMALS) + 0.0 for part in parts}
    return replace(twin, topic_tokens=float(round(twin.topic_tokens)), **rounded)
