"""The experts that a token will use `lead` MoE layers later, exactly: a model whose gates are trained to choose for a later layer.

As in Pre-gated MoE (Hwang et al., ISCA 2024, section IV), which trains the gate of each layer to choose for the next. The first layers of a
pass have no gate before them: nothing is guessed for them.
"""

from __future__ import annotations

import numpy as np

from simmoe.policies.guessing import at_lead, no_text, pass_of
from simmoe.policies.prefetch import Ask
from simmoe.simulator.arrays import Ints
from simmoe.simulator.nouns.trace import Trace

ARGUMENTS = {"lead": (1, 1, 1024)}
NEEDS = ("ahead",)


def wanted(trace: Trace, ask: Ask) -> tuple[Ints, Ints]:
    no_text(ask, "pregated")
    lead = int(ask.arguments["lead"])
    ids, layer = trace.expert_ids[:, lead:], np.arange(lead, max(lead, trace.n_layers))
    return at_lead(trace, pass_of(trace), ids, layer, lead)
