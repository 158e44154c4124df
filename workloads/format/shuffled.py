"""Whether the order of the rows of a trace means anything: neighbours share more experts than rows that stand far apart.

In every recording but one a token shares more experts with the token before than with others of its text: among the bundled traces of 8
slots and more the difference is 6 times its standard error or more, in recordings of public models 9 times or more (156 rows). Rows in
random order have none, within 3 standard errors. (The one is `hash-4x8`, of 4 slots: its experts are a hash of the token.) So a trace of at
least 8 slots a row and 256 such pairs is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace

SLOTS = 8  # moe_layers x top_k of a row
APART = 16  # rows at least between two that stand far apart; a sequence of 4 times as many is looked at
PAIRS, MOST_PAIRS = 256, 4096
ERRORS = 3.0  # standard errors


def said_of_order(trace: Trace, order: Ints) -> Iterator[str]:
    """order: the rows, sequence by sequence."""
    if trace.n_layers * trace.top_k < SLOTS or trace.n_experts <= trace.top_k:
        return
    near, far = _shares(trace, order)
    if len(near) < PAIRS:
        return
    more = near - far
    if more.mean() < ERRORS * more.std() / np.sqrt(len(more)):
        yield (
            f"neighbouring rows share {near.mean():.1%} of their experts and rows far apart {far.mean():.1%}: the rows are in no order, as "
            "if shuffled, so what a cache would hit cannot be told"
        )


def _shares(trace: Trace, order: Ints) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """[pairs]: which share of its experts a row has in common with the next one, and with one that stands far from it."""
    sequence = trace.sequence[order]
    begins = np.flatnonzero(np.diff(sequence, prepend=sequence[0] - 1))
    lengths = np.diff(begins, append=len(order))
    begin, length = np.repeat(begins, lengths), np.repeat(lengths, lengths)
    rows = np.flatnonzero((np.arange(len(order)) + 1 < begin + length) & (length >= 4 * APART))
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    rows = rows[:: -(-len(rows) // MOST_PAIRS)]
    begin, length = begin[rows], length[rows]
    away = np.random.default_rng(0).integers(APART, length - APART + 1)
    other = begin + (rows - begin + away) % length
    one = trace.expert_ids[order[rows]]
    return _common(one, trace.expert_ids[order[rows + 1]]), _common(one, trace.expert_ids[order[other]])


def _common(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    used = one >= 0
    found = (one[..., :, None] == other[..., None, :]).any(-1) & used
    share: np.ndarray[Any, Any] = found.sum((1, 2)) / np.maximum(used.sum((1, 2)), 1)
    return share
