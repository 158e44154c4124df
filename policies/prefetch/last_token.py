"""The experts that the token before used in the layer, for each sequence that goes on.

As what Mixtral's routing repeats (Jiang et al., "Mixtral of Experts", 2024, section 5) and caches of offloading engines live on. `lead` is
how many events before its layer's a guess is decided; what the token before used in the last layers is known from a lead of its layers on.
"""

from __future__ import annotations

import numpy as np

from simmoe.policies.guessing import at_lead, no_text, rows_before
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.errors import UserError
from simmoe.simulator.nouns.trace import Trace

ARGUMENTS = {"lead": (1, 1, 1024)}
NEEDS = ("passes",)


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    lead = int(ask.arguments["lead"])
    no_text(ask, "last_token")
    if lead > trace.n_layers:
        raise UserError(
            f"--prefetch last_token={lead} looks further ahead than a token has MoE layers; give {trace.n_layers} or fewer"
        )
    number, row = rows_before(trace)
    return at_lead(trace, number, trace.expert_ids[row], np.arange(trace.n_layers), lead)
