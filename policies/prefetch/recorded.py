"""The guesses that the trace recorded (`predicted_ids`) of one lead: how many MoE layers ahead they were made, `recorded=2`.

As in mixtral-offloading (Eliseev and Mazur 2023, section 3.2), AdapMoE (Zhong et al., ICCAD 2024) and HOBBIT (Tang et al. 2024), which
apply the gates of later layers to the hidden states of this one; how good the guesses are is the trace's. next_layer is the lead of 1.
"""

from __future__ import annotations

import numpy as np

from simmoe.policies.guessing import at_lead, no_text, pass_of
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace

ARGUMENTS = {"lead": (1, 1, 1024)}


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    no_text(ask, "recorded")
    return of_lead(trace, int(ask.arguments["lead"]), f"recorded={ask.arguments['lead']}")


def of_lead(trace: Trace, lead: int, name: str) -> tuple[Ints, Ints]:
    """The recorded guesses of that lead. Raises UserError, with the prefetcher's name, where the trace has none."""
    leads = [] if trace.predict_lead is None else trace.predict_lead.tolist()
    if trace.predicted_ids is None or lead not in leads:
        has = f"holds those of lead {', '.join(map(str, leads))} only" if leads else "does not hold"
        raise UserError(
            f"prefetch {name} needs guesses of lead {lead} (predicted_ids), {'and the trace' if leads else 'which the trace'} {has}; "
            "choose another"
        )
    ids = trace.predicted_ids[leads.index(lead)][:, lead:]
    return at_lead(trace, pass_of(trace), ids, np.arange(lead, trace.n_layers), lead)
