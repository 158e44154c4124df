"""What a trace that obeys the rules may hold and no recording of a model does: faults of a recorder, each with its measure.

The limits stand between what 53 bundled and 5 public recordings hold and what the faults look like. Oracle-MoE keeps its experts on
purpose: its top-1 models repeat all of up to nine MoE layers for up to 191 decode passes on end, and they do so in prompts too. So a
repeat is judged against the other phase of the same trace. In the recordings the longest one is less than 4 times (1 + the longest of the
other phase); a stuck one is given away by 8 times. Rows of many slots need no other phase: among recordings with 24 slots and more, of
several experts a layer, none repeats the row before more than once, and no row comes again more than 3 times in its sequence.

Whether the order of rows means anything (shuffled.py) is judged last. A trace that says itself that it is made up (meta.synthetic) is not
judged: `notes` says what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.nouns.trace import DECODE, PREFILL, Trace
from simmoe.workloads.format.shuffled import said_of_order

FEWEST_REPEATS = 16  # rows on end that repeat the row before
FEWEST_ROWS = 16  # of the other phase, to tell how long its repeats are
TIMES_LONGER = 8  # than 1 + the longest of the other phase
SLOTS = 24  # moe_layers x top_k of a row that does not repeat by itself
FEWEST_CHANGES = 16  # of a layer, all of which another one copies
FEWEST_BLANK = 8  # rows on end that name one expert in all layers
FEWEST_RETURNS = 16  # of one row within its sequence
LAYERS = 8  # of a trace that is judged for blank and dummy rows: no recording with so many holds one
ROWS = 4096  # looked at together, so that a long trace takes no memory
PHASES = {PREFILL: "prompt rows", DECODE: "decode passes"}


class Rows(NamedTuple):
    """The rows, sequence by sequence."""

    order: Ints  # [rows] number in the trace
    phase: Ints  # [rows]
    starts: Flags  # [rows] the first of its sequence
    repeats: Flags  # [rows] the same experts and gate weights in every layer as the row before
    only: Ints  # [rows] the one expert that it names in every layer; -1 = several, or none
    alike: Flags  # [rows] the same experts in every layer, slot by slot, several of them
    marks: Ints  # [rows] a number that differs where any expert or gate weight does


@lru_cache(maxsize=8)
def doubts(trace: Trace) -> tuple[str, ...]:
    """One line for each thing that no recording holds; empty for a plausible trace."""
    if trace.meta.get("synthetic"):
        return ()
    rows, copied = _rows(trace), tuple(_copied(trace))
    blank = _blank(trace, rows)
    dummy = np.zeros(trace.n_tokens, bool) if copied else _dummy(trace, rows)
    text = ~blank & ~dummy
    said = (
        *_said_of_blank(trace, rows, blank), *_said_of_dummy(trace, rows, dummy), *_stuck(trace, rows, rows.repeats & text), *copied,
        *_returning(trace, rows, text),
    )  # fmt: skip
    return said or tuple(said_of_order(trace, rows.order))


def notes(trace: Trace) -> list[str]:
    """The same as a result says it, and what a trace that is made up is made of."""
    made = trace.meta.get("synthetic")
    said = [f"The trace is synthetic: {made}"] if isinstance(made, str) else []
    noted = trace.meta.get("import_notes")
    said += [f"Of the trace: {note}" for note in noted if isinstance(note, str)] if isinstance(noted, list) else []
    return [*said, *(f"The trace is not plausible: {doubt}" for doubt in doubts(trace))]


def _rows(trace: Trace) -> Rows:
    order = np.argsort(trace.sequence, kind="stable")
    starts = np.concatenate(([True], np.diff(trace.sequence[order]) != 0))
    only, alike, marks = np.full(len(order), -1), np.zeros(len(order), bool), np.zeros(len(order), np.int64)
    weights = np.random.default_rng(0).integers(2**62, size=(2, *trace.expert_ids.shape[1:]))
    for begin in range(0, len(order), ROWS):
        part = slice(begin, begin + ROWS)
        ids = trace.expert_ids[order[part]]
        first = ids[:, :1, :1]
        only[part] = np.where(((ids == first) | (ids < 0)).all((1, 2)), first[:, 0, 0], -1)
        alike[part] = (ids == ids[:, :1]).all((1, 2)) & ((ids[:, 0] >= 0).sum(1) > 1)
        marks[part] = (ids * weights[0]).sum((1, 2))  # modulo 2**64
        if trace.gate_weights is not None:
            marks[part] += (trace.gate_weights[order[part]].view(np.int16) * weights[1]).sum((1, 2))
    phase = np.repeat(trace.phase, np.diff(trace.pass_ptr))[order]
    repeats = np.concatenate(([False], np.diff(marks) == 0)) & ~starts
    return Rows(order, phase, starts, repeats, only, alike, marks)


def _many_slots(trace: Trace) -> bool:
    """No recording of so many experts a row repeats itself: each row can be judged alone."""
    return trace.top_k > 1 and trace.n_layers * trace.top_k >= SLOTS


def _stuck(trace: Trace, rows: Rows, repeats: Flags) -> Iterator[str]:
    """Rows that repeat the row before on end, though those of the other phase do not."""
    found = {phase: _longest(rows, repeats, phase) for phase in PHASES}
    for phase, what in PHASES.items():
        first, length, _ = found[phase]
        _, others, judged = found[DECODE + PREFILL - phase]
        longer = judged >= FEWEST_ROWS and length >= TIMES_LONGER * (1 + others)
        if (longer or _many_slots(trace)) and length >= FEWEST_REPEATS:
            row, other = int(rows.order[first]), PHASES[DECODE + PREFILL - phase]
            against = f", its {other} at most {others:,} on end" if longer else ""
            yield (
                f"{length:,} {what} on end repeat the same experts in every layer (sequence {trace.sequence[row]}, from token {row:,})"
                f"{against}: routing that is stuck, such as a buffer read again and again"
            )


def _longest(rows: Rows, repeats: Flags, phase: int) -> tuple[int, int, int]:
    """(first, length) of the longest stretch of repeats within a phase, and how many rows could repeat."""
    inside = (rows.phase == phase) & ~rows.starts & (np.roll(rows.phase, 1) == phase)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], repeats & inside, [False])).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    if not len(lengths):
        return 0, 0, int(inside.sum())
    best = int(lengths.argmax())
    return int(edges[2 * best]), int(lengths[best]), int(inside.sum())


def _blank(trace: Trace, rows: Rows) -> Flags:
    """[rows]: it is one of several on end that all name the same one expert in every layer."""
    if trace.n_layers < LAYERS:
        return np.zeros(trace.n_tokens, bool)
    stretch = np.cumsum(rows.starts | (np.diff(rows.only, prepend=-1) != 0))
    long: Flags = np.bincount(stretch)[stretch] >= FEWEST_BLANK
    return long & (rows.only >= 0)


def _said_of_blank(trace: Trace, rows: Rows, blank: Flags) -> Iterator[str]:
    if blank.any():
        at, count = int(blank.argmax()), int(blank.sum())
        every = np.array_equal(blank, rows.phase == PREFILL)
        which = f"all {count:,} prompt rows name" if every else f"{count:,} of {trace.n_tokens:,} rows name"
        yield (
            f"{which} one expert in every layer (expert {rows.only[at]}, from token {rows.order[at]:,}): routing that is blank, such as "
            "rows that came out of a prefix cache"
        )


def _dummy(trace: Trace, rows: Rows) -> Flags:
    """[rows]: it names the same several experts in every layer. Few experts may be the same by chance: then nothing is said."""
    judged = trace.n_layers >= LAYERS and trace.n_experts >= 2 * trace.top_k
    return rows.alike if judged else np.zeros(trace.n_tokens, bool)


def _said_of_dummy(trace: Trace, rows: Rows, dummy: Flags) -> Iterator[str]:
    if dummy.any():
        at = int(rows.order[int(dummy.argmax())])
        yield (
            f"{int(dummy.sum()):,} of {trace.n_tokens:,} rows name the same {trace.top_k} experts in every layer (from token {at:,}, "
            f"experts {trace.expert_ids[at, 0].tolist()}): rows of a dummy pass, such as a warm-up, and not of a text"
        )


def _returning(trace: Trace, rows: Rows, text: Flags) -> Iterator[str]:
    """A row of many slots that comes again and again within its sequence, with others between. text: rows that are judged."""
    begins = np.flatnonzero(~rows.repeats & text)
    if not _many_slots(trace) or not len(begins):
        return
    keys = np.stack([trace.sequence[rows.order[begins]].astype(np.int64), rows.marks[begins]])
    _, first, times = np.unique(keys, axis=1, return_index=True, return_counts=True)
    if times.max() >= FEWEST_RETURNS:
        at = int(rows.order[begins[first[times.argmax()]]])
        yield (
            f"one row comes {int(times.max()):,} times in sequence {trace.sequence[at]}, the same experts in every layer (first as token "
            f"{at:,}): rows of a dummy pass between those of a text, such as a rank that had no work"
        )


def _copied(trace: Trace) -> Iterator[str]:
    """Layers that name the same experts for every token, slot by slot."""
    alike = dict[int, list[int]]()
    for column, (mark, changes) in enumerate(zip(*_marks(trace))):
        if changes >= FEWEST_CHANGES:
            alike.setdefault(mark, []).append(column)
    for columns in (same for same in alike.values() if len(same) > 1):
        named = (
            "all " + str(trace.n_layers)
            if len(columns) == trace.n_layers
            else ", ".join(map(str, trace.layer_index[columns]))
        )
        yield f"layers {named}: the same experts for every token, slot by slot: the routing of one layer, copied"


def _marks(trace: Trace) -> tuple[list[int], list[int]]:
    """A number for each layer that differs where any of its ids does, and how often its experts change."""
    draw = np.random.default_rng(0)
    marks, changes = np.zeros(trace.n_layers, np.uint64), np.zeros(trace.n_layers, np.int64)
    for begin in range(0, trace.n_tokens, ROWS):
        ids = trace.expert_ids[begin : begin + ROWS]
        weights = draw.integers(2**63, size=(len(ids), 1, trace.top_k), dtype=np.uint64)
        marks += (ids.astype(np.uint64) * weights).sum((0, 2))  # modulo 2**64
        changes += (ids[1:] != ids[:-1]).any(2).sum(0)
        if len(np.unique(marks)) == trace.n_layers:
            break  # no two are alike, whatever follows
    return marks.tolist(), changes.tolist()
