"""The tokens that count: rows whose token was kept, and how long a sequence waited for each. All rows are computed alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simmoe.simulator.arrays import Flags, Ints
from simmoe.simulator.nouns.trace import DECODE, Trace


def kept_by_pass(trace: Trace) -> Ints:
    """[passes]: rows whose token was kept; of a decode pass those that decode."""
    rows = trace.kept if trace.reads is None else trace.kept & ~trace.reads
    kept: Ints = np.add.reduceat(rows.astype(np.int64), trace.pass_ptr[:-1])
    return kept


def ps_per_token(trace: Trace, pass_ps: Ints) -> Ints | npt.NDArray[np.float64]:
    """Decode times per output token, one for each step.

    Without `emitted` every decode pass is a step. With it, a step of a sequence ends with a decode pass that emits tokens of
    this sequence. Its tokens share its time, and that of the passes just before it which rejected every row of the sequence.
    What a sequence runs after its last emitted token is part of no step.
    """
    decode = trace.phase == DECODE
    if trace.emitted is None or not decode.any():
        alone: Ints = pass_ps[decode]
        return alone
    sequence, number, emits = _shares(trace, decode)
    begins = np.flatnonzero(np.concatenate(([True], (np.diff(sequence) != 0) | (emits[:-1] > 0))))
    step_ps, step_emits = np.add.reduceat(pass_ps[number], begins), np.add.reduceat(emits, begins)
    ends = step_emits > 0
    shared: npt.NDArray[np.float64] = step_ps[ends] / step_emits[ends]
    return shared


def rows_at_once(trace: Trace) -> int:
    """The most rows of one sequence that a decode pass counts as tokens because the trace does not say which were kept."""
    several = (trace.phase == DECODE) & (np.diff(trace.pass_ptr) > 1)
    if trace.emitted is not None or not several.any():
        return 1
    return int(_shares(trace, several)[2].max())


def _shares(trace: Trace, passes: Flags) -> tuple[Ints, Ints, Ints]:
    """Sequence, pass and kept rows of every (sequence, pass) of these passes, pass by pass within a sequence."""
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))
    rows = np.flatnonzero(passes[number] & trace.decodes)
    pairs, share = np.unique(np.stack((trace.sequence[rows], number[rows])), axis=1, return_inverse=True)
    return pairs[0], pairs[1], np.bincount(share.reshape(-1)[trace.kept[rows]], minlength=pairs.shape[1])
