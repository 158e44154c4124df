"""Rows that use each expert as often as was counted. Popularity is what was recorded; which experts follow each other is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simmoe.simulator.nouns.trace import Trace
from simmoe.workloads.foreign.building import TELL, Pass, Stated, request, trace
from simmoe.workloads.foreign.file import Array, File

MOST = 4096  # rows of all sequences together, unless the user says it
MOST_IDS = 2**26  # of what is drawn: a few gigabytes while it is
MADE = (
    "rows drawn (seed {seed}) so that each expert is used as often as {source} counted; their order is made up, so a cache that lives on "
    "reuse hits less than it would with the text"
)
MOST_USES = 2**44  # of one expert: a count of more is no count, and sums stay within 64 bits


def drawn(file: File, stated: Stated, counts: Sequence[Array], source: str) -> Trace:
    """counts: [layers, experts] of each sequence, whole numbers. source: what counted them. Raises UserError."""
    if stated.top_k is None:
        file.fail(f"holds counts, and they do not say top-k; {TELL} --top-k K")
    if not counts or not any(one.any() for one in counts):
        file.fail("counts nothing: every number is 0")
    layers = np.flatnonzero(np.any([one.any(1) for one in counts], 0))
    tokens = [_tokens(file, one[layers], stated.top_k, place) for place, one in enumerate(counts)]
    rows_of_all = stated.tokens or min(MOST, sum(tokens))
    if (ids := min(rows_of_all, sum(tokens)) * len(layers) * stated.top_k) > MOST_IDS:
        file.fail(f"--tokens {stated.tokens} draws {ids:,} ids, more than {MOST_IDS:,}; draw fewer")
    share = min(1.0, (stated.tokens or MOST) / sum(tokens))
    draw = np.random.default_rng(stated.seed)
    passes = list[Pass]()
    for number, (one, rows) in enumerate(zip(counts, tokens)):
        if rows := round(rows * share):
            columns = [_column(stated.top_k, count, rows, draw) for count in one[layers]]
            passes += request(number, np.stack(columns, 1), 0)
    kept = sum(len(one.ids) for one in passes)
    if stated.layers is not None and len(stated.layers) != len(layers):
        file.fail(
            f"counts {len(layers)} of {counts[0].shape[0]} layers; the model has {len(stated.layers)} with experts"
        )
    return trace(
        file, stated, passes, layers=layers.tolist(), experts=counts[0].shape[1], synthetic=MADE.format(seed=stated.seed, source=source),
        notes=[f"{sum(tokens):,} rows were counted, " + (f"{kept:,} drawn (--tokens)" if share < 1 else "all of them drawn")],
    )  # fmt: skip


def whole(file: File, values: Array, what: str) -> Array:
    """The same numbers as int64. Raises UserError for one that is no count."""
    if (
        values.dtype.kind not in "iuf"
        or not np.isfinite(values).all()
        or (values < 0).any()
        or (values != np.floor(values)).any()
    ):
        file.fail(f"{what} holds numbers that are no counts; counts are whole and not negative")
    if values.size and values.max() >= MOST_USES:
        file.fail(f"{what} counts {values.max():.3g}, more than can be")
    counts: Array = values.astype(np.int64)
    return counts


def _tokens(file: File, counts: Array, top_k: int, place: int) -> int:
    """Rows that were counted in this sequence."""
    totals = counts.sum(1)
    wrong = np.flatnonzero((totals != totals.max()) | (totals % top_k != 0))
    if wrong.size:
        at = int(wrong[0])
        file.fail(
            f"entry {place} counts {totals[at]:,} uses in layer column {at}, and at most {totals.max():,} in a layer; each token uses "
            f"top-{top_k} in every layer: give the --top-k of the model, or record again"
        )
    tokens = int(totals.max() // top_k)
    if counts.max() > tokens:
        at, expert = (int(i) for i in np.argwhere(counts > tokens)[0])
        file.fail(
            f"entry {place} counts expert {expert} {counts[at, expert]:,} times in layer column {at}, more than once in each of "
            f"{tokens:,} tokens (top-{top_k}): give the --top-k of the model"
        )
    return tokens


def _column(top_k: int, counts: Array, rows: int, draw: np.random.Generator) -> Array:
    """[rows, top_k]: experts of one layer, each `quota` times, none twice in a row."""
    quota = _quota(counts, rows, top_k)
    experts = draw.permutation(len(counts))
    slots = (
        np.repeat(experts, quota[experts]).reshape(top_k, rows).T
    )  # those of one expert lie on end, so in different rows
    column: Array = draw.permuted(slots, axis=1)[draw.permutation(rows)]
    return column


def _quota(counts: Array, rows: int, top_k: int) -> Array:
    """How often each expert is drawn: in proportion to its count, rounded so that it comes out; at most once a row, as it was counted."""
    if counts.sum() == rows * top_k:
        return counts
    wish = counts * (rows * top_k / counts.sum())
    quota: Array = np.minimum(np.floor(wish), rows).astype(np.int64)
    left = np.argsort(np.where((counts > 0) & (quota < rows), quota - wish, np.inf), kind="stable")
    quota[left[: rows * top_k - quota.sum()]] += 1
    return quota
