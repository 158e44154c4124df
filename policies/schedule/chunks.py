"""Prompts are read in chunks, answers decoded as recorded: --prefill-chunk N."""

from __future__ import annotations

import numpy as np

from simmoe.policies.regrouping import at_least_one, played, rows_of
from simmoe.simulator.nouns.trace import Trace


def regrouped(trace: Trace, tokens: int) -> Trace:
    """Every prompt in passes of at most `tokens` rows, all of them where its first row stood; decode passes stay as they are."""
    at_least_one("--prefill-chunk", tokens, "tokens")
    rows = rows_of(trace)
    # The recorded row at which a decode pass or a whole prompt begins: no two share it, and it keeps their order.
    start = np.where(rows.decode, trace.pass_ptr[rows.recorded], rows.row[rows.begin])
    chunk = np.where(rows.decode, 0, (np.arange(trace.n_tokens) - rows.begin) // tokens)
    order = np.lexsort((rows.row, start))
    return played(trace, rows.row[order], np.stack((start, chunk))[:, order])
