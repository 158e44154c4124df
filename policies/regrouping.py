"""The rows of a trace in other passes than recorded: what the schedules that know their passes beforehand share.

The experts of a token do not depend on which tokens share its pass. This assumes a router without capacity limits, where each
token chooses for itself: one that drops tokens of a full expert, or lets experts choose tokens, would have routed otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import DECODE, Trace


class Rows(NamedTuple):
    """The rows of a trace sequence by sequence, in order of first appearance; arrays [tokens].

    A turn of a sequence is a prompt and the answer to it: a prefill pass after a decode pass begins the next one.
    """

    row: Ints  # row of the trace
    sequence: Ints  # from 0, in order of first appearance
    turn: Ints  # of its sequence, from 0
    decode: npt.NDArray[np.bool_]
    begin: Ints  # where in these arrays its prompt or answer begins
    step: Ints  # passes of the same prompt or answer before this one
    recorded: Ints  # pass that held it


def rows_of(trace: Trace) -> Rows:
    """Every row with its place in its sequence."""
    _, first, inverse = np.unique(trace.sequence, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse]
    row = np.argsort(rank, kind="stable")
    sequence, recorded = rank[row], np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))[row]
    decode = trace.phase[recorded] == DECODE
    other = _changes(sequence)
    part = other | _changes(decode)  # a prompt or an answer begins here
    begin = np.maximum.accumulate(np.where(part, np.arange(trace.n_tokens), 0))
    turn = _count(part & ~decode, np.flatnonzero(other)[sequence])
    return Rows(row, sequence, turn, decode, begin, _count(_changes(recorded), begin), recorded)


def _changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Whether each value differs from the one before it; the first does."""
    return np.concatenate(([True], values[1:] != values[:-1]))


def _count(marks: npt.NDArray[np.bool_], since: Ints) -> Ints:
    """How many marks stand after index `since[i]` and not after i."""
    total: Ints = np.cumsum(marks)
    return total - total[since]


def played(trace: Trace, rows: Ints, keys: Ints) -> Trace:
    """The trace's rows in the order `rows` [tokens]; a pass ends where a column of `keys` [keys, tokens] differs from the next."""
    ends = np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1
    pass_ptr = np.concatenate(([0], ends, [trace.n_tokens])).astype(np.int64)
    phase = np.repeat(trace.phase, np.diff(trace.pass_ptr))[rows[pass_ptr[:-1]]]
    return trace.taken(rows, pass_ptr, phase)


def at_least_one(option: str, value: int, what: str) -> None:
    """Raises UserError unless `value` is a whole number above 0."""
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise UserError(f"{option} {value} is no number of {what}; give 1 or more")


def as_recorded(option: str, value: int | str, trace: Trace) -> None:
    """Which guesses a verify pass rejects depends on the tokens before it, so its rows cannot move to other passes."""
    if trace.emitted is not None:
        raise UserError(
            f"{option} {value} makes other passes than recorded, but the trace says which rows of its verify passes were kept "
            f"(emitted), and those stay together; leave {option} out"
        )
