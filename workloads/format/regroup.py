"""A part of a recorded trace, or all of it in other passes: prompts read in chunks, answers decoded in static batches.

The experts of a token do not depend on which tokens share its pass. This assumes a router without capacity limits, where each
token chooses for itself: one that drops tokens of a full expert, or lets experts choose tokens, would have routed otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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


def regrouped(trace: Trace, prefill_chunk: int | None, batch: int | None) -> Trace:
    """The trace in chunks and batches, where they are asked for; chunks first."""
    if prefill_chunk is not None:
        trace = prefill_chunks(trace, prefill_chunk)
    return trace if batch is None else batched(trace, batch)


def first_tokens(trace: Trace, tokens: int | None) -> Trace:
    """The passes that fit into the first `tokens` tokens; at least one pass."""
    if tokens is None or tokens >= trace.n_tokens:
        return trace
    if tokens < 1:
        raise UserError(f"--tokens {tokens} plays nothing; give 1 or more, or all")
    passes = max(int(np.searchsorted(trace.pass_ptr, tokens, side="right")) - 1, 1)
    end = int(trace.pass_ptr[passes])
    cut: Mapping[str, Any] = {
        name: getattr(trace, name)[:end] for name in ("expert_ids", "sequence", "position", "gate_weights", "emitted")
        if getattr(trace, name) is not None
    }  # fmt: skip
    guesses = None if trace.predicted_ids is None else trace.predicted_ids[:, :end]
    meta = {key: value for key, value in trace.meta.items() if key != "digest"}  # it was that of the whole
    return replace(
        trace,
        **cut,
        pass_ptr=trace.pass_ptr[: passes + 1],
        phase=trace.phase[:passes],
        predicted_ids=guesses,
        meta=meta,
    )


def prefill_chunks(trace: Trace, tokens: int) -> Trace:
    """Every prompt in passes of at most `tokens` rows, all of them where its first row stood; decode passes stay as they are."""
    _at_least_one("--prefill-chunk", tokens, "tokens")
    _as_recorded("--prefill-chunk", tokens, trace)
    rows = _rows(trace)
    # The recorded row at which a decode pass or a whole prompt begins: no two share it, and it keeps their order.
    start = np.where(rows.decode, trace.pass_ptr[rows.recorded], rows.row[rows.begin])
    chunk = np.where(rows.decode, 0, (np.arange(trace.n_tokens) - rows.begin) // tokens)
    order = np.lexsort((rows.row, start))
    return _played(trace, rows.row[order], np.stack((start, chunk))[:, order])


def batched(trace: Trace, sequences: int) -> Trace:
    """Static batches: `sequences` at a time, of each batch first all prompts, one after the other, then step i of all answers.

    A batch takes its turns together. A sequence that has ended leaves its place empty; the last batch may be smaller.
    """
    _at_least_one("--batch", sequences, "sequences")
    _as_recorded("--batch", sequences, trace)
    rows = _rows(trace)
    held = int(rows.sequence[-1]) + 1
    if sequences > held:
        nearest = f"{held} sequences; give {held} or less" if held > 1 else "1 sequence; give 1"
        raise UserError(f"--batch {sequences} cannot be filled: the trace holds {nearest}")
    batch = rows.sequence // sequences
    prompt_of = np.where(rows.decode, 0, rows.sequence)  # a prompt is read alone, an answer decoded with the others
    keys = np.stack((batch, rows.turn, rows.decode, prompt_of, rows.step))
    order = np.lexsort(keys[::-1])  # stable: the rows of a pass stay in the order of the sequences
    return _played(trace, rows.row[order], keys[:, order])


def _rows(trace: Trace) -> Rows:
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


def _played(trace: Trace, rows: Ints, keys: Ints) -> Trace:
    """The trace's rows in the order `rows` [tokens]; a pass ends where a column of `keys` [keys, tokens] differs from the next."""
    ends = np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1
    pass_ptr = np.concatenate(([0], ends, [trace.n_tokens])).astype(np.int64)
    phase = np.repeat(trace.phase, np.diff(trace.pass_ptr))[rows[pass_ptr[:-1]]]
    names = ("expert_ids", "sequence", "position", "gate_weights")
    moved: Mapping[str, Any] = {name: getattr(trace, name)[rows] for name in names if getattr(trace, name) is not None}
    guesses = None if trace.predicted_ids is None else trace.predicted_ids[:, rows]
    meta = {key: value for key, value in trace.meta.items() if key != "digest"}  # it was that of the recorded passes
    return replace(trace, **moved, pass_ptr=pass_ptr, phase=phase, predicted_ids=guesses, meta=meta)


def _at_least_one(option: str, value: int, what: str) -> None:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise UserError(f"{option} {value} is no number of {what}; give 1 or more")


def _as_recorded(option: str, value: int, trace: Trace) -> None:
    """Which guesses a verify pass rejects depends on the tokens before it, so its rows cannot move to other passes."""
    if trace.emitted is not None:
        raise UserError(
            f"{option} {value} makes other passes than recorded, but the trace says which rows of its verify passes were kept "
            f"(emitted), and those stay together; leave {option} out"
        )
