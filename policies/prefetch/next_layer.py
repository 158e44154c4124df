"""The recorded guesses for the next MoE layer (`predicted_ids` of lead 1), wanted while this one computes.

As in mixtral-offloading (Eliseev and Mazur 2023, section 3.2) and Pre-gated MoE; how good the guesses are is the trace's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simmoe.policies.prefetch import Ask
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace

Ints = npt.NDArray[np.int64]
LEAD = 1


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    if trace.predicted_ids is None or trace.predict_lead is None or LEAD not in trace.predict_lead:
        raise UserError(
            "prefetch next_layer needs guesses of lead 1 (predicted_ids), which the trace does not hold; choose another"
        )
    guesses = trace.predicted_ids[trace.predict_lead.tolist().index(LEAD)][:, LEAD:]  # (tokens, layers - 1, p)
    number = np.repeat(np.arange(trace.n_passes), np.diff(trace.pass_ptr))  # pass of each token
    layer = np.arange(guesses.shape[1])
    event = np.broadcast_to((number[:, None] * trace.n_layers + layer)[..., None], guesses.shape)
    wanted = guesses.astype(np.int64) + (layer + LEAD)[:, None] * trace.n_experts
    known = (guesses >= 0).ravel()
    pairs = np.stack([event.ravel()[known], wanted.ravel()[known]], 1)
    _, first = np.unique(pairs, axis=0, return_index=True)  # one guess per event and expert, in order of first mention
    order = np.sort(first)
    order = order[np.argsort(pairs[order, 0], kind="stable")]
    return pairs[order, 0], pairs[order, 1]
