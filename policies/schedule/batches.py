"""Static batches: N sequences at a time, and the next ones when all of them have ended: --batch N."""

from __future__ import annotations

import numpy as np

from simmoe.policies.regrouping import as_recorded, at_least_one, played, rows_of
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace


def regrouped(trace: Trace, sequences: int) -> Trace:
    """Static batches: `sequences` at a time, of each batch first all prompts, one after the other, then step i of all answers.

    A batch takes its turns together. A sequence that has ended leaves its place empty; the last batch may be smaller.
    """
    at_least_one("--batch", sequences, "sequences")
    as_recorded("--batch", sequences, trace)
    rows = rows_of(trace)
    held = int(rows.sequence[-1]) + 1
    if sequences > held:
        nearest = f"{held} sequences; give {held} or less" if held > 1 else "1 sequence; give 1"
        raise UserError(f"--batch {sequences} cannot be filled: the trace holds {nearest}")
    batch = rows.sequence // sequences
    prompt_of = np.where(rows.decode, 0, rows.sequence)  # a prompt is read alone, an answer decoded with the others
    keys = np.stack((batch, rows.turn, rows.decode, prompt_of, rows.step))
    order = np.lexsort(keys[::-1])  # stable: the rows of a pass stay in the order of the sequences
    return played(trace, rows.row[order], keys[:, order])
