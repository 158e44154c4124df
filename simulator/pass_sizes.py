"""What the cost of a pass depends on beside its routing: tokens, sequences, and the positions that attention reads and computes with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.model import Span
from simmoe.simulator.nouns.trace import Trace
from simmoe.simulator.physics.attention import attended, reached


class PassSize(NamedTuple):
    """What a pass has, and what it reads of the caches."""

    tokens: int
    sequences: int  # rows of the LM head
    kv_positions: tuple[int, ...]  # of each span of the model's caches: positions read, summed over sequences
    attended: tuple[int, ...]  # the same: (token, position) pairs
    draft_ps: int = 0  # before it


def pass_sizes(trace: Trace, spans: Sequence[Span]) -> list[PassSize]:
    """PassSize of every pass of a trace, for a model whose caches have these spans."""
    tokens, n = np.diff(trace.pass_ptr), len(spans)
    number = np.repeat(np.arange(trace.n_passes), tokens)
    order = np.lexsort((trace.position, trace.sequence, number))
    number, position = number[order], trace.position[order].astype(np.int64)
    begins = np.ones(len(order) + 1, bool)  # of the rows of a sequence in a pass, and behind the last row
    begins[1:-1] = (np.diff(number) != 0) | (np.diff(trace.sequence[order]) != 0)
    rows = np.flatnonzero(begins)
    sequences = np.bincount(number[rows[:-1]], minlength=trace.n_passes)
    counts = [_positions(span, position, rows, np.cumsum(sequences) - sequences) for span in spans]
    flat = list(
        zip(tokens.tolist(), sequences.tolist(), *(read for read, _ in counts), *(pairs for _, pairs in counts))
    )
    # passes are mostly alike
    made = {row: PassSize(row[0], row[1], row[2 : 2 + n], row[2 + n :]) for row in dict.fromkeys(flat)}
    return [made[row] for row in flat]


def _positions(span: Span, position: Ints, rows: Ints, passes: Ints) -> tuple[list[int], list[int]]:
    """Of each pass: positions read and (token, position) pairs. rows: where those of a sequence in a pass begin, and the end; passes:
    where in `rows` those of a pass begin."""
    first, last = position[rows[:-1]], position[rows[1:] - 1]
    pairs = np.add.reduceat(attended(position, *span), rows[:-1])
    read = reached(first, last, pairs, span.kept, span.chunked)
    return np.add.reduceat(read, passes).tolist(), np.add.reduceat(pairs, passes).tolist()
