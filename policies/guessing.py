"""What prefetch files share: guesses in order, rows and passes of a trace, shares counted from text. Whole numbers, so that ties are the
same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace

PARTS = 1 << 20  # of a share
ROWS = 1024  # that are counted at a time


def no_text(ask: Ask, name: str) -> None:
    """Raises UserError where a text stands behind the name of a prefetcher that counts none."""
    if ask.text is not None:
        raise UserError(f"--prefetch {name} counts no text; leave out what stands behind the colon")


def in_order(event: Ints, obj: Ints) -> tuple[Ints, Ints]:
    """Guesses by event, each object once, in order of first mention; those before the first event are left out."""
    event, obj = event[event >= 0], obj[event >= 0]
    key = event * (int(obj.max(initial=0)) + 1) + obj
    order = np.sort(np.unique(key, return_index=True)[1])
    order = order[np.argsort(event[order], kind="stable")]
    return event[order], obj[order]


def at_lead(trace: Trace, number: Ints, ids: Ints, layer: Ints, lead: int) -> tuple[Ints, Ints]:
    """Guesses that are decided `lead` events before the one that they are for.

    ids [rows, layers, any]: experts, -1 = none; number [rows]: the pass that they are for; layer [layers].
    """
    event = np.broadcast_to((number[:, None] * trace.n_layers + layer - lead)[..., None], ids.shape)
    known = ids >= 0
    return in_order(event[known], (ids.astype(np.int64) + layer[:, None] * trace.n_experts)[known])


def pass_of(trace: Trace) -> Ints:
    """[tokens] the pass of each."""
    return np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))


def rows_that_follow(trace: Trace) -> tuple[Ints, Ints]:
    """(row, the next row of its sequence), by the pass of the second."""
    order = np.argsort(trace.sequence, kind="stable")
    same = np.flatnonzero(np.diff(trace.sequence[order]) == 0)
    sort = np.argsort(order[same + 1], kind="stable")
    return order[same][sort], order[same + 1][sort]


def rows_before(trace: Trace) -> tuple[Ints, Ints]:
    """(pass, row): of each sequence that a pass goes on with, its last row in an earlier pass; by pass."""
    before, after = rows_that_follow(trace)
    number = pass_of(trace)
    begins = np.flatnonzero(number[before] < number[after])
    return number[after[begins]], before[begins]


def passes_of(trace: Trace) -> Iterator[Ints]:
    """[tokens, layers, k] of each pass."""
    for begin, end in zip(trace.pass_ptr[:-1].tolist(), trace.pass_ptr[1:].tolist()):
        yield trace.expert_ids[begin:end].astype(np.int64)


def used(ids: Ints, n_experts: int) -> Ints:
    """int64 [layers, experts]: tokens that use each expert. ids [tokens, layers, k]."""
    layers = ids.shape[1]
    flat = (ids + np.arange(layers)[:, None] * n_experts)[ids >= 0]
    return np.bincount(flat, minlength=layers * n_experts).reshape(layers, n_experts)


class Followers:
    """How often a token that used expert i of a row used expert j of the row that follows it."""

    def __init__(self, rows: int, n_experts: int) -> None:
        self.n_experts, self.count = n_experts, np.zeros((rows * n_experts, n_experts), np.int64)

    def add(self, before: Ints, after: Ints) -> None:
        """Of tokens [tokens, rows, k] each."""
        n = self.n_experts
        for begin in range(0, len(before), ROWS):
            one, other = before[begin : begin + ROWS, :, :, None], after[begin : begin + ROWS, :, None, :]
            at = ((one + np.arange(before.shape[1])[:, None, None] * n) * n + other)[(one >= 0) & (other >= 0)]
            np.add.at(self.count.reshape(-1), at, 1)

    def share(self, use: Ints) -> Ints:
        """int64 [rows, experts]: how much speaks for each expert of the rows that follow, where `use` [rows, experts] tokens used each:
        the sum of their shares, in 1/PARTS."""
        at = np.flatnonzero(use)
        count = self.count[at]
        shares = count * PARTS // np.maximum(count.sum(1, keepdims=True), 1) * use.reshape(-1)[at, None]
        found = np.zeros((len(use), self.n_experts), np.int64)
        add_by_row(found, at // self.n_experts, shares)
        return found


def add_by_row(total: Ints, row: Ints, more: Ints) -> None:
    """Adds each line of `more` to the line of `total` that `row`, in rising order, names."""
    if len(row):
        begins = np.flatnonzero(np.diff(row, prepend=-1))
        total[row[begins]] += np.add.reduceat(more, begins, axis=0)


def best(score: Ints, many: Ints) -> Ints:
    """int64 [rows, most]: the `many` [rows] experts of each row with the highest scores above 0, the lower number first where scores are
    equal; -1 behind them."""
    most = min(int(many.max(initial=0)), score.shape[1])
    found = np.argsort(-score, axis=1, kind="stable")[:, :most]
    known = (np.take_along_axis(score, found, 1) > 0) & (np.arange(most) < many[:, None])
    return np.where(known, found, -1)


def joined(parts: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """Lists of (event, object) as one, in order; later ones are named behind earlier ones of the same event."""
    none = np.zeros(0, np.int64)
    events, objects = zip(*parts) if parts else ((none,), (none,))
    return in_order(np.concatenate(events), np.concatenate(objects))


def guessed(events: Ints, layers: Ints, ids: Ints, n_experts: int) -> tuple[Ints, Ints]:
    """(event, object) of ids [rows, any], where row i is guessed at events[i] for layer layers[i]; -1 = none."""
    known = ids >= 0
    every = np.broadcast_to(events[:, None], ids.shape)
    return every[known], (ids + layers[:, None] * n_experts)[known]
