"""What a twin is fitted on: rates that are counted in the same way in recorded and in drawn routing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simmoe.workloads.synthetic.twin import Floats, Ints

Ids = npt.NDArray[np.int16]  # [tokens, layers, top_k]: sequences one after the other
WINDOW = 64  # tokens that show a topic
SHORT_WINDOW = 16  # in texts of shorter sequences
FEWEST_WINDOWS = 8
LAG_WINDOW = 32  # tokens; topics are followed over windows of this length ...
LAGS = (2, 6)  # ... so many windows later: beyond what an expert sticks
TOPIC_TOKENS = (64.0, 1024.0)  # shorter ones are stickiness, longer ones do not show
UNKNOWN_TOPIC_TOKENS = 256.0
FAINT = 1e-4  # on every rate of an expert, so that one which is never used has a logarithm
FEW = 20  # expert-tokens: a depth at which fewer experts stood tells little, and counts as rarely used


@dataclass(frozen=True, eq=False)
class Rates:
    by_depth: Floats  # [layers, groups of depths] a token uses the expert that stands at such a depth
    by_expert: Floats  # [layers, experts] a token uses the expert
    of_best: Floats  # [layers] share of the slots of a window that its top_k most used experts serve
    together: Floats  # [layers, pairs] a token that uses the partner in the layer before uses the target


def rates(ids: Ids, lengths: Sequence[int], n_experts: int, ends: Ints, targets: Ints, partners: Ints) -> Rates:
    hits, seen = depths(ids, n_experts)
    starts = np.concatenate(([0], ends[:-1]))
    grouped = [np.add.reduceat(counts, starts, axis=1) for counts in (hits, seen)]
    counts = load(ids, n_experts)
    return Rates(
        by_depth=(grouped[0] + FAINT * FEW) / (grouped[1] + FEW),
        by_expert=np.asarray(counts / len(ids) + FAINT),
        of_best=of_best(ids, lengths, n_experts),
        together=together(ids, n_experts, targets, partners),
    )


def depths(ids: Ids, n_experts: int) -> tuple[Ints, Ints]:
    """[layers, n_experts] each: how often an expert was used at that depth of one LRU stack, and how often one stood there."""
    tokens, n_layers, k = ids.shape
    stack = np.tile(np.arange(n_experts), (n_layers, 1))
    place = stack.copy()  # of each expert in the stack
    seen = np.zeros((n_layers, n_experts), bool)
    hits, filled = np.zeros((n_layers, n_experts), np.int64), np.zeros((n_layers, n_experts + 1), np.int64)
    rows = np.arange(n_layers)
    for token in range(tokens):
        now = ids[token].astype(np.int64)
        depth = np.take_along_axis(place, now, 1)
        hits[rows[:, None], depth] += np.take_along_axis(seen, now, 1)
        filled[rows, seen.sum(1)] += 1
        others = np.ones((n_layers, n_experts), bool)
        np.put_along_axis(others, depth, False, 1)
        stack = np.concatenate([now[:, ::-1], stack[others].reshape(n_layers, n_experts - k)], 1)
        np.put_along_axis(place, stack, np.arange(n_experts)[None], 1)
        np.put_along_axis(seen, now, True, 1)
    return hits, filled[:, :0:-1].cumsum(1)[:, ::-1]


def load(ids: Ids, n_experts: int) -> Ints:
    """[layers, n_experts]: how often each expert is used."""
    n_layers = ids.shape[1]
    keys = np.arange(n_layers)[:, None] * n_experts + ids
    return np.bincount(keys.ravel(), minlength=n_layers * n_experts).reshape(n_layers, n_experts)


def of_best(ids: Ids, lengths: Sequence[int], n_experts: int) -> Floats:
    """[layers]: SRP (docs/locality.md) over windows within sequences, as long as enough sequences are."""
    window = WINDOW if sum(length // WINDOW for length in lengths) >= FEWEST_WINDOWS else SHORT_WINDOW
    counts = windows(ids, lengths, n_experts, window)
    if not len(counts):
        return np.full(ids.shape[1], np.nan)
    best = np.partition(counts, n_experts - ids.shape[2], 2)[:, :, n_experts - ids.shape[2] :]
    return np.asarray(best.sum(2).mean(0) / (window * ids.shape[2]))


def windows(ids: Ids, lengths: Sequence[int], n_experts: int, window: int) -> Ints:
    """[windows, layers, n_experts] int: how often each expert is used in each whole window of each sequence."""
    begins = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    first = [begin + at for begin, length in zip(begins, lengths) for at in range(0, length - window + 1, window)]
    return np.array([load(ids[begin : begin + window], n_experts) for begin in first]).reshape(
        -1, ids.shape[1], n_experts
    )


def topic_tokens(ids: Ids, lengths: Sequence[int], n_experts: int) -> float:
    """How long topics last: how fast the popularity of a window is forgotten."""
    counts = windows(ids, lengths, n_experts, LAG_WINDOW).astype(np.float64)
    number = np.repeat(np.arange(len(lengths)), [length // LAG_WINDOW for length in lengths])
    if len(counts) < FEWEST_WINDOWS:
        return UNKNOWN_TOPIC_TOKENS
    beyond = counts - counts.mean(0)
    near, far = (_alike(beyond, number, lag) for lag in LAGS)
    if not 0 < far < near:
        return UNKNOWN_TOPIC_TOKENS if not near > 0 or not far > 0 else TOPIC_TOKENS[1]
    return float(np.clip((LAGS[1] - LAGS[0]) * LAG_WINDOW / np.log(near / far), *TOPIC_TOKENS))


def _alike(beyond: Floats, number: Ints, lag: int) -> float:
    """Mean product of windows that stand `lag` apart in one sequence; NaN without any."""
    pairs = np.flatnonzero(number[lag:] == number[:-lag]) if len(number) > lag else np.zeros(0, np.int64)
    return float((beyond[pairs] * beyond[pairs + lag]).sum() / len(pairs)) if len(pairs) else float("nan")


def pairs_of(ids: Ids, n_experts: int, pairs: int) -> tuple[Ints, Ints]:
    """(targets, partners) [layers, pairs]: the experts that follow one of the layer before most often beyond chance, and that one."""
    n_layers, tokens = ids.shape[1], len(ids)
    targets = np.tile(np.arange(pairs), (n_layers, 1))
    partners = np.zeros((n_layers, pairs), np.int64)
    counts = load(ids, n_experts)
    for layer in range(1, n_layers):
        both = used(ids[:, layer - 1], n_experts).T @ used(ids[:, layer], n_experts)  # [partner, target]
        beyond = both - np.outer(counts[layer - 1], counts[layer]) / tokens
        targets[layer] = np.sort(np.argsort(-beyond.max(0), kind="stable")[:pairs])
        partners[layer] = beyond.argmax(0)[targets[layer]]
    return targets, partners


def used(ids: npt.NDArray[np.int16], n_experts: int) -> npt.NDArray[np.float32]:
    """[tokens, n_experts] 1 where the token uses the expert; ids [tokens, top_k] of one layer."""
    flags = np.zeros((len(ids), n_experts), np.float32)
    np.put_along_axis(flags, ids.astype(np.int64), 1, 1)
    return flags


def together(ids: Ids, n_experts: int, targets: Ints, partners: Ints) -> Floats:
    """[layers, pairs]: share of the tokens with the partner in the layer before that use the target."""
    found = np.zeros(targets.shape)
    for layer in range(1, len(targets)):
        before, here = used(ids[:, layer - 1], n_experts), used(ids[:, layer], n_experts)
        partner, target = before[:, partners[layer]], here[:, targets[layer]]
        found[layer] = ((partner * target).sum(0) + 0.5) / (partner.sum(0) + 1)
    return found
